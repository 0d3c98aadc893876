"""Who may use the HTTP service: keys with scopes, groups, corpora and limits; what is refused, and how it says so."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import yaml
from fastapi.routing import APIRoute
from starlette.testclient import TestClient
from typer.testing import CliRunner

from headwater.api_keys import SCOPES, KeyLimits, Scope
from headwater.cli import app as cli
from headwater.corpus import Corpus, open_corpus
from headwater.errors import ConfigError
from headwater.hashing import document_id
from headwater.ledger import Ledger
from headwater.pipeline import STAGES, Pipeline
from headwater.project import CORPUS_FILE, Project
from headwater.types import Usage
from serving import create_app, run
from serving.access import Access, Caller, Identity
from serving.access.callers import LOCAL, REFUSALS_PER_MINUTE
from serving.access.limits import Limiter
from serving.access.settings import AccessSettings
from serving.middleware import is_guarded
from tests.conftest import SMALL
from tests.test_access_limits import Clock
from tests.test_access_tokens import Provider, provider, server

__all__ = ["provider", "server"]  # fixtures

OTHER = "annex"
runner = CliRunner()
READS: dict[Scope, tuple[str, str, dict[str, Any] | None]] = {
    "search": ("POST", "/v1/retrieve", {"corpus": SMALL, "query": "paid leave"}),
    "answer": ("POST", "/v1/answer", {"corpus": SMALL, "question": "How long does the battery last?"}),
    "documents": ("GET", f"/v1/documents?corpus={SMALL}", None),
    "receipts": ("GET", f"/v1/receipts?corpus={SMALL}", None),
    "questions": ("GET", f"/v1/unanswered-questions?corpus={SMALL}", None),
    "admin": ("GET", f"/v1/feedback?corpus={SMALL}", None),
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("HEADWATER_OIDC", "HEADWATER_API")):
            monkeypatch.delenv(name)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{tmp_path}/access/ledger.db")) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(ledger: Ledger, clock: Clock) -> Access:
    return Access(ledger=ledger, limiter=Limiter(clock=clock, now=clock.now), clock=clock)


@contextmanager
def serve(access: Access, *corpora: Corpus, **options: Any) -> Iterator[TestClient]:
    named = dict(zip((SMALL, OTHER), corpora, strict=False))
    app = create_app(corpora=named, access=access, **options)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(access: Access, small_corpus: Corpus) -> Iterator[TestClient]:
    """The small corpus, under its own name and under another one."""
    with serve(access, small_corpus, small_corpus) as client:
        yield client


def key(ledger: Ledger, *scopes: Scope, name: str = "app", **options: Any) -> dict[str, str]:
    """Return the header with a new key."""
    _, text = ledger.create_api_key(name, scopes=scopes, who="os:test", **options)
    return {"Authorization": f"Bearer {text}"}


def ask(client: TestClient, scope: Scope, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    method, path, body = READS[scope]
    return client.request(method, path, json=body and body | fields, headers=headers)


def check_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert (found["status"], found["request_id"]) == (status, response.headers["x-request-id"])
    return found


# --- who calls --------------------------------------------------------------------------------------------------------


def test_without_authentication_everyone_here_reads_and_vouches_and_administers_nothing(client: TestClient) -> None:
    for scope in ("search", "answer", "documents", "receipts"):
        assert ask(client, scope).status_code == 200
    assert "hr/pay.md" in ask(client, "search", query="pay band", groups=["hr"]).text
    for scope in ("questions", "admin"):
        check_problem(ask(client, scope), 403)


def test_the_first_key_closes_an_open_service_and_revoking_it_does_not_open_it_again(
    client: TestClient, ledger: Ledger, clock: Clock
) -> None:
    assert ask(client, "search").status_code == 200
    headers = key(ledger, "search")
    clock.seconds += 1.1
    check_problem(ask(client, "search"), 401)
    assert ask(client, "search", headers).status_code == 200
    ledger.revoke_api_key("app")
    clock.seconds += 1.1
    check_problem(ask(client, "search"), 401)


def test_an_open_service_asks_its_ledger_once_a_second_and_else_waits_for_no_thread(
    access: Access, ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    has_api_keys = ledger.has_api_keys

    def counted() -> bool:
        nonlocal looks
        looks += 1
        return has_api_keys()

    monkeypatch.setattr(ledger, "has_api_keys", counted)
    for _ in range(3):
        for credentials in ("", "Bearer whatever"):
            assert anyio.run(access.authenticate, credentials) is LOCAL
        with monkeypatch.context() as patched:
            patched.setattr(anyio.to_thread, "run_sync", None)
            assert anyio.run(access.authenticate, "") is LOCAL
        clock.seconds += 1.1
    assert looks == 3


def test_a_restarted_service_stays_closed_after_the_last_key_was_revoked(ledger: Ledger, small_corpus: Corpus) -> None:
    key(ledger, "search")
    ledger.revoke_api_key("app")
    with serve(Access(ledger=ledger), small_corpus) as client:
        check_problem(ask(client, "search"), 401)


@pytest.mark.parametrize(
    ("authorization", "given"),
    [
        (None, False),
        ("", False),
        ("Bearer", False),
        ("Bearer ", False),
        ("Basic aHdfYTpi", False),
        ("Bearer wrong", True),
        ("Bearer hw_" + "0" * 24 + "_" + "A" * 43, True),
        ("Bearer a.b.c", True),
        (b"Bearer \xff\xfe", True),
        ("Bearer hw_", True),
    ],
)
def test_nobody_gets_in_without_right_credentials(
    client: TestClient, ledger: Ledger, authorization: Any, given: bool
) -> None:
    key(ledger, *SCOPES)
    headers = {} if authorization is None else {"Authorization": authorization}
    for path in ("/v1/corpora", "/v1/nothing", "/v1", "/mcp", "/v1/admin/keys"):
        response = client.get(path, headers=headers)
        check_problem(response, 401)
        challenge = response.headers["www-authenticate"]
        assert challenge.startswith("Bearer ") and ('error="invalid_token"' in challenge) == given
    for path in ("/healthz", "/", "/static/api.js"):
        assert client.get(path, headers=headers).status_code == 200


def test_credentials_are_checked_before_the_body_is_read(client: TestClient, ledger: Ledger) -> None:
    key(ledger, "search")
    check_problem(client.post("/v1/retrieve", content=b"{not json"), 401)


def test_a_revoked_key_is_refused_a_second_later(client: TestClient, ledger: Ledger, clock: Clock) -> None:
    headers = key(ledger, "search")
    assert ask(client, "search", headers).status_code == 200
    ledger.revoke_api_key("app")
    clock.seconds += 1.1
    assert "revoked" in check_problem(ask(client, "search", headers), 401)["detail"]


def test_a_rotated_key_is_the_same_caller(client: TestClient, ledger: Ledger, access: Access) -> None:
    first = key(ledger, "search")
    _, text = ledger.rotate_api_key("app", grace=timedelta(hours=1))
    for headers in (first, {"Authorization": f"bearer   {text}"}):
        assert ask(client, "search", headers).status_code == 200
    access.trail.close()
    assert len({entry.who for entry in ledger.audit_entries()}) == 1


def test_the_last_use_of_a_key_is_noted(ledger: Ledger, small_corpus: Corpus) -> None:
    headers, before = key(ledger, "search"), datetime.now(UTC)
    with serve(Access(ledger=ledger), small_corpus) as client:
        ask(client, "search", headers)
    used = ledger.api_keys()[0].last_used_at
    assert used is not None and used >= before


def test_the_single_token_does_everything_but_administer(small_corpus: Corpus, ledger: Ledger) -> None:
    headers = {"Authorization": "Bearer hw_looks-like-a-key"}
    with serve(Access(token="hw_looks-like-a-key", ledger=ledger), small_corpus) as client:
        for scope in ("search", "answer", "documents", "receipts"):
            assert ask(client, scope, headers).status_code == 200
            check_problem(ask(client, scope), 401)
        assert "hr/pay.md" in ask(client, "search", headers, query="pay band", groups=["hr"]).text
        for scope in ("questions", "admin"):
            check_problem(ask(client, scope, headers), 403)
        assert ask(client, "search", key(ledger, "search")).status_code == 200  # keys beside it


def test_a_user_of_the_identity_provider_reads_what_their_groups_may(
    provider: Provider, ledger: Ledger, small_corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    settings = AccessSettings(oidc=provider.settings())
    with caplog.at_level("INFO"), serve(Access(settings=settings, ledger=ledger), small_corpus) as client:

        def found(**claims: Any) -> str:
            headers = {"Authorization": f"Bearer {provider.token('ec', sub='mira@works.example', **claims)}"}
            return ask(client, "search", headers, query="pay band").text

        assert "hr/pay.md" in found(groups=["hr"])
        assert "hr/pay.md" not in found(groups=["staff"])
        check_problem(ask(client, "search"), 401)
        expired = {"Authorization": f"Bearer {provider.token('ec', exp=1)}"}
        assert check_problem(ask(client, "search", expired), 401)["detail"] == "The token has expired."
    assert {entry.who for entry in ledger.audit_entries()} == {"oidc:mira@works.example"}
    callers = [record.fields.get("caller") for record in caplog.records if record.message == "request"]
    assert any(callers) and not any("mira" in str(name) for name in callers)


def test_what_was_read_in_a_group_is_not_told_to_one_who_left_it(provider: Provider, small_corpus: Corpus) -> None:
    def user(*groups: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {provider.token('ec', groups=groups)}"}

    with serve(Access(settings=AccessSettings(oidc=provider.settings())), small_corpus) as client:
        pay = {"question": "Where does the pay band of field engineers start?"}
        read, public = (ask(client, "answer", user(*groups), **pay).json()["id"] for groups in (["hr"], []))
        for groups in (["hr"], ["hr", "crew"]):
            assert "hr/pay.md" in client.get(f"/v1/answers/{read}", headers=user(*groups)).text
        nobodys = check_problem(client.get(f"/v1/answers/{'0' * 32}", headers=user("crew")), 404)
        vote = {"answer": read, "kind": "thumbs_up"}
        for response in (
            client.get(f"/v1/answers/{read}", headers=user("crew")),
            client.post("/v1/feedback", json=vote, headers=user("crew")),
        ):
            assert check_problem(response, 404)["detail"] == nobodys["detail"]
        assert client.get(f"/v1/answers/{public}", headers=user()).status_code == 200


@pytest.mark.parametrize("scopes", [("answer",), ("answer", "vouch"), ("answer", "admin")])
def test_the_record_of_an_answer_does_not_name_what_its_groups_may_not_read_any_more(
    indexed_copy: Project, scopes: tuple[Scope, ...]
) -> None:
    folder = indexed_copy.root / "assets" / SMALL
    with open_corpus(folder) as corpus:
        headers = key(corpus.ledger, *scopes, groups=["hr"])
        with serve(Access(ledger=corpus.ledger), corpus) as client:
            found = ask(client, "answer", headers, question="Where does the pay band of field engineers start?").json()
            before = client.get(f"/v1/answers/{found['id']}", headers=headers).json()
            settings = yaml.safe_load((folder / CORPUS_FILE).read_text())
            settings["attributes"]["access"][1]["groups"] = ["board"]
            (folder / CORPUS_FILE).write_text(yaml.safe_dump(settings))
            with open_corpus(folder) as narrowed:
                Pipeline(narrowed, workers=1).source_objects()
            after = client.get(f"/v1/answers/{found['id']}", headers=headers).json()
    cited = {citation["key"] for sentence in before["sentences"] for citation in sentence["citations"]}
    assert "hr/pay.md" in cited
    if "admin" in scopes:
        assert after == before
        return
    assert "hr/pay.md" not in json.dumps(after)
    kept = [passage for passage in before["passages"] if passage["key"] != "hr/pay.md"]
    assert after["passages"] == kept
    for then, now in zip(before["sentences"], after["sentences"], strict=True):
        assert now["digest"] == then["digest"]
        assert now["citations"] == [citation for citation in then["citations"] if citation["key"] != "hr/pay.md"]
        assert all(part["citation"] < len(now["citations"]) for part in now["alignments"])


def test_the_record_of_an_answer_names_what_left_the_bucket_while_its_release_has_it(indexed_copy: Project) -> None:
    folder = indexed_copy.root / "assets" / SMALL
    with open_corpus(folder) as corpus:
        headers = key(corpus.ledger, "answer", "documents", groups=["hr"])
        stranger = key(corpus.ledger, "answer", "documents", name="stranger")
        with serve(Access(ledger=corpus.ledger), corpus) as client:
            question = "Where does the pay band of field engineers start?"
            found = ask(client, "answer", headers, question=question).json()
            before = client.get(f"/v1/answers/{found['id']}", headers=headers).json()
            theirs = ask(client, "answer", stranger, question=question).json()
            (folder / "documents" / "hr" / "pay.md").unlink()
            Pipeline(corpus, workers=1).source_objects()
            after = client.get(f"/v1/answers/{found['id']}", headers=headers).json()
            listed = ask(client, "documents", headers)
            assert "hr/pay.md" not in ask(client, "documents", stranger).text
            assert "hr/pay.md" not in client.get(f"/v1/answers/{theirs['id']}", headers=stranger).text
    assert "hr/pay.md" in {citation["key"] for sentence in before["sentences"] for citation in sentence["citations"]}
    assert after == before
    assert "hr/pay.md" in {document["key"] for document in listed.json()["documents"]}


def test_while_the_providers_keys_are_missing_its_users_wait_and_keys_work(
    provider: Provider, ledger: Ledger, small_corpus: Corpus
) -> None:
    token = {"Authorization": f"Bearer {provider.token('ec')}"}
    provider.fails = True
    with serve(Access(settings=AccessSettings(oidc=provider.settings()), ledger=ledger), small_corpus) as client:
        response = ask(client, "search", token)
        check_problem(response, 503)
        assert int(response.headers["retry-after"]) > 0
        assert ask(client, "search", key(ledger, "search")).status_code == 200


def test_with_the_ledger_gone_nobody_is_let_in(tmp_path: Path, small_corpus: Corpus) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    headers = key(ledger, "search")
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE api_keys")
    with serve(Access(ledger=ledger), small_corpus) as client:
        check_problem(ask(client, "search", headers), 503)
        check_problem(ask(client, "search"), 503)
    ledger.close()


# --- scopes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", READS)
def test_every_scope_opens_its_own_door_and_no_other(client: TestClient, ledger: Ledger, scope: Scope) -> None:
    headers = key(ledger, scope)
    for other in READS:
        response = ask(client, other, headers)
        if other == scope:
            assert response.status_code == 200
        else:
            assert other in check_problem(response, 403)["detail"]
            challenge = response.headers["www-authenticate"]
            assert 'error="insufficient_scope"' in challenge and f'scope="{other}"' in challenge


def operations(client: TestClient) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give (method, path, operation) of everything that the description names under /v1."""
    for path, item in client.get("/openapi.json").json()["paths"].items():
        if path.startswith("/v1"):
            for method, operation in item.items():
                yield method.upper(), path, operation


def test_no_operation_under_v1_goes_without_a_scope(client: TestClient, ledger: Ledger) -> None:
    headers, seen = key(ledger, "vouch"), 0  # which opens nothing by itself
    for method, path, operation in operations(client):
        address = path.replace("{corpus}", SMALL).replace("{", "").replace("}", "")
        response = client.request(method, address, headers=headers, json={} if "requestBody" in operation else None)
        assert response.status_code == 403, (method, path, response.status_code)
        assert operation["security"], path
        assert {"401", "403", "429"} <= operation["responses"].keys()
        seen += 1
    assert seen >= 10


def test_readiness_is_told_to_everybody_and_names_corpora_to_known_callers_alone(
    client: TestClient, ledger: Ledger, clock: Clock
) -> None:
    def told(headers: dict[str, str] | None = None) -> tuple[int, set[str], str | None]:
        response = client.get("/readyz", headers=headers)
        return response.status_code, set(response.json()["corpora"]), response.json()["reason"]

    for thread in threading.enumerate():
        if thread.name == "headwater-warm-up":
            thread.join()
    assert told() == (200, {SMALL, OTHER}, None)  # an open service
    headers, few = key(ledger, "search"), key(ledger, "search", name="few", corpora=[OTHER])
    clock.seconds += 1.1
    assert told() == told({"Authorization": "Bearer wrong"}) == (200, set(), None)
    assert SMALL not in client.get("/readyz").text
    assert told(headers) == (200, {SMALL, OTHER}, None)
    assert told(few) == (200, {OTHER}, None)


def test_a_service_that_is_not_ready_names_what_is_missing_to_known_callers_alone(
    ledger: Ledger, access: Access, small_corpus: Corpus
) -> None:
    headers, few = key(ledger, "search"), key(ledger, "search", name="few", corpora=[OTHER])
    with pytest.MonkeyPatch.context() as patch, serve(access, small_corpus) as client:
        patch.setattr(small_corpus, "live", lambda: None)
        for thread in threading.enumerate():
            if thread.name == "headwater-warm-up":
                thread.join()
        responses = [client.get("/readyz", headers=sent) for sent in (headers, few, {})]
    assert [response.status_code for response in responses] == [503, 503, 503]
    assert [SMALL in response.text for response in responses] == [True, False, False]


def test_every_route_is_behind_the_guard_or_known_to_be_public(client: TestClient) -> None:
    public = {"/", "/receipts", "/releases", "/healthz", "/readyz", "/openapi.json", "/static"}
    paths = {str(getattr(route, "path", "")) for route in client.app.routes}  # type: ignore[attr-defined]
    assert {path for path in paths if not is_guarded(path)} - {""} <= public
    assert all(is_guarded(path) for path in ("/v1", "/v1/x", "/mcp", "/mcp/"))
    assert not is_guarded("/v1x")
    assert any(isinstance(route, APIRoute) for route in client.app.routes)  # type: ignore[attr-defined]


# --- groups and corpora -----------------------------------------------------------------------------------------------


def keys_found(response: httpx.Response) -> set[str]:
    assert response.status_code == 200, response.text
    return {passage["key"] for passage in response.json()["passages"]}


def test_a_key_reads_as_its_own_groups_and_may_only_narrow_them(client: TestClient, ledger: Ledger) -> None:
    headers = key(ledger, "search", groups=["hr", "crew"])
    assert "hr/pay.md" in keys_found(ask(client, "search", headers, query="pay band"))
    assert "hr/pay.md" in keys_found(ask(client, "search", headers, query="pay band", groups=["hr"]))
    for fewer in (["crew"], []):
        assert "hr/pay.md" not in keys_found(ask(client, "search", headers, query="pay band", groups=fewer))
    response = ask(client, "search", headers, query="pay band", groups=["hr", "board"])
    assert "vouch" in check_problem(response, 403)["detail"]
    assert "board" not in response.text


@pytest.mark.parametrize("scope", ["search", "answer"])
def test_a_key_without_groups_sees_what_everyone_may(client: TestClient, ledger: Ledger, scope: Scope) -> None:
    headers = key(ledger, scope)
    fields = {"query": "pay band"} if scope == "search" else {"question": "Where does the pay band start?"}
    assert "hr/pay.md" not in ask(client, scope, headers, **fields).text
    check_problem(ask(client, scope, headers, groups=["hr"], **fields), 403)


def test_groups_of_a_query_string_are_checked_alike(client: TestClient, ledger: Ledger) -> None:
    headers = key(ledger, "receipts", "documents", groups=["crew"])
    for path in (f"/v1/receipts?corpus={SMALL}", f"/v1/documents?corpus={SMALL}", f"/v1/documents/x?corpus={SMALL}"):
        check_problem(client.get(f"{path}&groups=hr", headers=headers), 403)
        assert "hr/pay.md" not in client.get(path, headers=headers).text


def test_an_empty_value_in_a_query_string_is_the_empty_list(client: TestClient, ledger: Ledger) -> None:
    headers = key(ledger, "receipts", "documents", "questions", groups=["hr"])
    for path in (f"/v1/receipts?corpus={SMALL}", f"/v1/documents?corpus={SMALL}"):
        assert "hr/pay.md" in client.get(path, headers=headers).text
        assert "hr/pay.md" in client.get(f"{path}&groups=hr", headers=headers).text
        nobody = client.get(f"{path}&groups=", headers=headers)
        assert nobody.status_code == 200 and "hr/pay.md" not in nobody.text
    doc_id = document_id(SMALL, "hr/pay.md")
    assert client.get(f"/v1/documents/{doc_id}?corpus={SMALL}", headers=headers).status_code == 200
    check_problem(client.get(f"/v1/documents/{doc_id}?corpus={SMALL}&groups=", headers=headers), 404)
    assert client.get(f"/v1/unanswered-questions?corpus={SMALL}&groups=", headers=headers).status_code == 200
    for wrong in ("groups=%20", "groups=&groups=hr", "groups=&groups="):
        check_problem(client.get(f"/v1/receipts?corpus={SMALL}&{wrong}", headers=headers), 422)


def test_a_key_that_vouches_names_any_groups(client: TestClient, ledger: Ledger) -> None:
    headers = key(ledger, "search", "vouch")
    assert "hr/pay.md" in keys_found(ask(client, "search", headers, query="pay band", groups=["hr"]))
    assert "hr/pay.md" not in keys_found(ask(client, "search", headers, query="pay band"))


def test_counts_over_everybodys_documents_are_for_those_who_may_see_them(client: TestClient, ledger: Ledger) -> None:
    def newest(*scopes: Scope) -> dict[str, Any]:
        answer = client.get(
            "/v1/releases", params={"corpus": SMALL}, headers=key(ledger, *scopes, name="-".join(scopes))
        )
        return dict(answer.json()["releases"][0])

    for whole in (newest("search", "vouch"), newest("search", "admin")):
        assert whole["counts"]["documents"] > 0
        assert whole["checks"]
    narrow = newest("search")
    assert (narrow["counts"], narrow["checks"], narrow["reason"]) == ({}, [], None)
    assert narrow["number"] == whole["number"]


def test_to_a_key_for_one_corpus_the_others_do_not_exist(ledger: Ledger, access: Access, small_corpus: Corpus) -> None:
    headers = key(ledger, *SCOPES, corpora=[SMALL])
    with serve(access, small_corpus, small_corpus) as client:
        listed = client.get("/v1/corpora", headers=headers).json()["corpora"]
        assert [corpus["name"] for corpus in listed] == [SMALL]
        for scope, (method, path, body) in READS.items():
            assert ask(client, scope, headers).status_code == 200
            answers = []
            for name in (OTHER, "nowhere"):
                asked = body and body | {"corpus": name}
                answers.append(client.request(method, path.replace(SMALL, name), json=asked, headers=headers))
            here, nowhere = (check_problem(answer, 404) for answer in answers)
            assert here | {"request_id": ""} == nowhere | {"request_id": ""}
        for action in ("rollback", "promote"):
            body = {"reason": "A test.", "release": 1}
            check_problem(client.post(f"/v1/admin/corpora/{OTHER}/{action}", json=body, headers=headers), 404)
        check_problem(client.get("/v1/admin/keys", headers=headers), 403)
        check_problem(client.get("/v1/admin/audit", headers=headers), 422)
        check_problem(client.get(f"/v1/admin/audit?corpus={OTHER}", headers=headers), 404)
        assert client.get(f"/v1/admin/audit?corpus={SMALL}", headers=headers).status_code == 200


# --- limits -----------------------------------------------------------------------------------------------------------


def test_over_its_rate_a_key_is_refused_until_it_waited(client: TestClient, ledger: Ledger, clock: Clock) -> None:
    headers = key(ledger, "search", "receipts", limits=KeyLimits(per_minute={"search": 2}))
    other = key(ledger, "search", name="other")
    assert [ask(client, "search", headers).headers["ratelimit-remaining"] for _ in range(2)] == ["1", "0"]
    refused = ask(client, "search", headers)
    check_problem(refused, 429)
    assert refused.headers["ratelimit-limit"] == "2"
    assert '"search";q=2;w=60' in refused.headers["ratelimit-policy"]
    assert ask(client, "receipts", headers).status_code == 200
    assert ask(client, "search", other).status_code == 200
    clock.seconds += int(refused.headers["retry-after"])
    assert ask(client, "search", headers).status_code == 200


def test_a_refused_scope_costs_as_much_as_any_request(client: TestClient, ledger: Ledger) -> None:
    headers = key(ledger, "search", limits=KeyLimits(requests_per_day=3))
    for _ in range(2):
        check_problem(ask(client, "answer", headers), 403)
    assert ask(client, "search", headers).status_code == 200
    check_problem(ask(client, "search", headers), 429)
    check_problem(ask(client, "answer", headers), 429)


def test_who_is_refused_over_and_over_is_slowed_down_and_fills_no_audit_log(
    ledger: Ledger, small_corpus: Corpus, clock: Clock
) -> None:
    headers, other = key(ledger, "search", "admin", name="admin"), key(ledger, "search", name="reader")
    with serve(Access(ledger=ledger, limiter=Limiter(clock=clock, now=clock.now)), small_corpus) as client:
        found = [client.get("/v1/admin/keys", headers=other).status_code for _ in range(100)]
        assert found == [403] * REFUSALS_PER_MINUTE + [429] * (100 - REFUSALS_PER_MINUTE)
        assert ask(client, "search", other).status_code == 200
        assert {client.get("/v1/admin/keys", headers=headers).status_code for _ in range(50)} == {200}
    first, last = reversed(ledger.audit_entries(action="access"))
    assert (first.counts, last.counts) == ({}, {"attempts": REFUSALS_PER_MINUTE - 1})
    assert {(one.who, one.target, one.outcome) for one in (first, last)} == {(first.who, "admin", "refused")}


def test_defaults_of_the_service_limit_keys_without_limits(ledger: Ledger, small_corpus: Corpus) -> None:
    settings = AccessSettings(limits=KeyLimits(per_minute={"receipts": 1}))
    headers = key(ledger, "receipts")
    generous = key(ledger, "receipts", name="generous", limits=KeyLimits(per_minute={"receipts": 50}))
    with serve(Access(ledger=ledger, settings=settings), small_corpus) as client:
        assert [ask(client, "receipts", headers).status_code for _ in range(2)] == [200, 429]
        assert {ask(client, "receipts", generous).status_code for _ in range(4)} == {200}


def test_tokens_of_answers_count_against_the_quota(access: Access) -> None:
    who = Caller(Identity("key:a", frozenset({"answer"}), limits=KeyLimits(answer_tokens_per_day=100)), access, "r")
    who.charge(None)
    assert who.take("answer")[0].left == 100
    who.charge(Usage(70, 20))
    assert who.take("answer")[0].left == 10


def test_nobody_limits_the_single_token(small_corpus: Corpus) -> None:
    with serve(Access(token="t" * 20), small_corpus) as client:
        response = client.get("/v1/corpora", headers={"Authorization": f"Bearer {'t' * 20}"})
        assert response.status_code == 200 and "ratelimit" not in response.headers


# --- administration ---------------------------------------------------------------------------------------------------


def admin(client: TestClient, action: str, headers: dict[str, str], **body: Any) -> httpx.Response:
    return client.post(f"/v1/admin/corpora/{SMALL}/{action}", json={"reason": "A test."} | body, headers=headers)


def test_an_administrator_goes_back_and_forward_and_the_audit_log_says_who(indexed_copy: Project) -> None:
    folder = indexed_copy.root / "assets" / SMALL
    (folder / "documents" / "new.md").write_text("# New\n\nThe new lantern is lit at dusk by the harbour desk.\n")
    with open_corpus(folder) as corpus:
        Pipeline(corpus, workers=1).run()
        ledger = corpus.ledger
        headers = key(ledger, "admin", name="operator")
        with serve(Access(ledger=ledger), corpus) as client:
            assert admin(client, "rollback", headers).json() == {"corpus": SMALL, "live": 1, "previous": 2}
            assert corpus.live() == 1
            nothing = admin(client, "rollback", headers)
            assert "no retained release older" in check_problem(nothing, 409)["detail"]
            assert admin(client, "promote", headers, release=2).json() == {"corpus": SMALL, "live": 2, "previous": 1}
            check_problem(admin(client, "promote", headers, release=9), 404)
            check_problem(admin(client, "promote", headers, release=2, reason=" "), 409)
            check_problem(admin(client, "promote", headers), 422)
            check_problem(admin(client, "promote", key(ledger, "search", "vouch", name="reader"), release=1), 403)
            listed = client.get(f"/v1/admin/audit?corpus={SMALL}&action=release", headers=headers).json()["entries"]
        who = f"key:{ledger.api_keys()[1].id}"
        assert [(one["who"], one["action"], one["release"], one["outcome"]) for one in reversed(listed)] == [
            (who, "release.rollback", 1, "ok"),
            (who, "release.rollback", None, "refused"),
            (who, "release.promote", 2, "ok"),
            (who, "release.promote", 9, "refused"),
            (who, "release.promote", 2, "refused"),
        ]
        refused = ledger.audit_entries(action="access")
        assert [(entry.target, entry.outcome) for entry in refused] == [("admin", "refused")]


def test_what_the_gate_has_not_let_through_is_shown_to_nobody(indexed_copy: Project) -> None:
    folder = indexed_copy.root / "assets" / SMALL
    (folder / "documents" / "new.md").write_text("# New\n\nThe new lantern is lit at dusk by the harbour desk.\n")
    with open_corpus(folder) as corpus:
        line = Pipeline(corpus, workers=1)
        for stage in STAGES[: STAGES.index("index_candidate") + 1]:
            getattr(line, stage)()
        assert "new.md" in {passage.key for passage in corpus.search("new lantern", release=2)}
        headers = key(corpus.ledger, "search", "answer")
        with serve(Access(ledger=corpus.ledger), corpus) as client:
            scopes: tuple[Scope, ...] = ("search", "answer")
            for scope in scopes:
                assert ask(client, scope, headers, release=1).status_code == 200
                check_problem(ask(client, scope, headers, release=2), 404)


def test_keys_are_listed_without_secrets_and_revoked(client: TestClient, ledger: Ledger, clock: Clock) -> None:
    headers = key(ledger, "admin", name="operator")
    victim = key(ledger, "search", name="kiosk")
    listed = client.get("/v1/admin/keys", headers=headers)
    assert {one["name"] for one in listed.json()["keys"]} == {"operator", "kiosk"}
    assert victim["Authorization"].rpartition("_")[2] not in listed.text
    assert "secret" not in listed.text and 'previous"' not in listed.text
    assert client.post("/v1/admin/keys/kiosk/revoke", headers=headers).json()["revoked_at"] is not None
    clock.seconds += 1.1
    check_problem(ask(client, "search", victim), 401)
    check_problem(client.post("/v1/admin/keys/kiosk/revoke", headers=headers), 404)
    actions = [(entry.action, entry.outcome) for entry in ledger.audit_entries(action="key")]
    assert sorted(actions) == [("key.revoke", "ok"), ("key.revoke", "refused")]


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "since=2026-05-31T00:00:00",
        "since=0001-01-01T00:00:00%2B14:00",
        "since=9999-12-31T23:59:59-14:00",
        "limit=0",
        "action=Answer%00",
    ],
)
def test_a_wrong_question_to_the_audit_log_is_answered(client: TestClient, ledger: Ledger, query: str) -> None:
    check_problem(client.get(f"/v1/admin/audit?{query}", headers=key(ledger, "admin")), 422)


# --- a whole project --------------------------------------------------------------------------------------------------


def test_a_key_made_by_command_opens_the_projects_service_and_leaves_a_trace(indexed_copy: Project) -> None:
    made = json.loads(
        runner.invoke(cli, ["keys", "create", "portal", "--scopes", "search", "--groups", "hr", "--json"]).output
    )
    with TestClient(create_app(indexed_copy), base_url="http://127.0.0.1:8000") as client:
        check_problem(ask(client, "search"), 401)
        headers = {"Authorization": f"Bearer {made['key']}"}
        assert "hr/pay.md" in keys_found(ask(client, "search", headers, query="pay band"))
        check_problem(ask(client, "answer", headers), 403)
    entries = json.loads(runner.invoke(cli, ["audit", "--corpus", SMALL, "--json"]).output)
    assert [(entry["who"], entry["action"]) for entry in entries] == [(f"key:{made['id']}", "search")]
    listed = json.loads(runner.invoke(cli, ["keys", "list", "--json"]).output)
    assert listed[0]["last_used_at"] is not None


# --- listening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4"])
def test_the_service_does_not_listen_wider_without_authentication(project: Project, host: str) -> None:
    with pytest.raises(ConfigError, match="headwater keys create"):
        run(host, 0, project=project)


@pytest.mark.parametrize("what", ["key", "revoked key", "token", "provider"])
def test_any_authentication_is_enough_to_listen_wider(
    project: Project, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    listened: list[dict[str, Any]] = []
    monkeypatch.setattr("uvicorn.run", lambda app, **options: listened.append(options))
    if "key" in what:
        project.home.mkdir(parents=True, exist_ok=True)
        with closing(Ledger(project.ledger_url)) as ledger:
            key(ledger, "search")
            if what == "revoked key":
                ledger.revoke_api_key("app")
    elif what == "token":
        monkeypatch.setenv("HEADWATER_API_TOKEN", "t" * 40)
    else:
        project.settings_file.write_text("serving: {oidc: {issuer: https://id.example, audience: headwater}}\n")
    run("0.0.0.0", 0, project=project)
    assert listened[0]["host"] == "0.0.0.0"


def test_a_wrong_setting_stops_the_service_before_it_listens(project: Project) -> None:
    project.settings_file.write_text("serving: {oidc: {issuer: http://id.example, audience: headwater}}\n")
    with pytest.raises(ConfigError, match="https"):
        run("127.0.0.1", 0, project=project)
