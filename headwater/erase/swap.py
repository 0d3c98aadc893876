"""Putting rewritten tables in the place of the old ones, all of them or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.erase.history import rewrite
from headwater.erase.plan import Plan
from headwater.erase.targets import clear_old, clear_targets, install, target
from headwater.erase.traces import erasable
from headwater.index.files import remove_tree
from headwater.lake_versions import delete_old_versions

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from headwater.lease import Lease


def rewrite_lake(corpus: Corpus, plan: Plan, lease: Lease) -> None:
    """Take the documents out of every table's history and tell the releases their new versions.

    Killed before all tables are written anew, nothing has changed; killed later, the rest is done by the next call.
    A reader in another process may for a moment miss a table or find another version: it has to try again.
    """
    lake = corpus.tables.folder
    if plan.step == "planned":
        _write_anew(corpus, plan)
        lease.check()
        plan.step = "swapping"
        plan.save(lake)
    if plan.step == "swapping":
        for name in plan.versions:
            lease.check()
            install(lake, name)
        corpus.ledger.set_table_versions(
            corpus.name,
            {int(release): versions for release, versions in plan.releases.items()},
            readers_versions={int(release): version for release, version in plan.readers.items()},
            lease=lease.token,
        )
        plan.step = "swapped"
        plan.save(lake)
    clear_old(lake)
    delete_old_versions(lake)
    remove_tree(corpus.tables.chunks.folder.spool)  # what a killed writer was about to commit


def _write_anew(corpus: Corpus, plan: Plan) -> None:
    lake = corpus.tables.folder
    clear_targets(lake)
    kept = [info for info in corpus.releases() if info.state != "dropped"]
    plan.versions = {}
    plan.releases = {str(info.number): {} for info in kept}
    plan.readers = {}
    for table in erasable(corpus.tables):
        pinned = {info.table_versions[table.name] for info in kept if table.name in info.table_versions}
        objects = table.name == corpus.tables.source_objects.name
        if objects:
            pinned |= {info.readers_version for info in kept if info.readers_version is not None}
        moved = rewrite(table, plan.owners, pinned, target(lake, table.name))
        plan.versions[table.name] = len(moved)
        for info in kept:
            if table.name in info.table_versions:
                plan.releases[str(info.number)][table.name] = moved[info.table_versions[table.name]]
            if objects and info.readers_version is not None:
                plan.readers[str(info.number)] = moved[info.readers_version]
