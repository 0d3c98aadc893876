"""Word, PowerPoint and Excel files of 1997 to 2003 (MS-DOC, MS-PPT, MS-XLS): their text, without any Office program."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headwater.errors import CorruptDocument, EncryptedDocument, ParseError
from headwater.parsing.blocks import Block
from headwater.parsing.limits import too_many_pages
from headwater.parsing.metadata import date_of, people_of, words_of
from headwater.parsing.office import is_default_sheet, region_blocks
from headwater.parsing.partition import classify
from headwater.parsing.plain import plain_blocks
from headwater.parsing.tables import markdown_table
from headwater.policies import ParsePolicy

Read = tuple[list[Block], dict[str, Any]]

_FIELD_CODE = re.compile(r"\x13[^\x13\x14\x15]*(?:\x14|(?=\x15))")
_WORD_97 = 0x00C1  # nFib of Word 97; what is older has no piece table at this place
_CONTAINER = 0x0F
_TITLES = (0, 6)  # TextTypeEnum: title, centred title
_MAX_RECORDS = 2_000_000
_MAX_EDITS = 1000


@contextmanager
def _compound(data: bytes) -> Iterator[Any]:
    import olefile  # type: ignore[import-untyped]

    try:
        with olefile.OleFileIO(io.BytesIO(data)) as compound:
            yield compound
    except (ParseError, MemoryError, RecursionError):
        raise
    except Exception as error:  # olefile raises anything on broken tables; struct.error and IndexError are ours
        raise CorruptDocument(
            f"a part of the document can't be read ({type(error).__name__}); save it again"
        ) from error


def _stated(compound: Any) -> dict[str, Any]:
    from headwater.parsing.decode import decode

    def text(value: object) -> str:
        return (decode(value).text if isinstance(value, bytes) else str(value or "")).strip("\0 ")

    stated = compound.get_metadata()
    fields = {
        "title": text(stated.title),
        "authors": people_of(text(stated.author)),
        "date": date_of(stated.create_time),
        "modified": date_of(stated.last_saved_time),
        "keywords": words_of(text(stated.keywords)),
    }
    return {key: value for key, value in fields.items() if value}


def doc_blocks(data: bytes, policy: ParsePolicy) -> Read:
    """Return the text of a Word document: the main text, foot- and endnotes and text boxes; tables as rows.

    Headings are told as in plain text.

    Raises:
        EncryptedDocument: it has a password.
        CorruptDocument: the piece table can't be read.
    """
    with _compound(data) as compound:
        main = compound.openstream("WordDocument").read()
        flags = struct.unpack_from("<H", main, 0x0A)[0]
        if flags & 0x0100:
            raise EncryptedDocument("the Word document needs a password; store a copy without one")
        name = "1Table" if flags & 0x0200 else "0Table"
        table = compound.openstream(name).read() if compound.exists(name) else b""
        return list(_doc_paragraphs(_doc_text(main, table))), _stated(compound)


def _doc_text(main: bytes, table: bytes) -> str:
    """MS-DOC 2.4.1: the pieces of the text, by way of the FIB and the Clx."""
    if struct.unpack_from("<H", main, 2)[0] < _WORD_97 or not table:
        start, end = struct.unpack_from("<II", main, 0x18)
        return main[start:end].decode("cp1252", "replace")
    start, size = struct.unpack_from("<II", main, 0x01A2)
    clx = table[start : start + size]
    position = 0
    while clx[position] == 1:  # Prc: formatting
        position += 3 + struct.unpack_from("<H", clx, position + 1)[0]
    length = struct.unpack_from("<I", clx, position + 1)[0]
    pieces = clx[position + 5 : position + 5 + length]
    count = (len(pieces) - 4) // 12
    bounds = struct.unpack_from(f"<{count + 1}I", pieces)
    text: list[str] = []
    for index in range(count):
        place = struct.unpack_from("<I", pieces, 4 * (count + 1) + 8 * index + 2)[0]
        size = max(bounds[index + 1] - bounds[index], 0)
        if place & 0x40000000:
            offset = (place & 0x3FFFFFFF) // 2
            text.append(main[offset : offset + size].decode("cp1252", "replace"))
        else:
            text.append(main[place : place + 2 * size].decode("utf-16-le", "replace"))
    whole = "".join(text)
    body, footnotes, headers, _, comments, endnotes, boxes = struct.unpack_from("<7I", main, 0x4C)
    notes_end = body + footnotes
    later = notes_end + headers + comments
    return whole[:notes_end] + "\r" + whole[later : later + endnotes + boxes]


def _doc_paragraphs(text: str) -> Iterator[Block]:
    while _FIELD_CODE.search(text):  # fields nest; what they show is kept
        text = _FIELD_CODE.sub("", text)
    text = re.sub("[\x01-\x06\x08\x13-\x15\x1f]", "", text).replace("\x1e", "-").replace("\x0c", "\r")
    rows: list[list[str]] = []
    plain: list[str] = []
    for paragraph in text.replace("\x0b", "\n").split("\r"):
        *cells, rest = paragraph.split("\x07")
        if cells:
            yield from plain_blocks("\n\n".join(plain))
            plain = []
            # A row ends with a mark of its own: two in a row.
            for row in "\x07".join(cells).split("\x07\x07"):
                rows.append(row.split("\x07"))
        if rest.strip():
            if rows:
                yield Block("Table", markdown_table(rows))
                rows = []
            plain.append(rest)
    if rows:
        yield Block("Table", markdown_table(rows))
    yield from plain_blocks("\n\n".join(plain))


def ppt_blocks(data: bytes, policy: ParsePolicy) -> Read:
    """Return the text of a presentation: a page per slide, its title as section, speaker notes included.

    Raises:
        CorruptDocument: the slides can't be found.
        ParseLimitExceeded: more slides than ``policy.max_pages``.
    """
    with _compound(data) as compound:
        stream = compound.openstream("PowerPoint Document").read()
        current = compound.openstream("Current User").read()
        blocks, slides = _slides(stream, struct.unpack_from("<I", current, 16)[0], policy)
        return blocks, {**_stated(compound), "pages": slides}


def _slides(stream: bytes, edit: int, policy: ParsePolicy) -> tuple[list[Block], int]:
    places, document = _persisted(stream, edit)
    lists: dict[int, list[tuple[int, int, list[tuple[int, str]]]]] = {}
    for instance, kind, start, end in _records(stream, places[document], 1):
        if kind == 0x0FF0:  # SlideListWithText: 0 slides, 1 masters, 2 notes
            lists[instance] = _listed(stream, start, end)
    slides = lists.get(0, [])
    if len(slides) > policy.max_pages:
        raise too_many_pages(len(slides), policy)
    notes: dict[int, list[str]] = {}
    for reference, _, _ in lists.get(2, []):
        if reference in places:
            owner, texts = _own_texts(stream, places[reference], 0x03F1)
            notes.setdefault(owner, []).extend(text for kind, text in texts if kind == 2)
    blocks: list[Block] = []
    for number, (reference, identity, outline) in enumerate(slides, start=1):
        texts = [*outline, *(_own_texts(stream, places[reference], 0)[1] if reference in places else [])]
        title = next((" ".join(text.split()) for kind, text in texts if kind in _TITLES and text.strip()), "")
        section = (title,) if title else ()
        for kind, text in [*texts, *((-1, note) for note in notes.get(identity, []))]:
            if kind in _TITLES and " ".join(text.split()) == title:
                blocks.append(Block("Title", title, number, 0, section))
                continue
            blocks.extend(
                Block(classify(line), line, number, section=section)
                for line in re.split("[\r\n]+", text)
                if line.strip()
            )
    return blocks, len(slides)


def _persisted(stream: bytes, edit: int) -> tuple[dict[int, int], int]:
    """MS-PPT 2.1.2: the places of the objects in use, the latest edit first, and which one is the document."""
    places: dict[int, int] = {}
    document = 0
    for _ in range(_MAX_EDITS):
        previous, directory, reference = struct.unpack_from("<III", stream, edit + 16)
        document = document or reference
        size = struct.unpack_from("<I", stream, directory + 4)[0]
        position, end = directory + 8, min(directory + 8 + size, len(stream))
        while position + 4 <= end:
            head = struct.unpack_from("<I", stream, position)[0]
            first, count = head & 0xFFFFF, head >> 20
            for index, place in enumerate(struct.unpack_from(f"<{count}I", stream, position + 4)):
                places.setdefault(first + index, place)
            position += 4 + 4 * count
        if not previous or previous >= edit:
            break
        edit = previous
    return places, document


def _records(stream: bytes, place: int, depth: int = 64) -> Iterator[tuple[int, int, int, int]]:
    """Yield (instance, type, start, end) of the records in the container at ``place``, ``depth`` levels down."""
    size = struct.unpack_from("<I", stream, place + 4)[0]
    ends = [min(place + 8 + size, len(stream))]
    position = place + 8
    for _ in range(_MAX_RECORDS):
        while ends and position + 8 > ends[-1]:
            position = ends.pop()
        if not ends:
            return
        head, kind, size = struct.unpack_from("<HHI", stream, position)
        start, end = position + 8, min(position + 8 + size, ends[-1])
        yield head >> 4, kind, start, end
        if head & 0x0F == _CONTAINER and len(ends) < depth:
            ends.append(end)
            position = start
        else:
            position = end


def _listed(stream: bytes, start: int, end: int) -> list[tuple[int, int, list[tuple[int, str]]]]:
    """Return (reference, slide id, texts) of every entry of a SlideListWithText."""
    entries: list[tuple[int, int, list[tuple[int, str]]]] = []
    text_type = -1
    for _, kind, first, last in _records(stream, start - 8):
        if kind == 0x03F3:  # SlidePersistAtom
            reference, _, _, identity = struct.unpack_from("<IIII", stream, first)
            entries.append((reference, identity, []))
        elif kind == 0x0F9F:
            text_type = struct.unpack_from("<I", stream, first)[0]
        elif entries and (text := _text(stream, kind, first, last)) is not None:
            entries[-1][2].append((text_type, text))
    return entries


def _own_texts(stream: bytes, place: int, owner_atom: int) -> tuple[int, list[tuple[int, str]]]:
    """Return the texts that a slide or notes page holds itself, and the slide id in its ``owner_atom``."""
    owner, text_type = 0, -1
    texts: list[tuple[int, str]] = []
    for _, kind, start, end in _records(stream, place):
        if owner_atom and kind == owner_atom:
            owner = struct.unpack_from("<I", stream, start)[0]
        elif kind == 0x0F9F:
            text_type = struct.unpack_from("<I", stream, start)[0]
        elif (text := _text(stream, kind, start, end)) is not None:
            texts.append((text_type, text))
    return owner, texts


def _text(stream: bytes, kind: int, start: int, end: int) -> str | None:
    if kind == 0x0FA0:  # TextCharsAtom
        return stream[start:end].decode("utf-16-le", "replace").replace("\x0b", "\n")
    if kind == 0x0FA8:  # TextBytesAtom
        return stream[start:end].decode("latin-1").replace("\x0b", "\n")
    return None


def xls_blocks(data: bytes, policy: ParsePolicy) -> Read:
    """Return a workbook's blocks as for an Excel workbook of today, with xlrd.

    Raises:
        EncryptedDocument: it has a password.
        CorruptDocument: xlrd can't read it.
        ParseLimitExceeded: more sheets than ``policy.max_pages``.
    """
    import xlrd  # type: ignore[import-untyped]

    try:
        book = xlrd.open_workbook(file_contents=data, on_demand=True, logfile=io.StringIO())
    except xlrd.XLRDError as error:
        if "encrypted" in str(error).lower():
            raise EncryptedDocument("the workbook needs a password; store a copy without one") from None
        raise CorruptDocument("the workbook can't be read; save it again") from None
    if book.nsheets > policy.max_pages:
        raise too_many_pages(book.nsheets, policy)
    blocks: list[Block] = []
    notes: list[str] = []
    for index in range(book.nsheets):
        sheet = book.sheet_by_index(index)
        if sheet.visibility:
            notes.append(f"sheet {index + 1} is hidden and was left out")
            continue
        section = (sheet.name,)
        rows = ([_xls_cell(cell, book.datemode) for cell in sheet.row(row)] for row in range(sheet.nrows))
        found = list(region_blocks(rows, index + 1, section))
        if found and (book.nsheets > 1 or not is_default_sheet(sheet.name)):
            blocks.append(Block("Title", sheet.name, index + 1, 0, section))
        blocks.extend(found)
        book.unload_sheet(index)
    with _compound(data) as compound:
        return blocks, {**_stated(compound), "pages": book.nsheets, "notes": notes}


def _xls_cell(cell: Any, datemode: int) -> Any:
    import xlrd

    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            return xlrd.xldate_as_datetime(cell.value, datemode)
        except (xlrd.XLDateError, OverflowError, ValueError):
            return cell.value
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return bool(cell.value)
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return xlrd.error_text_from_code.get(cell.value, "")
    return cell.value
