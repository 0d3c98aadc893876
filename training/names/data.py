"""The training sets as sentences with character spans.

``load(folder)`` reads what lies in one folder: ``wikigold`` (Balasuriya et al. 2009), ``wnut17`` (Derczynski et al.
2017), ``sec_filings`` (Salinas Alvarado et al. 2015) and ``generated_large.json`` (microsoft/presidio-research).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

Span = tuple[int, int, str]

WIKIGOLD = {"PER": "PERSON", "LOC": "LOCATION", "ORG": "ORGANIZATION", "MISC": "OTHER"}
WNUT = {
    "person": "PERSON",
    "location": "LOCATION",
    "corporation": "ORGANIZATION",
    "group": "ORGANIZATION",
    "product": "OTHER",
    "creative-work": "OTHER",
}
GENERATED = {"PERSON": "PERSON", "LOCATION": "LOCATION", "ORGANIZATION": "ORGANIZATION", "ADDRESS": "ADDRESS"}
# In the filings the parties' roles are tagged as persons and organisations; in the other sets roles are no names.
ROLES = re.compile(r"(?:borrower|lender|bank|guarantor|agent|company|parent|terminal|erisa)s?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text with gold spans. ``group`` is the document or template: what a split must not tear apart."""

    source: str
    group: str
    text: str
    spans: tuple[Span, ...]

    @property
    def document(self) -> str | None:
        """The document that the sentence is of; None: one of its own, as sentences of one template are."""
        return self.group if self.source != "generated" else None


def load(folder: Path) -> list[Sentence]:
    """Return all sentences of the four sets below ``folder``."""
    return [
        *wikigold(folder / "wikigold" / "wikigold.conll.txt"),
        *(
            item
            for name in ("train-wnut17train.conll", "dev-emerging.dev.conll")
            for item in wnut(folder / "wnut17" / name)
        ),
        *filings(folder / "sec_filings" / "FIN5.txt"),
        *generated(folder / "generated_large.json"),
    ]


def select(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Return what is learned from: posts and filings without any name are many, so only a part of them."""
    choose = random.Random(5)
    share = {"wnut17": 0.35, "sec_filings": 0.2}
    return [item for item in sentences if item.spans or choose.random() < share.get(item.source, 1.0)]


def wikigold(path: Path) -> Iterator[Sentence]:
    """Yield Wikipedia sentences; the group is the article."""
    for document, rows in _conll(path):
        yield _sentence("wikigold", f"article {document}", rows, WIKIGOLD)


def wnut(path: Path) -> Iterator[Sentence]:
    """Yield social media posts; each is a group of its own."""
    for number, (_, rows) in enumerate(_conll(path)):
        yield _sentence("wnut17", f"{path.stem} {number}", rows, WNUT)


def filings(path: Path) -> Iterator[Sentence]:
    """Yield sentences of loan agreements, roles of parties left out of the gold spans."""
    for document, rows in _conll(path):
        item = _sentence("sec_filings", f"filing {document}", rows, WIKIGOLD)
        spans = tuple(span for span in item.spans if not ROLES.fullmatch(item.text[span[0] : span[1]]))
        yield Sentence(item.source, item.group, item.text, spans)


def generated(path: Path) -> Iterator[Sentence]:
    """Yield synthetic sentences; the group is the template that they were made from."""
    for row in json.loads(path.read_text(encoding="utf-8")):
        spans = sorted(
            (span["start_position"], span["end_position"], GENERATED[span["entity_type"]])
            for span in row["spans"]
            if span["entity_type"] in GENERATED
        )
        yield Sentence("generated", f"template {row['template_id']}", row["full_text"], tuple(spans))


def _conll(path: Path) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    document = 0
    rows: list[tuple[str, str]] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        columns = line.split()
        if columns and columns[0] != "-DOCSTART-":
            rows.append((columns[0], columns[-1]))
            continue
        if rows:
            yield document, rows
            rows = []
        document += bool(columns)


_NO_SPACE_BEFORE = re.compile(r"[,.;:!?%)\]}…]+|'s|'S|'re|'ve|'ll|'d|'m|n't|''|’s")
_NO_SPACE_AFTER = re.compile(r"[(\[{$£€#]|``")


def _sentence(source: str, group: str, rows: list[tuple[str, str]], entities: dict[str, str]) -> Sentence:
    """Return the words as people write them: no space before a comma, none inside brackets and quotes."""
    text = ""
    spans: list[Span] = []
    glue, open_quote, previous = True, False, "O"
    for word, tag in rows:
        if word == '"':
            open_quote = not open_quote
        closing = (word == '"' and not open_quote) or _NO_SPACE_BEFORE.fullmatch(word)
        start = len(text) + (not glue and not closing)
        text = text.ljust(start) + word
        glue = bool(_NO_SPACE_AFTER.fullmatch(word)) or (word == '"' and open_quote)
        entity = entities.get(tag[2:]) if tag != "O" else None
        if entity is not None:
            if spans and previous == entity and tag[0] == "I" and spans[-1][2] == entity:
                spans[-1] = (spans[-1][0], len(text), entity)
            else:
                spans.append((start, len(text), entity))
        previous = entity or "O"
    return Sentence(source, group, text, tuple(spans))
