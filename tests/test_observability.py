"""What the service tells those who run it: counters, spans and log lines, none of which holds anybody's words."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from starlette.datastructures import Headers

from headwater import tracing
from headwater.corpus import Corpus, open_corpus
from headwater.errors import ConfigError
from headwater.pipeline import Pipeline
from headwater.types import Answer
from serving.access import Access
from serving.app import create_app
from serving.json_lines import JsonLines
from serving.observability import Metrics, Traces, configure_traces
from tests.conftest import use_project, write_corpus
from tests.llm_server import MODEL, Reply, ScriptedServer, sentences, serving
from tests.scripted_corpus import STARTED, Scripted, answer, cited

FOLDER = Path(__file__).parents[1] / "k8s" / "observability"

IN_DOCUMENT, IN_TITLE, IN_QUESTION, IN_ANSWER = "Quellmarke", "Titelmarke", "Fragemarke", "Satzmarke"
MARKERS = re.compile("|".join((IN_DOCUMENT, IN_TITLE, IN_QUESTION, IN_ANSWER)), re.IGNORECASE)

TRUE = f"The {IN_DOCUMENT} gauge measures the water level every fifteen minutes."
QUESTION = f"How often does the {IN_QUESTION} {IN_DOCUMENT} gauge measure the water level?"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    root = tmp_path_factory.mktemp("observed") / "project"
    with pytest.MonkeyPatch.context() as patch:
        use_project(root, patch)
        files = {"gauge.md": f"# {IN_TITLE}\n\n{TRUE} Its battery lasts nine years.\n"}
        with open_corpus(write_corpus(root, "works", files)) as corpus:
            Pipeline(corpus, workers=1).run()
            yield corpus


@pytest.fixture(scope="module")
def llm() -> Iterator[ScriptedServer]:
    with serving() as scripted:
        yield scripted


@pytest.fixture
def written(corpus: Corpus, llm: ScriptedServer) -> Iterator[Corpus]:
    """The corpus with a language model that breaks after two failures."""
    before = corpus.policy
    settings = {"url": llm.url, "model": MODEL, "attempts": 1, "breaker_failures": 2}
    settings["breaker_seconds"] = 3000 + next(_NUMBERS)  # a breaker is one for all with the same settings
    policy = before.answer.model_validate({**before.answer.model_dump(), "llm": settings})
    corpus.policy = before.model_copy(update={"answer": policy})
    corpus.answer_cache.clear()
    yield corpus
    corpus.policy = before


_NUMBERS = iter(range(10**6))


class Service:
    """The application over one corpus, with what it tells."""

    def __init__(self, corpora: dict[str, Any], stack: ExitStack, **options: Any) -> None:
        self.spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        app = create_app(corpora=corpora, traces=Traces(provider.get_tracer("test")), **options)
        client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
        self.client = stack.enter_context(client)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        return self.client.post(path, json={"corpus": "works", **body}, headers=headers)

    def metrics(self) -> str:
        response = self.client.get("/metrics")
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/plain")
        return response.text

    def value(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def span(self, name: str) -> Any:
        (found,) = (span for span in self.spans.get_finished_spans() if span.name == name)
        return found


Serve = Callable[..., Service]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.delenv("HEADWATER_API_TOKEN", raising=False)
    with ExitStack() as stack:
        yield lambda corpus, **options: Service({"works": corpus}, stack, **options)


# --- nobody's words ---------------------------------------------------------------------------------------------------


def test_no_log_line_metric_or_span_holds_words_of_documents_questions_or_answers(
    serve: Serve,
    written: Corpus,
    llm: ScriptedServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(JsonLines())
    service = serve(written)
    invented = f"The {IN_ANSWER} gauge measures the water level every forty minutes."

    llm.say(Reply(sentences((TRUE, [1]), (invented, [1]))))
    told = service.post("/v1/answer", {"question": QUESTION}).json()
    assert [sentence["text"] for sentence in told["sentences"]] == [TRUE] and len(told["dropped"]) == 1
    assert IN_DOCUMENT in service.post("/v1/retrieve", {"query": QUESTION, "explain": True}).text
    correction = {"answer": told["id"], "kind": "correction", "text": f"{IN_ANSWER} no"}
    assert service.client.post("/v1/feedback", json=correction).status_code == 200
    with service.client.stream(
        "POST", "/v1/answer/stream", json={"corpus": "works", "question": f"{QUESTION} Say."}
    ) as stream:
        assert IN_DOCUMENT in stream.read().decode()
    llm.say(Reply(sentences(refused=True)))
    assert service.post("/v1/answer", {"question": f"Who is the {IN_QUESTION}?"}).json()["refused"]
    chat = {"model": "headwater/works", "messages": [{"role": "user", "content": f"And the {IN_QUESTION}?"}]}
    assert service.client.post("/v1/chat/completions", json=chat).status_code == 200

    # What fails: the model, the request, the filter, and what nobody foresaw.
    llm.say(Reply(raw=[f"data: {{{IN_ANSWER}\n\n"]))
    assert service.post("/v1/answer", {"question": f"{QUESTION} Again?"}).json()["fallback"]
    llm.say(Reply(status=500))
    assert service.post("/v1/answer", {"question": f"{QUESTION} Once more?"}).json()["fallback"]
    assert service.post("/v1/answer", {"question": QUESTION, IN_QUESTION: [IN_QUESTION]}).status_code == 422
    assert service.post("/v1/retrieve", {"query": QUESTION, "filters": f"{IN_QUESTION} >"}).status_code == 422
    assert service.client.get(f"/v1/documents/{IN_QUESTION}", params={"corpus": IN_QUESTION}).status_code in (404, 422)
    assert service.client.get(f"/{IN_QUESTION}").status_code == 404

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"while reading: {TRUE} {QUESTION}")

    monkeypatch.setattr(written, "_retrieve", fail)
    assert service.post("/v1/answer", {"question": f"{QUESTION} And now?"}).status_code == 500
    assert service.post("/v1/retrieve", {"query": QUESTION}).status_code == 500

    clients = '"logger": "httpx2"'  # the test's own client, which names the addresses that it asks for
    lines = [line for line in caplog.text.splitlines() if clients not in line]
    assert len([line for line in lines if '"message": "request"' in line]) >= 13
    assert not [line for line in lines if MARKERS.search(line)]
    assert not [line for line in service.metrics().splitlines() if MARKERS.search(line)]
    spans = [span.to_json() for span in service.spans.get_finished_spans()]
    assert len(spans) > 20
    assert not [span for span in spans if MARKERS.search(span)]


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_requests_and_the_steps_of_searches_are_counted(serve: Serve, corpus: Corpus) -> None:
    service = serve(corpus)
    for _ in range(3):
        service.post("/v1/retrieve", {"query": "gauge"})
    service.post("/v1/retrieve", {"query": ""})
    route = {"route": "/v1/retrieve", "method": "POST"}
    assert service.value("headwater_request_seconds_count", **route, status="200") == 3
    assert service.value("headwater_request_seconds_count", **route, status="422") == 1
    for step in ("encode", "search", "passages", "duplicates", "total"):
        assert service.value("headwater_retrieval_step_seconds_count", corpus="works", step=step) == 3
    assert 0 < service.value("headwater_retrieval_step_seconds_sum", step="total") < 60
    assert service.value("headwater_requests_in_flight") == 1  # the one that reads it
    assert service.value("process_resident_memory_bytes") > 0


def test_each_application_counts_for_itself(serve: Serve, corpus: Corpus) -> None:
    one, other = serve(corpus), serve(corpus)
    one.post("/v1/retrieve", {"query": "gauge"})
    assert one.value("headwater_request_seconds_count", route="/v1/retrieve") == 1
    assert other.value("headwater_request_seconds_count", route="/v1/retrieve") == 0


def test_answers_are_counted_by_what_became_of_them(serve: Serve, written: Corpus, llm: ScriptedServer) -> None:
    service = serve(written)
    wrong = TRUE.replace("fifteen", "forty")
    llm.say(Reply(sentences((TRUE, [1]), (wrong, [1])), usage=(1000, 100)))
    for _ in range(2):
        service.post("/v1/answer", {"question": QUESTION})
    llm.say(Reply(sentences(refused=True), usage=(10, 1)))
    service.post("/v1/answer", {"question": "Who feeds the herons?"})

    def count(**labels: str) -> float:
        return service.value("headwater_answers_total", corpus="works", **labels)

    assert count(outcome="answered", cached="no") == count(outcome="answered", cached="yes") == 1
    assert count(outcome="refused") == 1
    assert service.value("headwater_sentences_total") == 1
    assert service.value("headwater_sentences_dropped_total", reason="number") == 1
    assert service.value("headwater_tokens_total", kind="prompt") == 1010
    assert service.value("headwater_tokens_total", kind="completion") == 101
    for step in ("search", "write", "verify", "first_token", "total"):
        assert service.value("headwater_answer_step_seconds_count", step=step) >= 1, step

    assert service.value("headwater_llm_breaker", state="closed") == 1
    llm.say(Reply(status=500))
    for number in range(2):
        service.post("/v1/answer", {"question": f"{QUESTION} {number}"})
    assert count(outcome="fallback") == 2
    assert service.value("headwater_llm_breaker", state="open") == 1
    assert service.value("headwater_llm_breaker", state="closed") == 0


def test_an_answer_that_fails_midway_is_counted_as_unfinished(serve: Serve) -> None:
    def script() -> Iterator[Any]:
        yield STARTED
        raise RuntimeError("the disk is full")

    service = serve(Scripted(script))
    assert "event: error" in service.post("/v1/answer/stream", {"question": "How many?"}).text
    assert service.value("headwater_answers_total", outcome="unfinished") == 1


def test_feedback_is_counted_by_kind(serve: Serve, corpus: Corpus) -> None:
    service = serve(corpus)
    told = service.post("/v1/answer", {"question": "How often does the gauge measure the water level?"}).json()
    assert service.client.post("/v1/feedback", json={"answer": told["id"], "kind": "thumbs_up"}).status_code == 200
    assert service.value("headwater_feedback_total", corpus="works", kind="thumbs_up") == 1


def test_the_live_release_and_its_age_are_told(serve: Serve, corpus: Corpus) -> None:
    service = serve(corpus)
    live = corpus.live()
    assert live is not None
    published = corpus.ledger.release("works", live).published_at
    assert published is not None
    assert service.value("headwater_live_release", corpus="works") == live
    assert service.value("headwater_live_release_published_timestamp_seconds", corpus="works") == pytest.approx(
        published.timestamp(), abs=1
    )
    assert service.value("headwater_corpus_readable", corpus="works") == 1
    assert "headwater_llm_breaker{" not in service.metrics()  # no language model, no breaker


def test_a_corpus_that_cannot_be_read_does_not_spoil_the_others(serve: Serve, corpus: Corpus) -> None:
    with ExitStack() as stack:
        service = Service({"works": corpus, "broken": Scripted(lambda: iter(()))}, stack)
        assert service.value("headwater_corpus_readable", corpus="broken") == 0
        assert service.value("headwater_corpus_readable", corpus="works") == 1
        assert service.value("headwater_live_release", corpus="works") >= 1


def test_labels_stay_few_whatever_is_sent(serve: Serve, corpus: Corpus) -> None:
    service = serve(corpus)
    for number in range(5):
        service.client.get(f"/nothing/{number}")
        service.client.get(f"/v1/documents/{number:032x}", params={"corpus": "works"})
        service.client.request(f"BREW{number}", "/v1/retrieve")
        service.post("/v1/retrieve", {"corpus": f"other{number}", "query": "gauge"})
    samples = [
        sample.labels
        for family in text_string_to_metric_families(service.metrics())
        for sample in family.samples
        if sample.name == "headwater_request_seconds_count"
    ]
    assert {labels["route"] for labels in samples} <= {"other", "/v1/documents/{doc_id}", "/v1/retrieve"}
    assert {labels["method"] for labels in samples} <= {"GET", "POST", "other"}
    assert "other0" not in service.metrics()


def test_metrics_take_the_scope_where_there_are_keys(serve: Serve, corpus: Corpus) -> None:
    _, scraper = corpus.ledger.create_api_key("scraper", scopes=["metrics"], who="test")
    _, reader = corpus.ledger.create_api_key("reader", scopes=["search"], who="test")
    service = serve(corpus, access=Access(ledger=corpus.ledger))
    get = service.client.get
    assert get("/metrics").status_code == 401
    assert get("/metrics", headers={"Authorization": f"Bearer {reader}"}).status_code == 403
    found = get("/metrics", headers={"Authorization": f"Bearer {scraper}"})
    assert found.status_code == 200 and "headwater_live_release" in found.text
    refused = get("/v1/corpora", headers={"Authorization": f"Bearer {scraper}"})
    assert refused.status_code == 403


def test_a_key_for_some_corpora_is_told_no_metrics(serve: Serve, corpus: Corpus) -> None:
    """They name every corpus, and those that a key may not use do not exist for it."""
    _, narrow = corpus.ledger.create_api_key("narrow", scopes=["metrics"], corpora=[corpus.name], who="test")
    service = serve(corpus, access=Access(ledger=corpus.ledger))
    refused = service.client.get("/metrics", headers={"Authorization": f"Bearer {narrow}"})
    assert refused.status_code == 403 and "every corpus" in refused.json()["detail"]
    assert "headwater_live_release" not in refused.text


def test_requests_over_a_limit_are_counted() -> None:
    metrics = Metrics()
    for status in (200, 429, 429):
        metrics.request_began()
        metrics.request_ended("/v1/retrieve", "POST", status, 0.1)
    text = metrics.exposition().decode()
    assert 'headwater_rate_limited_requests_total{route="/v1/retrieve"} 2.0' in text
    assert "headwater_requests_in_flight 0.0" in text


# --- dashboard and alerts ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def names(corpus: Corpus) -> set[str]:
    """Every name under which a sample can be asked for."""
    metrics = Metrics()
    full: Answer = answer(cited(), dropped=("number",))
    metrics.request_began()
    metrics.request_ended("/v1/answer", "POST", 429, 0.1)
    metrics.steps("retrieval", "works", {"total": 0.1})
    metrics.steps("answer", "works", {"total": 0.1})
    metrics.answered("works", full)
    metrics.feedback("works", "thumbs_up")
    found = {
        sample.name
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }
    states = {
        "headwater_corpus_readable",
        "headwater_live_release",
        "headwater_live_release_published_timestamp_seconds",
        "headwater_llm_breaker",
    }
    return found | states


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:headwater|process)_\w+", expression))


KUBE_STATE = {
    "kube_cronjob_created",
    "kube_cronjob_status_last_successful_time",
    "kube_deployment_status_replicas_available",
    "kube_job_status_failed",
    "kube_job_status_start_time",
    "kube_statefulset_replicas",
    "kube_statefulset_status_replicas_ready",
}
"""What kube-state-metrics 2 has of CronJobs, Deployments, Jobs and StatefulSets and the alerts ask for."""


def test_alerts_ask_for_metrics_that_there_are(names: set[str]) -> None:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    for rule in rules:
        asked = names_in(rule["expr"]) | set(re.findall(r"\bkube_\w+", rule["expr"]))
        assert asked and asked <= names | KUBE_STATE, rule["alert"]
        assert (
            rule["for"]
            and rule["labels"]["severity"]
            and rule["annotations"].keys() == {"summary", "description", "runbook"}
        )


REQUESTS = 'headwater_request_seconds_count{route="%s",method="%s",status="%s",pod="%s"}'


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus")
@pytest.mark.parametrize(
    ("answered", "failed", "fires"),
    [(4.0, 0.0, False), (0.0, 0.0, False), (4.0, 0.04, False), (4.0, 0.2, True)],
    ids=["one pod isn't ready", "nobody has asked yet", "one in a hundred fails", "one in twenty fails"],
)
def test_requests_that_fail_are_counted_among_requests_and_probes_are_not(
    tmp_path: Path, answered: float, failed: float, fires: bool
) -> None:
    series = [
        (("/readyz", "GET", "503", "new"), 0.1),  # the probe, all the while
        (("/v1/answer", "POST", "200", "old"), answered),
        (("/v1/answer", "POST", "500", "old"), failed),
    ]
    alert = {
        "exp_labels": {"severity": "page"},
        "exp_annotations": {
            **alert_named("HeadwaterErrors")["annotations"],
            "description": "4.762% of requests end with a 5xx. The log has each under its request id.",
        },
    }
    test = {
        "interval": "15s",
        "input_series": [{"series": REQUESTS % labels, "values": f"0+{rate * 15}x80"} for labels, rate in series],
        "alert_rule_test": [
            {"eval_time": "15m", "alertname": "HeadwaterErrors", "exp_alerts": [alert] if fires else []}
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "alerts.yaml")], "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


DAY = 24 * 3600
CRONJOB = 'kube_cronjob_%s{namespace="headwater",cronjob="headwater-backup"}'
RUN = 'kube_job_status_%s{namespace="headwater",job_name="dagster-run-%s"}'
QDRANT = 'kube_statefulset_%s{namespace="headwater",statefulset="qdrant"}'
DEPLOYMENT = 'kube_deployment_status_replicas_available{namespace="headwater",deployment="%s"}'


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus")
@pytest.mark.parametrize(
    ("name", "series", "fires"),
    [
        ("HeadwaterBackupStale", {CRONJOB % "created": 0, CRONJOB % "status_last_successful_time": DAY}, False),
        ("HeadwaterBackupStale", {CRONJOB % "created": 0, CRONJOB % "status_last_successful_time": 3600}, True),
        ("HeadwaterBackupStale", {CRONJOB % "created": 0}, True),
        ("HeadwaterBackupStale", {CRONJOB % "created": DAY}, False),
        ("HeadwaterSnapshotStale", {CRONJOB % "created": 0}, False),
        ("HeadwaterRunFailed", {RUN % ("failed", "a"): 1, RUN % ("start_time", "a"): 2 * DAY - 3600}, True),
        ("HeadwaterRunFailed", {RUN % ("failed", "a"): 1, RUN % ("start_time", "a"): DAY}, False),
        ("HeadwaterRunFailed", {RUN % ("failed", "a"): 0, RUN % ("start_time", "a"): 2 * DAY - 3600}, False),
        ("HeadwaterQdrantDown", {QDRANT % "status_replicas_ready": 2, QDRANT % "replicas": 3}, True),
        ("HeadwaterQdrantDown", {QDRANT % "status_replicas_ready": 3, QDRANT % "replicas": 3}, False),
        ("HeadwaterDagsterDown", {DEPLOYMENT % "dagster-daemon": 0}, True),
        ("HeadwaterDagsterDown", {DEPLOYMENT % "dagster-dagster-user-deployments-headwater-code": 0}, True),
        ("HeadwaterDagsterDown", {DEPLOYMENT % "dagster-daemon": 1, DEPLOYMENT % "dagster-webserver": 0}, False),
    ],
)
def test_alerts_on_kubernetes_fire_when_they_should(
    tmp_path: Path, name: str, series: dict[str, int], fires: bool
) -> None:
    # Two days on the clock.
    condition = {"expr": f"count({alert_named(name)['expr']})", "eval_time": f"{2 * DAY}s"}
    test = {
        "interval": "5m",
        "input_series": [{"series": each, "values": f"{value}x{2 * DAY // 300}"} for each, value in series.items()],
        "promql_expr_test": [{**condition, "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def alert_named(name: str) -> dict[str, Any]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    (found,) = (rule for group in groups for rule in group["rules"] if rule["alert"] == name)
    rule: dict[str, Any] = found
    return rule


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus")
@pytest.mark.parametrize("what", ["rules", "dashboard"])
def test_prometheus_takes_every_expression(tmp_path: Path, what: str) -> None:
    file = FOLDER / "alerts.yaml"
    if what == "dashboard":
        rules = [
            {"record": f"panel:{number}", "expr": _plain(expression)}
            for number, expression in enumerate(_expressions())
        ]
        file = tmp_path / "dashboard.yaml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dashboard_asks_for_metrics_that_there_are(names: set[str]) -> None:
    dashboard = _dashboard()
    assert dashboard["schemaVersion"] >= 36 and dashboard["uid"] and dashboard["title"]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["title"] and panel["gridPos"].keys() == {"h", "w", "x", "y"}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert bool(panel.get("targets")) == (panel["type"] != "row")
    for expression in _expressions():
        assert names_in(expression) and names_in(expression) <= names, expression
    asked = set[str]().union(*map(names_in, _expressions()))
    ours = {name for name in names if name.startswith("headwater_")}
    assert _families(ours) <= _families(asked), "a metric that no panel shows"


def _families(samples: set[str]) -> set[str]:
    return {re.sub(r"_(bucket|sum|count|created|total)$", "", name) for name in samples}


def _dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    return found


def _expressions() -> list[str]:
    return [target["expr"] for panel in _dashboard()["panels"] for target in panel.get("targets", ())]


def _plain(expression: str) -> str:
    """An expression as Grafana sends it."""
    return expression.replace("$__rate_interval", "5m").replace("$corpus", ".*")


# --- traces -----------------------------------------------------------------------------------------------------------

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def test_a_search_is_one_trace_inside_of_the_callers(serve: Serve, corpus: Corpus) -> None:
    service = serve(corpus)
    service.spans.clear()
    response = service.post("/v1/retrieve", {"query": "gauge", "k": 3}, traceparent=TRACEPARENT)
    request = service.span("POST /v1/retrieve")
    assert f"{request.context.trace_id:032x}" == TRACE and f"{request.parent.span_id:016x}" == PARENT
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["http.route"] == "/v1/retrieve"
    assert request.attributes["headwater.request_id"] == response.headers["x-request-id"]
    assert (request.attributes["headwater.corpus"], request.attributes["headwater.k"]) == ("works", 3)
    steps = [span for span in service.spans.get_finished_spans() if span is not request]
    assert {"encode", "search", "passages", "duplicates"} <= {span.name for span in steps}
    for span in steps:
        assert span.parent.span_id == request.context.span_id
        assert request.start_time <= span.start_time + 1_000_000 and span.end_time <= request.end_time


@pytest.mark.parametrize("path", ["/v1/answer", "/v1/answer/stream"])
def test_an_answers_steps_are_in_the_trace_and_the_model_is_told_of_it(
    serve: Serve, written: Corpus, llm: ScriptedServer, path: str
) -> None:
    service = serve(written)
    llm.say(Reply(sentences((TRUE, [1]))))
    service.spans.clear()
    llm.traceparents.clear()
    service.post(path, {"question": QUESTION}, traceparent=TRACEPARENT)
    request, write = service.span(f"POST {path}"), service.span("write")
    assert service.span("verify").parent.span_id == write.context.span_id
    assert write.parent.span_id == request.context.span_id
    assert llm.traceparents == [f"00-{TRACE}-{write.context.span_id:016x}-01"]
    inner = {s.name for s in service.spans.get_finished_spans() if s.parent.span_id != request.context.span_id}
    assert {"encode", "verify"} <= inner


def test_a_request_that_fails_has_a_failed_span_without_the_words_of_the_error(serve: Serve) -> None:
    def script() -> Iterator[Any]:
        raise RuntimeError(IN_DOCUMENT)
        yield

    service = serve(Scripted(script))
    assert service.post("/v1/answer", {"question": "How many?"}).status_code == 500
    span = service.span("POST /v1/answer")
    assert not span.status.is_ok and not span.events
    assert IN_DOCUMENT not in span.to_json()


def test_probes_and_scrapes_make_no_spans_and_nothing_is_traced_after_the_end(corpus: Corpus) -> None:
    with ExitStack() as stack:
        service = Service({"works": corpus}, stack)
        for path in ("/healthz", "/readyz", "/metrics"):
            service.client.get(path)
        assert not service.spans.get_finished_spans()
    corpus.search("gauge")
    with tracing.step("alone"):
        assert tracing.headers() == {}
    assert not service.spans.get_finished_spans()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
    ],
)
def test_nothing_is_traced_unless_the_environment_asks(environment: dict[str, str]) -> None:
    assert configure_traces(environment) is None


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_an_exporter_that_is_not_there_is_refused_at_once(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"OTEL|OTLP"):
        configure_traces(environment)


def test_spans_reach_the_collector_that_the_environment_names(
    collector: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, received = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "riverside")
    traces = configure_traces()
    assert traces is not None
    traces.start()
    with traces.request("GET", Headers(), "r1"), tracing.step("encode"):
        pass
    traces.close()  # sends what waits
    (body,) = received
    assert b"encode" in body and b"riverside" in body


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A collector of OTLP over HTTP: its address, and the bodies that it was sent."""
    import gzip
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
