"""The sensor that refreshes event dates, ticked by hand: what it requests, and that it misses nothing.

Each tick is the real evaluation of the real sensor, on a real instance and a real lake; a test says when its requests
are executed, so that what is hard to meet with a daemon (an update between a tick and its run) happens every time.
"""

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import ACTIVITY_TABLES, TABLES, Table
from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration.automation import REFRESH
from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg.orchestration.partitions import DAYS_PER_RUN, days_of_run
from assets_pkg.orchestration.workplace import ONLY_STALE
from assets_pkg.steps.activity import GATHER, JOIN, JUDGE, MEASURE, STAGES, Stage
from assets_pkg.steps.provenance import built_from
from assets_pkg.storage.lake import Lake, PartitionWriter, delta_schema
from assets_pkg_tests.activities import ActivityBench, Event, differences
from assets_pkg_tests.orchestration.pipeline import instance_in_memory
from assets_pkg_tests.workbench import DAY, days_from

Requests = list[dg.RunRequest]
Built = dict[str, set[date]]  # event dates by asset
QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
BEFORE_LAST, YESTERDAY, TODAY, TOMORROW, AFTER, LATER = days_from(DAY - timedelta(days=2), 6)
INGEST: Final = (EVENTS.raw, EVENTS.clean_table, EVENTS.quarantine, EVENTS.profile)

pytestmark = pytest.mark.filterwarnings("ignore:Function `AssetSelection.keys`:DeprecationWarning")  # Dagster's own use


class Automation:
    """A lake, an instance, and the sensor with its cursor."""

    def __init__(
        self, folder: Path, instance: dg.DagsterInstance, first_day: date | None = None, **activity: int
    ) -> None:
        self.instance = instance
        self.cursor: str | None = None
        self.bench = ActivityBench(folder, **activity)
        settings = self.bench.settings.model_copy(update={"first_day": first_day} if first_day else {})
        self.defs = build_definitions(settings, self.bench.work.policy)
        self.repository = self.defs.get_repository_def()

    def tick(self, after: timedelta = timedelta(0)) -> Requests:
        """What the sensor requests now, or in some time."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, repository_def=self.repository)
        with freeze_time(datetime.now(UTC) + after):
            told = self.repository.get_sensor_def(REFRESH).evaluate_tick(context)
        self.cursor = told.cursor
        requests = list(told.run_requests or ())
        for each in requests:
            assert {key.to_user_string() for key in each.asset_selection or ()} == ACTIVITY_TABLES.keys()
            assert each.tags[ONLY_STALE] == "true"
            assert each.partition_key == each.tags.get("dagster/partition")
            assert 0 < len(days_of_run(dict(each.tags))) <= DAYS_PER_RUN
        return requests

    def run_day(self, day: date) -> None:
        """The daily job, as far as event dates are concerned."""
        job, assets = self.defs.resolve_job_def(DAILY_JOB), [dg.AssetKey(name) for name in INGEST]
        assert job.execute_in_process(
            instance=self.instance, partition_key=str(day), asset_selection=assets, run_config=QUIET
        ).success

    def land(self, day: date, *events: Event, name: str = "events_raw.csv") -> None:
        """A file comes and its day is run: by the steps alone, of which no event tells the sensor."""
        self.bench.drop(day, *events, name=name)
        self.bench.clean_events(day)

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """The run that Dagster makes of a request: its assets, with its tags. Without their checks: they take longest."""
        implicit = self.defs.resolve_implicit_global_asset_job_def()
        assert request.job_name in (None, implicit.name)
        job = implicit.get_subset(asset_selection=set(request.asset_selection or ()), asset_check_selection=set())
        return job.execute_in_process(
            instance=self.instance, tags=dict(request.tags), run_config=QUIET, raise_on_error=False
        )

    def run(self, requests: Requests) -> Built:
        """Execute requests, and see that their runs told of all that they wrote, which is what they are about."""
        built: Built = {}
        for request in requests:
            before = self.bench.commits()
            result = self.execute(request)
            assert result.success, [event.event_specific_data for event in result.all_events if event.is_failure]
            told = _materialized(result)
            # A partition is a commit; and so is making the table.
            wrote = {name: count - before.get(name, 1) for name, count in self.bench.commits().items()}
            # What is made anew as it was is none.
            assert all(count <= len(told.get(name, ())) for name, count in wrote.items() if name in ACTIVITY_TABLES)
            for name, days in told.items():
                assert days <= covered([request])
                built.setdefault(name, set()).update(days)
        return built

    def settle(self) -> list[Built]:
        """Execute what is requested until nothing is; gives what was built, tick by tick."""
        ticks: list[Built] = []
        while requests := self.tick():
            ticks.append(self.run(requests))
            assert len(ticks) < 10, f"it never ends: {ticks}"
        return ticks


def _materialized(result: dg.ExecuteInProcessResult) -> Built:
    """The event dates that a run told of, by asset: each once."""
    told = [
        (each.asset_key.to_user_string(), date.fromisoformat(each.partition or ""))
        for each in (event.materialization for event in result.all_events if event.is_step_materialization)
    ]
    assert len(told) == len(set(told))
    built: Built = {}
    for name, day in told:
        built.setdefault(name, set()).add(day)
    return built


def covered(requests: Requests) -> set[date]:
    """The event dates that requests are about."""
    return {day for each in requests for day in days_of_run(dict(each.tags))}


def reached(first: date, last: date | None = None) -> set[date]:
    """The event dates that stale ones can change: sessions of the neighbours, and alerts of the week after those."""
    start = first - timedelta(days=1)
    return set(days_from(start, ((last or first) - start).days + 1 + 8))


def of(stage: Stage, *days: date) -> Built:
    """A stage's assets, for some dates."""
    return {table.name: set(days) for table in stage.tables}


def everything(*days: date) -> Built:
    """All stages, for the same dates."""
    return {name: days_of for stage in STAGES for name, days_of in of(stage, *days).items()}


def event(day: date, hour: int = 12) -> Event:
    """An event of a date."""
    return Event(f"{day}-{hour}", f"{day}T{hour:02d}:00:00Z", kind="page_view")


@pytest.fixture
def automation(tmp_path: Path) -> Iterator[Automation]:
    with instance_in_memory() as instance:
        yield Automation(tmp_path, instance)


# -- what is requested ----------------------------------------------------------------------------------------


def test_a_day_requests_one_run_that_builds_the_event_dates_it_touches_and_then_nothing(automation: Automation) -> None:
    assert automation.tick() == []  # an empty lake
    # One event is two days late, one a day early. Nothing happened yesterday.
    automation.bench.drop(TODAY, event(BEFORE_LAST), event(TODAY), event(TOMORROW))
    automation.run_day(TODAY)
    requests = automation.tick()
    assert len(requests) == 1
    assert covered(requests) == reached(BEFORE_LAST, TOMORROW)
    assert automation.run(requests) == everything(BEFORE_LAST, TODAY, TOMORROW)
    assert [automation.tick(), automation.tick(timedelta(hours=2))] == [[], []]
    assert differences(automation.bench) == []
    before = automation.bench.activity_versions()
    automation.run_day(TODAY)  # unchanged
    assert [automation.tick(), automation.tick(timedelta(hours=2))] == [[], []]
    assert automation.bench.activity_versions() == before


def test_a_late_event_requests_what_its_day_is_part_of_and_only_what_changed_is_built(automation: Automation) -> None:
    days = (YESTERDAY, TODAY, TOMORROW, AFTER, LATER)
    for day in days:
        automation.land(day, event(day))
    assert automation.settle() == [everything(*days)]
    automation.land(TOMORROW, event(YESTERDAY, 13), name="events_raw_late.csv")
    # Its day is part of four event dates, which are looked at anew. One has other events: its sessions and those of its
    # neighbours may be others. Numbers are looked at wherever the origin of near events is another; they change for
    # one date, and with them maybe the alerts of the week after it.
    requests = automation.tick()
    assert (len(requests), covered(requests)) == (1, reached(YESTERDAY, AFTER))
    assert automation.run(requests) == {
        **of(GATHER, YESTERDAY, TODAY, TOMORROW, AFTER),
        **of(JOIN, YESTERDAY, TODAY),
        **of(MEASURE, *days),
        **of(JUDGE, *days),
    }
    assert automation.tick() == []
    assert differences(automation.bench) == []


def test_a_resend_that_brings_nothing_new_stops_before_sessions_and_alerts(automation: Automation) -> None:
    automation.land(TODAY, event(TODAY), event(YESTERDAY))
    automation.land(TOMORROW, event(TOMORROW))
    automation.settle()
    automation.land(TOMORROW, event(TOMORROW), event(TODAY))  # the latter was there before
    first, *rest = automation.settle()
    assert rest == []
    assert first == {**of(GATHER, YESTERDAY, TODAY, TOMORROW), **of(MEASURE, YESTERDAY, TODAY, TOMORROW)}
    assert differences(automation.bench) == []


def test_dates_that_are_no_partitions_are_ignored(tmp_path: Path) -> None:
    with instance_in_memory() as instance:
        automation = Automation(tmp_path, instance, first_day=TOMORROW)
        for day in (BEFORE_LAST, TOMORROW):
            automation.land(day, event(day))
        # The first ingest date reaches two days back; what lies in the lake from before that is left alone.
        requests = automation.tick()
        assert covered(requests) == reached(TOMORROW)
        assert automation.run(requests) == everything(TOMORROW)
        assert automation.tick() == []
        # A date beside the first partition is none.
        automation.land(TOMORROW, event(YESTERDAY), event(TOMORROW))
        requests = automation.tick()
        assert covered(requests) == reached(YESTERDAY, TOMORROW) - {BEFORE_LAST}
        assert of(GATHER, YESTERDAY, TOMORROW).items() <= automation.run(requests).items()
        assert automation.tick() == []


def test_dates_far_apart_are_runs_of_their_own(automation: Automation) -> None:
    much_later = TODAY + timedelta(days=30)
    for day in (TODAY, much_later):
        automation.land(day, event(day))
    requests = automation.tick()
    assert [covered([each]) for each in requests] == [reached(TODAY), reached(much_later)]
    assert [automation.run([each]) for each in requests] == [everything(TODAY), everything(much_later)]
    assert automation.tick() == []


@pytest.mark.slow
def test_more_dates_than_a_run_takes_are_all_done_in_whatever_order_the_runs_come(automation: Automation) -> None:
    days = days_from(TODAY, DAYS_PER_RUN + 4)
    for day in days:
        automation.land(day, event(day), event(day, 23), event(day + timedelta(days=1), 0))
    requests = automation.tick()
    assert [len(covered([each])) for each in requests] == [DAYS_PER_RUN, 4 + 1 + 1 + 8]
    automation.run(requests[::-1])
    # Sessions and alerts of where the second run begins were made before those of where the first ends.
    (again,) = automation.settle()
    assert max(map(len, again.values())) <= 8
    assert GATHER.tables[0].name not in again
    assert differences(automation.bench) == []


# -- nothing is missed ----------------------------------------------------------------------------------------


def test_an_update_right_after_a_request_is_requested_again(automation: Automation) -> None:
    automation.land(TODAY, event(TODAY))
    requests = automation.tick()
    automation.land(TODAY, event(TODAY), event(YESTERDAY))
    again = automation.tick()
    assert (covered(requests), covered(again)) == (reached(TODAY), reached(YESTERDAY, TODAY))
    # The first run sees the update already; the second finds nothing to do.
    assert [automation.run(requests), automation.run(again)] == [everything(YESTERDAY, TODAY), {}]
    assert automation.tick() == []
    assert differences(automation.bench) == []


def test_an_update_during_a_run_is_requested_after_it(automation: Automation, monkeypatch: pytest.MonkeyPatch) -> None:
    automation.land(TODAY, event(TODAY))
    automation.settle()
    automation.land(TODAY, event(TODAY), event(TODAY, 13))
    requests = automation.tick()
    updates = iter([(event(TODAY), event(TODAY, 14), event(TODAY, 15))])
    meanwhile = []
    real = Lake._commit

    def late(lake: Lake, table: Table, *rest: Any) -> None:
        for events in updates:  # once: the run has read all it needs
            automation.land(TODAY, *events)
            meanwhile.append(automation.tick())
        real(lake, table, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "_commit", late)
        assert automation.run(requests) == everything(TODAY)
    assert meanwhile == [[]]  # the date is being worked on
    assert automation.settle() == [everything(TODAY)]
    assert differences(automation.bench) == []


def test_a_change_that_is_taken_back_between_two_ticks_is_seen(automation: Automation) -> None:
    automation.land(TODAY, event(TODAY))
    requests = automation.tick()
    automation.land(TODAY, event(TODAY, 13))
    automation.run(requests)
    automation.land(TODAY, event(TODAY))  # as it was when the tick asked; what was built is not
    (again,) = automation.settle()
    assert of(GATHER, TODAY).items() <= again.items()
    assert differences(automation.bench) == []


def test_a_failed_run_is_requested_again_when_its_inputs_change_and_after_an_hour(
    automation: Automation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no disk")

    automation.land(TODAY, event(TODAY))
    (request,) = automation.tick()
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "_commit", broken)
        failed = automation.execute(request)
    assert (failed.success, _materialized(failed)) == (False, {})
    assert [automation.tick(), automation.tick(timedelta(minutes=59))] == [[], []]
    assert covered(automation.tick(timedelta(minutes=61))) == reached(TODAY)
    assert automation.tick(timedelta(minutes=119)) == []  # an hour from the second try on
    automation.land(TODAY, event(TODAY), event(TODAY, 13))
    assert automation.settle() == [everything(TODAY)]


def test_a_run_that_failed_halfway_is_requested_once_more_and_then_after_an_hour(
    automation: Automation, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Lake._commit

    def broken(lake: Lake, table: Table, *rest: Any) -> None:
        if table in JOIN.tables:
            raise OSError("no disk")
        real(lake, table, *rest)

    automation.land(TODAY, event(TODAY))
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "_commit", broken)
        # What the first run was asked for, it did; the second is asked for what is left.
        for built in (of(GATHER, TODAY), {}):
            (request,) = automation.tick()
            failed = automation.execute(request)
            assert (failed.success, _materialized(failed)) == (False, built)
    assert [automation.tick(), automation.tick(timedelta(minutes=59))] == [[], []]
    requests = automation.tick(timedelta(minutes=61))
    assert automation.run(requests) == {**of(JOIN, TODAY), **of(MEASURE, TODAY), **of(JUDGE, TODAY)}
    assert automation.tick(timedelta(minutes=200)) == []
    assert differences(automation.bench) == []


def test_tables_restored_from_an_older_copy_are_seen(automation: Automation, tmp_path: Path) -> None:
    automation.land(TODAY, event(TODAY), event(YESTERDAY))
    automation.settle()
    table = automation.bench.settings.lake_dir / "events_by_date"
    shutil.copytree(table, tmp_path / "copy")
    automation.land(TODAY, event(TODAY, 13), event(YESTERDAY))
    automation.settle()
    good = automation.bench.activity_versions()["partitions"]
    shutil.rmtree(table)
    shutil.copytree(tmp_path / "copy", table)
    requests = automation.tick()
    assert covered(requests) == reached(YESTERDAY, TODAY)
    assert automation.run(requests) == of(GATHER, YESTERDAY, TODAY)  # what was made of them is as it should be
    assert automation.tick() == []
    assert automation.bench.activity_versions()["partitions"] == good


# -- what it costs --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tick_over_a_lake_of_400_event_dates_is_quick(automation: Automation) -> None:
    days = days_from(DAY - timedelta(days=200), 400)
    fill(automation.bench, days)
    assert _seconds(automation) < 2  # and half a second on an idle machine
    # Under another policy no date is up to date.
    other = Automation(automation.bench.folder, automation.instance, late_window_days=1)
    assert _seconds(other) < 2


def _seconds(automation: Automation) -> float:
    """What a tick takes of the processor: the machine may be busy."""
    automation.tick()  # what is loaded once
    began = time.process_time()
    automation.tick()
    return time.process_time() - began


def fill(bench: ActivityBench, days: list[date]) -> None:
    """Up to date partitions without rows: one file for all of them, and one commit a table."""
    for table in (EVENTS.clean_table, EVENTS.profile):
        _commit(bench, table, dict.fromkeys(days, ""))
    for stage in STAGES:
        stale = {day: built_from(inputs) for day, inputs in stage.all_stale(bench.work).items()}
        for table in stage.tables:
            _commit(bench, table.name, stale)
        assert stage.all_stale(bench.work) == {}


def _commit(bench: ActivityBench, name: str, made_from: dict[date, str]) -> None:
    lake, table = bench.work.lake, TABLES[name]
    actions = []
    for day, made in made_from.items():
        writer = PartitionWriter(table, day, lake.root, made)
        actions += writer.finish()
    lake._open_or_create(table).create_write_transaction(
        actions, mode="append", schema=delta_schema(table), partition_by=[table.partition_by]
    )
