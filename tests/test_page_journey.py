"""The web page in a real browser: answers that stream, conversations, feedback, readers, releases, colours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from headwater.answering.events import AnswerEvent, Finished, Restarted, SentenceDropped, SentenceReady
from headwater.corpus import Corpus, open_corpus
from headwater.ledger.records import FeedbackRecord
from headwater.pipeline import Pipeline
from headwater.types import Turn
from tests.browser import IN_A_BROWSER, PATIENCE, ask, colours, contrast, driver, facts, find, in_view, luminance, serve
from tests.conftest import SMALL_ACCESS, SMALL_FILES, use_project, write_corpus
from tests.scripted_corpus import STARTED, WORDS, Scripted, answer, cited

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

__all__ = ["driver"]

pytestmark = IN_A_BROWSER

FERRY = "The ferry to the gull island leaves the north quay at seven every morning."
ASTRAL = "𝕱𝖊𝖗𝖗𝖞 🚣🚣🏽 and 𝄞 𝄞 𝄞 songs on board, as every crew knows them."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    root = tmp_path_factory.mktemp("journey") / "project"
    ferry = f"# Crossings 🚣\n\n{ASTRAL}\n\n{FERRY} It carries no cars.\n"
    with pytest.MonkeyPatch.context() as patch:
        use_project(root, patch)
        patch.delenv("HEADWATER_API_TOKEN", raising=False)
        folder = write_corpus(root, "works", {**SMALL_FILES, "ferry.md": ferry}, access=SMALL_ACCESS)
        with open_corpus(folder) as corpus:
            Pipeline(corpus, workers=2).run()
            yield corpus


@pytest.fixture(scope="module")
def address(corpus: Corpus) -> Iterator[str]:
    with serve(corpus) as address:
        yield address


@pytest.fixture
def page(driver: WebDriver, address: str) -> Iterator[WebDriver]:
    """The page as a reader sees it who was never here."""
    driver.get(address)
    driver.execute_script("localStorage.clear(); sessionStorage.clear()")
    driver.get(address)
    find(driver, "#corpus option")
    driver.get_log("browser")
    yield driver
    assert [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.fixture
def opened(driver: WebDriver) -> Iterator[Callable[[Scripted], None]]:
    """A function that opens the page over a corpus that tells its answers event by event."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEADWATER_API_TOKEN", raising=False)
        running = []

        def open_page(scripted: Scripted) -> None:
            service = serve(scripted)
            driver.get(service.__enter__())
            running.append(service)
            find(driver, "#corpus option")

        yield open_page
        driver.get("about:blank")
        for service in running:
            service.__exit__(None, None, None)


def texts(driver: WebDriver, selector: str) -> list[str]:
    return [element.text for element in driver.find_elements(By.CSS_SELECTOR, selector)]


def becomes(driver: WebDriver, holds: Callable[[], bool], what: str) -> None:
    WebDriverWait(driver, PATIENCE, poll_frequency=0.05).until(lambda _: holds(), what)


def said(corpus: Corpus, count: int) -> list[FeedbackRecord]:
    found = corpus.ledger.feedback("works", limit=100)
    assert len(found) == count
    return list(found)


# --- streaming ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_sentences_are_shown_while_the_answer_is_still_written(
    driver: WebDriver, opened: Callable[[Scripted], None], motion: str
) -> None:
    shown = threading.Event()

    def script() -> Iterator[AnswerEvent]:
        yield STARTED
        yield SentenceReady(cited("Forty herons nest."))
        assert shown.wait(PATIENCE)
        yield SentenceReady(cited(WORDS, 30))
        yield Finished(answer(cited("Forty herons nest."), cited(WORDS, 30)))

    opened(Scripted(script))
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": motion}]}
    )
    try:
        find(driver, "#question").send_keys("How many herons?", Keys.ENTER)
        assert find(driver, ".sentence").text.startswith("Forty herons nest.")
        assert find(driver, "#stop").is_displayed()
        assert driver.find_elements(By.CSS_SELECTOR, ".meta, .feedback") == []
        assert find(driver, ".sentences").get_attribute("aria-live") == "polite"
        moves = find(driver, ".sentences").value_of_css_property("animation-name")
        assert (moves == "none") == (motion == "reduce")
        shown.set()
        find(driver, ".meta")
        assert [text.rsplit("[")[-1] for text in texts(driver, ".sentence")] == ["1]", "2]"]
        assert "written by tiny" in find(driver, ".meta").text
        assert not driver.find_element(By.ID, "stop").is_displayed()
    finally:
        shown.set()
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_restart_clears_what_was_shown_and_drops_and_the_fallback_are_said(
    driver: WebDriver, opened: Callable[[Scripted], None]
) -> None:
    shown, checked = threading.Event(), threading.Event()

    def script() -> Iterator[AnswerEvent]:
        yield STARTED
        yield SentenceReady(cited("Forty herons nest."))
        yield SentenceDropped("number")
        assert shown.wait(PATIENCE)
        yield Restarted("the model broke off.")
        assert checked.wait(PATIENCE)
        yield SentenceReady(cited())
        yield SentenceDropped("number")
        yield SentenceDropped("number")
        yield Finished(answer(cited(), fallback="the model broke off.", dropped=("number", "number", "unsafe")))

    opened(Scripted(script))
    try:
        find(driver, "#question").send_keys("How many herons?", Keys.ENTER)
        find(driver, ".sentence")
        assert find(driver, ".note.dropped").text.startswith("1 sentence was left out")
        shown.set()
        assert "begins again" in find(driver, ".note.restart").text
        assert texts(driver, ".sentence") == texts(driver, ".sources li") == texts(driver, ".note.dropped") == []
        checked.set()
        find(driver, ".meta")
        assert len(texts(driver, ".sentence")) == 1
        assert find(driver, ".note.dropped").text.startswith("3 sentences were left out")
        assert "(2 ×)" in find(driver, ".note.dropped").text
        assert "the model broke off" in find(driver, ".note.fallback").text
        assert texts(driver, ".note.restart") == []
    finally:
        shown.set()
        checked.set()


def test_stop_ends_the_work_and_says_that_the_answer_is_not_complete(
    driver: WebDriver, opened: Callable[[Scripted], None]
) -> None:
    ended = threading.Event()

    def script() -> Iterator[AnswerEvent]:
        yield STARTED
        yield SentenceReady(cited())
        while not ended.wait(0.05):
            yield SentenceDropped("number")

    scripted = Scripted(script)
    opened(scripted)
    try:
        find(driver, "#question").send_keys("How many herons?", Keys.ENTER)
        find(driver, ".sentence")
        find(driver, "#stop").click()
        assert find(driver, ".note.stopped").text == "Stopped."
        assert find(driver, ".meta").text == "Not complete"
        assert driver.find_elements(By.CSS_SELECTOR, ".feedback") == []
        assert scripted.closed.wait(PATIENCE)
    finally:
        ended.set()


def test_a_stream_that_fails_is_said_with_what_was_shown(driver: WebDriver, opened: Callable[[Scripted], None]) -> None:
    def script() -> Iterator[AnswerEvent]:
        yield STARTED
        yield SentenceReady(cited())
        raise RuntimeError("boom")

    opened(Scripted(script))
    find(driver, "#question").send_keys("How many herons?", Keys.ENTER)
    assert "went wrong" in find(driver, ".note.failed").text
    assert "bad" in (find(driver, "#status").get_attribute("class") or "")
    assert len(texts(driver, ".sentence")) == 1


def test_a_conversation_is_sent_along_until_a_new_one_begins(
    driver: WebDriver, opened: Callable[[Scripted], None]
) -> None:
    def script() -> Iterator[AnswerEvent]:
        yield STARTED
        yield SentenceReady(cited())
        yield Finished(answer(cited()))

    scripted = Scripted(script)
    opened(scripted)
    ask(driver, "How many herons?")
    find(driver, "#question").send_keys("And storks?", Keys.ENTER)
    becomes(driver, lambda: len(texts(driver, ".meta")) == 2, "the second answer did not come")
    assert texts(driver, ".asked") == ["And storks?", "How many herons?"]
    find(driver, "#new").click()
    becomes(driver, lambda: not texts(driver, ".exchange"), "the conversation did not go")
    ask(driver, "How many teals?")
    first, second, third = scripted.asked
    assert list(first["history"]) == list(third["history"]) == []
    assert list(second["history"]) == [Turn("How many herons?", WORDS)]
    assert first["conversation"] == second["conversation"] != third["conversation"]
    assert len(third["conversation"]) == 32


# --- documents ------------------------------------------------------------------------------------------------------


def test_the_cited_words_are_found_behind_characters_outside_the_basic_plane(page: WebDriver) -> None:
    ask(page, "When does the ferry to the gull island leave?")
    find(page, "button.citation").click()
    mark = find(page, "#cited")
    assert mark.text == FERRY
    assert in_view(page, mark)
    assert ASTRAL in find(page, "#text").text


def test_the_documents_that_say_the_same_are_named_beside_a_citation(page: WebDriver) -> None:
    ask(page, "How many days of paid leave does everyone have each year?")
    find(page, "button.citation").click()
    find(page, "#cited")
    assert facts(page)["Also in"] == "policies/leave.md (100 % the same)"


def test_a_reader_of_named_groups_gets_what_they_may_read(page: WebDriver) -> None:
    question = "Where does the pay band of field engineers start?"
    ask(page, question)
    assert find(page, ".refusal")
    find(page, "#readers summary").click()
    find(page, "#groups").send_keys(" hr , staff", Keys.TAB)
    find(page, "#new").click()
    ask(page, question)
    find(page, "button.citation").click()
    assert "forty-one thousand crowns" in find(page, "#cited").text
    assert page.execute_script("return Object.keys(localStorage)") == []


# --- feedback -------------------------------------------------------------------------------------------------------


def test_votes_corrections_and_wrong_citations_are_stored(page: WebDriver, corpus: Corpus) -> None:
    before = len(corpus.ledger.feedback("works", limit=100))
    ask(page, "When does the ferry to the gull island leave?")
    find(page, ".thumbs_down").click()
    becomes(page, lambda: "not helpful" in find(page, ".feedback-status").text, "the vote was not confirmed")
    assert find(page, ".thumbs_down").get_attribute("aria-pressed") == "true"
    find(page, ".correct").click()
    find(page, ".correction textarea").send_keys("It leaves at eight in winter.")
    find(page, ".correction button").click()
    becomes(page, lambda: "correction" in find(page, ".feedback-status").text, "the correction was not confirmed")
    assert not page.find_element(By.CSS_SELECTOR, ".correction").is_displayed()
    find(page, "button.citation").click()
    find(page, "#report").click()
    becomes(page, lambda: "wrong citation" in find(page, "#report-status").text, "the report was not confirmed")
    stored = {found.kind: found for found in said(corpus, before + 3)[:3]}
    assert set(stored) == {"thumbs_down", "correction", "wrong_citation"}
    assert stored["correction"].text == "It leaves at eight in winter."
    assert (stored["wrong_citation"].sentence, stored["wrong_citation"].citation) == (0, 0)
    answer_id = find(page, ".meta").text.rsplit(" ", 1)[1]
    assert {found.answer_id for found in stored.values()} == {answer_id}


def test_feedback_that_was_not_stored_is_said(page: WebDriver, corpus: Corpus) -> None:
    ask(page, "When does the ferry to the gull island leave?")
    before = len(corpus.ledger.feedback("works", limit=100))
    page.execute_cdp_cmd("Network.enable", {})
    page.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/v1/feedback"]})
    try:
        find(page, ".thumbs_up").click()
        becomes(page, lambda: "Not stored" in find(page, ".feedback-status").text, "the failure was not said")
        assert find(page, ".thumbs_up").get_attribute("aria-pressed") == "false"
        find(page, ".correct").click()
        find(page, ".correction textarea").send_keys("Eight.")
        find(page, ".correction button").click()
        assert find(page, ".correction textarea").get_attribute("value") == "Eight."  # nothing written is lost
    finally:
        page.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
        page.execute_cdp_cmd("Network.disable", {})
        page.get_log("browser")  # the blocked requests are complaints of their own
    said(corpus, before)


# --- everyone's page ------------------------------------------------------------------------------------------------


def test_the_whole_journey_goes_by_keyboard(page: WebDriver, corpus: Corpus) -> None:
    def on(selector: str) -> bool:
        return bool(page.execute_script("return document.activeElement.matches(arguments[0])", selector))

    def tab_to(selector: str) -> None:
        for _ in range(25):
            page.switch_to.active_element.send_keys(Keys.TAB)
            if on(selector):
                outline = page.switch_to.active_element.value_of_css_property("outline-style")
                assert outline != "none", selector
                return
        raise AssertionError(f"Tab does not reach {selector}")

    before = len(corpus.ledger.feedback("works", limit=100))
    page.execute_script("document.body.tabIndex = -1; document.body.focus()")
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert on(".skip")
    page.switch_to.active_element.send_keys(Keys.ENTER)
    becomes(page, lambda: on("#question"), "the skip link did not lead to the question")
    page.switch_to.active_element.send_keys("When does the ferry to the gull island leave?", Keys.ENTER)
    find(page, ".meta")
    tab_to("button.citation")
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert find(page, "#cited").text == FERRY
    assert on("#document")
    tab_to("#report")
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.find_element(By.ID, "document").is_displayed()
    assert on("button.citation")
    tab_to(".thumbs_up")
    page.switch_to.active_element.send_keys(Keys.SPACE)
    becomes(page, lambda: "helpful" in find(page, ".feedback-status").text, "the vote was not confirmed")
    said(corpus, before + 1)


@pytest.mark.parametrize("path", ["", "receipts", "releases"])
def test_the_dark_page_is_a_choice_that_is_kept(page: WebDriver, address: str, path: str) -> None:
    def dark() -> bool:
        return luminance(colours(page, "body")[1]) < 0.5

    page.get(address + path)
    assert not dark()
    find(page, "#theme").click()
    assert dark()
    assert contrast(page, "body") >= 4.5
    page.refresh()
    assert find(page, "#theme").get_attribute("aria-pressed") == "true"
    assert dark()
    find(page, "#theme").click()
    assert not dark()
    assert page.execute_script("return Object.keys(localStorage)") == []


@pytest.mark.parametrize("path", ["", "receipts", "releases"])
def test_at_360_pixels_nothing_scrolls_sideways(page: WebDriver, address: str, path: str) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.get(address + path)
        if path == "":
            ask(page, "When does the ferry to the gull island leave, " + "x" * 200 + "?")
            find(page, ".correct").click()
            find(page, "#readers summary").click()
        find(page, {"": ".meta", "receipts": "#rows", "releases": ".release"}[path])
        assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_on_a_phone_the_open_document_keeps_the_focus(page: WebDriver) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        ask(page, "When does the ferry to the gull island leave?")
        find(page, "button.citation").click()
        find(page, "#cited")
        for _ in range(12):
            page.switch_to.active_element.send_keys(Keys.TAB)
            within = "const at = document.activeElement; return at === document.body || !!at.closest('#document')"
            assert page.execute_script(within)
        find(page, "#close").click()
        assert page.execute_script("return !document.getElementById('asking').inert")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("path", ["", "receipts", "releases"])
def test_no_request_leaves_the_service(page: WebDriver, address: str, path: str) -> None:
    page.get(address + path)
    if path == "":
        ask(page, "When does the ferry to the gull island leave?")
        find(page, "button.citation").click()
        find(page, "#cited")
    find(page, {"": "#cited", "receipts": "#rows", "releases": ".release"}[path])
    requests = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(requests) > 5
    assert [request for request in requests if not request.startswith(address)] == []
    inline = "script:not([src]), style, [style], [onclick], [onerror]"
    assert page.find_elements(By.CSS_SELECTOR, inline) == []


@pytest.mark.parametrize("path", ["", "receipts", "releases", "static/app.js", "static/style.css"])
def test_browsers_are_told_to_ask_whether_a_file_changed(address: str, path: str) -> None:
    first = httpx.get(address + path)
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["etag"]


def test_releases_are_listed_with_their_checks_and_the_live_one_marked(page: WebDriver, corpus: Corpus) -> None:
    find(page, "#to-releases").click()
    live = find(page, ".release.live")
    assert live.find_element(By.TAG_NAME, "h2").text == f"Release {corpus.live()} Live"
    find(page, ".release.live summary").click()
    checks = [item.text for item in live.find_elements(By.CSS_SELECTOR, ".checks li")]
    (info,) = [found for found in corpus.releases() if found.number == corpus.live()]
    assert len(checks) == len(info.checks) > 5
    assert all(text.startswith("✓ passed: ") for text in checks)
    assert "threshold" in checks[0]
