"""The proof: looking for what might be left of an erased document, wherever Headwater keeps anything."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from headwater.erase.plan import plan_file
from headwater.erase.probes import Probes, spread
from headwater.erase.records import Verification
from headwater.erase.search import Finder, files_under
from headwater.lake_folder import LakeFile, LocalFolder
from headwater.lake_reading import fetched_ahead
from headwater.lake_versions import old_versions
from headwater.restore_mark import MARK_FILE

if TYPE_CHECKING:
    from headwater.corpus import Corpus


def look_for(corpus: Corpus, probes: Probes) -> Verification:
    """Search lake, index, vector cache and ledger, and ask every release for the document's chunks."""
    project = corpus.project
    ids, hashes = spread(probes.chunk_ids), spread(probes.hashes)
    texts, data = [*probes.long, *probes.short, *ids], probes.data()
    places: list[str] = []
    found = files = size = 0
    tables = corpus.tables
    # What a killed writer was about to commit lies on this machine, in the lake's own folder if that is here.
    spool = [] if isinstance(tables.folder, LocalFolder) else [tables.chunks.folder.spool]
    searched: tuple[tuple[Iterable[LakeFile], Finder], ...] = (
        (tables.folder.files(), Finder(texts, data)),
        (files_under(spool), Finder(texts, data)),
        (files_under([project.index_path(corpus.name)]), Finder([*texts, probes.doc_id, *probes.attached], data)),
        (files_under([project.cache_path() / "embeddings"]), Finder([*probes.long, *hashes], data)),
        (files_under(corpus.ledger.files()), Finder(probes.long)),
    )
    own = (plan_file(probes.doc_id), MARK_FILE)  # a restore's mark has keys, as the ledger has
    for there, finder in searched:
        for file in fetched_ahead(file for file in there if not str(file).endswith(own)):
            hits, length = finder.in_file(file)
            files, size, found = files + 1, size + length, found + len(hits)
            if hits:
                places.append(_place(file, project.home))
    if old := old_versions(tables.folder):
        found += len(old)
        places.append(f"{len(old)} old versions of objects in the lake's bucket")
    rows = Finder(probes.long)
    for table, values in corpus.ledger.texts():
        if hits := rows.in_texts(pl.Series(values, dtype=pl.String)):
            found += len(hits)
            places.append(f"ledger table {table}")
    for release, left in points_held(corpus, probes.chunk_ids).items():
        if left:
            found += left
            places.append(f"release {release}")
    pieces = len(texts) + len(data) + len(hashes) + len(probes.attached) + 1
    return Verification(pieces, files, size, found, tuple(dict.fromkeys(places)))


def points_held(corpus: Corpus, chunk_ids: list[str]) -> dict[int, int]:
    """Return how many of the chunks each sealed release holds."""
    held = {}
    for release in corpus.engine.releases():
        with closing(corpus.engine.open(release)) as searcher:
            held[release] = len(searcher.retrieve(chunk_ids)) if chunk_ids else 0
    return held


def _place(file: LakeFile, home: Path) -> str:
    if not isinstance(file, Path):
        return str(file)
    return str(file.relative_to(home)) if file.is_relative_to(home) else file.name
