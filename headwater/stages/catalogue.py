"""What the tables' columns mean, and which of them may be shown as a sample."""

from __future__ import annotations

import pyarrow as pa

_DESCRIPTIONS: dict[str, str] = {
    "id": "Identity of the row.",
    "doc_id": "Identity of the document: the same for every revision of it.",
    "fingerprint": "Hash of the input row, the stage's code version and its parameters; decides recomputation.",
    "state": "ok, or where the line ended for this row: rejected, duplicate or quarantined.",
    "reason": "Why, as a stable code.",
    "error": "What went wrong, in words; never holds document text.",
    "key": "Key of the object in the bucket.",
    "revision": "Hash of the object's bytes.",
    "size": "Size of the object in bytes.",
    "etag": "ETag that the store gave.",
    "last_modified": "When the object was last written, UTC.",
    "readers": "Groups that may read the document; * is everyone.",
    "text": "The text at this stage.",
    "elements": "Kind, page, section path and character span of every piece of the text.",
    "title": "The document's title.",
    "content_type": "Media type, by content.",
    "pages": "Number of pages, where the format has pages.",
    "parser": "What parsed it.",
    "metadata": "What else the file says of itself, as JSON.",
    "language": "ISO 639-1 code, und when unknown.",
    "language_score": "Confidence of the language, 0 to 1.",
    "characters": "Characters that are no white space.",
    "words": "Number of words.",
    "letters": "Number of letters.",
    "ascii_letters": "Number of ASCII letters.",
    "spaced_words": "Runs of word characters.",
    "mean_word_length": "Mean characters per word.",
    "symbol_word_ratio": "Hash signs and ellipses per word.",
    "alpha_word_share": "Share of words with a letter.",
    "mixed_word_share": "Share of words with letters and digits.",
    "unknown_character_share": "Share of replacement characters, left by a wrong decoding.",
    "vowel_share": "Share of vowels among ASCII letters.",
    "consonant_run_share": "Share of ASCII letters in runs of five and more consonants.",
    "top_word_share": "Share of the most frequent word.",
    "repeated_phrase_share": "Share of 5-shingles that repeat an earlier one.",
    "duplicate_line_share": "Share of characters in lines that repeat an earlier one.",
    "log_line_share": "Share of characters in log lines that repeat an earlier one but for its numbers.",
    "table_line_share": "Share of lines with as many cell separators as the line before.",
    "placeholder_share": "Share of words of the lorem ipsum vocabulary.",
    "text_hash": "Hash of the text.",
    "signature": "MinHash signature, 128 permutations, datasketch affine32.",
    "shingles": "Hashes of the word 5-shingles.",
    "paragraphs": "Hashes of the paragraphs.",
    "survivor": "The document that was kept instead of this duplicate.",
    "similarity": "Exact Jaccard of word 5-shingles with the survivor.",
    "removed_paragraphs": "Boilerplate paragraphs removed from the text.",
    "verdict": "Digest over everything that decides the row.",
    "replacements": "Number of replacements by kind of personal data, as JSON.",
    "ordinal": "Position of the chunk in its document, from 0.",
    "start": "First character of the chunk in the cleaned text.",
    "end": "Character after the last one of the chunk.",
    "section": "Path of headings above the chunk.",
    "page": "Page of the chunk, from 1.",
    "tokens": "Length in tokens of the embedding model, special tokens included.",
    "embedded": "The text that is embedded: title, section path and chunk.",
    "terms": "Number of BM25 terms.",
    "vector": "Dense vector of unit length.",
    "sparse_indices": "Term ids of the BM25 vector.",
    "sparse_values": "Term weights of the BM25 vector.",
    "release": "Number of the release.",
    "figures": "Measured figures, as JSON.",
    "questions": "Rank of the right passage by golden question, as JSON.",
}

SAMPLED: dict[str, tuple[str, ...]] = {
    "source_objects": ("key", "state", "reason", "size", "last_modified", "readers"),
    "parsed_documents": ("doc_id", "state", "reason", "content_type", "pages", "parser"),
    "quality_documents": ("doc_id", "state", "reason", "language", "words", "duplicate_line_share", "vowel_share"),
    "deduplicated_documents": ("doc_id", "state", "reason", "survivor", "similarity", "removed_paragraphs"),
    "anonymized_documents": ("doc_id", "state", "reason", "title", "replacements"),
    "chunks": ("id", "doc_id", "section", "page", "tokens", "text"),
    "embeddings": ("id", "doc_id", "state", "reason", "tokens", "start", "end"),
    "index_candidate": ("id", "doc_id", "fingerprint"),
    "retrieval_evaluation": ("release", "figures"),
    "live_release": (),
}
"""Columns shown in a sample, by stage: none with text before ``anonymized_documents``."""


def describe_columns(schema: pa.Schema) -> list[tuple[str, str, str]]:
    """Return (column, type, description) for every column of a table."""
    return [(field.name, str(field.type), _DESCRIPTIONS[field.name]) for field in schema]
