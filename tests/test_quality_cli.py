"""``headwater quality``: reasons, histograms, the review list, and what other settings would change."""

from __future__ import annotations

import json
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from headwater.cli import app
from headwater.project import Project
from tests.conftest import SMALL


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["quality", SMALL, *arguments])


def shown(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_reasons_and_signals_are_shown(indexed: Project) -> None:
    text = run().stdout
    assert "5 documents judged: 5 kept, 0 rejected" in text
    assert "duplicate_line_share" in text and "at most 0.85" in text
    assert "radar" not in text
    found = shown()
    assert found["reasons"] == {"ok": 5}
    assert set(found) == {"kept", "rejected", "reasons", "profiles", "languages", "histograms"}


def test_the_review_list_names_documents_signals_and_distances(indexed: Project) -> None:
    rows = shown("--review", "2")["review"]
    assert len(rows) == 2 and {"key", "reason", "signal", "value", "limit", "distance"} == set(rows[0])
    assert abs(rows[0]["distance"]) <= abs(rows[1]["distance"])
    assert rows[0]["key"] in run("--review", "2").stdout


def test_what_if_shows_the_documents_that_would_change_and_changes_none(indexed: Project) -> None:
    change = shown("--what-if", "min_words=1000")["what_if"]
    assert (change["before"], change["after"]) == ({"ok": 5}, {"too_short": 5})
    assert {"key": "hr/pay.md", "before": "ok", "after": "too_short"} in change["documents"]
    text = run("--what-if", "rules=gopher").stdout
    assert "gopher_short_doc" in text and "hr/pay.md" in text
    assert "No document would change." in run("--what-if", "min_words=4").stdout
    assert shown()["reasons"] == {"ok": 5}


def test_a_setting_that_does_not_exist_is_one_clear_message(indexed: Project) -> None:
    result = run("--what-if", "min_wrds=3")
    assert result.exit_code == 1 and "min_wrds=3" in result.stderr and "Traceback" not in result.output
