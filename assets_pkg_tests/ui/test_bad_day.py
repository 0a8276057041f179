"""A bad day, from its arrival to its repair, as operations live through it: one real `dagster dev`, tests in order."""

import gzip
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg.orchestration.maintenance import MAINTENANCE_JOB
from assets_pkg.orchestration.sensors import RAW_FILES
from assets_pkg_tests.listener import Listener
from assets_pkg_tests.orchestration.pipeline import ORDERS_A_DAY, good_day
from assets_pkg_tests.ui.conftest import WebUi, expect_drawn, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("web_ui")]

DAY = datetime.now(UTC).date() - timedelta(days=1)
ORDERS = "orders_raw.csv.gz"
_RUNS = """query ($job: String!) { runsOrError(filter: {pipelineName: $job}) { ... on Runs { results {
    status tags { key value } } } } }"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Not to the terminal."""


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    """Who is told."""
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture(scope="module")
def project(project: Path) -> Path:
    """Without the sample days; a day's files are in the hands of their senders."""
    for each in (project / "data" / "raw").iterdir():
        shutil.rmtree(each)
    folder = project / "senders"
    folder.mkdir()
    for name, text in good_day(DAY).items():
        (folder / name).write_text(text)
    (folder / ORDERS).write_bytes(gzip.compress(good_day(DAY)["orders_raw.csv"].encode())[:-9])
    (project / "policy.yaml").write_text("arrival: {settle_seconds: 2}\n")
    (project / "reports").mkdir()
    return project


@pytest.fixture(scope="module")
def set_by_hand(project: Path, listener: Listener) -> Iterator[Mapping[str, str]]:
    """Who is told, how long files settle, and where reports are served."""
    reports = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(project / "reports")))
    thread = threading.Thread(target=reports.serve_forever)
    thread.start()
    yield {
        "PIPELINE_NOTIFY_URLS": listener.url,
        "PIPELINE_POLICY": str(project / "policy.yaml"),
        "PIPELINE_REPORTS_URL": f"http://127.0.0.1:{reports.server_port}",
    }
    reports.shutdown()
    reports.server_close()
    thread.join()


def arrive(ui: WebUi, *names: str) -> None:
    """Move files into the day's raw folder, as senders do."""
    folder = ui.folder / "data" / "raw" / f"ingest_date={DAY}"
    folder.mkdir(exist_ok=True)
    for name in names:
        (ui.folder / "senders" / name).replace(folder / name)


def runs_of_day(ui: WebUi, job: str = DAILY_JOB) -> list[str]:
    """The states of the job's runs of the day, the newest first."""
    found = ui.ask(_RUNS, job=job)["runsOrError"]["results"]
    return [
        run["status"]
        for run in found
        if job != DAILY_JOB or {"key": "dagster/partition", "value": str(DAY)} in run["tags"]
    ]


def wait_for_run(ui: WebUi, number: int, job: str = DAILY_JOB) -> None:
    """Until the job's `number`-th run of the day has ended well."""

    def look() -> bool:
        states = runs_of_day(ui, job)
        assert "FAILURE" not in states
        return states == ["SUCCESS"] * number

    wait_for(f"run {number} of {job}", look)


def execute_health(ui: WebUi, page: Page, says: str) -> None:
    """Ask the check on all partitions by a click, until it says something."""
    page.goto(ui.url("/assets/partition_health?view=checks"))
    page.get_by_role("button").filter(has_text=re.compile("^Execute$")).click()
    expect(page.get_by_text(says).first).to_be_visible()


def test_a_switch_turns_the_file_sensor_on_and_a_day_that_arrives_is_run(
    web_ui: WebUi, page: Page, pictures: Path
) -> None:
    page.goto(web_ui.url("/automation"))
    row = page.locator("[class*=ListItem_listItem]").filter(has_text=RAW_FILES)
    row.locator("label[class*=formatSwitch]").click()
    expect(row.get_by_role("checkbox", checked=True)).to_have_count(1)
    arrive(web_ui, "customers_raw.csv", "events_raw.csv", ORDERS)
    wait_for_run(web_ui, 1)
    page.goto(web_ui.url("/runs"))
    line = page.locator("[class*=RunsFeedRow_rowGrid]").filter(has_text=DAILY_JOB)
    expect(line).to_contain_text(str(DAY))
    expect(line).to_contain_text(RAW_FILES)
    page.screenshot(path=pictures / "day_arrived.png")


def test_its_failed_check_names_the_file_why_and_what_to_do(web_ui: WebUi, page: Page, pictures: Path) -> None:
    page.goto(web_ui.url("/assets/raw_orders?view=checks"))
    page.get_by_text("failed_file", exact=True).first.click()
    expect(page.get_by_text("orders: 1 file could not be read. Read the file's error below").first).to_be_visible()
    line = page.get_by_role("row").filter(has_text=ORDERS).first
    expect(line).to_contain_text("FAILED")
    expect(line).to_contain_text("the gzip file ends too early")
    page.screenshot(path=pictures / "failed_file.png")


def test_somebody_is_told_of_it(listener: Listener) -> None:
    def told() -> bool:
        return any("failed_file" in each["message"] for each in listener.messages)

    wait_for("the message", told)
    (message,) = (each["message"] for each in listener.messages if "failed_file" in each["message"])
    assert f"high, ingest date {DAY}: failed_file: orders: 1 file could not be read" in message


def test_the_days_report_is_a_click_away(web_ui: WebUi, page: Page) -> None:
    page.goto(web_ui.url("/assets/day_report?view=events"))
    with page.expect_popup() as opened:
        page.get_by_role("link", name=re.compile(r"report\.html$")).first.click()
    report = opened.value
    expect(report.get_by_role("heading", level=1)).to_contain_text(str(DAY))
    expect(report.get_by_text("failed_file").first).to_be_visible()
    report.close()


def test_the_repaired_file_runs_the_day_again_and_the_check_passes(
    web_ui: WebUi, page: Page, listener: Listener
) -> None:
    (web_ui.folder / "data" / "raw" / f"ingest_date={DAY}" / ORDERS).unlink()
    arrive(web_ui, "orders_raw.csv")
    wait_for_run(web_ui, 2)
    page.goto(web_ui.url("/assets/raw_orders?view=checks"))
    page.get_by_text("missing_feed", exact=True).first.click()
    expect(page.get_by_text(f"orders: 1 readable file, {ORDERS_A_DAY} records.").first).to_be_visible()
    wait_for("news of the recovery", lambda: any("recovered" in each["message"] for each in listener.messages))


def test_numbers_are_plotted_by_partition(web_ui: WebUi, page: Page, pictures: Path) -> None:
    page.set_viewport_size({"width": 1800, "height": 1700})
    page.goto(web_ui.url("/assets/daily_metrics?view=overview"))
    page.get_by_role("button").filter(has_text=re.compile("^Plots$")).click()
    for number in ("active customers", "events rows", "events quarantine rate", "hours with events"):
        expect(page.get_by_text(number, exact=True)).to_be_visible()
    expect_drawn(page, 9)
    page.screenshot(path=pictures / "plots_by_partition.png")


def test_what_is_lost_is_told_with_the_place_that_mends_it_and_it_does(
    web_ui: WebUi, page: Page, pictures: Path
) -> None:
    def is_refreshed() -> bool:
        return web_ui.command("status").stdout.startswith("Every partition is there and up to date.")

    wait_for("the refresh", is_refreshed, every=5)
    execute_health(web_ui, page, "Every partition is there and up to date.")
    lost = web_ui.folder / "data" / "lake" / "orders_clean" / f"ingest_date={DAY}"
    for file in lost.glob("*.parquet"):
        file.unlink()
    execute_health(web_ui, page, f"orders_clean is lost ({DAY})")
    expect(page.get_by_text(f"Jobs → {DAILY_JOB} → Materialize all, dates {DAY}").first).to_be_visible()
    page.screenshot(path=pictures / "partition_health.png")
    page.goto(web_ui.url(f"/locations/assets_pkg/jobs/{DAILY_JOB}"))
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").first.fill(str(DAY))
    dialog.get_by_role("textbox").first.press("Tab")
    dialog.get_by_role("button", name=re.compile("^Launch")).click()
    expect(page.get_by_text("Launched run")).to_be_visible()
    wait_for("orders_clean", lambda: any(lost.glob("*.parquet")))
    wait_for("the end of the run", is_refreshed, every=5)
    execute_health(web_ui, page, "Every partition is there and up to date.")


def test_maintenance_is_started_at_its_launchpad(web_ui: WebUi, page: Page) -> None:
    page.goto(web_ui.url("/jobs"))
    page.get_by_role("link", name=MAINTENANCE_JOB).first.click()
    page.get_by_role("tab", name="Launchpad").click()
    page.get_by_role("button", name="Launch Run").click()
    expect(page).to_have_url(re.compile("/runs/"))  # where it goes once the run is launched
    wait_for_run(web_ui, 1, MAINTENANCE_JOB)
