"""The sensor that refreshes event dates, ticked by hand: what it requests, and that it misses nothing.

Each tick is the real evaluation of the real sensor, on a real instance and a real lake; a test says when its requests
are executed, so that what is hard to meet with a daemon (an update between a tick and its run) happens every time.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time, instance_for_test

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import TABLES, Table
from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration.automation import REFRESH
from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg.orchestration.partitions import range_tags, spans_of
from assets_pkg.steps.activity import GATHER, JOIN, JUDGE, MEASURE, STAGES, Stage
from assets_pkg.steps.provenance import built_from
from assets_pkg.storage.lake import Lake, PartitionWriter, _delta_schema
from assets_pkg_tests.activities import ActivityBench, Event, differences
from assets_pkg_tests.workbench import DAY, days_from

Requests = dict[str, set[date]]  # event dates by asset
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
        requested: Requests = {}
        for request in told.run_requests or []:
            if request.asset_graph_subset:  # several dates: a backfill
                for each in request.asset_graph_subset.iterate_asset_partitions():
                    requested.setdefault(each.asset_key.to_user_string(), set()).add(_day(each.partition_key))
            else:
                for key in request.asset_selection or ():
                    requested.setdefault(key.to_user_string(), set()).add(_day(request.partition_key))
        return requested

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

    def run(self, requested: Requests) -> bool:
        """The runs that Dagster makes of requests; whether all succeeded."""
        return {self._run_of(stage, *span).success for stage, span in _runs(requested)} == {True}

    def _run_of(self, stage: Stage, first: date, last: date) -> dg.ExecuteInProcessResult:
        return self._job_of(stage).execute_in_process(
            instance=self.instance, tags=range_tags(first, last), run_config=QUIET, raise_on_error=False
        )

    def _job_of(self, stage: Stage) -> dg.JobDefinition:
        keys = {dg.AssetKey(table.name) for table in stage.tables}
        return self.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=keys)

    def build(self, requested: Requests) -> None:
        """As `run`, by the steps alone: quicker."""
        for stage, (first, last) in _runs(requested):
            for each in days_from(first, (last - first).days + 1):
                stage.build(self.bench.work, each)

    def settle(self, work: Callable[[Requests], Any] | None = None) -> list[Requests]:
        """Do what is requested until nothing is; gives all of it, tick by tick."""
        ticks: list[Requests] = []
        while requested := self.tick():
            ticks.append(requested)
            assert len(ticks) < 10, f"it never ends: {ticks}"
            (work or self.build)(requested)
        return ticks


def _day(key: str | None) -> date:
    assert key is not None
    return date.fromisoformat(key)


def _runs(requested: Requests) -> Iterator[tuple[Stage, tuple[date, date]]]:
    """Stage by stage, and dates in a row together."""
    for stage in STAGES:
        wanted = [requested.get(table.name, set()) for table in stage.tables]
        assert all(days == wanted[0] for days in wanted), "a stage makes all its tables"
        for span in spans_of(wanted[0]):
            yield stage, span


def of(stage: Stage, *days: date) -> Requests:
    """A stage's assets, for some dates."""
    return {table.name: set(days) for table in stage.tables}


def stages(*days: date) -> list[Requests]:
    """Each stage once, in order, for the same dates."""
    return [of(stage, *days) for stage in STAGES]


def event(day: date, hour: int = 12) -> Event:
    """An event of a date."""
    return Event(f"{day}-{hour}", f"{day}T{hour:02d}:00:00Z", kind="page_view")


@pytest.fixture
def automation(tmp_path: Path) -> Iterator[Automation]:
    with instance_for_test() as instance:
        yield Automation(tmp_path, instance)


# -- what is requested ----------------------------------------------------------------------------------------


def test_a_day_requests_the_event_dates_it_touches_stage_by_stage_and_then_nothing(automation: Automation) -> None:
    assert automation.tick() == {}  # an empty lake
    # One event is two days late, one a day early. Nothing happened yesterday.
    automation.bench.drop(TODAY, event(BEFORE_LAST), event(TODAY), event(TOMORROW))
    automation.run_day(TODAY)
    assert automation.settle(automation.run) == stages(BEFORE_LAST, TODAY, TOMORROW)
    assert differences(automation.bench) == []
    before = automation.bench.activity_versions()
    automation.run_day(TODAY)  # unchanged
    assert [automation.tick(), automation.tick(timedelta(hours=2))] == [{}, {}]
    assert automation.bench.activity_versions() == before


def test_a_late_event_requests_what_its_day_is_part_of_and_then_only_what_changed(automation: Automation) -> None:
    days = (YESTERDAY, TODAY, TOMORROW, AFTER, LATER)
    for day in days:
        automation.land(day, event(day))
    assert automation.settle() == stages(*days)
    automation.land(TOMORROW, event(YESTERDAY, 13), name="events_raw_late.csv")
    # Its day is part of four event dates, which are looked at anew. One has other events: its sessions and those of its
    # neighbours may be others. Numbers are looked at wherever the origin of near events is another; they change for
    # one date, and with them maybe the alerts of the week after it.
    first, second, *rest = automation.settle()
    assert first == of(GATHER, YESTERDAY, TODAY, TOMORROW, AFTER)
    assert second == {**of(JOIN, YESTERDAY, TODAY), **of(MEASURE, *days)}
    assert rest == [of(JUDGE, *days)]
    assert differences(automation.bench) == []


def test_dates_that_are_no_partitions_are_ignored(tmp_path: Path) -> None:
    with instance_for_test() as instance:
        automation = Automation(tmp_path, instance, first_day=TOMORROW)
        for day in (BEFORE_LAST, TOMORROW):
            automation.land(day, event(day))
        # The first ingest date reaches two days back; what lies in the lake from before that is left alone.
        assert automation.settle() == stages(TOMORROW)


# -- nothing is missed ----------------------------------------------------------------------------------------


def test_an_update_right_after_a_request_is_requested_again(automation: Automation) -> None:
    automation.land(TODAY, event(TODAY))
    requested = automation.tick()
    automation.land(TODAY, event(TODAY), event(YESTERDAY))
    again = automation.tick()
    assert (requested, again) == (of(GATHER, TODAY), of(GATHER, YESTERDAY, TODAY))
    for each in (requested, again):
        automation.build(each)
    assert automation.settle() == stages(YESTERDAY, TODAY)[1:]
    assert differences(automation.bench) == []


def test_an_update_during_a_run_is_requested_after_it(automation: Automation, monkeypatch: pytest.MonkeyPatch) -> None:
    automation.land(TODAY, event(TODAY))
    automation.settle()
    automation.land(TODAY, event(TODAY), event(TODAY, 13))
    requested = automation.tick()
    updates = iter([(event(TODAY), event(TODAY, 14))])
    meanwhile = []
    real = Lake._commit

    def late(lake: Lake, table: Table, *rest: Any) -> None:
        for events in updates:  # once: the run has read all it needs
            automation.land(TODAY, *events)
            meanwhile.append(automation.tick())
        real(lake, table, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "_commit", late)
        assert automation.run(requested)
    assert meanwhile == [{}]  # the date is being worked on
    assert of(GATHER, TODAY).items() <= automation.settle()[0].items()
    assert differences(automation.bench) == []


def test_a_change_that_is_taken_back_between_two_ticks_is_seen(automation: Automation) -> None:
    automation.land(TODAY, event(TODAY))
    requested = automation.tick()
    automation.land(TODAY, event(TODAY, 13))
    automation.build(requested)
    automation.land(TODAY, event(TODAY))  # as it was when the tick asked; what was built is not
    assert of(GATHER, TODAY).items() <= automation.settle()[0].items()
    assert differences(automation.bench) == []


def test_a_failed_run_is_requested_again_when_its_inputs_change_and_after_an_hour(
    automation: Automation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no disk")

    automation.land(TODAY, event(TODAY))
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "_commit", broken)
        assert not automation.run(automation.tick())
    assert [automation.tick(), automation.tick(timedelta(minutes=59))] == [{}, {}]
    assert automation.tick(timedelta(minutes=61)) == of(GATHER, TODAY)
    assert automation.tick(timedelta(minutes=119)) == {}  # an hour from the second try on
    automation.land(TODAY, event(TODAY), event(TODAY, 13))
    assert automation.settle() == stages(TODAY)


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
    requested = automation.tick()
    assert of(GATHER, YESTERDAY, TODAY).items() <= requested.items()
    automation.build(requested)
    automation.settle()
    assert automation.bench.activity_versions()["partitions"] == good


# -- what it costs --------------------------------------------------------------------------------------------


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
        relative = f"{table.partition_by}={day}"
        writer = PartitionWriter(table, lake.root / name / relative, relative, made)
        actions += writer.finish()
    lake._open_or_create(table).create_write_transaction(
        actions, mode="append", schema=_delta_schema(table), partition_by=[table.partition_by]
    )
