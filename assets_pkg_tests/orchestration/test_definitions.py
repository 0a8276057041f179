"""What the definitions promise: an asset a table, everything by day, and code versions that name who is concerned."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.test_utils import instance_for_test
from pydantic import ValidationError

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.tables import ACTIVITY_TABLES, INGEST_TABLES, TABLES
from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration.health import PARTITION_HEALTH
from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg.orchestration.workplace import ACTIVITY_JOB
from assets_pkg.policy import load_policy
from assets_pkg.settings import Settings
from assets_pkg_tests.workbench import ROOT

REPORT, PAGE = "validation_report", "day_report"
DECIDED_ROWS = {name for feed in FEEDS.values() for name in (feed.clean_table, feed.quarantine, feed.profile)}
RAW = {feed.raw for feed in FEEDS.values()}
BLOCKING_BY_EVENT_DATE = {
    "events_accounted",
    "each_in_one_session",
    "sessions_add_up",
    "sessions_bounded",
    "sessions_apart",
}


def built(overlay: dict[str, Any] | None = None, **settings: Any) -> dg.Definitions:
    return build_definitions(Settings(data_dir=Path("unused"), **settings), load_policy(overlay=overlay))


DEFS = built()
GRAPH = DEFS.resolve_asset_graph()


def code_versions(defs: dg.Definitions) -> dict[str, str | None]:
    graph = defs.resolve_asset_graph()
    return {key.to_user_string(): graph.get(key).code_version for key in graph.executable_asset_keys}


# -- assets and checks ----------------------------------------------------------------------------------------


def test_the_assets_are_the_tables_and_the_reports() -> None:
    assert {key.to_user_string() for key in GRAPH.executable_asset_keys} == {*TABLES, REPORT, PAGE}
    assert GRAPH.external_asset_keys == {dg.AssetKey(PARTITION_HEALTH)}


@pytest.mark.parametrize("name", [*TABLES, REPORT, PAGE])
def test_an_asset_is_partitioned_by_day_and_described(name: str) -> None:
    asset = GRAPH.get(dg.AssetKey(name))
    days = asset.partitions_def
    assert isinstance(days, dg.DailyPartitionsDefinition)
    # An event of the first ingest date may be as old as the late window.
    assert days.get_first_partition_key() == ("2024-12-30" if name in ACTIVITY_TABLES else "2025-01-01")
    assert asset.description
    assert asset.backfill_policy == dg.BackfillPolicy.multi_run(max_partitions_per_run=31)


@pytest.mark.parametrize("name", TABLES)
def test_an_asset_shows_its_tables_columns(name: str) -> None:
    table = TABLES[name]
    shown = GRAPH.get(dg.AssetKey(name)).metadata["dagster/column_schema"]
    assert isinstance(shown, dg.TableSchema)
    assert [column.name for column in shown.columns] == [table.partition_by, *table.columns]
    assert [column.type for column in shown.columns] == [str(dtype) for dtype in table.full_schema.values()]
    assert all(column.description for column in shown.columns)


def test_an_asset_says_who_looks_after_it_and_what_it_is_of() -> None:
    for key in GRAPH.executable_asset_keys:
        asset = GRAPH.get(key)
        name = key.to_user_string()
        assert list(asset.owners) == ["team:data-operations"]
        assert asset.tags["partitioned_by"] == ("event_date" if name in ACTIVITY_TABLES else "ingest_date")
    assert GRAPH.get(dg.AssetKey("orders_quarantine")).tags["feed"] == "orders"
    mine = built(owners=("me@example.com", "team:shop")).resolve_asset_graph()
    assert mine.get(dg.AssetKey("alerts")).owners == ("me@example.com", "team:shop")
    with pytest.raises(ValidationError, match="owners"):
        Settings(owners=("nobody",))


def test_the_columns_of_a_table_name_those_that_they_are_made_from() -> None:
    shown = GRAPH.get(dg.AssetKey("events_clean")).metadata
    described = {column.name: column.description for column in shown["dagster/column_schema"].columns}
    assert described["event_date"] == "UTC date of event_time (from raw_events.event_time)"
    assert shown["dagster/column_lineage"].deps_by_column["event_date"] == [
        dg.TableColumnDep(dg.AssetKey("raw_events"), "event_time")
    ]


def test_every_check_has_the_days_of_its_asset_and_says_what_it_is() -> None:
    assert len(GRAPH.asset_check_keys) == 9 + 25 + 2 + len(BLOCKING_BY_EVENT_DATE) + 4 + 1
    for key in GRAPH.asset_check_keys:
        spec = GRAPH.get_check_spec(key)
        assert spec.partitions_def == GRAPH.get(key.asset_key).partitions_def, key
        assert spec.description, key
        assert spec.blocking is (key.name in {"conservation", "schema"} | BLOCKING_BY_EVENT_DATE), key


# An event counts for dates from the late window before its ingest date to the day after.
@pytest.mark.parametrize(
    ("asset", "overlay", "first", "last"),
    [
        ("raw_events", {}, 4, 8),
        ("events_by_date", {}, 2, 9),
        ("activity_alerts", {}, 2, 9),
        ("events_by_date", {"activity": {"late_window_days": 0}}, 4, 9),
        ("events_by_date", {"activity": {"late_window_days": 3}}, 1, 9),
    ],
)
def test_days_reach_from_the_first_day_of_the_settings_to_today(
    asset: str, overlay: dict[str, Any], first: int, last: int
) -> None:
    days = built(overlay, first_day=date(2025, 3, 4)).resolve_asset_graph().get(dg.AssetKey(asset)).partitions_def
    assert isinstance(days, dg.DailyPartitionsDefinition)
    now = datetime(2025, 3, 8, 12, tzinfo=UTC)
    with partition_loading_context(effective_dt=now):
        assert list(days.get_partition_keys()) == [f"2025-03-0{day}" for day in range(first, last + 1)]


# -- job and schedule -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "names"), [(DAILY_JOB, {*INGEST_TABLES, REPORT, PAGE}), (ACTIVITY_JOB, {*ACTIVITY_TABLES})]
)
def test_a_job_has_every_asset_and_check_of_its_dates(job: str, names: set[str]) -> None:
    graph = DEFS.resolve_job_def(job).asset_layer.asset_graph
    assert {key.to_user_string() for key in graph.executable_asset_keys} == names
    assert graph.asset_check_keys == {key for key in GRAPH.asset_check_keys if key.asset_key.to_user_string() in names}


def test_the_schedule_is_off_and_asks_for_the_day_before() -> None:
    schedule = DEFS.resolve_schedule_def("daily_schedule")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 4 * * *", "UTC")
    assert schedule.job_name == DAILY_JOB
    tick = datetime(2026, 3, 1, 3, tzinfo=UTC)
    repository = DEFS.get_repository_def()
    with (
        instance_for_test() as instance,
        dg.build_schedule_context(
            instance=instance, scheduled_execution_time=tick, repository_def=repository
        ) as context,
    ):
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key == "2026-02-28"
    assert request.tags["dagster/partition"] == "2026-02-28"


def test_the_schedules_hour_is_a_setting() -> None:
    schedule = built(schedule_hour=22).resolve_schedule_def("daily_schedule")
    assert schedule.cron_schedule == "0 22 * * *"


def test_the_schedules_partition_is_there_at_every_hour() -> None:
    tick = datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC)
    days = GRAPH.get(dg.AssetKey("raw_events")).partitions_def
    assert days is not None
    with partition_loading_context(effective_dt=tick):
        assert days.has_partition_key(str((tick - timedelta(days=1)).date()))


# -- code versions --------------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing": ({}, set()),
    "reading": ({"reading": {"open_quote_lines": 7}}, RAW),
    "values": ({"values": {"max_amount": 5}}, DECIDED_ROWS | {"customers_known", PAGE}),
    "categories": ({"categories": {"platform": {"aliases": {"watch": "ios"}}}}, DECIDED_ROWS | {PAGE}),
    "activity": (
        {"activity": {"late_window_days": 3}},
        {"daily_metrics", "alerts"} | ACTIVITY_TABLES.keys() - {"activity_alerts"},
    ),
    "alerts": ({"alerts": {"orphan_rate": {"max_rate": 0.3}}}, {"alerts", "activity_alerts", PAGE}),
    "checks": ({"checks": {"sample_rows": 3}}, {PAGE}),
    "maintenance": ({"maintenance": {"keep_versions_hours": 48}}, set()),
    "an alias of a header": (
        {"feeds": {"events": {"aliases": {"event_time": ["ts", "timestamp", "at"]}}}},
        {"raw_events", REPORT, PAGE, "customers_known", "daily_metrics", "alerts"} | DECIDED_ROWS,
    ),
    "a required column": (
        {"feeds": {"events": {"required": ["event_id", "customer_id", "event_time"]}}},
        {REPORT, PAGE, "customers_known", "daily_metrics", "alerts"} | DECIDED_ROWS,
    ),
}


@pytest.mark.parametrize(("overlay", "concerned"), CHANGES.values(), ids=CHANGES)
def test_a_changed_policy_changes_the_code_versions_of_what_it_decides(
    overlay: dict[str, Any], concerned: set[str]
) -> None:
    before, after = code_versions(DEFS), code_versions(built(overlay))
    assert {name for name in before if after[name] != before[name]} == concerned


# -- architecture ---------------------------------------------------------------------------------------------


def test_imports_keep_the_contracts_of_pyproject() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "4 kept, 0 broken" in told.stdout
