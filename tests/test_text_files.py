"""Text files that people write."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.dedup.questions import read_questions
from headwater.errors import ConfigError
from headwater.stages.evaluation import read_golden
from headwater.text_files import json_lines, read_text


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Größe", encoding="utf-8-sig")
    assert read_text(path) == "Größe"


def test_what_is_not_utf_8_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    path.write_bytes(b'{"id": "a"}\n\n{"question": "gr\xf6\xdfe"}\n')
    for read in (read_golden, read_questions):
        with pytest.raises(ConfigError, match=rf"{path}:3: .* is not UTF-8 text") as raised:
            read(path)
        assert raised.value.__cause__ is None  # it holds the bytes


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.txt: the list can't be read"):
        read_text(tmp_path / "nowhere.txt", "the list")


def test_lines_of_json_end_at_line_feeds_alone(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    line = '{"id": "a", "question": "What\u2028is\x85it?", "answers": []}'
    path.write_text(f"{line}\r\n\n{line}", encoding="utf-8", newline="")
    assert [number for number, _ in json_lines(read_text(path))] == [1, 3]
    assert [row.question for row in read_golden(path)] == ["What\u2028is\x85it?"] * 2
    assert [question for _, question in read_questions(path)] == ["What\u2028is\x85it?"] * 2
