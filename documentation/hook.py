"""MkDocs' hook: adds the pages made from the code to those of ``docs/``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

# MkDocs loads a hook by its path, so the checkout need not be where Python looks for modules.
ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from documentation.assets import assets_page  # noqa: E402
from documentation.commands import commands_page  # noqa: E402
from documentation.corpus_file import corpus_page, project_page  # noqa: E402
from documentation.environment import environment_page  # noqa: E402
from documentation.http_api import http_page  # noqa: E402
from documentation.metrics import metrics_page  # noqa: E402
from documentation.surface import surface_page  # noqa: E402

PAGES: dict[str, Callable[[], str]] = {
    "reference/assets.md": assets_page,
    "reference/commands.md": commands_page,
    "reference/corpus.md": corpus_page,
    "reference/environment.md": environment_page,
    "reference/http.md": http_page,
    "reference/metrics.md": metrics_page,
    "reference/project.md": project_page,
    "reference/python.md": surface_page,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference."""
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    return files
