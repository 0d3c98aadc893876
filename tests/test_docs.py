"""The documentation builds without a warning, asks no other host for anything, and leaves nothing out."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from pydantic import BaseModel
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from documentation.commands import leaves, parameters
from documentation.environment import documented
from documentation.metrics import service_metrics
from documentation.models import inner_models
from documentation.surface import members, public
from headwater.cli import app
from headwater.ledger.migrate import migrations
from headwater.policies import CorpusPolicy
from serving.access.settings import AccessSettings
from tests.browser import IN_A_BROWSER, PATIENCE, driver

__all__ = ["driver"]

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CONFIG = ROOT / "mkdocs.yml"
RUNBOOK = DOCS / "runbook"
CODE = ("headwater", "serving", "assets", "resources", "sensors", "jobs", "definitions.py", "k8s")
VARIABLE = re.compile(r"\bHEADWATER_[A-Z][A-Z0-9_]*[A-Z0-9]\b")
CONSOLE = re.compile(r"^ *```(?:console|bash|sh)?(?: [^\n]*)?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
COMMANDS: dict[str, Any] = {
    name.removeprefix("headwater "): command for name, command in leaves(typer.main.get_command(app), "headwater")
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as ``make docs`` builds it: a warning, such as a broken link or anchor, would fail the build."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(CONFIG), "--site-dir", str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return folder


class _Loads(HTMLParser):
    """Collects what a page loads when it is opened; a link that a reader may follow is none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(values.get("href") or "")
        if tag in ("script", "img", "iframe", "source", "video", "object", "use"):
            self.found.append(values.get("src") or values.get("href") or values.get("data") or "")


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        loads = _Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.found
        assert [address for address in loads.found if re.match(r"(?:\w+:)?//", address)] == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


@pytest.fixture
def reader(site: Path, driver: WebDriver) -> WebDriver:
    """A browser in which the site is opened as a folder, without a server."""
    driver.get(f"{site.as_uri()}/index.html")
    return driver


def in_a_browser(test: Any) -> Any:
    for mark in IN_A_BROWSER:
        test = mark(test)
    return test


@in_a_browser
def test_search_works_in_a_folder_without_a_server(site: Path, reader: WebDriver) -> None:
    field = reader.find_element(By.CSS_SELECTOR, "[name=query]")
    WebDriverWait(reader, PATIENCE).until(lambda _browser: field.is_displayed())
    field.send_keys("rollback")
    links = WebDriverWait(reader, PATIENCE).until(
        lambda browser: browser.find_elements(By.CSS_SELECTOR, "a.md-search-result__link")
    )
    found = [link.get_attribute("href") for link in links]
    assert any("roll-back.html" in address or "releases.html" in address for address in found)
    assert all(address.startswith(site.as_uri()) for address in found)
    names = reader.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in names if not name.startswith(("file:", "data:"))] == []
    assert [entry for entry in reader.get_log("browser") if entry["level"] == "SEVERE"] == []


@in_a_browser
@pytest.mark.parametrize("page", ["tutorial", "explanation/deletion", "reference/corpus", "runbook/HeadwaterErrors"])
def test_pages_fit_on_a_phone(site: Path, reader: WebDriver, page: str) -> None:
    reader.set_window_size(400, 850)
    try:
        reader.get(f"{site.as_uri()}/{page}.html")
        assert reader.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        reader.set_window_size(1280, 800)


def test_the_reference_has_every_name(site: Path) -> None:
    def page(name: str) -> str:
        return (site / "reference" / f"{name}.html").read_text(encoding="utf-8")

    for model in (CorpusPolicy, *inner_models(CorpusPolicy)):
        assert f'id="{model.__name__.lower()}"' in page("corpus")
        assert all(f"<code>{field}</code>" in page("corpus") for field in model.model_fields)
    assert all(f'id="{name}"' in page("python") for name in public())
    assert all(f'id="headwater-{name.replace(" ", "-")}"' in page("commands") for name in COMMANDS)
    assert all(f"<code>{row.name}</code>" in page("metrics") for row in service_metrics())
    for asset in ("source_objects", "live_release", "counts_reconcile", "reindex_handbook", "watch_handbook"):
        assert f"<code>{asset}</code>" in page("assets")
    assert 'id="post-v1-answer"' in page("http")


@pytest.mark.parametrize("mistake", ["[away](missing.md)", "[nowhere](#nowhere)", "[elsewhere](/absolute.md)"])
def test_a_broken_link_fails_the_build(tmp_path: Path, mistake: str) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "index.md"

    def make() -> None:
        settings: dict[str, Any] = {"docs_dir": str(tmp_path / "docs"), "site_dir": str(tmp_path / "site")}
        config = load_config(
            str(CONFIG),
            strict=True,
            nav=["index.md"],
            hooks=[],
            theme="mkdocs",
            plugins=[],
            extra_css=[],
            extra={},
            **settings,
        )
        build(config)

    page.write_text("# Page\n\n[here](#page)\n", encoding="utf-8")
    make()
    page.write_text(f"# Page\n\n{mistake}\n", encoding="utf-8")
    with pytest.raises(Abort):
        make()


# --- the runbook ------------------------------------------------------------------------------------------------------


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((ROOT / "k8s/observability/alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    pages = {page.stem: page for page in RUNBOOK.glob("*.md") if page.stem != "index"}
    assert pages.keys() == alerts().keys()
    index = (RUNBOOK / "index.md").read_text(encoding="utf-8")
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook"] == f"docs/runbook/{name}.md"
        assert re.search(rf"\[{name}\]\({name}\.md\) \| {rule['labels']['severity']} \|", index)
        text = pages[name].read_text(encoding="utf-8")
        assert text.startswith(f"# {name}\n")
        assert [f"## {title}" in text for title in ("Impact", "How to check", "How to mend")] == [True] * 3


def test_the_runbook_asks_for_metrics_that_there_are() -> None:
    known = {row.name for row in service_metrics()}
    for page in RUNBOOK.glob("*.md"):
        for name in re.findall(r"\bheadwater_\w+", page.read_text(encoding="utf-8")):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known, f"{page.name}: {name}"


# --- nothing is undocumented ------------------------------------------------------------------------------------------


def words(thing: object) -> str:
    return (getattr(thing, "__doc__", None) or "").strip()


def test_every_public_name_of_the_library_has_a_docstring_of_its_own() -> None:
    missing = [name for name, thing in public().items() if not words(thing) or words(thing).startswith(f"{name}(")]
    for name, thing in public().items():
        if inspect.isclass(thing) and not issubclass(thing, (BaseModel, Exception)):
            missing += [f"{name}.{member}" for member, function in members(thing) if not words(function)]
    assert missing == []


@pytest.mark.parametrize("model", [CorpusPolicy, *inner_models(CorpusPolicy), AccessSettings], ids=lambda m: m.__name__)
def test_every_setting_of_a_corpus_has_a_description(model: type[BaseModel]) -> None:
    assert words(model)
    assert [name for name, field in model.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_argument_and_option_has_help(name: str) -> None:
    assert COMMANDS[name].help
    assert [found.name for found in parameters(COMMANDS[name]) if not found.help] == []


def test_every_metric_has_help() -> None:
    rows = service_metrics()
    assert len(rows) >= 15
    assert [row.name for row in rows if not row.meaning.strip()] == []
    assert [row.name for row in rows if row.kind != "gauge" and not row.labels] == []


def sources() -> Iterator[Path]:
    for name in CODE:
        path = ROOT / name
        found = [path] if path.is_file() else path.rglob("*")
        yield from (each for each in found if each.suffix in (".py", ".yaml", ".yml", ".sh") and each.is_file())


def test_every_environment_variable_that_the_code_names_is_in_the_reference() -> None:
    used: dict[str, str] = {}
    for path in sources():
        for name in VARIABLE.findall(path.read_text(encoding="utf-8")):
            used.setdefault(name, str(path.relative_to(ROOT)))
    assert len(used) > 10
    assert {name: where for name, where in used.items() if name not in documented()} == {}
    assert {name for name in documented() if VARIABLE.fullmatch(name)} - used.keys() == set()


# --- what pages say of the product ------------------------------------------------------------------------------------


def commands_in(page: Path) -> Iterator[str]:
    """Yield the ``headwater`` commands of the page's blocks, continued lines joined."""
    for block in CONSOLE.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"\s*headwater\s", line):
                yield line.strip()


PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands_in(page))], ids=lambda page: page.stem)
def test_commands_on_a_page_are_commands_with_options_that_there_are(page: Path) -> None:
    for line in commands_in(page):
        parts = shlex.split(line, comments=True)[1:]
        name = next((" ".join(parts[:n]) for n in (2, 1) if " ".join(parts[:n]) in COMMANDS), None)
        assert name is not None or parts[0].startswith("-"), f"{line}: there is no such command"
        known = (
            {option for found in parameters(COMMANDS[name]) for option in (*found.opts, *found.secondary_opts)}
            if name
            else set()
        )
        for part in parts:
            if part.startswith("-") and not re.fullmatch(r"-\d+", part):
                assert part.split("=")[0] in known | {"--help", "-h", "--version"}, f"{line}: there is no {part}"


def test_pages_that_readme_and_code_point_to_exist() -> None:
    mentions = {
        (path, found)
        for path in [ROOT / "README.md", ROOT / "mkdocs.yml", *sources()]
        for found in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text(encoding="utf-8"))
    }
    assert len(mentions) > 20
    assert [(path.name, found) for path, found in mentions if not (ROOT / found).is_file()] == []


def test_the_upgrade_page_says_what_goes_with_each_step_back() -> None:
    page = (DOCS / "upgrade.md").read_text(encoding="utf-8")
    steps = [step.revision for step in migrations()][:-1]
    assert re.findall(r"^\| (\d{4}) \|", page, re.MULTILINE) == steps[::-1]
