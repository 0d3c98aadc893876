"""The web pages in a real browser: ask, open a citation, see the cited words; and what became of every file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headwater.corpus import Corpus, open_corpus
from headwater.pipeline import Pipeline
from serving.access import Access
from tests.browser import (
    IN_A_BROWSER,
    PATIENCE,
    ask,
    colours,
    contrast,
    driver,
    facts,
    find,
    in_view,
    luminance,
    serve,
)
from tests.conftest import SMALL_ACCESS, SMALL_FILES, use_project, write_corpus
from tests.live_corpus import NOTICE, live_corpus
from tests.served import served

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

__all__ = ["driver", "live_corpus"]

pytestmark = IN_A_BROWSER


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
    ask(page, "When did a grey heron with a blue ring nest on the upper weir?")
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


# --- receipts -------------------------------------------------------------------------------------------------------

STATIONS = 60


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service over a corpus with objects in every end state, more than fit a page."""
    root = tmp_path_factory.mktemp("mixed") / "project"
    stations = {
        f"stations/station-{i:03d}.md": f"# Station {i}\n\nStation {i} lies {7 * i + 3} kilometres above the weir, "
        f"and its keeper reads gauge number {i * i + 11} twice a day.\n"
        for i in range(STATIONS)
    }
    hostile = {"<img src=x onerror=alert(1)>.md": "# Boats\n\nThe boats are painted grey every spring by the crew.\n"}
    noise = {"noise.txt": "zxq wvk " * 40}
    with pytest.MonkeyPatch.context() as patch:
        use_project(root, patch)
        patch.delenv("HEADWATER_API_TOKEN", raising=False)
        folder = write_corpus(root, "works", {**SMALL_FILES, **stations, **hostile, **noise}, access=SMALL_ACCESS)
        with open_corpus(folder) as corpus:
            Pipeline(corpus, workers=2).run()
            with serve(corpus) as url:
                yield url


@pytest.fixture
def receipts(driver: WebDriver, mixed: str) -> Iterator[WebDriver]:
    driver.get(mixed + "receipts")
    wait_for_rows(driver, 50)
    yield driver
    complaints = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert complaints == []


def wait_for_rows(driver: WebDriver, count: int) -> list[WebElement]:
    def there(browser: WebDriver) -> list[WebElement] | None:
        found = browser.find_elements(By.CSS_SELECTOR, "#rows tbody tr")
        busy = browser.find_element(By.ID, "rows").get_attribute("aria-busy")
        return found if len(found) == count and busy is None and browser.find_element(By.ID, "status").text else None

    return WebDriverWait(driver, PATIENCE, poll_frequency=0.05).until(there, f"{count} rows did not appear")


def tile(driver: WebDriver, state: str) -> WebElement:
    return find(driver, f"#tiles [data-state='{state}']")


def names(driver: WebDriver) -> list[str]:
    return [cell.text for cell in driver.find_elements(By.CSS_SELECTOR, "#rows td.name")]


def test_tiles_count_the_end_states_and_filter(receipts: WebDriver) -> None:
    counts = {
        t.get_attribute("data-state"): t.text.split()[0] for t in receipts.find_elements(By.CSS_SELECTOR, ".tile")
    }
    everything = str(STATIONS + 7)
    assert counts == {
        "": everything,
        "indexed": str(STATIONS + 4),
        "duplicate": "1",
        "rejected": "1",
        "quarantined": "1",
    }
    tile(receipts, "quarantined").click()
    (row,) = wait_for_rows(receipts, 1)
    assert row.text.startswith("empty.txt")
    assert "The file has no text." in row.text and "upload it again" in row.text
    assert tile(receipts, "quarantined").get_attribute("aria-pressed") == "true"
    assert receipts.switch_to.active_element == tile(receipts, "quarantined")
    receipts.refresh()  # the address keeps what was chosen
    wait_for_rows(receipts, 1)
    assert names(receipts) == ["empty.txt"]
    tile(receipts, "").click()
    wait_for_rows(receipts, 50)


def test_an_address_with_a_state_that_there_is_not_shows_every_object(receipts: WebDriver, mixed: str) -> None:
    for state in ("constructor", "toString", "lost"):
        receipts.get(f"{mixed}receipts?state={state}")
        wait_for_rows(receipts, 50)
        assert tile(receipts, "").get_attribute("aria-pressed") == "true"


def test_pages_of_receipts_follow_one_another(receipts: WebDriver) -> None:
    first = names(receipts)
    assert not find(receipts, "#previous").is_enabled()
    find(receipts, "#next").click()
    wait_for_rows(receipts, STATIONS + 7 - 50)
    second = names(receipts)
    assert sorted({*first, *second}) == first + second and len(first + second) == STATIONS + 7
    assert f"51–{STATIONS + 7} of {STATIONS + 7}" in find(receipts, "#status").text
    assert not find(receipts, "#next").is_enabled()
    find(receipts, "#previous").click()
    wait_for_rows(receipts, 50)
    assert names(receipts) == first


def test_a_duplicate_links_to_the_receipt_of_the_copy_that_was_kept(receipts: WebDriver) -> None:
    tile(receipts, "duplicate").click()
    wait_for_rows(receipts, 1)
    find(receipts, "td.why a").click()
    wait_for_rows(receipts, 1)
    assert names(receipts) == ["policies/leave-copy.md"]
    assert find(receipts, "#prefix").get_attribute("value") == "policies/leave-copy.md"


def test_a_passage_names_the_documents_that_say_the_same(driver: WebDriver, mixed: str) -> None:
    driver.get(mixed)
    find(driver, "#corpus option")
    find(driver, "#question").send_keys("days of paid leave")
    find(driver, "#passages-button").click()
    assert find(driver, ".duplicates").text == "Also in: policies/leave.md"


def test_receipts_are_found_by_the_start_of_their_name(receipts: WebDriver) -> None:
    find(receipts, "#prefix").send_keys("policies/", Keys.ENTER)
    wait_for_rows(receipts, 3)
    assert "release" in find(receipts, "#status").text
    find(receipts, "#prefix").clear()
    find(receipts, "#prefix").send_keys("hr/", Keys.ENTER)  # not for everyone
    WebDriverWait(receipts, PATIENCE).until(lambda page: "No file" in page.find_element(By.ID, "status").text)
    assert not receipts.find_element(By.ID, "rows").is_displayed()


def test_markup_in_a_name_stays_text(receipts: WebDriver) -> None:
    assert "<img src=x onerror=alert(1)>.md" in names(receipts)
    assert receipts.find_elements(By.CSS_SELECTOR, "main img") == []


def test_the_pages_link_to_each_other_and_keep_the_corpus(receipts: WebDriver) -> None:
    find(receipts, "#to-ask").click()
    find(receipts, "#question")
    assert receipts.current_url.endswith("/?corpus=works")
    find(receipts, "#corpus option")
    WebDriverWait(receipts, PATIENCE).until(
        lambda page: "corpus=works" in (page.find_element(By.ID, "to-receipts").get_attribute("href") or "")
    )
    find(receipts, "#to-receipts").click()
    wait_for_rows(receipts, 50)


def test_on_a_phone_receipts_are_cards_no_wider_than_the_screen(receipts: WebDriver) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    receipts.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        tile(receipts, "duplicate").click()
        (row,) = wait_for_rows(receipts, 1)
        assert receipts.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        assert row.value_of_css_property("display") == "block"
        label = "return getComputedStyle(document.querySelector('td.advice'), '::before').content"
        assert "What to do" in receipts.execute_script(label)
    finally:
        receipts.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_receipts_are_readable_in_both_colour_schemes(receipts: WebDriver, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    receipts.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        for selector in ("body", "button.tile", "#filter button"):
            assert contrast(receipts, selector) >= 4.5, selector
    finally:
        receipts.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_what_is_missing_is_not_shown_to_those_who_may_not_read_questions(receipts: WebDriver) -> None:
    assert not receipts.find_element(By.ID, "missing").is_displayed()
    asked = receipts.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert not any("unanswered" in each for each in asked)


def test_an_owner_sees_what_people_ask_and_the_files_do_not_say(driver: WebDriver, live_corpus: Corpus) -> None:
    hostile = "What does a season ticket to the opera <img src=x onerror=alert(1)> cost?"
    assert live_corpus.answer(hostile).refused
    ledger = live_corpus.ledger
    _, plain = ledger.create_api_key("reader", scopes=["search", "receipts"], who="test")
    _, owner = ledger.create_api_key("owner", scopes=["search", "receipts", "questions"], who="test")
    with served({"works": live_corpus}, access=Access(ledger=ledger)) as url:
        for token, may in ((plain, False), (owner, True)):
            driver.get(url + "/receipts")
            find(driver, "body")
            driver.execute_script("sessionStorage.setItem('headwater-token', arguments[0])", token)
            driver.refresh()
            wait_for_rows(driver, 4)
            assert driver.find_element(By.ID, "missing").is_displayed() == may
        find(driver, "#missing summary").click()
        rows = WebDriverWait(driver, PATIENCE).until(
            lambda page: page.find_elements(By.CSS_SELECTOR, "#missing-rows tbody tr")
        )
        assert hostile in [row.find_element(By.CSS_SELECTOR, "td.name").text for row in rows]
        assert driver.find_elements(By.CSS_SELECTOR, "main img") == []
        size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        try:
            assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        finally:
            driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_script("sessionStorage.clear()")
    driver.get_log("browser")  # requests without a token are complaints of their own


def test_an_error_of_the_service_is_said_on_the_receipts_page(driver: WebDriver, mixed: str) -> None:
    driver.get(mixed + "receipts?corpus=works&prefix=" + "x" * 2001)
    WebDriverWait(driver, PATIENCE).until(lambda page: "not valid" in page.find_element(By.ID, "status").text)
    assert "bad" in (find(driver, "#status").get_attribute("class") or "")
    assert not driver.find_element(By.ID, "rows").is_displayed()
    driver.get_log("browser")  # the refused request is a complaint of its own


def test_the_receipts_page_asks_for_the_token_when_the_service_has_one(
    driver: WebDriver, live_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_API_TOKEN", "s3cret-token")
    with serve(live_corpus) as url:
        driver.get(url + "receipts")
        find(driver, "#token").send_keys("s3cret-token", Keys.ENTER)
        wait_for_rows(driver, 4)
    driver.get_log("browser")  # the first, refused request is a complaint of its own
