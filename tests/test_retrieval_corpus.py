"""Search on a corpus that went through the line: joined passages, duplicates, explanations, reranking, old releases."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from headwater import corpus as corpus_module
from headwater.cli.app import app
from headwater.corpus import Corpus, open_corpus
from headwater.errors import ConfigError, FilterError
from headwater.ledger import ReleaseInfo
from headwater.pipeline import Pipeline
from headwater.policies import RetrievalPolicy
from headwater.retrieval.weights import SETTING
from headwater.types import Principal
from tests.live_corpus import live_corpus, make_project  # noqa: F401

QUESTION = "What did the keeper note about calm water and the usual boats?"
HR = Principal(groups=frozenset({"hr"}))


def with_policy(corpus: Corpus, **fields: object) -> Corpus:
    """Open the same corpus with other settings of search."""
    policy = corpus.policy.model_copy(update={"retrieval": RetrievalPolicy.model_validate(fields)})
    return Corpus(corpus.name, policy, corpus.project)


def test_joined_passages_are_the_text_of_the_document_and_lose_no_result(live_corpus: Corpus) -> None:  # noqa: F811
    apart = live_corpus.search(QUESTION, 20, merge=False)
    joined = live_corpus.search(QUESTION, 10)
    assert any(len(passage.chunks) > 1 for passage in joined)
    for passage in joined:
        document = live_corpus.document(passage.doc_id)
        assert passage.text == document.text[passage.start : passage.end]
        assert passage.chunk_id in passage.chunks
        assert len(passage.text) <= live_corpus.policy.retrieval.merge_characters
    held = [chunk for passage in joined for chunk in passage.chunks]
    assert len(held) == len(set(held))
    assert {passage.chunk_id for passage in apart[:10]} <= set(held)
    assert all(passage.chunks == (passage.chunk_id,) for passage in apart)
    assert joined[0].chunk_id == apart[0].chunk_id


def test_answers_read_chunks_one_by_one(live_corpus: Corpus) -> None:  # noqa: F811
    assert all(len(passage.chunks) == 1 for passage in live_corpus.search_as(None, QUESTION, 10))


@pytest.mark.parametrize("question", [QUESTION, "pay band of field engineers", "zzzz"])
@pytest.mark.parametrize("k", [0, 1, 3])
def test_an_explanation_is_of_the_search_that_it_explains(live_corpus: Corpus, question: str, k: int) -> None:  # noqa: F811
    found = live_corpus.explain(question, k, principal=HR, filters="not language = fr")
    assert list(found.passages) == live_corpus.search(question, k, principal=HR, filters="not language = fr")
    assert found.filters == {"not": {"language": "fr"}}
    assert found.release == live_corpus.live()
    leads = [hit.chunk_id for hit in found.hits if hit.outcome == "passage"]
    assert leads == [passage.chunk_id for passage in found.passages]
    assert {"encode", "search", "passages", "total"} <= found.timings.keys()
    for hit in found.hits:
        if hit.outcome in ("merged", "duplicate"):
            assert hit.into in {other.chunk_id for other in found.hits}
        if hit.outcome == "merged":
            assert any(hit.chunk_id in passage.chunks for passage in found.passages)
        assert hit.dense is not None or hit.sparse is not None


def test_a_score_can_be_worked_out_from_what_the_explanation_says(live_corpus: Corpus) -> None:  # noqa: F811
    found = live_corpus.explain("How much is a night away from home paid?", 3)
    assert (found.fusion, found.weight_source) == ("scores", "learnt" if _learnt(live_corpus) else "default")
    assert found.dense_weight is not None
    dense = max(hit.dense[1] for hit in found.hits if hit.dense)
    sparse = max(hit.sparse[1] for hit in found.hits if hit.sparse)
    both = [hit for hit in found.hits if hit.dense and hit.sparse]
    assert both
    for hit in both:
        assert hit.dense is not None
        assert hit.sparse is not None
        wanted = found.dense_weight * hit.dense[1] / dense + (1 - found.dense_weight) * hit.sparse[1] / sparse
        assert hit.score == pytest.approx(wanted, abs=1e-4)


def _learnt(corpus: Corpus) -> bool:
    live = corpus.live()
    assert live is not None
    return SETTING in corpus.ledger.release(corpus.name, live).settings


@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_one_retriever_alone_needs_no_fusion(live_corpus: Corpus, mode: str) -> None:  # noqa: F811
    found = live_corpus.explain("notice period", 3, mode=mode)  # type: ignore[arg-type]
    assert (found.fusion, found.dense_weight) == ("none", None)
    assert all((hit.sparse if mode == "dense" else hit.dense) is None for hit in found.hits)


def test_a_filter_that_is_none_says_where_it_is_wrong(live_corpus: Corpus) -> None:  # noqa: F811
    with pytest.raises(FilterError, match="character 12"):
        live_corpus.search("notice", filters="key = 'a' xor key = 'b'".replace(" xor", "  xor"))
    assert live_corpus.search("notice", filters='key ^= "nowhere/"') == []
    assert {p.key for p in live_corpus.search("pay", 20, filters='key ^= "hr/"', principal=HR)} == {"hr/pay.md"}
    assert live_corpus.search("pay", 20, filters='key ^= "hr/"') == []
    assert live_corpus.search("pay", 20, filters='not key ^= "nowhere/" or key ^= "hr/"')
    assert "hr/pay.md" not in {p.key for p in live_corpus.search("pay", 20, filters='not key ^= "nowhere/"')}


def test_diversity_brings_other_documents_up(live_corpus: Corpus) -> None:  # noqa: F811
    with (
        with_policy(live_corpus, diversity=0.9, merge=False) as diverse,
        with_policy(live_corpus, merge=False) as plain,
    ):
        assert len({p.key for p in diverse.search(QUESTION, 4)}) > len({p.key for p in plain.search(QUESTION, 4)})
        assert diverse.search(QUESTION, 4)[0].key == plain.search(QUESTION, 4)[0].key
        assert diverse.explain(QUESTION, 4).diversity == 0.9


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cross-encoder with random weights: what it says means nothing, but it always says the same."""
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    folder = tmp_path_factory.mktemp("cross-encoder")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(11)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=512,
        initializer_range=1.0,
    )
    config.num_labels = 1
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=512).save_pretrained(folder)
    CrossEncoder(str(folder), device="cpu", local_files_only=True)  # it is one
    return folder


def test_a_cross_encoder_decides_the_order_of_the_best_results(live_corpus: Corpus, cross_encoder: Path) -> None:  # noqa: F811
    from sentence_transformers import CrossEncoder

    with with_policy(live_corpus, rerank_model=str(cross_encoder), rerank_top=8, merge=False) as corpus:
        found = corpus.explain(QUESTION, 5)
        again = corpus.search(QUESTION, 5)
    assert list(found.passages) == again
    assert found.rerank_model == str(cross_encoder)
    assert "rerank" in found.timings
    scores = [passage.score for passage in found.passages]
    assert scores == sorted(scores, reverse=True)
    assert {hit.chunk_id: hit.rerank_score for hit in found.hits}[found.passages[0].chunk_id] == scores[0]
    model = CrossEncoder(str(cross_encoder), device="cpu", local_files_only=True)
    for passage in found.passages:
        line = " > ".join(dict.fromkeys((passage.title, *passage.section)))
        (expected,) = model.predict([(QUESTION, f"{line}\n{passage.text}")], show_progress_bar=False)
        assert passage.score == pytest.approx(float(expected), abs=1e-3)
    plain = live_corpus.search(QUESTION, 5, merge=False)
    assert [p.chunk_id for p in plain] != [p.chunk_id for p in found.passages]


def test_a_folder_without_a_cross_encoder_is_named(live_corpus: Corpus, tmp_path: Path) -> None:  # noqa: F811
    with (
        with_policy(live_corpus, rerank_model=str(tmp_path)) as corpus,
        pytest.raises(ConfigError, match="rerank_model"),
    ):
        corpus.search(QUESTION)


def test_the_command_line_explains_and_filters(live_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("HEADWATER_PROJECT", str(live_corpus.project.root))
    runner = CliRunner()
    where = 'key ^= "l" and not key = "leave.md"'
    shown = runner.invoke(app, ["search", "works", "calm water", "-k", "2", "--explain", "--where", where])
    assert shown.exit_code == 0, shown.output
    assert "logbook.md" in shown.output
    assert "leave.md" not in shown.output.replace('"leave.md"', "")
    assert "ms" in shown.output
    found = runner.invoke(
        app, ["search", "works", "calm water", "--explain", "--json", "--where", where, "--filter", "key=logbook.md"]
    )
    explained = json.loads(found.stdout)
    assert explained["filters"] == {
        "and": [{"key": "logbook.md"}, {"and": [{"key": {"prefix": "l"}}, {"not": {"key": "leave.md"}}]}]
    }
    assert {hit["key"] for hit in explained["hits"]} == {"logbook.md"}
    wrong = runner.invoke(app, ["search", "works", "calm water", "--where", "key ="])
    assert wrong.exit_code != 0


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    """A corpus of sixty German documents of a chunk each: enough to learn from."""
    for name in ("HEADWATER_PROJECT", "HEADWATER_HOME", "HEADWATER_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    things = ["Pumpe", "Fähre", "Schleuse", "Laterne", "Mühle", "Brücke", "Boje", "Winde", "Glocke", "Leiter"]
    works = ["geölt", "gestrichen", "repariert", "geprüft", "verschlossen", "vermietet"]
    (tmp_path / "documents").mkdir()
    for number in range(60):
        thing, work = things[number % 10], works[number % 6]
        (tmp_path / "documents" / f"{number:02}.md").write_text(
            f"# Die {thing} an der Station {number}\n\nDie {thing} an der Station {number} wird vom Personal jedes Jahr "
            f"im Frühling {work}. Wer einen Schaden bemerkt, meldet ihn sofort dem Wärter im Zimmer {number * 7}. Über die "
            f"Arbeiten an allen {thing}n führt das Büro ein Buch, das auf Seite {number * 3} beginnt.\n"
        )
    (tmp_path / "workspace.yaml").touch()
    path = tmp_path / "assets" / "werk" / "defs.yaml"
    path.parent.mkdir(parents=True)
    attributes = {
        "source": {"uri": str(tmp_path / "documents")},
        "quality": {"languages": ["de"]},
        "dedup": {"threshold": 1.0},
        "retrieval": {"learning_queries": 60},
    }
    path.write_text(yaml.safe_dump({"type": "assets.corpus.Corpus", "attributes": attributes}))
    with open_corpus(path) as corpus:
        yield corpus


@pytest.mark.slow
def test_a_release_learns_its_weights_and_the_next_learns_what_a_rebuild_would(many: Corpus) -> None:
    report = Pipeline(many, workers=1).run()
    first = many.ledger.release(many.name, report.release or 0)
    assert first.settings["embed"]["bm25_language"] == "german"
    learnt = first.settings[SETTING]
    assert learnt["queries"] == 60
    assert 0 <= learnt["dense_weight"] <= 1
    details = next(stage.details for stage in report.stages if stage.stage == "index_candidate")
    assert details[SETTING] == learnt
    found = many.explain("Wo wird ein Schaden an den Fähren gemeldet?", 3)
    assert (found.dense_weight, found.weight_source) == (learnt["dense_weight"], "learnt")
    # "Fähren" and "Fähre" are one term to the German analyzer.
    assert many.search("Fähren", 3, mode="sparse")
    second = _edited(many, 30)
    assert second.number > first.number
    assert second.settings[SETTING]["sample"] != learnt["sample"]
    path = many.project.root / "assets" / many.name / "defs.yaml"
    many.close()
    shutil.rmtree(many.project.home)
    with open_corpus(path) as rebuilt:
        number = Pipeline(rebuilt, workers=1).run().release or 0
        assert rebuilt.ledger.release(rebuilt.name, number).settings[SETTING] == second.settings[SETTING]


def _edited(corpus: Corpus, documents: int) -> ReleaseInfo:
    for number in range(documents):
        path = corpus.project.root / "documents" / f"{number:02}.md"
        path.write_text(path.read_text().replace("sofort", "sogleich") + f"\nZuletzt zum {documents}. Mal.\n")
    return corpus.ledger.release(corpus.name, Pipeline(corpus, workers=1).run().release or 0)


def test_joining_reads_on_until_there_are_enough_passages(live_corpus: Corpus) -> None:  # noqa: F811
    # The best results for this are all pieces of one long document, which become a few passages.
    with with_policy(live_corpus, merge_characters=10**6, collapse=False) as corpus:
        found = corpus.search(QUESTION, 20, principal=HR)
        with corpus.searcher() as searcher:
            everything = searcher.count()
    assert len(found) < 20
    assert sum(len(passage.chunks) for passage in found) == everything > 20 + 10
    longest = max(found, key=lambda passage: len(passage.chunks))
    assert longest.text == live_corpus.document(longest.doc_id).text[longest.start : longest.end]


def test_the_model_of_a_release_is_looked_up_once_and_not_at_every_search(
    small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    really = corpus_module.embedder_of_release
    monkeypatch.setattr(corpus_module, "embedder_of_release", lambda *given: (looked.append(1), really(*given))[1])
    with open_corpus(small_corpus.project.corpus_file(small_corpus.name).parent) as corpus:
        for question in ("How long does the battery last?", "How many days of leave?", "Who books trains?"):
            assert corpus.search(question, 2)
    assert len(looked) == 1
