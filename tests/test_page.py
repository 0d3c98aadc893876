"""The web page in a real browser: ask, open a citation, and see the cited words in their document."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from headwater.corpus import Corpus
from serving.app import create_app
from tests.live_corpus import NOTICE, live_corpus

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webdriver import WebDriver  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

__all__ = ["live_corpus"]

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver"),
]

PATIENCE = 60
"""Seconds to wait for the page; an answer takes a fraction of one on an idle machine."""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,800",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield browser
    browser.quit()


@contextmanager
def serve(corpus: Corpus) -> Iterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # from here on a request waits in the queue until the server takes it
    app = create_app(corpora={"works": corpus}, loopback_only=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def url(live_corpus: Corpus) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEADWATER_API_TOKEN", raising=False)
        with serve(live_corpus) as url:
            yield url


@pytest.fixture
def page(driver: WebDriver, url: str) -> Iterator[WebDriver]:
    driver.get(url)
    find(driver, "#corpus option")
    yield driver
    complaints = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert complaints == []


def find(driver: WebDriver, selector: str) -> WebElement:
    def shown(browser: WebDriver) -> WebElement | None:
        found = browser.find_elements(By.CSS_SELECTOR, selector)
        return found[0] if found and (found[0].is_displayed() or found[0].tag_name == "option") else None

    return WebDriverWait(driver, PATIENCE, poll_frequency=0.05).until(shown, f"{selector} did not appear")


def ask(driver: WebDriver, question: str) -> None:
    field = find(driver, "#question")
    field.clear()
    field.send_keys(question, Keys.ENTER)
    find(driver, "#result .small")


def in_view(driver: WebDriver, element: WebElement) -> bool:
    script = """
        const pane = document.getElementById("scroll").getBoundingClientRect();
        const box = arguments[0].getBoundingClientRect();
        return box.top >= pane.top - 1 && box.bottom <= pane.bottom + 1 && pane.bottom <= innerHeight + 1;
    """
    return bool(driver.execute_script(script, element))


def facts(driver: WebDriver) -> dict[str, str]:
    names = [element.text for element in driver.find_elements(By.CSS_SELECTOR, "#facts dt")]
    return dict(zip(names, (e.text for e in driver.find_elements(By.CSS_SELECTOR, "#facts dd")), strict=True))


def test_a_citation_opens_the_document_at_the_cited_words(page: WebDriver, live_corpus: Corpus) -> None:
    ask(page, "How long is the notice period?")
    assert NOTICE in find(page, ".sentence").text
    find(page, "button.citation").click()
    mark = find(page, "#cited")
    assert mark.text == NOTICE
    assert in_view(page, mark)
    shown = facts(page)
    assert (shown["Key"], shown["Release"]) == ("leave.md", str(live_corpus.live()))
    assert shown["Section"] == "Leaving us › Notice"
    assert len(shown["Revision"]) == 32


def test_a_long_document_is_loaded_around_the_citation(page: WebDriver) -> None:
    ask(page, "Where did the grey heron with the blue ring nest?")
    find(page, "button.citation").click()
    mark = find(page, "#cited")
    assert mark.text == "On the two hundredth day a grey heron with a blue ring nested on the upper weir."
    assert in_view(page, mark)
    before = find(page, "#text").text
    assert 5000 < len(before) < 7000
    find(page, "#earlier").click()
    WebDriverWait(page, PATIENCE).until(lambda browser: len(find(browser, "#text").text) > len(before) + 2000)
    after = find(page, "#text").text
    assert before in after
    assert "grey heron" in find(page, "#cited").text


def test_markup_in_a_document_stays_text(page: WebDriver) -> None:
    ask(page, "How often is the river gauge at the mill read out?")
    assert "<img src=x" in find(page, ".sentence").text
    find(page, "button.citation").click()
    find(page, "#cited")
    assert "<script>" in find(page, "#text").text
    assert page.title == "Headwater"
    assert page.find_elements(By.CSS_SELECTOR, "main img, main script") == []


def test_a_refusal_says_why(page: WebDriver) -> None:
    ask(page, "Who won the football cup in 1954?")
    assert "do not seem to answer" in find(page, ".refusal").text
    assert page.find_elements(By.CSS_SELECTOR, "button.citation") == []


def test_passages_can_be_read_in_their_document_too(page: WebDriver) -> None:
    find(page, "#question").send_keys("first class on trains")
    find(page, "#passages-button").click()
    find(page, "button.source").click()
    assert "First class" in find(page, "#cited").text or "first class" in find(page, "#cited").text


def test_everything_works_from_the_keyboard(page: WebDriver) -> None:
    ask(page, "How long is the notice period?")
    citation = find(page, "button.citation")
    for _ in range(10):
        if page.switch_to.active_element == citation:
            break
        page.switch_to.active_element.send_keys(Keys.TAB)
    assert page.switch_to.active_element == citation
    citation.send_keys(Keys.ENTER)
    find(page, "#cited")
    pane = page.find_element(By.ID, "document")
    assert page.switch_to.active_element == pane
    pane.send_keys(Keys.ESCAPE)
    assert not pane.is_displayed()
    assert page.switch_to.active_element == citation


def test_on_a_phone_nothing_is_wider_than_the_screen(page: WebDriver) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        ask(page, "How long is the notice period?")
        assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        find(page, "button.citation").click()
        mark = find(page, "#cited")
        assert in_view(page, mark)
        assert page.find_element(By.ID, "document").rect["width"] == 360
        assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_colour_schemes(page: WebDriver, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        ask(page, "How long is the notice period?")
        find(page, "button.citation").click()
        for selector in ("body", "#cited", "#answer-button"):
            assert contrast(page, selector) >= 4.5, selector
        dark = luminance(colours(page, "body")[1]) < 0.5
        assert dark == (scheme == "dark")
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def colours(driver: WebDriver, selector: str) -> tuple[list[float], list[float]]:
    script = """
        const style = getComputedStyle(arguments[0]);
        return [style.color, style.backgroundColor].map((colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number));
    """
    ink, paper = driver.execute_script(script, find(driver, selector))
    return ink, paper


def luminance(colour: list[float]) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(driver: WebDriver, selector: str) -> float:
    low, high = sorted(luminance(colour) for colour in colours(driver, selector))
    return (high + 0.05) / (low + 0.05)


def test_the_page_asks_for_the_token_when_the_service_has_one(
    driver: WebDriver, live_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_API_TOKEN", "s3cret-token")
    with serve(live_corpus) as url:
        driver.get(url)
        find(driver, "#token").send_keys("s3cret-token", Keys.ENTER)
        assert find(driver, "#corpus option").text == "works"
        ask(driver, "How long is the notice period?")
        assert find(driver, "button.citation")
    driver.get_log("browser")  # the first, refused request is a complaint of its own
