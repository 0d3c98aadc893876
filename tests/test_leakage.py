"""Nobody is shown anything of a document that they may not read: ten thousand random readers and queries.

Passages, spans, duplicates, explanations, answers (remembered ones too), documents, receipts and their counts; on the
live release, on older ones after permissions were taken away, after a rollback, and over HTTP.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from headwater import releases
from headwater.answering.events import Finished, Started
from headwater.api_keys import KeyLimits, Scope
from headwater.corpus import Corpus, open_corpus, readers_of_principal
from headwater.documents import page_of_documents
from headwater.errors import NotFoundError
from headwater.hashing import document_id
from headwater.ledger import Ledger
from headwater.pipeline import Pipeline
from headwater.receipts import page_of_receipts
from headwater.types import Principal
from serving import create_app
from serving.access import Access
from serving.access.settings import AccessSettings
from tests.conftest import SMALL, use_project, write_corpus
from tests.leak_corpus import GROUPS, NAME, Vault, Watch, change_rules, make_vault, narrowed, subsets

pytestmark = pytest.mark.slow

LIVE_PAIRS = 6000
OLDER_PAIRS = 4000
ANSWERS = 160
REQUESTS = 300
READERS = [*subsets(GROUPS), frozenset({"strangers"})]
MODES = ("hybrid", "hybrid", "hybrid", "dense", "sparse")


class Remembering:
    """The corpus' own embedding model, which embeds every query once."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._known: dict[str, np.ndarray] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode_queries(self, texts: list[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._model.encode_queries(new), strict=True))
        return np.array([self._known[text] for text in texts], dtype=np.float32)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HEADWATER_PROJECT", "HEADWATER_HOME", "HEADWATER_LEDGER_URL", "HEADWATER_API_TOKEN"):
            patch.delenv(name, raising=False)
        vault = make_vault(tmp_path_factory.mktemp("vault") / "project")
        with open_corpus(vault.write()) as corpus:
            Pipeline(corpus, workers=1).run()
        yield vault


@contextmanager
def opened(vault: Vault) -> Iterator[Corpus]:
    with open_corpus(vault.root / "assets" / NAME) as corpus:
        models: dict[int, Remembering] = {}
        real = corpus.embedder_of

        def remembering(release: int) -> Remembering:
            if release not in models:
                models[release] = Remembering(real(release))
            return models[release]

        corpus.embedder_of = remembering  # type: ignore[method-assign, assignment]
        yield corpus


@pytest.fixture
def corpus(built: Vault) -> Iterator[Corpus]:
    with opened(built) as corpus:
        yield corpus


def queries(vault: Vault, choose: random.Random) -> list[str]:
    """Return what is searched for: sentences of documents, the words that give them away, and nothing in particular."""
    return [
        *choose.sample(vault.questions, 120),
        *choose.sample(vault.words, 90),
        *(f"{word} ledger entry" for word in choose.sample(vault.words, 40)),
        "ledger",
        "inspected before the spring tide",
        "?",
    ]


def filters(vault: Vault, choose: random.Random) -> Any:
    """Return no filter, mostly, or one in any of its forms, aimed at some document."""
    key = choose.choice(sorted(vault.keys()))
    folder = key.split("/")[0]
    forms: list[Any] = [
        {"doc_id": document_id(NAME, key)},
        {"key": [key, choose.choice(sorted(vault.keys()))]},
        {"or": [{"key": key}, {"not": {"key": key}}]},
        {"not": {"doc_id": document_id(NAME, key)}},
        f'key ^= "{folder}/"',
        f'key = "{key}" or not key ^= "{folder}/"',
    ]
    return choose.choice(forms) if choose.random() < 0.35 else None


def search_pairs(
    corpus: Corpus,
    vault: Vault,
    watch: Callable[[int], Watch],
    now: Watch,
    numbers: list[int],
    pairs: int,
    seed: int,
) -> tuple[int, set[str]]:
    """Search as random readers; return how often something was found, and the keys found that aren't everyone's.

    A passage follows the readers that its release leaves it (``watch``); the documents that it stands for are named by
    who may read them ``now``.

    Fails at the first passage or explanation that shows its reader something of others.
    """
    choose = random.Random(seed)
    asked = queries(vault, choose)
    corpus.embedder_of(numbers[0]).encode_queries(asked)
    found, restricted = 0, set()
    for number in range(pairs):
        groups, query, release = choose.choice(READERS), choose.choice(asked), choose.choice(numbers)
        principal, guard = Principal(groups, f"reader {number}"), watch(release)
        options: dict[str, Any] = {
            "release": release,
            "principal": principal,
            "filters": filters(vault, choose),
            "mode": choose.choice(MODES),
            "merge": choose.choice([None, True, False]),
        }
        k = choose.choice([1, 3, 10, 40])
        if number % 3:
            explained = corpus.explain(query, k, **options)
            passages = explained.passages
            # What was asked is the reader's own.
            shown: list[Any] = [replace(explained, query="", filters={}, passages=())]
        else:
            passages, shown = tuple(corpus.search(query, k, **options)), []
        shown += [replace(passage, duplicates=()) for passage in passages]
        assert not guard.leaks(shown, groups), (number, sorted(groups), query, options)
        assert all(guard.may(passage.key, groups) for passage in passages)
        assert all(now.may(copied.key, groups) for passage in passages for copied in passage.duplicates)
        found += bool(passages)
        restricted |= {passage.key for passage in passages if not guard.may(passage.key, frozenset())}
    return found, restricted


def test_the_watch_sees_what_a_search_without_permissions_shows(corpus: Corpus, built: Vault) -> None:
    """The measure itself: with no filter on readers, nearly every search would be a leak."""
    watch = Watch(built, built.allowed())
    choose = random.Random(1)
    leaking = 0
    for query in choose.sample(built.questions, 40):
        leaking += bool(watch.leaks(corpus.search_as(None, query, 10), choose.choice(READERS[:20])))
    assert leaking >= 35


@pytest.mark.shard
def test_no_search_shows_what_its_reader_may_not_see(corpus: Corpus, built: Vault) -> None:
    watch = Watch(built, built.allowed())
    found, restricted = search_pairs(corpus, built, lambda _: watch, watch, [1], LIVE_PAIRS, seed=2)
    # That nothing leaked means something only where much was found.
    readable = {key for key, readers in watch.allowed.items() if readers and not watch.may(key, frozenset())}
    assert found > LIVE_PAIRS / 2
    assert len(restricted) > 0.7 * len(readable)


def test_taken_away_permissions_hold_in_every_release_and_after_a_rollback(
    built: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = copy.deepcopy(built)
    vault.root = tmp_path / "project"
    shutil.copytree(built.root, vault.root, copy_function=shutil.copy2)
    before = vault.allowed()
    change_rules(vault)
    vault.write()
    now = vault.allowed()
    older = {key: narrowed(before[key], now[key]) for key in now}
    watches = {1: Watch(vault, older), 2: Watch(vault, now)}
    lost = sum(bool(before[key] - older[key]) for key in now)
    gained = sum(bool(now[key] - before[key]) for key in now)
    assert lost > 10 and gained > 10
    with opened(vault) as corpus, every_door(corpus, vault, tmp_path / "keys.db") as doors:
        doors.knock(Watch(vault, before), Watch(vault, before), seed=8)
        Pipeline(corpus, workers=1).run()
        assert corpus.live() == 2
        doors.knock(watches[2], watches[2], seed=9)
        found, _ = search_pairs(corpus, vault, watches.__getitem__, watches[2], [1, 2], OLDER_PAIRS // 2, seed=3)
        assert found > OLDER_PAIRS / 4
        check_documents(corpus, watches, [1, 2], every=40)
        releases.rollback(corpus, 1, reason="A test.")
        assert corpus.live() == 1
        doors.knock(watches[1], watches[2], seed=10)
        found, _ = search_pairs(corpus, vault, watches.__getitem__, watches[2], [1], OLDER_PAIRS // 2, seed=4)
        assert found > OLDER_PAIRS / 4
        check_answers(corpus, vault, watches[1], watches[2], 40, seed=5)
        check_documents(corpus, watches, [1], every=60)


def check_answers(corpus: Corpus, vault: Vault, watch: Watch, now: Watch, count: int, seed: int) -> int:
    """Ask as random readers, several in a row the same question; return how many answers were not refused."""
    choose = random.Random(seed)
    asked = choose.sample(vault.questions, max(4, count // 8))
    answered = remembered = 0
    for number in range(count):
        groups, question = choose.choice(READERS), asked[number // 8 % len(asked)]
        principal = Principal(groups, f"reader {number}")
        if number % 4:
            answer = corpus.answer(question, principal=principal)
            shown: list[Any] = [answer]
        else:
            shown = list(corpus.answer_events(question, principal=principal))
            first, last = shown[0], shown[-1]
            assert isinstance(first, Started) and isinstance(last, Finished)
            assert all(now.may(copied.key, groups) for passage in first.passages for copied in passage.duplicates)
            shown[0] = replace(first, passages=tuple(replace(one, duplicates=()) for one in first.passages))
            answer = last.answer
        assert not watch.leaks(shown, groups), (number, sorted(groups), question)
        record = corpus.ledger.answer(answer.id)
        assert record is not None and not watch.leaks(record, groups)
        answered += not answer.refused
        remembered += answer.cached
    again = choose.choice(READERS)
    first, second = (corpus.answer(asked[0], principal=Principal(again)) for _ in range(2))
    assert second.cached or first.fallback is not None
    return answered


def test_no_answer_shows_what_its_reader_may_not_see_remembered_or_not(corpus: Corpus, built: Vault) -> None:
    watch = Watch(built, built.allowed())
    answered = check_answers(corpus, built, watch, watch, ANSWERS, seed=6)
    assert answered > ANSWERS / 5


PUBLIC = {
    "boats.md": "# Boats\n\nThe green rowing boat is lent at the jetty. Merger notices hang beside the boat shed door.\n",
    "bikes.md": "# Bicycles\n\nThe bicycle shed opens at six. A bicycle is lent for two days, a boat for two hours.\n",
    "pumps.md": "# Pumps\n\nThe pump room is cleaned on Mondays by the yard crew with a long brush.\n",
}
HIDDEN = {
    f"hr/{number}.md": f"# Note {number}\n\nIn {what} the merger and the new boat are told to nobody before spring.\n"
    for number, what in enumerate(["board minutes", "a legal letter", "the directors' mail", "a press note", "a talk"])
}


def test_no_score_changes_with_documents_that_its_reader_may_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = [{"prefix": "", "groups": ["*"]}, {"prefix": "hr/", "groups": ["hr"]}]
    orders: list[list[list[str]]] = []
    scores: list[list[float]] = []
    for number, files in enumerate((PUBLIC, PUBLIC | HIDDEN)):
        root = tmp_path / str(number)
        use_project(root, monkeypatch)
        folder = write_corpus(
            root, SMALL, files, access=access, retrieval={"learning_queries": 0}, gate={"known_item_queries": 0}
        )
        with open_corpus(folder) as corpus:
            Pipeline(corpus, workers=1).run()
            orders.append([])
            scores.append([])
            for query in ("merger", "boat", "bicycle merger boat", "Where is the boat lent?", "directors", "pump"):
                for mode in ("sparse", "dense", "hybrid"):
                    asked: dict[str, Any] = {"mode": mode, "principal": Principal(frozenset({"crew"}))}
                    passages, explained = corpus.search(query, 10, **asked), corpus.explain(query, 10, **asked)
                    orders[-1] += [[one.key for one in passages], [hit.key for hit in explained.hits]]
                    scores[-1] += [one.score for one in passages]
                    for hit in explained.hits:
                        scores[-1] += [hit.score, *(hit.dense or (0, 0.0)), *(hit.sparse or (0, 0.0))]
            assert any(one.key in HIDDEN for one in corpus.search_as(None, "merger", 10)) == bool(number)
    assert orders[0] == orders[1]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
    assert len(scores[0]) > 100


def check_documents(corpus: Corpus, watches: dict[int, Watch], numbers: list[int], every: int = 1) -> None:
    """Open every document as readers of all kinds: it opens for those who may see it, and for nobody else."""
    held: dict[int, set[str]] = {}
    for number in numbers:
        with corpus.searcher(number) as searcher:
            points = searcher.retrieve(list(all_chunks(corpus, number)))
            held[number] = {point.payload["key"] for point in points}
        watch = watches[number]
        for place, (key, groups) in enumerate((key, groups) for key in sorted(watch.allowed) for groups in READERS):
            if place % every:
                continue
            wanted = key in held[number] and watch.may(key, groups)
            try:
                document = corpus.document(document_id(NAME, key), principal=Principal(groups), release=number)
            except NotFoundError as missing:
                assert not wanted
                assert "vault" in str(missing) and key not in str(missing)
                continue
            assert wanted, (key, sorted(groups))
            assert not watch.leaks(document, groups)


def all_chunks(corpus: Corpus, release: int) -> list[str]:
    versions = corpus.ledger.release(NAME, release).table_versions
    return corpus.tables.index_manifest.scan(versions["index_manifest"]).collect()["id"].to_list()


def test_documents_open_for_their_readers_and_for_nobody_else(corpus: Corpus, built: Vault) -> None:
    check_documents(corpus, {1: Watch(built, built.allowed())}, [1], every=20)


@pytest.mark.parametrize("groups", READERS[::5], ids=lambda groups: "+".join(sorted(groups)) or "nobody")
def test_receipts_and_lists_name_and_count_what_their_reader_may_see(
    corpus: Corpus, built: Vault, groups: frozenset[str]
) -> None:
    watch = Watch(built, built.allowed())
    readers = readers_of_principal(Principal(groups))
    visible = watch.visible(groups)
    page = page_of_receipts(NAME, corpus.tables, corpus.ledger, readers=readers, limit=None)
    assert {receipt.key for receipt in page.receipts} == visible
    assert sum(page.states.values()) == len(visible)
    assert not watch.leaks(page, groups)
    listed, after = set(), None
    while True:
        part = page_of_documents(corpus, readers=readers, after=after, limit=7)
        assert not watch.leaks(part, groups)
        listed |= {document.key for document in part.documents}
        after = part.after
        if after is None:
            break
    assert listed <= visible
    hidden = sorted(set(watch.allowed) - visible)
    if hidden:
        none = page_of_receipts(NAME, corpus.tables, corpus.ledger, readers=readers, key=hidden[0])
        assert not none.receipts and not sum(none.states.values())


# --- over HTTP --------------------------------------------------------------------------------------------------------

SCOPES: list[Scope] = ["search", "answer", "documents", "receipts", "feedback", "questions"]
GENEROUS = AccessSettings(limits=KeyLimits(per_minute=dict.fromkeys(SCOPES, 10**6)))
DOORS = (
    "retrieve",
    "explain",
    "answer",
    "answer again",
    "stream",
    "chat",
    "search by MCP",
    "answer by MCP",
    "document by MCP",
    "document",
    "documents",
    "receipts",
    "record",
    "feedback",
    "unanswered",
)
KNOCKS = 150


class Doors:
    """One application, and keys of different groups that ask it the same things again and again."""

    def __init__(self, client: TestClient, vault: Vault, holders: dict[frozenset[str], dict[str, str]]) -> None:
        self._client = client
        self._holders = holders
        self._keys = sorted(vault.keys())
        choose = random.Random(11)
        # So few that most are asked by several keys, and again after everything has changed.
        self._questions = choose.sample(vault.questions, 12)
        self._answers: dict[frozenset[str], list[str]] = {groups: [] for groups in holders}

    def knock(self, live: Watch, now: Watch, seed: int) -> None:
        """Come to every door as everybody. Passages follow ``live``, all else who may read the documents ``now``.

        What ``live`` shows a reader ``now`` does, too.
        """
        choose = random.Random(seed)
        statuses: Counter[int] = Counter()
        passages = 0
        for number in range(KNOCKS):
            door, groups = DOORS[number % len(DOORS)], choose.choice(list(self._holders))
            response = self._open(door, groups, choose)
            statuses[response.status_code] += 1
            assert not now.leaks(response.text, groups), (number, door, sorted(groups))
            found = response.json() if door != "stream" else {}
            if door in ("retrieve", "explain"):
                shown = [one["key"] for one in found["passages"]]
                assert all(live.may(key, groups) for key in shown), (number, door, sorted(groups))
                passages += len(shown)
            elif door == "answer":
                self._answers[groups].append(found["id"])
        assert statuses.keys() <= {200, 404} and statuses[200] > 0.7 * KNOCKS, statuses
        assert passages

    def _open(self, door: str, groups: frozenset[str], choose: random.Random) -> httpx.Response:
        question, doc = choose.choice(self._questions), document_id(NAME, choose.choice(self._keys))
        where, body = {"corpus": NAME}, {"corpus": NAME, "question": question}
        if door in ("retrieve", "explain"):
            body = {"corpus": NAME, "query": question, "k": 20, "explain": door == "explain"}
            return self._post(groups, "/v1/retrieve", body)
        if door == "answer":
            return self._post(groups, "/v1/answer", body)
        if door == "answer again":  # the name that somebody else gave, or oneself before all changed
            return self._post(groups, "/v1/answer", body, {"Idempotency-Key": f"k{self._questions.index(question)}"})
        if door == "stream":
            return self._post(groups, "/v1/answer/stream", body)
        if door == "chat":
            said = {"model": f"headwater/{NAME}", "messages": [{"role": "user", "content": question}]}
            return self._post(groups, "/v1/chat/completions", said)
        if door == "search by MCP":
            return self._tool(groups, "search", query=question, k=20)
        if door == "answer by MCP":
            return self._tool(groups, "answer", question=question)
        if door == "document by MCP":
            return self._tool(groups, "open_document", doc_id=doc)
        if door == "document":
            return self._get(groups, f"/v1/documents/{doc}", where)
        if door == "documents":
            return self._get(groups, "/v1/documents", where)
        if door == "receipts":
            return self._get(groups, "/v1/receipts", where)
        if door == "unanswered":
            return self._get(groups, "/v1/unanswered-questions", where)
        owner = choose.choice([some for some in self._answers if self._answers[some]])
        answer = choose.choice(self._answers[owner])
        if door == "record":
            found = self._get(groups, f"/v1/answers/{answer}", {})
        else:
            found = self._post(groups, "/v1/feedback", {"answer": answer, "kind": "thumbs_down"})
        assert found.status_code == (200 if owner == groups else 404)
        return found

    def _get(self, groups: frozenset[str], path: str, query: dict[str, str]) -> httpx.Response:
        return self._client.get(path, params=query, headers=self._holders[groups])

    def _post(
        self, groups: frozenset[str], path: str, body: dict[str, Any], headers: Mapping[str, str] = MappingProxyType({})
    ) -> httpx.Response:
        return self._client.post(path, json=body, headers={**self._holders[groups], **headers})

    def _tool(self, groups: frozenset[str], name: str, **arguments: Any) -> httpx.Response:
        called = {"name": name, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": called}
        found = self._post(groups, "/mcp", message, {"Accept": "application/json, text/event-stream"})
        assert name == "open_document" or not found.json()["result"]["isError"], found.text
        return found


@contextmanager
def every_door(corpus: Corpus, vault: Vault, path: Path) -> Iterator[Doors]:
    """Serve ``corpus`` until the block ends; the keys' ledger lies at ``path``."""
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        holders = {groups: bearer(ledger, groups) for groups in random.Random(12).sample(READERS, 8)}
        app = create_app(corpora={NAME: corpus}, access=Access(ledger=ledger, settings=GENEROUS))
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            yield Doors(client, vault, holders)


@pytest.mark.shard
def test_keys_of_different_groups_are_shown_nothing_of_each_other(corpus: Corpus, built: Vault, tmp_path: Path) -> None:
    watch = Watch(built, built.allowed())
    choose = random.Random(7)
    keys = sorted(built.keys())
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        holders = {groups: bearer(ledger, groups) for groups in choose.sample(READERS, 12)}
        access = Access(ledger=ledger, settings=GENEROUS)
        app = create_app(corpora={NAME: corpus}, access=access)
        statuses: dict[int, int] = {}
        answers: list[tuple[frozenset[str], str]] = []
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            for number in range(REQUESTS):
                groups, headers = choose.choice(list(holders.items()))
                question, key = choose.choice(built.questions), choose.choice(keys)
                doc = document_id(NAME, key)
                body, where = {"corpus": NAME, "question": question}, {"corpus": NAME}
                kind = number % 9
                if kind in (0, 1, 2):
                    search = {"corpus": NAME, "query": question, "k": 20, "explain": kind == 1}
                    search |= {"filters": {"doc_id": doc}} if kind == 2 else {}
                    response = client.post("/v1/retrieve", json=search, headers=headers)
                elif kind == 3:
                    response = client.post("/v1/answer", json=body, headers=headers)
                    answers.append((groups, response.json()["id"]))
                elif kind == 4:
                    response = client.post("/v1/answer/stream", json=body, headers=headers)
                elif kind == 5:
                    response = client.get(f"/v1/documents/{doc}", params=where, headers=headers)
                    assert (response.status_code == 200) <= watch.may(key, groups)
                elif kind == 6:
                    response = client.get("/v1/receipts", params=where, headers=headers)
                    assert sum(response.json()["states"].values()) == len(watch.visible(groups))
                elif kind == 7:
                    response = client.get("/v1/documents", params=where, headers=headers)
                else:
                    chat = {"model": f"headwater/{NAME}", "messages": [{"role": "user", "content": question}]}
                    response = client.post("/v1/chat/completions", json=chat, headers=headers)
                statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
                assert not watch.leaks(response.text, groups), (number, sorted(groups))
            assert set(statuses) == {200, 404}
            assert statuses[200] > 0.8 * REQUESTS
            for groups, answer in answers[:60]:
                other = choose.choice([some for some in holders if some != groups])
                assert client.get(f"/v1/answers/{answer}", headers=holders[groups]).status_code == 200
                assert client.get(f"/v1/answers/{answer}", headers=holders[other]).status_code == 404
            for groups, headers in holders.items():
                more = sorted(set(GROUPS) - groups)
                if more:
                    wanted = {"corpus": NAME, "query": "ledger", "groups": [*groups, more[0]]}
                    assert client.post("/v1/retrieve", json=wanted, headers=headers).status_code == 403
        audit = json.dumps([entry.who + entry.action + (entry.target or "") for entry in ledger.audit_entries()])
        assert not any(word in audit for word in built.words)


def bearer(ledger: Ledger, groups: frozenset[str]) -> dict[str, str]:
    name = "+".join(sorted(groups)) or "nobody"
    _, text = ledger.create_api_key(name, scopes=SCOPES, groups=groups, who="os:test")
    return {"Authorization": f"Bearer {text}"}
