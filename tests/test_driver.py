"""The incremental driver: what is computed again, what is removed, and what a failure costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.driver import CORE, Stage, row_schema, run_stage
from headwater.errors import HeadwaterError, ParseError
from headwater.hashing import digest
from headwater.lake import Table
from headwater.reports import NoProgress

UPSTREAM = pa.schema([*CORE, ("text", pa.string())])
UPPER = pa.schema([("upper", pa.string())])
WORDS = pa.schema([("word", pa.string())])
calls: list[list[str]] = []


def upper_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Upper-case; 'bad' is a bad row, 'bug' a bug, 'die' kills the process."""
    texts = batch.column("text").to_pylist()
    calls.append(texts)
    if "die" in texts:
        os._exit(3)
    if "bad" in texts:
        raise ParseError("the row is bad", code="corrupt")
    if "bug" in texts:
        raise ZeroDivisionError("secret text of the document")
    rows = [
        {"input": name, "id": name, "state": "ok", "reason": "ok", "upper": text.upper() + parameters.get("suffix", "")}
        for name, text in zip(batch.column("id").to_pylist(), texts, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=row_schema(UPPER))


def word_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """One row per word."""
    rows = [
        {"input": row["id"], "id": f"{row['id']}:{index}", "state": "ok", "reason": "ok", "word": word}
        for row in batch.to_pylist()
        for index, word in enumerate(row["text"].split())
    ]
    return pa.Table.from_pylist(rows, schema=row_schema(WORDS))


def upper_stage(**changes: Any) -> Stage:
    settings_: dict[str, Any] = {
        "name": "upper",
        "code_version": "1",
        "parameters": {},
        "columns": ("text",),
        "data": UPPER,
        "function": upper_rows,
    }
    return Stage(**(settings_ | changes))


WORD_STAGE = Stage(
    name="words", code_version="1", parameters={}, columns=("text",), data=WORDS, function=word_rows, owner="doc_id"
)


def write(table: Table, texts: Mapping[str, str], rejected: tuple[str, ...] = ()) -> None:
    rows = [
        {
            "id": name,
            "doc_id": name,
            "fingerprint": digest(text),
            "text": text,
            "state": "rejected" if name in rejected else "ok",
            "reason": "ok",
        }
        for name, text in texts.items()
    ]
    table.replace(pa.Table.from_pylist(rows, schema=UPSTREAM).to_batches())


@pytest.fixture
def upstream(tmp_path: Path) -> Table:
    return Table(tmp_path / "upstream", UPSTREAM)


@pytest.fixture
def target(tmp_path: Path) -> Table:
    return Table(tmp_path / "upper", upper_stage().schema)


def content(table: Table, *columns: str) -> dict[str, Any]:
    return {row[0]: row[1] if len(row) == 2 else row[1:] for row in table.read(["id", *columns]).iter_rows()}


def choosy_rows(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """Ask for the key only where a text is locked; a text that says so fails instead."""
    rows = []
    for row in batch.to_pylist():
        if row["text"] == "broken":
            continue
        locked = row["text"].startswith("locked")
        upper = f"{row['text']} {parameters['key']}" if locked else row["text"]
        said = {"state": "ok", "reason": "ok", "conditional": locked}
        rows.append({"input": row["id"], "id": row["id"], "upper": upper.upper(), **said})
    return pa.Table.from_pylist(rows, schema=row_schema(UPPER, conditional=True))


def choosy_stage(key: str, **parameters: Any) -> Stage:
    return upper_stage(
        function=choosy_rows, parameters={"key": key, **parameters}, conditional=frozenset({"key"}), code_version="1"
    )


def test_a_conditional_parameter_has_only_the_rows_computed_again_that_asked_for_it(
    upstream: Table, target: Table, tmp_path: Path
) -> None:
    write(upstream, {"a": "plain", "b": "locked", "c": "broken"})
    assert run_stage(choosy_stage("one"), upstream, target, NoProgress()).recomputed == 3
    assert run_stage(choosy_stage("one"), upstream, target, NoProgress()).recomputed == 0
    # What failed may have failed for want of it.
    assert run_stage(choosy_stage("two"), upstream, target, NoProgress()).recomputed == 2
    assert content(target, "upper") == {"a": "PLAIN", "b": "LOCKED TWO", "c": None}
    write(upstream, {"a": "locked", "b": "plain", "c": "plain"})
    run_stage(choosy_stage("two"), upstream, target, NoProgress())
    assert run_stage(choosy_stage("three"), upstream, target, NoProgress()).recomputed == 1
    built = Table(tmp_path / "built", target.schema)
    run_stage(choosy_stage("three"), upstream, built, NoProgress())
    assert content(target, "fingerprint", "upper") == content(built, "fingerprint", "upper")
    assert run_stage(choosy_stage("three", other=1), upstream, target, NoProgress()).recomputed == 3


def test_only_new_and_changed_rows_are_computed(upstream: Table, target: Table) -> None:
    write(upstream, {"a": "one", "b": "two", "c": "three"})
    first = run_stage(upper_stage(), upstream, target, NoProgress())
    assert (first.recomputed, first.rows) == (3, 3)
    again = run_stage(upper_stage(), upstream, target, NoProgress())
    assert (again.recomputed, again.removed, again.version) == (0, 0, first.version)
    assert again.data_version == first.data_version
    write(upstream, {"a": "one", "b": "2", "d": "four"})
    calls.clear()
    changed = run_stage(upper_stage(), upstream, target, NoProgress())
    assert (changed.recomputed, changed.removed) == (2, 1)
    assert sorted(text for batch in calls for text in batch) == ["2", "four"]
    assert content(target, "upper") == {"a": "ONE", "b": "2", "d": "FOUR"}


def test_code_version_and_parameters_decide_recomputation(upstream: Table, target: Table) -> None:
    write(upstream, {"a": "one", "b": "two"})
    run_stage(upper_stage(), upstream, target, NoProgress())
    assert run_stage(upper_stage(code_version="2"), upstream, target, NoProgress()).recomputed == 2
    stage = upper_stage(code_version="2", parameters={"suffix": "!"})
    assert run_stage(stage, upstream, target, NoProgress()).recomputed == 2
    assert content(target, "upper") == {"a": "ONE!", "b": "TWO!"}
    ephemeral = upper_stage(code_version="2", parameters={"suffix": "!"}, ephemeral={"device": "x"})
    assert run_stage(ephemeral, upstream, target, NoProgress()).recomputed == 0


def test_rows_that_upstream_did_not_pass_on_leave(upstream: Table, target: Table) -> None:
    write(upstream, {"a": "one", "b": "two"})
    run_stage(upper_stage(), upstream, target, NoProgress())
    write(upstream, {"a": "one", "b": "two"}, rejected=("b",))
    assert run_stage(upper_stage(), upstream, target, NoProgress()).removed == 1
    assert content(target, "upper") == {"a": "ONE"}


def test_a_bad_row_costs_itself_and_is_not_tried_again(upstream: Table, target: Table) -> None:
    write(upstream, {name: name for name in ("a", "b", "bad", "bug", "c")})
    report = run_stage(upper_stage(), upstream, target, NoProgress())
    assert report.quarantined == 2
    assert report.reasons == {"ok": 3, "corrupt": 1, "failed": 1}
    errors = content(target, "error")
    assert errors["bad"] == "the row is bad"
    assert "secret" not in errors["bug"] and "ZeroDivisionError" in errors["bug"]
    assert run_stage(upper_stage(), upstream, target, NoProgress()).recomputed == 0
    write(upstream, {"a": "a", "bad": "good"})
    report = run_stage(upper_stage(), upstream, target, NoProgress())
    assert (report.recomputed, report.quarantined) == (1, 0)


def test_a_worker_that_dies_costs_one_row(upstream: Table, target: Table) -> None:
    write(upstream, {name: name for name in ("a", "b", "die", "c", "d")})
    stage = upper_stage(function="tests.test_driver:upper_rows", batch_rows=4)
    report = run_stage(stage, upstream, target, NoProgress(), workers=2)
    assert report.reasons == {"ok": 4, "worker_crashed": 1}
    assert content(target, "upper")["d"] == "D"


def test_when_every_row_fails_by_a_bug_nothing_is_committed(upstream: Table, target: Table) -> None:
    write(upstream, {f"row{index}": "bug" for index in range(25)})
    with pytest.raises(HeadwaterError, match="all 25 rows failed"):
        run_stage(upper_stage(), upstream, target, NoProgress())
    assert not target.exists()


def test_a_document_that_gives_fewer_rows_leaves_no_tail(upstream: Table, tmp_path: Path) -> None:
    target = Table(tmp_path / "words", WORD_STAGE.schema)
    write(upstream, {"a": "one two three", "b": "four"})
    assert run_stage(WORD_STAGE, upstream, target, NoProgress()).rows == 4
    write(upstream, {"a": "one 2", "b": "four"})
    report = run_stage(WORD_STAGE, upstream, target, NoProgress())
    assert (report.recomputed, report.rows) == (1, 3)
    assert content(target, "word") == {"a:0": "one", "a:1": "2", "b:0": "four"}
    write(upstream, {"b": "four", "empty": " "})
    report = run_stage(WORD_STAGE, upstream, target, NoProgress())
    assert (report.removed, report.reasons) == (1, {"no_output": 1, "ok": 1})
    assert run_stage(WORD_STAGE, upstream, target, NoProgress()).recomputed == 0


def test_a_changed_column_set_rebuilds_the_table(upstream: Table, target: Table, tmp_path: Path) -> None:
    write(upstream, {"a": "one"})
    run_stage(upper_stage(), upstream, target, NoProgress())
    wider = pa.schema([*UPPER, ("note", pa.string())])

    def noted(batch: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
        rows = [
            {"input": name, "id": name, "state": "ok", "reason": "ok", "upper": "X", "note": "new"}
            for name in batch.column("id").to_pylist()
        ]
        return pa.Table.from_pylist(rows, schema=row_schema(wider))

    stage = upper_stage(data=wider, function=noted)
    report = run_stage(stage, upstream, Table(target.path, stage.schema), NoProgress())
    assert report.recomputed == 1
    assert content(Table(target.path, stage.schema), "note") == {"a": "new"}


def test_old_versions_stay_readable(upstream: Table, target: Table) -> None:
    write(upstream, {"a": "one"})
    version = run_stage(upper_stage(), upstream, target, NoProgress()).version
    write(upstream, {"a": "two"})
    run_stage(upper_stage(), upstream, target, NoProgress())
    assert target.read(["upper"], version)["upper"].to_list() == ["ONE"]
    assert target.read(["upper"])["upper"].to_list() == ["TWO"]


def test_a_killed_process_leaves_the_table_as_it_was(upstream: Table, target: Table) -> None:
    write(upstream, {"a": "one"})
    run_stage(upper_stage(), upstream, target, NoProgress())
    write(upstream, {"a": "1", "b": "two", "c": "three"})
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from headwater.driver import run_stage
        from headwater.lake import Table
        from headwater.reports import NoProgress
        from tests.test_driver import UPSTREAM, upper_rows, upper_stage

        def killed(batch, parameters):
            if "three" in batch.column("text").to_pylist():
                os.kill(os.getpid(), signal.SIGKILL)
            return upper_rows(batch, parameters)

        folder = Path(sys.argv[1])
        stage = upper_stage(function=killed, batch_rows=1)
        run_stage(stage, Table(folder / "upstream", UPSTREAM), Table(folder / "upper", stage.schema), NoProgress())
        """
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", script, str(target.path.parent)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    assert content(target, "upper") == {"a": "ONE"}
    report = run_stage(upper_stage(), upstream, target, NoProgress())
    assert report.recomputed == 3
    assert content(target, "upper") == {"a": "1", "b": "TWO", "c": "THREE"}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=st.lists(st.dictionaries(st.sampled_from("abcdef"), st.text("xyz ", max_size=6)), min_size=1, max_size=4))
def test_any_sequence_of_states_ends_like_a_rebuild(states: list[dict[str, str]], tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("driver")
    upstream = Table(folder / "upstream", UPSTREAM)
    kept = Table(folder / "kept", WORD_STAGE.schema)
    for texts in states:
        write(upstream, texts)
        report = run_stage(WORD_STAGE, upstream, kept, NoProgress())
    rebuilt = Table(folder / "rebuilt", WORD_STAGE.schema)
    fresh = run_stage(WORD_STAGE, upstream, rebuilt, NoProgress())
    assert kept.read(kept.schema.names).sort("id").equals(rebuilt.read(kept.schema.names).sort("id"))
    assert report.data_version == fresh.data_version
