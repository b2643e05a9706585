"""The pages in a real Chromium: drawn without an error, clicked, used by keyboard, narrow, dark, and quick when large.

`make chromium` installs the browser; where it is missing these tests are skipped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.paths import Workspace
from sweeper.report.page import study_page
from sweeper.search.study_store import StudyStore
from tests.report.studies import sweep_of, write_study

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: make chromium"),
]

SECTIONS = ("trials", "search", "parameters", "curves", "cost", "trial", "setup")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Open a file in a window of its own; at the end it must have asked for nothing and complained of nothing."""
    windows, complaints = [], []

    def opened(path: Path, width: int = 1200, height: int = 800, scheme: str = "light", **options: Any) -> Any:
        windows.append(
            window := browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", **options
            )
        )
        page = window.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
        page.goto(path.as_uri())
        return page

    yield opened
    for window in windows:
        window.close()
    assert complaints == []


@pytest.fixture(scope="module")
def report(place: Workspace, page: str) -> Path:
    (place.root / "report.html").write_text(page, encoding="utf-8")
    return place.root / "report.html"


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true; Playwright's own wait evaluates text, which the page's policy forbids."""
    ends = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < ends, expression
        time.sleep(0.1)


def see_all(page: Any) -> None:
    """Bring every section into view and wait for its charts."""
    for section in SECTIONS:
        page.locator(f"#{section}").scroll_into_view_if_needed()
        page.evaluate("id => document.getElementById(id).scrollIntoView()", section)
        for chart in page.locator(f"#{section} > .chart").all():
            chart.scroll_into_view_if_needed()
            chart.locator(".main-svg").first.wait_for(timeout=20_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_every_section_is_drawn_and_nothing_is_wider_than_the_window(
    report: Path, open_page: Open, scheme: str, width: int
) -> None:
    page = open_page(report, width=width, scheme=scheme)
    see_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#table tbody tr").count() == 12
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is (scheme == "light")


def test_the_table_sorts_filters_and_opens_a_trial(report: Path, open_page: Open) -> None:
    page = open_page(report)
    numbers = page.locator("#table tbody tr td:nth-child(2)")
    page.get_by_role("button", name="trial", exact=True).click()
    assert numbers.all_inner_texts() == [str(number) for number in range(12)]
    page.get_by_role("button", name="trial", exact=True).click()
    assert numbers.first.inner_text() == "11"
    assert page.locator("#table th[aria-sort=descending]").inner_text().startswith("trial")
    page.get_by_label("Filter").fill("state=pruned trial<6")
    page.locator("#table tbody tr").nth(2).wait_for(state="detached")
    assert sorted(numbers.all_inner_texts()) == ["2", "5"]
    page.get_by_role("button", name="open trial 5").click()
    page.get_by_role("heading", name="Confusion matrix").wait_for()
    assert page.locator("#trial-select").input_value() == "5"
    assert page.locator("#trial-is").inner_text().startswith("pruned")


def test_a_pair_that_is_confused_shows_its_images(report: Path, open_page: Open) -> None:
    page = open_page(report)
    page.locator("#trial").scroll_into_view_if_needed()
    pair = page.locator("ol.pairs button").first
    count = int(pair.locator("b").inner_text())
    pair.click()
    figures = page.locator("#trial-body > div > .pictures").first.locator("figure")
    assert figures.count() == min(count, 12)
    assert figures.first.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    page.locator("#trial-body .bar select").select_option("together")
    page.get_by_role("button", name="zoom in", exact=True).last.click()


def test_all_of_it_works_by_keyboard(report: Path, open_page: Open) -> None:
    page = open_page(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    for _ in range(60):  # through navigation, filter and headings to the first trial
        page.keyboard.press("Tab")
        if "open trial" in (page.evaluate("document.activeElement.getAttribute('aria-label')") or ""):
            break
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Confusion matrix").wait_for()
    matrix = page.locator("canvas.matrix")
    matrix.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "+", "Enter"):
        page.keyboard.press(key)
    assert "images of" in page.locator(".readout").inner_text()
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_charts_fit_the_paper_while_the_page_is_printed_and_the_window_again_afterwards(
    report: Path, open_page: Open
) -> None:
    page = open_page(report, width=1100)
    until(page, "window.Plotly !== undefined")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    until(page, "document.querySelectorAll('.chart .main-svg').length > 10")
    too_wide = "Math.max(...[...document.querySelectorAll('.chart .main-svg, canvas')].map((one) => one.clientWidth))"
    assert 400 < page.evaluate(too_wide) <= 700
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    until(page, f"{too_wide} > 900")


def test_a_page_that_is_printed_unread_has_the_best_trial_and_headings_where_they_belong(
    report: Path, open_page: Open
) -> None:
    page = open_page(report, width=1100)
    page.locator("#trial-body canvas.matrix").wait_for(state="attached")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.querySelector('#table thead th')).position") == "static"
    assert page.locator("#trial-body img[loading=lazy]").count() == 0


def test_a_printed_table_fits_the_paper_and_breaks_no_number(report: Path, open_page: Open) -> None:
    page = open_page(report, width=1100)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    measured = page.evaluate("""[...document.querySelectorAll('.scroll > table')]
        .filter((table) => table.rows.length > 1)
        .map((table) => {
            const box = table.getBoundingClientRect(), paper = table.parentElement.getBoundingClientRect();
            const lines = [...table.querySelectorAll('td.number')].map((cell) => {
                const range = document.createRange();
                range.selectNodeContents(document.createTreeWalker(cell, NodeFilter.SHOW_TEXT).nextNode() ?? cell);
                return range.getClientRects().length;
            });
            return [box.width - paper.width, Math.max(0, ...lines)];
        })""")
    assert measured
    for too_wide, lines in measured:
        assert too_wide <= 1
        assert lines <= 1
    assert page.locator("#table th span").first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#table th button").first.is_visible()
    assert not page.locator("#table th span").first.is_visible()


def test_small_numbers_are_written_short_and_counts_have_whole_ticks(report: Path, open_page: Open) -> None:
    page = open_page(report)
    assert page.evaluate("[short(0.000001614), short(0.00002), short(0.01234567), short(64)]") == [
        "1.61e-6",
        "2e-5",
        "0.01235",
        "64",
    ]
    assert page.evaluate("logTicks([0.0015, 0.0087]).ticktext") == ["0.002", "0.005", "0.01"]
    assert page.evaluate("logTicks([1e-5, 1e-1]).ticktext") == ["1e-5", "1e-4", "0.001", "0.01", "0.1"]
    assert page.evaluate("ticksOfWhole(8).dtick") == 1


def test_all_of_the_page_is_drawn_for_who_photographs_it_without_scrolling(report: Path, open_page: Open) -> None:
    page = open_page(report, width=1100)
    charts = "[...document.querySelectorAll('.chart')]"
    until(page, f"{charts}.length > 5 && {charts}.every((one) => one.querySelector('.main-svg'))")
    until(page, "document.querySelector('canvas.matrix')?.width > 300")
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("byId('parallel').width") > 300


def test_the_parameters_of_the_winner_are_read_without_scrolling_sideways(report: Path, open_page: Open) -> None:
    page = open_page(report, width=1100)
    box = page.locator("#headline").bounding_box()
    assert box["x"] + box["width"] <= 1100
    told = page.locator("#headline").inner_text()
    best = "page.data.trials.find((trial) => trial.rank === 1).params"
    names = page.evaluate(f"page.data.params.map((param) => param.name).filter((name) => {best}[name] != null)")
    assert names
    assert all(name in told for name in names)


def test_the_buttons_of_a_chart_lie_above_its_points(report: Path, open_page: Open) -> None:
    page = open_page(report)
    for name in ("#history", "#curve-chart"):
        page.locator(name).scroll_into_view_if_needed()
        page.locator(f"{name} .main-svg").first.wait_for()
        page.locator(name).hover()
        bar, plot = (page.locator(f"{name} {part}").first.bounding_box() for part in (".modebar-group", ".nsewdrag"))
        assert bar["y"] + bar["height"] <= plot["y"] + 1


def test_names_of_axes_keep_their_beginning_and_their_end(report: Path, open_page: Open) -> None:
    page = open_page(report)
    assert page.evaluate("fitted('optimizer.adamw.lr', 18)") == "optimizer.adamw.lr"
    assert page.evaluate("fitted('optimizer.adamw.lr', 12)") == "optimi…mw.lr"


def test_the_numbers_of_a_chart_can_be_read_as_a_table(report: Path, open_page: Open) -> None:
    page = open_page(report)
    page.locator("#history + details summary").click()
    page.locator("#history + details tbody tr").nth(11).wait_for()  # the table is made when it is opened


def test_the_page_works_in_a_frame_that_may_only_run_scripts(report: Path, open_page: Open, place: Workspace) -> None:
    frame = place.root / "frame.html"
    frame.write_text('<iframe sandbox="allow-scripts" src="report.html" width="900" height="900"></iframe>')
    page = open_page(frame)
    inside = page.frame_locator("iframe")
    inside.locator("#table tbody tr").nth(11).wait_for()
    inside.locator("#theme").click()


def test_the_difference_of_two_trials_is_drawn(
    place: Workspace, store: StudyStore, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.root)
    done = CliRunner().invoke(app, ["diff", "s/0", "s/1", "--page", "diff.html"], catch_exceptions=False)
    assert done.exit_code == 0
    page = open_page(place.root / "diff.html", width=360)
    page.locator("#curve-chart").scroll_into_view_if_needed()
    page.locator("#curve-chart .main-svg").first.wait_for()
    page.locator("#lost").click()
    lost = int(page.locator("#lost").inner_text().split()[0])
    assert page.locator("#shelf figure").count() == min(lost, 60)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.fixture(scope="module")
def large(place: Workspace) -> Path:
    """The report of 500 trials on 200 classes and 4,000 images."""
    classes = [f"class {number:03d}" for number in range(200)]
    paths = [f"val/{name}/{number}.png" for name in classes for number in range(20)]
    store = write_study(place, sweep_of("large", 500, data="nowhere"), paths, classes, trials=500)
    path = place.root / "large.html"
    path.write_text(study_page(place, store, f"sqlite:///{place.mlflow_database}"), encoding="utf-8")
    return path


def test_a_report_of_500_trials_on_200_classes_opens_in_less_than_3_seconds(large: Path, open_page: Open) -> None:
    took, worked = [], []
    for _ in range(5):
        began = time.perf_counter()
        page = open_page(large)
        page.locator("#table tbody tr").nth(20).wait_for()
        page.locator("#history").scroll_into_view_if_needed()
        page.locator("#history .main-svg").first.wait_for()
        took.append(time.perf_counter() - began)
        worked.append(processor_seconds(page))
    size = large.stat().st_size / 1e6
    print(f"\n{size:.1f} MB open with their first chart in {sorted(took)} s, of the processor in {sorted(worked)} s")
    assert sorted(took)[2] < 3 or sorted(worked)[2] < 3  # the second counts where others use the machine as well
    page.locator("#trial").scroll_into_view_if_needed()
    page.locator("canvas.matrix").wait_for()
    page.get_by_role("button", name="Show all 500").click()
    assert page.locator("#table tbody tr").count() == 500


def processor_seconds(page: Any) -> float:
    """Return what the process that draws the page has used of the processor."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    metrics = {item["name"]: item["value"] for item in session.send("Performance.getMetrics")["metrics"]}
    return float(metrics["ProcessTime"])
