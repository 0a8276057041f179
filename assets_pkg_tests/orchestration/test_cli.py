"""The command line, here and in processes of its own: what it prints, what it exits with, and never a traceback."""

import json
import os
import shutil
import subprocess
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from assets_pkg.cli import app
from assets_pkg_tests.orchestration.pipeline import command_line, event_rows, good_day, put_files
from assets_pkg_tests.workbench import DAY, ROOT, Workbench, days_from, feed_csv

Told = subprocess.CompletedProcess[str]
NEXT = DAY + timedelta(days=1)


def project(folder: Path) -> Path:
    """A project's root with the sample of one good day, and no file of a feed on the next."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", folder)
    put_files(Workbench(folder), DAY, good_day(DAY))
    return folder


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project that commands fail in; none may have left a thing."""
    folder = project(tmp_path_factory.mktemp("untouched"))
    yield folder
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["raw"]
    assert not (folder / "reports").exists()


def told_here(folder: Path, *arguments: str, **settings: str) -> Told:
    """A command in this process: starting one costs three seconds."""
    at_home = Path.cwd()
    env = {"COLUMNS": "200", "DAGSTER_HOME": str(folder), **settings}
    os.chdir(folder)
    try:
        result = CliRunner().invoke(app, arguments, env=env)
    finally:
        os.chdir(at_home)
    error = result.exception
    unhandled = "" if error is None or isinstance(error, SystemExit) else "".join(traceback.format_exception(error))
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr + unhandled)


def fails(told: Told, status: int, *words: str) -> None:
    """It failed with this status and a message for people, on the error stream."""
    assert "Traceback" not in told.stdout + told.stderr, told.stderr
    assert told.returncode == status, told.stderr
    said = " ".join(told.stderr.replace("│", " ").split())
    for word in words:
        assert word in said, told.stderr


# -- wrong usage ----------------------------------------------------------------------------------------------

WRONG_USAGE: dict[str, tuple[list[str], list[str]]] = {
    "a wrong date": (["run", "--date", "10.12.2025"], ["'10.12.2025' is no date", "YYYY-MM-DD"]),
    "a date that is not": (["run", "--date", "2025-02-30"], ["'2025-02-30' is no date"]),
    "a week date": (["run", "--date", "2999-W50-3"], ["'2999-W50-3' is no date"]),
    "end before start": (
        ["run", "--start", "2025-12-11", "--end", "2025-12-10"],
        ["--end 2025-12-10 is before --start 2025-12-11"],
    ),
    "no end": (["run", "--start", "2025-12-11"], ["--date, or both --start and --end"]),
    "a date and a range": (["run", "--date", "2025-12-11", "--end", "2025-12-11"], ["--date, or both"]),
    "no date": (["run"], ["--date, or both"]),
    "before the first day": (["run", "--date", "2024-12-31"], ["2025-01-01", "PIPELINE_FIRST_DAY"]),
    "in the future": (["run", "--date", "2999-01-01"], ["today"]),
    "an unknown option": (["run", "--day", "2025-12-10"], ["No such option"]),
    "an unknown command": (["start"], ["No such command"]),
    "generate end before start": (
        ["generate", "--start", "2025-12-11", "--end", "2025-12-10"],
        ["--end 2025-12-10 is before"],
    ),
    "generate wrong hours": (
        ["generate", "--start", "2025-12-11", "--end", "2025-12-11", "--missing-hours", "2025-12-11:x"],
        ["--missing-hours", "YYYY-MM-DD:FIRST-LAST"],
    ),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG_USAGE.values(), ids=WRONG_USAGE)
def test_wrong_usage_exits_with_2(untouched: Path, arguments: list[str], words: list[str]) -> None:
    fails(told_here(untouched, *arguments), 2, *words)


def test_wrong_usage_in_a_process_of_its_own(untouched: Path) -> None:
    told = command_line("run", "--date", "tomorrow", folder=untouched, home=untouched)
    fails(told, 2, "'tomorrow' is no date")
    assert told.stdout == ""


# -- surroundings that cannot be used -------------------------------------------------------------------------


def try_day(folder: Path, **settings: str) -> Told:
    return told_here(folder, "run", "--date", str(DAY), **settings)


def run_day(folder: Path, **settings: str) -> Told:
    return command_line("run", "--date", str(DAY), folder=folder, home=folder, cwd=None, **settings)


def test_a_missing_raw_folder_is_named(untouched: Path) -> None:
    nowhere = untouched / "nowhere"
    told = try_day(untouched, PIPELINE_DATA_DIR=str(nowhere))
    fails(told, 1, "There is no raw folder", "nowhere/raw", "PIPELINE_DATA_DIR")
    assert not nowhere.exists()


POLICIES: dict[str, tuple[str | bytes | None, list[str]]] = {
    "no file": (None, ["cannot be read", "PIPELINE_POLICY"]),
    "no text": (b"\xff\xfe\x00", ["cannot be read"]),
    "no YAML": ("values: [1", ["is no valid YAML"]),
    "no map": ("- a\n- b\n", ["must hold a map"]),
    "an unknown key": ("values: {max_durations: 3}", ["values.max_durations: unknown key"]),
    "an impossible value": ("alerts: {orphan_rate: {max_rate: much}}", ["alerts.orphan_rate.max_rate", "'much'"]),
    "brackets": ("values: {slash_dates: '[/mdy]'}", ["values.slash_dates", "[/mdy]"]),
}


@pytest.mark.parametrize(("content", "words"), POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("command", ["run", "rules"])
def test_an_unusable_policy_is_named_with_what_is_wrong(
    untouched: Path, tmp_path: Path, command: str, content: str | bytes | None, words: list[str]
) -> None:
    path = tmp_path / "policy.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = ["run", "--date", str(DAY)] if command == "run" else [command]
    told = told_here(untouched, *arguments, PIPELINE_POLICY=str(path))
    fails(told, 1, "policy.yaml", *words)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PIPELINE_LOCK_WAIT_SECONDS", "soon"),
        ("PIPELINE_SCHEDULE_HOUR", "24"),
        ("PIPELINE_FIRST_DAY", "yesterday"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(untouched: Path, name: str, value: str) -> None:
    fails(try_day(untouched, **{name: value}), 1, name)


def test_generate_names_a_setting_that_cannot_be_used(untouched: Path) -> None:
    day = str(DAY)
    arguments = ("generate", "--start", day, "--end", day)
    told = told_here(untouched, *arguments, PIPELINE_SCHEDULE_HOUR="24")
    fails(told, 1, "PIPELINE_SCHEDULE_HOUR")


def test_a_folder_with_brackets_in_its_name_is_named_as_it_is(untouched: Path) -> None:
    fails(try_day(untouched, PIPELINE_DATA_DIR="data[/old]"), 1, "data[/old]/raw")


def test_without_dagster_yaml_in_the_folder_it_says_where_to_be(untouched: Path, tmp_path: Path) -> None:
    settings = {"PIPELINE_DATA_DIR": str(untouched / "data"), "DAGSTER_HOME": ""}
    told = told_here(tmp_path, "run", "--date", str(DAY), **settings)
    fails(told, 1, "There is no dagster.yaml in", tmp_path.name, "project's root", "DAGSTER_HOME")
    assert list(tmp_path.iterdir()) == []


def test_a_dagster_home_that_is_not_there_is_named(untouched: Path) -> None:
    fails(try_day(untouched, DAGSTER_HOME=str(untouched / "gone")), 1, "DAGSTER_HOME", "gone")


# -- days -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Days:
    """A project where a good day and one without files were run as a range."""

    folder: Path
    told: Told


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Days:
    folder = project(tmp_path_factory.mktemp("days"))
    arguments = ("run", "--start", str(DAY), "--end", str(NEXT), "--fail-on-alert")
    return Days(folder, command_line(*arguments, folder=folder, home=folder, DAGSTER_HOME=""))


def test_alerts_of_severity_high_exit_with_3_when_asked_to(days: Days) -> None:
    assert days.told.returncode == 3, days.told.stderr
    assert "Traceback" not in days.told.stderr


def test_a_day_without_files_is_told_and_the_days_with_files_are_named(days: Days) -> None:
    said = " ".join(days.told.stderr.split())
    assert f"No files for {NEXT}" in said
    assert "missing_feed" in said
    assert f"Days with files: 1, from {DAY} to {DAY}" in said


def cells_of(told: Told) -> list[list[str]]:
    """The rows of the tables that a command printed."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in told.stdout.splitlines()]


def test_the_summary_tells_what_customers_did_by_event_date(days: Days) -> None:
    cells = cells_of(days.told)
    # Of events an hour apart each is a session. The next day was processed, and nothing happened on it.
    assert [str(DAY), "24", "24", "1", "0"] in cells
    assert [str(NEXT), "0", "0", "0", "0"] in cells
    assert "Restated" not in days.told.stdout


def test_the_summary_counts_rows_by_day_and_feed_and_lists_alerts(days: Days) -> None:
    cells = cells_of(days.told)
    assert [str(DAY), "customers", "5", "5", "0", "0"] in cells
    assert [str(DAY), "events", "24", "24", "0", "0"] in cells
    assert [str(NEXT), "orders", "0", "0", "0", "0"] in cells
    assert [str(NEXT), "high", "missing_feed", "events: 0 readable files, 0 records"] in cells


def test_the_run_is_in_the_instance_that_the_web_ui_opens(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(days.folder)
    monkeypatch.setenv("DAGSTER_HOME", str(days.folder))
    with dg.DagsterInstance.get() as instance:
        refresh, run = instance.get_runs()
        assert (run.job_name, refresh.job_name) == ("daily_pipeline", "activity")
        assert {each.status for each in (run, refresh)} == {dg.DagsterRunStatus.SUCCESS}
        assert run.tags["dagster/asset_partition_range_start"] == str(DAY)
        assert run.tags["dagster/asset_partition_range_end"] == str(NEXT)
        assert refresh.tags["pipeline/only_stale"] == "true"
        for asset in ("alerts", "events_by_date", "activity_metrics"):
            assert instance.get_materialized_partitions(dg.AssetKey(asset)) == {str(DAY), str(NEXT)}, asset


def test_a_day_that_is_done_exits_with_0(days: Days) -> None:
    told = run_day(days.folder)
    assert told.returncode == 0, told.stderr
    assert told.stderr == ""
    assert "What the tables hold" in told.stdout
    assert "Traceback" not in told.stdout


def test_alerts_alone_are_no_failure(days: Days) -> None:
    told = told_here(days.folder, "run", "--date", str(NEXT))
    assert told.returncode == 0, told.stderr


def test_a_run_that_fails_exits_with_1_and_names_the_step_and_the_reason(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / "data" / "lake").write_text("not a folder")
    told = try_day(folder)
    fails(told, 1, f"Failed: {DAY}", "step raw_")


# -- event dates ----------------------------------------------------------------------------------------------

FOUR = days_from(DAY, 4)
CROWDED = DAY + timedelta(days=4)


@dataclass(frozen=True)
class Refreshed:
    """Four good days, then a day whose events come all at once, with a late one for the day before."""

    four: Told
    one: Told


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory) -> Refreshed:
    folder = project(tmp_path_factory.mktemp("refreshed"))
    bench = Workbench(folder)
    for day in FOUR:
        put_files(bench, day, good_day(day))
    at_once = [{**row, "event_time": f"{CROWDED}T12:00:{at:02}Z"} for at, row in enumerate(event_rows(CROWDED))]
    late = {"event_id": "late", "event_time": f"{FOUR[-1]}T12:40:00Z"}
    put_files(bench, CROWDED, {**good_day(CROWDED), "events_raw.csv": feed_csv("events", *at_once, late)})
    spans = ((str(FOUR[0]), str(FOUR[-1])), (str(CROWDED), str(CROWDED)))
    four, one = (told_here(folder, "run", "--start", first, "--end", last, "--fail-on-alert") for first, last in spans)
    return Refreshed(four, one)


def test_a_run_prints_the_event_dates_that_it_touched_and_no_others(refreshed: Refreshed) -> None:
    hourly = ["24", "24", "1", "0"]
    assert happened(refreshed.four) == {str(day): hourly for day in FOUR}
    # The day before the day before could have had late events as well; what lies further back could not.
    assert happened(refreshed.one) == {
        str(FOUR[2]): hourly,
        str(FOUR[3]): ["25", "24", "1", "0"],
        str(CROWDED): ["24", "1", "1", "0"],
    }


def happened(told: Told) -> dict[str, list[str]]:
    """What customers did by event date, as a command printed it."""
    *_, table = told.stdout.partition("What customers did, by event date")
    lines = table.splitlines()[1:]
    ends = next(at for at, line in enumerate(lines) if line.startswith("└"))
    rows = (line.strip("│").split("│") for line in lines[:ends] if line.startswith("│"))
    return {day.strip(): [cell.strip() for cell in cells] for day, *cells in rows}


def test_numbers_that_a_late_event_changed_are_told_with_the_day_it_landed_on(refreshed: Refreshed) -> None:
    assert "Restated" not in refreshed.four.stdout
    *_, restated = refreshed.one.stdout.partition("Restated")
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in restated.splitlines()]
    assert [row for row in rows if len(row) == 5] == [
        [str(FOUR[-1]), "bounce_rate", "1", "0.958333", str(CROWDED)],
        [str(FOUR[-1]), "events_per_session_mean", "1", "1.04167", str(CROWDED)],
    ]


def test_alerts_of_event_dates_count_for_the_exit_status(refreshed: Refreshed) -> None:
    assert refreshed.four.returncode == 0, refreshed.four.stdout + refreshed.four.stderr
    assert refreshed.one.returncode == 3, refreshed.one.stderr
    high = [row for row in cells_of(refreshed.one) if row[1:2] == ["high"]]
    assert [row[:3] for row in high] == [[str(CROWDED), "high", "activity_drop"]]


# -- other commands -------------------------------------------------------------------------------------------


def test_rules_are_the_table_in_the_readme(untouched: Path) -> None:
    told = told_here(untouched, "rules")
    assert told.returncode == 0, told.stderr
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = "<!-- rules: begin -->\n", "<!-- rules: end -->"
    assert told.stdout == readme[readme.index(begin) + len(begin) : readme.index(end)]


def test_rules_follow_the_policy_in_force(untouched: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps({"values": {"max_amount": 77}}))
    told = told_here(untouched, "rules", PIPELINE_POLICY=str(path))
    assert "amount is above 77 |" in told.stdout


def generated(folder: Path, untouched: Path, *options: str, elsewhere: bool = False) -> dict[str, bytes]:
    """What `generate` makes, in this process or in one of its own."""
    arguments = ("generate", "--start", str(DAY), "--end", str(NEXT), "--events", "60", *options, "--out", str(folder))
    told = command_line(*arguments, folder=untouched, home=untouched) if elsewhere else told_here(untouched, *arguments)
    assert told.returncode == 0, told.stderr
    assert str(DAY) in told.stdout
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_generate_gives_the_same_bytes_for_the_same_seed_only(untouched: Path, tmp_path: Path) -> None:
    once = generated(tmp_path / "once", untouched)
    assert once == generated(tmp_path / "again", untouched, elsewhere=True)  # where sets have another order
    assert once != generated(tmp_path / "other", untouched, "--seed", "2")
    assert {name.split("/")[0] for name in once} == {f"ingest_date={DAY}", f"ingest_date={NEXT}"}


def test_generate_does_not_mix_its_days_with_files_of_another_making(untouched: Path, tmp_path: Path) -> None:
    stranger = tmp_path / f"ingest_date={DAY}" / "events_raw_real.csv"
    stranger.parent.mkdir()
    stranger.write_text("event_id\n1\n")
    arguments = ("generate", "--start", str(DAY), "--end", str(DAY), "--events", "60", "--out", str(tmp_path))
    fails(told_here(untouched, *arguments), 1, stranger.name, "remove them first")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [stranger]
