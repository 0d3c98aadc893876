"""Vectors from a real server that speaks the OpenAI protocol, in trouble and out of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from headwater.config import load_corpus_file
from headwater.corpus import Corpus, open_corpus
from headwater.embedding import Embedder, EndpointEmbedder, endpoint, engines, locate_model
from headwater.errors import ConfigError, EmbeddingError, ReleaseError
from headwater.pipeline import Pipeline
from headwater.policies import EmbedPolicy
from headwater.requeue import requeue
from tests.conftest import MakeCorpus
from tests.embedding_server import NAME

TEXTS = [f"Pump number {number} is primed before the first start" + " and again" * (number % 7) for number in range(45)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.embedding_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    process.stdin.close()
    process.wait(30)


@pytest.fixture
def trouble(server: str) -> Iterator[Callable[..., None]]:
    def make(**what: object) -> None:
        httpx.post(f"{server}/trouble", json=what).raise_for_status()

    make()
    yield make
    make()


@pytest.fixture
def remote(server: str, trouble: Callable[..., None]) -> EndpointEmbedder:
    return EndpointEmbedder(f"{server}/v1", NAME)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_FIRST_PAUSE", 0.01)


def seen(server: str) -> dict[str, int]:
    return dict(httpx.get(f"{server}/seen").json())


def test_an_endpoint_gives_the_vectors_of_its_model_in_order_and_of_unit_length(
    server: str, remote: EndpointEmbedder
) -> None:
    here = Embedder(device="cpu").encode_documents(TEXTS)
    there = remote.encode_documents(TEXTS)
    assert there.shape == (len(TEXTS), remote.dimensions) == (45, 384)
    assert (here * there).sum(axis=1).min() >= 0.9999
    assert seen(server) == {"requests": 3, "texts": 32}  # the canary, and two requests for 45 texts
    assert (remote.encode_queries(TEXTS[:2]) * there[:2]).sum(axis=1).min() >= 0.9999
    assert remote.encode_documents([]).shape == (0, 384)


def test_prompts_are_put_before_documents_and_queries(server: str, remote: EndpointEmbedder) -> None:
    prompted = EndpointEmbedder(f"{server}/v1", NAME, document_prompt="passage: ", query_prompt="query: ")
    assert (prompted.encode_documents(["a"]) @ remote.encode_documents(["passage: a"]).T).item() >= 0.9999
    assert (prompted.encode_queries(["a"]) @ remote.encode_documents(["query: a"]).T).item() >= 0.9999
    assert prompted.fingerprint != remote.fingerprint


def test_a_busy_server_is_asked_again(remote: EndpointEmbedder, trouble: Callable[..., None]) -> None:
    trouble(statuses=[503, 429, 500])
    assert remote.encode_documents(["a pump"]).shape == (1, 384)


def test_a_server_that_stays_away_is_an_error_that_says_so(
    remote: EndpointEmbedder, trouble: Callable[..., None]
) -> None:
    trouble(statuses=[503] * 20)
    with pytest.raises(EmbeddingError, match=r"did not answer in \d attempts \(HTTP 503\)"):
        remote.encode_documents(["a pump"])
    with pytest.raises(EmbeddingError, match="ConnectError"):
        EndpointEmbedder("http://127.0.0.1:1/v1", NAME)


def test_a_text_that_the_server_refuses_costs_only_that_text(
    remote: EndpointEmbedder, trouble: Callable[..., None]
) -> None:
    trouble(refuse="number 13 ", poison="number 21 ")
    result = remote.try_documents(TEXTS)
    assert result.failed == {13: "embed_refused", 21: "bad_vector"}
    good = [row for row in range(len(TEXTS)) if row not in result.failed]
    np.testing.assert_allclose(np.linalg.norm(result.values[good], axis=1), 1.0, atol=1e-5)
    with pytest.raises(EmbeddingError) as error:
        remote.encode_documents(TEXTS)
    assert "Pump" not in str(error.value)


def test_a_wrong_key_or_model_says_what_to_set(
    server: str, trouble: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"embed\.model"):
        EndpointEmbedder(f"{server}/v1", "another")
    trouble(key="open sesame")
    with pytest.raises(ConfigError, match="EMBEDDINGS_API_KEY"):
        EndpointEmbedder(f"{server}/v1", NAME)
    monkeypatch.setenv("EMBEDDINGS_API_KEY", "open sesame")
    assert EndpointEmbedder(f"{server}/v1", NAME).dimensions == 384


def test_an_answer_that_is_not_the_protocols_is_an_error(server: str) -> None:
    with pytest.raises(ConfigError, match=r"embed\.url"):
        EndpointEmbedder(server, NAME)


def test_a_model_swapped_behind_the_url_is_another_model(
    server: str, remote: EndpointEmbedder, trouble: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert EndpointEmbedder(f"{server}/v1", NAME).fingerprint == remote.fingerprint
    trouble(swap=True)
    assert EndpointEmbedder(f"{server}/v1", NAME).fingerprint != remote.fingerprint
    monkeypatch.setattr(endpoint, "_LOOK_EVERY", 0.0)
    with pytest.raises(EmbeddingError, match="another model"):
        remote.encode_queries(["a pump"])
    trouble(narrow=True)
    with pytest.raises(EmbeddingError, match="another model"):
        remote.encode_queries(["a pump"])


def test_a_url_without_a_model_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ValueError, match="url needs model"):
        EmbedPolicy(url="http://127.0.0.1:8000/v1")


def test_a_corpus_is_embedded_and_searched_through_an_endpoint_and_notices_another_model(
    server: str, trouble: Callable[..., None], tmp_path: Path
) -> None:
    documents, corpus_folder = tmp_path / "documents", tmp_path / "assets" / "works"
    documents.mkdir()
    corpus_folder.mkdir(parents=True)
    (documents / "pump.md").write_text(
        "# Pumps\n\nThe pump must be primed before the first start, and its seal is checked once in a quarter.\n"
    )
    (documents / "leave.md").write_text(
        "# Leave\n\nEvery member of the staff has thirty days of paid leave in a year, which can be taken in halves.\n"
    )
    (corpus_folder / "defs.yaml").write_text(
        f"type: assets.corpus.Corpus\nattributes:\n  source: {{uri: {documents}}}\n  privacy: {{enabled: false}}\n"
        f"  embed: {{url: '{server}/v1', model: {NAME}, tokenizer: '{locate_model(None)}'}}\n"
    )
    assert load_corpus_file(corpus_folder / "defs.yaml").embed.url
    with open_corpus(corpus_folder) as corpus:
        report = Pipeline(corpus).run()
        embedded = next(stage for stage in report.stages if stage.stage == "embeddings")
        assert embedded.recomputed == 2 and embedded.details["device"] == "endpoint"
        assert corpus.search("When is the pump primed?", k=1)[0].key == "pump.md"
        again = Pipeline(corpus).run()
        assert sum(stage.recomputed for stage in again.stages[1:-2]) == 0
        first = report.release
    trouble(swap=True)
    engines._remote.cache_clear()  # as in a new process
    with open_corpus(corpus_folder) as corpus:
        with pytest.raises(ReleaseError, match="another model"):
            corpus.search("When is the pump primed?", k=1)
        report = Pipeline(corpus).run()
        assert report.release != first
        assert next(stage for stage in report.stages if stage.stage == "embeddings").recomputed == 2
        assert corpus.search("When is the pump primed?", k=1)[0].key == "pump.md"


def test_what_an_endpoint_refused_is_told_and_tried_again_when_it_is_requeued(
    server: str, trouble: Callable[..., None], make_corpus: MakeCorpus
) -> None:
    whole = "# Zebras\n\nThe zebra of the harbour office is fed twice a day by the keeper of the north gate.\n"
    partly = (
        "# Pumps\n\n## Priming\n\nThe pump must be primed before the first start, and its seal is checked once in a quarter "
        "by the crew of the east workshop, who write it down.\n\n## Animals\n\nNo zebra may come near the pump while it "
        "runs, because its hooves would loosen the bolts that hold the frame on the floor of the hall.\n"
    )
    other = "# Leave\n\nEvery member of the staff has thirty days of paid leave in a year, to be taken in halves.\n"
    folder = make_corpus(
        "works",
        {"whole.md": whole, "partly.md": partly, "other.md": other},
        privacy={"enabled": False},
        chunk={"max_tokens": 60, "min_tokens": 4},
        embed={"url": f"{server}/v1", "model": NAME, "tokenizer": str(locate_model(None))},
    )

    def reindexed(corpus: Corpus) -> tuple[int, int]:
        """Return how many chunks were looked at, and how many vectors were asked of the server for them."""
        report = Pipeline(corpus, workers=1).run()
        stage = next(stage for stage in report.stages if stage.stage == "embeddings")
        return stage.recomputed, stage.details["computed"]

    trouble(refuse="zebra")
    with open_corpus(folder) as corpus:
        assert reindexed(corpus) == (4, 4)
        refused, searchable = corpus.receipts("whole.md")[0], corpus.receipts("partly.md")[0]
        assert (refused.state, refused.reason) == ("quarantined", "embed_refused") and "requeue" in refused.advice
        assert searchable.state == "indexed" and "1 of its 2 passages can't be found." in searchable.message
        assert corpus.receipts("other.md")[0].message == "The document can be searched."

        trouble()
        assert reindexed(corpus) == (0, 0), "nobody said that the endpoint was mended"
        assert requeue(corpus, state="quarantined", reason="The endpoint was mended.") == 1
        assert requeue(corpus, ["partly.md"], reason="The endpoint was mended.") == 1
        assert reindexed(corpus) == (3, 2), "what has a vector is not embedded again"
        for receipt in corpus.receipts():
            assert (receipt.state, receipt.message) == ("indexed", "The document can be searched."), receipt.key
        assert "zebra" in corpus.search("Who feeds the zebra?", k=1)[0].text
