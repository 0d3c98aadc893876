"""A headless Chromium, and what the tests of the pages do in it."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from serving.app import create_app

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webdriver import WebDriver  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

IN_A_BROWSER = [
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
def serve(corpus: Any) -> Iterator[str]:
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


def find(driver: WebDriver, selector: str) -> WebElement:
    def shown(browser: WebDriver) -> WebElement | None:
        found = browser.find_elements(By.CSS_SELECTOR, selector)
        return found[0] if found and (found[0].is_displayed() or found[0].tag_name == "option") else None

    return WebDriverWait(driver, PATIENCE, poll_frequency=0.05).until(shown, f"{selector} did not appear")


def ask(driver: WebDriver, question: str) -> None:
    field = find(driver, "#question")
    field.clear()
    field.send_keys(question, Keys.ENTER)
    find(driver, ".exchange:first-child > .meta")


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
