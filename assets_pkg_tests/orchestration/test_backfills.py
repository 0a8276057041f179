"""What the web UI may be asked to run: backfills of any days, any asset or check alone, from the project's own workspace."""

import re
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.asset_backfill import AssetBackfillData

from assets_pkg.contracts.tables import ACTIVITY_TABLES
from assets_pkg.definitions import build_definitions
from assets_pkg.settings import Settings
from assets_pkg_tests.orchestration.pipeline import instance_in_memory
from assets_pkg_tests.workbench import ROOT, days_from

FIRST = date(2025, 10, 1)
DAYS = [str(FIRST + timedelta(days=count)) for count in range(30)]
_JOB = build_definitions(Settings(data_dir=Path("unused"))).resolve_implicit_global_asset_job_def()
_GRAPH = _JOB.asset_layer.asset_graph
ASSETS = sorted(_GRAPH.executable_asset_keys)
CHECKS = sorted(_GRAPH.asset_check_keys)


def targeted() -> dict[str, list[str]]:
    """The partitions of each asset that a backfill of DAYS of all assets targets."""
    with instance_in_memory() as instance:
        data = AssetBackfillData.from_asset_partitions(
            asset_graph=_GRAPH,
            partition_names=DAYS,
            asset_selection=ASSETS,
            dynamic_partitions_store=instance,
            backfill_start_timestamp=datetime(2026, 3, 1, tzinfo=UTC).timestamp(),
            all_partitions=False,
        )
    return {key.to_user_string(): sorted(data.get_target_partitions_subset(key).get_partition_keys()) for key in ASSETS}


# Dagster's own use of it.
own_use = pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`:DeprecationWarning")


@own_use
def test_a_backfill_of_30_days_targets_those_ingest_dates_and_no_other() -> None:
    # A mapping over other days makes Dagster add days to the backfill, and split it into runs per stage.
    found = targeted()
    assert {name: len(days) for name, days in found.items() if name not in ACTIVITY_TABLES and days != DAYS} == {}
    assert {name: len(days) for name, days in found.items() if not set(DAYS) <= set(days)} == {}


def around(before: int, after: int) -> list[str]:
    """DAYS and some before and after them."""
    return [str(day) for day in days_from(FIRST - timedelta(days=before), 30 + before + after)]


BY_EVENT_DATE = {
    "events_by_date": around(2, 1),
    "session_runs": around(2, 1),
    "session_events": around(3, 2),
    "sessions": around(3, 2),
    "user_daily": around(3, 2),
    "activity_metrics": around(3, 2),
    "restatements": around(3, 2),
    "activity_alerts": around(3, 2 + 7),
}


@own_use
@pytest.mark.parametrize("last_first", [False, True])
def test_a_backfill_targets_every_event_date_that_its_days_touch_in_whatever_order_dagster_walks(
    monkeypatch: pytest.MonkeyPatch, *, last_first: bool
) -> None:
    for key in ASSETS:
        node = _GRAPH.get(key)
        monkeypatch.setattr(node, "child_keys", sorted(node.child_keys, reverse=last_first))
    found = targeted()
    assert {name: found[name] for name in BY_EVENT_DATE} == BY_EVENT_DATE


@pytest.mark.parametrize("asset", ASSETS, ids=lambda key: key.to_user_string())
def test_an_asset_can_be_materialized_with_no_other_than_its_siblings(asset: dg.AssetKey) -> None:
    siblings = _GRAPH.get(asset).execution_set_asset_keys
    job = _JOB.get_subset(asset_selection=siblings)
    assert job.asset_layer.asset_graph.executable_asset_keys == siblings


@pytest.mark.parametrize("check", CHECKS, ids=lambda key: key.to_user_string())
def test_a_check_can_be_executed_alone(check: dg.AssetCheckKey) -> None:
    job = _JOB.get_subset(asset_selection=set(), asset_check_selection={check})
    assert job.asset_layer.asset_graph.asset_check_keys == {check}


def test_workspace_yaml_is_what_dagster_loads(tmp_path: Path) -> None:
    # A [tool.dg] or [tool.dagster] table in pyproject.toml would win over workspace.yaml, without a word.
    for name in ("pyproject.toml", "dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "dagster", "definitions", "validate"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == 0, told.stderr
    said = told.stdout + told.stderr
    assert re.findall(r"Validation successful for code location (\S+)\.\s", said) == ["assets_pkg"], said
