"""A small corpus that went through the whole line, for the tests of what is built on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from headwater.corpus import Corpus, open_corpus
from headwater.pipeline import Pipeline

NOTICE = "The notice period for crew members is six weeks to the end of a month."

LEAVE = f"""# Leaving us

## Notice

{NOTICE} It is three weeks in the first half year.

## What happens to my keys?

Hand your keys and the boat pass to the duty desk on the last day. 🚣
"""

TRAVEL = """# Travel

Trains are booked through the office, and first class is allowed on journeys of more than four hours.

A night away from home is paid with thirty-two crowns on top of the hotel bill.
"""

PAY = """# Pay bands

The pay band of field engineers starts at forty-one thousand crowns a year and rises by two percent each spring.
"""

HOSTILE = (
    "The river gauge at the mill <img src=x onerror=\"document.title='owned'\"> is read out every fifteen minutes.\n\n"
    "<script>document.title = 'owned'</script> The other gauges are read out once in a working day by the keeper.\n"
)

LOGBOOK = "# Station logbook 🚣\n\n" + "\n\n".join(
    f"On day {day} of the season the keeper noted calm water, the usual boats, and nothing else worth a line."
    if day != 200
    else "On the two hundredth day a grey heron with a blue ring nested on the upper weir."
    for day in range(1, 401)
)


def make_project(root: Path) -> Path:
    """Write a project with the corpus ``works`` and its documents; return the corpus file."""
    files = {
        "leave.md": LEAVE,
        "travel.md": TRAVEL,
        "hr/pay.md": PAY,
        "gauge.txt": HOSTILE,
        "logbook.md": LOGBOOK,
    }
    for key, text in files.items():
        (root / "documents" / key).parent.mkdir(parents=True, exist_ok=True)
        (root / "documents" / key).write_text(text, encoding="utf-8")
    (root / "workspace.yaml").touch()
    path = root / "assets" / "works" / "defs.yaml"
    path.parent.mkdir(parents=True)
    attributes = {
        "source": {"uri": str(root / "documents")},
        "description": "How the works run.",
        "access": [{"prefix": "", "groups": ["*"]}, {"prefix": "hr/", "groups": ["hr"]}],
    }
    path.write_text(yaml.safe_dump({"type": "assets.corpus.Corpus", "attributes": attributes}))
    return path


@pytest.fixture(scope="module")
def live_corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEADWATER_PROJECT", raising=False)
        patch.delenv("HEADWATER_HOME", raising=False)
        patch.delenv("HEADWATER_LEDGER_URL", raising=False)
        with open_corpus(make_project(tmp_path_factory.mktemp("project"))) as corpus:
            Pipeline(corpus, workers=1).run()
            yield corpus
