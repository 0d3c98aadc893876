"""What people ask and the documents don't say, by HTTP: for whom, whose documents it names, page by page."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from headwater.answer_log import gaps
from headwater.api_keys import SCOPES, Scope
from headwater.client import Client
from headwater.corpus import Corpus, open_corpus
from headwater.pipeline import Pipeline
from headwater.types import Answer, Principal
from serving.access import Access
from serving.app import create_app
from serving.routes import questions
from tests.conftest import SMALL, use_project, write_corpus
from tests.served import served

FILES = {
    "boats.md": "# Boats\n\nThe duty desk lends the green rowing boat for two hours to whoever asks before noon.\n",
    "hr/opera.md": "# Opera\n\nA season ticket to the opera is given to crews that stay for more than ten years.\n",
}
ACCESS = [{"prefix": "", "groups": ["*"]}, {"prefix": "hr/", "groups": ["hr"]}]
OPERA = ("What does a season ticket to the opera cost?", "How much is a season ticket for the opera?")
OTHERS = ("Who won the chess tournament in spring?", "When is the tram to the harbour late?", "Is the swan aggressive?")
ADDRESS = "/v1/unanswered-questions"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    """A corpus that was asked five questions about four things, and answered none."""
    root: Path = tmp_path_factory.mktemp("unanswered") / "project"
    with pytest.MonkeyPatch.context() as patch:
        use_project(root, patch)
        patch.delenv("HEADWATER_API_TOKEN", raising=False)
        with open_corpus(write_corpus(root, SMALL, FILES, access=ACCESS)) as opened:
            Pipeline(opened, workers=1).run()
            for number, question in enumerate((*OPERA, *OTHERS)):
                refuse(opened, f"a{number}", question)
            yield opened


def refuse(corpus: Corpus, name: str, question: str) -> None:
    answer = replace(Answer(name, question, (), True, "No.", 1, "extractive/1"), searched=question)
    principal = Principal(name="key:somebody")
    corpus.ledger.record_answer(
        SMALL, answer, passages=[], principal=principal, parameters={}, seconds=0.1, scrub=corpus.scrub
    )


def key(corpus: Corpus, *scopes: Scope, **options: Any) -> str:
    name = f"key-{len(corpus.ledger.api_keys())}"
    return corpus.ledger.create_api_key(name, scopes=scopes, who="os:test", **options)[1]


@contextmanager
def service(corpus: Corpus) -> Iterator[TestClient]:
    with TestClient(create_app(corpora={SMALL: corpus}, access=Access(ledger=corpus.ledger))) as client:
        yield client


def ask(client: TestClient, token: str, **query: Any) -> httpx.Response:
    return client.get(ADDRESS, params={"corpus": SMALL} | query, headers={"Authorization": f"Bearer {token}"})


def test_a_plain_reader_is_told_no_question(corpus: Corpus) -> None:
    others: list[Scope] = [scope for scope in SCOPES if scope != "questions"]
    with service(corpus) as client:
        for token in (key(corpus, *others), key(corpus, "search", "receipts")):
            refused = ask(client, token)
            assert refused.status_code == 403 and 'scope="questions"' in refused.headers["www-authenticate"]
            assert refused.headers["content-type"] == "application/problem+json"
            assert (
                "opera" not in refused.text
                and "questions"
                not in client.get("/v1/corpora", headers={"Authorization": f"Bearer {token}"}).json()["scopes"]
            )


@pytest.mark.parametrize("token", [None, "s3cret-token"])
def test_neither_an_open_service_nor_the_single_token_tells_questions(corpus: Corpus, token: str | None) -> None:
    with TestClient(create_app(corpora={SMALL: corpus}, access=Access(token=token))) as client:
        assert ask(client, token or "none").status_code == 403


def test_an_owner_is_told_groups_of_questions_the_largest_first(corpus: Corpus) -> None:
    with service(corpus) as client:
        found = ask(client, key(corpus, "questions", groups=["hr"])).json()
        assert (found["corpus"], found["days"], found["after"]) == (SMALL, corpus.policy.monitor.window_days, None)
        opera, *others = found["questions"]
        assert opera["question"] in OPERA and (opera["asked"], opera["refused"]) == (2, 2)
        assert "opera" in opera["terms"] and opera["best_support"] is None and opera["answer_id"] in ("a0", "a1")
        assert sorted(other["question"] for other in others) == sorted(OTHERS)
        assert opera["nearest"] == "hr/opera.md"
        # Whoever reads what is for everyone is not told which documents there are for others.
        (mine, *_) = ask(client, key(corpus, "questions")).json()["questions"]
        assert mine["nearest"] == "boats.md" and mine["similarity"] < opera["similarity"]
        (narrowed, *_) = ask(client, key(corpus, "questions", groups=["hr", "staff"]), groups="staff").json()[
            "questions"
        ]
        assert narrowed["nearest"] == "boats.md"
        assert ask(client, key(corpus, "questions"), groups="hr").status_code == 403


def test_pages_follow_one_another(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def counted(*given: Any, **named: Any) -> list[gaps.Gap]:
        compared.append(1)
        return gaps.find_gaps(*given, **named)

    monkeypatch.setattr(questions, "find_gaps", counted)
    with service(corpus) as client:
        token, seen, after = key(corpus, "questions"), [], {}
        for _ in range(3):
            page = ask(client, token, limit=2, **after).json()
            seen += [one["answer_id"] for one in page["questions"]]
            if page["after"] is None:
                break
            after = {"after": page["after"]}
        whole = [one["answer_id"] for one in ask(client, token).json()["questions"]]
        assert seen == whole and len(seen) == len(set(seen)) == 4
        assert len(compared) == 1
        for wrong in ({"after": "no cursor"}, {"limit": 0}, {"days": 0}, {"limit": 201}):
            assert ask(client, token, **wrong).status_code == 422
        assert ask(client, token, corpus="nowhere").status_code == 404


def test_what_was_erased_or_hidden_meanwhile_is_not_told_from_memory(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(corpus) as client:
        token = key(corpus, "questions")
        assert len(ask(client, token).json()["questions"]) == 4
        moved = replace(corpus.pointer(), generation=corpus.pointer().generation + 1)
        monkeypatch.setattr(questions, "find_gaps", lambda *_, **__: [])
        assert len(ask(client, token).json()["questions"]) == 4
        monkeypatch.setattr(corpus, "pointer", lambda: moved)
        assert ask(client, token).json()["questions"] == []


def test_slow_lists_hold_up_nobody_else_and_are_refused_when_too_many_wait(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    at_work: list[int] = []

    def slow(*_: Any, days: int, **options: Any) -> list[gaps.Gap]:
        at_work.append(days)
        assert may_end.wait(60)
        return []

    monkeypatch.setattr(questions, "find_gaps", slow)
    owners = [{"Authorization": f"Bearer {key(corpus, 'questions')}"} for _ in range(15)]
    reader = {"Authorization": f"Bearer {key(corpus, 'search')}"}
    app = create_app(corpora={SMALL: corpus}, access=Access(ledger=corpus.ledger))

    async def everybody() -> tuple[httpx.Response, list[httpx.Response]]:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:

                async def ask_as(owner: int, days: int) -> httpx.Response:
                    return await client.get(ADDRESS, params={"corpus": SMALL, "days": days}, headers=owners[owner])

                asked = [asyncio.create_task(ask_as(number % 15, number + 1)) for number in range(60)]
                try:
                    while sum(task.done() for task in asked) < 52:
                        await asyncio.sleep(0.01)
                    other = await asyncio.wait_for(client.get("/v1/corpora", headers=reader), 30)
                finally:
                    may_end.set()
                return other, [await task for task in asked]

    other, answers = asyncio.run(everybody())
    assert other.status_code == 200
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 52 and all(answer.status_code in (200, 503) for answer in answers)
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in refused)
    assert len(at_work) == 8


def test_the_audit_log_says_who_read_how_many(corpus: Corpus) -> None:
    with service(corpus) as client:
        ask(client, key(corpus, "questions"), limit=3)
    entry = corpus.ledger.audit_entries(action="questions.read")[0]
    assert (entry.corpus, entry.counts, entry.outcome) == (SMALL, {"questions": 3}, "ok")
    assert "opera" not in str(entry)


def test_the_client_reads_all_pages(corpus: Corpus) -> None:
    with (
        served({SMALL: corpus}, access=Access(ledger=corpus.ledger)) as url,
        Client(url, token=key(corpus, "questions", groups=["hr"])) as client,
    ):
        found = list(client.unanswered_questions(SMALL, days=3))
    assert [one.asked for one in found] == [2, 1, 1, 1]
    assert found[0].nearest == "hr/opera.md" and "opera" in found[0].terms and found[0].last_asked.tzinfo is not None
