"""Raw files arrive: the file sensor requests exactly the days that have something new, once; so does the schedule."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration.jobs import DAILY_JOB, DAILY_SCHEDULE
from assets_pkg.orchestration.partitions import days_of_run, range_tags
from assets_pkg.orchestration.sensors import RAW_FILES
from assets_pkg.settings import Settings
from assets_pkg.steps.arrivals import arrivals
from assets_pkg_tests.orchestration.pipeline import Pipeline, good_day, pipeline_in, put_files
from assets_pkg_tests.workbench import DAY, Workbench, days_from, feed_csv

D1, D2, D3 = days_from(DAY, 3)
TODAY = datetime.now(UTC).date()
AT_ONCE = {"arrival": {"settle_seconds": 0}}
NIGHT = datetime(2025, 12, 11, 2, 0, tzinfo=UTC)
MORNING = datetime(2025, 12, 11, 3, 0, tzinfo=UTC)


class Desk:
    """The sensor and the schedule of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.cursor: str | None = None
        self.said: str | None = None

    @property
    def bench(self) -> Workbench:
        return self.pipeline.bench

    def tick(self) -> list[list[date]]:
        """The days of each run that the file sensor requests now."""
        repository = self.pipeline.defs.get_repository_def()
        context = dg.build_sensor_context(
            instance=self.pipeline.instance, cursor=self.cursor, repository_def=repository
        )
        told = repository.get_sensor_def(RAW_FILES).evaluate_tick(context)
        self.cursor, self.said = told.cursor, told.skip_message
        return [days_of_run(dict(each.tags)) for each in told.run_requests or ()]

    def run(self, asked: Sequence[Sequence[date]]) -> None:
        for days in asked:
            assert self.pipeline.run(days[0], days[-1]).success

    def scheduled(self, at: datetime) -> tuple[str | None, str | None]:
        """The partition that the schedule requests, or why it does not."""
        repository = self.pipeline.defs.get_repository_def()
        with dg.build_schedule_context(
            instance=self.pipeline.instance, scheduled_execution_time=at, repository_def=repository
        ) as context:
            told = repository.get_schedule_def(DAILY_SCHEDULE).evaluate_tick(context)
        keys = [request.partition_key for request in told.run_requests or ()]
        return (keys[0] if keys else None), told.skip_message


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with pipeline_in(tmp_path) as pipeline:
        pipeline.bench.settings.raw_dir.mkdir(parents=True)
        yield Desk(pipeline.under(AT_ONCE))


def test_nothing_is_requested_where_nothing_came(desk: Desk) -> None:
    assert desk.tick() == []
    assert desk.said == "No file is new."
    assert desk.scheduled(MORNING) == (str(D1), None), "a day without any file is processed too"
    assert not Path(desk.bench.settings.data_dir / "ledger.db").exists(), "looking makes no ledger"
    desk.bench.settings.raw_dir.rmdir()
    assert desk.tick() == []
    assert desk.said is not None
    assert "There is no raw folder" in desk.said


def test_new_days_are_requested_as_stretches_and_once(desk: Desk) -> None:
    for day in (D1, D2, D3 + timedelta(days=2)):
        put_files(desk.bench, day, good_day(day))
    asked = desk.tick()
    assert asked == [[D1, D2], [D3 + timedelta(days=2)]]
    assert desk.tick() == []
    desk.run(asked)
    assert desk.tick() == []


def test_folders_that_are_no_ingest_dates_are_told_of_and_never_requested(desk: Desk) -> None:
    put_files(desk.bench, date(2024, 12, 31), good_day(date(2024, 12, 31)))
    assert desk.tick() == []
    assert desk.said is not None
    assert desk.said.startswith("No file is new. Nobody runs 2024-12-31: ingest dates are the days from 2025-01-01 (")


def test_a_new_file_and_other_bytes_request_exactly_their_days(desk: Desk) -> None:
    for day in (D1, D2, D3):
        put_files(desk.bench, day, good_day(day))
    desk.run(desk.tick())
    desk.bench.put("events_raw_late.csv", feed_csv("events", {"event_id": "late", "customer_id": "c1"}), D1)
    assert desk.tick() == [[D1]]
    desk.run([[D1]])
    desk.bench.put("orders_raw.csv", good_day(D3)["orders_raw.csv"].replace("o2", "x2"), D3)
    assert desk.tick() == [[D3]]
    desk.run([[D3]])
    assert desk.tick() == []


def test_bytes_that_come_back_after_others_are_requested_again_under_another_key(desk: Desk) -> None:
    put_files(desk.bench, D1, good_day(D1))
    first = good_day(D1)["orders_raw.csv"]
    keys = []
    for content in (first, first.replace("o2", "x2"), first):
        desk.bench.put("orders_raw.csv", content, D1)
        keys += [request.run_key for request in _requests(desk)]
        assert desk.tick() == [[D1]]
        desk.run([[D1]])
    assert len(set(keys)) == 3, "Dagster drops a request whose key it has seen"
    assert "o2" in "".join(desk.bench.work.lake.scan("raw_orders", [D1]).collect()["order_id"])


def test_a_file_with_a_time_to_come_keeps_nobody_waiting(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        put_files(pipeline.bench, D1, good_day(D1))
        for path in (pipeline.bench.settings.raw_dir / f"ingest_date={D1}").iterdir():
            os.utime(path, (2**31, 2**31))
        later = datetime.now(UTC) + timedelta(seconds=61)
        found = arrivals(pipeline.bench.work, D1, later)
        assert (found.growing, len(found.changed)) == ((), 3)


def test_a_file_that_was_only_touched_requests_nothing(desk: Desk) -> None:
    put_files(desk.bench, D1, good_day(D1))
    desk.run(desk.tick())
    location = desk.bench.settings.raw_dir / desk.bench.put("events_raw.csv", good_day(D1)["events_raw.csv"], D1)
    os.utime(location, (1, 1))
    assert desk.tick() == []
    assert desk.said == "No file is new."


def test_days_that_the_command_line_processed_are_not_requested(desk: Desk) -> None:
    put_files(desk.bench, D1, good_day(D1))
    assert desk.pipeline.run(D1).success
    assert desk.tick() == []


def test_a_day_whose_run_failed_is_not_requested_in_a_loop(desk: Desk) -> None:
    put_files(desk.bench, D1, good_day(D1))
    assert desk.tick() == [[D1]]
    for _ in range(2):
        assert desk.tick() == []
    desk.cursor = None
    context_key = {each.run_key for _ in range(2) for each in _requests(desk)}
    assert len(context_key) == 1, "Dagster starts a run of one key once"


def _requests(desk: Desk) -> Sequence[dg.RunRequest]:
    repository = desk.pipeline.defs.get_repository_def()
    context = dg.build_sensor_context(instance=desk.pipeline.instance, repository_def=repository)
    return repository.get_sensor_def(RAW_FILES).evaluate_tick(context).run_requests or ()


@pytest.mark.parametrize("tags", [{"dagster/partition": str(D1)}, range_tags(D1, D2)], ids=["day", "range"])
def test_a_day_that_is_being_processed_is_left_alone_until_then(desk: Desk, tags: dict[str, str]) -> None:
    put_files(desk.bench, D1, good_day(D1))
    run = desk.pipeline.instance.create_run_for_job(
        desk.pipeline.defs.resolve_job_def(DAILY_JOB), tags=tags, status=dg.DagsterRunStatus.STARTED
    )
    assert desk.tick() == []
    assert desk.said == f"{D1} is being processed."
    assert desk.scheduled(MORNING) == (None, f"{D1} is being processed.")
    desk.pipeline.instance.report_run_failed(run)
    assert desk.tick() == [[D1]]


def test_a_run_of_event_dates_keeps_no_ingest_date_waiting(desk: Desk) -> None:
    put_files(desk.bench, D1, good_day(D1))
    desk.pipeline.instance.create_run_for_job(
        desk.pipeline.defs.resolve_job_def("activity"), tags=range_tags(D1, D2), status=dg.DagsterRunStatus.STARTED
    )
    assert desk.tick() == [[D1]]


def test_a_file_that_still_grows_is_left_alone(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        put_files(pipeline.bench, D1, good_day(D1))
        desk = Desk(pipeline)
        assert desk.tick() == []
        assert desk.said is not None
        assert desk.said.startswith(f"{D1}: 3 files changed a moment ago (ingest_date={D1}/customers_raw.csv)")
        later = datetime.now(UTC) + timedelta(seconds=61)
        found = arrivals(pipeline.bench.work, D1, later)
        assert found.waits_for(pipeline.bench.work.policy, later) is None
        assert len(found.changed) == 3


def test_a_feed_is_waited_for_until_its_deadline(desk: Desk) -> None:
    files = good_day(D1)
    del files["orders_raw.csv"]
    put_files(desk.bench, D1, files)
    policy = desk.bench.work.policy
    found = arrivals(desk.bench.work, D1, NIGHT + timedelta(days=1000))
    assert found.absent == ("orders",)
    assert found.waits_for(policy, MORNING - timedelta(seconds=1)) == "orders may still come until 2025-12-11 03:00 UTC"
    assert found.waits_for(policy, MORNING) is None


def test_each_feed_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    bench = Workbench(tmp_path, {"arrival": {"settle_seconds": 0, "deadline_hours": {"orders": 6, "customers": 1}}})
    bench.put_feed("events", {"customer_id": "c1"})
    found = arrivals(bench.work, D1, datetime.now(UTC))
    assert found.absent == ("customers", "orders")
    told = [found.waits_for(bench.work.policy, NIGHT.replace(hour=hour)) for hour in (0, 2, 6)]
    assert told == [
        "customers and orders may still come until 2025-12-11 06:00 UTC",
        "orders may still come until 2025-12-11 06:00 UTC",
        None,
    ]


def test_a_day_that_waits_is_requested_when_the_last_feed_comes(desk: Desk) -> None:
    files = good_day(TODAY)
    last = files.pop("customers_raw.csv")
    put_files(desk.bench, TODAY, files)
    assert desk.tick() == []
    assert desk.said is not None
    assert desk.said.startswith(f"{TODAY}: customers may still come until ")
    desk.bench.put("customers_raw.csv", last, TODAY)
    assert desk.tick() == [[TODAY]]


def test_a_feed_that_comes_after_the_day_was_run_without_it_requests_the_day_again(desk: Desk) -> None:
    files = good_day(D1)
    late = files.pop("orders_raw.csv")
    put_files(desk.bench, D1, files)
    assert desk.scheduled(MORNING) == (str(D1), None)
    assert desk.pipeline.run(D1).success
    assert desk.tick() == []
    desk.bench.put("orders_raw.csv", late, D1)
    assert desk.tick() == [[D1]]


def test_the_schedule_leaves_a_day_that_is_done_unless_something_came(desk: Desk) -> None:
    put_files(desk.bench, D1, good_day(D1))
    desk.run([[D1]])
    assert desk.scheduled(MORNING) == (None, f"{D1} was processed, and nothing is new.")
    desk.bench.put("events_raw_2.csv", feed_csv("events", {"event_id": "new", "customer_id": "c1"}), D1)
    assert desk.scheduled(MORNING) == (str(D1), None)


def test_an_unreadable_file_is_requested_once_and_told_by_the_run(desk: Desk) -> None:
    put_files(desk.bench, D1, {**good_day(D1), "events_raw_2.csv.gz": b"no gzip"})
    asked = desk.tick()
    assert asked == [[D1]]
    desk.run(asked)
    assert desk.tick() == []
    assert arrivals(desk.bench.work, D1, datetime.now(UTC)).changed == ()


def test_the_schedule_follows_its_hour_and_zone(tmp_path: Path) -> None:
    bench = Workbench(tmp_path)
    settings = Settings.model_validate(
        {**bench.settings.model_dump(), "schedule_hour": 6, "schedule_zone": "Europe/Berlin"}
    )
    schedule = build_definitions(settings, bench.work.policy).get_repository_def().get_schedule_def(DAILY_SCHEDULE)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * *", "Europe/Berlin")


@pytest.mark.parametrize("automatic", [False, True])
def test_in_a_deployment_all_is_on_from_the_start(tmp_path: Path, automatic: bool) -> None:
    bench = Workbench(tmp_path)
    settings = bench.settings.model_copy(update={"automatic": automatic})
    repository = build_definitions(settings, bench.work.policy).get_repository_def()
    on = (dg.DefaultSensorStatus.RUNNING, dg.DefaultScheduleStatus.RUNNING)
    found = (
        repository.get_sensor_def(RAW_FILES).default_status,
        repository.get_schedule_def(DAILY_SCHEDULE).default_status,
    )
    assert (found == on) is automatic
