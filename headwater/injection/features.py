"""What the model of requests reads of one: what it asks, how it fits the text around it, and where it stands."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from headwater.injection.wording import CODE, OF_WORD, REPLY, YOUR_CODE

_FOLLOWING = re.compile(r"\b(?:following|subsequent|below|ensuing|this|next)\b", re.IGNORECASE)
_LINK = re.compile(r"https?://|www\.|\b[\w-]+\.(?:com|org|net|io|xyz|info|co|app)\b|\S@\S", re.IGNORECASE)
_MARKUP_LINK = re.compile(r"\]\(|`")
WORDS = re.compile(r"[a-z][a-z'-]*")
_USERS = re.compile(r"\b(?:users?|readers?|audience|people|viewers)\b", re.IGNORECASE)
_OURS = re.compile(r"\b(?:we|our|us|i|my|me)\b", re.IGNORECASE)
_YOURS = re.compile(r"\byou(?:r|rself)?\b", re.IGNORECASE)
_FORM = re.compile(
    r"\b(?:poem|story|essay|letter|speech|song|haiku|joke|e-?mail|report|paragraph|sentence|introduction|summary|"
    r"article|limerick|headline|one-liner|fact|tip|terms|words|letters?|vowels?|typos?|symbols?|emojis?|numbers?|"
    r"reminder|meeting|appointment|function|example|difference|capital)\b",
    re.IGNORECASE,
)
_LANGUAGE = re.compile(
    r"\b(?:french|spanish|german|italian|portuguese|russian|chinese|mandarin|japanese|korean|arabic|hindi|latin|dutch|"
    r"swedish|turkish|polish|greek|english)\b",
    re.IGNORECASE,
)
_STOP_WORDS = """
    about above after again against also always and another any are around because been before being between both
    but can could did does doing done down each either every for from further gets give given goes had has have
    having her here hers him his how into its itself just like made make many may might more most much must need
    not now off once one only other our out over own per please provide put same she should show since some such
    than that the their them then there these they this those through too under until upon use used using very was
    way were what when where which while who why will with within without would you your yours write explain
    describe add include modify tell answer response reply
"""
_STOP = frozenset(_STOP_WORDS.split())

ENDS = ".!?\"'"
"""What a request ends with; a heading, an item or a cell has no end, and a colon introduces something."""

_OPENING_WORDS = 6
_NOUNS = frozenset({("list", "of"), ("review", "of"), ("answer", "to"), ("set", "of"), ("plan", "for")})
"""Words that open a heading rather than a request, with the word behind them."""

_NEAR, _FAR = 600, 20_000
"""Characters on either side of a request that count as near it, and as its text."""

_STEM = 6
"""Letters by which two words count as one."""


@dataclass(frozen=True, slots=True)
class TextShape:
    """What the text's lines look like as a whole: shares of rows of a table, and of all its length."""

    rows: float
    words: int


def shape_of(folded: str) -> TextShape:
    """Return the shape of a folded text."""
    count = folded.count("\n") + 1
    rows = folded.count("|\n") + folded.endswith("|")
    return TextShape(min(rows / count, 1.0), folded.count(" ") + count)


def features_of(
    folded: str,
    lowered: str,
    start: int,
    end: int,
    words: list[str],
    fit: dict[str, float],
    density: float,
    shape: TextShape,
) -> dict[str, float]:
    """Return the features of ``folded[start:end]``; ``words`` are its own, ``density`` is the text's requests per 1,000 characters."""
    sentence = lowered[start:end]
    found: dict[str, float] = {}
    opening = words[: _OPENING_WORDS + 1]
    classes = [
        OF_WORD[word]
        for word, following in zip(opening, [*opening[1:], ""], strict=True)
        if word in OF_WORD and (word, following) not in _NOUNS and (word != "break" or following == "down")
    ]
    if "polite" in classes:  # "Can you show me": what is asked for is in the next verb
        found["polite"] = 1.0
    opener = next((name for name in classes if name != "polite"), "none")
    found[f"opens_{opener}"] = 1.0
    if not words or words[0] not in OF_WORD:
        found["opens_late"] = 1.0
    reply = REPLY.search(sentence)
    if reply:
        found["reply_your" if reply["your"] else "reply_the"] = 1.0
    code = CODE.search(sentence)
    yours = YOUR_CODE.search(sentence)
    if code:
        found["code_block"] = 1.0
        if _FOLLOWING.search(sentence):
            found["code_following"] = 1.0
    if yours:
        found["your_code"] = 1.0
        if code:
            found["code_block_in_yours"] = 1.0
    for name, pattern in (
        ("link", _LINK), ("markup", _MARKUP_LINK), ("users", _USERS), ("ours", _OURS), ("yours", _YOURS),
        ("form", _FORM), ("language", _LANGUAGE),
    ):  # fmt: skip
        if pattern.search(sentence):
            found[name] = 1.0
    if sentence.endswith("?"):
        found["asks"] = 1.0
    elif sentence.endswith(":"):
        found["colon"] = 1.0
    elif sentence[-1] not in ENDS:
        found["unended"] = 1.0
    if sentence.count('"') >= 2 or sentence.count("'") >= 2:
        found["quotes"] = 1.0
    found["length"] = math.log1p(len(words))
    _place(found, folded, start, end, shape)
    found["requests"] = math.log1p(density)
    if fit.get("alone"):  # nothing of it occurs elsewhere: what it asks for counts in another way
        found |= {f"alone_{name}": 1.0 for name in (f"opens_{opener}", "form", "asks", "reply_your") if name in found}
    return found


def fit_of(lowered: str, start: int, end: int, words: list[str]) -> dict[str, float]:
    """Return the shares of the request's content words that occur near it, and elsewhere in the text."""
    stems = {word[:_STEM] for word in words if len(word) > 3 and word not in _STOP}
    if not stems:
        return {"no_content": 1.0}
    before, after = lowered[max(0, start - _NEAR) : start], lowered[end : end + _NEAR]
    elsewhere = [stem for stem in stems if stem not in before and stem not in after]
    near = len(stems) - len(elsewhere)
    low, high = max(0, start - _FAR), end + _FAR
    missing = sum(lowered.find(s, low, start) < 0 and lowered.find(s, end, high) < 0 for s in elsewhere)
    found = {"near": near / len(stems), "far": 1 - missing / len(stems), "missing": math.log1p(missing)}
    if missing == len(stems) > 1:
        found["alone"] = 1.0
    return found


def _place(found: dict[str, float], folded: str, start: int, end: int, shape: TextShape) -> None:
    line = folded.rfind("\n", 0, start) + 1
    stop = folded.find("\n", end)
    stop = len(folded) if stop < 0 else stop
    lead = folded[line:start].strip()
    if folded[stop:].strip() == "" if stop + 200 > len(folded) else False:
        found["last_line"] = 1.0
    if line == 0:
        found["first_line"] = 1.0
    if not lead.strip("\"'*_"):
        found["begins_line"] = 1.0
        if stop - end < 3:
            found["own_line"] = 1.0
    elif lead[-1] in "#-*+>.)|" and len(lead) <= 5:
        found["heading" if "#" in lead else "item"] = 1.0
    row = folded[line:stop].strip()
    if row.startswith("|") and row.endswith("|"):
        found["in_row"] = 1.0
    elif shape.rows > 0.3:
        found["beside_table"] = 1.0
    found["short_text"] = 1.0 / (1.0 + shape.words / 200.0)
