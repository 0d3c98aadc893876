"""Where things are: the one place that knows a path.

A project is a folder that holds ``assets/`` (one sub-folder per corpus) beside ``workspace.yaml``. What
Headwater makes lives under the project's home, ``.headwater/`` unless ``HEADWATER_HOME`` says otherwise.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from headwater.aws import is_s3
from headwater.errors import ConfigError, NotFoundError
from headwater.lake_folder import LakeFolder, LocalFolder, RemoteFolder

CORPUS_FILE = "defs.yaml"
SETTINGS_FILE = "headwater.yaml"
CORPUS_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Project:
    """One project folder and its home."""

    root: Path
    home: Path

    def corpus_names(self) -> list[str]:
        """Return the names of all corpora that have a ``defs.yaml``, sorted."""
        folder = self.root / "assets"
        return sorted(path.parent.name for path in folder.glob(f"*/{CORPUS_FILE}"))

    def corpus_file(self, name: str) -> Path:
        """Return the path of a corpus' configuration; NotFoundError names the corpora that exist."""
        path = self.root / "assets" / name / CORPUS_FILE
        if not path.is_file():
            known = ", ".join(self.corpus_names()) or "none yet"
            raise NotFoundError(
                f"There is no corpus {name!r} in {self.root / 'assets'} (there: {known}). "
                f"Make one with: headwater corpus add {name} --uri FOLDER_OR_BUCKET"
            )
        return path

    def make_home(self) -> Path:
        """Return the home, made if it is missing; ConfigError when it can't be."""
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"The project's home {self.home} can't be made ({error.strerror}). Choose another one with HEADWATER_HOME."
            ) from error
        return self.home

    @property
    def settings_file(self) -> Path:
        """The path of what is configured for all corpora together; it need not exist."""
        return self.root / SETTINGS_FILE

    def lake_path(self, corpus: str) -> Path:
        """Return the folder of this machine for a corpus' lock and, unless ``HEADWATER_LAKE`` is set, stage tables."""
        return self.home / "lake" / corpus

    @property
    def lake_place(self) -> str:
        """Where the lakes of all corpora are: ``HEADWATER_LAKE`` (s3://bucket/prefix or a folder), or in the home."""
        return os.environ.get("HEADWATER_LAKE") or str(self.home / "lake")

    def lakes(self) -> LakeFolder:
        """Return the folder that holds a folder of stage tables per corpus.

        Raises ConfigError for a ``HEADWATER_LAKE`` that is neither a folder nor an S3 URI with a bucket.
        """
        parts = urlsplit(self.lake_place)
        if not parts.scheme:
            return LocalFolder(Path(self.lake_place).expanduser().resolve())
        if not is_s3(self.lake_place) or not parts.netloc or parts.query or parts.fragment:
            raise ConfigError("HEADWATER_LAKE can't be used: write s3://bucket/prefix, or the path of a folder.")
        path = parts.path.strip("/")
        return RemoteFolder(f"s3://{parts.netloc}/{path}" if path else f"s3://{parts.netloc}", self.home / "lake")

    def lake(self, corpus: str) -> LakeFolder:
        """Return the folder of a corpus' stage tables. Raises ConfigError like :meth:`lakes`."""
        root = self.lakes()
        if isinstance(root, RemoteFolder):
            return RemoteFolder(f"{root.uri}/{corpus}", self.lake_path(corpus) / ".spool")
        return root.child(corpus)

    def index_path(self, corpus: str) -> Path:
        """Return the folder of a corpus' embedded releases."""
        return self.home / "index" / corpus

    def cache_path(self) -> Path:
        """Return the folder of caches, which may be deleted at any time at the price of work."""
        return self.home / "cache"

    @property
    def ledger_url(self) -> str:
        """The ledger's database: ``HEADWATER_LEDGER_URL``, or a SQLite file in the home."""
        return os.environ.get("HEADWATER_LEDGER_URL") or f"sqlite:///{self.home / 'ledger.db'}"


def check_corpus_name(name: str) -> str:
    """Return ``name`` if it can name a corpus: lower-case letters, digits and underscores, a letter first."""
    if not CORPUS_NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} can't name a corpus: use lower-case letters, digits and underscores, starting with a letter."
        )
    return name


def project_at(root: Path) -> Project:
    """Return the project whose folder is ``root``, without checking that it is one."""
    root = root.resolve()
    home = os.environ.get("HEADWATER_HOME")
    return Project(root=root, home=Path(home).expanduser().resolve() if home else root / ".headwater")


def find_project(start: Path | None = None) -> Project:
    """Return the project at or above ``start`` (default: the working directory).

    ``HEADWATER_PROJECT`` overrides the search. Raises NotFoundError when there is none, and ConfigError when the
    variable names no folder.
    """
    override = os.environ.get("HEADWATER_PROJECT")
    if start is None and override:
        folder = Path(override).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"HEADWATER_PROJECT is {override}, and there is no such folder.")
        return project_at(folder)
    first = (start or Path.cwd()).resolve()
    for folder in (first, *first.parents):
        if (folder / "assets").is_dir() and (folder / "workspace.yaml").is_file():
            return project_at(folder)
    raise NotFoundError(
        f"{first} is not inside a Headwater project (a folder with assets/ and workspace.yaml). "
        "Go to one, set HEADWATER_PROJECT, or make one with: headwater init DIR"
    )
