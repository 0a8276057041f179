"""The web UI as people meet it: runs, a backfill, a failed check, the graph. One real `dagster dev`, tests in order."""

import os
import re
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.tables import INGEST_TABLES
from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg.orchestration.workplace import ACTIVITY_JOB
from assets_pkg.settings import Settings
from assets_pkg_tests.ui.conftest import WebUi, expect_drawn, wait_for
from assets_pkg_tests.workbench import feed_csv

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("web_ui")]

DAY = "2025-12-10"
DAYS = [f"2025-12-{number}" for number in range(10, 15)]
MARKUP = "2025-12-15"  # a day that a test adds
GROUPS = ("raw", "clean", "quarantine", "profile", "report", "activity", "health")
# What depends on the five days: events of two days before to a day after, sessions one more on each side, a week of alerts.
EVENT_DATES = {
    **dict.fromkeys(("events_by_date", "session_runs"), 5 + 3),
    **dict.fromkeys(("session_events", "sessions", "user_daily", "activity_metrics", "restatements"), 5 + 3 + 2),
    "activity_alerts": 5 + 3 + 2 + 7,
}
MOST_RUNS = 8
_GRAPH = build_definitions(Settings(data_dir=Path("unused"))).resolve_asset_graph()
ASSETS = sorted(key.to_user_string() for key in _GRAPH.executable_asset_keys)

_LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
_RUNS = """{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }"""
_BACKFILL = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
    status runs { runId status }
    assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
        assetKey { path } numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed } } } } } }"""
_MESSAGES = """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
    ... on MessageEvent { message } } } } }"""
_CHECKS = """query ($key: AssetKeyInput!, $check: String!) {
    assetCheckExecutions(assetKey: $key, checkName: $check, limit: 50) {
        runId status evaluation { success description partition } } }"""


def runs(ui: WebUi) -> list[dict[str, Any]]:
    """All runs, the newest first."""
    found: list[dict[str, Any]] = ui.ask(_RUNS)["runsOrError"]["results"]
    return found


@pytest.fixture(scope="module")
def command_run(web_ui: WebUi) -> dict[str, Any]:
    """The one run of an instance after a day was run from the command line, beside the UI."""
    told = web_ui.command("run", "--date", DAY)
    assert told.returncode == 0, told.stdout + told.stderr
    found = [run for run in runs(web_ui) if run["jobName"] == DAILY_JOB]
    assert len(found) == 1, found
    assert [run["status"] for run in runs(web_ui) if run["jobName"] == ACTIVITY_JOB] == ["SUCCESS"]
    return found[0]


def launched_backfill(ui: WebUi, browsing: BrowserContext) -> str:
    """Launch a backfill of all assets over the sample days, as people do; gives its id."""
    page = browsing.new_page()
    page.goto(ui.url("/asset-groups"))
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Show all partitions").click()
    days = dialog.get_by_role("textbox").first
    days.fill(f"[{DAYS[0]}...{DAYS[-1]}]")
    days.press("Tab")
    dialog.get_by_role("button", name="Launch backfill").click()
    told = page.get_by_text("Created backfill").inner_text()
    page.close()
    return told.removeprefix("Created backfill").split()[0]


def of_backfill(ui: WebUi, backfill: str) -> dict[str, Any]:
    """What the web server knows of a backfill."""
    found: dict[str, Any] = ui.ask(_BACKFILL, id=backfill)["partitionBackfillOrError"]
    return found


def process_of(ui: WebUi, run: str) -> int:
    """The process that works on a run."""
    events = ui.ask(_MESSAGES, id=run)["logsForRun"]["events"]
    (process,) = {int(pid) for each in events for pid in re.findall(r"for run \(pid: (\d+)\)", each["message"])}
    return process


def ended(ui: WebUi, backfill: str) -> dict[str, Any]:
    """A backfill when it is over."""

    def look() -> dict[str, Any] | None:
        found = of_backfill(ui, backfill)
        return None if found["status"] in ("REQUESTED", "IN_PROGRESS", "CANCELING") else found

    return wait_for("the end of the backfill", look, log=ui.log)


def halt(ui: WebUi, process: int) -> None:
    """Stop a process at a moment when it keeps none of Dagster's databases from others."""
    for _ in range(100):
        os.kill(process, signal.SIGSTOP)
        if not any(map(is_locked, (ui.folder / ".dagster").rglob("*.db"))):
            return
        os.kill(process, signal.SIGCONT)
        time.sleep(0.02)
    pytest.fail(f"process {process} always writes to one of Dagster's databases")


def is_locked(database: Path) -> bool:
    """Whether nobody else can write to a SQLite database, not even after a second."""
    with closing(sqlite3.connect(database, timeout=1, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                return True
            raise
    return False


@pytest.fixture(scope="module")
def cancelled(web_ui: WebUi, command_run: dict[str, Any], browsing: BrowserContext) -> dict[str, Any]:
    """A backfill that was cancelled in the list of runs, while one of its runs was at work."""
    backfill = launched_backfill(web_ui, browsing)
    lake = web_ui.folder / "data" / "lake"
    wait_for("raw tables", (lake / "raw_events" / f"ingest_date={DAYS[-1]}").exists, every=0.05)
    (run,) = of_backfill(web_ui, backfill)["runs"]
    process = process_of(web_ui, run["runId"])
    halt(web_ui, process)  # or it might be done before it hears of it
    page = browsing.new_page()
    page.goto(web_ui.url("/runs"))
    line = page.locator("[class*=RunsFeedRow_rowGrid]").filter(has_text=backfill)
    line.locator("button:has([aria-label=expand_more])").click()
    page.get_by_text("Cancel backfill").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel backfill").click()
    expect(page.get_by_role("dialog")).to_have_count(0)  # it was asked for
    wait_for(
        "the daemon to cancel the run",
        lambda: [each["status"] for each in of_backfill(web_ui, backfill)["runs"]] == ["CANCELING"],
        log=web_ui.log,
    )
    os.kill(process, signal.SIGCONT)
    found = ended(web_ui, backfill)
    page.close()
    assert not (lake / "alerts" / f"ingest_date={DAYS[-1]}").exists(), "it was cancelled halfway"
    return found


@pytest.fixture(scope="module")
def backfill(web_ui: WebUi, cancelled: dict[str, Any], browsing: BrowserContext) -> dict[str, Any]:
    """The same backfill, launched again, and finished."""
    return ended(web_ui, launched_backfill(web_ui, browsing))


def test_the_code_location_loads_under_its_name(web_ui: WebUi) -> None:
    def loaded() -> list[dict[str, Any]] | None:
        entries: list[dict[str, Any]] = web_ui.ask(_LOCATIONS)["workspaceOrError"]["locationEntries"]
        return entries if entries and all(entry["loadStatus"] == "LOADED" for entry in entries) else None

    entries = wait_for("the code location", loaded)
    assert [(entry["name"], entry["locationOrLoadError"]["__typename"]) for entry in entries] == [
        ("assets_pkg", "RepositoryLocation")
    ], entries


def test_a_run_of_the_command_line_is_in_the_list_of_runs(
    web_ui: WebUi, command_run: dict[str, Any], page: Page
) -> None:
    assert command_run["status"] == "SUCCESS"
    assert {"key": "dagster/partition", "value": DAY} in command_run["tags"]
    page.goto(web_ui.url("/runs"))
    line = page.locator("[class*=RunsFeedRow_rowGrid]").filter(has_text=command_run["runId"][:8])
    expect(line).to_contain_text(DAILY_JOB)
    expect(line).to_contain_text(DAY)
    expect(line).to_contain_text("Success")


def test_a_cancelled_backfill_ends_its_runs_and_says_so(web_ui: WebUi, cancelled: dict[str, Any]) -> None:
    assert cancelled["status"] == "CANCELED"
    assert {run["status"] for run in cancelled["runs"]} == {"CANCELED"}


def test_a_backfill_of_the_sample_days_fills_every_table_and_reaches_the_event_dates_they_touch(
    web_ui: WebUi, backfill: dict[str, Any]
) -> None:
    assert backfill["status"] == "COMPLETED_SUCCESS", backfill
    assert {run["status"] for run in backfill["runs"]} == {"SUCCESS"}
    assert len(backfill["runs"]) <= MOST_RUNS, "ingest dates in one run, event dates in as many as windows demand"
    statuses = backfill["assetBackfillData"]["assetBackfillStatuses"]
    counts = {
        status["assetKey"]["path"][0]: (
            status["numPartitionsTargeted"],
            status["numPartitionsMaterialized"],
            status["numPartitionsFailed"],
        )
        for status in statuses
    }
    days = {name: EVENT_DATES.get(name, 5) for name in ASSETS}
    assert counts == {name: (number, number, 0) for name, number in days.items()}
    days_of_rows = {}
    for table, known in INGEST_TABLES.items():
        rows = pl.scan_delta(str(web_ui.folder / "data" / "lake" / table))
        filled = rows.select(pl.col(known.partition_by).cast(pl.String).unique().sort()).collect()
        days_of_rows[table] = filled.to_series().to_list()
    assert days_of_rows == dict.fromkeys(INGEST_TABLES, DAYS)
    sessions = pl.scan_delta(str(web_ui.folder / "data" / "lake" / "sessions"))
    started = sessions.filter(pl.col("session_start").dt.date() != pl.col("event_date")).collect()
    assert started.is_empty()
    assert sessions.select(pl.len()).collect().item() > 1000
    reports = sorted(path.parent.name for path in (web_ui.folder / "reports").glob("*/validation_report.json"))
    assert reports == [f"ingest_date={day}" for day in DAYS]


def test_a_backfill_judges_every_day_by_every_check(web_ui: WebUi, backfill: dict[str, Any]) -> None:
    of_backfill = {run["runId"] for run in backfill["runs"]}
    for key in {key for key in _GRAPH.asset_check_keys if key.asset_key in _GRAPH.executable_asset_keys}:
        found = web_ui.ask(_CHECKS, key={"path": list(key.asset_key.path)}, check=key.name)["assetCheckExecutions"]
        judged = sorted(
            each["evaluation"]["partition"] if each["evaluation"] else each["status"]
            for each in found
            if each["runId"] in of_backfill
        )
        table = key.asset_key.path[0]
        assert len(judged) == len(set(judged)), f"{key} judged a day twice"
        assert set(judged) >= set(DAYS), key
        assert len(judged) == EVENT_DATES.get(table, 5), key


def test_the_asset_graph_names_every_asset(web_ui: WebUi, backfill: dict[str, Any], page: Page, pictures: Path) -> None:
    page.set_viewport_size({"width": 3200, "height": 1600})  # names alone, large: the README's picture
    show_graph(web_ui, page)
    photograph_graph(page, pictures / "asset_graph.png")
    page.set_viewport_size({"width": 5600, "height": 2800})  # everything of each asset, and no name cut short
    show_graph(web_ui, page)
    for name in ASSETS:
        expect(page.locator("foreignObject").get_by_text(name, exact=True).first).to_be_visible()
    photograph_graph(page, pictures / "asset_graph_whole.png")


def test_numbers_of_an_asset_are_plotted(web_ui: WebUi, backfill: dict[str, Any], page: Page, pictures: Path) -> None:
    page.set_viewport_size({"width": 1800, "height": 1700})
    page.goto(web_ui.url("/assets/daily_metrics?view=overview"))
    page.get_by_role("button").filter(has_text=re.compile("^Plots$")).click()
    # By partition the UI plots the last 120 up to today; the sample days are older than that.
    page.get_by_role("button").filter(has_text=re.compile("^Events$")).click()
    for number in ("active customers", "events rows", "events quarantine rate", "hours with events"):
        expect(page.get_by_text(number, exact=True)).to_be_visible()
    expect_drawn(page, 9)
    page.screenshot(path=pictures / "plots.png")


def show_graph(ui: WebUi, page: Page) -> None:
    """Open the graph of all assets with all groups open and the side bars away."""
    page.goto(ui.url("/asset-groups?expanded=" + ",".join(f"global@global:{group}" for group in GROUPS)))
    navigation = page.get_by_text("Hide navigation")
    expect(page.get_by_role("button", name="Materialize all")).to_be_visible()
    if navigation.is_visible():  # both are remembered from page to page
        navigation.click()
        page.locator("button:has([aria-label=panel_show_right])").last.click()
    expect(page.locator("foreignObject").first).to_be_visible()


def photograph_graph(page: Page, picture: Path) -> None:
    """Take the graph alone."""
    page.wait_for_timeout(3000)  # it glides into place
    boxes = [box for node in page.locator("foreignObject").all() if (box := node.bounding_box())]
    left, top = min(box["x"] for box in boxes), min(box["y"] for box in boxes)
    right = max(box["x"] + box["width"] for box in boxes)
    bottom = max(box["y"] + box["height"] for box in boxes)
    page.screenshot(path=picture, clip={"x": left, "y": top, "width": right - left, "height": bottom - top})


def test_a_failed_check_says_what_is_wrong_and_shows_the_rows(
    web_ui: WebUi, backfill: dict[str, Any], page: Page, pictures: Path
) -> None:
    feed = FEEDS["orders"]
    key = {"path": [feed.quarantine]}
    found = web_ui.ask(_CHECKS, key=key, check="row_rules")["assetCheckExecutions"]
    latest = found[0]["evaluation"]
    assert not latest["success"]
    assert latest["partition"] == DAYS[-1]
    quarantine = pl.scan_delta(str(web_ui.folder / "data" / "lake" / feed.quarantine))
    of_day = quarantine.filter(pl.col("ingest_date").cast(pl.String) == DAYS[-1]).collect()
    page.goto(web_ui.url(f"/assets/{feed.quarantine}?view=checks"))
    page.get_by_text("row_rules", exact=True).first.click()
    expect(page.get_by_text(latest["description"])).to_be_visible()
    assert latest["description"].startswith(f"{of_day.height:,} of 89 rows rejected, most for duplicate_order_id (")
    # The reasons with their counts, and rejected rows as they came.
    expect(page.get_by_role("cell", name="duplicate_order_id", exact=True).first).to_be_visible()
    first = of_day.drop_nulls("order_id").sort("source_file", "source_row").row(0, named=True)
    line = page.get_by_role("row").filter(has_text=first["order_id"]).first
    expect(line).to_contain_text(first["reject_reason"])
    page.screenshot(path=pictures / "failed_check.png")


def test_a_raw_asset_shows_its_days_and_their_row_counts(
    web_ui: WebUi, backfill: dict[str, Any], page: Page, pictures: Path
) -> None:
    page.goto(web_ui.url("/assets/raw_events?view=partitions"))
    expect(page.get_by_text(f"Materialized ({len(DAYS)})")).to_be_visible()
    expect(page.get_by_text("Failed (0)")).to_be_visible()
    page.goto(web_ui.url("/assets/raw_events?view=events"))
    for day in DAYS:
        expect(page.get_by_text(day, exact=True).first).to_be_visible()
    count = page.get_by_role("row").filter(has_text="dagster/partition_row_count")
    expect(count).to_contain_text("2000")
    page.screenshot(path=pictures / "raw_events.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200], ids=["phone", "desk"])
def test_the_day_report_is_readable_on_a_phone_and_in_the_dark(
    web_ui: WebUi, backfill: dict[str, Any], browser: Browser, pictures: Path, width: int, scheme: str
) -> None:
    assert backfill["status"] == "COMPLETED_SUCCESS"
    report = web_ui.folder / "reports" / f"ingest_date={DAYS[2]}" / "report.html"
    asked: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    expect(page.get_by_role("heading", level=1)).to_contain_text(DAYS[2])
    assert asked == [report.as_uri()], "it loads nothing"
    for drawing in page.locator("svg[role=img]").all():
        expect(drawing).to_be_visible()
        assert drawing.get_attribute("aria-label")
    assert page.locator("svg[role=img]").count() >= 2
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"
    colours = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert (ink < paper) is (scheme == "light")
    page.screenshot(path=pictures / f"day_report_{width}_{scheme}.png", full_page=True)
    page.screenshot(path=pictures / f"day_report_{width}_{scheme}_top.png")  # one of them is the README's
    context.close()


def test_markup_in_data_stays_text(web_ui: WebUi, backfill: dict[str, Any], page: Page, browser: Browser) -> None:
    """Last, as it adds a day: names, ids and a file's name that would run a script if anything took them for markup."""
    script = "<script>window.broken = 1</script>"
    image = '<img src=x onerror="window.broken = 1">'
    link = "[look](javascript:window.broken=1)"
    folder = web_ui.folder / "data" / "raw" / f"ingest_date={MARKUP}"
    folder.mkdir()
    customers = [{"customer_id": script, "email": link}, {"customer_id": image, "created_at": script}]
    (folder / "customers_raw.csv").write_text(feed_csv("customers", *customers))
    events = [
        {"event_id": script, "customer_id": script, "event_time": f"{MARKUP}T10:00:00Z"},
        {"event_id": image, "customer_id": link, "event_time": script, "url": image},
    ]
    (folder / "events_raw.csv").write_text(feed_csv("events", *events))
    (folder / f"{image}.txt").write_text(script)
    told = web_ui.command("run", "--date", MARKUP)
    assert told.returncode == 0, told.stdout + told.stderr
    report = (web_ui.folder / "reports" / f"ingest_date={MARKUP}" / "report.html").as_uri()
    theirs = browser.new_page()  # reports are files, which a page of the web UI may not open
    for address, shown, opened in (
        (web_ui.url("/assets/events_quarantine?view=checks"), image, page),
        (web_ui.url("/assets/customers_quarantine?view=events"), image, page),
        (web_ui.url("/assets/raw_events?view=events"), f"{image}.txt", page),
        (report, image, theirs),
    ):
        opened.goto(address)
        opened.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
        if "view=checks" in address:
            opened.get_by_text("row_rules", exact=True).first.click()
        # Within JSON its quotation marks have backslashes.
        texts = [shown, shown.replace('"', '\\"')]
        expect(opened.get_by_text(re.compile("|".join(map(re.escape, texts)))).first).to_be_visible()
        assert opened.evaluate("window.broken") is None, address
        assert opened.locator("img[src=x]").count() == 0, address
    theirs.close()
