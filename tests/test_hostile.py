"""Hostile files: each ends in quarantine for a plain reason, inside the limits, and harms nothing beside it."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.corpus import open_corpus
from headwater.errors import ParseError
from headwater.parsing import failure_error, parse_batch, parse_confined, parse_in_process
from headwater.parsing.mail import attachments
from headwater.pipeline import Pipeline
from headwater.policies import ParsePolicy
from headwater.pool import WorkerFailure, WorkerPool
from headwater.receipts.words import explain
from tests import hostile
from tests.hostile import HOSTILE, POLICY, Hostile

GOOD = b"# Gauges\n\nThe gauge on the weir is read every morning before the first lock opens.\n"


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(
        f"{__name__}:parse_and_measure",
        POLICY,
        workers=1,
        memory_mb=POLICY.memory_mb,
        prepare="headwater.parsing:prepare_worker",
    ) as workers:
        yield workers


def parse_and_measure(rows: list[tuple[bytes, str]], policy: ParsePolicy) -> tuple[list[Any], int]:
    """Return what :func:`parse_batch` does, and the most memory that this process ever held, in MiB."""
    results = parse_batch(rows, policy)
    # Not ru_maxrss: a process takes that of the one it was started from along.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return results, int(status["VmHWM"].split()[0]) // 1024


def run(pool: WorkerPool, rows: list[tuple[bytes, str]]) -> tuple[list[Any], int, float]:
    began = time.perf_counter()
    [(_, outcome)] = pool.map([rows], POLICY.timeout_seconds)
    seconds = time.perf_counter() - began
    if isinstance(outcome, WorkerFailure):
        return [failure_error(outcome, POLICY)], 0, seconds
    return outcome[0], outcome[1], seconds


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_a_hostile_file_costs_itself_alone(pool: WorkerPool, case: Hostile) -> None:
    assert (
        run(pool, [(GOOD, "good.md")])[0][0].metadata["title"] == "Gauges"
    )  # the worker is up: its start is not timed
    [result], memory, seconds = run(pool, [(case.make(), case.name)])
    code = result.code if isinstance(result, ParseError) else None
    assert code in case.codes
    if code is None:
        assert len(result.text) < 2_000_000
    else:
        meaning, advice = explain(code)
        assert not meaning.startswith("Processing stopped with the code")
        assert advice
    assert seconds < POLICY.timeout_seconds + 20
    assert memory < POLICY.memory_mb + 600  # what the limit allows, on top of the parsers themselves
    assert run(pool, [(GOOD, "good.md")])[0][0].metadata["title"] == "Gauges"


@pytest.mark.slow
def test_the_documents_beside_hostile_files_are_parsed(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    chosen = (
        "bomb.docx",
        "laughs.xml",
        "deep.json",
        "stub.pdf",
        "deflated-thrice.pdf",
        "cut.pdf",
    )
    for case in HOSTILE:
        if case.name in chosen:
            (documents / case.name).write_bytes(case.make())
    for number in range(12):
        (documents / f"good-{number}.md").write_bytes(GOOD + str(number).encode())
    shutil.copytree(documents, tmp_path / "before")
    configuration = tmp_path / "assets" / "river" / "defs.yaml"
    configuration.parent.mkdir(parents=True)
    attributes = {"source": {"uri": str(documents)}, "parse": POLICY.model_dump(mode="json")}
    configuration.write_text(yaml.safe_dump({"type": "assets.corpus.Corpus", "attributes": attributes}))
    with open_corpus(configuration) as corpus:
        line = Pipeline(corpus, workers=2)
        line.source_objects()
        line.parsed_documents()
        rows = corpus.tables.source_objects.read(["id", "key"]).join(
            corpus.tables.parsed_documents.read(["id", "state", "reason", "error"]), on="id"
        )
    states = {row["key"]: row for row in rows.to_dicts()}
    assert {key for key, row in states.items() if row["state"] == "ok"} == {f"good-{n}.md" for n in range(12)}
    assert {key for key, row in states.items() if row["state"] == "quarantined"} == set(chosen)
    assert all(explain(row["reason"])[1] and row["error"] for key, row in states.items() if key in chosen)
    assert sorted(path.name for path in documents.iterdir()) == sorted(
        path.name for path in (tmp_path / "before").iterdir()
    )


class _Listener(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """A server on the loopback that notes what it is asked for."""
    _Listener.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Listener) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def test_no_file_makes_its_parser_fetch_an_address(pool: WorkerPool, server: str) -> None:
    relation = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="a" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/attachedTemplate" '
        f'Target="{server}/template" TargetMode="External"/></Relationships>'
    )
    rows = [
        (f'<html><head><link rel="canonical" href="{server}/p"><base href="{server}/"></head><body><p>The weir is '
         f'open.</p><img src="/a.png"><iframe src="{server}/f"></iframe></body></html>'.encode(), "page.html"),
        (f'<!DOCTYPE a SYSTEM "{server}/a.dtd"><a>The weir is open.</a>'.encode(), "a.xml"),
        (f'<?xml version="1.0"?><a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="{server}/x"/>The weir.</a>'.encode(), "i.xml"),
        (hostile.with_part(hostile.word(), "word/_rels/settings.xml.rels", relation.encode()), "template.docx"),
        (f"---\ntitle: {server}\n---\n\n![gauge]({server}/gauge.png)\n\nThe weir is open.\n".encode(), "a.md"),
        (f"{{\\rtf1 {{\\field{{\\*\\fldinst INCLUDEPICTURE {server}/p}}}} The weir is open.}}".encode(), "a.rtf"),
    ]  # fmt: skip
    results, _, _ = run(pool, rows)
    assert len(results) == len(rows)
    assert not [result for result in results if isinstance(result, ParseError)]
    assert _Listener.asked == []


def test_a_parser_that_reaches_out_is_stopped_and_the_file_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import socket

    from headwater.parsing import formats
    from headwater.parsing.blocks import Block

    target = tmp_path / "written.txt"

    def reaching(data: bytes, text: str, policy: ParsePolicy) -> tuple[list[Block], dict[str, Any]]:
        try:
            if text.startswith("write"):
                target.write_text("x")
            elif text.startswith("connect"):
                socket.create_connection(("127.0.0.1", 9), timeout=1)
            elif text.startswith("start"):
                os.system("true")
        except PermissionError:
            pass  # as a library might swallow it
        return [Block("Text", "words")], {}

    monkeypatch.setitem(formats.READERS, "text/plain", reaching)
    for what in (b"write", b"connect", b"start"):
        with pytest.raises(ParseError) as caught:
            parse_confined(what, "a.txt", ParsePolicy())
        assert caught.value.code == "forbidden"
    assert not target.exists()
    assert parse_confined(b"nothing", "a.txt", ParsePolicy()).text == "words"
    target.write_text("outside of parsing, everything is as before")


def write_a_file(batch: str, policy: ParsePolicy) -> str:
    try:
        Path(batch).write_text("x")
    except OSError as error:
        return type(error).__name__ + str(error.errno)
    return "written"


def test_a_parsing_process_can_write_no_file(tmp_path: Path) -> None:
    with WorkerPool(
        f"{__name__}:write_a_file", POLICY, workers=1, prepare="headwater.parsing:prepare_worker"
    ) as confined:
        [(_, outcome)] = confined.map([str(tmp_path / "a.txt")])
    assert outcome != "written"
    assert (tmp_path / "a.txt").stat().st_size == 0


def test_names_of_attachments_stay_inside_their_mail() -> None:
    [attachment] = attachments(hostile.mail_with_a_path())
    assert attachment.name == "escaped.txt"


@pytest.mark.parametrize(
    ("data", "code"),
    [(hostile.mail_of_many_parts(), "too_many_attachments"), (hostile.deep_mail(), "nested_too_deeply")],
)
def test_a_mail_of_too_many_parts_is_not_taken_apart(data: bytes, code: str) -> None:
    with pytest.raises(ParseError) as caught:
        attachments(data)
    assert caught.value.code == code


def test_front_matter_is_never_expanded() -> None:
    document = parse_in_process(hostile.front_matter_bomb(), "a.md")
    assert len(document.text) < 10_000
    assert "front matter can't be read" in document.metadata["notes"][0]
