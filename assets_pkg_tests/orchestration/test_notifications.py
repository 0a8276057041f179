"""What people are told: by a real HTTP server that is told it, over a real lake, ledger and Dagster instance."""

import logging
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import Result
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.asset_backfill import AssetBackfillData
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG
from dagster._core.test_utils import create_run_for_test
from pydantic import SecretStr
from typer.testing import CliRunner

from assets_pkg.cli import app
from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import ACTIVITY_ALERTS, ALERTS, TABLES
from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration import notifications
from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg.orchestration.notifications import NOTIFICATIONS, Told, tell_news
from assets_pkg.orchestration.workplace import ACTIVITY_JOB
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage import notices as notices_module
from assets_pkg.storage import notifiers as notifiers_module
from assets_pkg.storage.notifiers import notifiers_of
from assets_pkg.transforms.alerts import alerts_frame
from assets_pkg_tests.listener import SECRET, Listener
from assets_pkg_tests.orchestration.pipeline import Pipeline, command_line, good_day, instance_in_memory, put_files
from assets_pkg_tests.workbench import DAY, ROOT, Workbench, at_once, customers_csv, days_from

# A library that some service of apprise uses imports it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

NEXT = DAY + timedelta(days=1)
Alert = tuple[str, str, str, str]  # rule, severity, dataset, message
DROP: Alert = ("volume_drop", "high", "orders", "orders: 10 rows, median of 3 days before 67")
MISSING: Alert = ("missing_feed", "high", "events", "events: 0 readable files, 0 records")
DRIFT: Alert = ("schema_drift", "medium", "orders", "orders: 1 file with other columns than agreed")


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def other() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


class Desk:
    """A lake of alerts, and what its notifiers are told of them."""

    def __init__(
        self, folder: Path, instance: dg.DagsterInstance | None, urls: str, ledger_url: str | None = None
    ) -> None:
        self.bench = Workbench(folder, ledger_url=ledger_url)
        self.instance = instance
        self.urls = urls
        self.severities = {"high"}

    @property
    def work(self) -> Workplace:
        changed = {"notify_urls": SecretStr(self.urls), "notify_severities": frozenset(self.severities)}
        return Workplace(self.bench.settings.model_copy(update=changed), self.bench.work.policy)

    def raises(self, *alerts: Alert, day: date = DAY, table: str = ALERTS.name) -> None:
        """The alerts of a day are these now."""
        names = ("rule", "severity", "dataset", "message")
        rows = [dict(zip(names, alert, strict=True)) | {"details": {}} for alert in alerts]
        with self.work.lake.replace(table, day) as writer:
            writer.write(alerts_frame(rows))

    def processes(self, day: date) -> None:
        """The day's own events were processed."""
        with self.work.lake.replace(EVENTS.clean_table, day) as writer:
            writer.write(TABLES[EVENTS.clean_table].schema.to_frame())

    def tell(self) -> Told:
        return tell_news(self.work, self.instance)


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance where nothing was ever run."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def desk(tmp_path: Path, instance: dg.DagsterInstance, listener: Listener) -> Desk:
    return Desk(tmp_path, instance, listener.url)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notifier that failed is tried again at once, also when the clock is set back a little meanwhile."""
    monkeypatch.setattr(notices_module, "_FIRST_PAUSE", -60.0)


# -- alerts ---------------------------------------------------------------------------------------------------


def test_a_new_alert_is_told_once_and_its_end_once(
    tmp_path: Path, instance: dg.DagsterInstance, listener: Listener, ledger_url: str
) -> None:
    desk = Desk(tmp_path, instance, listener.url, ledger_url)
    desk.raises(DROP, DRIFT)
    assert desk.tell().said == {listener.name: "1 new problem"}
    assert listener.messages[0]["message"] == f"- high, ingest date {DAY}: volume_drop: {DROP[3]}"
    assert listener.messages[0]["type"] == "warning"
    desk.tell()
    desk.raises((*DROP[:3], "orders: 11 rows, median of 3 days before 67"), DRIFT)  # only its numbers are others
    assert desk.tell() == Told()
    desk.raises(DRIFT)
    desk.tell()
    desk.tell()
    assert listener.titles() == ["1 new problem", "1 problem recovered"]
    assert listener.messages[1]["message"] == f"- recovered: high, ingest date {DAY}: volume_drop: {DROP[3]}"
    assert listener.messages[1]["type"] == "success"


def test_an_alert_that_comes_back_is_news_again(desk: Desk, listener: Listener) -> None:
    for alerts in ([DROP], [], [DROP], []):
        desk.raises(*alerts)
        desk.tell()
    assert listener.titles() == ["1 new problem", "1 problem recovered"] * 2


def test_one_message_has_all_news_of_a_round(desk: Desk, listener: Listener) -> None:
    desk.raises(DROP)
    desk.tell()
    desk.raises()
    desk.raises(MISSING, DRIFT, day=NEXT)
    desk.severities = {"high", "medium"}
    desk.tell()
    assert listener.titles() == ["1 new problem", "2 new problems, 1 recovered"]
    said = listener.messages[1]["message"].splitlines()
    assert [line.split(",")[0] for line in said] == ["- high", "- medium", "- recovered: high"]


def test_a_severity_that_is_no_longer_told_has_not_recovered(desk: Desk, listener: Listener) -> None:
    desk.severities = {"high", "medium"}
    desk.raises(DRIFT)
    desk.tell()
    desk.severities = {"high"}
    desk.tell()
    assert listener.titles() == ["1 new problem"]
    desk.raises()
    desk.tell()
    assert listener.titles()[1:] == ["1 problem recovered"]


def test_an_event_date_is_told_of_when_its_own_files_have_come(desk: Desk, listener: Listener) -> None:
    drop = ("activity_drop", "high", "sessions", "sessions: 1, median of 3 days before 200")
    desk.raises(day=DAY)
    desk.raises(drop, day=NEXT, table=ACTIVITY_ALERTS.name)
    desk.tell()
    assert listener.messages == []
    desk.processes(NEXT)
    desk.tell()
    assert [each["message"] for each in listener.messages] == [f"- high, event date {NEXT}: activity_drop: {drop[3]}"]


def test_an_old_lake_does_not_flood(desk: Desk, listener: Listener) -> None:
    newest = DAY + timedelta(days=40)
    for day in (DAY, newest - timedelta(days=15), newest - timedelta(days=14), newest):
        desk.raises((*DROP[:3], str(day)), day=day)
    desk.tell()
    assert [line.rpartition(" ")[2] for line in listener.messages[0]["message"].splitlines()] == [
        str(newest - timedelta(days=14)),
        str(newest),
    ]


def test_the_end_of_an_alert_is_told_however_old_it_is(desk: Desk, listener: Listener) -> None:
    desk.raises(DROP)
    desk.tell()
    desk.raises(day=DAY + timedelta(days=40))
    desk.tell()
    assert listener.titles() == ["1 new problem"]  # that nobody looks at so old a day any more is no recovery
    desk.raises()
    desk.tell()
    assert listener.titles() == ["1 new problem", "1 problem recovered"]


def test_a_day_that_cannot_be_read_has_not_recovered_and_keeps_no_other_from_being_told(
    desk: Desk, listener: Listener
) -> None:
    desk.raises(DROP)
    desk.tell()
    for file in desk.work.lake.files(ALERTS.name, DAY):
        Path(file.location).unlink()
    desk.raises(MISSING, day=NEXT)
    desk.tell()
    assert listener.titles() == ["1 new problem", "1 new problem"]


def test_a_table_that_is_lost_has_not_recovered(desk: Desk, listener: Listener) -> None:
    desk.raises(DROP)
    desk.tell()
    shutil.rmtree(desk.bench.settings.lake_dir)
    assert desk.tell() == Told()
    assert listener.titles() == ["1 new problem"]


# -- notifiers that fail --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_what_a_failing_notifier_did_not_take_is_told_next_time(
    tmp_path: Path, instance: dg.DagsterInstance, listener: Listener, ledger_url: str
) -> None:
    desk = Desk(tmp_path, instance, listener.url, ledger_url)
    desk.raises(DROP)
    listener.statuses = [500]
    told = desk.tell()
    assert (told.said, told.is_all) == ({}, False)
    assert told.failed[listener.name].startswith("it answered with status 500; tried again after ")
    assert listener.messages == []
    desk.raises(DROP, MISSING)
    assert desk.tell() == Told(said={listener.name: "2 new problems"})


@pytest.mark.usefixtures("impatient")
def test_what_waits_is_told_however_old_it_gets_unless_it_is_over(desk: Desk, listener: Listener) -> None:
    desk.raises(DROP, MISSING)
    listener.statuses = [500]
    desk.tell()
    desk.raises(MISSING)
    desk.raises(day=DAY + timedelta(days=40))
    desk.tell()
    (message,) = listener.messages
    assert message["title"] == "1 new problem"
    assert "missing_feed" in message["message"]


def test_a_failing_notifier_is_left_in_peace_for_a_while(desk: Desk, listener: Listener) -> None:
    desk.raises(DROP)
    listener.statuses = [500]
    desk.tell()
    told = desk.tell()
    assert (told.said, told.failed, told.waiting) == ({}, {}, True)
    assert listener.messages == []


def test_pauses_grow_to_an_hour(desk: Desk) -> None:
    notices = notices_module.Notices(desk.work.ledger)
    pauses = [
        round(notices.failed("x") - notices_module.datetime.now(notices_module.UTC).timestamp()) for _ in range(8)
    ]
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_each_notifier_is_told_all_once_whatever_others_do(
    tmp_path: Path, instance: dg.DagsterInstance, listener: Listener, other: Listener, impatient: None
) -> None:
    desk = Desk(tmp_path, instance, f"{listener.url},\n{other.url} nonsense://{SECRET}")
    desk.raises(DROP)
    other.statuses = [503, 503]
    for _ in range(3):
        told = desk.tell()
    assert listener.titles() == other.titles() == ["1 new problem"]
    assert told.failed.keys() == {"nonsense:///…"}
    assert told.failed["nonsense:///…"].startswith("no notification service understands its URL")


def test_a_server_that_is_not_there_is_told_of(desk: Desk, listener: Listener) -> None:
    desk.urls = "json://127.0.0.1:9"
    desk.raises(DROP)
    assert desk.tell().failed["json://127.0.0.1:9/…"].startswith("it cannot be reached; tried again after ")


def test_a_notifier_that_does_not_answer_is_not_waited_for_long(
    desk: Desk, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifiers_module, "_PATIENCE_SECONDS", 0.1)
    desk.raises(DROP)
    listener.may_answer.clear()
    began = time.monotonic()
    assert desk.tell().failed[listener.name].startswith("it did not answer within 0.1 s")
    assert time.monotonic() - began < 3


# -- two processes, killed processes --------------------------------------------------------------------------

TELLER = """
import sys
import dagster as dg
from assets_pkg.orchestration.notifications import tell_news
from assets_pkg.policy import load_policy
from assets_pkg.settings import Settings
from assets_pkg.steps.workplace import Workplace
data, ledger, urls = sys.argv[1:]
work = Workplace(Settings(data_dir=data, ledger_url=ledger, notify_urls=urls), load_policy())
assert "apprise" not in sys.modules  # it is imported when there is something to tell
with dg.DagsterInstance.ephemeral() as instance:
    print("ready", flush=True)
    sys.stdin.readline()
    print(tell_news(work, instance, 20).said)
"""


def test_two_processes_at_once_tell_once(
    tmp_path: Path, instance: dg.DagsterInstance, listener: Listener, ledger_url: str
) -> None:
    desk = Desk(tmp_path, instance, listener.url, ledger_url)
    desk.raises(DROP)
    arguments = [str(desk.bench.settings.data_dir), ledger_url, listener.url]
    printed = at_once(TELLER, [arguments, arguments])
    assert listener.titles() == ["1 new problem"]
    assert sorted(printed) == sorted([f"{{'{listener.name}': '1 new problem'}}\n", "{}\n"])


def test_who_dies_after_sending_has_it_sent_once_more(
    tmp_path: Path, instance: dg.DagsterInstance, listener: Listener, ledger_url: str
) -> None:
    desk = Desk(tmp_path, instance, listener.url, ledger_url)
    desk.raises(DROP)
    arguments = [str(desk.bench.settings.data_dir), ledger_url, listener.url]
    process = subprocess.Popen(
        [sys.executable, "-c", TELLER, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    listener.kill.append(process.pid)
    process.communicate(b"\n", timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert listener.titles() == ["1 new problem"]
    desk.tell()
    desk.tell()
    assert listener.titles() == ["1 new problem"] * 2


def test_who_finds_another_at_it_says_so(desk: Desk, listener: Listener) -> None:
    desk.raises(DROP)
    locks = notifications.day_locks(desk.work.settings.ledger, desk.work.settings.lock_dir, "x", notifications.NEWS)
    assert locks.take(notifications.NEWS_DAY, 0)
    told = desk.tell()
    assert (told.busy, told.is_all, listener.messages) == (True, False, [])
    locks.close()
    assert desk.tell().said


# -- runs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path, listener: Listener) -> Iterator[tuple[Pipeline, Desk]]:
    """A pipeline whose runs are told of."""
    with instance_in_memory() as instance:
        bench = Workbench(tmp_path)
        yield Pipeline(bench, instance), Desk(tmp_path, instance, listener.url)


def _spoil(bench: Workbench) -> Path:
    """Let customers not be written."""
    obstacle = bench.settings.lake_dir / "raw_customers"
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.write_text("in the way")
    return obstacle


def test_a_failed_run_is_told_once_until_its_days_have_succeeded(
    house: tuple[Pipeline, Desk], listener: Listener
) -> None:
    pipeline, desk = house
    for day in days_from(DAY, 3):
        pipeline.bench.put("customers_raw.csv", customers_csv("c1"), day)
    assets = ["raw_customers", "customers_clean", "customers_quarantine", "customers_profile"]
    obstacle = _spoil(pipeline.bench)
    failed = pipeline.run(DAY, DAY + timedelta(days=2), assets)
    assert not failed.success
    desk.tell()
    assert not pipeline.run(NEXT, None, assets).success  # of a day that is told to have failed
    desk.tell()
    (message,) = listener.messages
    days = f"{DAY} to {DAY + timedelta(days=2)} (3 days)"
    assert message["title"] == "1 new problem"
    said = f"daily_pipeline failed (run {failed.run_id[:8]}) in raw_customers: raw_customers cannot be "
    assert message["message"].startswith(f"- high, ingest date {days}: {said}")
    obstacle.unlink()
    assert pipeline.run(NEXT, None, assets[:1]).success  # a part of what failed
    desk.tell()
    assert len(listener.messages) == 1
    assert pipeline.run(NEXT, NEXT + timedelta(days=1), assets).success
    desk.tell()
    assert listener.titles()[1:] == ["1 problem recovered"]
    assert f"ingest date {NEXT} to {NEXT + timedelta(days=1)} (2 days)" in listener.messages[1]["message"]
    assert pipeline.run(DAY, None, assets).success
    desk.tell()
    desk.tell()
    assert listener.titles()[2:] == ["1 problem recovered"]


def test_of_a_run_that_did_its_other_days_only_those_that_failed_are_told(
    house: tuple[Pipeline, Desk], listener: Listener
) -> None:
    pipeline, desk = house
    for day in days_from(DAY, 3):
        pipeline.bench.put("customers_raw.csv", customers_csv("c1"), day)
    obstacle = pipeline.bench.settings.lake_dir / "raw_customers" / f"ingest_date={NEXT}"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("in the way")
    assert not pipeline.run(DAY, DAY + timedelta(days=2), ["raw_customers"]).success
    desk.tell()
    (message,) = listener.messages
    assert message["message"].startswith(f"- high, ingest date {NEXT}: daily_pipeline failed")
    obstacle.unlink()
    assert pipeline.run(NEXT, None, ["raw_customers"]).success
    desk.tell()
    assert listener.titles()[1:] == ["1 problem recovered"]


@pytest.fixture
def history(tmp_path: Path, listener: Listener) -> Iterator[tuple[dg.DagsterInstance, Desk]]:
    """An instance whose runs are only records."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance, Desk(tmp_path, instance, listener.url)


def record(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus,
    *assets: str,
    job: str = DAILY_JOB,
    ago: timedelta = timedelta(0),
    **tags: str,
) -> None:
    """A run of DAY ended some time ago."""
    keys = frozenset(map(dg.AssetKey, assets)) or None
    days = {"dagster/partition": str(DAY)}
    run = create_run_for_test(instance, job, status=dg.DagsterRunStatus.STARTED, asset_selection=keys, tags=days | tags)
    ended = dg.DagsterEvent(f"PIPELINE_{status.value}", job)
    instance.report_dagster_event(ended, run.run_id, timestamp=(datetime.now(UTC) - ago).timestamp())


FAILURE, SUCCESS, CANCELED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED
RETRY = {WILL_RETRY_TAG: "true"}


def test_runs_of_both_axes_are_apart(history: tuple[dg.DagsterInstance, Desk], listener: Listener) -> None:
    instance, desk = history
    record(instance, FAILURE)
    record(instance, FAILURE, "sessions", job="__ASSET_JOB")
    desk.tell()
    said = [line.partition(" (")[0] for line in listener.messages[0]["message"].splitlines()]
    assert said == [
        f"- high, event date {DAY}: materialization failed",
        f"- high, ingest date {DAY}: daily_pipeline failed",
    ]
    record(instance, SUCCESS, job=ACTIVITY_JOB)
    desk.tell()
    assert [each["message"].partition(":")[0] for each in listener.messages[1:]] == ["- recovered"]
    assert "event date" in listener.messages[1]["message"]


def test_a_cancelled_run_is_neither_a_failure_nor_a_success(
    history: tuple[dg.DagsterInstance, Desk], listener: Listener
) -> None:
    instance, desk = history
    record(instance, CANCELED)
    desk.tell()
    record(instance, FAILURE)
    desk.tell()
    record(instance, CANCELED)
    desk.tell()
    assert listener.titles() == ["1 new problem"]


def test_a_run_that_is_retried_counts_by_its_retry(
    history: tuple[dg.DagsterInstance, Desk], listener: Listener
) -> None:
    instance, desk = history
    record(instance, FAILURE, **RETRY)
    assert desk.tell().waiting
    (run,) = instance.get_runs()
    instance.add_run_tags(run.run_id, {AUTO_RETRY_RUN_ID_TAG: "another"})
    assert desk.tell() == Told()
    assert listener.messages == []
    record(instance, FAILURE, **{WILL_RETRY_TAG: "false"})
    desk.tell()
    assert listener.titles() == ["1 new problem"]


def test_a_retry_that_does_not_begin_is_not_waited_for(
    history: tuple[dg.DagsterInstance, Desk], listener: Listener
) -> None:
    instance, desk = history
    record(instance, FAILURE, ago=timedelta(minutes=11), **RETRY)
    assert not desk.tell().waiting
    assert listener.titles() == ["1 new problem"]


def test_a_failure_that_no_record_tells_of_any_more_is_open_until_its_day_succeeds(
    history: tuple[dg.DagsterInstance, Desk], listener: Listener
) -> None:
    instance, desk = history
    record(instance, FAILURE)
    desk.tell()
    (run,) = instance.get_runs()
    instance.delete_run(run.run_id)
    desk.tell()
    record(instance, SUCCESS, "raw_events")
    desk.tell()
    assert listener.titles() == ["1 new problem"]
    record(instance, SUCCESS)
    desk.tell()
    assert listener.titles()[1:] == ["1 problem recovered"]


def test_runs_of_long_ago_are_no_news(history: tuple[dg.DagsterInstance, Desk], listener: Listener) -> None:
    instance, desk = history
    record(instance, FAILURE, ago=timedelta(days=15))
    desk.tell()
    assert listener.messages == []


def test_a_backfill_that_never_came_to_its_runs_is_told_until_its_days_have_succeeded(
    history: tuple[dg.DagsterInstance, Desk], listener: Listener
) -> None:
    instance, desk = history
    key = dg.AssetKey("raw_events")
    days = build_definitions(desk.bench.settings).resolve_asset_graph().get(key).partitions_def
    assert days is not None
    target = AssetGraphSubset(partitions_subsets_by_asset_key={key: days.subset_with_partition_keys([str(DAY)])})
    data = AssetBackfillData.empty(target, datetime.now(UTC).timestamp(), instance)
    instance.add_backfill(
        PartitionBackfill(
            "abcdefgh", BulkActionStatus.FAILED, False, {}, datetime.now(UTC).timestamp(), asset_backfill_data=data
        )
    )
    desk.tell()
    assert listener.messages[0]["message"] == f"- high, ingest date {DAY}: backfill abcdefgh failed"
    record(instance, SUCCESS)
    desk.tell()
    assert listener.titles()[1:] == ["1 problem recovered"]


# -- the sensor -----------------------------------------------------------------------------------------------


class Ticking:
    """The sensor with its cursor, as the definitions have it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        defs = build_definitions(desk.work.settings, desk.bench.work.policy)
        self._sensor = defs.get_repository_def().get_sensor_def(NOTIFICATIONS)
        self._cursor: str | None = None

    def tick(self) -> str:
        """What the sensor says."""
        context = dg.build_sensor_context(instance=self._desk.instance, cursor=self._cursor)
        told = self._sensor.evaluate_tick(context)
        assert not told.run_requests
        self._cursor = told.cursor
        return told.skip_message or ""


@pytest.mark.usefixtures("impatient")
def test_the_sensor_tells_what_is_new_and_looks_only_when_something_changed(
    history: tuple[dg.DagsterInstance, Desk], listener: Listener
) -> None:
    instance, desk = history
    assert desk.work.ledger.pending_days() == {}
    sensor, unchanged = Ticking(desk), "Nothing has changed since all was told."
    assert [sensor.tick(), sensor.tick()] == ["Nothing is new.", unchanged]
    desk.raises(DROP)
    listener.statuses = [500]
    assert sensor.tick().startswith(f"Could not tell {listener.name}: it answered with status 500; tried again after")
    assert [sensor.tick(), sensor.tick()] == [f"Told {listener.name}: 1 new problem.", unchanged]
    record(instance, FAILURE)
    assert [sensor.tick(), sensor.tick()] == [f"Told {listener.name}: 1 new problem.", unchanged]
    desk.raises(("activity_drop", "high", "sessions", "few"), table=ACTIVITY_ALERTS.name)
    assert [sensor.tick(), sensor.tick()] == ["Nothing is new.", unchanged]
    desk.processes(DAY)
    assert [sensor.tick(), sensor.tick()] == [f"Told {listener.name}: 1 new problem.", unchanged]
    desk.raises()
    assert [sensor.tick(), sensor.tick()] == [f"Told {listener.name}: 1 problem recovered.", unchanged]
    assert Ticking(desk).tick() == "Nothing is new."  # a new process may have other notifiers


def test_nothing_is_sent_and_nothing_is_written_without_a_url(desk: Desk, listener: Listener) -> None:
    desk.urls = " "
    desk.raises(DROP)
    assert Ticking(desk).tick() == "PIPELINE_NOTIFY_URLS names nobody to be told."
    assert listener.messages == []
    assert not (desk.bench.settings.data_dir / "ledger.db").exists()


def test_the_sensor_makes_no_ledger(desk: Desk) -> None:
    assert Ticking(desk).tick() == "There is no ledger yet: nothing was run."
    assert not (desk.bench.settings.data_dir / "ledger.db").exists()


# -- the command line -----------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A project without any run."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    return tmp_path


def test_a_run_tells_its_news_at_its_end_and_never_fails_by_a_notifier(home: Path, listener: Listener) -> None:
    put_files(Workbench(home), DAY, {name: text for name, text in good_day(DAY).items() if "orders" not in name})
    listener.statuses = [500]
    arguments = ("run", "--date", str(DAY), "--fail-on-alert")
    urls = {"PIPELINE_NOTIFY_URLS": f"{listener.url} json://127.0.0.1:9", "PIPELINE_NOTIFY_SEVERITIES": "high, low"}
    told = command_line(*arguments, folder=home, home=home, **urls)
    assert told.returncode == 3, told.stderr
    assert f"Could not tell {listener.name}: it answered with status 500; tried again after" in told.stderr
    assert "Could not tell json://127.0.0.1:9/…: it cannot be reached" in told.stderr
    # It is not left in peace any longer.
    notices_module.Notices(Workbench(home).work.ledger).told(listener.name, notices_module.News((), ()))
    told = command("notify", home=home, urls=listener.url)
    assert (told.exit_code, told.stdout, told.stderr) == (0, "", f"Told {listener.name}: 1 new problem.\n")
    (message,) = listener.messages
    assert message["message"] == f"- high, ingest date {DAY}: missing_feed: orders: 0 readable files, 0 records"


def command(*arguments: str, home: Path, urls: str) -> Result:
    """A command in this process."""
    places = {"DAGSTER_HOME": str(home), "PIPELINE_DATA_DIR": str(home / "data"), "COLUMNS": "200"}
    return CliRunner().invoke(app, arguments, env={**places, "PIPELINE_NOTIFY_URLS": urls})


def test_a_test_message_says_of_each_notifier_whether_it_works(home: Path, listener: Listener, other: Listener) -> None:
    listener.statuses = [403]
    told = command("notify", "--test", home=home, urls=f"{listener.url} {other.url}")
    assert told.exit_code == 1
    assert told.stdout == f"Works: {other.name}\n"
    assert told.stderr == f"Failed: {listener.name}: it answered with status 403\n"
    assert (listener.titles(), other.titles()) == ([], ["Test message"])
    told = command("notify", "--test", home=home, urls=listener.url)
    assert (told.exit_code, listener.titles()) == (0, ["Test message"])


def test_without_a_url_nobody_can_be_told(home: Path) -> None:
    told = command("notify", "--test", home=home, urls="")
    assert told.exit_code == 1
    assert "PIPELINE_NOTIFY_URLS names nobody" in told.stderr


def test_a_ledger_that_cannot_be_used_is_told_and_ends_nothing(home: Path, listener: Listener) -> None:
    desk = Desk(home, None, listener.url)
    desk.raises(DROP)
    (home / "data" / "ledger.db").write_bytes(b"no database at all, whatever its name may be")
    told = command("notify", home=home, urls=listener.url)
    assert told.exit_code == 1
    assert "Nobody was told of problems: the file ledger at" in told.stderr


# -- secrets and hostile text ---------------------------------------------------------------------------------


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """All that reaches the process's log, with every level shown."""
    found: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(f"{record.getMessage()} {record.__dict__}")

    handler, root = Keeping(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    yield found
    root.removeHandler(handler)
    root.setLevel(level)


def test_no_secret_of_a_url_is_anywhere(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    listener: Listener,
    other: Listener,
    logged: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    urls = f"{listener.url} {other.url} slack://{SECRET} json://:{SECRET}@127.0.0.1:9/"
    desk = Desk(tmp_path, instance, urls)
    desk.raises(DROP)
    assert desk.work.ledger.pending_days() == {}
    listener.statuses = [500]
    said = Ticking(desk).tick()
    assert f"Could not tell {listener.name}" in said
    assert f"Told {other.name}" in said
    notifiers = notifiers_of(desk.work.settings.notify_urls)
    ledger = (desk.bench.settings.data_dir / "ledger.db").read_bytes().decode("latin-1")
    shown = capfd.readouterr()
    logging.getLogger().info("still heard")
    assert any("still heard" in line for line in logged)
    for text in (said, repr(notifiers), repr(desk.work), ledger, shown.out, shown.err, *logged):
        assert SECRET not in text


def test_markup_in_data_stays_text(desk: Desk, listener: Listener) -> None:
    hostile = "<script>\x00\n\n<!channel> *b* [x](http://y) \u202e@everyone " + "long " * 100
    desk.raises((*DROP[:3], hostile))
    desk.tell()
    (line,) = listener.messages[0]["message"].splitlines()
    assert line.startswith(
        f"- high, ingest date {DAY}: volume_drop: <script> <!channel> *b* [x](http://y) @everyone long"
    )
    assert len(line) < 170
