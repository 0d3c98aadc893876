"""Is a corrupted sentence caught, and a faithful one kept? Planted corruptions of sentences of real documents.

    python benchmarks/verification.py FOLDER CLAPNQ.jsonl                # figures on the test half of the documents
    python benchmarks/verification.py FOLDER CLAPNQ.jsonl --tuning       # the half that the rules were made on
    ... --wrong      # print which ones were judged wrongly (their text: only for looking at the rules)

FOLDER holds Markdown or text; CLAPNQ.jsonl is ClapNQ's answerable questions (Rosenthal et al. 2024), whose passages and
selected sentences are used. A document belongs to one half by the hash of its name. Each corruption changes one sentence
that its passage holds, by a seeded rule: ``number`` (a figure, number word or year changed, or taken from elsewhere),
``name`` (another name of the same passage or of another document), ``negation`` (a negation or restriction dropped, put
in or turned), ``quote`` (words in quotation marks that nobody said, or a real quotation changed), ``document`` (the
sentence as it is, but cited to another passage: the one of all that shares most words, or any), ``sign`` (a sign of
comparison put before a number, or turned), ``opposite`` (a word exchanged for its opposite) and ``roles`` (the words on
both sides of a verb exchanged, or "was ... by" put between them). Faithful ones are
``untouched`` and ``paraphrase``: clauses reordered, contractions undone, function words replaced, numbers written
differently. Caught and kept are shares in 0..1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from headwater.answering.contract import Draft
from headwater.answering.verification import SpanVerifier
from headwater.embedding import Embedder
from headwater.policies import AnswerPolicy
from headwater.sentences import split_sentences
from headwater.types import Passage

EACH = 60
FAITHFUL = 300
PASSAGE_CHARACTERS = 1500
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][\w’'-]+(?: [A-Z][\w’'-]+){0,3}")
_COUNTED = "two three four five six seven eight nine ten eleven twelve twenty thirty fifty"
_NUMBER_WORDS = _COUNTED.split()
_DIGITS = re.compile(r"(?<![\w/.#-])\d[\d,]*(?:\.\d+)?(?![\w/-])")


@dataclass(frozen=True)
class Item:
    """A sentence that ``passage`` holds."""

    text: str
    passage: Passage


@dataclass(frozen=True)
class Case:
    """A draft, what was done to it, and the passage it cites."""

    kind: str
    text: str
    passage: Passage
    original: str


def passage_of(name: str, number: int, title: str, text: str) -> Passage:
    return Passage(f"{name}-{number}", name, name, "", 1, title, (), None, 0, len(text), text, 1.0)


def read(folder: Path, clapnq: Path, tuning: bool) -> list[Item]:
    items: list[Item] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".md", ".txt") or is_tuning(path.name) != tuning:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        title = path.stem.replace("-", " ")
        sentences = split_sentences(text)
        first = 0
        for last in range(len(sentences)):
            if last + 1 == len(sentences) or sentences[last + 1][1] - sentences[first][0] > PASSAGE_CHARACTERS:
                start, end = sentences[first][0], sentences[last][1]
                passage = passage_of(str(path.relative_to(folder)), first, title, text[start:end])
                items += [Item(text[a:b], passage) for a, b in sentences[first : last + 1]]
                first = last + 1
    for i, line in enumerate(clapnq.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        if is_tuning(row["id"]) == tuning:
            source = row["passages"][0]
            passage = passage_of(f"clapnq-{i}", 0, source["title"], source["text"])
            items += [Item(text, passage) for text in row["output"][0]["selected_sentences"]]
    return [item for item in items if is_prose(item.text) and item.text in item.passage.text]


def is_tuning(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 0


def is_prose(text: str) -> bool:
    words = text.split()
    return (
        6 <= len(words) <= 60
        and text.rstrip()[-1:] in ".!"
        and "http" not in text
        and "|" not in text
        and "\n" not in text
    )


# --- corruptions: a changed sentence, or None where there is nothing to change ------------------------------------


def change_number(item: Item, others: Sequence[Item], dice: random.Random) -> str | None:
    found = [(m.start(), m.end()) for m in _DIGITS.finditer(item.text)]
    words = [m.span() for w in _NUMBER_WORDS for m in re.finditer(rf"\b{w}\b", item.text)]
    if not found and not words:
        return None
    start, end = dice.choice(found or words)
    old = item.text[start:end]
    if not found:
        new = dice.choice([w for w in _NUMBER_WORDS if w != old])
    else:
        digits = [i for i, c in enumerate(old) if c.isdigit()]
        elsewhere = [m.group() for m in _DIGITS.finditer(item.passage.text) if m.group() not in item.text]
        how = dice.randrange(4)
        if how == 0 and elsewhere:
            new = dice.choice(elsewhere)
        elif how == 1 and "." not in old and "," not in old:
            new = str(int(old) + dice.choice([1, 2, 5, 10]))
        elif how == 2 and "," not in old:
            new = old + "0"
        else:
            at = dice.choice(digits)
            new = old[:at] + dice.choice([c for c in "123456789" if c != old[at]]) + old[at + 1 :]
    return item.text[:start] + new + item.text[end:]


def swap_name(item: Item, others: Sequence[Item], dice: random.Random) -> str | None:
    found = [m.span() for m in _NAME.finditer(item.text) if not _is_calendar(m.group())]
    if not found:
        return None
    start, end = dice.choice(found)
    old = item.text[start:end]
    inside = {m.group() for m in _NAME.finditer(item.passage.text)}
    outside = {m.group() for other in dice.sample(others, 20) for m in _NAME.finditer(other.text)}
    pool = sorted(n for n in (inside if dice.random() < 0.4 else outside) if _unlike(n, old) and not _is_calendar(n))
    return item.text[:start] + dice.choice(pool) + item.text[end:] if pool else None


def _unlike(one: str, other: str) -> bool:
    return not set(re.findall(r"\w{2,}", one.lower())) & set(re.findall(r"\w{2,}", other.lower()))


def _is_calendar(name: str) -> bool:
    return bool(
        re.search(
            r"\b(?:January|February|March|April|May|June|July|August|September|October|November|December|\w+day)\b",
            name,
        )
    )


_TURNS: list[tuple[str, str]] = [
    (r"\b(do|does|did|is|are|was|were|has|have|had|would|could|should) not\b", r"\1"),
    (r"\b(do|does|did|is|are|was|were|has|have|had|would|could|should)n['’]t\b", r"\1"),
    (r"\b(can)not\b", r"\1"),
    (r"\bcan['’]t\b", "can"),
    (r"\bwon['’]t\b", "will"),
    (r"(?<!or )\bnot (?!only|just|necessarily)", ""),
    (r"\bnever\b ", ""),
    (r"\bnever\b", "always"),
    (r"\bwithout\b", "with"),
    (r"\bno (?=[a-z]+)(?!one|longer|more|less|later)", ""),
    (r"\bunless\b", "if"),
    (r"\bonly ", ""),
]
_INSERTED: list[tuple[str, str]] = [
    (
        r"\b(is|are|was|were|will|can|should|must|may|could|has been|have been) (?!not|n't|never|only|no\b|also|the|a\b)",
        r"\1 not ",
    ),
    (r"\bmust\b", "may"),
    (r"\bmay\b(?= [a-z])", "must"),
    (r"\bat least\b", "at most"),
    (r"\bmore than\b", "less than"),
    (r"\bbefore\b", "after"),
]


def turn_round(item: Item, others: Sequence[Item], dice: random.Random) -> str | None:
    rules = [rule for rule in _TURNS if re.search(rule[0], item.text)]
    if not rules and dice.random() < 0.02:
        rules = [rule for rule in _INSERTED if re.search(rule[0], item.text)]
    if not rules:
        return None
    pattern, replacement = dice.choice(rules)
    return re.sub(pattern, replacement, item.text, count=1)


def invent_quote(item: Item, others: Sequence[Item], dice: random.Random) -> str | None:
    words = item.text.rstrip(" .!").split()
    quoted = re.search(r"[“\"]([^“”\"]{12,})[”\"]", item.text)
    other = dice.choice(others).text.rstrip(" .!").split()
    if quoted and dice.random() < 0.5:
        inner = quoted[1].split()
        inner[dice.randrange(len(inner))] = dice.choice(other)
        return item.text[: quoted.start(1)] + " ".join(inner) + item.text[quoted.end(1) :]
    if '"' in item.text or "“" in item.text:
        return None
    how = dice.randrange(3)
    if how == 0:
        return f"{' '.join(words)}, “{' '.join(other[:9])}”."
    if how == 1:
        at = dice.randrange(len(words) // 2)
        scattered = dice.sample(words, min(6, len(words)))
        return f'{" ".join(words[:at])} "{" ".join(scattered)}" {" ".join(words[at:])}.'
    changed = list(words)
    at = dice.randrange(1, len(changed))
    changed[at] = dice.choice([w for w in other if w != changed[at]])
    return f'It says "{" ".join(changed)}".'


Corruption: TypeAlias = Callable[[Item, Sequence[Item], random.Random], str | None]
"""A rule: what it makes of a sentence, given all sentences and dice; None where it doesn't apply."""

_CORRUPTIONS: dict[str, Corruption] = {
    "number": change_number,
    "name": swap_name,
    "negation": turn_round,
    "quote": invent_quote,
}

# --- corruptions with dice of their own, so that the cases above stay what they are -----------------------------------

_SIGNS = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "<=": ">=", ">=": "<=", "=": "!=", "~": "<"}
_SIGN = re.compile(r"(?<=\s)([<>]=?|[≤≥=~])(?=\s?\d)")
_BARE_NUMBER = re.compile(r"(?<=[a-z] )(?=\d[\d,]*(?:\.\d+)?(?: [a-z%]|%|[.,]? |\.$))")
_BOUNDS = re.compile(r"\b(?:least|most|than|over|under|above|below|within|to|about|around|nearly|almost)\s*$")


def turn_sign(item: Item, others: Sequence[Item], dice: random.Random) -> str | None:
    written = _SIGN.search(item.text)
    if written:
        return item.text[: written.start()] + _SIGNS[written[1]] + item.text[written.end() :]
    places = [m.start() for m in _BARE_NUMBER.finditer(item.text) if not _BOUNDS.search(item.text[: m.start()])]
    # A year, a day of a month, the number of a thing ("stage 0") and one end of a range have no bound of their own.
    places = [
        at
        for at in places
        if not re.match(r"(?:1[5-9]|20)\d\d\b|\d+ (?:to|and|or)\b", item.text[at:])
        and not _is_calendar(item.text[:at].split()[-1])
        and not re.search(r"\b(?:stage|session|step|level|top)\s$", item.text[:at], re.IGNORECASE)
    ]
    if not places:
        return None
    at = dice.choice(places)
    sign = dice.choice(["> ", "< ", "≥ ", "≤ ", "≠ ", "~", "above ", "below "])
    return item.text[:at] + sign + item.text[at:]


_OPPOSITES = [
    ("allowed", "banned"), ("permitted", "outlawed"), ("allows", "forbids"), ("possible", "impossible"),
    ("accepted", "declined"), ("approved", "refused"), ("open", "locked"), ("opened", "closed"),
    ("increases", "falls"), ("increased", "dropped"), ("increase", "decline"), ("rose", "fell"), ("grew", "shrank"),
    ("begins", "ends"), ("began", "ended"), ("starts", "finishes"), ("started", "ended"), ("continues", "ends"),
    ("includes", "omits"), ("included", "excluded"), ("received", "sent"), ("won", "lost"), ("joined", "left"),
    ("created", "deleted"), ("built", "demolished"), ("supported", "opposed"), ("wide", "narrow"), ("deep", "shallow"),
    ("annual", "weekly"), ("weekly", "yearly"), ("monthly", "daily"), ("internal", "external"), ("public", "private"),
    ("higher", "lower"), ("more", "less"), ("large", "small"), ("always", "never"), ("required", "optional"),
]  # fmt: skip


def exchange_opposite(item: Item, others: Sequence[Item], dice: random.Random) -> str | None:
    pairs = [(a, b) for pair in _OPPOSITES for a, b in (pair, pair[::-1]) if re.search(rf"\b{a}\b", item.text)]
    if not pairs:
        return None
    one, other = dice.choice(pairs)
    return re.sub(rf"\b{one}\b", other, item.text, count=1)


_VERBS = (
    "acquired approved bought built caused contains controls created defeated defines describes determines developed "
    "discovered follows founded helps includes influenced inspired introduced invented joined killed leads led lent "
    "makes manages owns paid pays produced produces provides published received recorded released represents requires "
    "reviews runs sends sold succeeded supports teaches uses used won wrote"
)
_AROUND_VERB = re.compile(
    r"((?:The |An? )?(?:[A-Za-z]\w+ ){0,2}[A-Za-z]\w+) (" + "|".join(_VERBS.split()) + r") "
    r"((?:the |an? )?(?:(?!of\b|in\b|and\b|to\b|for\b|from\b|on\b|by\b|with\b|at\b|as\b|or\b|that\b)[A-Za-z]\w+ ?){1,3})"
    r"(?= (?:of|in|and|to|for|from|on|by|with|at|as|or)\b|[.,])"
)


def exchange_roles(item: Item, others: Sequence[Item], dice: random.Random) -> str | None:
    found = _AROUND_VERB.match(item.text)
    if not found or re.search(
        r"\b(?:is|are|was|were|be|been|who|which|that|this|these|it|they|us|we|you|he|she|them|all|same|then|also|I)\b",
        found[0],
        re.I,
    ):
        return None
    left, verb, right = found[1], found[2], found[3].strip()
    if verb.endswith("ed") and dice.random() < 0.3:
        return f"{left} was {verb} by {right}{item.text[found.end() :]}"
    return f"{right[0].upper()}{right[1:]} {verb} {left[0].lower() if left.startswith(('The ', 'A', 'An ')) else left[0]}{left[1:]}{item.text[found.end() :]}"


_LATER_CORRUPTIONS: dict[str, Corruption] = {
    "sign": turn_sign,
    "opposite": exchange_opposite,
    "roles": exchange_roles,
}

# --- faithful variants --------------------------------------------------------------------------------------------

_FUNCTION = [
    (r"\bdon['’]t\b", "do not"),
    (r"\bdoesn['’]t\b", "does not"),
    (r"\bisn['’]t\b", "is not"),
    (r"\baren['’]t\b", "are not"),
    (r"\bcan['’]t\b", "cannot"),
    (r"\bwon['’]t\b", "will not"),
    (r"\b([Ww])e['’]re\b", r"\1e are"),
    (r"\b([Ww])e['’]ve\b", r"\1e have"),
    (r"\b([Ww])e['’]ll\b", r"\1e will"),
    (r"\b([Yy])ou['’]re\b", r"\1ou are"),
    (r"\b([Ii])t['’]s\b", r"\1t is"),
    (r"\bdo not\b", "don't"),
    (r"\bis not\b", "isn't"),
    (r"\bin order to\b", "to"),
    (r"\bbecause\b", "since"),
    (r"\balthough\b", "though"),
    (r"\bhowever\b", "but"),
    (r"\bsuch as\b", "like"),
    (r"\bprior to\b", "before"),
    (r"\bmust\b", "have to"),
    (r"\bvia\b", "through"),
    (r"\bwithin\b", "in"),
    (r"\bupon\b", "on"),
    (r"\babout\b", "around"),
    (r"\bwhile\b", "whereas"),
    (r"\bas well as\b", "and"),
    (r"\beach\b", "every"),
    (r"\bmay\b(?= [a-z])", "can"),
    (r"\bwhich\b", "that"),
    (r"(?<!no )\bmore than (?=\d)", "over "),
    (r"\bfor example\b", "for instance"),
]
_WORDS_OF = {str(n): word for n, word in enumerate(_NUMBER_WORDS[:11], start=2) if n != 11}


def paraphrase(item: Item, dice: random.Random) -> str | None:
    text = item.text
    rules = [rule for rule in _FUNCTION if re.search(rule[0], text)]
    for pattern, replacement in dice.sample(rules, min(2, len(rules))):
        text = re.sub(pattern, replacement, text, count=1)
    small = re.search(r"(?<![\w.,$€£:/-])(2|3|4|5|6|7|8|9|10|12)(?= [a-z])", text)
    if small:
        text = text[: small.start()] + _WORDS_OF[small[1]] + text[small.end() :]
    text = re.sub(r"(?<![\w.,])(\d{1,3}),(\d{3})(?![\d,.])", r"\1\2", text, count=1)
    leading = re.fullmatch(
        r"((?:In|On|At|After|Before|When|If|During|While|For|Since|By) [^,]{3,60}) ?, ([^.]+?) ?\.", text
    )
    trailing = re.fullmatch(
        r"([^.,]{20,}?),? ((?:when|if|because|since|after|before|while|during) [^.,]{8,80}) ?\.", text
    )
    if leading:
        main = leading[2]
        first = main[0] if re.match(r"I\b|[A-Z]\w*[A-Z]|[A-Z]", main) else main[0].upper()
        text = f"{first}{main[1:]} {leading[1][0].lower()}{leading[1][1:]}."
    elif trailing:
        text = f"{trailing[2][0].upper()}{trailing[2][1:]}, {trailing[1][0].lower()}{trailing[1][1:]}."
    return text if text != item.text else None


# --- the measurement ----------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    return re.findall(r"\w{4,}", text.lower())


def corrupted(kind: str, corrupt: Corruption, items: Sequence[Item], dice: random.Random) -> list[Case]:
    """Return at most :data:`EACH` sentences that the rule changed into something that their passage doesn't hold."""
    result: list[Case] = []
    for item in dice.sample(items, len(items)):
        text = corrupt(item, items, dice)
        if text and text.split() != item.text.split() and text not in item.passage.text:
            result.append(Case(kind, text, item.passage, item.text))
            if len(result) == EACH:
                break
    return result


def cases(items: Sequence[Item], seed: int) -> list[Case]:
    dice = random.Random(seed)
    result: list[Case] = []
    for kind, corrupt in _CORRUPTIONS.items():
        result += corrupted(kind, corrupt, items, dice)
    words = {id(item.passage): (item.passage, set(words_of(item.passage.text))) for item in items}
    for n, item in enumerate(dice.sample(items, EACH)):
        mine = set(words_of(item.text))
        # A passage with all of its words says it too.
        others = [(p, w) for p, w in words.values() if p.doc_id != item.passage.doc_id and not mine <= w]
        wrong = max(others, key=lambda pair: len(mine & pair[1]))[0] if n % 2 else dice.choice(others)[0]
        result.append(Case("document", item.text, wrong, item.text))
    for item in dice.sample(items, min(FAITHFUL, len(items))):
        result.append(Case("untouched", item.text, item.passage, item.text))
    made = 0
    for item in dice.sample(items, len(items)):
        text = paraphrase(item, dice)
        if text:
            result.append(Case("paraphrase", text, item.passage, item.text))
            made += 1
            if made == FAITHFUL:
                break
    for kind in _LATER_CORRUPTIONS:  # dice of their own: the cases before them stay what they were
        result += corrupted(kind, _LATER_CORRUPTIONS[kind], items, random.Random(f"{kind} {seed}"))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("clapnq", type=Path)
    parser.add_argument("--tuning", action="store_true", help="the half of the documents that the rules were made on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wrong", action="store_true", help="print what was judged wrongly")
    options = parser.parse_args()
    items = read(options.folder, options.clapnq, options.tuning)
    verifier = SpanVerifier(Embedder(), AnswerPolicy())
    made, right, reasons = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    drafts = cases(items, options.seed)
    started = time.perf_counter()
    for case in drafts:
        verdict = verifier.check(Draft(case.text, (0,)), [case.passage])
        faithful = case.kind in ("untouched", "paraphrase")
        made[case.kind] += 1
        right[case.kind] += (verdict.sentence is not None) == faithful
        reasons[case.kind, verdict.reasons[0] if verdict.reasons else "kept"] += 1
        if options.wrong and (verdict.sentence is not None) != faithful:
            print(case.kind, verdict.reasons, "\n   <", case.original, "\n   >", case.text)
    for kind, count in made.items():
        told = {reason: n for (of, reason), n in reasons.items() if of == kind}
        name = "kept" if kind in ("untouched", "paraphrase") else "caught"
        print(json.dumps({"kind": kind, "cases": count, name: round(right[kind] / count, 3), "verdicts": told}))
    seconds = (time.perf_counter() - started) / len(drafts)
    print(json.dumps({"drafts": len(drafts), "milliseconds_per_draft": round(1000 * seconds, 2)}))


if __name__ == "__main__":
    main()
