"""Bytes to elements: every format, the limits, and what happens to files that are not what they say."""

from __future__ import annotations

import io
import socket
import zipfile
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any, NoReturn

import docx
import msoffcrypto.format.ooxml
import openpyxl
import pptx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from headwater.errors import (
    ConfigError,
    CorruptDocument,
    EmptyDocument,
    EncryptedDocument,
    ParseError,
    ParseLimitExceeded,
    UnsupportedFormat,
)
from headwater.parsing import close, failure_error, parse, parse_batch, parse_in_process, sentence_pipeline
from headwater.parsing.blocks import Block, build
from headwater.policies import ParsePolicy
from headwater.pool import WorkerFailure, WorkerPool
from headwater.types import ParsedDocument

PROSE = "The pump is serviced every spring before the season starts."


def docx_file() -> bytes:
    document = docx.Document()
    document.core_properties.title = "Pump Manual"
    document.core_properties.author = "Ada Miller"
    document.add_heading("Operation", level=1)
    document.add_paragraph(PROSE)
    document.add_heading("Starting", level=2)
    document.add_paragraph("Open the valve", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip([*table.rows[0].cells, *table.rows[1].cells], ["Part", "Price", "Seal", "4.50"], strict=True):
        cell.text = text
    return _saved(document)


def pptx_file() -> bytes:
    presentation = pptx.Presentation()
    for title, body in (
        ("Results", "Sales grew in every region this year."),
        ("Outlook", "We expect more of the same."),
    ):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    slide.notes_slide.notes_text_frame.text = "Remember to thank the team."
    return _saved(presentation)


def xlsx_file() -> bytes:
    workbook = openpyxl.Workbook()
    prices = workbook.active
    prices.title = "Prices"
    for row in (["Part", "Code", "Price"], ["Seal", "007", 4.5], ["Valve", "NA", 12]):
        prices.append(row)
    stock = workbook.create_sheet("Stock")
    stock.append(["Warehouse stock"])
    stock.append(["Part", "Count"])
    stock.append(["Seal", 40])
    secret = workbook.create_sheet("Scratch")
    secret.append(["not for readers"])
    secret.sheet_state = "hidden"
    return _saved(workbook)


def pdf_file(*pages: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream, **options)
    canvas.setTitle("Pump Manual")
    for number, text in enumerate(pages, start=1):
        canvas.setFont("Helvetica-Bold", 20)
        canvas.drawString(72, 760, f"Part {number}")
        canvas.setFont("Helvetica", 11)
        for line, part in enumerate(text.split("\n")):
            canvas.drawString(72, 720 - 14 * line, part)
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def mail_file() -> bytes:
    message = EmailMessage()
    message["Subject"] = "Pump delivery"
    message["From"] = "Ada Miller <ada@example.com>"
    message["To"] = "stock@example.com"
    message["Date"] = "Tue, 04 Jun 2024 09:30:00 +0200"
    message.set_content("The pump arrives on Friday.\n\nPlease clear the ramp.")
    message.add_alternative("<p>The pump <b>arrives</b> on Friday.</p><p>Please clear the ramp.</p>", subtype="html")
    message.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="note.pdf")
    return message.as_bytes()


MARKDOWN = b"""---
title: Pump Manual
tags: [pump, manual]
reviewed: 2024-06-04
---
# Operation {#operation}

Before you start:
- open the valve
- check the seal
  - it must be dry

1. press start
2. wait

## Settings

| Mode | Pressure |
|------|----------|
| eco  | 2 bar    |

Set `<your-mode>` or List<Mode>, see [the table](https://example.com/t) ![gauge](g.png) above.

```sh
pump --mode eco

pump --stop
```

<details><summary>Background</summary>

The eco mode saves power at night.

</details>
"""

HTML = b"""<html lang="en"><head><title>Pump Manual</title><meta name="author" content="Ada Miller">
<style>p {color: red}</style></head><body><nav>Home About</nav><h1>Operation</h1><p>The pump is&nbsp;<b>serviced</b> every spring.</p>
<h2>Parts</h2><table><caption>Spare parts</caption><tr><th>Part</th><th>Price</th></tr><tr><td>Seal</td><td>4|50</td></tr></table>
<p style="display:none">hidden words</p><script>var x = 1</script><footer>Copyright line</footer></body></html>"""


def _saved(document: Any) -> bytes:
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def _texts(document: ParsedDocument, kind: str) -> list[str]:
    return [element.text for element in document.elements if element.kind == kind]


def _sections(document: ParsedDocument) -> dict[str, tuple[str, ...]]:
    return {element.text: element.section for element in document.elements}


FILES = {
    "manual.md": MARKDOWN,
    "manual.html": HTML,
    "manual.txt": b"Pump Manual\n===========\n\n" + PROSE.encode() + b"\n\n- open the valve\n- check the seal\n",
    "manual.docx": docx_file(),
    "slides.pptx": pptx_file(),
    "prices.xlsx": xlsx_file(),
    "prices.csv": b"Part;Code\nSeal;007\nValve;NA\n",
    "prices.tsv": b"Part\tCode\nSeal\t007\n",
    "delivery.eml": mail_file(),
    "manual.pdf": pdf_file(PROSE, "The second page explains how to store the pump."),
}


@pytest.fixture(scope="module", autouse=True)
def kept_worker_ends_with_the_module() -> Iterator[None]:
    yield
    close()


@pytest.mark.parametrize("name", FILES)
def test_every_format_keeps_offsets_true(name: str) -> None:
    document = parse_in_process(FILES[name], name)
    assert document.elements
    assert document.text == "\n\n".join(element.text for element in document.elements)
    for element in document.elements:
        assert document.text[element.start : element.end] == element.text
    assert document.metadata["title"]
    assert document.metadata["notes"] == ([] if name != "prices.xlsx" else ["sheet 3 is hidden and was left out"])


@pytest.mark.parametrize("name", FILES)
def test_the_worker_process_returns_the_same(name: str) -> None:
    assert parse(FILES[name], name) == parse_in_process(FILES[name], name)


def test_markdown_loses_nothing_and_keeps_structure() -> None:
    document = parse_in_process(MARKDOWN, "manual.md")
    assert document.metadata["title"] == "Pump Manual"
    assert document.metadata["front_matter"] == {
        "title": "Pump Manual",
        "tags": "pump, manual",
        "reviewed": "2024-06-04",
    }
    assert document.metadata["keywords"] == ["pump", "manual"]
    assert "tags" not in document.text
    assert _texts(document, "Title") == ["Operation", "Settings"]
    assert _texts(document, "ListItem") == [
        "open the valve",
        "check the seal",
        "it must be dry",
        "1. press start",
        "2. wait",
    ]
    assert _texts(document, "Table") == ["| Mode | Pressure |\n| --- | --- |\n| eco | 2 bar |"]
    assert _texts(document, "CodeSnippet") == ["pump --mode eco\n\npump --stop"]
    assert "Set <your-mode> or List<Mode>, see the table gauge above." in document.text
    assert "The eco mode saves power at night." in document.text
    sections = _sections(document)
    assert sections["Operation"] == ("Operation",)
    assert sections["open the valve"] == ("Operation",)
    assert sections["Settings"] == sections["Background"] == ("Operation", "Settings")


def test_front_matter_with_aliases_is_not_expanded() -> None:
    bomb = b"---\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n---\n\nSome words follow here.\n"
    document = parse_in_process(bomb, "bomb.md")
    assert "front_matter" not in document.metadata
    assert "front matter can't be read" in document.metadata["notes"][0]


def test_html_keeps_what_a_reader_sees() -> None:
    document = parse_in_process(HTML, "manual.html")
    assert document.metadata["title"] == "Pump Manual"
    assert document.metadata["authors"] == ["Ada Miller"]
    assert document.metadata["language"] == "en"
    assert "The pump is serviced every spring." in document.text.replace("\xa0", " ")
    assert _texts(document, "Table") == ["| Part | Price |\n| --- | --- |\n| Seal | 4\\|50 |"]
    assert "Spare parts" in document.text
    for unseen in ("Home About", "hidden words", "var x", "Copyright", "color"):
        assert unseen not in document.text
    assert _sections(document)["Spare parts"] == ("Operation", "Parts")


def test_a_page_laid_out_with_tables_is_no_table() -> None:
    page = b"""<html><body><table><tr><td><h1>News</h1><p>First words of it.</p></td>
    <td><table><tr><th>k</th><th>v</th></tr><tr><td>1</td><td>2</td></tr></table></td></tr></table></body></html>"""
    document = parse_in_process(page, "news.html")
    assert [element.kind for element in document.elements] == ["Title", "Text", "Table"]


def test_docx_styles_give_sections_and_core_properties_the_title() -> None:
    document = parse_in_process(FILES["manual.docx"], "manual.docx")
    assert document.metadata["title"] == "Pump Manual"
    assert document.metadata["authors"] == ["Ada Miller"]
    sections = _sections(document)
    assert sections[PROSE] == ("Operation",)
    assert sections["Open the valve"] == ("Operation", "Starting")
    assert _texts(document, "Table") == ["| Part | Price |\n| --- | --- |\n| Seal | 4.50 |"]


def test_slides_are_pages_and_their_titles_sections() -> None:
    document = parse_in_process(FILES["slides.pptx"], "slides.pptx")
    found = {element.text: (element.page, element.section) for element in document.elements}
    assert found["Sales grew in every region this year."] == (1, ("Results",))
    assert found["Remember to thank the team."] == (2, ("Outlook",))
    assert document.metadata["pages"] == 2


def test_sheets_are_sections_and_cells_are_kept_as_written() -> None:
    document = parse_in_process(FILES["prices.xlsx"], "prices.xlsx")
    tables = _texts(document, "Table")
    assert tables[0].splitlines()[0] == "| Part | Code | Price |"
    assert "| Seal | 007 | 4.5 |" in tables[0]
    assert "| Valve | NA | 12 |" in tables[0]
    assert tables[1] == "| Part | Count |\n| --- | --- |\n| Seal | 40 |"
    assert _sections(document)["Warehouse stock"] == ("Stock",)
    assert "not for readers" not in document.text


@pytest.mark.parametrize("name", ["prices.csv", "prices.tsv"])
def test_delimited_text_is_one_table_with_values_as_written(name: str) -> None:
    document = parse_in_process(FILES[name], name)
    assert [element.kind for element in document.elements] == ["Table"]
    assert document.text.startswith("| Part | Code |\n| --- | --- |\n| Seal | 007 |")


def test_mail_states_sender_date_and_attachments() -> None:
    document = parse_in_process(FILES["delivery.eml"], "delivery.eml")
    assert document.metadata["title"] == "Pump delivery"
    assert document.metadata["authors"] == ["Ada Miller"]
    assert document.metadata["from"] == "Ada Miller <ada@example.com>"
    assert document.metadata["date"] == "2024-06-04T09:30:00+02:00"
    assert document.metadata["attachments"] == ["note.pdf"]
    assert document.text == "Pump delivery\n\nThe pump arrives on Friday.\n\nPlease clear the ramp."


def test_pdf_pages_headings_and_paragraphs() -> None:
    wrapped = "The pump is serviced every spring before the\nseason starts, by a techni-\ncian who knows it."
    document = parse_in_process(pdf_file(wrapped, PROSE), "manual.pdf")
    found = [(element.kind, element.text, element.page, element.section) for element in document.elements]
    assert found == [
        ("Title", "Part 1", 1, ("Part 1",)),
        (
            "NarrativeText",
            "The pump is serviced every spring before the season starts, by a technician who knows it.",
            1,
            ("Part 1",),
        ),
        ("Title", "Part 2", 2, ("Part 2",)),
        ("NarrativeText", PROSE, 2, ("Part 2",)),
    ]
    assert document.metadata["pages"] == 2
    assert document.metadata["title"] == "Pump Manual"


def test_plain_text_headings_paragraphs_and_items() -> None:
    text = (
        "Pump Manual\n===========\n\n1.1 Scope Of Work\n\nThe pump is serviced every spring before the season\n"
        "starts, by someone who knows it well.\n\nSAFETY\n\nNever open it while it runs.\n\n* a first item\n* a second item\n"
        "  that goes on\n\nKind regards\n"
    )
    document = parse_in_process(text.encode(), "manual.txt")
    assert _texts(document, "Title") == ["Pump Manual", "1.1 Scope Of Work", "SAFETY"]
    assert _texts(document, "ListItem") == ["a first item", "a second item that goes on"]
    assert "season starts, by someone" in document.text


def test_prose_is_told_from_labels_without_a_spacy_model() -> None:
    document = parse_in_process(b"<p>Quarterly Results</p><p>The results were good.</p>", "a.html")
    assert [element.kind for element in document.elements] == ["Text", "NarrativeText"]
    assert sentence_pipeline(ParsePolicy(sentence_model="my_model")) == "my_model"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings_are_recognised(encoding: str) -> None:
    text = "Die Pumpe läuft täglich, und sie wird im Frühjahr gewartet."
    assert parse_in_process(text.encode(encoding), "pumpe.txt").text == text


GERMAN = "Die Größe der Straße für Fußgänger beträgt übrigens nur wenige Zentimeter. " * 4


def declaring(charset: str, body: bytes) -> bytes:
    return b"<html><head><meta charset='" + charset.encode() + b"'></head><body><p>" + body + b"</p></body></html>"


@pytest.mark.parametrize(
    ("data", "name", "unread"),
    [
        (GERMAN.encode() + b"\xff Ende.", "a.txt", "1 byte is"),
        (b"\xef\xbb\xbf" + GERMAN.encode() + b"\xff\x92 Ende.", "a.txt", "2 bytes are"),
        ("Die Größe der Maßnahme".encode() + "ü".encode()[:1], "a.txt", "1 byte is"),
        ("Die Größe für 5 €".encode()[:-1], "a.txt", "2 bytes are"),
        (declaring("utf-8", "Die Größe der Straße".encode() + b"\xff\xfe"), "a.html", "2 bytes are"),
    ],
    ids=["a bad byte", "bad bytes after a mark", "cut off", "cut off within three bytes", "declared"],
)
def test_a_bad_or_missing_byte_costs_itself_and_not_the_whole_text(data: bytes, name: str, unread: str) -> None:
    document = parse_in_process(data, name)
    assert document.text.startswith("Die Größe")
    assert "Ã" not in document.text
    assert document.metadata["notes"] == [f"{unread} no valid UTF-8 and could not be read"]


@pytest.mark.parametrize(
    "data",
    [
        "Das Café".encode("cp1252"),
        declaring("utf-8", "Größe, Straße, Café, 5 €".encode("cp1252")),
        GERMAN.encode("cp1252"),
    ],
    ids=["ends as a cut character would", "declares what it is not", "long"],
)
def test_what_is_no_utf_8_is_not_read_as_damaged_utf_8(data: bytes) -> None:
    document = parse_in_process(data, "a.html" if data.startswith(b"<") else "a.txt")
    assert "\ufffd" not in document.text
    assert "Café" in document.text or "Straße" in document.text


@pytest.mark.parametrize("charset", ["iso-8859-1", "us-ascii", "ISO8859-1", "latin1"])
def test_text_that_declares_latin_1_keeps_its_quotes_and_the_euro_sign(charset: str) -> None:
    sentence = "The fee is € 100 – we don’t “refund” it, says the café."
    assert parse_in_process(declaring(charset, sentence.encode("cp1252")), "a.html").text == sentence


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "rot13", "hex", "no-such"])
def test_a_declared_charset_that_is_none_is_passed_over(charset: str) -> None:
    assert (
        parse_in_process(declaring(charset, "Das Café \\n öffnet".encode("cp1252")), "a.html").text
        == "Das Café \\n öffnet"
    )


def test_text_is_normalised() -> None:
    document = parse_in_process(
        "Cafe\u0301 is line one  \r\nof a text\x00 of two\x07\r\n\r\nand the next paragraph ".encode(), "a.txt"
    )
    assert document.text.startswith("Caf\u00e9 is line one\nof a text of two\n\nand the next")
    assert not any(character in document.text for character in "\r\x00\x07")


@pytest.mark.parametrize(
    ("data", "name", "content_type"),
    [
        (pdf_file(PROSE), "manual.docx", "application/pdf"),
        (docx_file(), "manual.pdf", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (HTML, "manual.md", "text/html"),
        (mail_file(), "mail.txt", "message/rfc822"),
        (PROSE.encode(), "manual.docx", "text/plain"),
    ],
)
def test_the_bytes_decide_and_a_wrong_extension_is_noted(data: bytes, name: str, content_type: str) -> None:
    document = parse_in_process(data, name)
    assert document.metadata["content_type"] == content_type
    assert "the extension says" in document.metadata["notes"][0]


def encrypted_docx() -> bytes:
    stream = io.BytesIO()
    msoffcrypto.format.ooxml.OOXMLFile(io.BytesIO(docx_file())).encrypt("secret", stream)
    return stream.getvalue()


def archive(**parts: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in parts.items():
            target.writestr(name, content)
    return stream.getvalue()


def docx_with(part: str, content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(docx_file())) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    return archive(**{**parts, part: content})


def docx_that_lies_about(part: str) -> bytes:
    data = bytearray(docx_with(part, b"\0" * 4_000_000))
    entry = data.rindex(part.encode()) - 46  # the fixed part of a central directory record, whose size field is at 24
    data[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    return bytes(data)


ENTITIES = b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>'
SMALL = ParsePolicy(max_bytes=1000, max_pages=1, max_expanded_bytes=1_000_000)


@pytest.mark.parametrize(
    ("data", "name", "policy", "error", "code"),
    [
        (b"", "empty.txt", ParsePolicy(), EmptyDocument, "empty"),
        (b" \n\t ", "blank.md", ParsePolicy(), EmptyDocument, "empty"),
        (_saved(docx.Document()), "blank.docx", ParsePolicy(), EmptyDocument, "empty"),
        (pdf_file(encrypt=None)[:200], "cut.pdf", ParsePolicy(), CorruptDocument, "corrupt"),
        (docx_file()[:3000], "cut.docx", ParsePolicy(), CorruptDocument, "corrupt"),
        (docx_with("word/document.xml", b"<w:document>"), "bad.docx", ParsePolicy(), CorruptDocument, "corrupt"),
        (docx_with("word/document.xml", ENTITIES), "xml.docx", ParsePolicy(), CorruptDocument, "xml_entities"),
        (b"\x00\x01\x02\x03" * 50, "noise.docx", ParsePolicy(), CorruptDocument, "corrupt"),
        (docx_that_lies_about("word/document.xml"), "lie.docx", ParsePolicy(), CorruptDocument, "corrupt"),
        (b"\x00\x01\x02\x03" * 50, "noise.bin", ParsePolicy(), UnsupportedFormat, "unsupported_format"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "photo.png", ParsePolicy(), UnsupportedFormat, "unsupported_format"),
        (archive(a=b"b"), "files.zip", ParsePolicy(), UnsupportedFormat, "unsupported_format"),
        (encrypted_docx(), "locked.docx", ParsePolicy(), EncryptedDocument, "encrypted"),
        (pdf_file(PROSE, encrypt=StandardEncryption("user")), "locked.pdf", ParsePolicy(), EncryptedDocument, "encrypted"),
        (b"x" * 1001, "big.txt", SMALL, ParseLimitExceeded, "too_large"),
        (
            docx_with("word/media/a.xml", b"\0" * 5_000_000),
            "bomb.docx",
            ParsePolicy(max_expanded_bytes=1_000_000),
            ParseLimitExceeded,
            "expands_too_far",
        ),
        (pdf_file(PROSE, PROSE), "two.pdf", ParsePolicy(max_pages=1), ParseLimitExceeded, "too_many_pages"),
        (pptx_file(), "two.pptx", ParsePolicy(max_pages=1), ParseLimitExceeded, "too_many_pages"),
        (xlsx_file(), "two.xlsx", ParsePolicy(max_pages=1), ParseLimitExceeded, "too_many_pages"),
        (b"<html><body>" + b"<div>" * 3000 + b"deep", "deep.html", ParsePolicy(), ParseLimitExceeded, "nested_too_deeply"),
    ],
)  # fmt: skip
def test_bad_input_is_named(data: bytes, name: str, policy: ParsePolicy, error: type[ParseError], code: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_in_process(data, name, policy)
    assert type(caught.value) is error
    assert caught.value.code == code


def test_a_scanned_pdf_says_that_it_has_no_text_layer() -> None:
    stream = io.BytesIO()
    canvas = Canvas(stream)
    canvas.rect(100, 100, 200, 200, fill=1)
    canvas.save()
    with pytest.raises(EmptyDocument) as caught:
        parse_in_process(stream.getvalue(), "scan.pdf")
    assert caught.value.code == "no_text_layer"


@pytest.mark.parametrize("tag", ["div", "span", "blockquote", "b"])
def test_deep_nesting_keeps_the_words(tag: str) -> None:
    page = f"<html><body>{f'<{tag}>' * 500}deep words{f'</{tag}>' * 500}<p>and more</p></body></html>"
    document = parse_in_process(page.encode(), "deep.html")
    assert "deep words" in document.text
    assert "and more" in document.text


def test_messages_never_hold_document_text() -> None:
    secret = b"Ada Miller lives here"
    for name in ("a.docx", "a.pdf", "a.xlsx", "a.bin"):
        with pytest.raises(ParseError) as caught:
            parse_in_process(b"\x00\x01\x02" * 200 + secret, name)
        assert "Miller" not in str(caught.value)


def test_a_sentence_model_that_is_not_installed_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"parse\.sentence_model"):
        parse_in_process(PROSE.encode(), "a.txt", ParsePolicy(sentence_model="no_such_pipeline"))
    assert parse_in_process(PROSE.encode(), "a.txt").text == PROSE


def test_a_batch_returns_errors_in_place() -> None:
    first, second, third = parse_batch([(b"", "a.txt"), (PROSE.encode(), "b.txt"), (b"PK\x03\x04", "c.docx")])
    assert isinstance(first, EmptyDocument)
    assert isinstance(second, ParsedDocument)
    assert isinstance(third, CorruptDocument)


def test_a_document_that_takes_too_long_is_given_up_and_the_next_one_parsed() -> None:
    slow = b"word " * 2_000_000
    with pytest.raises(ParseLimitExceeded) as caught:
        parse(slow, "slow.txt", ParsePolicy(timeout_seconds=0.05))
    assert caught.value.code == "timeout"
    assert parse(PROSE.encode(), "next.txt").text == PROSE


def test_a_document_that_takes_too_much_memory_is_given_up_and_the_next_one_parsed() -> None:
    policy = ParsePolicy(memory_mb=512)
    with pytest.raises(ParseLimitExceeded) as caught:
        parse(b"," * 60_000_000, "wide.csv", policy)
    assert caught.value.code == "out_of_memory"
    assert parse(PROSE.encode(), "next.txt", policy).text == PROSE


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        ("timeout", ParseLimitExceeded, "timeout"),
        ("memory", ParseLimitExceeded, "out_of_memory"),
        ("crashed", ParseError, "parser_crashed"),
        ("error", ParseError, "parse_failed"),
    ],
)
def test_a_failed_worker_becomes_the_error_of_its_document(kind: Any, error: type[ParseError], code: str) -> None:
    raised = failure_error(WorkerFailure(kind, "why"))
    assert type(raised) is error
    assert raised.code == code


_attempts: list[str] = []


def cut_the_network(*args: object) -> None:
    def refuse(*details: object, **more: object) -> NoReturn:
        _attempts.append(repr(details[-1]))
        raise OSError("no network in this test")

    socket.getaddrinfo = refuse
    socket.create_connection = refuse
    socket.socket.connect = refuse  # type: ignore[method-assign]


def parse_and_list_attempts(batch: list[tuple[bytes, str]], policy: ParsePolicy) -> tuple[int, list[str]]:
    return sum(isinstance(result, ParsedDocument) for result in parse_batch(batch, policy)), _attempts


def test_nothing_is_fetched_from_the_network() -> None:
    rows = [(data, name) for name, data in FILES.items()]
    pool = WorkerPool(
        f"{__name__}:parse_and_list_attempts", ParsePolicy(), workers=1, prepare=f"{__name__}:cut_the_network"
    )
    with pool:
        assert list(pool.map([rows])) == [(0, (len(FILES), []))]


BLOCKS = st.lists(
    st.builds(
        Block,
        kind=st.sampled_from(["Title", "Text", "Table"]),
        text=st.text(),
        page=st.none() | st.integers(1, 9),
        level=st.none() | st.integers(0, 5),
    ),
    max_size=12,
)


@given(BLOCKS)
def test_offsets_and_order_hold_for_any_blocks(blocks: list[Block]) -> None:
    document = build(blocks, {})
    position = 0
    for element in document.elements:
        assert element.start >= position
        assert document.text[element.start : element.end] == element.text
        assert element.text == element.text.strip() != ""
        position = element.end
    document.text.encode("utf-8")


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(list(FILES)),
)
def test_any_bytes_parse_or_raise_a_parse_error(data: bytes, name: str) -> None:
    try:
        document = parse_in_process(data, name)
    except ParseError:
        return
    for element in document.elements:
        assert document.text[element.start : element.end] == element.text


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["manual.docx", "prices.xlsx", "slides.pptx", "manual.pdf"]),
    st.integers(0, 2**31),
    st.binary(min_size=1, max_size=8),
)
def test_damaged_files_parse_or_raise_a_parse_error(name: str, position: int, noise: bytes) -> None:
    data = FILES[name]
    position %= len(data)
    try:
        parse_in_process(data[:position] + noise + data[position + len(noise) :], name)
    except ParseError:
        return
