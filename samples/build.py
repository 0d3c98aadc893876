"""Make the binary documents and the large log of the sample corpus: ``python samples/build.py [--out DIR]``.

In: ``samples/sources/<key>.md`` (for DOCX, PPTX and PDF) and ``samples/sources/<key>.csv`` (for XLSX), where the
key ends with the format to make: ``policies/remote-work.docx.md`` becomes ``policies/remote-work.docx``.
Out: the files, under ``samples/documents`` or DIR. Every run writes the same bytes (timestamps in archives and
document properties are fixed), so a second run changes no revision.

The Markdown understood here is small: ``#`` and ``##`` headings, ``- `` items, ``|`` tables, and one paragraph a line.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import re
import textwrap
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
MADE_AT = datetime(2026, 1, 30, 12, 0, 0)
"""The date that every made document carries."""

RENAMED = {"inbox/site-survey.pdf": "inbox/site-survey.doc"}
"""A file whose extension lies about its content: people do rename files."""

TRUNCATED = {"inbox/board-pack.docx"}
"""A file whose upload broke off: only its first half is written."""

LOG_KEY = "data/gauge-log.txt"
LOG_BYTES = 5_000_000


@dataclass(frozen=True)
class Block:
    """One line of source: ``kind`` is title, heading, item, row or text."""

    kind: str
    text: str

    @property
    def cells(self) -> list[str]:
        """The cells of a table row."""
        return [cell.strip() for cell in self.text.strip("|").split("|")]


def read_blocks(markdown: str) -> list[Block]:
    """Return the blocks of a source text; blank lines and the rule below a table's head are dropped."""
    kinds = {"# ": "title", "## ": "heading", "- ": "item", "|": "row"}
    blocks = []
    for line in markdown.splitlines():
        if not line.strip() or re.fullmatch(r"[|\- ]+", line):
            continue
        mark = next((mark for mark in kinds if line.startswith(mark)), "")
        blocks.append(Block(kinds.get(mark, "text"), line if mark == "|" else line[len(mark) :].strip()))
    return blocks


def fix_archive(data: bytes) -> bytes:
    """Return an Office file with the same parts in the same order, and fixed times."""
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            part = source.read(name)
            if name == "docProps/core.xml":
                stamp = rb"\g<1>" + MADE_AT.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
                part = re.sub(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*", stamp, part)
            entry = zipfile.ZipInfo(name, date_time=MADE_AT.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, part)
    return target.getvalue()


def make_docx(source: str) -> bytes:
    """Return a Word document with headings, lists and tables."""
    import docx

    document, table = docx.Document(), None
    for block in read_blocks(source):
        if block.kind == "row":
            if table is None:
                table = document.add_table(rows=0, cols=len(block.cells), style="Table Grid")
            for cell, text in zip(table.add_row().cells, block.cells, strict=True):
                cell.text = text
            continue
        table = None
        if block.kind in ("title", "heading"):
            document.add_heading(block.text, level=1 if block.kind == "title" else 2)
        else:
            document.add_paragraph(block.text, style="List Bullet" if block.kind == "item" else None)
    document.core_properties.title = read_blocks(source)[0].text
    document.core_properties.author = "Merrowbeck Instruments"
    buffer = io.BytesIO()
    document.save(buffer)
    return fix_archive(buffer.getvalue())


def make_pptx(source: str) -> bytes:
    """Return a presentation: each ``#`` starts a slide, its lines are the bullets."""
    import pptx

    presentation, body = pptx.Presentation(), None
    for block in read_blocks(source):
        if block.kind == "title":
            slide = presentation.slides.add_slide(presentation.slide_layouts[1])
            slide.shapes.title.text = block.text
            body = slide.placeholders[1].text_frame
        elif body.text:
            body.add_paragraph().text = block.text
        else:
            body.text = block.text
    presentation.core_properties.title = read_blocks(source)[0].text
    presentation.core_properties.author = "Merrowbeck Instruments"
    buffer = io.BytesIO()
    presentation.save(buffer)
    return fix_archive(buffer.getvalue())


def make_xlsx(source: str) -> bytes:
    """Return a workbook: a line ``# Name`` starts a sheet, the lines below it are comma-separated rows."""
    import openpyxl

    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for line in source.splitlines():
        if line.startswith("# "):
            sheet = workbook.create_sheet(line[2:])
        else:
            sheet.append(next(csv.reader([line])))
    workbook.properties.creator = "Merrowbeck Instruments"
    buffer = io.BytesIO()
    workbook.save(buffer)
    return fix_archive(buffer.getvalue())


PAGE_WIDTH, PAGE_HEIGHT, MARGIN = 595, 842, 60
FONT_SIZES = {"title": 18, "heading": 14, "item": 11, "text": 11, "row": 11}
LINE_WIDTH = 950
"""Line length in characters times font size: Helvetica is half as wide as it is high, and 475 points lie between the margins."""


def _lay_out(blocks: list[Block]) -> Iterator[list[str]]:
    """Yield the drawing operators of one page after the other."""
    operators: list[str] = []
    y: float = PAGE_HEIGHT - MARGIN
    for block in blocks:
        size = FONT_SIZES[block.kind]
        font = "F2" if block.kind in ("title", "heading") else "F1"
        lines = textwrap.wrap(("• " if block.kind == "item" else "") + block.text, LINE_WIDTH // size)
        if y - len(lines) * size * 1.4 < MARGIN:
            yield operators
            operators, y = [], PAGE_HEIGHT - MARGIN
        for line in lines:
            y -= size * 1.4
            escaped = re.sub(r"([\\()])", r"\\\1", line)
            operators.append(f"BT /{font} {size} Tf {MARGIN} {y:.1f} Td ({escaped}) Tj ET")
        y -= size * 0.7
    yield operators


def make_pdf(source: str) -> bytes:
    """Return a PDF 1.4 file with a text layer in the standard fonts (ISO 32000-1, 7.5 and 9.6.2.2)."""
    blocks = read_blocks(source)
    pages = list(_lay_out(blocks))
    kids = " ".join(f"{6 + 2 * number} 0 R" for number in range(len(pages)))
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /{} /Encoding /WinAnsiEncoding >>"
    title = re.sub(r"([\\()])", r"\\\1", blocks[0].text)
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        font.format("Helvetica"),
        font.format("Helvetica-Bold"),
        f"<< /Title ({title}) /Author (Merrowbeck Instruments) /CreationDate (D:{MADE_AT:%Y%m%d%H%M%S}Z) >>",
    ]
    for number, operators in enumerate(pages):
        content = "\n".join(operators)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {PAGE_WIDTH} {PAGE_HEIGHT}] /Contents {7 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(content.encode('cp1252'))} >>\nstream\n{content}\nendstream")
    data, offsets = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("cp1252")
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R /Info 5 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    return bytes(data) + f"xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode()


STATIONS = ["Alder", "Birch", "Cedar", "Elder", "Hazel", "Juniper", "Maple", "Rowan", "Spruce", "Willow"]
LEVELS = ["steady", "slowly rising", "slowly falling", "rising quickly", "falling quickly", "close to its yearly mean"]
POWER = ["the solar panel is charging", "the cells carry the station", "the battery is full and the panel is resting"]
LINKS = ["the mobile network answered at once", "the mobile network answered late", "the satellite took the message"]


def make_log() -> bytes:
    """Return a log of about ``LOG_BYTES`` bytes in which nearly every line repeats an earlier one."""
    random_lines, lines, size = (
        random.Random(20260130),
        ["Status log of the test field, one line per station and hour"],
        0,
    )
    while size < LOG_BYTES:
        station, level, power, link = (random_lines.choice(words) for words in (STATIONS, LEVELS, POWER, LINKS))
        line = (
            f"Station {station} reports that the level is {level}, that {power} and that {link}; "
            "no alarm was raised and the next report is expected in one hour."
        )
        lines.append(line)
        size += len(line) + 1
    return ("\n".join(lines) + "\n").encode()


MAKERS = {".docx": make_docx, ".pptx": make_pptx, ".xlsx": make_xlsx, ".pdf": make_pdf}


def build(out: Path) -> list[str]:
    """Write every made document below ``out`` and return their keys, sorted."""
    made = {LOG_KEY: make_log()}
    sources = HERE / "sources"
    for path in sorted(path for path in sources.rglob("*.*") if path.is_file()):
        key = path.relative_to(sources).with_suffix("").as_posix()
        data = MAKERS[Path(key).suffix](path.read_text(encoding="utf-8"))
        made[RENAMED.get(key, key)] = data[: len(data) // 2] if key in TRUNCATED else data
    for key, data in made.items():
        target = out / key
        target.parent.mkdir(parents=True, exist_ok=True)
        # An unchanged file keeps its modification time, so a watcher sees no change.
        if not target.exists() or target.read_bytes() != data:
            target.write_bytes(data)
    return sorted(made)


def main() -> None:
    """Build from the command line."""
    parser = argparse.ArgumentParser(description="Make the binary documents and the large log of the sample corpus.")
    parser.add_argument(
        "--out", type=Path, default=HERE / "documents", help="folder to write to (default: %(default)s)"
    )
    out = parser.parse_args().out
    print(f"{len(build(out))} documents made in {out}")


if __name__ == "__main__":
    main()
