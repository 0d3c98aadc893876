"""Speed and recall of the search for personal data, beside plain Presidio on one core.

    python benchmarks/privacy.py speed FOLDER     structured entities in every *.md below the folder, as it is and with
                                                  planted items: MB of text per CPU second, recall, what is dropped
    python benchmarks/privacy.py recall FILE --held-out DATA
                                                  presidio-research's JSON (full_text, spans): token F2, recall per entity
    python benchmarks/privacy.py names FOLDER     the model of names and the whole of `anonymize`: MB per CPU second

The peer is Presidio's AnalyzerEngine with its default recognisers and a blank spaCy pipeline, in an environment of its
own. ``speed`` gives both the same texts and entities. ``recall`` scores as presidio-research does: tokens of spaCy's
tokenizer, any entity against none, types mapped by its ``presidio_entities_map`` (ADDRESS, and our STREET_ADDRESS, are
LOCATION; DOMAIN_NAME is URL; TITLE and PREFIX have no recogniser in Presidio, and count as no entity).

The model of names that comes with the package has learned from generated_large.json. With ``--held-out`` the names in
each text are found by a model that has seen no text of the same template: one is trained per fold on DATA (the folder
that training/names/data.py describes), in some minutes. Without it, what is printed is no figure for new texts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from peers import ONE_CORE, run_peer

os.environ.update(ONE_CORE)
sys.path.insert(0, str(Path(__file__).parent.parent))

from headwater import PiiSpan, PrivacyPolicy, anonymize, find_pii
from headwater.privacy import find_names, nlp_pipeline
from headwater.privacy.entities import NAMES, chosen_entities

PLANTED_SHARE = 0.5
CHECKSUMS = ("CREDIT_CARD", "IBAN_CODE", "MEDICAL_LICENSE", "UK_NHS")
MAPPED = {"ADDRESS": "LOCATION", "STREET_ADDRESS": "LOCATION", "DOMAIN_NAME": "URL", "TITLE": "O", "PREFIX": "O"}
PUBLISHED = "Presidio's own, published with a trained NER model: F2 .618 as it comes, .845 customised."

Spans = list[list[PiiSpan]]


def peer(texts: Sequence[Sequence[str]], entities: Sequence[str]) -> tuple[list[float], list[Spans]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts))
        task = {"texts": str(file), "entities": sorted(entities), "min_score": PrivacyPolicy().min_score}
        result = run_peer("presidio", task, one_core=True)
    found = [[[PiiSpan(*span) for span in spans] for spans in part] for part in result["findings"]]
    return result["seconds"], found


# --- items to plant: numbers with their checksums, none of them anyone's ----------------------------------------------


def _luhn(digits: str) -> str:
    total = sum(
        sum(divmod(2 * int(digit), 10)) if index % 2 == 0 else int(digit)
        for index, digit in enumerate(reversed(digits))
    )
    return digits + str(-total % 10)


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _iban(rng: random.Random) -> str:
    account = "".join(rng.choice("BCDFGHKLMNPRSTW") for _ in range(4)) + _digits(rng, 14)
    number = "".join(str(int(character, 36)) for character in f"{account}GB00")
    return f"GB{98 - int(number) % 97:02}{account}"


def _nhs(rng: random.Random) -> str:
    while True:
        nine = _digits(rng, 9)
        check = -sum(int(digit) * (10 - index) for index, digit in enumerate(nine)) % 11
        if check < 10 and nine[0] != "0":
            return f"{nine[:3]} {nine[3:6]} {nine[6:]}{check}"


def _dea(rng: random.Random) -> str:
    six = _digits(rng, 6)
    check = (int(six[0]) + int(six[2]) + int(six[4]) + 2 * (int(six[1]) + int(six[3]) + int(six[5]))) % 10
    return f"B{rng.choice('BCDFGHK')}{six}{check}"


def item(rng: random.Random, entity: str) -> tuple[str, str]:
    """Return a sentence and the value in it."""
    if entity == "EMAIL_ADDRESS":
        value = f"{rng.choice(['ilse', 'tomoko', 'p.varga', 'desk'])}{_digits(rng, 2)}@{rng.choice(['example.org', 'mail.example.com'])}"
        return f"Write to {value} about it.", value
    if entity == "PHONE_NUMBER":
        value = rng.choice(
            [
                f"({rng.choice(['212', '415', '646'])}) 555-01{_digits(rng, 2)}",
                f"+49 30 9018{_digits(rng, 4)}",
                f"+44 20 7946 0{_digits(rng, 3)}",
                f"0{rng.choice('13579')}{_digits(rng, 1)} {_digits(rng, 3)} {_digits(rng, 2)} {_digits(rng, 2)}",
            ]
        )
        return f"The phone number is {value} there.", value
    if entity == "CREDIT_CARD":
        number = _luhn("4" + _digits(rng, 14))
        value = " ".join(number[i : i + 4] for i in range(0, 16, 4)) if rng.random() < 0.5 else number
        return f"Charge {value} for it.", value
    if entity == "US_SSN":
        value = f"{rng.randint(500, 699)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"
        return f"Her social security number is {value} here.", value
    if entity == "IP_ADDRESS":
        value = f"203.0.113.{rng.randint(1, 254)}"
        return f"The printer sits at {value} now.", value
    make = {"IBAN_CODE": _iban, "UK_NHS": _nhs, "MEDICAL_LICENSE": _dea}[entity]
    value = make(rng)
    said = {"IBAN_CODE": "Pay to", "UK_NHS": "The NHS number is", "MEDICAL_LICENSE": "Her medical certificate is"}
    return f"{said[entity]} {value} as before.", value


def plant(texts: Sequence[str], rng: random.Random) -> tuple[list[str], list[list[tuple[int, int, str]]]]:
    """Return the texts, half of them with three items at ends of paragraphs, and where these are."""
    kinds = (
        "EMAIL_ADDRESS",
        "PHONE_NUMBER",
        "CREDIT_CARD",
        "US_SSN",
        "IP_ADDRESS",
        "IBAN_CODE",
        "UK_NHS",
        "MEDICAL_LICENSE",
    )
    planted, gold = [], []
    for text in texts:
        places: list[tuple[int, int, str]] = []
        if rng.random() < PLANTED_SHARE:
            paragraphs = text.split("\n\n")
            for _ in range(3):
                entity = rng.choice(kinds)
                sentence, value = item(rng, entity)
                index = rng.randrange(len(paragraphs))
                paragraphs[index] += f" {sentence}"
                places.append((index, len(paragraphs[index]) - len(sentence) + sentence.index(value), entity))
                places[-1] += (len(value),)  # type: ignore[assignment]
            text = "\n\n".join(paragraphs)
            starts = [0]
            for paragraph in paragraphs:
                starts.append(starts[-1] + len(paragraph) + 2)
            places = [(starts[p[0]] + p[1], starts[p[0]] + p[1] + p[3], p[2]) for p in places]  # type: ignore[misc]
        planted.append(text)
        gold.append(places)
    return planted, gold


def _covered(spans: Sequence[PiiSpan], start: int, end: int, entity: str | None = None) -> bool:
    """Return whether findings (of the entity) cover what lies between start and end; a character may lack at each end."""
    missing = set(range(start + 1, end - 1))
    for span in spans:
        if entity is None or span.entity == entity:
            missing.difference_update(range(span.start, span.end))
    return not missing


def speed(folder: Path) -> None:
    policy = PrivacyPolicy(names=False)
    ours_as_presidio = PrivacyPolicy(names=False, keep_identifiers=False)
    entities = chosen_entities(None, None, ()) - NAMES
    ordinary = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.md"))]
    planted, gold = plant(ordinary, random.Random(5))
    theirs, their_findings = peer([ordinary, planted], sorted(entities - {"STREET_ADDRESS"}))
    find_pii(planted[:5], policy)
    for index, (label, texts) in enumerate([("ordinary text", ordinary), ("with planted items", planted)]):
        size = sum(len(text.encode()) for text in texts) / 1e6
        began = time.process_time()
        found = find_pii(texts, policy)
        own = time.process_time() - began
        print(f"{label}: {size:.1f} MB, {len(texts)} documents")
        print(
            f"  headwater {size / own:.2f} MB/s, presidio {size / theirs[index]:.2f} MB/s, ratio {theirs[index] / own:.1f}"
        )
        print("  headwater's findings", dict(Counter(s.entity for spans in found for s in spans).most_common()))
        print(
            "  presidio's findings ",
            dict(Counter(s.entity for spans in their_findings[index] for s in spans).most_common()),
        )
        exact = find_pii(texts, ours_as_presidio)
        dropped: Counter[str] = Counter()
        for mine, everything, presidios in zip(found, exact, their_findings[index], strict=True):
            for span in presidios:
                if not _covered(mine, span.start, span.end):
                    why = "link or identifier" if _covered(everything, span.start, span.end) else "context by substring"
                    dropped[f"{span.entity} ({why})"] += 1
        print("  findings of presidio that headwater drops:", dict(dropped.most_common()) or "none")
        if index:
            total, own_hits, their_hits = Counter[str](), Counter[str](), Counter[str]()
            for places, mine, presidios in zip(gold, found, their_findings[index], strict=True):
                for start, end, entity in places:
                    total[entity] += 1
                    own_hits[entity] += _covered(mine, start, end)
                    their_hits[entity] += _covered(presidios, start, end)
            print(f"  {'planted':16} {'items':>6} {'headwater':>10} {'presidio':>9}")
            for entity, count in sorted(total.items()):
                print(f"  {entity:16} {count:6} {own_hits[entity] / count:10.3f} {their_hits[entity] / count:9.3f}")
            count = total.total()
            print(f"  {'all':16} {count:6} {own_hits.total() / count:10.3f} {their_hits.total() / count:9.3f}")
            some = [
                sum(hits[e] for e in CHECKSUMS) / sum(total[e] for e in CHECKSUMS) for hits in (own_hits, their_hits)
            ]
            print(f"  {'with a checksum':16} {sum(total[e] for e in CHECKSUMS):6} {some[0]:10.3f} {some[1]:9.3f}")


def _scores(rows: Sequence[dict], found: Spans) -> tuple[float, float, float]:
    """Return precision, recall and F2 over tokens, an entity against none."""
    import spacy

    tokenizer = spacy.blank("en")
    both = gold_tokens = found_tokens = 0
    for row, spans in zip(rows, found, strict=True):
        gold = [(s["start_position"], s["end_position"]) for s in row["spans"] if _mapped(s["entity_type"]) != "O"]
        mine = [(s.start, s.end) for s in spans if _mapped(s.entity) != "O"]
        for token in tokenizer(row["full_text"]):
            if token.is_space:
                continue
            right = any(start <= token.idx < end for start, end in gold)
            said = any(start <= token.idx < end for start, end in mine)
            both += right and said
            gold_tokens += right
            found_tokens += said
    precision, recalled = both / max(found_tokens, 1), both / max(gold_tokens, 1)
    return precision, recalled, 5 * precision * recalled / max(4 * precision + recalled, 1e-9)


def _mapped(entity: str) -> str:
    return MAPPED.get(entity, entity)


def held_out_names(rows: Sequence[dict], data: Path, count: int) -> Spans:
    """Return the names in each text, found by models that were trained without texts of its template."""
    from headwater.privacy.names.decode import REPORTED
    from training.names.cross_validate import VARIANTS, splits, variants
    from training.names.data import load, select
    from training.names.scoring import predict
    from training.names.train import build, prepare, train

    sentences = select(load(data))
    where = splits(sentences, count)
    examples = [prepare(variants(sentences, number), build()) for number in range(VARIANTS)]
    names: dict[str, list[PiiSpan]] = {}
    for fold in range(count):
        model = train([[item for item in part if where.get(item.sentence.group) != fold] for part in examples])
        held_out = [e for e in examples[0] if e.sentence.source == "generated" and where[e.sentence.group] == fold]
        for example, spans in zip(held_out, predict(model, held_out), strict=True):
            reported = [(start, end, REPORTED[label]) for start, end, label in spans if label in REPORTED]
            names[example.sentence.text] = [PiiSpan(*span, 0.9) for span in reported]
    return [names[row["full_text"]] for row in rows]


def recall(file: Path, data: Path | None, folds: int) -> None:
    rows = json.loads(file.read_text(encoding="utf-8"))
    texts = [row["full_text"] for row in rows]
    wanted = chosen_entities(None, None, ()) | {"DATE_TIME", "URL"}
    names_found = held_out_names(rows, data, folds) if data else None
    found = find_pii(texts, PrivacyPolicy(entities=sorted(wanted)), names=names_found)
    theirs = peer([texts], sorted(wanted - NAMES - {"STREET_ADDRESS"}))[1][0]
    by = (
        f"models of {folds} folds, held out"
        if data
        else f"{nlp_pipeline(PrivacyPolicy())}, which learned from these texts"
    )
    print(f"{len(rows)} texts; names: {by}")
    for label, spans in (("headwater", found), ("presidio, no names", theirs)):
        precision, recalled, f2 = _scores(rows, spans)
        print(f"{label:20} precision {precision:.3f}  recall {recalled:.3f}  F2 {f2:.3f}")
    print(PUBLISHED)
    total, covered, named, presidios = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for row, mine, other in zip(rows, found, theirs, strict=True):
        mapped = [PiiSpan(s.start, s.end, _mapped(s.entity), s.score) for s in mine]
        for gold in row["spans"]:
            entity, start, end = gold["entity_type"], gold["start_position"], gold["end_position"]
            total[entity] += 1
            covered[entity] += _covered(mine, start, end)
            named[entity] += _covered(mapped, start, end, _mapped(entity))
            presidios[entity] += _covered(other, start, end)
    print(f"{'entity':20} {'spans':>6} {'covered':>8} {'as such':>8} {'presidio':>9}")
    for entity, count in total.most_common():
        shares = (covered[entity] / count, named[entity] / count, presidios[entity] / count)
        print(f"{entity:20} {count:6} {shares[0]:8.3f} {shares[1]:8.3f} {shares[2]:9.3f}")
    kinds = [entity for entity in CHECKSUMS if total[entity]]
    print(f"with a checksum: {sum(covered[e] for e in kinds) / sum(total[e] for e in kinds):.3f}")


def names(folder: Path) -> None:
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.md"))]
    size = sum(len(text.encode()) for text in texts) / 1e6
    policy = PrivacyPolicy()
    anonymize(texts[:2], policy)
    began = time.process_time()
    found = find_names(texts, policy)
    model = time.process_time() - began
    began = time.process_time()
    anonymize(texts, policy, names=found)
    rest = time.process_time() - began
    print(f"{size:.1f} MB, {len(texts)} documents; names: {nlp_pipeline(policy)}")
    print(
        f"names {size / model:.2f} MB/s, the rest of anonymize {size / rest:.2f} MB/s, both {size / (model + rest):.2f} MB/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "recall", "names"])
    parser.add_argument("path", type=Path)
    parser.add_argument(
        "--held-out", type=Path, metavar="DATA", help="train models of names without what they are scored on"
    )
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.what == "recall":
        recall(arguments.path, arguments.held_out, arguments.folds)
    else:
        {"speed": speed, "names": names}[arguments.what](arguments.path)


if __name__ == "__main__":
    main()
