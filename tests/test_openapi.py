"""The service keeps to its own description: requests made from the OpenAPI document, valid and not, against a corpus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from headwater.api_keys import SCOPES, KeyLimits
from headwater.corpus import Corpus
from headwater.hashing import document_id
from serving.access import Access
from serving.app import create_app
from tests.live_corpus import live_corpus
from tests.served import served

__all__ = ["live_corpus"]

pytestmark = pytest.mark.slow

EXAMPLES = 50
"""Requests per operation, and as many again that break the description; about a minute with a corpus behind them."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

SCHEMA = schemathesis.openapi.from_dict(create_app(corpora={}, access=Access()).openapi())
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}

PAIRS = [
    (label, mode)
    for label in OPERATIONS
    for mode in GenerationMode
    # Nothing can be wrong with a request that takes nothing.
    if not (mode is GenerationMode.NEGATIVE and label in ("GET /healthz", "GET /readyz"))
]

PATIENCE = 120.0
QUESTION = "How long is the notice period?"


@dataclass(frozen=True)
class Service:
    """Where the service is, the header of a caller who may do everything, and what is there to ask for."""

    url: str
    headers: dict[str, str]
    real: dict[str, Any]

    def aim(self, case: schemathesis.Case) -> None:
        """Turn a request for anything into one for something that is there."""
        for part in (case.query, case.path_parameters, case.body):
            if isinstance(part, dict):
                part.update({name: value for name, value in self.real.items() if name in part})


@pytest.fixture(scope="module")
def service(live_corpus: Corpus) -> Iterator[Service]:
    _, key = live_corpus.ledger.create_api_key(
        "everything",
        scopes=SCOPES,
        groups=["hr"],
        limits=KeyLimits(per_minute=dict.fromkeys(SCOPES, 10**6)),
        who="test",
    )
    headers = {"Authorization": f"Bearer {key}"}
    with served({"works": live_corpus}, access=Access(ledger=live_corpus.ledger)) as url:
        deadline = time.monotonic() + PATIENCE
        while httpx.get(f"{url}/readyz", trust_env=False).status_code != 200:
            assert time.monotonic() < deadline, "the service never was ready"
            time.sleep(0.1)
        body = {"corpus": "works", "question": QUESTION}
        answer = httpx.post(f"{url}/v1/answer", json=body, headers=headers, trust_env=False, timeout=PATIENCE).json()
        real = {
            "corpus": "works",
            "model": "headwater/works",
            "messages": [{"role": "user", "content": QUESTION}],
            "name": "headwater/works",
            "doc_id": document_id("works", "leave.md"),
            "answer": answer["id"],
            "answer_id": answer["id"],
            "groups": ["hr"],
        }
        yield Service(url, headers, real)


@pytest.mark.parametrize(("operation", "mode"), PAIRS, ids=[f"{label} {mode.value}" for label, mode in PAIRS])
def test_every_response_is_described_and_none_is_a_server_error(
    service: Service, operation: str, mode: GenerationMode
) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[operation].as_strategy(generation_mode=mode), aimed=st.booleans())
    def send(case: schemathesis.Case, aimed: bool) -> None:
        if aimed:
            service.aim(case)
        case.headers.update(service.headers)
        case.call_and_validate(base_url=service.url, checks=CHECKS)

    send()
