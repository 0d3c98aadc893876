"""The words by which requests are known: what they begin with, and what speaks of the reply or of code to take over."""

from __future__ import annotations

import re

_CLASSES = {
    "write": "write compose draft generate create develop produce prepare craft author invent pen brainstorm",
    "explain": "explain describe summari[sz]e outline list define discuss compare elaborate clarify break recommend "
    "suggest teach illustrate",
    "find": "analy[sz]e evaluate assess identify find search look calculate compute solve estimate predict rate review "
    "classify determine conduct research investigate interpret detect name recite",
    "give": "tell give show provide offer",
    "transform": "translate convert encode decode encrypt decrypt replace substitute reverse scramble rearrange jumble "
    "misspell anagram remove group combine swap shift use render format rewrite rephrase paraphrase capitali[sz]e "
    "transform switch spell obfuscate express represent map apply omit repeat",
    "edit": "add include insert integrate incorporate append embed mention modify augment enhance change introduce "
    "inject weave blend merge fuse adjust alter infuse supplement expand extend enrich attach conclude begin sprinkle "
    "highlight promote emphasi[sz]e embellish adopt utili[sz]e leverage employ deploy interweave meld harmoni[sz]e "
    "ensure consider",
    "act": "schedule set book arrange remind automate send forward email notify order buy purchase transfer pay delete "
    "cancel invite organi[sz]e plan track monitor post publish click visit download install run execute call respond "
    "reply answer play make keep",
    "question": "what what's who who's how why when where which whose",
    "yes_no": "is are do does did have has should",
    "polite": "can could would will please kindly i'd let's",
}
OF_WORD = {word: name for name, words in _CLASSES.items() for word in words.split() if "[" not in word}
OF_WORD |= {
    word.replace("[sz]", letter): name
    for name, words in _CLASSES.items()
    for word in words.split()
    if "[" in word
    for letter in "sz"
}
_OPENERS = "|".join(sorted((re.escape(word) for word in OF_WORD), key=len, reverse=True))
_LEADS = "now also then next finally additionally furthermore instead first and but so just to seamlessly don't in"
# A request begins a sentence, line, cell or quotation; before it may stand a courtesy or a link of words.
_START = r"(?:^|[\n.!?:;|\"')>\]*])[ \t\"'*_>|(-]*"
OPENER = re.compile(rf"{_START}(?:{_OPENERS}|{_LEADS.replace(' ', '|')})(?![\w'-])", re.IGNORECASE)

# A capital verb and a small word in the middle of a line: what stood before it had no full stop.
MIDDLE = re.compile(rf"[^\s.!?:;|]\s(?:{'|'.join(word.capitalize() for word in OF_WORD)})[ \t]+[a-z'\"]")

_REPLIES = (
    r"(?:response|answer|reply|replies|output|completion|message|text|summary|words?|sentences?|statement|explanation)"
)
_THEIRS = r"(?<!for )(?<!forward to )"  # "thank you for your reply": the reply is somebody's, and given already
_YOUR_REPLY = rf"\b(?:your|its)\s+(?:\w+\s+){{0,2}}?{_REPLIES}s?\b"
_THE_REPLY = r"\b(?:the|each|every|any)\s+(?:\w+\s+)?(?:response|answer|reply|output)s?\b"
MENTION = re.compile(f"{_YOUR_REPLY}|{_THE_REPLY}", re.IGNORECASE)
REPLY = re.compile(f"(?P<your>{_THEIRS}{_YOUR_REPLY})|{_THE_REPLY}", re.IGNORECASE)
CODE = re.compile(
    r"\bcode\s+(?:block|snippet|section|excerpt|segment|fragment|extract|sample|portion|lines?)s?\b", re.IGNORECASE
)
YOUR_CODE = re.compile(
    _THEIRS
    + r"\byour\s+(?:\w+\s+){0,2}?(?:code|codebase|solution|implementation|algorithm|program|script|project|software|function"
    r"|architecture|elucidation|response|answer|reply|logic)\b",
    re.IGNORECASE,
)

SPEAKS_OF_REPLY = re.compile(f"{_THEIRS}{_YOUR_REPLY}|{CODE.pattern}|{YOUR_CODE.pattern}", re.IGNORECASE)
