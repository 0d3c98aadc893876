"""Two ledgers must not share a lake: each would delete files that the other one's releases need.

A ledger on a server is shared by all machines. One in a file belongs to one home, so the first home that writes a lake
outside itself, in a bucket or a shared folder, leaves its mark there, and others are refused.
"""

from __future__ import annotations

import uuid

from headwater.errors import ConfigError
from headwater.lake_folder import LakeFolder, LocalFolder
from headwater.project import Project

OWNER_FILE = ".owner"
HOME_FILE = "lake-owner"


def check_owner(lake: LakeFolder, project: Project) -> None:
    """Raise ConfigError when a corpus' lake outside the home is written with another ledger than this home's file."""
    if _in_home(lake, project) or not project.ledger_url.startswith("sqlite"):
        return
    home = LocalFolder(project.home)
    if not home.exists(HOME_FILE):
        home.create(HOME_FILE, uuid.uuid4().hex.encode())
    mine = home.read(HOME_FILE)
    unmarked = ""
    try:
        owner = lake.read(OWNER_FILE)
    except FileNotFoundError:
        if lake.child("source_objects").is_table():
            owner = b""
            unmarked = f" If it is this home's own, copy {home.path / HOME_FILE} to {lake.uri}/{OWNER_FILE}."
        else:
            lake.create(OWNER_FILE, mine)  # of two homes at once, one
            owner = lake.read(OWNER_FILE)
    if owner != mine:
        raise ConfigError(
            f"The lake {lake.uri} is written with another ledger than {project.ledger_url}. Set HEADWATER_LEDGER_URL "
            "to the PostgreSQL database that its machines share, or HEADWATER_LAKE to a place of its own. If that ledger "
            f"is lost, delete the folder {lake.uri} and reindex.{unmarked}"
        )


def _in_home(lake: LakeFolder, project: Project) -> bool:
    return isinstance(lake, LocalFolder) and lake.path.resolve().is_relative_to(project.home.resolve())
