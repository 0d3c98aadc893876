"""Models of names that a policy may choose: looked up without importing spaCy or transformers, never downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from headwater.errors import ConfigError
from headwater.hashing import digest, digest_file


@dataclass(frozen=True, slots=True)
class Pipeline:
    """An installed model: what the library loads, and name with version for people and fingerprints."""

    name: str
    label: str


def find_pipeline(model: str) -> Pipeline:
    """Return a spaCy pipeline: an installed package or a folder. Raises ``ConfigError`` when it is neither."""
    found = _folder(model) or _package(model)
    if found is None:
        raise ConfigError(
            f"privacy.spacy_model: {model!r} is neither an installed package nor a folder with a spaCy pipeline. "
            "Install it with pip, or leave the field out. Headwater downloads no models."
        )
    return found


def find_transformer(model: str) -> Pipeline:
    """Return a Hugging Face model in a folder. Raises ``ConfigError`` when there is none."""
    config = Path(model) / "config.json"
    if not config.is_file():
        raise ConfigError(
            f"privacy.transformers_model: there is no folder {model!r} with a Hugging Face model (config.json). "
            "Put one there, or leave the field out. Headwater downloads no models."
        )
    return Pipeline(model, f"{Path(model).name} {_content(Path(model))}")


def _folder(model: str) -> Pipeline | None:
    meta = Path(model) / "meta.json"
    if not meta.is_file():
        return None
    described = json.loads(meta.read_text(encoding="utf-8"))
    name = f"{described.get('lang')}_{described.get('name')} {described.get('version')}"
    return Pipeline(model, f"{name} {_content(Path(model))}")


def _content(folder: Path) -> str:
    """Return a digest of all files of a model: a model trained again may keep its name and version."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest(*((path.relative_to(folder).as_posix(), digest_file(path)) for path in files))[:12]


def _package(model: str) -> Pipeline | None:
    if not model.isidentifier() or util.find_spec(model) is None:
        return None
    try:
        return Pipeline(model, f"{model} {metadata.version(model)}")
    except metadata.PackageNotFoundError:
        return None
