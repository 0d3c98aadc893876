"""The ``headwater`` command, as a person and as a script use it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

import headwater
from headwater.cli import app
from headwater.cli.children import Children
from headwater.cli.output import plain
from headwater.cli.query import parse_filters
from headwater.cli.reindex import accounts
from headwater.doctor import examine
from headwater.errors import ConfigError, HeadwaterError
from headwater.pipeline import STAGES
from headwater.project import Project
from headwater.scaffold import add_corpus, make_project
from tests.conftest import SMALL, MakeCorpus

COMMANDS = (
    *(("init",), ("corpus",), ("corpus", "add"), ("reindex",), ("status",), ("ask",), ("search",), ("receipts",)),
    *(
        ("releases",),
        ("evaluate",),
        ("prompts",),
        ("prompts", "weights"),
        ("serve",),
        ("up",),
        ("doctor",),
        ("backup",),
        ("restore",),
        ("rebuild",),
        ("snapshots", "take"),
    ),
)
RULES = {
    "leave.md": "# Leave\n\nEveryone has twenty-eight days of paid leave in each calendar year, plus the public holidays.\n",
    "keys.md": "# Keys\n\nA lost key is reported to the front desk on the same day so that the lock can be changed.\n",
    "copy.md": "# Keys\n\nA lost key is reported to the front desk on the same day so that the lock can be changed.\n",
    "empty.txt": "",
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def succeed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, f"{result.stdout}\n{result.stderr}\n{result.exception!r}"
    return result.stdout


def fail(*arguments: str, code: int = 1) -> str:
    """Run a command that must fail; return its message, which is all there is on standard error."""
    result = run(*arguments)
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{result.exception!r}"
    assert "Traceback" not in result.output
    return result.stderr


# --- help, usage and errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    assert "Usage" in succeed(*command, "--help")


def test_help_and_version_load_nothing_heavy() -> None:
    heavy = "polars", "torch", "transformers", "spacy", "unstructured", "sqlalchemy", "numba", "dagster", "psutil"
    code = f"import sys, headwater.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert succeed("--version").strip() == f"headwater {headwater.__version__}"


def test_wrong_usage_is_exit_code_2(project: Project) -> None:
    assert "No such command" in fail("frobnicate", code=2)
    assert "Missing argument" in fail("ask", "house", code=2)
    assert "--limit" in fail("search", "house", "query", "-k", "0", code=2)
    assert "NAME, or --beir" in fail("evaluate", code=2)
    assert "NAME, or --beir" in fail("evaluate", "house", "--beir", ".", code=2)


@pytest.mark.parametrize("command", ["reindex", "status", "receipts", "releases", "evaluate"])
def test_an_unknown_corpus_is_one_clear_message(project: Project, make_corpus: MakeCorpus, command: str) -> None:
    make_corpus("house", {})
    message = fail(command, "hose")
    assert "There is no corpus 'hose'" in message and "there: house" in message
    assert len(message.strip().splitlines()) == 1


def test_outside_a_project_commands_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert "not inside a Headwater project" in fail("status", "house")


def test_a_corpus_without_a_release_says_how_to_build_one(make_corpus: MakeCorpus) -> None:
    make_corpus("house", RULES)
    for command in (("search", "house", "why", "--mode", "sparse"), ("evaluate", "house")):
        assert "headwater reindex house" in fail(*command)


def test_a_wrong_configuration_is_reported_with_its_place(make_corpus: MakeCorpus) -> None:
    folder = make_corpus("house", {}, chunk={"max_tokens": "many"})
    message = fail("reindex", "house")
    assert f"{folder / 'defs.yaml'}:" in message and "attributes.chunk.max_tokens" in message


# --- projects and corpora -------------------------------------------------------------------------------------


def test_a_project_variable_that_names_no_folder_is_said_and_nothing_is_made_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADWATER_HOME", raising=False)
    monkeypatch.setenv("HEADWATER_PROJECT", str(tmp_path / "mistyped"))
    assert f"HEADWATER_PROJECT is {tmp_path / 'mistyped'}, and there is no such folder" in fail("keys", "list")
    assert "there is no such folder" in run("doctor").stdout
    assert not (tmp_path / "mistyped").exists()


def test_init_makes_a_project_that_commands_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_PROJECT", raising=False)
    monkeypatch.delenv("HEADWATER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    succeed("init", "rules")
    workspace = yaml.safe_load((tmp_path / "rules" / "workspace.yaml").read_text())
    assert workspace["load_from"][0]["python_module"]["module_name"] == "definitions"
    (tmp_path / "rules" / "documents").mkdir()
    monkeypatch.chdir(tmp_path / "rules" / "documents")
    succeed("corpus", "add", "house", "--uri", ".")
    assert "already" in fail("init", str(tmp_path / "rules"))


def test_init_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    make_project(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_a_folder_inside_the_project_is_stored_relative_to_the_file(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (project.root / "documents").mkdir()
    monkeypatch.chdir(project.root)
    inside = add_corpus(project, "inside", "documents", "House rules")
    assert yaml.safe_load(inside.read_text())["attributes"]["source"]["uri"] == "../../documents"
    (tmp_path / "else where").mkdir()
    outside = add_corpus(project, "outside", "../else where")
    assert yaml.safe_load(outside.read_text())["attributes"]["source"]["uri"] == str(tmp_path / "else where")
    url = add_corpus(project, "as_url", (tmp_path / "else where").as_uri())
    assert yaml.safe_load(url.read_text())["attributes"]["source"]["uri"] == str(tmp_path / "else where")
    bucket = add_corpus(project, "bucket", "s3://archive/house")
    assert yaml.safe_load(bucket.read_text())["attributes"]["source"]["uri"] == "s3://archive/house"


def test_corpus_add_refuses_what_can_not_work(
    project: Project, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_corpus("house", {})
    before = (folder / "defs.yaml").read_text()
    assert "already" in fail("corpus", "add", "house", "--uri", str(folder))
    assert (folder / "defs.yaml").read_text() == before
    assert "not a folder" in fail("corpus", "add", "other", "--uri", "./missing")
    assert "can't name a corpus" in fail("corpus", "add", "Other Rules", "--uri", str(folder))
    monkeypatch.delenv("NOWHERE", raising=False)
    assert "NOWHERE is not set" in fail("corpus", "add", "other", "--uri", "s3://{{ env.NOWHERE }}/x")
    assert project.corpus_names() == ["house"]


# --- a corpus from end to end ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_an_empty_folder_to_a_cited_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_PROJECT", raising=False)
    monkeypatch.delenv("HEADWATER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    succeed("init", "project")
    monkeypatch.chdir(tmp_path / "project")
    (tmp_path / "project" / "documents").mkdir()
    for key, text in RULES.items():
        (tmp_path / "project" / "documents" / key).write_text(text)
    succeed("corpus", "add", "house", "--uri", "documents")

    printed = succeed("reindex", "house", "--workers", "2")
    assert "4 listed = 2 indexed + 1 duplicate + 0 rejected + 1 quarantined" in printed
    assert all(stage in printed for stage in STAGES)
    assert "Live release: 1 (was none)" in printed and "peak memory" in printed

    again = json.loads(succeed("reindex", "house", "--json"))
    assert (again["release"], again["previous"], again["published"]) == (1, 1, False)
    assert {stage["stage"]: stage["recomputed"] for stage in again["stages"]} == dict.fromkeys(STAGES, 0)
    assert again["error"] is None and again["peak_memory_bytes"] > 2**20
    assert all(check["passed"] for check in again["checks"])

    answer = json.loads(succeed("ask", "house", "How many days of paid leave does everyone have?", "--json"))
    assert "twenty-eight days" in answer["text"] and answer["release"] == 1
    assert [citation["key"] for citation in answer["sentences"][0]["citations"]] == ["leave.md"]


@pytest.mark.slow
def test_a_failed_gate_exits_with_1_says_what_to_do_and_leaves_live(indexed_copy: Project) -> None:
    file = indexed_copy.corpus_file(SMALL)
    document = yaml.safe_load(file.read_text())
    document["attributes"]["gate"] = {"max_quarantined_share": 0.0}
    file.write_text(yaml.safe_dump(document))
    (file.parent / "documents" / "new.txt").write_text("The canteen opens at noon and closes when the soup is gone.\n")

    result = run("reindex", SMALL, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [check["name"] for check in report["checks"] if not check["passed"]] == ["quarantine_within_bounds"]
    assert not report["published"] and "failed the gate" in report["error"]
    assert f"headwater receipts {SMALL} --state quarantined" in result.stderr
    status = json.loads(succeed("status", SMALL, "--json"))
    assert (status["live"], status["candidate"]) == (1, 2)
    assert "failed: quarantine_within_bounds" in succeed("releases", SMALL)


# --- reading a corpus -----------------------------------------------------------------------------------------


def test_an_answer_numbers_its_citations_and_names_their_place(indexed: Project) -> None:
    printed = succeed("ask", SMALL, "How long does the battery of the Teal gauge last?")
    found = re.search(r"Its battery lasts nine years at one transmission per hour\. \[(\d)\]", printed)
    assert found is not None
    place = rf"\[{found[1]}\] gauge\.md \| Teal gauge \| characters \d+-\d+\n"
    assert re.search(place + r' +"Its battery lasts nine years at one transmission per hour\."', printed)


def test_a_refusal_says_why_and_is_a_success(indexed: Project) -> None:
    printed = succeed("ask", SMALL, "Which moon of Saturn has an ocean of methane?")
    assert printed.startswith("No answer: ")
    answer = json.loads(succeed("ask", SMALL, "Which moon of Saturn has an ocean of methane?", "--json"))
    assert answer["refused"] and answer["reason"] and answer["sentences"] == []


def test_groups_decide_what_is_found(indexed: Project) -> None:
    def keys(*options: str) -> set[str]:
        return {
            p["key"] for p in json.loads(succeed("search", SMALL, "pay band of field engineers", "--json", *options))
        }

    assert "hr/pay.md" not in keys()
    assert "hr/pay.md" in keys("--group", "hr")
    assert "hr/pay.md" not in keys("--group", "sales", "--group", "front desk")


def test_search_limits_filters_and_modes(indexed: Project) -> None:
    found = json.loads(succeed("search", SMALL, "paid leave days", "-k", "1", "--json"))
    assert [passage["key"] for passage in found] == ["policies/leave-copy.md"]
    filtered = json.loads(
        succeed("search", SMALL, "paid leave", "--filter", "key=gauge.md", "--mode", "dense", "--json")
    )
    assert {passage["key"] for passage in filtered} == {"gauge.md"}
    assert "No passage found." in succeed("search", SMALL, "zeppelin", "--mode", "sparse")
    assert "nosuch" in fail("search", SMALL, "leave", "--filter", "nosuch=x")


@pytest.mark.parametrize("command", ["ask", "search"])
def test_arguments_that_are_no_text_are_refused(indexed: Project, command: str) -> None:
    broken = os.fsdecode(b"caf\xe9")
    assert "must not be blank" in fail(command, SMALL, " ")
    assert "must not be blank" in fail(command, SMALL, os.fsdecode(b"\xff"))
    assert succeed(command, SMALL, f"paid leave {broken}")
    assert "not UTF-8" in fail(command, SMALL, "leave", "--group", broken, code=2)


def test_filters_are_read_field_by_field() -> None:
    assert parse_filters(["key=a=b", "page=3", "key=c"]) == {"key": ["a=b", "c"], "page": 3}
    ranges = ["date>=2024-05", "date<2025", "page>3", "meta.version<=2.5"]
    assert parse_filters(ranges) == {
        "date": {"gte": "2024-05", "lt": "2025"},
        "page": {"gt": 3.0},
        "meta.version": {"lte": 2.5},
    }
    # Front matter has types that a command line has not: both readings count.
    assert parse_filters(["meta.version=3", "meta.draft=true", "meta.team=hydrology"]) == {
        "meta.version": ["3", 3.0],
        "meta.draft": ["true", True],
        "meta.team": "hydrology",
    }
    assert parse_filters(["meta.team=inf", "meta.code=nan"]) == {"meta.team": "inf", "meta.code": "nan"}
    for wrong in ("key", "=x", "date>=", "date=2024 date<2025"):
        with pytest.raises(ConfigError, match="--filter"):
            parse_filters(wrong.split())


def test_receipts_tell_an_owner_what_became_of_a_file(indexed: Project) -> None:
    printed = succeed("receipts", SMALL)
    assert "gauge.md" in printed and "exact_duplicate" in printed
    assert [r["key"] for r in json.loads(succeed("receipts", SMALL, "--state", "quarantined", "--json"))] == [
        "empty.txt"
    ]
    one = succeed("receipts", SMALL, "policies/leave.md")
    assert "duplicate" in one and "policies/leave-copy.md (similarity 1.00)" in one
    assert "no object 'nowhere.md'" in fail("receipts", SMALL, "nowhere.md")


def test_status_and_releases(indexed: Project) -> None:
    assert "6 listed = 4 indexed + 1 duplicate + 0 rejected + 1 quarantined" in succeed("status", SMALL)
    releases = json.loads(succeed("releases", SMALL, "--json"))
    assert [(release["number"], release["state"]) for release in releases] == [(1, "live")]
    assert "passed" in succeed("releases", SMALL)


def test_evaluate_shows_the_figures_of_the_live_release(indexed_copy: Project) -> None:
    figures = json.loads(succeed("evaluate", SMALL, "--json"))
    assert figures["release"] == 1 and figures["known_item_recall"] == 1.0
    assert "known_item_recall" in succeed("evaluate", SMALL)


def test_evaluate_measures_a_beir_collection(tmp_path: Path) -> None:
    documents = {"a": "Trains are booked through the office.", "b": "The gauge is read every fifteen minutes."}
    lines = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in documents.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "how often is the gauge read"}))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tb\t1\n")
    figures = json.loads(succeed("evaluate", "--beir", str(tmp_path), "--json"))
    for mode in ("dense", "sparse", "hybrid"):
        assert figures[mode] == {"ndcg@10": 1.0, "recall@5": 1.0, "recall@10": 1.0, "recall@20": 1.0}
    assert "hybrid" in succeed("evaluate", "--beir", str(tmp_path))
    assert "corpus.jsonl" in fail("evaluate", "--beir", str(tmp_path / "nowhere"))


def test_the_sums_name_every_state() -> None:
    assert (
        accounts(7, {"indexed": 5, "rejected": 2}) == "7 listed = 5 indexed + 0 duplicate + 2 rejected + 0 quarantined"
    )
    assert accounts(1, {"None": 1}).endswith("+ 1 None")


def test_text_can_not_drive_the_terminal() -> None:
    assert plain("a\x1b[31mb\x07c\x9bd\te\nf") == "a\ufffd[31mb\ufffdc\ufffdd\te\nf"


# --- doctor ---------------------------------------------------------------------------------------------------


def test_doctor_finds_an_installation_in_order(indexed: Project) -> None:
    findings = {finding.name: finding for finding in examine()}
    assert {
        "python",
        "packages",
        "device",
        "parsing",
        "text recognition",
        "privacy",
        "embedding model",
        "ledger",
        "disk",
    } <= set(findings)
    assert not [finding for finding in findings.values() if finding.state == "problem"]
    assert f"{SMALL}: 1" in findings["ledger"].meaning
    assert all(finding.found and finding.meaning for finding in findings.values())


def test_doctor_reports_problems_and_exits_with_1(make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    make_corpus("typo", {}, chnk={})
    make_corpus("gone", {}, source={"uri": "./nowhere"})
    monkeypatch.setenv("HEADWATER_LEDGER_URL", "nosuchdatabase://localhost/ledger")
    result = run("doctor", "--json")
    assert result.exit_code == 1
    problems = {f["name"]: f["meaning"] for f in json.loads(result.stdout) if f["state"] == "problem"}
    assert set(problems) == {"corpus typo", "corpus gone", "ledger"}
    assert "attributes.chnk" in problems["corpus typo"] and "does not exist" in problems["corpus gone"]


def test_doctor_works_outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert "none here" in succeed("doctor")
    assert list(tmp_path.iterdir()) == []


# --- processes ------------------------------------------------------------------------------------------------

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"
)
FAMILY = f"""
import subprocess, sys, time
stubborn = [sys.executable, "-c", {STUBBORN!r}]
subprocess.Popen(stubborn, stdout=subprocess.PIPE).stdout.readline()
subprocess.Popen(stubborn, stdout=subprocess.PIPE, start_new_session=True).stdout.readline()
orphan = f"import subprocess; subprocess.Popen({{stubborn!r}}, stdout=subprocess.PIPE).stdout.readline()"
subprocess.run([sys.executable, "-c", orphan])
print("ready", flush=True)
time.sleep(600)
"""


def marked(mark: str) -> list[psutil.Process]:
    """Return the running processes whose environment holds ``mark``."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            alive = process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid()
            if alive and process.environ().get("HEADWATER_TEST_MARK") == mark:
                found.append(process)
    return found


def until(condition: Callable[[], Any], seconds: float = 240.0) -> Any:
    """Return what ``condition`` gives once it gives something true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def test_stopping_reaches_every_descendant(tmp_path: Path) -> None:
    mark = str(tmp_path)
    env = {**os.environ, "HEADWATER_TEST_MARK": mark}
    with Children(tmp_path / "logs") as children:
        children.start("family", [sys.executable, "-c", FAMILY], cwd=tmp_path, env=env)
        until(lambda: "ready" in (tmp_path / "logs" / "family.log").read_text())
        assert len(marked(mark)) == 4
        children.stop(patience=0.3)
    assert marked(mark) == []


def test_a_child_that_dies_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    code = "print('the disk is full'); raise SystemExit(3)"
    with Children(tmp_path / "logs") as children:
        children.start("endpoint", [sys.executable, "-c", code], cwd=tmp_path, env=os.environ)
        with pytest.raises(HeadwaterError, match=r"endpoint ended with exit code 3[\s\S]*the disk is full"):
            until(lambda: children.check())


def test_a_port_in_use_is_an_error_before_anything_starts(indexed: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"Port {port} for the endpoint" in fail("up", "--port", port)
        assert f"Port {port} for Dagster" in fail("up", "--port", str(free_port()), "--dagster-port", port)
    assert not (indexed.home / "logs").exists()


def test_up_refuses_an_unknown_corpus_before_anything_starts(indexed: Project) -> None:
    assert "There is no corpus 'wrks'" in fail("up", "--ask", "wrks", "Why?")
    assert not (indexed.home / "logs").exists()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Up:
    """A running ``headwater up``."""

    def __init__(self, project: Project, *options: str) -> None:
        self.mark = str(project.root)
        self.port, self.dagster_port = free_port(), free_port()
        ports = ["--port", str(self.port), "--dagster-port", str(self.dagster_port)]
        self.out = project.root / "up.out"
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headwater.cli", "up", *ports, *options],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=project.root,
                env={**os.environ, "HEADWATER_TEST_MARK": self.mark},
            )

    def printed(self, text: str) -> bool:
        assert self.process.poll() is None or text in self.out.read_text(), self.out.read_text()
        return text in self.out.read_text()


@pytest.fixture
def start_up(indexed_copy: Project) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*options: str) -> Up:
        started.append(Up(indexed_copy, *options))
        return started[-1]

    yield start
    for up in started:
        for process in marked(up.mark):
            process.kill()
        up.process.wait()


@pytest.mark.slow
def test_up_reindexes_in_dagster_answers_and_leaves_no_process_behind(
    start_up: Callable[..., Up], indexed_copy: Project
) -> None:
    folder = indexed_copy.corpus_file(SMALL).parent / "documents"
    (folder / "canteen.md").write_text(
        "# Canteen\n\nThe canteen on the ground floor opens at noon on every working day.\n"
    )
    up = start_up("--reindex", SMALL, "--ask", SMALL, "When does the canteen on the ground floor open?")
    until(lambda: up.printed("Ctrl-C stops everything."))
    said = up.out.read_text()
    assert "7 listed = 5 indexed" in said and "opens at noon on every working day. [1]" in said
    assert f"http://127.0.0.1:{up.dagster_port}/runs/" in said
    for url in (f"http://127.0.0.1:{up.port}/", f"http://127.0.0.1:{up.dagster_port}/server_info"):
        with urllib.request.urlopen(url, timeout=30) as response:
            assert response.status == 200
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(timeout=60) == 0
    assert marked(up.mark) == []


@pytest.mark.slow
def test_when_a_child_dies_up_says_which_and_stops_the_rest(start_up: Callable[..., Up], indexed_copy: Project) -> None:
    up = start_up()
    until(lambda: up.printed("Ctrl-C stops everything."))
    serving = next(process for process in marked(up.mark) if "serve" in process.cmdline())
    serving.kill()
    assert up.process.wait(timeout=60) == 1
    assert "endpoint ended with exit code -9" in up.out.read_text()
    assert marked(up.mark) == []


@pytest.mark.slow
def test_an_interrupt_while_starting_leaves_no_process_behind(start_up: Callable[..., Up]) -> None:
    up = start_up()
    until(lambda: len(marked(up.mark)) > 2)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(timeout=60) == 130
    assert marked(up.mark) == []
