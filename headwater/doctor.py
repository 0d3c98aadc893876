"""What is installed, what is missing, and what that means: one finding per thing looked at."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import psutil

from headwater.errors import ConfigError, HeadwaterError, NotFoundError
from headwater.policies import ParsePolicy
from headwater.project import Project, find_project

_PACKAGES = (
    "deltalake",
    "numba",
    "obstore",
    "polars",
    "presidio-analyzer",
    "qdrant-edge-py",
    "sentence-transformers",
    "spacy",
    "sqlalchemy",
    "torch",
    "transformers",
    "unstructured",
)
_LOW_DISK = 5 * 2**30
"""A Dagster home, a lake and a few releases of a small corpus need less; a large corpus needs more."""

_NO_DISK = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``found`` says what there is, ``meaning`` what follows from it."""

    name: str
    state: Literal["ok", "note", "problem"]
    found: str
    meaning: str


def importable(package: str) -> bool:
    """Return whether a package can be imported, without importing it; a folder without code is not a package."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def examine() -> list[Finding]:
    """Look at the installation, the machine and the project at hand; nothing is changed or downloaded.

    A lake in a bucket is tried with one small object, which is deleted again.
    """
    findings: list[Finding] = []
    for look in (_python, _packages, _machine, _device, _parsing, _privacy, _embedding, _dagster, _serving):
        findings += _guarded(look)
    try:
        project = find_project()
    except NotFoundError as error:
        return [*findings, Finding("project", "note", "none here", str(error))]
    except ConfigError as error:
        return [*findings, Finding("project", "problem", "not found", str(error))]
    findings.append(Finding("project", "ok", str(project.root), f"What is made goes to {project.home}."))
    findings += _guarded(lambda: _disk(project), "disk")
    findings += _guarded(lambda: _ledger(project), "ledger")
    findings += _guarded(lambda: _lake(project), "lake")
    for name in project.corpus_names():
        findings += _guarded(lambda name=name: _corpus(project, name), f"corpus {name}")  # type: ignore[misc]
        findings += _guarded(lambda name=name: _cluster(project, name), f"compute {name}")  # type: ignore[misc]
    if not project.corpus_names():
        findings.append(Finding("corpora", "note", "none", "Add one with: headwater corpus add NAME --uri URI"))
    return findings


def _guarded(look: Callable[[], Iterator[Finding]], name: str = "") -> list[Finding]:
    """Return what ``look`` finds; what it trips over is a finding too, never the end of the examination."""
    try:
        return list(look())
    except HeadwaterError as error:
        return [Finding(name or look.__name__.strip("_"), "problem", "can't be used", str(error))]
    except Exception as error:
        name = name or look.__name__.strip("_")
        return [Finding(name, "problem", type(error).__name__, f"Looking at it failed: {error}")]


def _python() -> Iterator[Finding]:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding(
        "python",
        "ok" if supported else "problem",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "Supported." if supported else "Headwater is tested with Python 3.11 to 3.13.",
    )


def _packages() -> Iterator[Finding]:
    versions: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            yield Finding(package, "problem", "not installed", f"Install it with: pip install {package}")
    yield Finding(
        "packages",
        "ok" if len(versions) == len(_PACKAGES) else "problem",
        ", ".join(f"{package} {version}" for package, version in versions.items()),
        "The parts that stages are built on.",
    )


def _machine() -> Iterator[Finding]:
    from headwater.pool import MAX_DEFAULT_WORKERS, usable_cpus

    cores, memory = usable_cpus(), psutil.virtual_memory()
    yield Finding(
        "machine",
        "ok",
        f"{cores} usable cores, {memory.total / 2**30:.1f} GiB memory ({memory.available / 2**30:.1f} GiB free)",
        f"CPU-heavy stages use {min(cores, MAX_DEFAULT_WORKERS)} processes; change it with --workers.",
    )


def _device() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        yield Finding("device", "ok", torch.cuda.get_device_name(0), "Embeddings are computed on the GPU.")
    elif torch.backends.mps.is_available():
        yield Finding("device", "ok", "mps", "Embeddings are computed on the GPU.")
    else:
        threads = torch.get_num_threads()
        yield Finding(
            "device", "note", f"CPU, {threads} threads", "Embeddings are computed on the CPU, slower than on a GPU."
        )


def _parsing() -> Iterator[Finding]:
    from headwater.parsing import sentence_pipeline

    pipeline = sentence_pipeline(ParsePolicy())
    rules = pipeline == "rules"
    yield Finding(
        "parsing",
        "note" if rules else "ok",
        f"spaCy pipeline: {pipeline}",
        "Tells prose from headings by the rules the install carries; install en_core_web_sm for the trained one."
        if rules
        else "Tells prose from headings.",
    )
    yield _ocr()


def _ocr() -> Finding:
    from headwater.parsing.ocr import engine, languages

    found = engine()
    if found is None:
        return Finding(
            "text recognition",
            "note",
            "Tesseract is not installed",
            "Pictures and scanned PDF pages are quarantined. Install Debian's tesseract-ocr, and set parse.ocr.",
        )
    names = ", ".join(sorted(languages() - {"osd"})) or "no languages"
    return Finding(
        "text recognition",
        "ok",
        f"{found} ({names})",
        "Reads pictures and scanned pages of corpora that set parse.ocr.",
    )


def _corpus_parsing(policy: ParsePolicy) -> list[str]:
    """Return what a corpus' parsing needs and this machine lacks."""
    from headwater.parsing.ocr import engine, languages

    lacks = [
        f"the environment variable {name} of parse.passwords is not set"
        for name in policy.passwords
        if not os.environ.get(name)
    ]
    if policy.ocr and engine() is None:
        lacks.append("parse.ocr is set, and Tesseract is not installed")
    elif policy.ocr and (missing := sorted(set(policy.ocr_languages) - languages())):
        lacks.append(f"Tesseract has no data for {', '.join(missing)} (parse.ocr_languages)")
    return lacks


def _privacy() -> Iterator[Finding]:
    from headwater.policies import PrivacyPolicy
    from headwater.privacy import nlp_pipeline

    model = nlp_pipeline(PrivacyPolicy())
    missing = model.startswith("none")
    yield Finding(
        "privacy",
        "problem" if missing else "ok",
        f"names: {model}",
        "The bundled model of names is missing, so people's names are NOT found. Install Headwater anew, or name another "
        "model in a corpus' privacy.spacy_model or privacy.transformers_model."
        if missing
        else "People's names, addresses, numbers and identifiers are replaced; places and organisations are found and "
        "kept, unless a corpus says otherwise.",
    )
    scan = importable("hyperscan")
    yield Finding(
        "privacy scan",
        "ok" if scan else "note",
        "hyperscan" if scan else "hyperscan is not installed",
        "Recognisers read only where they can find something."
        if scan
        else "Every recogniser reads every text: nothing is missed, but it takes about ten times as long.",
    )


def _embedding() -> Iterator[Finding]:
    from headwater.embedding.model import locate_model

    yield Finding("embedding model", "ok", str(locate_model(None)), "The default: all-MiniLM-L6-v2, no download.")


def _dagster() -> Iterator[Finding]:
    missing = [package for package in ("dagster", "dagster_webserver") if not importable(package)]
    code = importable("definitions")
    if missing:
        found, meaning = (
            f"missing: {', '.join(missing)}",
            "The library works; for the UI: pip install 'headwater[dagster]'",
        )
    elif not code:
        found = f"dagster {metadata.version('dagster')}, without Headwater's code location"
        meaning = "Run from a checkout installed with `pip install -e .`, or from an image."
    else:
        found, meaning = f"dagster {metadata.version('dagster')}", "`headwater up` starts its webserver and daemon."
    yield Finding("dagster", "note" if missing or not code else "ok", found, meaning)


def _serving() -> Iterator[Finding]:
    there = importable("serving")
    yield Finding(
        "serving",
        "ok" if there else "note",
        "installed" if there else "not importable",
        "`headwater serve` answers over HTTP."
        if there
        else "The endpoint runs from a checkout installed with `pip install -e .`, or from an image.",
    )


def _disk(project: Project) -> Iterator[Finding]:
    there = next(folder for folder in (project.home, *project.home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK)
    state: Literal["ok", "note", "problem"] = "ok"
    meaning = "Room for lake, index and releases."
    if not writable:
        state, meaning = "problem", f"{there} can't be written by this user. Set HEADWATER_HOME to a folder that can."
    elif free < _LOW_DISK:
        state = "problem" if free < _NO_DISK else "note"
        meaning = "A release is a copy of the index: free some space, or set HEADWATER_HOME to a larger disk."
    yield Finding("disk", state, f"{free / 2**30:.1f} GiB free at {there}", meaning)


def _ledger(project: Project) -> Iterator[Finding]:
    from sqlalchemy.engine import make_url

    from headwater.ledger import Ledger

    url = make_url(project.ledger_url)
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        yield Finding("ledger", "ok", f"{shown} (not made yet)", "The first reindex makes it.")
        return
    ledger = Ledger(project.ledger_url)
    try:
        live = {name: ledger.live(name) for name in project.corpus_names()}
    finally:
        ledger.close()
    releases = ", ".join(f"{name}: {number or 'none'}" for name, number in live.items())
    yield Finding("ledger", "ok", shown, f"Reachable. Live releases: {releases or 'none'}.")


def _cluster(project: Project, name: str) -> Iterator[Finding]:
    from headwater.compute.cluster import address_of, reach, require_ray
    from headwater.config import load_corpus_file

    try:
        policy = load_corpus_file(project.corpus_file(name)).compute
    except ConfigError:  # the corpus' own finding
        return
    if policy.engine == "local":
        return
    require_ray()
    address = address_of(policy)
    reach(address)
    where = address or "a Ray on this machine"
    yield Finding(
        f"compute {name}", "ok", where, "Its documents are worked on there; other versions show at the first run."
    )


def _lake(project: Project) -> Iterator[Finding]:
    from headwater.lake_folder import RemoteFolder

    lakes = project.lakes()
    if not isinstance(lakes, RemoteFolder):
        return
    if lakes.refuses_a_second_writer():
        yield Finding("lake", "ok", lakes.uri, "It can be written, and of two writers of one version one is refused.")
        return
    meaning = "The server ignores If-None-Match, so a commit could be lost. Use a server or version that honours it."
    yield Finding("lake", "problem", lakes.uri, meaning)


def _corpus(project: Project, name: str) -> Iterator[Finding]:
    from headwater.config import load_corpus_file

    policy = load_corpus_file(project.corpus_file(name))
    parts = urlsplit(policy.source.uri)
    if parts.scheme == "file" and not Path(unquote(parts.path)).is_dir():
        yield Finding(
            f"corpus {name}",
            "problem",
            policy.source.uri,
            f"The folder does not exist. Make it, or change source.uri in {project.corpus_file(name)}.",
        )
        return
    lacks = _corpus_parsing(policy.parse)
    if lacks:
        meaning = f"Some of its files will be quarantined: {'; '.join(lacks)}."
        yield Finding(f"corpus {name}", "note", policy.source.uri, meaning)
        return
    yield Finding(f"corpus {name}", "ok", policy.source.uri, "Its configuration is valid.")
