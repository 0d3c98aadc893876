"""What must be the same on every machine of a cluster for their rows to be the same: code, libraries, secrets, folders.

Fingerprints say what a row was made from, and trust that the same code makes the same row. A worker with another version
of a library would break that unnoticed, so each one compares itself with the run before its first batch.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import headwater
from headwater.errors import ConfigError
from headwater.hashing import digest, digest_bytes

_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
_ADVICE = "Start the workers from the image or environment that the run uses."


@dataclass(frozen=True, slots=True)
class Installation:
    """How one machine is set up.

    ``code`` is a hash of the package's files, ``versions`` those of the libraries that it requires, ``secrets`` a salted
    hash of each environment variable that documents are opened or keyed with (None where it is not set; the value never
    leaves the machine), and ``folder`` the corpus' source folder where that is no bucket.
    """

    code: str
    versions: Mapping[str, str | None]
    salt: bytes
    secrets: Mapping[str, str | None]
    folder: str | None


def installation(secret_names: Iterable[str], folder: str | None) -> Installation:
    """Return how this machine is set up; ``secret_names`` are of environment variables."""
    salt = secrets.token_bytes(16)
    return Installation(_code(), _versions(), salt, {name: _hashed(name, salt) for name in secret_names}, folder)


def check_same(expected: Installation) -> None:
    """Compare this machine with that of the run; ConfigError says what is not the same and what to do."""
    if _code() != expected.code:
        raise ConfigError(f"its headwater package is not the code that the run uses. {_ADVICE}")
    here = _versions()
    for name, version in expected.versions.items():
        if here.get(name) != version:
            found = here.get(name) or "not installed"
            raise ConfigError(f"{name} is {found}, but {version or 'not installed'} where the run is. {_ADVICE}")
    for name, hashed in expected.secrets.items():
        if _hashed(name, expected.salt) != hashed:
            raise ConfigError(
                f"the environment variable {name} is not what it is where the run is (or one of them has none). "
                "Give the workers the same secrets."
            )
    if expected.folder is not None and not Path(expected.folder).is_dir():
        raise ConfigError(
            f"source.uri is the folder {expected.folder}, which is not there. Mount it on every node under that path, or "
            "use a bucket."
        )


@cache
def _code() -> str:
    root = Path(headwater.__file__).parent
    files = sorted(
        file.relative_to(root).as_posix()
        for file in root.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    )
    return digest(*(part for name in files for part in (name, digest_bytes((root / name).read_bytes()))))


@cache
def _versions() -> Mapping[str, str | None]:
    """Return the public versions (builds of torch for a CPU and for CUDA share theirs) of what headwater requires."""
    try:
        requirements = metadata.requires("headwater") or []
    except metadata.PackageNotFoundError:  # it runs from a folder; its code is compared all the same
        requirements = []
    versions: dict[str, str | None] = {"python": ".".join(platform.python_version_tuple()[:2])}
    for requirement in requirements:
        name = _REQUIREMENT.match(requirement)
        if name is None or "extra ==" in requirement:
            continue
        try:
            versions[name[0]] = metadata.version(name[0]).partition("+")[0]
        except metadata.PackageNotFoundError:
            versions[name[0]] = None
    return versions


def _hashed(name: str, salt: bytes) -> str | None:
    """Return a hash of an environment variable's value that is costly to guess the value from (scrypt, RFC 7914)."""
    value = os.environ.get(name)
    return hashlib.scrypt(value.encode(), salt=salt, n=2**14, r=8, p=1).hex() if value else None
