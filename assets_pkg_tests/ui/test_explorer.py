"""The explorer as an analyst meets it: a real server over the sample days, a real browser, light and dark."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import pytest
from playwright.sync_api import Browser, Download, Page, expect

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.steps import explore
from assets_pkg_tests.orchestration.test_sessions_command import INPUT, SESSIONS
from assets_pkg_tests.sample_lake import sample_lake
from assets_pkg_tests.ui.conftest import WAIT_SECONDS, wait_for
from assets_pkg_tests.workbench import Workbench, free_port

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("explorer")]

CHART = "[data-testid=stVegaLiteChart]"
MARKS = f"{CHART} .role-mark path"
SCRIPT = '{"user_id": "<script>document.title = 1</script>", "event_time": "2024-07-10T10:01:00Z", "event_type": "**bold**"}\n'
AT_REST = "[data-testid=stApp][data-test-script-state=notRunning]"


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return sample_lake(tmp_path_factory.mktemp("looked-at"))


@pytest.fixture(scope="module")
def explorer(looked_at: Workbench) -> Iterator[str]:
    """The address of a running explorer."""
    port = free_port()
    ours = ("PIPELINE_", "DAGSTER_", "STREAMLIT_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    log = looked_at.folder / "explorer.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "assets_pkg", "explore", "--port", str(port)],
            cwd=looked_at.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def up() -> bool | None:
        assert process.poll() is None, log.read_text()
        with suppress(urllib.error.URLError, ConnectionError), opener.open(address, timeout=5):
            return True
        return None

    try:
        wait_for("the explorer", up, log=log)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) in (0, -signal.SIGTERM)


class Visit:
    """A page of the explorer, in a window of its own, and the hosts that it asked for anything."""

    def __init__(
        self, browser: Browser, address: str, scheme: str = "light", width: int = 1400, height: int = 1000
    ) -> None:
        self.address = address
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            timezone_id="America/New_York",
            locale="en-US",
        )  # type: ignore[arg-type]
        self.context.set_default_timeout(WAIT_SECONDS * 1000)
        expect.set_options(timeout=WAIT_SECONDS * 1000)
        self.page: Page = self.context.new_page()
        self.hosts: set[str] = set()
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname or ""))

    def open(self, path: str, title: str) -> Page:
        self.page.goto(self.address + path)
        expect(self.page.get_by_role("heading", name=title, level=1)).to_be_visible()
        return self.page

    def comes_to_rest(self) -> None:
        """Nothing is computed any more that could draw the page anew."""
        expect(self.page.locator(AT_REST)).to_have_count(1)

    def download(self, file: str, form: str) -> Download:
        """What the button under a table gives."""
        with self.page.expect_download() as found:
            self.page.locator(f".st-key-{file}-{form} button").click()
        return found.value

    def photograph(self, path: Path) -> None:
        """All of the page, as far as a screen could show it."""
        self.comes_to_rest()
        height = self.page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        size = self.page.viewport_size or {"width": 1400, "height": 1000}
        self.page.set_viewport_size({"width": size["width"], "height": min(height, 1500)})
        self.page.wait_for_timeout(1000)  # canvases are drawn anew
        self.page.screenshot(path=path)
        self.page.set_viewport_size(size)


@pytest.fixture
def visit(browser: Browser, explorer: str) -> Iterator[Visit]:
    found = Visit(browser, explorer)
    yield found
    found.context.close()
    assert found.hosts <= {"127.0.0.1"}, "it needs nobody outside"


def tile(page: Page, name: str) -> str:
    place = page.locator("[data-testid=stMetric]").filter(has=page.get_by_text(name, exact=True))
    return place.locator("[data-testid=stMetricValue]").inner_text()


def test_the_overview_shows_totals_and_a_chart(visit: Visit, looked_at: Workbench, pictures: Path) -> None:
    page = visit.open("/", "Overview")
    there = explore.dates_there(looked_at.work)[-7:]
    expect(page.locator("[data-testid=stMetric]")).to_have_count(6)
    assert tile(page, "Sessions") == f"{explore.session_count(looked_at.work, there):,}"
    expect(page.locator(MARKS).first).to_be_visible()
    assert page.locator(MARKS).count() >= 10, "five days, of clean and quarantined rows at least"
    visit.photograph(pictures / "explorer_overview.png")


def test_pages_are_reached_and_filters_set_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit.open("/", "Overview")
    expect(page.locator(MARKS).first).to_be_visible()
    visit.comes_to_rest()
    page.get_by_role("link", name="Overview").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Sessions")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sessions", level=1)).to_be_visible()
    expect(page.locator(CHART)).to_have_count(2)
    visit.comes_to_rest()
    page.get_by_role("textbox", name="Customer").focus()
    page.keyboard.type("c000139")
    page.keyboard.press("Tab")
    expect(page.get_by_role("combobox", name="Platform")).to_be_focused()
    expect(page.locator("[data-testid=stCode]").first).to_have_text("c000139")
    page.wait_for_url("**/sessions?*customer=c000139*")


def test_a_row_is_chosen_with_the_arrow_keys(visit: Visit, looked_at: Workbench) -> None:
    page = visit.open("/sessions?customer=&min_events=20", "Sessions")
    days = explore.dates_there(looked_at.work)[-7:]
    rows = explore.first_sessions(looked_at.work, days, explore.SessionFilter(min_events=20), "latest", 4)
    chosen = page.locator("[data-testid=stCode]").first
    expect(chosen).to_have_text(rows["customer_id"][0])
    expect(page.locator(CHART)).to_have_count(2)
    visit.comes_to_rest()
    grid = page.get_by_role("region", name="Sessions", exact=True).locator("canvas").first
    grid.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(chosen).to_have_text(rows["customer_id"][3])
    assert rows["customer_id"][3] != rows["customer_id"][0]


def test_dates_go_with_the_visit_and_with_the_address(visit: Visit, looked_at: Workbench) -> None:
    day = "2025-12-12"
    page = visit.open(f"/?from={day}&to={day}", "Overview")
    count = explore.session_count(looked_at.work, [date.fromisoformat(day)])
    expect(page.locator("[data-testid=stMetric]")).to_have_count(6)
    assert tile(page, "Sessions") == f"{count:,}"
    for name in ("Sessions", "Quarantine", "Overview"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
        expect(page.get_by_text("1 of 8 dates with tables")).to_be_visible()
        page.wait_for_url(f"**from={day}&to={day}*")
    page.reload()
    expect(page.get_by_text("1 of 8 dates with tables")).to_be_visible()
    expect(page.locator("[data-testid=stMetric]")).to_have_count(6)
    assert tile(page, "Sessions") == f"{count:,}"


def test_sessions_are_filtered_drawn_and_downloaded(
    visit: Visit, looked_at: Workbench, pictures: Path, tmp_path: Path
) -> None:
    page = visit.open("/sessions?min_events=20&platform=web", "Sessions")
    wanted = explore.SessionFilter(min_events=20, platform="web")
    days = explore.dates_there(looked_at.work)[-7:]
    expected = explore.sessions_of(looked_at.work, days, wanted).collect()
    expect(page.get_by_text(f"Sessions: {expected.height} rows")).to_be_visible()
    expect(page.locator(CHART)).to_have_count(2)
    expect(page.locator(CHART).nth(1).locator(".role-mark path").first).to_be_visible()
    for form, read in (("csv", pl.read_csv), ("parquet", pl.read_parquet)):
        found = visit.download("sessions", form)
        assert found.suggested_filename == f"sessions.{form}"
        found.save_as(tmp_path / form)
        rows = read(tmp_path / form)
        assert sorted(rows["session_id"]) == sorted(expected["session_id"])
    assert pl.read_parquet(tmp_path / "parquet").sort("session_id").equals(expected.sort("session_id"))
    visit.photograph(pictures / "explorer_sessions.png")


def test_a_rejected_row_is_found_by_its_reason(visit: Visit, looked_at: Workbench, pictures: Path) -> None:
    page = visit.open("/quarantine", "Quarantine")
    expect(page.locator(MARKS).first).to_be_visible()
    reason = page.get_by_role("combobox", name="Reason")
    reason.fill("malformed")
    reason.press("Enter")
    page.wait_for_url("**/quarantine?*reason=malformed_row*")
    days = explore.dates_there(looked_at.work)[-7:]
    feed = EVENTS
    first = explore.quarantined(looked_at.work, feed, days, "malformed_row").head(1).collect().row(0, named=True)
    expect(page.locator("[data-testid=stCode]").first).to_contain_text(first["raw_text"].split("\n")[0][:40])
    expect(page.get_by_text(f"{first['source_file']}, row {first['source_row']}")).to_be_visible()
    visit.photograph(pictures / "explorer_quarantine.png")


@pytest.mark.parametrize(
    ("path", "title", "table"), [("/metrics", "Metrics", "all_metrics"), ("/alerts", "Alerts", "alerts")]
)
def test_the_other_pages_show_and_give_their_tables(
    visit: Visit, looked_at: Workbench, path: str, title: str, table: str
) -> None:
    page = visit.open(path, title)
    expect(page.get_by_role("region", name=re.compile(".+")).last).to_be_visible()
    days = explore.dates_there(looked_at.work)[-7:]
    expected = {"all_metrics": explore.metrics, "alerts": explore.alerts}[table](looked_at.work, days).collect()
    found = pl.read_parquet(visit.download(table, "parquet").path())
    assert found.sort(found.columns).equals(expected.sort(found.columns))


def test_a_file_is_uploaded_looked_through_and_given_back(visit: Visit, tmp_path: Path, pictures: Path) -> None:
    source = tmp_path / "events.json"
    source.write_text(INPUT)
    page = visit.open("/file", "One file")
    page.locator("input[type=file]").set_input_files(source)
    expect(page.locator("[data-testid=stMetric]")).to_have_count(6)
    assert {name: tile(page, name) for name in ("Events", "Valid", "Skipped", "Duplicates", "Users", "Sessions")} == {
        "Events": "5", "Valid": "3", "Skipped": "1", "Duplicates": "1", "Users": "2", "Sessions": "2",
    }  # fmt: skip
    assert Path(visit.download("sessions", "csv").path()).read_text() == SESSIONS
    page.get_by_role("tab", name="Skipped").click()
    expect(page.get_by_role("tabpanel", name="Skipped").locator(MARKS)).to_have_count(1)
    page.get_by_role("tab", name="Events").click()
    events = page.get_by_role("tabpanel", name="Events")
    expect(events.locator(MARKS)).to_have_count(3)
    user = page.get_by_role("textbox", name="User")
    user.fill("2")
    user.press("Enter")
    expect(events.locator(MARKS)).to_have_count(1)
    expect(events.get_by_text("Events: 1 row")).to_be_visible()
    page.get_by_role("tab", name="Original").click()
    original = page.get_by_role("tabpanel", name="Original")
    expect(original.locator("[data-testid=stCode]")).to_contain_text("invalid-timestamp")
    with page.expect_download() as found:
        original.get_by_role("button", name="The file itself").click()
    assert found.value.suggested_filename == "events.json"
    assert Path(found.value.path()).read_text() == INPUT


def test_data_runs_nothing_and_a_dark_screen_gets_a_dark_page(
    browser: Browser, explorer: str, tmp_path: Path, pictures: Path
) -> None:
    visit = Visit(browser, explorer, "dark")
    source = tmp_path / "<img src=x onerror=alert(1)>.json"
    source.write_text(SCRIPT * 40 + INPUT * 30 + "{broken <b>\n")
    page = visit.open("/file", "One file")
    page.locator("input[type=file]").set_input_files(source)
    expect(page.locator("[data-testid=stMetric]")).to_have_count(6)
    assert tile(page, "Users") == "3"
    page.get_by_role("tab", name="Skipped").click()
    skipped = page.get_by_role("tabpanel", name="Skipped")
    expect(skipped.locator("[data-testid=stCode]").last).to_contain_text("{broken <b>")
    page.get_by_role("tab", name="Events").click()
    expect(page.get_by_role("tabpanel", name="Events").locator(MARKS).first).to_be_visible()
    assert page.title() == "Explorer"
    assert page.locator("b", has_text="bold").count() == 0
    ground = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 64, ground
    visit.photograph(pictures / "explorer_file_dark.png")
    visit.context.close()


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, explorer: str, tmp_path: Path) -> None:
    visit = Visit(browser, explorer, width=390, height=844)
    source = tmp_path / "events.json"
    kinds = (f"an_event_type_of_some_length_{number}" for number in range(30))
    source.write_text("\n".join(SCRIPT.strip().replace("**bold**", kind) for kind in kinds))
    for path, title in (("/", "Overview"), ("/sessions", "Sessions"), ("/file", "One file")):
        page = visit.open(path, title)
        if path == "/file":
            page.locator("input[type=file]").set_input_files(source)
            page.get_by_role("tab", name="Events").click()
        expect(page.locator(MARKS).first).to_be_visible()
        visit.comes_to_rest()
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
        for legend in page.locator(f"{CHART} .role-legend").all():
            box = legend.bounding_box()
            assert box is None or box["x"] + box["width"] <= 390, box
    visit.context.close()
