"""``headwater prompts``: versions, labels, A/B tests and rollback of what a language model is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.options import AsJson
from headwater.cli.output import busy, print_json, print_table, say
from headwater.errors import ConfigError

if TYPE_CHECKING:
    from headwater.ledger import Ledger
    from headwater.prompts import PromptRegistry

app = typer.Typer(no_args_is_help=True, help="The prompts of a project: versions, labels, A/B tests, rollback.")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Prompt: answer, rewrite, or a variant such as answer.legal.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; the history keeps it with who and when.")]


@app.command("list")
def list_prompts(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show all versions and the labels' history of this prompt.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the prompts and what is served of each; or one prompt's versions and the history of its labels."""
    with _registry() as registry:
        if name is None:
            rows = [_overview(registry, one) for one in sorted({version.name for version in registry.versions()})]
            if as_json:
                print_json(rows)
                return
            print_table(
                ("prompt", "served", "labels", "versions"),
                [(row["name"], _shares(row["served"]), _pointers(row["labels"]), row["versions"]) for row in rows],
                right=("versions",),
            )
            return
        versions, moves = registry.versions(name), registry.history(name)
    if as_json:
        print_json({"name": name, "versions": versions, "history": moves})
        return
    print_table(
        ("version", "characters", "from", "added by", "added"),
        [(v.version, len(v.text), v.source, v.added_by, _when(v.added_at)) for v in versions],
        right=("version", "characters"),
    )
    say()
    print_table(
        ("when", "label", "version", "share", "by", "who", "why"),
        [(_when(m.at), m.label, m.version, _share(m.weight), m.action, m.who, m.reason) for m in moves],
        right=("version", "share"),
    )


@app.command()
def show(
    name: Name,
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="A number or a label; default: the live one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the text of a prompt."""
    with _registry() as registry:
        found = registry.find(name if version is None else f"{name}@{version}")
    if as_json:
        print_json({"id": found.id, **asdict(found), "placeholders": sorted(found.placeholders)})
    else:
        say(found.text)


@app.command()
def add(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Text with {{placeholders}}, in UTF-8.")],
    as_json: AsJson = False,
) -> None:
    """Add a version, unlabelled. A text that is a version already stays that version."""
    from headwater.prompts.files import read_prompt_file

    with _registry() as registry:
        read = read_prompt_file(file, name)
        before = {version.version for version in registry.versions(name)}
        added = registry.add(name, read.text, source=read.source)
    new = added.version not in before
    if as_json:
        print_json({"id": f"{name}@{added.version}", "name": name, "version": added.version, "new": new})
        return
    say(f"{'Added' if new else 'This text is there already:'} {name}@{added.version}")
    say(f"Next: headwater prompts label {name} {added.version} candidate --reason WHY")


@app.command()
def label(
    name: Name,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version that the label points to.")],
    label: Annotated[str, typer.Argument(metavar="LABEL", help="live is what is served; candidate or any other.")],
    reason: Reason = "",
) -> None:
    """Point a label to a version."""
    with _registry() as registry:
        registry.label(name, version, label, reason)
    say(f"{label} of {name} is {name}@{version} now")


@app.command()
def weights(
    name: Name,
    shares: Annotated[list[str], typer.Argument(metavar="LABEL=SHARE...", help="Such as live=0.9 candidate=0.1")],
    reason: Reason = "",
) -> None:
    """Serve labels to shares of the conversations, the same one always the same: an A/B test. live=1 ends it."""
    with _registry() as registry:
        registry.weights(name, _parse_shares(shares), reason)
        served = _overview(registry, name)["served"]
    say(f"Served of {name}: {_shares(served)}")


@app.command()
def results(
    name: Name,
    days: Annotated[int, typer.Option("--days", min=1, max=36_500, help="Answers of the last N days.")] = 30,
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="NAME", help="Of this corpus alone. [default: all of the project]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what became of the answers of each version and model, and how a version does beside the live one.

    Read from the records of answers and feedback. Quoted and cached answers do not count; votes on cached ones do.
    """
    from headwater.answer_log.prompt_results import compare_prompts, results_by_prompt, written_with
    from headwater.answer_log.prompt_tables import comparison_rows, result_rows
    from headwater.project import find_project
    from headwater.prompts.labels import live_versions
    from headwater.prompts.purposes import check_name

    check_name(name)
    project = find_project()
    if corpus is not None:
        project.corpus_file(corpus)  # names the corpora that there are
    since = datetime.now(UTC) - timedelta(days=days)
    corpora = [corpus] if corpus is not None else project.corpus_names()
    with _ledger() as ledger, busy("Reading answers"):
        live = live_versions(ledger, [name])
        written = written_with(ledger, corpora, name, since)
    found, compared = results_by_prompt(*written), compare_prompts(*written, live)
    if as_json:
        print_json({"name": name, "since": since, "live": live.get(name), "results": found, "comparisons": compared})
    elif not found:
        say(f"No answer of the last {days} days that is kept was written with {name}.")
    else:
        _print_rows(result_rows(found))
        if compared:
            say()
            _print_rows(comparison_rows(compared))


@app.command()
def diff(
    name: Name,
    a: Annotated[int, typer.Argument(metavar="A", help="A version.")],
    b: Annotated[int, typer.Argument(metavar="B", help="Another one.")],
    as_json: AsJson = False,
) -> None:
    """Show what changed between two versions."""
    with _registry() as registry:
        found = registry.diff(name, a, b)
    if as_json:
        print_json({"name": name, "a": a, "b": b, "diff": found})
    else:
        say(found or "The two are the same.")


@app.command()
def rollback(name: Name, reason: Reason = "") -> None:
    """Serve to everyone the version that was live before; an A/B test ends."""
    with _registry() as registry:
        found = registry.rollback(name, reason)
    say(f"live of {name} is {found.id} now")


@app.command()
def test(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="Cases, <prompt>.yaml. Default: Headwater's and prompts/tests."),
    ] = None,
    versions: Annotated[
        list[str] | None,
        typer.Option("--prompt", metavar="NAME@VERSION", help="Test this version or label; repeatable. Default: live."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="HEADWATER_PROMPT_TEST_URL", help="Test on the model of this server as well."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", envvar="HEADWATER_PROMPT_TEST_MODEL", help="Its model's name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run prompt tests: by quoting, on scripted replies, and on a model where a server is named. Exit code 1 on failures."""
    from headwater.cli.prompt_tests import run_tests

    with _registry() as registry:
        results = run_tests(registry, folder, _own_cases(), versions or [], url, model)
    failed = [result for result in results if not result.passed]
    if as_json:
        print_json({"passed": len(results) - len(failed), "failed": len(failed), "results": results})
    else:
        for result in failed:
            say(f"failed: {result.prompt}, {result.way}: {result.case}", style="bold")
            for failure in result.failures:
                say(f"  {failure}")
            say(f"  answered: {result.text or '(refused)'}")
        say(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    if failed:
        raise typer.Exit(1)


def _own_cases() -> Path:
    from headwater.project import find_project
    from headwater.prompts.files import prompts_folder

    return prompts_folder(find_project()) / "tests"


def _print_rows(rows: list[dict[str, object]]) -> None:
    print_table(list(rows[0]), [list(row.values()) for row in rows])


@contextmanager
def _ledger() -> Iterator[Ledger]:
    from headwater.ledger import Ledger
    from headwater.project import find_project

    with closing(Ledger(find_project().ledger_url)) as ledger:
        yield ledger


@contextmanager
def _registry() -> Iterator[PromptRegistry]:
    from headwater.project import find_project
    from headwater.prompts import PromptRegistry
    from headwater.prompts.files import prompts_folder

    with _ledger() as ledger:
        yield PromptRegistry(ledger, prompts_folder(find_project()))


def _overview(registry: PromptRegistry, name: str) -> dict[str, Any]:
    from headwater.prompts.labels import arms

    labels = registry.labels(name)
    return {
        "name": name,
        "served": [{"label": one, "version": labels[one].version, "share": share} for one, share in arms(labels)],
        "labels": {one: labels[one].version for one in sorted(labels)},
        "versions": len(registry.versions(name)),
    }


_SHARE = re.compile(r"([^=]+)=([0-9.]+)(%?)")


def _parse_shares(pairs: list[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for pair in pairs:
        match = _SHARE.fullmatch(pair)
        try:
            number = float(match[2]) if match else None
        except ValueError:
            number = None
        if match is None or number is None:
            raise ConfigError(f"{pair!r} is not LABEL=SHARE, such as live=0.9 or live=90%.")
        if match[1] in shares:
            raise ConfigError(f"The label {match[1]!r} is given twice.")
        shares[match[1]] = number / 100 if match[3] else number
    return shares


def _shares(served: list[dict[str, Any]]) -> str:
    if len(served) == 1:
        return f"@{served[0]['version']}"
    return ", ".join(f"{arm['label']} @{arm['version']} {_share(arm['share'])}" for arm in served)


def _pointers(labels: dict[str, int]) -> str:
    return ", ".join(f"{label} @{version}" for label, version in labels.items())


def _share(weight: float | None) -> str:
    return "" if weight is None else f"{weight:.4g}"


def _when(moment: Any) -> str:
    return str(moment.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
