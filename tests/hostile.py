"""Files made to harm whoever opens them. Generated, never stored: nothing here is larger than a few MiB on disk."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage

import docx
import openpyxl
from reportlab.pdfgen.canvas import Canvas

from headwater.policies import ParsePolicy

BOMB = 120_000_000
"""Bytes that the archives unpack to; more than POLICY allows."""

XXE_TARGET = "/etc/hostname"
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


@dataclass(frozen=True)
class Hostile:
    """A file, and the reason codes one of which it must be quarantined with; None among them: it may parse, too."""

    name: str
    make: Callable[[], bytes]
    codes: frozenset[str | None]


def saved(document: object) -> bytes:
    stream = io.BytesIO()
    document.save(stream)  # type: ignore[attr-defined]
    return stream.getvalue()


def with_part(data: bytes, part: str, content: bytes) -> bytes:
    """Return an archive with one of its parts replaced or added."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            if name != part:
                target.writestr(name, source.read(name))
        target.writestr(part, content)
    return stream.getvalue()


def word(body: bytes = b"") -> bytes:
    document = docx.Document()
    document.add_paragraph("The gauge is read every morning.")
    if not body:
        return saved(document)
    source = f'<?xml version="1.0"?><w:document xmlns:w="{W}"><w:body>'.encode() + body + b"</w:body></w:document>"
    return with_part(saved(document), "word/document.xml", source)


def zip_bomb() -> bytes:
    return with_part(word(), "word/media/image1.xml", b"\0" * BOMB)


def lying_zip_bomb() -> bytes:
    """Return an archive whose directory says 10 bytes for an entry of BOMB bytes."""
    data = bytearray(zip_bomb())
    entry = data.rindex(b"word/media/image1.xml") - 46  # a central directory record; its size field is at 24
    data[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    return bytes(data)


def overlapping_zip_bomb(copies: int = 4000) -> bytes:
    """Return an archive whose entries all name the same compressed megabytes (Fifield 2019)."""
    content = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = content.compress(b"\0" * 10_000_000) + content.flush()
    name = b"word/document.xml"
    crc = zlib.crc32(b"\0" * 10_000_000)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(body), 10_000_000, len(name), 0) + name + body
    directory = b"".join(
        struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(body), 10_000_000, len(entry), 0, 0, 0, 0, 0, 0
        )
        + entry
        for entry in (name, *(b"word/part%d.xml" % number for number in range(copies)))
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, copies + 1, copies + 1, len(directory), len(local), 0)
    return local + directory + end


def nested_zip(depth: int = 6) -> bytes:
    data = b"\0" * 1_000_000
    for level in range(depth):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
            for copy in range(16):
                target.writestr(f"{level}-{copy}.zip", data)
        data = stream.getvalue()
    return data


def escaping_epub() -> bytes:
    """Return a book whose spine names a file outside the archive."""
    stream = io.BytesIO()
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="book.opf"/></rootfiles></container>'
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
        f'<item id="a" href="../../../../../..{XXE_TARGET}"/><item id="b" href="file://{XXE_TARGET}"/></manifest>'
        '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    with zipfile.ZipFile(stream, "w") as target:
        target.writestr("mimetype", "application/epub+zip")
        target.writestr("META-INF/container.xml", container)
        target.writestr("book.opf", package)
    return stream.getvalue()


def repeating_epub() -> bytes:
    """Return a book whose spine names one chapter of a megabyte ten thousand times, under as many names."""
    stream = io.BytesIO()
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="book.opf"/></rootfiles></container>'
    )
    items = "".join(
        f'<item id="i{n}" href="{"./" * (n % 50)}c.xhtml?{n}"/><item id="j{n}" href="c.xhtml#{n}"/>'
        for n in range(3000)
    )
    spine = "".join(f'<itemref idref="i{n}"/><itemref idref="j{n}"/>' for n in range(3000))
    package = (
        f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{spine}</spine></package>'
    )
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("mimetype", "application/epub+zip")
        target.writestr("META-INF/container.xml", container)
        target.writestr("book.opf", package)
        target.writestr("c.xhtml", "<html><body>" + "<p>Same words again.</p>" * 40_000 + "</body></html>")
    return stream.getvalue()


def billion_laughs() -> bytes:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "ha">{levels}]><a>&l9;</a>'.encode()


def quadratic_blowup() -> bytes:
    return b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "' + b"x" * 50_000 + b'">]><a>' + b"&x;" * 50_000 + b"</a>"


def external_entity(encoding: str = "utf-8") -> bytes:
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY x SYSTEM "file://{XXE_TARGET}">]><a>&x;</a>'
    )
    return text.encode(encoding)


def xml_bomb_in_docx() -> bytes:
    return with_part(word(), "word/document.xml", billion_laughs())


def xml_bomb_in_odt() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        target.writestr("content.xml", billion_laughs())
    return stream.getvalue()


def deep_json() -> bytes:
    return b"[" * 200_000 + b"]" * 200_000


def deep_docx() -> bytes:
    return word(b"<w:sdt><w:sdtContent>" * 3000 + b"<w:p/>" + b"</w:sdtContent></w:sdt>" * 3000)


def deep_mail(depth: int = 400) -> bytes:
    """Return parts within parts within parts."""
    opening = "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(depth))
    return (
        "From: a@example.com\nTo: b@example.com\nSubject: parts\nMIME-Version: 1.0\n" + opening
    ).encode() + b"Content-Type: text/plain\n\nThe end.\n"


def mail_of_many_parts() -> bytes:
    part = b'--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename="a.pdf"\n\nx\n'
    head = b'From: a@example.com\nTo: b@example.com\nSubject: many\nContent-Type: multipart/mixed; boundary="b"\n\n'
    return head + part * 2_000 + b"--b--\n"


def mail_with_a_path() -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Paths", "a@example.com", "b@example.com"
    message.set_content("See the file.")
    message.add_attachment(b"text", maintype="text", subtype="plain", filename="../../../../tmp/escaped.txt")
    return message.as_bytes()


def pdf_stub(pages: int) -> bytes:
    """Return a PDF of a few hundred bytes whose page tree names one page many times over, level by level."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>"]
    width = 10
    levels = max(1, len(str(pages)) - 1)
    for level in range(levels):
        count = width ** (levels - level)
        kids = b" ".join(b"%d 0 R" % (level + 3) for _ in range(width))
        objects.append(b"<</Type/Pages/Count %d/Kids[%s]>>" % (count, kids))
    objects.append(b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>")
    return assembled_pdf(objects)


def assembled_pdf(objects: list[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.5\n")
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, table)
    return bytes(out)


def pdf_with_stream(content: bytes, filters: bytes) -> bytes:
    return assembled_pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
            b"<</Length %d/Filter[%s]>>stream\n%s\nendstream" % (len(content), filters, content),
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        ]
    )


def pdf_bomb() -> bytes:
    """Return a page whose content is deflated three times: a few hundred bytes become 800 MB."""
    data = b" " * 1_000_000
    once = zlib.compressobj(9)
    content = b"".join(once.compress(data) for _ in range(800)) + once.flush()
    return pdf_with_stream(zlib.compress(zlib.compress(content, 9), 9), b"/FlateDecode/FlateDecode/FlateDecode")


def pdf_form_loop() -> bytes:
    """Return a page that draws a form that draws itself."""
    draw = b"/X Do"
    return assembled_pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</XObject<</X 5 0 R>>>>>>",
            b"<</Length %d>>stream\n%s\nendstream" % (len(draw), draw),
            b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 5 0 R>>>>/Length %d>>stream\n%s\nendstream"
            % (len(draw), draw),
        ]
    )


def pdf_with_script() -> bytes:
    """Return a PDF that asks to run JavaScript, start a program and fetch an address when it is opened."""
    return assembled_pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.launchURL\\('http://127.0.0.1:9/x'\\))>>"
            b"/AA<</WC<</S/Launch/F(/bin/sh)>>>>>>",
            b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>",
        ]
    )


def long_line(size: int = 200_000_000) -> bytes:
    return b"word " * (size // 5)


def wide_sheet() -> bytes:
    workbook = openpyxl.Workbook()
    workbook.active.cell(1, 1, "a")
    data = saved(workbook)
    rows = b"".join(b'<row r="%d"><c r="XFD%d"><v>1</v></c></row>' % (n, n) for n in range(1, 40_000))
    head = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    return with_part(data, "xl/worksheets/sheet1.xml", head + rows + b"</sheetData></worksheet>")


def spanning_table() -> bytes:
    cells = b"<td rowspan=60000 colspan=60000>x</td>" * 200
    return b"<html><body><table>" + (b"<tr>" + cells + b"</tr>") * 200 + b"</table></body></html>"


def many_tags() -> bytes:
    return b"<html><body>" + b"<b><i>" * 60_000 + b"x"


def truncated_pdf() -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream)
    canvas.drawString(72, 720, "The gauge is read every morning.")
    canvas.save()
    return stream.getvalue()[:300]


def compound_loop() -> bytes:
    """Return a compound file whose allocation table leads back to its own start."""
    header = bytearray(512)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    struct.pack_into("<HHHHH", header, 24, 0x3E, 3, 0xFFFE, 9, 6)
    struct.pack_into("<IIIIII", header, 44, 1, 1, 0, 4096, 0xFFFFFFFE, 0)
    struct.pack_into("<II", header, 68, 0xFFFFFFFE, 0)
    struct.pack_into("<109I", header, 76, 0, *([0xFFFFFFFF] * 108))
    fat = struct.pack("<128I", 0xFFFFFFFD, *([1] * 127))
    entry = bytearray(128)
    name = "Root Entry".encode("utf-16-le")
    entry[: len(name)] = name
    struct.pack_into("<H", entry, 64, len(name) + 2)
    entry[66] = 5
    struct.pack_into("<IIII", entry, 68, 0xFFFFFFFF, 0xFFFFFFFF, 1, 0)
    return bytes(header) + fat + bytes(entry) * 4


def rtf_groups() -> bytes:
    return b"{\\rtf1 " + b"{" * 500_000 + b"x" + b"}" * 500_000 + b"}"


def front_matter_bomb() -> bytes:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
    return f"---\nl0: &l0 [ha, ha]\n{levels}---\n\nThe gauge is read every morning.\n".encode()


def picture_bomb() -> bytes:
    """Return a PNG of 40,000 by 40,000 pixels in a few hundred kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packed = zlib.compressobj(9)
    row = b"\0" * 5001
    body = b"".join(packed.compress(row * 1000) for _ in range(40)) + packed.flush()
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def codes(*names: str | None) -> frozenset[str | None]:
    return frozenset(names)


POLICY = ParsePolicy(
    timeout_seconds=30, cpu_seconds=3, memory_mb=512, max_expanded_bytes=100_000_000, max_bytes=100_000_000
)
"""Limits that every one of these files breaks or keeps within seconds."""

BROKEN = codes("timeout", "out_of_memory", "nested_too_deeply", "expands_too_far", "too_many_pages", "too_large")

HOSTILE: list[Hostile] = [
    Hostile("bomb.docx", zip_bomb, codes("expands_too_far")),
    Hostile("lying-bomb.docx", lying_zip_bomb, codes("expands_too_far", "corrupt")),
    Hostile("overlapping-bomb.docx", overlapping_zip_bomb, codes("expands_too_far")),
    Hostile("nested.zip", nested_zip, codes("unsupported_format")),
    Hostile("page.html.gz", lambda: gzip.compress(b"\0" * 100_000_000), codes("unsupported_format")),
    Hostile("escaping.epub", escaping_epub, codes("empty")),
    Hostile("repeating.epub", repeating_epub, codes(None)),
    Hostile("laughs.xml", billion_laughs, codes("xml_entities")),
    Hostile("blowup.xml", quadratic_blowup, codes("xml_entities")),
    Hostile("external.xml", external_entity, codes("xml_entities")),
    Hostile("external-utf-16.xml", lambda: external_entity("utf-16"), codes("xml_entities")),
    Hostile("laughs.docx", xml_bomb_in_docx, codes("xml_entities")),
    Hostile("laughs.odt", xml_bomb_in_odt, codes("xml_entities")),
    Hostile("deep.html", lambda: b"<html><body>" + b"<div>" * 100_000 + b"deep", codes("nested_too_deeply")),
    Hostile("deep.xml", lambda: b"<a>" * 100_000 + b"</a>" * 100_000, codes("nested_too_deeply", "corrupt")),
    Hostile("deep.json", deep_json, codes("nested_too_deeply")),
    Hostile("deep.docx", deep_docx, codes("nested_too_deeply", "corrupt", "empty")),
    Hostile("deep.eml", deep_mail, codes("nested_too_deeply")),
    Hostile("tags.html", many_tags, codes("nested_too_deeply")),
    Hostile("stub.pdf", lambda: pdf_stub(100_000), codes("too_many_pages")),
    Hostile("deflated-thrice.pdf", pdf_bomb, codes("out_of_memory", "timeout", "parser_crashed")),
    Hostile("form-loop.pdf", pdf_form_loop, codes("no_text_layer", "parser_crashed")),
    Hostile("script.pdf", pdf_with_script, codes("no_text_layer")),
    Hostile("long-line.txt", long_line, codes("too_large")),
    Hostile("rtf.rtf", rtf_groups, codes("empty", None, *BROKEN)),
    Hostile("wide.xlsx", wide_sheet, codes("out_of_memory", "timeout", None)),
    Hostile("spans.html", spanning_table, codes("out_of_memory", "timeout", None)),
    Hostile("picture.docx", picture_bomb, codes("unsupported_format")),
    Hostile("noise.pdf", lambda: base64.b85encode(bytes(range(256)) * 40), codes("corrupt", None)),
    Hostile("cut.pdf", truncated_pdf, codes("corrupt")),
    Hostile("cut.docx", lambda: word()[:9000], codes("corrupt")),
    Hostile("loop.doc", compound_loop, codes("corrupt", "unsupported_format")),
    Hostile("program.pdf", lambda: b"\x7fELF" + b"\0\1\2\3" * 2000, codes("unsupported_format", "corrupt")),
]
"""What must end in quarantine. With None among the codes the text is harmless and may be read, inside the limits."""
