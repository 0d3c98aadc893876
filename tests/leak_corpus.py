"""A corpus whose documents are readable by random subsets of groups, and the oracle that says who may see what.

Every sentence of a document holds a word that only the document and its copies have, and every key holds one of its own:
whatever reaches a reader, in any field, shows where it comes from. The oracle knows the rules that were written, and
nothing of how they are enforced.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import to_json

from headwater.config import COMPONENT_TYPE
from headwater.hashing import document_id
from headwater.project import CORPUS_FILE
from headwater.scaffold import make_project
from headwater.source.attachments import SEPARATOR
from headwater.source.keys import SIDECAR
from tests.mails import mail_bytes

NAME = "vault"
GROUPS = ("crew", "desk", "yard", "lab", "board", "guild")
EVERYONE = "*"
_WORD = re.compile(r"[zx]q[a-z]{3}q")
_DOC_ID = re.compile(r"[0-9a-f]{32}")

_ADJECTIVES = [
    "copper",
    "quiet",
    "northern",
    "spare",
    "painted",
    "hollow",
    "upper",
    "rusty",
    "folding",
    "narrow",
    "amber",
    "steep",
]
_NOUNS = [
    "pump",
    "lantern",
    "sluice",
    "winch",
    "gantry",
    "beacon",
    "ladder",
    "mooring",
    "turbine",
    "jetty",
    "culvert",
    "siren",
    "mast",
    "boom",
    "buoy",
    "crane",
]
_PLACES = [
    "the weir",
    "the east pier",
    "the old mill",
    "the boat shed",
    "the lower lock",
    "the signal tower",
    "the ferry landing",
]
_ACTS = [
    "inspected",
    "repainted",
    "drained",
    "calibrated",
    "greased",
    "measured",
    "photographed",
    "replaced",
    "rinsed",
    "tested",
]
_WHEN = ["before the spring tide", "after every storm", "on the first working day", "in the second week", "at dusk"]
_WHO = ["the night watch", "a certified diver", "two apprentices", "the harbour engineer", "an outside workshop"]
_SECTIONS = ["Routine", "Findings", "Materials", "Costs", "Visitors", "Weather", "Handover"]


def subsets(names: Iterable[str]) -> list[frozenset[str]]:
    """Return every subset, the empty one too."""
    names = tuple(names)
    return [frozenset(some) for size in range(len(names) + 1) for some in combinations(names, size)]


@dataclass
class Vault:
    """The documents by key, and who may read them. ``owners`` are the keys that hold a word."""

    root: Path
    seed: int
    files: dict[str, bytes] = field(default_factory=dict)
    rules: dict[str, list[str]] = field(default_factory=dict)
    sidecars: dict[str, list[str]] = field(default_factory=dict)
    owners: dict[str, set[str]] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._next = 0

    # --- making it --------------------------------------------------------------------------------------------------

    def word(self, kind: str, *keys: str) -> str:
        """Return a new word; ``z`` stands in texts, ``x`` in keys."""
        number, letters = self._next, ""
        self._next += 1
        for _ in range(3):
            number, digit = divmod(number, 26)
            letters += chr(ord("a") + digit)
        word = f"{kind}q{letters}q"
        self.owners[word] = set(keys)
        self.words.append(word)
        return word

    def sentence(self, word: str) -> str:
        """Return a sentence with ``word``; without it, it is a question that finds the document."""
        pick = self.random.choice
        parts = (pick(_ADJECTIVES), pick(_NOUNS), pick(_PLACES), pick(_ACTS), pick(_WHEN), pick(_WHO))
        number = self.random.randrange(12, 9000)
        told = "The {} {} by {} is {} {} by {}".format(*parts)
        self.questions.append(f"When is the {parts[0]} {parts[1]} by {parts[2]} {parts[3]}?")
        return f"{told}, as entry {number} of the {word} ledger says."

    def text(self, word: str, sections: int = 3, sentences: int = 4) -> str:
        """Return a document in Markdown, every sentence of which has the word."""
        headings = self.random.sample(_SECTIONS, sections)
        parts = [f"# {self.random.choice(_NOUNS).title()} book {word}"]
        for heading in headings:
            body = " ".join(self.sentence(word) for _ in range(sentences))
            parts += [f"## {heading}", body]
        return "\n\n".join(parts) + "\n"

    def add(self, folder: str, content: bytes | str, *words: str, suffix: str = "md") -> str:
        """Add a document that holds ``words``; return its key."""
        mark = self.word("x")
        key = f"{folder}/{mark}.{suffix}"
        self.files[key] = content.encode() if isinstance(content, str) else content
        for word in (mark, *words):
            self.owners[word].add(key)
        return key

    def add_mail(self, folder: str) -> None:
        """Add a mail with two attachments, which are documents of their own with the mail's readers."""
        own, marks, words = self.word("z"), [self.word("x"), self.word("x")], [self.word("z"), self.word("z")]
        attached = {f"{mark}.md": self.text(word, 2) for mark, word in zip(marks, words, strict=True)}
        key = self.add(folder, mail_bytes(f"About {own}", self.text(own, 1), attached), own, suffix="eml")
        for mark, word in zip(marks, words, strict=True):
            inside = f"{key}{SEPARATOR}{mark}.md"
            self.owners[mark].add(inside)
            self.owners[word].add(inside)

    # --- the oracle -------------------------------------------------------------------------------------------------

    def readers(self, key: str) -> frozenset[str]:
        """Return who may read ``key`` by the rules as they stand."""
        listed = key.split(SEPARATOR)[0]
        return frozenset(self.sidecars.get(listed, self.rules[listed.split("/")[0]]))

    def keys(self) -> set[str]:
        """Return the keys of all documents, attachments too."""
        return {key for keys in self.owners.values() for key in keys}

    def allowed(self) -> dict[str, frozenset[str]]:
        """Return the readers of every document by key."""
        return {key: self.readers(key) for key in self.keys()}

    # --- on disk ----------------------------------------------------------------------------------------------------

    def write(self) -> Path:
        """Write documents, sidecars and rules; return the corpus' folder."""
        if not self.root.exists():
            make_project(self.root)
        folder = self.root / "assets" / NAME
        documents = folder / "documents"
        for key, content in self.files.items():
            file = documents / key
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        for old in documents.rglob(f"*{SIDECAR}"):
            old.unlink()
        for key, groups in self.sidecars.items():
            (documents / f"{key}{SIDECAR}").write_text(json.dumps({"groups": groups}))
        attributes: Mapping[str, Any] = {
            "source": {"uri": "./documents"},
            "access": [{"prefix": f"{name}/", "groups": groups} for name, groups in sorted(self.rules.items())],
            "chunk": {"max_tokens": 128},
            "gate": {"known_item_queries": 0},
            # The words are made up, and would be taken for names.
            "privacy": {"entities": ["EMAIL_ADDRESS"]},
        }
        (folder / CORPUS_FILE).write_text(yaml.safe_dump({"type": COMPONENT_TYPE, "attributes": attributes}))
        return folder


def make_vault(root: Path, seed: int = 20260531) -> Vault:
    """Return a vault of some ninety documents: own ones, copies in folders of other and of the same readers, and mails."""
    vault = Vault(root, seed)
    choose = vault.random
    some = [sorted(groups) for groups in subsets(GROUPS) if groups]
    folders = [f"f{number:02}" for number in range(14)]
    for number, folder in enumerate(folders):
        vault.rules[folder] = [EVERYONE] if number < 2 else [] if number == 2 else choose.choice(some)
    vault.rules["f13"] = vault.rules["f12"]  # two folders with the same readers: copies between them are merged
    for folder in folders:
        for _ in range(3):
            word = vault.word("z")
            content = vault.text(word)
            key = vault.add(folder, content, word)
            if choose.random() < 0.3:
                vault.add(choose.choice(folders), content, word)
            if choose.random() < 0.3:
                more = vault.word("z")
                vault.add(choose.choice(folders), f"{content}\n{vault.sentence(more)}\n", word, more)
            if choose.random() < 0.2:
                vault.sidecars[key] = choose.choice([[], [EVERYONE], *some])
    for _ in range(4):
        word = vault.word("z")
        content = vault.text(word)
        for folder in ("f12", "f13", "f12"):
            vault.add(folder, content, word)
    for folder in choose.sample(folders, 7):
        vault.add_mail(folder)
    return vault


def change_rules(vault: Vault) -> None:
    """Take readers away from some folders and documents, and give readers to others."""
    choose = vault.random
    for number, folder in enumerate(sorted(vault.rules)):
        groups = set(vault.rules[folder])
        if number % 3 == 0:
            groups = set(choose.sample(sorted(groups), len(groups) // 2))
        elif number % 3 == 1:
            groups |= {choose.choice(GROUPS)}
        vault.rules[folder] = sorted(groups)
    vault.rules["f01"] = ["lab"]  # everyone's no more
    for key in sorted(vault.sidecars)[::2]:
        del vault.sidecars[key]
    for key in sorted(vault.files)[::9]:
        vault.sidecars[key] = choose.choice([[], ["desk"], ["crew", "yard"]])


def narrowed(then: frozenset[str], now: frozenset[str]) -> frozenset[str]:
    """Return who may read in an older release: those who might then, and may now."""
    if EVERYONE in then:
        return now
    return then if EVERYONE in now else then & now


class Watch:
    """Says what in an output its reader may not see, by the readers of every document (by key)."""

    def __init__(self, vault: Vault, allowed: Mapping[str, frozenset[str]]) -> None:
        self.allowed = allowed
        self._owners = vault.owners
        self._ids = {document_id(NAME, key): key for key in allowed}

    def may(self, key: str, groups: frozenset[str]) -> bool:
        """Say whether a member of ``groups`` may read the document."""
        return bool(self.allowed[key] & (groups | {EVERYONE}))

    def visible(self, groups: frozenset[str]) -> set[str]:
        """Return the keys of what a member of ``groups`` may read."""
        return {key for key in self.allowed if self.may(key, groups)}

    def leaks(self, output: Any, groups: frozenset[str]) -> set[str]:
        """Return the words and ids of an output (anything that becomes JSON) that only others may see."""
        text = output if isinstance(output, str) else to_json(output).decode()
        found = set()
        for word in set(_WORD.findall(text)):
            if not any(self.may(key, groups) for key in self._owners[word]):
                found.add(word)
        for doc_id in set(_DOC_ID.findall(text)):
            if doc_id in self._ids and not self.may(self._ids[doc_id], groups):
                found.add(doc_id)
        return found
