"""Formats beside the common ones, passwords, the choice of parsers, main content, and what files state of themselves."""

from __future__ import annotations

import base64
import io
import json
import struct
import time
import zipfile
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path

import docx
import msoffcrypto.format.ooxml
import pptx
import pyarrow as pa
import pytest
import yaml
from docx.oxml import parse_xml
from pptx.util import Inches
from pypdf import PdfWriter
from reportlab.pdfgen.canvas import Canvas

from headwater.config import load_corpus_file
from headwater.errors import ConfigError, CorruptDocument, EncryptedDocument, ParseError, UnsupportedFormat
from headwater.parsing import parse_in_process
from headwater.parsing.mail import attachments
from headwater.parsing.metadata import date_of, people_of, words_of
from headwater.parsing.ocr import engine, languages
from headwater.parsing.ooxml import parsed_part
from headwater.parsing.unlock import noting_passwords
from headwater.policies import ParsePolicy
from headwater.stages.columns import ELEMENTS, pack_elements
from headwater.stages.parsed_documents import parse_stage
from headwater.types import ParsedDocument

PROSE = "The gauge on the weir is read every morning before the first lock opens."
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def saved(document: object) -> bytes:
    stream = io.BytesIO()
    document.save(stream)  # type: ignore[attr-defined]
    return stream.getvalue()


def zipped(parts: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in parts.items():
            target.writestr(name, content)
    return stream.getvalue()


def texts(document: ParsedDocument, kind: str) -> list[str]:
    return [element.text for element in document.elements if element.kind == kind]


def sections(document: ParsedDocument) -> dict[str, tuple[str, ...]]:
    return {element.text: element.section for element in document.elements}


ODF = 'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:meta="urn:oasis:names:tc:opendocument:xmlns:meta:1.0"'


def odt_file() -> bytes:
    content = f"""<office:document-content {ODF}><office:body><office:text>
    <text:h text:outline-level="1">Weir</text:h><text:p>The gauge on the weir is read<text:s/>every morning.</text:p>
    <text:list><text:list-item><text:p>open the lock</text:p></text:list-item></text:list>
    <table:table><table:table-row><table:table-cell><text:p>Part</text:p></table:table-cell><table:table-cell><text:p>Price</text:p></table:table-cell></table:table-row>
    <table:table-row><table:table-cell><text:p>Seal</text:p></table:table-cell><table:table-cell><text:p>4.50</text:p></table:table-cell></table:table-row></table:table>
    </office:text></office:body></office:document-content>"""
    meta = f"""<office:document-meta {ODF}><office:meta><dc:title>Weir Manual</dc:title><meta:initial-creator>Ada Miller</meta:initial-creator>
    <meta:creation-date>2024-06-04T09:30:00</meta:creation-date><meta:keyword>weir</meta:keyword></office:meta></office:document-meta>"""
    return zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content, "meta.xml": meta})


def epub_file() -> bytes:
    container = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    package = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>
    <dc:title>The Weir</dc:title><dc:creator>Ada Miller</dc:creator><dc:language>en</dc:language><dc:date>2024-06-04</dc:date></metadata>
    <manifest><item id="two" href="two.xhtml"/><item id="one" href="text/one%20a.xhtml"/></manifest>
    <spine><itemref idref="one"/><itemref idref="two"/></spine></package>"""
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "OEBPS/book.opf": package,
            "OEBPS/text/one a.xhtml": f"<html><body><h1>Morning</h1><p>{PROSE}</p></body></html>",
            "OEBPS/two.xhtml": "<html><body><h1>Evening</h1><p>The lock is closed at night.</p></body></html>",
        }
    )


def test_opendocument_text_keeps_structure_and_metadata() -> None:
    document = parse_in_process(odt_file(), "weir.odt")
    assert document.metadata["title"] == "Weir Manual"
    assert document.metadata["authors"] == ["Ada Miller"]
    assert document.metadata["date"] == "2024-06-04T09:30:00"
    assert document.metadata["keywords"] == ["weir"]
    assert texts(document, "ListItem") == ["open the lock"]
    assert texts(document, "Table") == ["| Part | Price |\n| --- | --- |\n| Seal | 4.50 |"]
    assert sections(document)["The gauge on the weir is read every morning."] == ("Weir",)


@pytest.mark.parametrize(
    "stated",
    [
        "Maria Schmidt, maria.schmidt@example.com",
        "application/maria.schmidt",
        "\x1b]0;owned\x07",
        "text/plain",
        "\xff",
        "",
    ],
)
def test_what_an_archive_says_of_itself_is_not_repeated(stated: str) -> None:
    with pytest.raises(UnsupportedFormat, match=r"^no parser for application/zip$"):
        parse_in_process(zipped({"mimetype": stated, "a.txt": "b"}), "notes.odt")


def test_an_archive_of_a_known_kind_that_nobody_reads_is_named() -> None:
    drawing = zipped({"mimetype": "application/vnd.oasis.opendocument.graphics", "content.xml": "<a/>"})
    with pytest.raises(UnsupportedFormat, match=r"opendocument\.graphics$"):
        parse_in_process(drawing, "plan.odg")


def test_chapters_of_a_book_are_read_in_the_order_of_its_spine() -> None:
    document = parse_in_process(epub_file(), "weir.epub")
    assert texts(document, "Title") == ["Morning", "Evening"]
    assert sections(document)[PROSE] == ("Morning",)
    assert document.metadata["title"] == "The Weir"
    assert (document.metadata["language"], document.metadata["date"]) == ("en", "2024-06-04")


def test_rich_text_gives_paragraphs_and_tables() -> None:
    source = (
        rb"{\rtf1\ansi{\info{\title Weir Manual}{\author Ada Miller}}\pard " + PROSE.encode() + rb"\par "
        rb"\trowd\cellx100\cellx200\intbl Part\cell Price\cell\row\trowd\cellx100\cellx200\intbl Seal\cell 4.50\cell\row"
        rb"\pard Se\'e9an closes it.\par}"
    )
    document = parse_in_process(source, "weir.rtf")
    assert document.metadata["title"] == "Weir Manual"
    assert document.metadata["authors"] == ["Ada Miller"]
    assert texts(document, "Table") == ["| Part | Price |\n| --- | --- |\n| Seal | 4.50 |"]
    assert PROSE in document.text
    assert "Seéan closes it." in document.text


def word_97(text: str, compressed: bool) -> bytes:
    """Return the streams of a Word 97 document in a compound file written by hand (MS-CFB, 512-byte sectors)."""
    encoded = text.encode("cp1252" if compressed else "utf-16-le")
    place = 1024
    main = bytearray(max(4096, place + len(encoded)))
    struct.pack_into("<HH", main, 0, 0xA5EC, 0x00C1)
    struct.pack_into("<H", main, 0x0A, 0x0200)
    struct.pack_into("<7I", main, 0x4C, len(text), 0, 0, 0, 0, 0, 0)
    main[place : place + len(encoded)] = encoded
    piece = struct.pack("<II", 0, len(text)) + struct.pack(
        "<HIH", 0, (place * 2) | 0x40000000 if compressed else place, 0
    )
    clx = b"\x02" + struct.pack("<I", len(piece)) + piece
    struct.pack_into("<II", main, 0x01A2, 0, len(clx))
    return compound({"WordDocument": bytes(main), "1Table": clx.ljust(4096, b"\0")})


def compound(streams: dict[str, bytes]) -> bytes:
    """Return a compound file of streams of at least 4,096 bytes each."""
    sector, end, free = 512, 0xFFFFFFFE, 0xFFFFFFFF
    fat = [0xFFFFFFFD, end]
    bodies, entries = b"", []
    for name, content in streams.items():
        count = -(-len(content) // sector)
        start = len(fat)
        fat += [*range(start + 1, start + count), end]
        bodies += content.ljust(count * sector, b"\0")
        entries.append((name, 2, start, len(content)))
    directory = b""
    for index, (name, kind, start, size) in enumerate([("Root Entry", 5, end, 0), *entries]):
        encoded = name.encode("utf-16-le")
        right = index + 1 if 0 < index < len(entries) else free
        entry = encoded.ljust(64, b"\0") + struct.pack("<HBB", len(encoded) + 2, kind, 1)
        entry += (
            struct.pack("<III", free, right, 1 if index == 0 else free) + b"\0" * 36 + struct.pack("<IQ", start, size)
        )
        directory += entry
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 16 + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + b"\0" * 6
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, end, 0, end, 0)
    header += struct.pack("<109I", 0, *([free] * 108))
    table = struct.pack("<128I", *fat, *([free] * (128 - len(fat))))
    return header + table + directory.ljust(sector, b"\0") + bodies


@pytest.mark.parametrize("compressed", [True, False])
def test_word_97_text_is_read_from_its_pieces(compressed: bool) -> None:
    text = f"1.1 Weir\r{PROSE}\rPart\x07Price\x07\x07Seal\x074.50\x07\x07See \x13HYPERLINK x\x14the plan\x15.\r"
    document = parse_in_process(word_97(text, compressed), "weir.doc")
    assert document.metadata["content_type"] == "application/msword"
    assert texts(document, "Table") == ["| Part | Price |\n| --- | --- |\n| Seal | 4.50 |"]
    assert PROSE in document.text
    assert document.text.endswith("See the plan.")


def test_json_becomes_named_values_with_numbers_as_written() -> None:
    source = b'[{"part": "Seal", "price": 4.50, "open": true, "notes": null}, {"part": "Valve", "sizes": [1, 2]}]'
    document = parse_in_process(source, "parts.json")
    assert [element.text for element in document.elements] == [
        "part: Seal\nprice: 4.50\nopen: true",
        "part: Valve\nsizes:\n  - 1\n  - 2",
    ]
    lines = parse_in_process(b'{"part": "Seal"}\n\n{"part": "Valve"}\n', "parts.ndjson")
    assert [element.text for element in lines.elements] == ["part: Seal", "part: Valve"]
    apart = '{"part": "Seal\u2028large"}\r\n{"part": "Valve\x85"}\n'.encode()  # no ends of lines for JSON
    assert len(parse_in_process(apart, "parts.ndjson").elements) == 2


@pytest.mark.parametrize("name", ["serial", "title", "author"])
@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000])
def test_a_number_that_nobody_could_write_down_stays_in_the_text(name: str, number: str) -> None:
    document = parse_in_process(f"---\n{name}: {number}\n---\n# Weir\n\nIt is greased.\n".encode(), "weir.md")
    assert "front matter can't be read" in document.metadata["notes"][0]
    assert json.dumps(document.metadata)


def test_names_of_sections_are_text_like_any_other() -> None:
    long = "The weir is greased by whoever has the early watch. " * 50
    source = json.dumps({"a\ud800b": {"": {"Bu\u0308ro\n2": {"note": long}}, "other": long}})
    document = parse_in_process(source.encode(), "parts.json")
    assert {element.section for element in document.elements} >= {("a\ufffdb",), ("a\ufffdb", "B\u00fcro 2")}
    assert pa.array([pack_elements(document.elements)], ELEMENTS)


def test_broken_json_names_the_line_and_not_the_text() -> None:
    with pytest.raises(CorruptDocument, match="line 2") as caught:
        parse_in_process(b'{"part":\n Miller}', "parts.json")
    assert "Miller" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_xml_becomes_named_values_and_paragraphs() -> None:
    source = f"<parts><part><partName>Seal</partName><price>4.50</price></part><about>{PROSE * 4}</about></parts>"
    document = parse_in_process(source.encode(), "parts.xml")
    assert [element.text for element in document.elements] == ["part Name: Seal\nprice: 4.50", PROSE * 4]


def test_xml_elements_without_text_give_their_attributes() -> None:
    source = (
        '<catalog xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="a.xsd" owner="River works">'
        '<item id="7" name="Pump" unitPrice="5 EUR"/><item name="Valve" unitPrice=""/><group kind="spare"><item id="8"/></group></catalog>'
    )
    document = parse_in_process(source.encode(), "a.xml")
    assert [element.text for element in document.elements] == [
        "owner: River works", "name: Pump\nunit Price: 5 EUR", "name: Valve", "kind: spare",
    ]  # fmt: skip
    mixed = '<part lang="en"><name lang="en">Seal</name><size unit="mm" value="40"/><note>dry</note></part>'
    document = parse_in_process(mixed.encode(), "b.xml")
    assert document.text == "name: Seal\nsize unit: mm\nsize value: 40\nnote: dry"


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"'])
def test_the_line_that_tells_excel_the_delimiter_is_no_row(first: str) -> None:
    rows = "Name;Amount, net\r\nPump;1,50\r\n"
    document = parse_in_process(f"{first}\r\n{rows}".encode(), "a.csv")
    assert document.text == "| Name | Amount, net |\n| --- | --- |\n| Pump | 1,50 |"
    word = parse_in_process(b"sep=arate\nPump\n", "a.csv")
    assert "sep=arate" in word.text


def test_footnotes_of_rich_text_are_paragraphs_of_their_own() -> None:
    note = rb"{\super\chftn}{\footnote\ftnalt\pard\plain {\super\chftn} %s {\b day}.\par Se\'e9an says so.}"
    source = (
        rb"{\rtf1\ansi\deff0{\fonttbl{\f0 Arial;}}\pard Staff have 28 days" + note % b"Part-time staff have 14"
        + rb" a year" + note % b"Or 29" + rb".\par " + PROSE.encode() + rb"\par}"
    )  # fmt: skip
    document = parse_in_process(source, "a.rtf")
    assert [element.text for element in document.elements] == [
        "Staff have 28 days a year.", PROSE, "Part-time staff have 14 day.", "Seéan says so.", "Or 29 day.", "Seéan says so.",
    ]  # fmt: skip
    for end in range(0, len(source), 7):  # cut off anywhere
        with suppress(ParseError):
            parse_in_process(source[:end], "a.rtf")
    with_picture = rb"{\rtf1\ansi {\pict\bin4 }}}}" + rb"}Staff{\footnote All of them.} rest.\par}"
    assert parse_in_process(with_picture, "a.rtf").text == "Staff rest.\n\nAll of them."
    began = time.process_time()
    with suppress(ParseError):
        parse_in_process(rb"{\rtf1 " + rb"{\footnote a" * 50_000, "a.rtf")
    assert time.process_time() - began < 10


def test_org_headings_and_keywords() -> None:
    source = f"#+TITLE: Weir Manual\n#+AUTHOR: Ada Miller\n* TODO Operation :daily:\n{PROSE}\n** Lock\nSee [[https://example.com][the plan]].\n"
    document = parse_in_process(source.encode(), "weir.org")
    assert document.metadata["title"] == "Weir Manual"
    assert document.metadata["authors"] == ["Ada Miller"]
    assert sections(document)["See the plan."] == ("Operation", "Lock")


def test_word_text_whose_hiding_is_switched_off_is_read() -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("The lock ")
    for words, value in (("opens ", "0"), ("at ", "false"), ("six ", "off"), ("hidden ", "1"), ("hidden", None)):
        run = paragraph.add_run(words)
        stated = f'w:val="{value}"' if value else ""
        run._r.get_or_add_rPr().append(parse_xml(f'<w:vanish xmlns:w="{W}" {stated}/>'))
    assert parse_in_process(saved(document), "a.docx").text == "The lock opens at six"


def odf_file(kind: str, body: str) -> bytes:
    spaces = ODF + ' xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"'
    content = (
        f"<office:document-content {spaces}><office:body><office:{kind}>{body}</office:{kind}></office:body>"
        "</office:document-content>"
    )
    mimetype = f"application/vnd.oasis.opendocument.{kind}"
    return zipped({"mimetype": mimetype, "content.xml": content})


def odf_row(*cells: str) -> str:
    return f"<table:table-row>{''.join(f'<table:table-cell>{cell}</table:table-cell>' for cell in cells)}</table:table-row>"


def boxed(content: str) -> str:
    return f"<draw:frame><draw:text-box><text:p>{content}</text:p></draw:text-box></draw:frame>"


def test_comments_on_cells_are_not_read_and_what_is_in_a_cell_is_read_once() -> None:
    comment = "<office:annotation><dc:creator>Ada</dc:creator><text:p>secret</text:p></office:annotation>"
    note = "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>at noon</text:p></text:note-body></text:note>"
    rows = odf_row("<text:p>Lock</text:p>", "<text:p>Level</text:p>") + odf_row(
        f"{comment}<text:p>Upper{note}</text:p>",
        f"<text:list><text:list-item><text:p>two{boxed('metres')}</text:p></text:list-item></text:list>",
    )
    for kind, name in (("spreadsheet", "a.ods"), ("text", "a.odt")):
        data = odf_file(kind, f'<table:table table:name="Levels">{rows}</table:table>')
        [table] = texts(parse_in_process(data, name), "Table")
        assert table == "| Lock | Level |\n| --- | --- |\n| Upper (at noon) | two metres |"


def test_text_boxes_are_read_once_and_also_where_they_hang_on_a_heading() -> None:
    body = f"<text:p>Weir{boxed('outer' + boxed('inner'))}</text:p><text:h>Lock{boxed('beside the heading')}</text:h>"
    document = parse_in_process(odf_file("text", body), "a.odt")
    assert [element.text for element in document.elements] == ["Weir", "outer", "inner", "Lock", "beside the heading"]
    assert sections(document)["beside the heading"] == ("Lock",)


def test_word_documents_keep_footnotes_and_merged_cells_and_leave_hidden_text_out() -> None:
    document = docx.Document()
    document.add_heading("Weir", level=1)
    paragraph = document.add_paragraph(PROSE)
    run = paragraph.add_run(" hidden words")
    run.font.hidden = True
    paragraph._p.append(parse_xml(f'<w:del xmlns:w="{W}"><w:r><w:delText>deleted words</w:delText></w:r></w:del>'))
    document.add_paragraph("open the lock", style="List Number")
    table = document.add_table(rows=3, cols=2)
    for row, cells in zip(table.rows, (("Lock", "Hour"), ("Upper", "6"), ("", "18")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    parsed = parse_in_process(saved(document), "weir.docx")
    assert "hidden" not in parsed.text
    assert "deleted" not in parsed.text
    assert texts(parsed, "ListItem") == ["open the lock"]
    assert texts(parsed, "Table") == ["| Lock | Hour |\n| --- | --- |\n| Upper | 6 |\n| Upper | 18 |"]
    assert sections(parsed)[PROSE] == ("Weir",)


def test_shapes_of_a_slide_are_read_from_top_to_bottom_and_its_footer_once() -> None:
    presentation = pptx.Presentation()
    for number in (1, 2):
        slide = presentation.slides.add_slide(presentation.slide_layouts[5])
        slide.shapes.title.text = f"Weir {number}"
        for words, top in (("lower lock", 5), ("upper lock", 3)):
            box = slide.shapes.add_textbox(Inches(1), Inches(top), Inches(4), Inches(1))
            box.text_frame.text = f"{words} {number}"
        footer = parse_xml(
            '<p:sp xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
            'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><p:nvSpPr><p:cNvPr id="9" name="f"/><p:cNvSpPr/>'
            '<p:nvPr><p:ph type="ftr"/></p:nvPr></p:nvSpPr><p:spPr/><p:txBody><a:bodyPr/><a:p><a:r><a:t>River works</a:t></a:r></a:p>'
            "</p:txBody></p:sp>"
        )
        slide.shapes._spTree.append(footer)
    document = parse_in_process(saved(presentation), "weir.pptx")
    assert [element.text for element in document.elements] == [
        "Weir 1", "upper lock 1", "lower lock 1", "River works", "Weir 2", "upper lock 2", "lower lock 2",
    ]  # fmt: skip
    assert document.elements[5].section == ("Weir 2",)
    assert document.elements[5].page == 2


def test_cells_that_span_rows_are_repeated_so_that_each_row_can_be_read_alone() -> None:
    page = b"""<table><tr><th>Lock</th><th>Hour</th></tr><tr><td rowspan=2>Upper</td><td>6</td></tr><tr><td>18</td></tr>
    <tr><td colspan=2>closed on Sunday</td></tr></table>"""
    [table] = texts(parse_in_process(page, "a.html"), "Table")
    assert table.splitlines()[2:] == ["| Upper | 6 |", "| Upper | 18 |", "| closed on Sunday |  |"]


# --- Markdown between angle brackets ---


@pytest.mark.parametrize(
    "sentence",
    [
        "Use cp <source> <destination> to copy a file.",
        "Pass <object> to the function and it returns a handle.",
        "The <title> of a page is shown in the tab.",
        "The <select> box holds countries, the <textarea> a remark, each <option> a word.",
        "The <head> of department signs, and every <body> is heard.",
        "The <video> tag and the <script> tag.",
        "Rows go into a <table>, points into a <ul> or an <ol>.",
        "Ping <address> at the <time> that <link> says.",
        "Close the <iframe> and the <style> and the <svg>.",
    ],
)
def test_placeholders_that_are_names_of_html_elements_are_read_with_what_follows(sentence: str) -> None:
    after = f"# Limits\n\n{PROSE}\n"
    document = parse_in_process(f"# Weir\n\n{sentence}\n\n{after}".encode(), "a.md")
    assert [element.text for element in document.elements] == ["Weir", sentence, "Limits", PROSE]
    in_heading = parse_in_process(f"# {sentence}\n\n{after}".encode(), "a.md")
    assert [element.text for element in in_heading.elements] == [sentence, "Limits", PROSE]
    in_item = parse_in_process(f"- {sentence}\n- open the lock\n\n{after}".encode(), "a.md")
    assert [element.text for element in in_item.elements] == [sentence, "open the lock", "Limits", PROSE]


@pytest.mark.parametrize(
    "opening",
    [
        "<title> of a page is shown in the tab.",
        "<source> <destination>",
        "<select>",
        "<object>",
        "<nav>",
        "<table>",
        "<script>",
        "<textarea>",
        "<div><title>",
        "<div><style>",
        "<div><plaintext>",
        "<div><xmp>",
        "<noframes>",
        "<iframe src='https://example.com'>",
    ],
)
def test_a_line_that_opens_with_a_tag_that_nobody_closes_loses_nothing(opening: str) -> None:
    document = parse_in_process(f"# Weir\n\n{opening}\n\n# Limits\n\n{PROSE}\n".encode(), "a.md")
    if not opening.startswith(("<script", "<textarea")):  # these go on to their end tag, blank lines or not
        assert texts(document, "Title") == ["Weir", "Limits"]
        assert sections(document)[PROSE] == ("Limits",)
    assert opening.removeprefix("<div>") in document.text
    assert PROSE in document.text


def test_html_in_markdown_is_still_read_as_html() -> None:
    source = f"""<script>
var hidden = "<title>";
</script>
<style>p {{ color: red }}</style>

Water is H<sub>2</sub>O<br>and <a href="x">the plan</a> shows a <kbd>Key</kbd> <!-- hidden -->.

<nav>

hidden

</nav>

<p align="center"><picture><source srcset="hidden.png"><img alt="The weir" src="w.png"></picture></p>

<table><tr><td>Seal</td><td>4.50</td></tr><tr><td>Valve</td><td>12</td></tr></table>

<a name="limits"></a>

<div><my-note level="2">{PROSE}</my-note></div>
"""
    document = parse_in_process(source.encode(), "a.md")
    assert "hidden" not in document.text and "color" not in document.text and "<" not in document.text
    assert document.text.startswith("Water is H2O\nand the plan shows a Key .")
    assert "The weir" in document.text and document.text.endswith(PROSE)
    assert len(texts(document, "Table")) == 1


def test_thousands_of_open_tags_are_read_in_time() -> None:
    for opening in ("<title>", "<script ", "<div><title>", "<!--", "<a <b ", '<a "', "</title><table>"):
        source = f"{opening * 20_000}\n\nword {opening * 20_000}\n\n{PROSE}\n".encode()
        began = time.process_time()
        with suppress(ParseError):
            parse_in_process(source, "a.md")
        assert time.process_time() - began < 10, opening


# --- passwords ---


def locked_docx() -> bytes:
    document = docx.Document()
    document.add_paragraph(PROSE)
    stream = io.BytesIO()
    msoffcrypto.format.ooxml.OOXMLFile(io.BytesIO(saved(document))).encrypt("open sesame", stream)
    return stream.getvalue()


def locked_pdf(algorithm: str) -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream)
    canvas.drawString(72, 720, PROSE)
    canvas.save()
    writer = PdfWriter(clone_from=io.BytesIO(stream.getvalue()))
    writer.encrypt("open sesame", algorithm=algorithm)
    locked = io.BytesIO()
    writer.write(locked)
    return locked.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (locked_docx(), "a.docx"),
        *((locked_pdf(name), "a.pdf") for name in ("RC4-40", "RC4-128", "AES-128", "AES-256-R5", "AES-256")),
    ],
    ids=["docx", "R2", "R3", "R4", "R5", "R6"],
)
def test_a_password_from_the_environment_opens_the_file(
    data: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = ParsePolicy(passwords=["FIRST_PASSWORD", "SECOND_PASSWORD", "NOT_SET"])
    monkeypatch.setenv("FIRST_PASSWORD", "not this one")
    with pytest.raises(EncryptedDocument, match=r"none of parse\.passwords"):
        parse_in_process(data, name, policy)
    monkeypatch.setenv("SECOND_PASSWORD", "open sesame")
    document = parse_in_process(data, name, policy)
    assert document.text == PROSE
    assert "open sesame" not in repr(document)


def test_a_password_in_the_configuration_is_refused_without_being_repeated(tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    attributes = {"source": {"uri": "documents"}, "parse": {"passwords": ["open sesame"]}}
    file.write_text(yaml.safe_dump({"type": "assets.corpus.Corpus", "attributes": attributes}))
    with pytest.raises(ConfigError, match="names of environment variables") as caught:
        load_corpus_file(file)
    assert "sesame" not in str(caught.value)


def test_an_unknown_parser_is_refused_when_the_configuration_is_read(tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    attributes = {"source": {"uri": "documents"}, "parse": {"parsers": {"html": "tika"}}}
    file.write_text(yaml.safe_dump({"type": "assets.corpus.Corpus", "attributes": attributes}))
    with pytest.raises(ConfigError, match=r"parse\.parsers\.html"):
        load_corpus_file(file)


# --- the choice of parsers ---

ARTICLE = (
    "<html><head><title>Weir</title>{head}</head><body><div class='menu'><ul>"
    + "".join(f"<li><a href='/{n}'>Menu entry {n}</a></li>" for n in range(12))
    + "</ul></div><article><h1>The weir in spring</h1>"
    + "".join(
        f"<p>{PROSE} On day {n} the level rose by {n} centimetres, and the keeper wrote it down.</p>" for n in range(9)
    )
    + "<h2>Levels</h2><ul><li>Upper lock: two metres and a half at noon</li><li>Lower lock: one metre at noon</li></ul></article>"
    "<div class='related'><h3>Read also</h3><a href='/x'>Ten boats you must see</a></div></body></html>"
)
SITE = ARTICLE.format(head="<link rel='canonical' href='https://example.com/weir'>").encode()
EXPORT = ARTICLE.format(head="").encode()


def test_of_a_web_page_the_main_content_is_read_and_of_an_exported_document_all() -> None:
    page, export = parse_in_process(SITE, "weir.html"), parse_in_process(EXPORT, "weir.html")
    assert "Menu entry 3" in export.text
    assert "Menu entry 3" not in page.text
    assert "Ten boats" not in page.text
    assert "On day 8 the level rose" in page.text
    assert "Levels" in texts(page, "Title")
    assert texts(page, "ListItem")[0].startswith("Upper lock")
    assert page.metadata["title"] == "Weir"


@pytest.mark.parametrize(("choice", "whole"), [("main_content", False), ("full", True), ("unstructured", True)])
def test_the_corpus_chooses_what_of_a_page_is_read(choice: str, whole: bool) -> None:
    policy = ParsePolicy.model_validate({"parsers": {"html": choice}})
    for page in (SITE, EXPORT):
        assert ("Menu entry 3" in parse_in_process(page, "weir.html", policy).text) is whole


@pytest.mark.parametrize(
    "question",
    [
        "<h2><button>How do I reset the gauge?</button></h2>",
        "<h2><span><button aria-expanded=false><i>How do I reset the gauge?</i></button></span></h2>",
        "<summary><button>How do I reset the gauge?</button></summary>",
        "<dt><button>How do I reset the gauge?</button></dt>",
        "<div><button aria-controls=a1>How do I reset the gauge?</button></div>",
    ],
)
def test_questions_that_are_buttons_are_read(question: str) -> None:
    page = f"<html><body><h1>Questions <button>Copy link</button></h1>{question}<div id=a1><p>{PROSE}</p></div><button>Send</button>"
    document = parse_in_process(page.encode(), "faq.html")
    assert document.text == f"Questions\n\nHow do I reset the gauge?\n\n{PROSE}"
    if question.startswith("<h2"):
        assert sections(document)[PROSE] == ("Questions", "How do I reset the gauge?")


def test_of_a_web_page_questions_that_are_buttons_are_main_content() -> None:
    folded = ARTICLE.replace("<h2>Levels</h2>", "<h2><button>Which levels are normal?</button></h2>")
    page = folded.format(head="<link rel='canonical' href='https://example.com/weir'>").encode()
    document = parse_in_process(page, "weir.html")
    assert "Menu entry 3" not in document.text
    assert "Which levels are normal?" in texts(document, "Title")


def test_a_page_without_main_content_is_read_whole() -> None:
    page = b"<html><head><link rel=canonical href=/a></head><body><table><tr><td>Weir</td><td>2 m</td></tr></table></body></html>"
    assert "2 m" in parse_in_process(page, "a.html").text


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.md", f"# Weir\n\n{PROSE}\n".encode()),
        ("a.txt", PROSE.encode()),
        ("a.csv", b"Lock,Hour\nUpper,6\n"),
        ("a.docx", saved(docx.Document())),
    ],
)
def test_unstructured_itself_can_be_chosen_by_format(name: str, data: bytes) -> None:
    if name == "a.docx":
        document = docx.Document()
        document.add_paragraph(PROSE)
        data = saved(document)
    formats = ("markdown", "docx", "pptx", "xlsx", "csv", "text", "email")
    policy = ParsePolicy.model_validate({"parsers": dict.fromkeys(formats, "unstructured")})
    assert parse_in_process(data, name, policy).text.split()[-1:] == parse_in_process(data, name).text.split()[-1:]


# --- pictures ---


def picture_pdf() -> bytes:
    """Return a PDF whose page is a picture of words."""
    import pypdfium2

    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=(400, 120))
    canvas.setFont("Helvetica", 28)
    canvas.drawString(20, 60, "The weir is open")
    canvas.save()
    document = pypdfium2.PdfDocument(stream.getvalue())
    image = document[0].render(scale=3, grayscale=True).to_numpy()
    document.close()
    height, width = image.shape[:2]
    pixels = image.reshape(height, width).tobytes()
    content = b"q 400 0 0 120 0 0 cm /I Do Q"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 120]/Contents 4 0 R/Resources<</XObject<</I 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray/BitsPerComponent 8/Length %d>>stream\n%s\nendstream"
        % (width, height, len(pixels), pixels),
    ]
    from tests.hostile import assembled_pdf

    return assembled_pdf(objects)


@pytest.mark.skipif(engine() is None, reason="needs Debian's tesseract-ocr")
def test_scanned_pages_are_read_where_the_corpus_asks_for_it() -> None:
    with pytest.raises(ParseError) as caught:
        parse_in_process(picture_pdf(), "scan.pdf")
    assert caught.value.code == "no_text_layer"
    document = parse_in_process(picture_pdf(), "scan.pdf", ParsePolicy(ocr=True))
    assert document.text == "The weir is open"
    assert document.elements[0].page == 1
    assert "read with OCR" in document.metadata["notes"][0]


def test_a_language_that_is_not_installed_is_named() -> None:
    with pytest.raises(ParseError) as caught:
        parse_in_process(picture_pdf(), "scan.pdf", ParsePolicy(ocr=True, ocr_languages=["tlh"]))
    assert caught.value.code == "ocr_missing"


def test_a_picture_is_not_read_unless_the_corpus_asks_for_it() -> None:
    with pytest.raises(UnsupportedFormat, match=r"parse\.ocr"):
        parse_in_process(b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "photo.png")


# --- mail ---


def letter(**headers: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in {
        "Subject": "Lock",
        "From": "Ada Miller <ada@example.com>",
        "To": "b@example.com",
        **headers,
    }.items():
        message[name] = value
    message.set_content("The lock opens at six.")
    return message


def test_a_mail_gives_its_files_and_not_what_decorates_or_signs_it() -> None:
    message = letter()
    message.add_alternative("<p>The lock opens at six.</p><img src='cid:logo'>", subtype="html")
    message.get_payload()[1].add_related(b"\x89PNG", "image", "png", cid="<logo>")  # type: ignore[index, union-attr]
    message.add_attachment(b"a;b\n1;2\n", maintype="text", subtype="csv", filename="levels.csv")
    message.add_attachment(b"c;d\n3;4\n", maintype="text", subtype="csv", filename="levels.csv")
    message.add_attachment(letter(Subject="Inner note"))
    message.add_attachment(b"sig", maintype="application", subtype="pgp-signature", filename="a.asc")
    found = attachments(message.as_bytes())
    assert [attachment.name for attachment in found] == ["levels.csv", "levels (2).csv", "Inner note.eml"]
    assert found[1].data == b"c;d\n3;4\n"
    assert parse_in_process(found[2].data, found[2].name).metadata["title"] == "Inner note"
    document = parse_in_process(message.as_bytes(), "lock.eml")
    assert document.metadata["attachments"] == [attachment.name for attachment in found]
    assert document.text == "Lock\n\nThe lock opens at six."


def test_text_after_an_attachment_is_part_of_the_mail() -> None:
    message = letter()
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="plan.pdf")
    message.attach(letter_part("Please bring the key."))
    assert parse_in_process(message.as_bytes(), "a.eml").text.endswith("Please bring the key.")


def alternatives(*forms: tuple[str, str]) -> bytes:
    """Return a mail of the forms (content type, text), in their order."""
    source = (
        "Subject: Lock\nFrom: a@example.com\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=x\n\n"
    )
    for content_type, text in forms:
        source += f"--x\nContent-Type: {content_type}; charset=utf-8\n\n{text}\n"
    return (source + "--x--\n").encode()


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        ([("text/plain", "Opens at six."), ("text/html", "<img src='cid:1'><p> </p>")], "Opens at six."),
        ([("text/plain", " "), ("text/html", "<p>Opens at six.</p>")], "Opens at six."),
        ([("text/html", "<p>Opens at six.</p>"), ("text/plain", "plain")], "Opens at six."),
        ([("text/plain", "plain"), ("text/markdown", "Opens *at* six.")], "Opens at six."),
        ([("text/plain", "Opens at six."), ("text/x-amp-html", "<p>amp</p>")], "Opens at six."),
        ([("text/plain", "plain"), ("text/x-amp-html", "<p>amp</p>"), ("text/html", "<p>Opens at six.</p>")], "Opens at six."),
    ],
)  # fmt: skip
def test_of_the_forms_of_a_mail_the_richest_with_words_is_read(forms: list[tuple[str, str]], expected: str) -> None:
    mail = alternatives(*forms)
    assert parse_in_process(mail, "a.eml").text == f"Lock\n\n{expected}"
    assert attachments(mail) == []


def test_a_form_that_is_a_file_is_one() -> None:
    mail = alternatives(("text/plain", "Opens at six."), ("text/calendar", "BEGIN:VCALENDAR"))
    assert parse_in_process(mail, "a.eml").text == "Lock\n\nOpens at six."
    assert [file.content_type for file in attachments(mail)] == ["text/calendar"]


def alone(content_type: str, content: bytes) -> bytes:
    """Return a mail whose body is one part without a name."""
    head = f"Subject: Lock\nFrom: a@example.com\nMIME-Version: 1.0\nContent-Type: {content_type}\n\n"
    return head.encode() + content


def test_the_only_part_of_a_mail_is_its_body_or_a_file() -> None:
    for kind in ("markdown", "enriched", "x-unheard-of"):
        mail = alone(f"text/{kind}", b"The lock opens at six.")
        assert parse_in_process(mail, "a.eml").text == "Lock\n\nThe lock opens at six."
        assert attachments(mail) == []
    scan = alone("application/pdf", b"%PDF-1.4")
    [attached] = attachments(scan)
    assert (attached.name, attached.content_type, attached.data) == ("attachment-1.pdf", "application/pdf", b"%PDF-1.4")
    assert parse_in_process(scan, "a.eml").metadata["attachments"] == ["attachment-1.pdf"]
    assert attachments(alone("multipart/mixed; boundary=x", b"no part at all")) == []


@pytest.mark.parametrize("charset", ["iso-8859-1", "us-ascii", "windows-1252"])
def test_a_mail_in_latin_1_keeps_its_quotes_and_the_euro_sign(charset: str) -> None:
    mail = alone(f"text/plain; charset={charset}", "The fee is € 100 – we don’t “refund” it.".encode("cp1252"))
    assert parse_in_process(mail, "a.eml").text == "Lock\n\nThe fee is € 100 – we don’t “refund” it."


def test_a_byte_of_a_mail_that_cannot_be_read_is_noted() -> None:
    words = "Die Größe der Schleuse".encode() + b"\xff"
    body = base64.b64encode(words)
    mail = alone("text/plain; charset=utf-8\nContent-Transfer-Encoding: base64", body)
    document = parse_in_process(mail, "a.eml")
    assert "Die Größe der Schleuse" in document.text
    assert document.metadata["notes"] == ["1 byte is no valid UTF-8 and could not be read"]


def letter_part(text: str) -> EmailMessage:
    part = EmailMessage()
    part.set_content(text)
    return part


def test_bytes_that_are_no_mail_have_no_attachments() -> None:
    assert attachments(b"plain words") == []
    assert attachments(locked_docx()) == []


# --- what files state ---


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("2024-06-04", "2024-06-04"),
        ("2024-06-04T09:30:00Z", "2024-06-04T09:30:00+00:00"),
        ("D:20240604093000+02'00'", "2024-06-04T09:30:00+02:00"),
        ("D:20240604093000Z00'00'", "2024-06-04T09:30:00+00:00"),
        ("D:20240604093000Z00'00", "2024-06-04T09:30:00+00:00"),
        ("D:20240604093000-05'", "2024-06-04T09:30:00-05:00"),
        ("D:20240604093000Z", "2024-06-04T09:30:00+00:00"),
        ("D:20240604", "2024-06-04"),
        ("D:202406", "2024-06"),
        ("D:2024", "2024"),
        ("2024-06", "2024-06"),
        (2024, "2024"),
        ("2024-13", None),
        ("0000", None),
        ("D:202413", None),
        ("Tue, 04 Jun 2024 09:30:00 +0200", "2024-06-04T09:30:00+02:00"),
        ("2024-13-40", None),
        ("last spring", None),
        (None, None),
    ],
)
def test_dates_are_iso_8601_or_left_out(stated: object, expected: str | None) -> None:
    assert date_of(stated) == expected


def test_names_and_keywords_are_lists() -> None:
    assert people_of("Miller, Ada; Bo Lind") == ["Miller, Ada", "Bo Lind"]
    assert people_of(["Ada Miller", "Ada  Miller", None]) == ["Ada Miller"]
    assert words_of("weir, lock;gauge") == ["weir", "lock", "gauge"]


def test_front_matter_is_flat_and_what_is_known_is_lifted_out() -> None:
    source = """---
title: Weir
authors:
  - name: Ada Miller
  - Bo Lind
date: 2024-06-04
lastmod: 2024-07-01T10:00:00+02:00
tags: [weir, lock]
lang: en
owner: {team: river, level: 2}
draft: false
---

The weir is open.
"""
    metadata = parse_in_process(source.encode(), "weir.md").metadata
    assert metadata["authors"] == ["Ada Miller", "Bo Lind"]
    assert (metadata["date"], metadata["modified"]) == ("2024-06-04", "2024-07-01T10:00:00+02:00")
    assert (metadata["language"], metadata["keywords"]) == ("en", ["weir", "lock"])
    assert metadata["front_matter"]["owner.team"] == "river"
    assert metadata["front_matter"]["owner.level"] == 2
    assert metadata["front_matter"]["draft"] is False
    assert all(isinstance(value, (str, int, float, bool)) for value in metadata["front_matter"].values())


def test_doctor_reports_that_tesseract_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    from headwater.doctor import examine

    monkeypatch.setenv("PATH", "/nowhere")
    for known in (engine, languages):
        known.cache_clear()
    [finding] = [finding for finding in examine() if finding.name == "text recognition"]
    for known in (engine, languages):
        known.cache_clear()
    assert finding.state == "note"
    assert "not installed" in finding.found


def test_a_forwarded_message_whose_subject_is_no_text_gets_a_name_that_can_be_stored() -> None:
    mail = (
        b"From: a@example.org\r\nTo: b@example.org\r\nSubject: forwarded\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nSee below.\r\n"
        b"--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-7?Q?+2AA-?= \xff\r\nFrom: c@example.org\r\n\r\nHello.\r\n"
        b"--x--\r\n"
    )
    [attached] = attachments(mail, ParsePolicy())
    assert attached.name.encode() and attached.name.endswith(".eml")


def test_a_password_that_was_set_counts_for_what_asks_for_one_and_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = ParsePolicy(passwords=["FIRST_PASSWORD"])
    monkeypatch.delenv("FIRST_PASSWORD", raising=False)
    before = parse_stage(policy, "documents")
    monkeypatch.setenv("FIRST_PASSWORD", "open sesame 7")
    after = parse_stage(policy, "documents")
    assert before.conditional_signature != after.conditional_signature and "sesame" not in str(after.parameters)
    assert before.signature == after.signature == parse_stage(ParsePolicy(), "documents").signature


@pytest.mark.parametrize(
    ("data", "name", "asks"),
    [
        (locked_docx(), "a.docx", True),
        (locked_pdf("AES-256"), "a.pdf", True),
        (PROSE.encode(), "a.txt", False),
        (b"", "a.pdf", False),
        (b"%PDF-1.7 broken", "a.pdf", False),
    ],
    ids=["docx", "pdf", "text", "empty", "broken"],
)
@pytest.mark.parametrize("password", ["open sesame", "not this one"])
def test_only_a_file_that_opens_without_none_asks_for_a_password(
    data: bytes, name: str, asks: bool, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRST_PASSWORD", password)
    with noting_passwords() as asked, suppress(ParseError):
        parse_in_process(data, name, ParsePolicy(passwords=["FIRST_PASSWORD"]))
    assert asked.passwords == asks


def test_a_part_of_any_name_that_declares_a_document_type_is_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("word/odd.part", b'<!DOCTYPE a [<!ENTITY b "ha">]><a>&b;</a>')
    with zipfile.ZipFile(packed) as archive, pytest.raises(CorruptDocument, match="document type"):
        parsed_part(archive, "word/odd.part")


def test_white_space_around_line_breaks_is_read_in_time() -> None:
    page = "<html><body><p>First line<br>" + " \n" * 200_000 + "second line<br> <br>another paragraph</p></body></html>"
    began = time.process_time()
    document = parse_in_process(page.encode(), "page.html", ParsePolicy(parsers={"html": "full"}))  # type: ignore[arg-type]
    assert time.process_time() - began < 10
    assert "second line" in document.text and "another paragraph" in document.text
