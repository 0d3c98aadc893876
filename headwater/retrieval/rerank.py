"""The best results ordered anew by a cross-encoder, which reads query and passage together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from headwater.embedding.devices import resolve_devices
from headwater.errors import ConfigError
from headwater.index.contract import Hit
from headwater.index.fusion import rank


class Reranker:
    """A loaded cross-encoder. Safe to use from several threads: one pass at a time.

    Raises ConfigError when ``folder`` holds none.
    """

    def __init__(self, folder: str, device: str = "auto") -> None:
        from sentence_transformers import CrossEncoder

        if not (Path(folder).expanduser() / "config.json").is_file():
            raise ConfigError(
                f"retrieval.rerank_model: there is no model in {folder!r}; give the folder of a CrossEncoder"
            )
        try:
            self._model: Any = CrossEncoder(
                str(Path(folder).expanduser()), device=resolve_devices(device)[0], local_files_only=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"retrieval.rerank_model: {folder!r} can't be loaded as a CrossEncoder ({type(error).__name__})"
            ) from error
        labels = getattr(self._model, "num_labels", 1)
        if labels != 1:
            raise ConfigError(f"retrieval.rerank_model: {folder!r} gives {labels} scores per pair, not one")
        self._lock = threading.Lock()  # a fast tokenizer can't be shared while it pads

    def scores(self, query: str, texts: Sequence[str], batch: int) -> list[float]:
        """Return how well each text answers the query: any numbers, higher is better."""
        with self._lock:
            found = self._model.predict([(query, text) for text in texts], batch_size=batch, show_progress_bar=False)
        return [float(score) for score in found]


@lru_cache(maxsize=2)
def open_reranker(folder: str, device: str) -> Reranker:
    """Return the model of a folder, one per process."""
    return Reranker(folder, device)


def reranked(hits: Sequence[Hit], query: str, model: Reranker, batch: int) -> list[tuple[Hit, float]]:
    """Return ``hits`` with their new scores, best first, ties by id. A passage is read under its title, section and
    table header.
    """
    if not hits:
        return []
    scores = model.scores(query, [_read(hit) for hit in hits], batch)
    by_id = {hit.chunk_id: hit for hit in hits}
    ids, ordered = rank([hit.chunk_id for hit in hits], scores)
    return [(by_id[one], score) for one, score in zip(ids, ordered, strict=True)]


def _read(hit: Hit) -> str:
    title, section = hit.payload.get("title") or "", hit.payload.get("section") or ()
    line = " > ".join(dict.fromkeys(part for part in (title, *section) if part))
    return "\n".join(part for part in (line, hit.payload.get("table_header"), hit.payload["text"]) if part)
