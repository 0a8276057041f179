"""Of a run over many days some fail: the others are done, the run says which failed and why."""

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets_pkg.orchestration.bad_days import FAILED_DAYS
from assets_pkg_tests.orchestration.pipeline import (
    Pipeline,
    Result,
    evaluations,
    failed_steps,
    good_day,
    pipeline_in,
    put_files,
    started_steps,
)
from assets_pkg_tests.workbench import days_from

DAYS = days_from(date(2025, 12, 10), 3)
BAD = DAYS[1]
GOOD = [day for day in DAYS if day != BAD]


def fill(pipeline: Pipeline) -> None:
    for day in DAYS:
        put_files(pipeline.bench, day, good_day(day))


def block(pipeline: Pipeline, table: str, *days: date) -> list[Path]:
    """Put a file where a partition's folder is to be."""
    obstacles = [pipeline.bench.work.lake.root / table / f"ingest_date={day}" for day in days]
    for each in obstacles:
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_text("in the way")
    return obstacles


def why(result: Result) -> str:
    """What the run says of its failures."""
    errors = (event.step_failure_data.error for event in result.all_events if event.is_step_failure)
    return " ".join(error.to_string() for error in errors if error)


def made(result: Result, asset: str) -> list[str]:
    """The days of which an asset was made in a run."""
    key = dg.AssetKey(asset)
    return sorted(
        each.partition or "" for each in result.asset_materializations_for_node(asset) if each.asset_key == key
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, date], str]:
    with pipeline_in(tmp_path_factory.mktemp("undisturbed")) as pipeline:
        fill(pipeline)
        assert pipeline.run(DAYS[0], DAYS[-1]).success
        return pipeline.versions()


def test_one_bad_day_does_not_take_the_others_down(tmp_path: Path, undisturbed: dict[tuple[str, date], str]) -> None:
    with pipeline_in(tmp_path) as pipeline:
        fill(pipeline)
        (obstacle,) = block(pipeline, "raw_events", BAD)
        result = pipeline.run(DAYS[0], DAYS[-1])
        assert not result.success
        assert len(failed_steps(result)) == 1, "told once"
        assert made(result, "alerts") == [str(day) for day in GOOD]
        run = pipeline.instance.get_run_by_id(result.run_id)
        assert run is not None
        assert run.tags[FAILED_DAYS] == str(BAD)
        reason = why(result)
        assert f"1 of the run's days failed: {BAD} in raw_events: raw_events cannot be written to" in reason
        assert "The other 2 went on" in reason
        assert {(check, day) for _, check, day in evaluations(result) if check == "missing_feed"} == {
            ("missing_feed", str(day)) for day in GOOD
        }, "the good days are judged too"
        found = pipeline.versions()
        assert {day for table, day in found if table in {"events_clean", "daily_metrics", "alerts"}} == set(GOOD)
        obstacle.unlink()
        assert pipeline.run(BAD).success
        assert pipeline.run(DAYS[0], DAYS[-1]).success
        assert pipeline.versions() == undisturbed


def test_a_blocking_check_takes_only_its_day_out(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        fill(pipeline)
        assert pipeline.run(DAYS[0], DAYS[-1]).success
        lake = pipeline.bench.work.lake
        rows = lake.scan("events_clean", [BAD]).collect().drop("ingest_date")
        with lake.replace("events_clean", BAD, built_from=lake.partitions("events_clean")[BAD].built_from) as writer:
            writer.write(rows.head(rows.height - 1))
        result = pipeline.run(DAYS[0], DAYS[-1])
        assert not result.success
        said = evaluations(result)
        passed = {day: said["events_clean", "conservation", str(day)].passed for day in DAYS}
        assert passed == {day: day != BAD for day in DAYS}
        assert said["events_clean", "conservation", str(BAD)].severity == dg.AssetCheckSeverity.ERROR
        assert f"{BAD} in events_checks: check conservation: 1 rows are lost" in why(result)
        assert made(result, "daily_metrics") == made(result, "alerts") == [str(day) for day in GOOD]


def test_a_day_that_fails_in_the_last_step_is_told_too(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        fill(pipeline)
        block(pipeline, "raw_orders", DAYS[0])
        block(pipeline, "alerts", BAD)
        result = pipeline.run(DAYS[0], DAYS[-1])
        assert not result.success
        assert f"{DAYS[0]} in raw_orders: " in why(result)
        assert f"{BAD} in alerts: " in why(result)
        assert made(result, "alerts") == [str(day) for day in DAYS[2:]]


@pytest.mark.slow
def test_a_run_of_some_assets_fails_too(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        fill(pipeline)
        block(pipeline, "raw_events", BAD)
        result = pipeline.run(DAYS[0], DAYS[-1], ["raw_events"])
        assert len(failed_steps(result)) == 1
        assert f"{BAD} in raw_events: " in why(result)
        assert made(result, "raw_events") == [str(day) for day in GOOD]


@pytest.mark.parametrize("last", [DAYS[-1], None], ids=["all of a range", "a day alone"])
def test_a_run_whose_days_all_fail_ends_where_they_do(tmp_path: Path, last: date | None) -> None:
    with pipeline_in(tmp_path) as pipeline:
        fill(pipeline)
        block(pipeline, "events_clean", *DAYS)
        result = pipeline.run(DAYS[0], last)
        assert failed_steps(result) == ["events"]
        assert "events_clean cannot be written to" in why(result)
        assert "daily_metrics" not in started_steps(result)


def test_a_date_that_cannot_be_refreshed_does_not_take_the_others_down(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        fill(pipeline)
        assert pipeline.run(DAYS[0], DAYS[-1]).success
        obstacle = pipeline.bench.work.lake.root / "sessions" / f"event_date={BAD}"
        obstacle.parent.mkdir(parents=True)
        obstacle.write_text("in the way")
        result = pipeline.run_dates(DAYS[0], DAYS[-1])
        assert not result.success
        assert f"{BAD} in sessions: " in why(result)
        assert made(result, "activity_metrics") == [str(day) for day in GOOD]
        obstacle.unlink()
        assert pipeline.run_dates(DAYS[0], DAYS[-1]).success


@pytest.mark.slow
def test_what_a_step_yields_of_a_day_that_fails_stays_out_of_the_tables(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        fill(pipeline)
        block(pipeline, "events_quarantine", BAD)
        assert not pipeline.run(DAYS[0], DAYS[-1]).success
        rows = pipeline.bench.work.lake.scan("events_clean", DAYS).select(pl.col("ingest_date").unique().sort())
        assert rows.collect().to_series().to_list() == GOOD
