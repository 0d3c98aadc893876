"""What the codes of parse errors mean for the owner of a file, and what to do about them."""

from __future__ import annotations

REASONS: dict[str, tuple[str, str]] = {
    "parse_failed": (
        "The file could not be read as what it seems to be.",
        "Open it and save it anew, or export it as PDF, HTML or plain text.",
    ),
    "unsupported_format": (
        "Files of this kind are not supported.",
        "Save it as PDF, HTML, Markdown, text, an Office or OpenDocument file, or a mail; unpack archives. "
        "The text of pictures is read only where text recognition (parse.ocr) is on.",
    ),
    "corrupt": ("The file is damaged.", "Upload it again from the original, or save it anew."),
    "encrypted": (
        "The file is protected by a password that is not known here.",
        "Upload a copy without a password, or have the password added (parse.passwords).",
    ),
    "xml_entities": (
        "The file defines abbreviations (XML entities) that could be used to fill the memory or to read other files.",
        "Save it anew with the program it comes from; genuine documents need none.",
    ),
    "forbidden": (
        "The file made its parser try to reach the network, start a program or write a file. It was stopped.",
        "Have somebody look at where the file comes from before uploading it again.",
    ),
    "ocr_missing": (
        "The file needs text recognition (OCR), which is not installed here.",
        "Ask for Tesseract and the file's language to be installed, or upload a file with text.",
    ),
    "too_many_attachments": (
        "The mail has more attachments than are accepted.",
        "Upload the attachments as files of their own.",
    ),
    "empty": ("The file has no text.", "Nothing to do, unless it should have text: then upload it again."),
    "no_text_layer": (
        "The pages are pictures: there is no text in the PDF.",
        "Run text recognition (OCR) over it, and upload the result.",
    ),
    "limit_exceeded": ("The file breaks a limit.", "Split it, or ask for a higher limit."),
    "too_many_pages": (
        "The file has more pages than are accepted.",
        "Split it, or ask for a higher limit (parse.max_pages).",
    ),
    "expands_too_far": (
        "The file is packed so tightly that unpacking it is not safe.",
        "Save it anew; a genuine document of that size can be split.",
    ),
    "nested_too_deeply": (
        "The file's structure is nested too deeply to be read safely.",
        "Save it anew in a simpler format.",
    ),
    "parser_crashed": (
        "The file made the parser crash.",
        "Save it anew with another program, and upload it again.",
    ),
}
