"""The texts that the model of requests learns from: clean documents, and the same with an attack planted in them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headwater.errors import ParseError
from headwater.parsing import parse_in_process

Kind = Literal["text", "code"]
Place = Literal["start", "middle", "end"]
PLACES: tuple[Place, ...] = ("start", "middle", "end")
JOINTS = ("\n", "\n\n", " ")


@dataclass(frozen=True)
class Attack:
    """One injected instruction; ``category`` is what it is held out by."""

    kind: Kind
    category: str
    text: str


@dataclass(frozen=True)
class Document:
    """A clean text; ``source`` names where it is from."""

    source: str
    name: str
    text: str


@dataclass(frozen=True)
class Planted:
    """``text[start:end]`` is the first line of the attack that was put into ``host``; ``joint`` is what parts them."""

    host: Document
    attack: Attack
    place: Place
    joint: str
    text: str
    start: int
    end: int


def attacks(bipia: Path) -> list[Attack]:
    """Return BIPIA's attacks of the train split (Yi et al. 2023, arXiv 2312.14197)."""
    found: list[Attack] = []
    for kind in ("text", "code"):
        every = json.loads((bipia / f"{kind}_attack_train.json").read_text(encoding="utf-8"))
        found += [Attack(kind, name, text) for name, texts in every.items() for text in texts]  # type: ignore[arg-type]
    return found


def contexts(bipia: Path) -> list[Document]:
    """Return BIPIA's untouched e-mails, tables and answers about code of the train split."""
    found = []
    for source in ("email", "table", "code"):
        lines = (bipia / source / "train.jsonl").read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            context = json.loads(line)["context"]
            text = context if isinstance(context, str) else "\n".join(context)
            found.append(Document(source, f"{source}-{number}", text))
    return found


def folder(path: Path, source: str, endings: tuple[str, ...] = (".md", ".txt")) -> list[Document]:
    """Return the text files of a folder."""
    files = sorted(file for file in path.rglob("*") if file.suffix in endings)
    return [Document(source, str(f.relative_to(path)), f.read_bytes().decode("utf-8", "replace")) for f in files]


def passages(path: Path, source: str, field: str = "text", most: int = 1500) -> list[Document]:
    """Return a field of a JSON Lines file."""
    lines = path.read_text(encoding="utf-8").splitlines()[:most]
    return [Document(source, f"{source}-{number}", str(json.loads(line)[field])) for number, line in enumerate(lines)]


def clean(data: Path) -> list[Document]:
    """Return all clean documents under the data folder: what must not be flagged."""
    pages = json.loads((data / "pages" / "ground_truth.json").read_text(encoding="utf-8"))
    return [
        *folder(data / "corpora" / "handbook", "handbook"),
        *contexts(data / "injection" / "bipia"),
        *passages(data / "retrieval" / "cookbook_docs" / "corpus.jsonl", "cookbook"),
        *passages(data / "retrieval" / "xquad_en" / "corpus.jsonl", "xquad"),
        *passages(data / "retrieval" / "vaswani" / "corpus.jsonl", "vaswani"),
        *folder(data / "neardup" / "licenses", "licences"),
        *(Document("pages", name, str(page["articleBody"])) for name, page in pages.items()),
    ]


def plant(host: Document, attack: Attack, place: Place, random_: random.Random) -> Planted:
    """Put an attack before, after, or somewhere in a text: on a line or paragraph of its own, or between sentences."""
    joint = random_.choice(JOINTS)
    if place == "start":
        at, before, after = 0, "", joint
    elif place == "end":
        at, before, after = len(host.text), joint, ""
    else:
        pattern = r"(?<=[.!?])\s+|\s*\n" if joint == " " else r"\n+"
        breaks = [match.start() for match in re.finditer(pattern, host.text.rstrip())]
        at = random_.choice(breaks) if breaks else len(host.text)
        before, after = joint, joint
    start = at + len(before)
    text = host.text[:at] + before + attack.text + after + host.text[at:]
    return Planted(host, attack, place, joint, text, start, start + len(attack.text.split("\n")[0]))


def parsed(document: Document) -> Document:
    """Return what parsing makes of a document; as it is where parsing refuses."""
    name = document.name if document.source == "handbook" else f"{document.name}.txt"
    try:
        text = parse_in_process(document.text.encode(), name).text
    except ParseError:
        text = document.text
    return Document(document.source, document.name, text)


def parsed_planted(text: Planted) -> Planted:
    """Return what parsing makes of a text with its attack; as it is where the attack can't be found again."""
    result = parsed(Document(text.host.source, text.host.name, text.text)).text
    words = text.attack.text.split("\n")[0].split()
    found = [match.span() for match in re.finditer(r"\W+".join(map(re.escape, words)), result)]
    if not found:
        return text
    start, end = min(found, key=lambda span: abs(span[0] / max(len(result), 1) - text.start / len(text.text)))
    return Planted(text.host, text.attack, text.place, text.joint, result, start, end)


def planted(hosts: list[Document], every: list[Attack], per_attack: int, seed: int = 1) -> Iterator[Planted]:
    """Yield ``per_attack`` texts for each attack and place, each once as it is and once parsed.

    Code attacks go into answers about code, text attacks into the rest.
    """
    random_ = random.Random(seed)
    by_source: dict[str, list[Document]] = {}
    for host in hosts:
        by_source.setdefault(host.source, []).append(host)
    rest = sorted(by_source.keys() - {"code"})
    for attack in every:
        for place in PLACES:
            for number in range(per_attack):
                source = "code" if attack.kind == "code" else rest[number % len(rest)]
                text = plant(random_.choice(by_source[source]), attack, place, random_)
                yield text
                yield parsed_planted(text)
