"""The HTTP service: what it returns, what it refuses, and what it keeps to itself."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, get_args

import httpx
import pytest
from fastapi.testclient import TestClient

from headwater.corpus import Corpus
from headwater.errors import ConfigError, NotFoundError
from headwater.ledger import ReleaseInfo
from headwater.ledger.records import ReleaseState
from headwater.policies import CorpusPolicy, SourcePolicy
from headwater.retrieval.explain import Explanation
from headwater.types import Answer, Citation, Passage, Principal, Sentence
from serving.app import STATIC, create_app
from serving.chat.models import ChatRequest
from serving.json_lines import JsonLines
from serving.middleware import MAX_BODY
from serving.models import AnswerRequest, FeedbackRequest, Problem, RetrieveRequest
from serving.server import is_loopback, run
from serving.shelf import Shelf
from tests.live_corpus import NOTICE, live_corpus

__all__ = ["live_corpus"]

SECRET = "Thirty-one herons"


class OneDocument:
    """A corpus of one passage, to reach the edges of the service without building an index."""

    policy = CorpusPolicy(source=SourcePolicy(uri="documents"), description="One document.")

    def __init__(self) -> None:
        self.number: int | None = 1
        self.asked: list[tuple[Principal | None, Any]] = []

    def live(self) -> int | None:
        return self.number

    def refresh(self) -> None:
        pass

    def check_passed(self, release: int) -> None:
        pass

    def passage(self, release: int) -> Passage:
        return Passage("c", "d", "birds.md", "r", release, "Birds", (), None, 0, len(SECRET), SECRET, 1.0)

    def search(self, query: str, k: int = 10, *, release: int, **_: Any) -> list[Passage]:
        return [self.passage(release)]

    def explain(self, query: str, k: int = 10, *, release: int, principal: Any, filters: Any, **_: Any) -> Explanation:
        self.asked.append((principal, filters))
        found = tuple(self.search(query, k, release=release))
        return Explanation(query, release, "hybrid", found, "none", None, None, {}, 1, None, 0.0, (), {"search": 0.01})

    def answer(self, question: str, *, release: int, **_: Any) -> Answer:
        citation = Citation("d", 0, len(SECRET), SECRET, "birds.md", "Birds", (), None, "r", "c")
        return Answer("a", question, (Sentence(SECRET, (citation,), 0.9),), False, None, release, "extractive/1")

    def releases(self) -> list[Any]:
        return []


class Failing(OneDocument):
    def search(self, *args: Any, **kwargs: Any) -> list[Passage]:
        raise RuntimeError(SECRET)


class Switching(OneDocument):
    """Release 1 is collected between the look at the pointer and the search; release 2 is live then."""

    def search(self, query: str, k: int = 10, *, release: int, **kwargs: Any) -> list[Passage]:
        if release == 1:
            raise NotFoundError("gone")
        return [self.passage(release)]

    def refresh(self) -> None:
        self.number = 2


@contextmanager
def serve(corpus: Any, **options: Any) -> Iterator[TestClient]:
    app = create_app(corpora={"works": corpus}, **options)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_API_TOKEN", raising=False)


@pytest.fixture
def client() -> Iterator[TestClient]:
    with serve(OneDocument()) as client:
        yield client


@pytest.fixture
def real(live_corpus: Corpus) -> Iterator[TestClient]:
    with serve(live_corpus) as client:
        yield client


def check_problem(response: httpx.Response, status: int) -> Problem:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate(response.json())
    assert found.status == status
    assert found.request_id == response.headers["x-request-id"]
    return found


# --- a real corpus --------------------------------------------------------------------------------------------------


def test_an_answer_cites_a_span_that_the_document_endpoint_gives_back(real: TestClient) -> None:
    answer = real.post("/v1/answer", json={"corpus": "works", "question": "How long is the notice period?"}).json()
    assert not answer["refused"]
    assert NOTICE in answer["text"]
    for sentence in answer["sentences"]:
        for citation in sentence["citations"]:
            span = {"start": citation["start"], "end": citation["end"]}
            query = {"corpus": "works", "release": answer["release"], **span}
            document = real.get(f"/v1/documents/{citation['doc']}", params=query).json()
            assert document["text"] == citation["quote"] == sentence["text"]
            assert (document["key"], document["revision"]) == (citation["key"], citation["revision"])


def test_an_answer_can_be_found_in_the_ledger(real: TestClient, live_corpus: Corpus) -> None:
    answer = real.post("/v1/answer", json={"corpus": "works", "question": "How long is the notice period?"}).json()
    record = live_corpus.ledger.answer(answer["id"])
    assert record is not None
    assert (record.release, record.refused) == (answer["release"], False)


def test_an_unanswerable_question_is_refused_with_a_reason(real: TestClient) -> None:
    question = "Who won the football cup in 1954?"
    response = real.post("/v1/answer", json={"corpus": "works", "question": question})
    assert response.status_code == 200
    assert response.json()["refused"] is True
    assert response.json()["reason"]
    assert response.json()["sentences"] == []


def test_passages_come_filtered_and_from_one_release(real: TestClient) -> None:
    body = {"corpus": "works", "query": "trains and hotels", "k": 3, "filters": {"key": ["travel.md", "leave.md"]}}
    found = real.post("/v1/retrieve", json=body).json()
    assert 0 < len(found["passages"]) <= 3
    assert {passage["key"] for passage in found["passages"]} <= {"travel.md", "leave.md"}
    assert {passage["release"] for passage in found["passages"]} == {found["release"]}


def test_only_the_end_users_groups_open_restricted_documents(real: TestClient) -> None:
    body = {"corpus": "works", "query": "pay band of field engineers", "k": 100}
    restricted = real.post("/v1/retrieve", json=body | {"groups": ["hr"]}).json()["passages"]
    (pay,) = [passage for passage in restricted if passage["key"] == "hr/pay.md"]
    for groups in ({}, {"groups": []}, {"groups": ["staff", "HR", "*"]}):
        found = real.post("/v1/retrieve", json=body | groups).json()["passages"]
        assert "hr/pay.md" not in {passage["key"] for passage in found}
    url = f"/v1/documents/{pay['doc_id']}"
    check_problem(real.get(url, params={"corpus": "works"}), 404)
    assert real.get(url, params={"corpus": "works", "groups": ["staff", "hr"]}).status_code == 200


def test_a_document_that_may_not_be_seen_looks_like_one_that_is_not_there(real: TestClient) -> None:
    query = {"corpus": "works", "query": "pay band", "k": 100, "groups": ["hr"]}
    passages = real.post("/v1/retrieve", json=query).json()["passages"]
    hidden = next(passage["doc_id"] for passage in passages if passage["key"] == "hr/pay.md")
    first = check_problem(real.get(f"/v1/documents/{hidden}", params={"corpus": "works"}), 404)
    second = check_problem(real.get(f"/v1/documents/{'0' * 32}", params={"corpus": "works"}), 404)
    assert first.detail == second.detail


def test_spans_of_a_document_are_clipped_to_it(real: TestClient) -> None:
    found = real.post("/v1/retrieve", json={"corpus": "works", "query": "grey heron nested", "k": 1}).json()
    url = f"/v1/documents/{found['passages'][0]['doc_id']}"
    whole = real.get(url, params={"corpus": "works"}).json()
    assert (whole["start"], whole["end"], whole["length"]) == (0, len(whole["text"]), len(whole["text"]))
    assert whole["sections"]
    middle = real.get(url, params={"corpus": "works", "start": 100, "end": 150}).json()
    assert middle["text"] == whole["text"][100:150]
    assert all(section["start"] < 150 and section["end"] > 100 for section in middle["sections"])
    beyond = real.get(url, params={"corpus": "works", "start": 10**8, "end": 10**9}).json()
    assert (beyond["text"], beyond["start"]) == ("", whole["length"])
    backwards = real.get(url, params={"corpus": "works", "start": 50, "end": 10}).json()
    assert backwards["text"] == ""


def test_documents_are_listed_in_pages_to_those_who_may_read_them(real: TestClient, live_corpus: Corpus) -> None:
    query: dict[str, Any] = {"corpus": "works", "limit": 3}
    first = real.get("/v1/documents", params=query).json()
    second = real.get("/v1/documents", params=query | {"after": first["after"]}).json()
    listed = [document for page in (first, second) for document in page["documents"]]
    assert [document["key"] for document in listed] == ["gauge.txt", "leave.md", "logbook.md", "travel.md"]
    assert (first["after"], second["after"], first["release"]) == ("logbook.md", None, live_corpus.live())
    assert [document["title"] for document in listed][1] == "Leaving us"
    mine = real.get("/v1/documents", params=query | {"groups": ["hr"], "prefix": "hr/"}).json()["documents"]
    assert [document["key"] for document in mine] == ["hr/pay.md"]
    assert real.get("/v1/documents", params=query | {"prefix": "hr/"}).json()["documents"] == []
    opened = real.get(f"/v1/documents/{mine[0]['doc_id']}", params={"corpus": "works", "groups": ["hr"]}).json()
    assert {name: opened[name] for name in ("title", "revision", "content_type")} == {
        name: mine[0][name] for name in ("title", "revision", "content_type")
    }


@pytest.mark.parametrize(
    "filters",
    [
        {"key": ["travel.md", "leave.md"]},
        {"key": {"prefix": ["tra", "lea"]}},
        {"or": [{"key": "travel.md"}, {"key": {"prefix": "lea"}}]},
        'key in (travel.md, "leave.md")',
        'not key ^= "log" and not (key = gauge.txt or key = "hr/pay.md")',
    ],
)
def test_a_filter_means_the_same_in_every_form(real: TestClient, filters: Any) -> None:
    body = {"corpus": "works", "query": "the keeper and the boat", "k": 50, "filters": filters, "groups": ["hr"]}
    found = real.post("/v1/retrieve", json=body).json()["passages"]
    assert {passage["key"] for passage in found} == {"travel.md", "leave.md"}


@pytest.mark.parametrize(
    "filters",
    [
        "key =",
        "colour = blue",
        "key = a" + " or key = a" * 600,
        {"or": []},
        {"not": [{"key": "a"}]},
        {"and": [{"readers": "hr"}]},
        {"meta.No Such": 1},
        {"not": {"not": {"not": {"not": {"not": {"not": {"not": {"not": {"not": {"key": "a"}}}}}}}}}},
        7,
        ["key"],
        None,
        {"page": 10**30},
        {"and": [{"page": 10**30}]},
        "page = 99999999999999999999999",
        {"key": "\ud800"},
        {"key": ["leave.md", "\ud800"]},
        {"title": {"prefix": "\ud800"}},
        {"authors": {"prefix": ["\ud800"]}},
        {"meta": {"a": "\ud800"}},
        {"meta": {"a": ["\ud800"]}},
        {"meta": {"a": {"prefix": "\ud800"}}},
        {"date": "2024-05-31\ud80010:00"},
        {"not": {"key": {"prefix": "\ud800"}}},
        {"and": [{"date": "2024-05-31\ud80010:00"}]},
        "key = \ud800",
    ],
)
def test_filters_that_can_not_be_understood_are_refused(client: TestClient, filters: Any) -> None:
    body = {"corpus": "works", "query": "birds", "filters": filters}
    response = client.post("/v1/retrieve", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert any(error.field.startswith("filters") for error in check_problem(response, 422).errors or [])


@pytest.mark.parametrize("filters", [{"and": [{"page": 10**30}]}, {"key": "\ud800"}, {"meta": {"a": "\ud800"}}])
def test_filters_that_no_index_could_take_are_refused_wherever_they_are_sent(client: TestClient, filters: Any) -> None:
    chat = {"model": "headwater/works", "messages": [{"role": "user", "content": "How many birds?"}]}
    for path, body in (
        ("/v1/answer", {"corpus": "works", "question": "How many birds?"}),
        ("/v1/answer", {"corpus": "works", "question": "How many birds?", "stream": True}),
        ("/v1/chat/completions", chat),
        ("/v1/chat/completions", chat | {"stream": True}),
    ):
        content = json.dumps(body | {"filters": filters})
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
        assert client.post(path, content=content, headers=headers).status_code in (400, 422)


def test_a_search_says_how_it_came_to_its_passages_when_asked(real: TestClient) -> None:
    body = {"corpus": "works", "query": "notice period", "k": 2}
    assert real.post("/v1/retrieve", json=body).json()["explanation"] is None
    found = real.post("/v1/retrieve", json=body | {"explain": True, "filters": "language = en"}).json()
    explained = found["explanation"]
    assert explained["filters"] == {"language": "en"} and explained["timings"]
    lead = next(hit for hit in explained["hits"] if hit["chunk_id"] == found["passages"][0]["chunk_id"])
    assert lead["outcome"] == "passage" and {"rank", "score"} == set(lead["sparse"])
    sparse = real.post("/v1/retrieve", json=body | {"explain": True, "mode": "sparse"}).json()["explanation"]
    assert sparse["mode"] == "sparse" and all(hit["dense"] is None for hit in sparse["hits"])


def test_an_explanation_names_no_document_that_may_not_be_read(real: TestClient) -> None:
    body = {"corpus": "works", "query": "pay band of field engineers", "k": 50, "explain": True}
    assert "hr/pay.md" not in real.post("/v1/retrieve", json=body).text
    assert "hr/pay.md" in real.post("/v1/retrieve", json=body | {"groups": ["hr"]}).text


def test_releases_are_listed_in_pages() -> None:
    class ManyReleases(OneDocument):
        def releases(self) -> list[Any]:
            now = datetime.now(UTC)
            more: Any = {"table_versions": {}, "counts": {}, "checks": (), "settings": {}}
            return [
                ReleaseInfo(
                    "works", n, "retained", None, "s", now, None, None, readers_version=None, redacted=False, **more
                )
                for n in range(7, 0, -1)
            ]

    with serve(ManyReleases()) as client:
        seen: list[int] = []
        query: dict[str, Any] = {"corpus": "works", "limit": 3}
        while True:
            page = client.get("/v1/releases", params=query).json()
            seen += [release["number"] for release in page["releases"]]
            if page["after"] is None:
                break
            query["after"] = page["after"]
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_releases_are_listed_with_their_checks(real: TestClient) -> None:
    releases = real.get("/v1/releases", params={"corpus": "works"}).json()["releases"]
    assert releases[0]["state"] == "live"
    assert releases[0]["checks"]


def test_the_page_of_releases_has_words_for_every_state() -> None:
    script = (STATIC / "releases.js").read_text()
    (named,) = re.findall(r"const STATES = \{(.*?)\};", script, re.DOTALL)
    assert set(re.findall(r"(\w+): \"\w[^\"]+\"", named)) == set(get_args(ReleaseState))


def test_receipts_say_what_became_of_every_object(real: TestClient, live_corpus: Corpus) -> None:
    found = real.get("/v1/receipts", params={"corpus": "works"}).json()
    assert found["release"] == live_corpus.live()
    assert found["states"] == {"indexed": 4, "duplicate": 0, "rejected": 0, "quarantined": 0}
    assert [receipt["key"] for receipt in found["receipts"]] == ["gauge.txt", "leave.md", "logbook.md", "travel.md"]
    for receipt in found["receipts"]:
        assert (receipt["state"], receipt["reason"], receipt["release"]) == ("indexed", "ok", live_corpus.live())
        assert receipt["message"] and receipt["since"] and receipt["modified"] and len(receipt["revision"]) == 32
    assert found["after"] is None


def test_receipts_come_in_pages_and_filtered(real: TestClient) -> None:
    query: dict[str, Any] = {"corpus": "works", "limit": 3}
    first = real.get("/v1/receipts", params=query).json()
    second = real.get("/v1/receipts", params=query | {"after": first["after"]}).json()
    keys = [receipt["key"] for page in (first, second) for receipt in page["receipts"]]
    assert keys == ["gauge.txt", "leave.md", "logbook.md", "travel.md"]
    assert (first["after"], second["after"]) == ("logbook.md", None)
    found = real.get("/v1/receipts", params=query | {"prefix": "l"}).json()
    assert [receipt["key"] for receipt in found["receipts"]] == ["leave.md", "logbook.md"]
    assert found["states"]["indexed"] == 2
    none = real.get("/v1/receipts", params=query | {"state": "rejected"}).json()
    assert (none["receipts"], none["states"]["indexed"]) == ([], 4)


def test_receipts_of_documents_that_may_not_be_read_look_like_none(real: TestClient) -> None:
    hidden = {"corpus": "works", "key": "hr/pay.md"}
    first = check_problem(real.get("/v1/receipts", params=hidden), 404)
    second = check_problem(real.get("/v1/receipts", params={"corpus": "works", "key": "nowhere.md"}), 404)
    assert first.detail == second.detail
    (pay,) = real.get("/v1/receipts", params=hidden | {"groups": ["staff", "hr"]}).json()["receipts"]
    assert pay["key"] == "hr/pay.md"
    everything = real.get("/v1/receipts", params={"corpus": "works", "groups": ["hr"]}).json()
    assert everything["states"]["indexed"] == 5
    under = real.get("/v1/receipts", params={"corpus": "works", "prefix": "hr/"}).json()
    assert (under["receipts"], sum(under["states"].values())) == ([], 0)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"corpus": "works", "limit": 0},
        {"corpus": "works", "limit": 1001},
        {"corpus": "works", "state": "lost"},
        {"corpus": "works", "key": ""},
        {"corpus": "works", "key": "a\x00b"},
        {"corpus": "works", "prefix": "x" * 2001},
        {"corpus": "works", "groups": [" "]},
        {"corpus": "works", "groups": ["", "hr"]},
    ],
)
def test_invalid_receipt_queries_are_refused(client: TestClient, query: dict[str, Any]) -> None:
    check_problem(client.get("/v1/receipts", params=query), 422)


def test_log_lines_never_hold_keys(real: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headwater"):
        for query in ({"key": "travel.md"}, {"key": "gone.md"}, {"prefix": "trav"}, {"after": "tra"}):
            real.get("/v1/receipts", params={"corpus": "works"} | query)
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.message == "request"]
    assert {line["route"] for line in lines} == {"/v1/receipts"}
    assert [line["status"] for line in lines] == [200, 404, 200, 200]
    assert "trav" not in json.dumps(lines) and "gone" not in json.dumps(lines)


def test_a_release_that_does_not_exist_is_not_found(real: TestClient) -> None:
    check_problem(real.post("/v1/retrieve", json={"corpus": "works", "query": "leave", "release": 999}), 404)
    check_problem(real.get("/v1/documents/d", params={"corpus": "works", "release": 2**31 - 1}), 404)


def test_many_requests_at_once_are_all_answered(real: TestClient) -> None:
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(real.post("/v1/retrieve", json={"corpus": "works", "query": "notice"}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 16


def test_a_project_is_served_by_its_name(live_corpus: Corpus) -> None:
    app = create_app(live_corpus.project)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/v1/corpora").json() == {
            "corpora": [{"name": "works", "description": "How the works run.", "live": live_corpus.live()}],
            "scopes": ["search", "answer", "documents", "receipts", "feedback", "vouch", "metrics"],
        }
        check_problem(client.get("/v1/releases", params={"corpus": "../works"}), 404)
        body = {"corpus": "works", "query": "notice", "k": 1}
        assert client.post("/v1/retrieve", json=body).json()["passages"]


def test_a_corpus_file_that_can_not_be_read_costs_no_other_corpus(live_corpus: Corpus) -> None:
    broken = live_corpus.project.root / "assets" / "broken" / "defs.yaml"
    broken.parent.mkdir()
    broken.write_bytes("type: assets.corpus.Corpus # Größe\n".encode("latin-1"))
    try:
        app = create_app(live_corpus.project)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            listed = {corpus["name"] for corpus in client.get("/v1/corpora").json()["corpora"]}
            assert "works" in listed
            assert client.get("/v1/models").status_code == 200
            check_problem(client.get("/v1/answers/nothing"), 404)
            body = {"corpus": "broken", "query": "notice", "k": 1}
            check_problem(client.post("/v1/retrieve", json=body), 503)
    finally:
        broken.unlink()
        broken.parent.rmdir()


# --- readiness ------------------------------------------------------------------------------------------------------


def test_the_service_is_ready_once_it_is_warm_and_every_corpus_is_live(real: TestClient) -> None:
    assert real.get("/healthz").json() == {"status": "ok"}
    warm = threading.Event()
    for thread in threading.enumerate():
        if thread.name == "headwater-warm-up":
            thread.join()
            warm.set()
    response = real.get("/readyz")
    assert response.status_code == 200
    assert response.json()["corpora"]["works"]["ready"] is True


def test_while_models_load_the_service_says_warming() -> None:
    release = threading.Event()

    class Slow(OneDocument):
        def search(self, query: str, k: int = 10, *, mode: str = "hybrid", **kwargs: Any) -> list[Passage]:
            if mode == "hybrid":
                release.wait(30)
            return []

    with serve(Slow()) as client:
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.json()["status"] == "warming"
        assert client.get("/healthz").status_code == 200
        release.set()


@pytest.mark.parametrize("corpus", [Failing(), OneDocument()])
def test_a_corpus_that_cannot_be_searched_is_not_ready(corpus: OneDocument) -> None:
    if not isinstance(corpus, Failing):
        corpus.number = None
    with serve(corpus) as client:
        for thread in threading.enumerate():
            if thread.name == "headwater-warm-up":
                thread.join()
        response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["corpora"]["works"]["reason"]
    assert SECRET not in response.text


def test_readiness_is_looked_up_once_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, go_on = threading.Semaphore(0), threading.Event()

    class Slow(OneDocument):
        looks = 0

        def search(self, query: str, k: int = 10, *, mode: str = "hybrid", **kwargs: Any) -> list[Passage]:
            if mode == "sparse":
                Slow.looks += 1
                looked.release()
                go_on.wait(30)
            return []

    shelf = Shelf(None, {"works": Slow()})  # type: ignore[dict-item]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(shelf.readiness)
        assert looked.acquire(timeout=30)
        assert [shelf.readiness().status for _ in range(3)] == ["not ready"] * 3  # without waiting
        go_on.set()
        assert first.result().status == "ready"
    assert [shelf.readiness().status for _ in range(3)] == ["ready"] * 3
    assert Slow.looks == 1
    monkeypatch.setattr("serving.shelf.READINESS_SECONDS", 0.0)
    assert shelf.readiness().status == "ready" and Slow.looks == 2


def test_without_a_live_release_a_search_says_to_come_back() -> None:
    corpus = OneDocument()
    corpus.number = None
    with serve(corpus) as client:
        response = client.post("/v1/retrieve", json={"corpus": "works", "query": "birds"})
        assert "no live release" in check_problem(response, 503).detail
        assert response.headers["retry-after"]


def test_a_release_that_is_collected_during_a_request_does_not_fail_it() -> None:
    with serve(Switching()) as client:
        found = client.post("/v1/retrieve", json={"corpus": "works", "query": "birds"})
    assert found.status_code == 200
    assert found.json()["release"] == 2


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"corpus": "works"},
        {"corpus": "works", "query": ""},
        {"corpus": "works", "query": " \n "},
        {"corpus": "works", "query": "x" * 2001},
        {"corpus": "works", "query": "a\x00b"},
        {"corpus": "works", "query": 7},
        {"corpus": "works", "query": "birds", "k": 0},
        {"corpus": "works", "query": "birds", "k": 101},
        {"corpus": "works", "query": "birds", "k": "many"},
        {"corpus": "works", "query": "birds", "release": -1},
        {"corpus": "works", "query": "birds", "release": 2**70},
        {"corpus": "works", "query": "birds", "filters": {"readers": "*"}},
        {"corpus": "works", "query": "birds", "filters": {"page": "seven"}},
        {"corpus": "works", "query": "birds", "filters": {"key": []}},
        {"corpus": "works", "query": "birds", "filters": {"date": "yesterday"}},
        {"corpus": "works", "query": "birds", "filters": {"modified": {"since": "2024"}}},
        {"corpus": "works", "query": "birds", "filters": {"page": {}}},
        {"corpus": "works", "query": "birds", "filters": {"meta": {"No Such Name": 1}}},
        {"corpus": "works", "query": "birds", "groups": "hr"},
        {"corpus": "works", "query": "birds", "groups": [""]},
        {"corpus": "works", "query": "birds", "groups": ["g"] * 201},
        {"corpus": "works", "query": "birds", "principal": "root"},
        [],
        "birds",
        None,
    ],
)
def test_invalid_bodies_are_named_and_not_repeated(client: TestClient, body: Any) -> None:
    response = client.post("/v1/retrieve", json=body)
    assert check_problem(response, 422).errors
    assert "birds" not in response.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"corpus": "works", "query": "\\ud800"}',
        b'{"\\ud800": 1}',
        b"[" * 20000,
        b"NaN",
        b"1e999",
    ],
)
def test_bytes_that_are_no_request_never_break_the_service(client: TestClient, content: bytes) -> None:
    response = client.post("/v1/retrieve", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"


def test_a_body_that_is_not_declared_as_json_is_refused(client: TestClient) -> None:
    body = json.dumps({"corpus": "works", "query": "birds"})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        check_problem(client.post("/v1/retrieve", content=body, headers={"Content-Type": kind}), 422)


def test_large_bodies_are_refused_with_and_without_a_length(client: TestClient) -> None:
    check_problem(client.post("/v1/retrieve", content=b"x" * (MAX_BODY + 1)), 413)
    check_problem(client.post("/v1/retrieve", content=iter([b"x" * 40_000] * 3)), 413)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"corpus": "works", "start": -1},
        {"corpus": "works", "end": 2**70},
        {"corpus": "works", "start": "x"},
        {"corpus": "works", "groups": ["g" * 201]},
    ],
)
def test_invalid_document_queries_are_refused(client: TestClient, query: dict[str, Any]) -> None:
    check_problem(client.get("/v1/documents/d", params=query), 422)


def test_unknown_corpora_paths_and_methods_are_problems(client: TestClient) -> None:
    check_problem(client.post("/v1/retrieve", json={"corpus": "nowhere", "query": "birds"}), 404)
    check_problem(client.get("/v1/nothing"), 404)
    check_problem(client.get("/v1/retrieve"), 405)
    check_problem(client.get("/static/../app.py"), 404)
    check_problem(client.get("/static/%2e%2e/app.py"), 404)


def test_a_failure_inside_says_nothing_about_documents(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headwater"), serve(Failing()) as client:
        response = client.post("/v1/retrieve", json={"corpus": "works", "query": "birds of prey"})
    problem = check_problem(response, 500)
    lines = "\n".join(JsonLines().format(record) for record in caplog.records if record.name.startswith("headwater"))
    assert SECRET not in response.text
    assert SECRET not in lines
    assert problem.request_id in lines
    assert "RuntimeError" in lines


def test_log_lines_are_json_without_questions_or_document_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headwater"), serve(OneDocument()) as client:
        client.post("/v1/answer", json={"corpus": "works", "question": "How many herons?", "groups": ["hr"]})
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.message == "request"]
    (line,) = [line for line in lines if line["route"] == "/v1/answer"]
    assert (line["status"], line["corpus"], line["release"], line["answer"]) == (200, "works", 1, "a")
    assert "heron" not in json.dumps(lines).lower()


# --- headers, permissions, token ------------------------------------------------------------------------------------


def test_every_response_carries_an_id_and_security_headers(client: TestClient) -> None:
    for path in ("/", "/receipts", "/healthz", "/static/app.js", "/v1/corpora", "/v1/nothing", "/openapi.json"):
        response = client.get(path)
        assert response.headers["x-request-id"]
        assert response.headers["content-security-policy"].startswith("default-src 'self';")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in response.headers
    assert client.get("/v1/corpora").headers["cache-control"] == "no-store"


def test_the_callers_request_id_is_kept_when_it_is_harmless(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    for bad in ("a b", "x" * 65, "<script>", ""):
        assert client.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"] != bad


def test_other_origins_get_no_permission(client: TestClient) -> None:
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    assert client.options("/v1/retrieve", headers=headers).status_code == 403
    allowed = client.options("/v1/retrieve", headers=headers | {"Authorization": "Bearer x"})
    assert allowed.status_code == 405 and "access-control-allow-origin" not in allowed.headers


ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://elsewhere.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "sideways"},
    {"Origin": "http://elsewhere.example"},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://127.0.0.1:none"},
    {"Origin": "null"},
]

OURS = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8000"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://127.0.0.1:8000"},
]


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", None])
def test_a_page_of_another_site_asks_nothing(headers: dict[str, str], kind: str | None) -> None:
    headers = headers | ({"Content-Type": kind} if kind else {})
    corpus = OneDocument()
    with serve(corpus, loopback_only=True) as client:
        for path, body in (
            ("/v1/retrieve", b'{"corpus":"works","query":"x"}'),
            ("/v1/chat/completions", b'{"model":"headwater/works","messages":[{"role":"user","content":"x"}]}'),
            ("/mcp", b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'),
        ):
            assert client.post(path, content=body, headers=headers).status_code == 403, path
        assert client.get("/v1/documents?corpus=works", headers=headers).status_code == 403
        # Links to the pages themselves work.
        assert client.get("/", headers=headers).status_code == 200
        assert client.get("/receipts", headers=headers).status_code == 200
    assert corpus.asked == []


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_our_own_page_and_other_programs_ask_as_ever(headers: dict[str, str]) -> None:
    with serve(OneDocument(), loopback_only=True) as client:
        asked = client.post("/v1/retrieve", json={"corpus": "works", "query": "x"}, headers=headers)
        assert asked.status_code == 200


def test_credentials_are_taken_from_any_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_API_TOKEN", "s3cret-token")
    with serve(OneDocument()) as client:
        for headers in ELSEWHERE:
            asked = {"corpus": "works", "query": "x"}
            bearer = headers | {"Authorization": "Bearer s3cret-token"}
            assert client.post("/v1/retrieve", json=asked, headers=bearer).status_code == 200
            assert client.post("/v1/retrieve", json=asked, headers=headers).status_code == 403


def test_groups_and_filters_reach_the_search(client: TestClient) -> None:
    corpus = OneDocument()
    with serve(corpus) as client:
        client.post(
            "/v1/retrieve", json={"corpus": "works", "query": "x", "groups": ["hr"], "filters": {"page": [1, 2]}}
        )
        client.post("/v1/retrieve", json={"corpus": "works", "query": "x"})
        ranges = {"date": {"gte": "2024-05", "lt": "2025"}, "meta": {"version": 3, "draft": True, "size": {"gt": 1}}}
        client.post("/v1/retrieve", json={"corpus": "works", "query": "x", "filters": ranges})
    (named, filters), (anonymous, none), (_, ranged) = corpus.asked[-3:]
    assert (named.groups, filters) == (frozenset({"hr"}), {"page": [1, 2]})
    assert (anonymous.groups, none) == (frozenset(), {})
    assert ranged == {
        "date": {"gte": "2024-05", "lt": "2025"},
        "meta.version": 3,
        "meta.draft": True,
        "meta.size": {"gt": 1},
    }


def test_with_a_token_every_request_under_v1_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_API_TOKEN", "s3cret-token")
    with serve(OneDocument()) as client:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic s3cret-token"},
            {"Authorization": b"Bearer \xff"},
        ):
            response = client.get("/v1/corpora", headers=headers)
            check_problem(response, 401)
            assert response.headers["www-authenticate"].startswith("Bearer")
        check_problem(client.post("/v1/nothing"), 401)
        assert client.get("/v1/corpora", headers={"Authorization": "Bearer s3cret-token"}).status_code == 200
        assert client.get("/healthz").status_code == 200
        assert client.get("/").status_code == 200


def test_on_loopback_only_requests_addressed_to_this_machine_are_answered() -> None:
    with serve(OneDocument(), loopback_only=True) as client:
        for host in ("127.0.0.1:8000", "localhost", "[::1]:8000"):
            assert client.get("/v1/corpora", headers={"Host": host}).status_code == 200
        for host in ("rebound.example", "127.0.0.1.rebound.example", "[::1", ""):
            check_problem(client.get("/v1/corpora", headers={"Host": host}), 421)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", ""])
def test_other_machines_are_not_served_without_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match="HEADWATER_API_TOKEN"):
        run(host, 0)


def test_loopback_addresses_are_known() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "::1", "localhost"]))


# --- the description of the interface -------------------------------------------------------------------------------


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_openapi_description_is_complete(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for reference in references(document):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    operations = [(path, operation) for path, item in document["paths"].items() for operation in item.values()]
    assert {path for path, _ in operations} == {
        "/v1/corpora",
        "/v1/releases",
        "/v1/retrieve",
        "/v1/answer",
        "/v1/answer/stream",
        "/v1/answers/{answer_id}",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/documents",
        "/v1/documents/{doc_id}",
        "/v1/receipts",
        "/v1/feedback",
        "/v1/unanswered-questions",
        "/v1/prompts",
        "/v1/admin/corpora/{corpus}/promote",
        "/v1/admin/corpora/{corpus}/rollback",
        "/v1/admin/audit",
        "/v1/admin/keys",
        "/v1/admin/keys/{key}/revoke",
        "/healthz",
        "/readyz",
    }
    for path, operation in operations:
        assert operation["summary"] and operation["description"]
        if path.startswith(("/v1/chat", "/v1/models")):
            assert "422" not in operation["responses"]
            for status in ("400", "401", "404", "429", "503"):
                assert list(operation["responses"][status]["content"]) == ["application/json"]
        elif path.startswith("/v1"):
            for status in ("400", "401", "403", "404", "413", "421", "422", "429", "500", "503"):
                assert list(operation["responses"][status]["content"]) == ["application/problem+json"]
    schemas = document["components"]["schemas"]
    for model in (RetrieveRequest, AnswerRequest, FeedbackRequest, ChatRequest):
        for example in schemas[model.__name__]["examples"]:
            model.model_validate(example)
