"""Making a project and its corpora on disk: what ``headwater init`` and ``headwater corpus add`` write."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from headwater.config import load_corpus_file, scaffold_corpus
from headwater.errors import ConfigError
from headwater.project import CORPUS_FILE, Project, check_corpus_name, project_at

WORKSPACE_FILE = "workspace.yaml"
INSTANCE_FILE = "dagster.yaml"

_WORKSPACE = """\
# Where Dagster finds the code of this project: Headwater's definitions module, which reads assets/*/defs.yaml of
# the project that HEADWATER_PROJECT names. `headwater up` sets the variable; set it yourself to start Dagster alone.
load_from:
  - python_module:
      module_name: definitions
{directory}      location_name: headwater
"""
_IGNORED = ".headwater/\n.env\n"


def code_folder() -> Path | None:
    """Return the folder of Headwater's Dagster code (a checkout, or an image's), None in a library-only install."""
    spec = find_spec("definitions")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).resolve().parent
    return folder if (folder / "assets" / "corpus.py").is_file() else None


def make_project(folder: Path) -> Project:
    """Make an empty project in ``folder`` and return it; files that exist already are left as they are.

    Raises ConfigError when the folder is a project, or can't be one.
    """
    folder = folder.expanduser()
    if (folder / WORKSPACE_FILE).exists():
        raise ConfigError(f"{folder} is a project already: it has a {WORKSPACE_FILE}.")
    code = code_folder()
    directory = f"      working_directory: {code}\n" if code else ""
    files = {WORKSPACE_FILE: _WORKSPACE.format(directory=directory), ".gitignore": _IGNORED}
    if code and (code / INSTANCE_FILE).is_file():
        files[INSTANCE_FILE] = (code / INSTANCE_FILE).read_text(encoding="utf-8")
    try:
        (folder / "assets").mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            if not (folder / name).exists():
                (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: a project can't be made here ({error.strerror}).") from error
    return project_at(folder)


def add_corpus(project: Project, name: str, uri: str, description: str = "") -> Path:
    """Write ``assets/<name>/defs.yaml`` for the documents at ``uri`` and return its path.

    A folder is taken relative to the working directory; it is written relative to the file when it lies inside
    the project, so that a project can be moved, and absolute otherwise. Raises ConfigError for a name that can't
    be used, a corpus that exists, and a folder that does not.
    """
    path = project.root / "assets" / check_corpus_name(name) / CORPUS_FILE
    if path.exists():
        raise ConfigError(f"There is a corpus {name!r} already. Change {path}, or choose another name.")
    stored = _stored_uri(uri, project.root, path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(scaffold_corpus(stored, description), encoding="utf-8")
    try:
        load_corpus_file(path)
    except ConfigError:
        path.unlink()
        raise
    return path


def _stored_uri(uri: str, root: Path, folder: Path) -> str:
    """Return what to write into a ``defs.yaml`` in ``folder`` for the ``uri`` that was typed."""
    if "{{" in uri or ("://" in uri and not uri.startswith("file://")):
        return uri  # a template or a bucket: looked at when it is listed
    typed = unquote(urlsplit(uri).path) if uri.startswith("file://") else uri
    documents = Path(typed).expanduser().resolve()
    if not documents.is_dir():
        raise ConfigError(f"{documents} is not a folder. Make it first, or check --uri.")
    if documents.is_relative_to(root):
        return Path(os.path.relpath(documents, folder)).as_posix()
    return str(documents)
