"""The metrics against figures worked out by hand, and a small collection through the whole path."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from headwater.errors import ConfigError
from headwater.evaluation import evaluate_beir, ndcg_at, recall_at, summarise

TOPICS = {
    "pump": "Prime the pump with water before you start it. A dry pump overheats within two minutes.",
    "invoice": "Invoices are paid within thirty days. Send them to the accounting office as PDF files.",
    "holiday": "Every employee has twenty-eight days of paid leave. Ask your manager three weeks ahead.",
    "backup": "Backups run every night at two. Restore a file from the console under Recovery.",
    "visitor": "Visitors sign in at the front desk and wear a badge. Their host collects them.",
}
QUESTIONS = {
    "pump": "What happens when a pump runs dry?",
    "invoice": "When will my invoice be paid?",
    "holiday": "How many days of vacation do I get?",
    "backup": "How can I restore a deleted file?",
    "visitor": "Where do guests sign in?",
}


def test_ndcg_uses_linear_gain_and_a_log2_discount() -> None:
    relevance = {"a": 3, "b": 1, "c": 0}
    best = 3 + 1 / math.log2(3)
    assert ndcg_at(["a", "b", "x"], relevance, 10) == pytest.approx(1.0)
    assert ndcg_at(["x", "b", "a"], relevance, 10) == pytest.approx((1 / math.log2(3) + 3 / 2) / best)
    assert ndcg_at(["x", "y", "a"], relevance, 2) == 0.0
    assert ndcg_at(["a"], {"a": 0}, 10) == 0.0
    assert ndcg_at(["a", "b"], {"a": 1, "b": 1, "c": 1}, 2) == pytest.approx(1.0)  # the ideal is cut at k, too


def test_recall_counts_all_relevant_documents() -> None:
    relevance = {"a": 2, "b": 1, "c": 0, "d": 1}
    assert recall_at(["a", "x", "b", "d"], relevance, 3) == pytest.approx(2 / 3)
    assert recall_at([], relevance, 10) == 0.0
    assert recall_at(["a"], {}, 10) == 0.0


def test_means_are_over_judged_queries_and_a_query_without_results_counts_as_zero() -> None:
    result = summarise({"one": ["a"], "three": ["z"]}, {"one": {"a": 1}, "two": {"a": 1}, "three": {"z": 0}})
    assert result == {"ndcg@10": 0.5, "recall@5": 0.5, "recall@10": 0.5, "recall@20": 0.5}
    with pytest.raises(ConfigError, match="qrels"):
        summarise({}, {"one": {"a": 0}})


def write_collection(folder: Path) -> None:
    documents = [{"_id": name, "title": name.title(), "text": text} for name, text in TOPICS.items()]
    queries = [{"_id": f"q-{name}", "text": question} for name, question in QUESTIONS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)) + "\n")
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)) + "\n")
    qrels = "".join(f"q-{name}\t{name}\t1\n" for name in TOPICS)
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)


def test_a_collection_is_chunked_indexed_and_searched_in_every_mode(tmp_path: Path) -> None:
    write_collection(tmp_path)
    result = evaluate_beir(tmp_path, cache=tmp_path / "cache")
    assert (result["documents"], result["queries"], result["chunks"]) == (5, 5, 5)
    for mode in ("dense", "sparse", "hybrid"):
        assert set(result[mode]) == {"ndcg@10", "recall@5", "recall@10", "recall@20"}
        assert result[mode]["ndcg@10"] > 0.7
    assert result["hybrid"]["recall@5"] == 1.0
    assert evaluate_beir(tmp_path, cache=tmp_path / "cache") == result


def test_a_folder_that_is_no_collection_says_which_line_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"corpus\.jsonl does not exist"):
        evaluate_beir(tmp_path)
    write_collection(tmp_path)
    (tmp_path / "qrels.tsv").write_text("header\nq-pump\tpump\tmuch\n")
    with pytest.raises(ConfigError, match=r"qrels\.tsv:2: expected"):
        evaluate_beir(tmp_path)
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "x"}\n{"_id": "2"}\n')
    with pytest.raises(ConfigError, match=r"queries\.jsonl:2: expected an object"):
        evaluate_beir(tmp_path)
    (tmp_path / "corpus.jsonl").write_text("nonsense\n")
    with pytest.raises(ConfigError, match=r"corpus\.jsonl:1: not a JSON object"):
        evaluate_beir(tmp_path)
