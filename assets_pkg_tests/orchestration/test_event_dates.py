"""Event dates as Dagster runs them: windows as mappings, versions of partitions, what is stale, every check."""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.definitions.data_version import (
    CachingStaleStatusResolver,
    StaleStatus,
    extract_data_version_from_entry,
)
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.loader import LoadingContext

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import ACTIVITY_TABLES, EVENT_DATE, TABLES
from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration.workplace import ONLY_STALE, VERIFY
from assets_pkg.policy import load_policy
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.settings import Settings
from assets_pkg.steps import activity_checks
from assets_pkg.steps.activity import GATHER, refresh
from assets_pkg.storage.locks import FolderLocks, days_locked
from assets_pkg.transforms.alerts import ACTIVITY_SPECS
from assets_pkg_tests.activities import ActivityBench, Event, differences
from assets_pkg_tests.orchestration.pipeline import (
    Pipeline,
    Result,
    evaluations,
    facts,
    failed_steps,
    instance_in_memory,
    keep_events,
)
from assets_pkg_tests.workbench import DAY, Row, days_from

# The story: files landed on FILES, and what they tell of lies within DATES (with the day before and the day after).
FILES = days_from(DAY, 5)
D0, D1, D2, D3, D4 = FILES
BEFORE, AFTER = D0 - timedelta(days=1), D4 + timedelta(days=1)
DATES = [BEFORE, *FILES, AFTER]
INGESTED = (EVENTS.raw, EVENTS.clean_table, EVENTS.quarantine, EVENTS.profile)
OF_SESSIONS = ("session_events", "sessions", "user_daily")
OF_EVENTS = ("events_by_date", "session_runs")
OF_METRICS = ("activity_metrics", "restatements")
CHECKS = {
    "events_accounted": "events_by_date",
    "each_in_one_session": "session_events",
    "sessions_add_up": "sessions",
    "sessions_bounded": "sessions",
    "sessions_apart": "sessions",
}
RULES = {(asset, rule) for rule, spec in ACTIVITY_SPECS.items() for asset in spec.tables.values()}
EACH_CHECK = pytest.mark.parametrize("check", CHECKS)


def clock(day: date, time: str) -> str:
    return f"{day}T{time}Z"


def round_the_clock(day: date) -> list[Event]:
    """An event of one customer every twenty minutes."""
    return [
        Event(f"{day}-{minute}", clock(day, f"{minute // 60:02}:{minute % 60:02}:00"), "tireless")
        for minute in range(0, 1440, 20)
    ]


def put_story(bench: ActivityBench) -> None:
    """Late, early, resent and contradictory events, a session over midnight, three days without a pause."""
    bench.drop(D0, Event("a", clock(D0, "12:00:00")), Event("b", clock(D0, "12:10:00")))
    bench.drop(
        D1,
        Event("c", clock(D1, "12:00:00")),
        Event("d", clock(D1, "12:29:00")),
        Event("e", clock(D1, "23:50:00")),
        Event("alone", clock(D1, "06:00:00"), "c2"),
        Event("early", clock(D2, "00:05:00")),
        Event("moved", clock(D0, "09:00:00"), "c3"),
        *round_the_clock(D1),
    )
    bench.drop(
        D2,
        Event("f", clock(D2, "00:10:00")),
        Event("late", clock(D0, "12:20:00")),
        Event("c", clock(D1, "12:00:00")),  # resent
        Event("moved", clock(D1, "09:00:00"), "c3"),  # claims another date than before: does not count
        *round_the_clock(D2),
    )
    bench.drop(D3, Event("too late", clock(D0, "12:30:00")), *round_the_clock(D3))
    bench.drop(D4, Event("g", clock(D4, "12:00:00")))


class Dates(Pipeline):
    """A pipeline of events alone, whose tables an oracle knows."""

    bench: ActivityBench

    def ingest(self, first: date, last: date | None = None) -> Result:
        """Files of some days, up to clean events."""
        return succeed(self.run(first, last, INGESTED))

    def refresh(self, first: date = BEFORE, last: date = AFTER, *tags: str) -> Result:
        """Event dates; they succeed."""
        return succeed(self.run_dates(first, last, *tags))

    def told_versions(self) -> dict[tuple[str, str], str]:
        """What Dagster knows of the content of each partition: its data version, by asset and date."""
        found = {}
        for name in (*INGESTED, *ACTIVITY_TABLES):
            key = dg.AssetKey(name)
            for day in self.instance.get_materialized_partitions(key):
                record = self.instance.get_latest_data_version_record(key, partition_key=day)
                assert record is not None
                version = extract_data_version_from_entry(record.event_log_entry)
                assert version is not None
                found[name, day] = version.value
        return found

    def statuses(self) -> dict[str, dict[date, StaleStatus]]:
        """What the UI says of each event date."""
        asset_graph = self.defs.resolve_asset_graph()
        with partition_loading_context(effective_dt=datetime.now(UTC)):
            resolver = CachingStaleStatusResolver(self.instance, asset_graph, Request(self.instance))
            return {
                name: {day: resolver.get_status(dg.AssetKey(name), str(day)) for day in DATES}
                for name in ACTIVITY_TABLES
            }

    def stale(self) -> dict[str, list[date]]:
        """The event dates that the UI shows as out of date, by asset; assets without any are left out."""
        found = {
            name: [day for day, status in of_days.items() if status != StaleStatus.FRESH]
            for name, of_days in self.statuses().items()
        }
        return {name: days for name, days in found.items() if days}


class Request(LoadingContext):
    """Dagster's caches of one request to the UI."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._loaders: dict[Any, Any] = {}

    @property
    def instance(self) -> dg.DagsterInstance:
        return self._instance

    @property
    def loaders(self) -> dict[Any, Any]:
        return self._loaders


def succeed(result: Result) -> Result:
    assert result.success, failed_steps(result)
    return result


def materialized(result: Result) -> dict[str, list[date]]:
    """The dates that a run told of, by asset, each as often as it did."""
    found: dict[str, list[date]] = {}
    for event in result.all_events:
        if event.is_step_materialization:
            assert event.asset_key is not None
            found.setdefault(event.asset_key.to_user_string(), []).append(date.fromisoformat(event.partition or ""))
    return {name: sorted(days) for name, days in found.items()}


def all_of(names: Iterable[str], *days: date) -> dict[str, list[date]]:
    """The same days for some assets or checks."""
    return {name: list(days) for name in names}


def judged(result: Result) -> dict[str, list[date]]:
    """The dates that a run judged, by check."""
    found: dict[str, set[date]] = {}
    for _, check, day in evaluations(result):
        found.setdefault(check, set()).add(date.fromisoformat(day))
    return {check: sorted(days) for check, days in found.items()}


@contextmanager
def dates_in(folder: Path) -> Iterator[Dates]:
    """A pipeline and a Dagster instance, both in one folder, which can be copied."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    with instance_in_memory(folder / "home") as instance:
        yield Dates(ActivityBench(folder / "pipeline"), instance)


@dataclass(frozen=True)
class Story:
    """The story after it was run, the runs, and a copy that nobody touches."""

    dates: Dates
    ingested: Result
    refreshed: Result
    copy: Path


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Shared by tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("story")
    with dates_in(folder / "first") as dates:
        put_story(dates.bench)
        ingested, refreshed = dates.ingest(D0, D4), dates.refresh()
        keep_events(dates.instance, folder / "first" / "home")
        shutil.copytree(folder / "first", folder / "copy")
        yield Story(dates, ingested, refreshed, folder / "copy")


@pytest.fixture
def told(story: Story, tmp_path: Path) -> Iterator[Dates]:
    """The story, run, for tests that change it."""
    shutil.copytree(story.copy, tmp_path / "told")
    with dates_in(tmp_path / "told") as dates:
        yield dates


# -- windows --------------------------------------------------------------------------------------------------

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NARROW = {"activity": {"late_window_days": 0}}
WIDE = {"activity": {"late_window_days": 4}}
FORTNIGHT = {"alerts": {"history_days": 14}}


def needs(asset: str, of: str, day: str, overlay: dict[str, Any] | None = None) -> list[str]:
    """The partitions of `of` that a partition of `asset` is made from, by the graph."""
    settings = Settings(data_dir=Path("unused"))
    graph = build_definitions(settings, load_policy(overlay=overlay)).resolve_asset_graph()
    child, parent = dg.AssetKey(asset), dg.AssetKey(of)
    days, days_of_parent = graph.get(child).partitions_def, graph.get(parent).partitions_def
    assert days is not None
    assert days_of_parent is not None
    with partition_loading_context(effective_dt=NOW):
        found = graph.get_partition_mapping(child, parent).get_upstream_mapped_partitions_result_for_partitions(
            days.subset_with_partition_keys([day]), days, days_of_parent
        )
        assert not list(found.required_but_nonexistent_subset.get_partition_keys())
        return list(found.partitions_subset.get_partition_keys())


def span(first: str, last: str) -> list[str]:
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [str(day) for day in days_from(start, (end - start).days + 1)]


WINDOWS: dict[str, tuple[str, str, str, list[str], dict[str, Any]]] = {
    "events": ("events_by_date", "events_clean", "2026-01-01", span("2025-12-31", "2026-01-03"), {}),
    "runs": ("session_runs", "events_clean", "2026-01-01", span("2025-12-31", "2026-01-03"), {}),
    "no late ones": ("events_by_date", "events_clean", "2026-01-01", span("2025-12-31", "2026-01-01"), NARROW),
    "later ones": ("events_by_date", "events_clean", "2026-01-01", span("2025-12-31", "2026-01-05"), WIDE),
    "sessions": ("sessions", "session_runs", "2026-01-01", span("2025-12-31", "2026-01-02"), {}),
    "events of sessions": ("session_events", "session_runs", "2026-01-01", span("2025-12-31", "2026-01-02"), {}),
    "users": ("user_daily", "session_runs", "2026-01-01", span("2025-12-31", "2026-01-02"), {}),
    "joined": ("session_events", "events_by_date", "2026-01-01", span("2025-12-31", "2026-01-02"), {}),
    "measured": ("activity_metrics", "sessions", "2026-01-01", ["2026-01-01"], {}),
    "numbers": ("activity_metrics", "session_runs", "2026-01-01", span("2025-12-31", "2026-01-02"), {}),
    "origins": ("activity_metrics", "events_by_date", "2026-01-01", span("2025-12-31", "2026-01-02"), {}),
    "whose doing": ("activity_metrics", "events_clean", "2026-01-01", span("2025-12-30", "2026-01-04"), {}),
    "alerts": ("activity_alerts", "activity_metrics", "2026-01-01", span("2025-12-25", "2026-01-01"), {}),
    "long memory": ("activity_alerts", "activity_metrics", "2026-01-15", span("2026-01-01", "2026-01-15"), FORTNIGHT),
    # At both ends of time there is less to need.
    "first events": ("events_by_date", "events_clean", "2024-12-30", ["2025-01-01"], {}),
    "second events": ("events_by_date", "events_clean", "2024-12-31", span("2025-01-01", "2025-01-02"), {}),
    "first sessions": ("sessions", "session_runs", "2024-12-30", span("2024-12-30", "2024-12-31"), {}),
    "first metrics": ("activity_metrics", "events_clean", "2024-12-30", span("2025-01-01", "2025-01-02"), {}),
    "first alerts": ("activity_alerts", "activity_metrics", "2024-12-31", span("2024-12-30", "2024-12-31"), {}),
    "events of today": ("events_by_date", "events_clean", "2026-03-10", span("2026-03-09", "2026-03-10"), {}),
    "last events": ("events_by_date", "events_clean", "2026-03-11", ["2026-03-10"], {}),
    "last sessions": ("sessions", "session_runs", "2026-03-11", span("2026-03-10", "2026-03-11"), {}),
}


@pytest.mark.parametrize(("asset", "of", "day", "expected", "overlay"), WINDOWS.values(), ids=WINDOWS)
def test_a_partition_is_made_from_its_window_as_far_as_there_is_one(
    asset: str, of: str, day: str, expected: list[str], overlay: dict[str, Any]
) -> None:
    assert needs(asset, of, day, overlay) == expected


def test_sessions_and_users_are_made_from_runs_alone() -> None:
    graph = build_definitions(Settings(data_dir=Path("unused"))).resolve_asset_graph()
    for asset in ("sessions", "user_daily"):
        assert {key.to_user_string() for key in graph.get(dg.AssetKey(asset)).parent_keys} == {"session_runs"}


# -- runs -----------------------------------------------------------------------------------------------------


def test_a_range_run_gives_what_the_oracle_gives(story: Story) -> None:
    assert differences(story.dates.bench) == []


def test_a_range_run_tells_of_each_partition_once_with_the_version_of_its_content(story: Story) -> None:
    assert materialized(story.ingested) == all_of(INGESTED, *FILES)
    assert materialized(story.refreshed) == all_of(ACTIVITY_TABLES, *DATES)
    lake = story.dates.bench.work.lake
    assert story.dates.told_versions() == {
        (name, str(day)): partition.version
        for name in (*INGESTED, *ACTIVITY_TABLES)
        for day, partition in lake.partitions(name).items()
    }


def test_a_range_run_judges_every_date_by_every_check(story: Story) -> None:
    said = evaluations(story.refreshed)
    checks = {(asset, check) for check, asset in CHECKS.items()} | RULES
    assert set(said) == {(*check, str(day)) for check in checks for day in DATES}
    for (asset, _, day), each in said.items():
        of_day = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[day])
        (record,) = story.dates.instance.fetch_materializations(of_day, limit=1).records
        assert each.target_materialization_data is not None
        assert each.target_materialization_data.storage_id == record.storage_id


def test_after_a_range_run_everything_is_fresh(story: Story) -> None:
    assert story.dates.statuses() == {name: dict.fromkeys(DATES, StaleStatus.FRESH) for name in ACTIVITY_TABLES}


def test_an_unchanged_rerun_changes_nothing(told: Dates) -> None:
    versions, commits = told.told_versions(), told.bench.commits()
    told.ingest(D0, D4)
    assert materialized(told.refresh()) == all_of(ACTIVITY_TABLES, *DATES), "what was asked for is told of"
    assert told.told_versions() == versions
    assert told.bench.commits() == commits
    assert told.stale() == {}


def change_one_day(dates: Dates) -> None:
    """D1 brings another event of its own; no session reaches over midnight because of it."""
    dates.bench.drop(D1, Event("new", clock(D1, "20:00:00")), name="events_raw_2.csv")
    dates.ingest(D1)


def test_a_change_of_one_day_changes_what_it_must_and_is_shown_as_stale_until_then(told: Dates) -> None:
    before = told.told_versions()
    change_one_day(told)
    window = days_from(D1 - timedelta(days=2), 4)  # BEFORE, D0, D1, D2: event dates of D1
    assert told.stale() == {
        **all_of(OF_EVENTS, BEFORE, D0, D1, D2),
        **all_of(OF_METRICS, BEFORE, D0, D1, D2, D3),  # which tell whose events made a difference
    }
    assert window == [BEFORE, D0, D1, D2]
    told.refresh()
    after = told.told_versions()
    # Files of restatements remember what numbers were made from, also where no number changed.
    changed = {key for key in after if after[key] != before.get(key) and key[0] != "restatements"}
    assert {key for key in changed if key[0] not in INGESTED} == {
        (name, str(D1)) for name in (*OF_EVENTS, *OF_SESSIONS, "activity_metrics")
    }
    assert {row["event_date"] for rows in told.bench.by_date("restatements").values() for row in rows} == {D1}
    assert {day for _, day in changed} == {str(D1)}
    assert told.stale() == {}
    assert differences(told.bench) == []


def test_what_was_made_and_never_told_of_is_told_by_the_next_refresh(told: Dates) -> None:
    """As after a process that was killed when its tables were made, before it could say so."""
    change_one_day(told)
    refresh(told.bench.work, [D1])
    result = told.refresh(BEFORE, AFTER, ONLY_STALE)
    lake = told.bench.work.lake
    held = {(name, str(day)): each.version for name in ACTIVITY_TABLES for day, each in lake.partitions(name).items()}
    assert {key: version for key, version in told.told_versions().items() if key in held} == held
    made = materialized(result)
    assert made["sessions"] == [D1]
    (event,) = [
        each.event_specific_data.materialization
        for each in result.all_events
        if each.is_step_materialization
        and (each.asset_key, each.partition) == (dg.AssetKey("activity_metrics"), str(D1))
    ]
    assert "sessions" in {record.data["metric"] for record in event.metadata["restated"].records}
    assert event.metadata["restated because of ingest dates"].value == str(D1)
    assert materialized(told.refresh(BEFORE, AFTER, ONLY_STALE)) == {}


def test_one_date_alone_leaves_those_beside_it_stale(told: Dates) -> None:
    change_one_day(told)
    told.refresh(D1, D1)
    assert told.stale() == {
        **all_of(OF_EVENTS, BEFORE, D0, D2),
        **all_of(OF_SESSIONS, D0, D2),
        **all_of(OF_METRICS, BEFORE, D0, D2, D3),
        "activity_alerts": [D2, D3, D4, AFTER],
    }
    told.refresh()
    assert told.stale() == {}


def test_a_run_over_what_is_stale_makes_and_judges_exactly_that(told: Dates) -> None:
    assert materialized(told.refresh(BEFORE, AFTER, ONLY_STALE)) == {}, "nothing is"
    change_one_day(told)
    result = told.refresh(BEFORE, AFTER, ONLY_STALE)
    assert materialized(result) == {
        **all_of(OF_EVENTS, BEFORE, D0, D1, D2),
        **all_of(OF_SESSIONS, D0, D1, D2),
        **all_of(OF_METRICS, BEFORE, D0, D1, D2, D3),  # which tell whose events made a difference
        "activity_alerts": [D1, D2, D3, D4, AFTER],
    }
    assert {check: days for check, days in judged(result).items() if check in CHECKS} == {
        "events_accounted": [BEFORE, D0, D1, D2],
        # Dates beside those that were made may have waited for them.
        **all_of([check for check in CHECKS if CHECKS[check] != "events_by_date"], BEFORE, D0, D1, D2, D3),
    }
    assert materialized(told.refresh(BEFORE, AFTER, ONLY_STALE)) == {}
    assert differences(told.bench) == []


def test_a_run_over_what_is_stale_judges_alert_rules_where_it_made_alerts(told: Dates) -> None:
    change_one_day(told)
    result = told.refresh(BEFORE, AFTER, ONLY_STALE)
    made = materialized(result)["activity_alerts"]
    assert made == [D1, D2, D3, D4, AFTER]
    said = judged(result)
    assert {rule: set(made) - set(said[rule]) for rule in ACTIVITY_SPECS} == {rule: set() for rule in ACTIVITY_SPECS}


def test_a_run_over_what_is_stale_stays_within_its_range(told: Dates) -> None:
    change_one_day(told)
    made = materialized(told.refresh(D1, D2, ONLY_STALE))
    assert {day for days in made.values() for day in days} == {D1, D2}


def test_a_lost_or_foreign_partition_is_stale_in_the_lake_whatever_dagster_was_told(told: Dates) -> None:
    with told.bench.work.lake.replace("session_runs", D2) as writer:
        writer.write(pl.DataFrame(schema=TABLES["session_runs"].schema))
    made = materialized(told.refresh(BEFORE, AFTER, ONLY_STALE))
    assert made == all_of(OF_EVENTS, D2), "once it is as it was, nothing else need change"
    assert differences(told.bench) == []


# -- checks on good data --------------------------------------------------------------------------------------


@EACH_CHECK
def test_a_check_passes_on_the_story(story: Story, check: str) -> None:
    said = evaluations(story.refreshed)
    for day in DATES:
        each = said[CHECKS[check], check, str(day)]
        assert each.passed, each.description
        assert each.description == "All is accounted for."


def test_checks_count_what_the_story_has(story: Story) -> None:
    def of(check: str, day: date) -> dict[str, Any]:
        said = facts(evaluations(story.refreshed)[CHECKS[check], check, str(day)])
        return {name: value for name, value in said.items() if name not in {"state of the tables judged", "first rows"}}

    assert of("events_accounted", D1) == {
        "clean events that landed in the window": 4 + 72 + 2,  # with the resent one and the one that moved
        "events by date": 4 + 72,
        "copies of an event that landed before": 2,
        "events that are missing": 0,
        "events from nowhere": 0,
        "events that stand twice": 0,
    }
    assert of("events_accounted", D0)["events by date"] == 4  # a, b, late, moved; not what is too late
    assert of("each_in_one_session", D1) == {
        "events": 76,
        "events with a session": 76,
        "events that are not those of the date": 0,
        "runs at fault": 0,
        "sessions with other events": 0,
    }
    assert of("sessions_add_up", D2) == {
        "events": 74,
        # The tireless customer's session is cut where the day ends.
        "events of sessions that start on the date": 72,
        "of these on the next date": 0,
        "events of sessions of the day before": 2,
        "events of customers": 74,
    }
    assert of("sessions_bounded", D1) == {
        "sessions": 4,
        "longest (hours)": 23.67,
        "over a midnight where they should be cut": 0,
        "with a gap of the timeout": 0,
    }
    assert of("sessions_apart", D2) == {"sessions": 1, "cut at midnight": 1}


def test_a_check_repeats_what_it_said_of_the_same_tables_unless_nothing_is_taken_on_trust(
    told: Dates, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[date] = []
    real = activity_checks._landed

    def noted(work: Any, day: date) -> Any:
        looked_at.append(day)
        return real(work, day)

    monkeypatch.setattr(activity_checks, "_landed", noted)
    before = evaluations(told.refresh())
    assert looked_at == []
    change_one_day(told)
    after = evaluations(told.refresh())
    assert looked_at == [BEFORE, D0, D1, D2]
    key = ("events_by_date", "events_accounted", str(D3))
    assert after[key].metadata == before[key].metadata
    looked_at.clear()
    told.refresh(BEFORE, AFTER, VERIFY)
    assert looked_at == DATES


# -- checks on tables that are wrong --------------------------------------------------------------------------


@dataclass(frozen=True)
class Tampering:
    """Changes partitions of the story behind the pipeline's back, and puts them back at the end."""

    dates: Dates
    before: dict[tuple[str, date], tuple[pl.DataFrame, str]]

    def change(self, table: str, day: date, how: Callable[[pl.DataFrame], pl.DataFrame], pieces: int = 1) -> None:
        lake = self.dates.bench.work.lake
        rows = lake.scan(table, [day]).collect().drop("event_date")
        built_from = lake.partitions(table)[day].built_from
        self.before.setdefault((table, day), (rows, built_from))
        with lake.replace(table, day, built_from=built_from) as writer:
            changed = how(rows).select(list(TABLES[table].schema)).cast(TABLES[table].schema)  # type: ignore[arg-type]
            for piece in changed.iter_slices(-(-max(changed.height, 1) // pieces)):
                writer.write(piece)
                writer.flush()

    def restore(self) -> None:
        for (table, day), (rows, built_from) in self.before.items():
            with self.dates.bench.work.lake.replace(table, day, built_from=built_from) as writer:
                writer.write(rows)

    def verdict(self, check: str, day: date) -> AssetCheckEvaluation:
        """What a check says of a date, executed alone."""
        ((_, said),) = evaluations(self.dates.check((CHECKS[check], check), first=day)).items()
        return said

    def fails(self, check: str, day: date, numbers: Mapping[str, Any]) -> list[Row]:
        """The check fails and shows these numbers; gives the rows it shows."""
        said = self.verdict(check, day)
        assert not said.passed
        assert said.blocking
        assert said.severity == dg.AssetCheckSeverity.ERROR
        found = facts(said)
        assert {name: found[name] for name in numbers} == numbers
        assert said.description is not None
        assert f"Materialize {day} again" in said.description
        shown = found["first rows"]
        return [] if shown == "none" else shown


@pytest.fixture
def tampering(story: Story) -> Iterator[Tampering]:
    changes = Tampering(story.dates, {})
    yield changes
    changes.restore()


def of_event(name: str) -> pl.Expr:
    return pl.col("event_id") == name


def test_a_dropped_event_is_missing(tampering: Tampering) -> None:
    tampering.change("events_by_date", D1, lambda rows: rows.filter(~of_event("d")))
    (first,) = tampering.fails(
        "events_accounted", D1, {"events by date": 75, "events that are missing": 1, "events from nowhere": 0}
    )
    assert (first["event_id"], first["source_row"]) == ("d", 2)
    assert first["source_file"] == f"ingest_date={D1}/events_raw.csv"


def test_an_event_of_another_day_that_was_dropped_is_missing(tampering: Tampering) -> None:
    tampering.change("events_by_date", D0, lambda rows: rows.filter(~of_event("late")))
    (first,) = tampering.fails("events_accounted", D0, {"events that are missing": 1})
    assert (first["event_id"], first["source_file"]) == ("late", f"ingest_date={D2}/events_raw.csv")


def test_a_doubled_event_stands_twice(tampering: Tampering) -> None:
    tampering.change("events_by_date", D1, lambda rows: pl.concat([rows, rows.filter(of_event("d"))]))
    both = tampering.fails(
        "events_accounted",
        D1,
        {"events that are missing": 0, "events from nowhere": 0, "events that stand twice": 2},
    )
    assert [row["event_id"] for row in both] == ["d"], "both stand at one address"


def test_a_copy_that_counts_though_it_landed_later_stands_twice(tampering: Tampering) -> None:
    # As if the window's deduplication had not been done.
    later = pl.lit(f"ingest_date={D2}/events_raw.csv")
    tampering.change(
        "events_by_date",
        D1,
        lambda rows: pl.concat(
            [rows, rows.filter(of_event("c")).with_columns(ingest_date=D2, source_file=later, source_row=3)],
            how="vertical_relaxed",
        ),
    )
    both = tampering.fails(
        "events_accounted",
        D1,
        {"copies of an event that landed before": 1, "events from nowhere": 0, "events that stand twice": 2},
    )
    assert {row["source_file"][12:22] for row in both} == {str(D1), str(D2)}


def test_an_event_that_landed_before_under_another_date_is_seen(tampering: Tampering) -> None:
    # As if the window's deduplication had not looked at other dates: "moved" landed on D1 as one of D0.
    def count_again(rows: pl.DataFrame) -> pl.DataFrame:
        path = f"ingest_date={D2}/events_raw.csv"
        landed = tampering.dates.bench.work.lake.scan("events_clean", [D2]).filter(of_event("moved")).collect()
        assert landed.height == 1
        row = rows.head(1).with_columns(
            ingest_date=pl.lit(D2),
            source_file=pl.lit(path),
            source_row=landed["source_row"][0],
            event_id=pl.lit("moved"),
        )
        return pl.concat([rows, row.cast(rows.schema)])  # type: ignore[arg-type]

    tampering.change("events_by_date", D1, count_again)
    (first,) = tampering.fails("events_accounted", D1, {"events that are missing": 0, "events that stand twice": 1})
    assert (first["event_id"], first["source_file"][12:22]) == ("moved", str(D2))


def test_an_invented_event_comes_from_nowhere(tampering: Tampering) -> None:
    def invent(rows: pl.DataFrame) -> pl.DataFrame:
        row = rows.filter(of_event("d")).with_columns(event_id=pl.lit("invented"), source_row=pl.lit(999, pl.Int64))
        return pl.concat([rows, row])

    tampering.change("events_by_date", D1, invent)
    (first,) = tampering.fails(
        "events_accounted",
        D1,
        {"events that are missing": 0, "events from nowhere": 1, "events that stand twice": 0},
    )
    assert first["event_id"] == "invented"


def test_an_event_exchanged_for_one_that_nobody_sent_is_seen(tampering: Tampering) -> None:
    tampering.change(
        "events_by_date",
        D1,
        lambda rows: rows.with_columns(
            event_id=pl.when(of_event("d")).then(pl.lit("invented")).otherwise("event_id"),
            source_row=pl.when(of_event("d")).then(999).otherwise("source_row"),
        ),
    )
    assert not tampering.verdict("events_accounted", D1).passed


def test_an_event_of_the_same_run_in_another_session_is_seen(tampering: Tampering) -> None:
    tampering.change(
        "session_events",
        D1,
        lambda rows: rows.with_columns(session_id=pl.when(of_event("d")).then(pl.lit("c1-1")).otherwise("session_id")),
    )
    (first,) = tampering.fails(
        "each_in_one_session", D1, {"events": 76, "events with a session": 76, "runs at fault": 1}
    )
    assert (first["customer_id"], first["events"], first["found"]) == ("c1", 2, 2)


def test_an_only_event_in_a_session_that_is_not_there_is_seen(tampering: Tampering) -> None:
    tampering.change(
        "session_events",
        D1,
        lambda rows: rows.with_columns(
            session_id=pl.when(of_event("alone")).then(pl.lit("c2-1")).otherwise("session_id")
        ),
    )
    assert not tampering.verdict("each_in_one_session", D1).passed


def test_two_runs_in_one_session_are_seen(tampering: Tampering) -> None:
    def join(rows: pl.DataFrame) -> pl.DataFrame:
        of_c = rows.filter(of_event("c"))["session_id"].item()
        return rows.with_columns(session_id=pl.when(of_event("alone")).then(pl.lit(of_c)).otherwise("session_id"))

    tampering.change("session_events", D1, join)
    both = tampering.fails("each_in_one_session", D1, {"runs at fault": 2})
    assert {row["customer_id"] for row in both} == {"c1", "c2"}


def test_an_event_at_another_time_than_its_run_is_seen(tampering: Tampering) -> None:
    later = pl.col("event_time").dt.offset_by("1us")
    tampering.change(
        "session_events",
        D1,
        lambda rows: rows.with_columns(event_time=pl.when(of_event("d")).then(later).otherwise("event_time")),
    )
    (first,) = tampering.fails("each_in_one_session", D1, {"runs at fault": 1})
    assert first["customer_id"] == "c1"


def test_an_event_in_place_of_another_of_its_run_is_seen(tampering: Tampering) -> None:
    tireless = "source_row"  # all of the tireless customer's are in one run

    def copy(rows: pl.DataFrame) -> pl.DataFrame:
        run = rows["run"].mode()[0]
        second, third = rows.filter(pl.col("run") == run)[tireless].to_list()[1:3]
        is_second = (pl.col("run") == run) & (pl.col(tireless) == second)
        return rows.with_columns(pl.when(is_second).then(third).otherwise(tireless).alias(tireless))

    tampering.change("session_events", D1, copy)
    tampering.fails("each_in_one_session", D1, {"events that are not those of the date": 1, "runs at fault": 0})


@pytest.mark.parametrize("pieces", [1, 3])
def test_events_in_another_order_or_in_other_data_files_are_the_same_events(tampering: Tampering, pieces: int) -> None:
    """As after somebody else's compaction."""
    tampering.change("session_events", D1, lambda rows: rows.reverse(), pieces)
    assert tampering.verdict("each_in_one_session", D1).passed


def test_sessions_of_two_customers_that_are_exchanged_are_seen(tampering: Tampering) -> None:
    def exchange(rows: pl.DataFrame) -> pl.DataFrame:
        one, other = (rows.filter(of_event(name))["session_id"].item() for name in ("alone", "c"))
        return rows.with_columns(pl.col("session_id").replace({one: other, other: one}))

    tampering.change("session_events", D1, exchange)
    both = tampering.fails("each_in_one_session", D1, {"events that are not those of the date": 0, "runs at fault": 2})
    assert {row["customer_id"] for row in both} == {"c1", "c2"}


@pytest.mark.parametrize(
    ("how", "sessions"),
    [
        pytest.param(lambda rows: pl.concat([rows, rows.head(1)]), 2, id="one stands twice"),
        pytest.param(
            lambda rows: pl.concat(
                [rows, rows.head(1).with_columns(session_id=pl.lit("c1-5"), event_count=pl.lit(0, pl.Int64))]
            ),
            1,
            id="one that no event names",
        ),
        pytest.param(
            lambda rows: rows.with_columns(
                event_count=pl.col("event_count")
                + pl.when(at_start("12:00")).then(2).when(at_start("23:50")).then(-2).otherwise(0)
            ),
            2,
            id="events of another",
        ),
    ],
)
def test_sessions_that_do_not_have_the_events_that_name_them_are_seen(
    tampering: Tampering, how: Callable[[pl.DataFrame], pl.DataFrame], sessions: int
) -> None:
    tampering.change("sessions", D1, how)
    shown = tampering.fails("each_in_one_session", D1, {"sessions with other events": sessions})
    assert len(shown) == sessions


def test_a_session_of_another_customer_is_seen(tampering: Tampering) -> None:
    swapped = pl.col("customer_id").replace({"c1": "c2", "c2": "c1"})
    tampering.change("sessions", D1, lambda rows: rows.with_columns(swapped))
    assert not tampering.verdict("each_in_one_session", D1).passed


def test_customers_of_whom_a_day_is_lost_do_not_add_up(tampering: Tampering) -> None:
    tampering.change("user_daily", D1, lambda rows: rows.filter(pl.col("customer_id") != "c2"))
    tampering.fails("sessions_add_up", D1, {"events": 76, "events of customers": 75})


def test_an_event_without_a_session_is_seen(tampering: Tampering) -> None:
    tampering.change("session_events", D1, lambda rows: rows.filter(~of_event("alone")))
    (first,) = tampering.fails(
        "each_in_one_session", D1, {"events": 76, "events with a session": 75, "runs at fault": 1}
    )
    assert (first["customer_id"], first["events"], first["found"]) == ("c2", 1, None)


def at_start(of: str) -> pl.Expr:
    return pl.col("session_start").dt.strftime("%H:%M") == of


def test_an_event_count_that_is_off_by_one_does_not_add_up(tampering: Tampering) -> None:
    tampering.change(
        "sessions",
        D1,
        lambda rows: rows.with_columns(
            event_count=pl.when(at_start("12:00")).then(3).otherwise("event_count").cast(pl.Int64)
        ),
    )
    tampering.fails(
        "sessions_add_up",
        D1,
        # c, d; e and two over midnight; alone; the tireless one; and one too many
        {"events": 76, "events of sessions that start on the date": 79, "of these on the next date": 2},
    )


def test_a_session_that_forgets_what_it_has_on_the_next_date_does_not_add_up(tampering: Tampering) -> None:
    tampering.change(
        "sessions",
        D1,
        lambda rows: rows.with_columns(
            session_end=pl.when(at_start("23:50")).then("session_start").otherwise("session_end"),
            event_count=pl.when(at_start("23:50")).then(1).otherwise("event_count").cast(pl.Int64),
        ),
    )
    assert tampering.verdict("sessions_add_up", D1).passed, "for the date itself it does"
    tampering.fails("sessions_add_up", D2, {"events": 74, "events of sessions of the day before": 0})


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(
            "session_start",
            pl.lit(f"{D3} 00:00:00").str.to_datetime("%F %T", time_zone="UTC", time_unit="us"),
            id="over two midnights",
        ),
        pytest.param("session_start", pl.col("session_start").dt.offset_by("-1s"), id="ends before it starts"),
        pytest.param(pl.col("session_start").dt.offset_by("-1d"), "session_end", id="starts on the day before"),
    ],
)
def test_a_session_out_of_bounds_is_seen(tampering: Tampering, start: Any, end: Any) -> None:
    wrong = at_start("12:00")
    tampering.change(
        "sessions",
        D1,
        lambda rows: rows.with_columns(
            session_start=pl.when(wrong).then(start).otherwise("session_start"),
            session_end=pl.when(wrong).then(end).otherwise("session_end"),
        ),
    )
    (first,) = tampering.fails("sessions_bounded", D1, {"sessions": 4})
    assert (first["customer_id"], first["event_count"]) == ("c1", 2)


def test_a_session_that_goes_on_where_a_cut_is_due_is_seen(tampering: Tampering) -> None:
    midnight = pl.lit(datetime(D2.year, D2.month, D2.day, tzinfo=UTC))
    tampering.change(
        "sessions",
        D1,
        lambda rows: rows.with_columns(
            session_end=pl.when(at_start("00:00")).then(midnight).otherwise("session_end"),
        ),
    )
    (first,) = tampering.fails("sessions_bounded", D1, {"over a midnight where they should be cut": 1})
    assert first["customer_id"] == "tireless"


# If runs themselves were made wrong, sessions would be: looked at directly, as what changed outside is made anew first.


@pytest.mark.parametrize(("less", "torn"), [(0, 1), (1, 0)], ids=["the timeout", "a microsecond less"])
def test_a_gap_within_a_run_is_seen(tampering: Tampering, less: int, torn: int) -> None:
    def move(column: str) -> pl.Expr:
        return pl.col(column) + 60_000_000 - less  # d comes 29 minutes after c

    is_d = of_event("d")
    tampering.change(
        "session_events",
        D1,
        lambda rows: rows.with_columns(
            event_time=pl.when(is_d)
            .then(pl.col("event_time").dt.offset_by(f"{60_000_000 - less}us"))
            .otherwise("event_time")
        ),
    )
    is_run = (pl.col("customer_id") == "c1") & (pl.col("events") == 2)
    tampering.change(
        "session_runs",
        D1,
        lambda rows: rows.with_columns(end_us=pl.when(is_run).then(move("end_us")).otherwise("end_us")),
    )
    found = activity_checks.sessions_bounded(tampering.dates.bench.work, D1)
    assert (found.wrong, found.facts["with a gap of the timeout"]) == (torn, torn)
    assert found.first["customer_id"].to_list() == ["c1"] * torn
    assert activity_checks.each_in_one_session(tampering.dates.bench.work, D1).wrong == 0


def test_a_gap_over_midnight_is_seen(tampering: Tampering) -> None:
    # From 23:50 to 00:05, and then to 00:20.
    for minutes, torn in ((14, 0), (15, 1)):
        later = pl.col("start_us") + minutes * 60_000_000
        tampering.change(
            "session_runs",
            D2,
            lambda rows, later=later: rows.with_columns(  # type: ignore[misc]
                start_us=pl.when(customer_id="c1").then(later).otherwise("start_us")
            ),
        )
        found = activity_checks.sessions_bounded(tampering.dates.bench.work, D1)
        assert found.facts["with a gap of the timeout"] == torn
        tampering.restore()


def test_a_session_split_within_the_timeout_is_seen(tampering: Tampering) -> None:
    def split(rows: pl.DataFrame) -> pl.DataFrame:
        whole = rows.filter(at_start("12:00"))
        one = whole.with_columns(session_end="session_start", event_count=1)
        two = whole.with_columns(session_start="session_end", session_id=pl.lit("c1-2"), event_count=1)
        return pl.concat([rows.filter(~at_start("12:00")), one, two], how="vertical_relaxed")

    tampering.change("sessions", D1, split)
    (first,) = tampering.fails("sessions_apart", D1, {"sessions": 5, "cut at midnight": 0})
    assert first["session_id"] == "c1-2"
    assert tampering.verdict("sessions_add_up", D1).passed, "no event is lost"


def test_a_session_split_at_a_midnight_where_no_cut_is_due_is_seen(tampering: Tampering) -> None:
    tampering.change(
        "sessions",
        D1,
        lambda rows: rows.with_columns(
            session_end=pl.when(at_start("23:50")).then("session_start").otherwise("session_end")
        ),
    )
    ours = {"customer_id": "c1", "session_id": "c1-3"}

    def go_on_by_itself(rows: pl.DataFrame) -> pl.DataFrame:
        start = datetime(D2.year, D2.month, D2.day, 0, 5, tzinfo=UTC)
        row = rows.head(1).with_columns(
            **{name: pl.lit(value) for name, value in ours.items()},
            session_start=pl.lit(start),
            session_end=pl.lit(start),
        )
        return pl.concat([rows, row], how="vertical_relaxed")

    tampering.change("sessions", D2, go_on_by_itself)
    (first,) = tampering.fails("sessions_apart", D2, {"sessions": 2, "cut at midnight": 1})
    assert {name: first[name] for name in ours} == ours


# -- what was found wrong stays wrong -------------------------------------------------------------------------


def test_a_date_that_a_check_blocked_is_blocked_by_later_refreshes_too(told: Dates) -> None:
    lake = told.bench.work.lake
    built_from = lake.partitions("events_by_date")[D1].built_from
    rows = lake.scan("events_by_date", [D1]).collect().drop("event_date")
    with lake.replace("events_by_date", D1, built_from=built_from) as writer:
        writer.write(rows.filter(~of_event("d")))
    for _ in range(2):
        result = told.run_dates(BEFORE, AFTER, ONLY_STALE)
        assert not result.success
        assert "sessions" not in materialized(result) or D1 not in materialized(result)["sessions"]
        assert not evaluations(result)["events_by_date", "events_accounted", str(D1)].passed
    with lake.replace("events_by_date", D1, built_from=built_from) as writer:
        writer.write(rows)
    assert told.run_dates(BEFORE, AFTER, ONLY_STALE).success


def test_a_date_whose_run_died_before_its_checks_is_judged_by_the_next(told: Dates) -> None:
    change_one_day(told)
    GATHER.build(told.bench.work, D1)  # what a run has done when it dies before the check
    assert D1 in judged(told.refresh(BEFORE, AFTER, ONLY_STALE))["events_accounted"]


def test_dates_that_were_found_sound_are_not_judged_again(told: Dates) -> None:
    told.refresh(BEFORE, AFTER, ONLY_STALE)
    assert {
        check: days for check, days in judged(told.refresh(BEFORE, AFTER, ONLY_STALE)).items() if check in CHECKS
    } == {}


# -- dates that wait for those beside them --------------------------------------------------------------------


def test_what_looks_at_dates_beside_waits_until_they_are_up_to_date(told: Dates) -> None:
    change_one_day(told)
    said = evaluations(told.refresh(D1, D1))
    for check, asset in CHECKS.items():
        each = said[asset, check, str(D1)]
        assert each.passed
        waits = asset != "events_by_date"
        assert (each.description or "").startswith("Not judged") is waits
        if waits:
            assert facts(each) == {"waits for": f"{D0} and {D2}"}
    after = evaluations(told.refresh(D0, D2))
    for check in ("sessions_add_up", "sessions_apart"):
        assert {after["sessions", check, str(day)].description for day in (D0, D1, D2)} == {"All is accounted for."}


def test_a_date_that_waited_is_judged_by_the_run_that_refreshes_those_beside_it(told: Dates) -> None:
    # A refresh of what is stale makes D0 and D2 alone: nobody else would come back to D1.
    change_one_day(told)
    told.refresh(D1, D1)
    told.refresh(BEFORE, AFTER, ONLY_STALE)
    for check in ("sessions_add_up", "sessions_apart"):
        newest = next(each for each in told.stored("sessions", check) if each.partition == str(D1))
        assert newest.description == "All is accounted for.", check


# -- locks ----------------------------------------------------------------------------------------------------


@contextmanager
def held(dates: Dates, axis: str) -> Iterator[None]:
    """Another run works on D1: on the files that landed on it, or on what happened on it."""
    locks = FolderLocks(dates.bench.settings.lock_dir, "another", axis)
    with days_locked(locks, [D1], wait_seconds=0, say=str):
        yield


def reasons(result: Result) -> str:
    """Why a run failed, as far as its resources say it."""
    failed = [event for event in result.all_events if event.is_resource_init_failure]
    return " ".join(str(event.engine_event_data.error) for event in failed)


def test_runs_wait_for_others_on_their_own_axis_alone(told: Dates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_LOCK_WAIT_SECONDS", "0")
    told = Dates(ActivityBench(told.bench.folder), told.instance)
    of_files, of_events = (lambda: told.run(D1, assets=[EVENTS.raw])), (lambda: told.run_dates(D1, None, ONLY_STALE))
    for axis, waiting, free in ((EVENT_DATE, of_events, of_files), (INGEST_DATE, of_files, of_events)):
        with held(told, axis):
            assert free().success
            refused = waiting()
        assert not refused.success
        assert f"{D1} is still being processed by run another" in reasons(refused)


def test_of_two_runs_on_an_event_date_the_second_waits_for_the_first(told: Dates) -> None:
    ended: list[float] = []
    taken = threading.Event()

    def first() -> None:
        with held(told, EVENT_DATE):
            taken.set()
            time.sleep(1)
            ended.append(time.time())

    other = threading.Thread(target=first)
    other.start()
    taken.wait()
    result = told.refresh(D1, D1, ONLY_STALE)
    other.join()
    log = told.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_START)
    assert min(entry.timestamp for entry in log) >= ended[0]
