"""Which spaCy pipeline finds names and places: looked up without importing spaCy, and never downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from headwater.errors import ConfigError

# In order of preference; spaCy publishes these for English (https://spacy.io/models/en).
DEFAULT_MODELS = {"en": ("en_core_web_lg", "en_core_web_md", "en_core_web_sm")}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """An installed spaCy pipeline: what ``spacy.load`` takes, and name with version for people."""

    name: str
    label: str


def find_pipeline(language: str, model: str | None) -> Pipeline | None:
    """Return the configured pipeline, else the best installed default of the language, else None (patterns only).

    ``model`` is an installed package or a folder. Raises ``ConfigError`` when it is neither.
    """
    if model is not None:
        found = _folder(model) or _package(model)
        if found is None:
            raise ConfigError(
                f"privacy.spacy_model: {model!r} is neither an installed package nor a folder with a spaCy pipeline. "
                "Install it with pip, or leave the field out. Headwater downloads no models."
            )
        return found
    return next(filter(None, map(_package, DEFAULT_MODELS.get(language, ()))), None)


def _folder(model: str) -> Pipeline | None:
    meta = Path(model) / "meta.json"
    if not meta.is_file():
        return None
    described = json.loads(meta.read_text(encoding="utf-8"))
    return Pipeline(model, f"{described.get('lang')}_{described.get('name')} {described.get('version')}")


def _package(model: str) -> Pipeline | None:
    if not model.isidentifier() or util.find_spec(model) is None:
        return None
    try:
        return Pipeline(model, f"{model} {metadata.version(model)}")
    except metadata.PackageNotFoundError:
        return None
