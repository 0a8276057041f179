"""`ledger`, `forget` and `explain`; days that are processed again by the command line and by the sensor."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.files import FAILED, PENDING, SKIPPED, SUCCESS
from assets_pkg.definitions import build_definitions
from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg.orchestration.partitions import runs_of
from assets_pkg.orchestration.sensors import PENDING_DAYS
from assets_pkg.orchestration.workplace import VERIFY
from assets_pkg.storage import raw_files
from assets_pkg.storage.raw_files import RawFile
from assets_pkg_tests.orchestration.pipeline import command_line, instance_in_memory, pipeline_in
from assets_pkg_tests.orchestration.test_cli import fails, told_here
from assets_pkg_tests.workbench import DAY, ROOT, Workbench, customers_csv, days_from, feed_csv

D1, D2, D3 = days_from(DAY, 3)
ONE, TWO, AGAIN, BROKEN = (
    f"ingest_date={D1}/{name}"
    for name in ("events_raw_1.csv", "events_raw_2.csv", "events_raw_3_again.csv", "events_raw_4.json")
)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """Two days that commands may look at."""
    bench = Workbench(tmp_path_factory.mktemp("days"))
    for day in (D1, D2):
        bench.put("customers_raw.csv", customers_csv("c1", "c2"), day)
    bench.put_feed(
        "events",
        {"event_id": "good", "event_type": "tap", "event_time": "2025-12-10T07:00:00Z"},
        {"event_id": "copy"},
        {"event_id": "copy"},
        {"event_id": "twice", "url": ""},
        name="events_raw_1.csv",
    )
    bench.put_feed(
        "events",
        {"event_id": "twice"},
        {"event_id": "bad", "event_time": "no time", "duration_ms": "-1"},
        {"event_id": "orphan", "customer_id": "nobody"},
        name="events_raw_2.csv",
    )
    bench.put("events_raw_3_again.csv", feed_csv("events", *_ROWS_OF_TWO))
    bench.put("events_raw_4.json", "no json at all")
    bench.put_feed("orders", {"order_id": "o1"})
    bench.run_day(D1)
    bench.put_feed("events", {"event_id": "late", "event_time": "2025-12-01T00:00:00Z"}, day=D2)
    bench.run_day(D2)
    return bench


_ROWS_OF_TWO = [
    {"event_id": "twice"},
    {"event_id": "bad", "event_time": "no time", "duration_ms": "-1"},
    {"event_id": "orphan", "customer_id": "nobody"},
]


def told(bench: Workbench, *arguments: str) -> str:
    """What a command that succeeds prints, in one line."""
    result = told_here(bench.folder, *arguments, PIPELINE_DATA_DIR=str(bench.settings.data_dir))
    assert result.returncode == 0, result.stderr
    return " ".join(result.stdout.split())


def fails_with(bench: Workbench, arguments: list[str], status: int, *words: str) -> None:
    result = told_here(bench.folder, *arguments, PIPELINE_DATA_DIR=str(bench.settings.data_dir))
    fails(result, status, *words)


# -- ledger ---------------------------------------------------------------------------------------------------


def listed(bench: Workbench, *arguments: str) -> dict[str, dict[str, str]]:
    result = told_here(
        bench.folder, "ledger", "--format", "csv", *arguments, PIPELINE_DATA_DIR=str(bench.settings.data_dir)
    )
    return {row["path"]: row for row in csv.DictReader(io.StringIO(result.stdout))}


def test_the_ledger_lists_every_file_and_where_its_rows_went(days: Workbench) -> None:
    rows = listed(days)
    assert len(rows) == 8
    kept = ("status", "records", "clean", "quarantine", "id_duplicates", "full_row_duplicates", "duplicate_of")
    assert [tuple(rows[path][name] for name in kept) for path in (ONE, TWO, AGAIN, BROKEN)] == [
        (SUCCESS, "4", "2", "1", "1", "1", ""),
        (SUCCESS, "3", "1", "2", "0", "0", ""),
        (SKIPPED, "", "", "", "", "", TWO),
        (FAILED, "", "", "", "", "", ""),
    ]
    assert "JSON" in rows[BROKEN]["note"]
    assert rows[ONE]["processed_at"].endswith("+00:00")


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        (["--status", "FAILED"], [BROKEN]),
        (["--status", "skipped"], [AGAIN]),
        (["--status", "PENDING"], []),
        (["--date", str(D2)], [f"ingest_date={D2}/customers_raw.csv", f"ingest_date={D2}/events_raw.csv"]),
        (["--date", str(D1), "--feed", "orders"], [f"ingest_date={D1}/orders_raw.csv"]),
    ],
)
def test_the_ledger_can_be_narrowed(days: Workbench, arguments: list[str], paths: list[str]) -> None:
    assert list(listed(days, *arguments)) == paths


def test_the_ledger_is_printed_for_people_and_for_programs(days: Workbench) -> None:
    shown = told(days, "ledger")
    for word in ("Raw files: 8", ONE, TWO, AGAIN, SKIPPED, "same content as"):
        assert word in shown
    assert "holds no such file" in told(days, "ledger", "--status", "PROCESSING")
    rows = json.loads(told(days, "ledger", "--format", "json", "--status", "SKIPPED"))
    assert [(row["path"], row["duplicate_of"], row["records"]) for row in rows] == [(AGAIN, TWO, None)]


def test_what_a_terminal_would_obey_is_written_out(tmp_path: Path) -> None:
    bench = Workbench(tmp_path)
    bench.put("events_raw_[red]x\x1b[31m\u202e.csv", feed_csv("events", {"event_id": "e\x1b]0;title\x07"}))
    bench.run_day()
    listed_ones = told(bench, "ledger")
    assert "events_raw_[red]x\\x1b[31m\\u202e.csv" in listed_ones
    life = told(bench, "explain", "--event-id", "e\x1b]0;title\x07")
    assert "\x1b" not in listed_ones + life


def test_the_ledger_can_be_verified(days: Workbench, tmp_path: Path) -> None:
    assert "Every raw file has the bytes" in told(days, "ledger", "--verify")
    shutil.copytree(days.folder, tmp_path / "copy")
    copy = Workbench(tmp_path / "copy")
    copy.put("events_raw_1.csv", "changed")
    result = told_here(
        copy.folder, "ledger", "--verify", "--date", str(D1), PIPELINE_DATA_DIR=str(copy.settings.data_dir)
    )
    assert result.returncode == 1
    assert result.stdout == f"{ONE} has other bytes than when it was read\n"
    assert "1 raw files" in result.stderr


@pytest.mark.parametrize("arguments", [["ledger"], ["explain", "--event-id", "x"], ["forget", "--file", "x"]])
def test_without_a_ledger_there_is_nothing_to_tell(arguments: list[str], tmp_path: Path) -> None:
    fails_with(Workbench(tmp_path), arguments, 1, "There is no ledger", "PIPELINE_DATA_DIR")
    assert not (tmp_path / "data").exists()


# -- explain --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--event-id", "good"],
            [
                f"{ONE} row 1 (events of {D1}): clean",
                "It is clean: events_clean",
                "by_event_type unknown, by_platform web, by_hour 07",
                "Warning unknown_event_type",
                "Its file is SUCCESS: 4 records",
                "event_type tap unknown",
            ],
        ),
        (
            ["--event-id", "copy"],
            [f"{ONE} row 2", f"{ONE} row 3", "dropped as a copy", f"The one that stayed is {ONE} row 2."],
        ),
        (
            ["--event-id", "twice"],
            [f"{ONE} row 4 (events of {D1}): quarantine", "duplicate_event_id", f"The better one is {TWO} row 1."],
        ),
        (
            ["--event-id", "bad"],
            ["Reason invalid_event_time", "Reason negative_duration_ms", "total, quarantine", "no time"],
        ),
        (["--event-id", "orphan"], ["orphan_customer_id", "Customer nobody is not known as of 2025-12-11"]),
        (["--event-id", "late"], [f"(events of {D2}): clean", "late_events, late_beyond_window"]),
        (["--order-id", " o1 "], ["(orders of 2025-12-10): clean", "by_status paid"]),
        (
            ["--customer-id", "c1"],
            [
                f"(customers of {D1})",
                f"(customers of {D2})",
                "first named on 2025-12-10, last on 2025-12-11",
                "4 events of this customer are clean",
                "1 orders of this customer are clean",
            ],
        ),
        (["--file", ONE, "--row", "1"], [f"{ONE} row 1", "event_id good"]),
        (["--file", f"data/raw/{ONE}", "--row", "1"], [f"{ONE} row 1"]),
        (
            ["--file", AGAIN, "--row", "2"],
            [f"{AGAIN} was SKIPPED: same content as {TWO}", f"{TWO} row 2", "invalid_event_time"],
        ),
    ],
)
def test_a_records_life_is_told(days: Workbench, arguments: list[str], words: list[str]) -> None:
    arguments = [each.replace("data/raw", str(days.settings.raw_dir)) for each in arguments]
    shown = told(days, "explain", *arguments)
    for word in words:
        assert word in shown


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, ["Give one of --event-id"]),
        (["--event-id", "a", "--order-id", "b"], 2, ["Give one of"]),
        (["--file", ONE], 2, ["--file with --row"]),
        (["--event-id", "a", "--row", "1"], 2, ["--file with --row"]),
        (["--event-id", "nowhere"], 1, ["No raw row has event_id 'nowhere'"]),
        (["--event-id", "cop"], 1, ["No raw row has event_id 'cop'"]),
        (["--file", "events.csv", "--row", "1"], 1, ["The ledger does not know events.csv"]),
    ],
)
def test_what_cannot_be_explained_is_said(days: Workbench, arguments: list[str], status: int, words: list[str]) -> None:
    fails_with(days, ["explain", *arguments], status, *words)


@pytest.mark.parametrize(
    ("path", "row", "words"),
    [(BROKEN, 1, ["FAILED and gave no record", "JSON"]), (ONE, 5, ["SUCCESS with 4 records; there is no 5"])],
)
def test_a_row_that_is_not_there_is_said(days: Workbench, path: str, row: int, words: list[str]) -> None:
    result = told_here(
        days.folder, "explain", "--file", path, "--row", str(row), PIPELINE_DATA_DIR=str(days.settings.data_dir)
    )
    assert result.returncode == 1
    for word in words:
        assert word in result.stdout


def test_a_record_that_was_only_read_is_not_processed_yet(bench: Workbench) -> None:
    bench.put_feed("events", {"event_id": "fresh"})
    bench.land(EVENTS)
    assert "not processed yet" in told(bench, "explain", "--event-id", "fresh")


# -- days that are processed again ------------------------------------------------------------------------------


def project(folder: Path) -> Workbench:
    """A project's root with two days: the second holds an events file that the first will bring too."""
    shutil.copy(ROOT / "dagster.yaml", folder)
    bench = Workbench(folder)
    for day in (D1, D2):
        bench.put("customers_raw.csv", customers_csv("c1"), day)
    bench.put_feed("events", {"event_id": "a"}, day=D2)
    return bench


def statuses(bench: Workbench) -> dict[date, str]:
    return {row["ingest_date"]: row["status"] for row in bench.work.ledger.entries(feed="events")}


@pytest.mark.slow
def test_the_command_line_processes_days_again_and_forgets(tmp_path: Path) -> None:
    """One history: a resend under an earlier path, then that is taken away and forgotten."""
    bench = project(tmp_path)
    command = {"folder": tmp_path, "home": tmp_path}
    assert command_line("run", "--start", str(D1), "--end", str(D2), **command).returncode == 0
    path = bench.put_feed("events", {"event_id": "a"}, day=D1)

    result = command_line("run", "--date", str(D1), **command)
    assert result.returncode == 0, result.stderr
    assert f"Processed again: {D2}" in result.stderr
    assert statuses(bench) == {D1: SUCCESS, D2: SKIPPED}
    assert f"{D2}  │ events" in result.stdout  # the summary shows both days
    alerts = json.loads((bench.settings.reports_dir / f"ingest_date={D2}" / "alerts.json").read_text())
    assert ("missing_feed", "events") in {(alert["rule"], alert["dataset"]) for alert in alerts["alerts"]}

    result = command_line("forget", "--file", path, **command)
    fails(result, 1, "still in the raw folder", "Take it out of")
    fails(command_line("forget", "--file", "no such", **command), 1, "does not know no such")
    (bench.settings.raw_dir / path).unlink()
    result = command_line("forget", "--file", str(bench.settings.raw_dir / path), **command)
    assert result.returncode == 0, result.stderr
    assert f"Processed again: {D2}" in result.stderr
    assert f"Forgotten: {path} (1 records)." in result.stdout
    assert statuses(bench) == {D2: SUCCESS}
    assert [len(bench.rows("events_clean", day)) for day in (D1, D2)] == [0, 1]


def test_a_run_with_the_tag_hashes_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run --verify` sets the tag; in the web UI anybody can."""
    hashed: list[str] = []
    really = RawFile.fingerprint

    def counted(self: RawFile) -> raw_files.Fingerprint:
        hashed.append(self.path)
        return really(self)

    monkeypatch.setattr(RawFile, "fingerprint", counted)
    monkeypatch.setattr(raw_files, "SETTLED_SECONDS", 0.0)
    with pipeline_in(tmp_path) as pipeline:
        path = pipeline.bench.put_feed("events", {})
        job = pipeline.defs.resolve_job_def(DAILY_JOB)
        for tags, expected in (({}, [path]), ({}, []), ({VERIFY: "true"}, [path])):
            hashed.clear()
            result = job.execute_in_process(
                instance=pipeline.instance,
                partition_key=str(D1),
                tags=tags,
                asset_selection=[dg.AssetKey("raw_events")],
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            assert result.success
            assert hashed == expected


# -- the sensor -------------------------------------------------------------------------------------------------


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_in_memory() as instance:
        yield instance


def asked_for(bench: Workbench, instance: dg.DagsterInstance) -> list[tuple[str, str]]:
    """What the sensor wants run: partition and run key."""
    defs = build_definitions(bench.settings, bench.work.policy)
    sensor = defs.resolve_sensor_def(PENDING_DAYS)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    context = dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def())
    tick = sensor.evaluate_tick(context)
    return [(request.partition_key or "", request.run_key or "") for request in tick.run_requests or []]


def test_the_sensor_asks_for_days_with_pending_files_once(bench: Workbench, instance: dg.DagsterInstance) -> None:
    assert asked_for(bench, instance) == []
    assert not bench.settings.data_dir.exists()  # looking makes no ledger
    for day in (D2, D3):
        bench.put_feed("events", {"event_id": "a"}, day=day)
        bench.land(EVENTS, day)
    assert asked_for(bench, instance) == []
    bench.put_feed("events", {"event_id": "a"}, day=D1)
    bench.land(EVENTS, D1)
    (wanted,) = asked_for(bench, instance)
    assert wanted[0] == str(D2)
    assert asked_for(bench, instance) == [wanted]  # the same key: Dagster starts it once
    bench.land(EVENTS, D2)
    assert asked_for(bench, instance) == [wanted]  # until all of the day is done
    bench.run_day(D2)
    assert asked_for(bench, instance) == []
    bench.put_feed("events", {"event_id": "b"}, day=D1)
    bench.land(EVENTS, D1)
    later = asked_for(bench, instance)
    assert [key for key, _ in later] == [str(D2), str(D3)]
    assert wanted[1] not in {key for _, key in later}


def test_what_the_sensor_asks_for_settles_the_day(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        bench = pipeline.bench
        bench.put_feed("events", {"event_id": "a"}, day=D2)
        bench.land(EVENTS, D2)
        bench.put_feed("events", {"event_id": "a"}, day=D1)
        pipeline.run(D1)
        assert statuses(bench) == {D1: SUCCESS, D2: PENDING}
        ((day, _),) = asked_for(bench, pipeline.instance)
        assert pipeline.run(date.fromisoformat(day)).success
        assert statuses(bench) == {D1: SUCCESS, D2: SKIPPED}


# -- what the UI shows of files -----------------------------------------------------------------------------------


def test_the_ledger_stands_in_the_raw_assets_metadata(tmp_path: Path) -> None:
    with pipeline_in(tmp_path) as pipeline:
        bench = pipeline.bench
        bench.put("customers_raw.csv", customers_csv("c1"))
        bench.put_feed("events", {"event_id": "a"}, day=D2)
        bench.land(EVENTS, D2)
        bench.put_feed("events", {"event_id": "a"}, name="events_raw_1.csv")
        bench.put_feed("events", {"event_id": "a"}, name="events_raw_2.csv")
        bench.put("events_raw_3.json", "no json")
        pipeline.run(D1)
        metadata = {}
        for asset in ("raw_events", "events_clean"):
            (record,) = pipeline.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
            assert record.asset_materialization is not None
            metadata[asset] = record.asset_materialization.metadata
        raw = metadata["raw_events"]
        ledger = raw["ledger"]
        assert isinstance(ledger, dg.TableMetadataValue)
        rows = [dict(each.data) for each in ledger.records]
        assert [(row["status"], row["records"], row["duplicate_of"]) for row in rows] == [
            (SUCCESS, 1, None),
            (SKIPPED, 0, f"ingest_date={D1}/events_raw_1.csv"),
            (FAILED, 0, None),
        ]
        assert all(len(str(row["content_sha256"])) == 64 for row in rows)
        assert raw["days to be processed again"].value == str(D2)
        assert raw["files failed"].value == 1
        by_file = metadata["events_clean"]["rows by file"]
        assert isinstance(by_file, dg.TableMetadataValue)
        assert [(row.data["records"], row.data["clean"]) for row in by_file.records] == [
            (1, 1),
            (None, None),
            (None, None),
        ]


# -- days into runs -----------------------------------------------------------------------------------------------


def test_days_make_as_few_runs_as_can_be() -> None:
    month = days_from(DAY, 40)
    names = [run.name for run in runs_of([*month, D1, date(2025, 6, 1), date(2025, 5, 31), date(2025, 1, 1)])]
    assert names == [
        "2025-01-01",
        "2025-05-31 to 2025-06-01",
        f"{month[0]} to {month[30]}",
        f"{month[31]} to {month[39]}",
    ]
    assert runs_of([]) == []
    (one,) = runs_of([D1])
    assert (one.key, one.tags) == (str(D1), {})
    (some,) = runs_of([D1, D2])
    assert some.key is None
    assert set(some.tags.values()) == {str(D1), str(D2)}
