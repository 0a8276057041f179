"""Processes killed at random instants and started again: the outcome is that of a run nobody disturbed.

A history comes in phases: files arrive, change, vanish and are resent, then days are run. In every phase the run is
killed at instants drawn from its whole life, then left to end by itself. A failure names the seed; the instants
depend on it alone and on how long the undisturbed run took, which is printed too.
"""

import gzip
import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from assets_pkg.contracts.feeds import EVENTS, FEEDS, SOURCE_FILE, SOURCE_ROW
from assets_pkg.contracts.files import FAILED, SKIPPED, SUCCESS
from assets_pkg_tests.orchestration.pipeline import environment
from assets_pkg_tests.orchestration.steps_alone import READY, run_days
from assets_pkg_tests.orchestration.test_two_runs import project
from assets_pkg_tests.workbench import DAY, ROOT, Workbench, days_from, feed_csv

FIRST, SECOND, THIRD, FOURTH = DAYS = days_from(DAY, 4)
KILLS: Final = 50

# -- the history ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phase:
    """What happens to raw files, which days are run then, and which day more must be processed because of them."""

    first: date
    last: date
    arrive: Mapping[tuple[date, str], bytes]
    leave: tuple[tuple[date, str], ...] = ()
    again: date | None = None


def customers(day: date) -> bytes:
    """A snapshot of the day: 300 customers, some with faults."""
    return feed_csv(
        "customers",
        *(
            {
                "customer_id": f"c{number % 298}",
                "email": f"c{number}@example.com" if number % 7 else "no address",
                "created_at": f"2025-01-{1 + (number + day.day) % 31:02d}",
            }
            for number in range(300)
        ),
    ).encode()


def events(day: date, part: str, rows: int) -> list[dict[str, str]]:
    """Events spread over the day; some are orphans, some negative, some bear an id twice."""
    return [
        {
            "event_id": f"{day}-{part}-{number - (number % 50 == 49)}",
            "customer_id": f"c{number % 310}",
            "event_time": f"{day}T{number % 24:02d}:{number % 60:02d}:{number % 59:02d}.{number:06d}Z",
            "event_type": ("login", "click", "purchase", "no such type")[number % 4],
            "duration_ms": str(number % 5000 - 20),
        }
        for number in range(rows)
    ]


def events_csv(day: date, part: str, rows: int) -> bytes:
    """As CSV, with lines that are no record, and a copy of some rows."""
    text = feed_csv("events", *events(day, part, rows))
    lines = text.splitlines(keepends=True)
    return "".join([*lines, "torn,line\n", *lines[1:20]]).encode()


def events_jsonl(day: date, part: str, rows: int) -> bytes:
    """As JSON lines, with a column nobody knows."""
    columns = [*events(day, part, 1)[0], "platform", "session_id"]
    frame = pl.DataFrame({**dict.fromkeys(columns, "web"), **row, "mood": "good"} for row in events(day, part, rows))
    return frame.write_ndjson().encode()


def orders_gz(day: date, rows: int) -> bytes:
    """Orders, packed."""
    found = ({"order_id": f"o{day}-{number}", "order_time": f"{day}T05:00:00Z"} for number in range(rows))
    return gzip.compress(feed_csv("orders", *found).encode(), mtime=0)


def history(rows: int) -> list[Phase]:
    """Three phases over four days; `rows` is what a large file holds."""

    def packed(day: date, part: str) -> bytes:
        return gzip.compress(events_csv(day, part, rows // 2), mtime=0)

    def day_of_files(day: date) -> dict[tuple[date, str], bytes]:
        return {
            (day, "customers_raw.csv"): customers(day),
            (day, "orders_raw.csv.gz"): orders_gz(day, rows // 10),
            (day, "events_raw.csv"): events_csv(day, "whole", rows),
            (day, "hour=03/events_raw.jsonl"): events_jsonl(day, "three", rows // 2),
            (day, "hour=07/events_raw.csv.gz"): packed(day, "seven"),
        }

    arrive = Phase(
        SECOND,
        FOURTH,
        {
            **day_of_files(SECOND),
            **day_of_files(THIRD),
            **day_of_files(FOURTH),
            (SECOND, "events_raw_resent.csv"): events_csv(SECOND, "whole", rows),  # within the day
            (THIRD, "events_raw_resent.csv.gz"): packed(SECOND, "seven"),  # on a later day
            (FOURTH, "hour=09/events_raw.csv.gz"): packed(FOURTH, "nine")[:-5],  # cut off
            (FOURTH, "orders_raw_empty.csv"): b"",
        },
    )
    # The third day is not asked for: it is judged again because its content now comes earlier.
    change = Phase(
        FIRST,
        SECOND,
        {
            **day_of_files(FIRST),
            (FIRST, "hour=05/events_raw.csv"): events_csv(THIRD, "whole", rows),
            (SECOND, "events_raw.csv"): events_csv(SECOND, "corrected", rows),  # the resent copy is now alone
            (SECOND, "hour=03/events_raw.jsonl"): events_jsonl(SECOND, "corrected three", rows // 2),
        },
        leave=((SECOND, "hour=07/events_raw.csv.gz"),),  # which a file of the third day was skipped for
        again=THIRD,
    )
    settle = Phase(
        FIRST,
        FOURTH,
        {
            (FIRST, "hour=05/events_raw.csv"): events_csv(FIRST, "five", rows),  # the third day has its own again
            (FIRST, "orders_raw_late.csv.gz"): orders_gz(FOURTH, rows // 10),  # taken over within the run
            (SECOND, "customers_raw-0.csv"): customers(SECOND),  # taken over within the day
            (SECOND, "hour=07/events_raw.csv.gz"): packed(SECOND, "seven"),  # is back
            (FOURTH, "events_raw_resent.csv"): events_csv(SECOND, "corrected", rows),
            (FOURTH, "hour=09/events_raw.csv.gz"): packed(FOURTH, "nine"),  # whole
        },
        leave=((THIRD, "hour=03/events_raw.jsonl"), (FOURTH, "hour=07/events_raw.csv.gz")),
    )
    return [arrive, change, settle]


def happen(bench: Workbench, phase: Phase) -> None:
    """The phase's files arrive and leave."""
    for (day, name), content in phase.arrive.items():
        bench.put(name, content, day)
    for day, name in phase.leave:
        (bench.settings.raw_dir / f"ingest_date={day}" / name).unlink()


# -- processes ------------------------------------------------------------------------------------------------

Start = Callable[[Workbench, Phase], "subprocess.Popen[str]"]


def start_steps(bench: Workbench, phase: Phase, *dies_at: str) -> "subprocess.Popen[str]":
    """The steps without Dagster, when they are about to begin."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "assets_pkg_tests.orchestration.steps_alone"),
            *(str(bench.folder), bench.settings.ledger, str(phase.first), str(phase.last), *dies_at),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline().strip() == READY, process.communicate()
    return process


def start_command(bench: Workbench, phase: Phase) -> "subprocess.Popen[str]":
    """The command line."""
    ledger = {"PIPELINE_LEDGER_URL": bench.settings.ledger_url} if bench.settings.ledger_url else {}
    return subprocess.Popen(
        [sys.executable, "-m", "assets_pkg", "run", "--start", str(phase.first), "--end", str(phase.last)],
        cwd=bench.folder,
        env={**environment(bench.folder, bench.folder), **ledger},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_to_its_end(process: "subprocess.Popen[str]") -> None:
    """Wait for the process, which must succeed."""
    told = process.communicate(timeout=300)
    assert process.returncode == 0, told


def dies(process: "subprocess.Popen[str]") -> None:
    """Wait for the process, which must kill itself."""
    told = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, told


def killed_after(process: "subprocess.Popen[str]", seconds: float) -> bool:
    """SIGKILL at an instant; whether the process was still there to be killed."""
    with suppress(subprocess.TimeoutExpired):
        told = process.communicate(timeout=seconds)
        assert process.returncode == 0, told
        return False
    process.kill()
    process.communicate(timeout=60)
    return process.returncode == -signal.SIGKILL


# -- the outcome ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a history left behind."""

    rows: dict[tuple[str, date], pl.DataFrame]
    versions: dict[str, Any]
    reports: dict[tuple[date, str], bytes]
    ledger: dict[str, tuple[Any, ...]]


TOLD: Final = (
    "feed", "ingest_date", "path", "content_sha256", "status", "bytes", "record_count", "error_message", "duplicate_of",
    "absent_columns", "unknown_columns", "forget_requested_at",
)  # fmt: skip


def outcome(bench: Workbench) -> Outcome:
    """Rows and version of every partition, reports, and the ledger without who read files how often and when."""
    versions = bench.versions()
    rows = {
        (table, day): _in_order(bench.work.lake.scan(table, [day]).collect())
        for table, partitions in versions.items()
        for day in partitions
    }
    days = [day for day in DAYS if (bench.settings.reports_dir / f"ingest_date={day}").is_dir()]
    reports = {(day, name): text for day in days for name, text in bench.report_bytes(day).items()}
    ledger = {entry["path"]: tuple(entry[name] for name in TOLD) for entry in bench.work.ledger.entries()}
    return Outcome(rows, versions, reports, ledger)


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort(SOURCE_FILE, SOURCE_ROW) if SOURCE_FILE in frame.columns else frame


def assert_same(ours: Outcome, theirs: Outcome, what: str) -> None:
    """The differences, the one that people understand first."""
    files = sorted(ours.ledger.keys() | theirs.ledger.keys())
    differ = [(ours.ledger.get(path), theirs.ledger.get(path)) for path in files]
    assert [both for both in differ if both[0] != both[1]] == [], what
    assert ours.rows.keys() == theirs.rows.keys(), what
    for partition, frame in theirs.rows.items():
        assert ours.rows[partition].equals(frame), f"{what}: {partition}"
    assert ours.reports == theirs.reports, what
    assert ours.versions == theirs.versions, what


def assert_whole(bench: Workbench) -> None:
    """Every partition, as it is at this instant, can be read, and has the rows its log promises."""
    for table, partitions in bench.versions().items():
        for day, partition in partitions.items():
            assert bench.work.lake.scan(table, [day]).collect().height == partition.rows, (table, day)


@dataclass
class Undisturbed:
    """The same history without a kill: the outcome of each phase and how long its run lived."""

    phases: list[Phase]
    outcomes: list[Outcome] = field(default_factory=list)
    lives: list[float] = field(default_factory=list)


def undisturbed(bench: Workbench, phases: list[Phase], start: Start | None = None) -> Undisturbed:
    """Run the history in peace; in this process unless it is said how to start one."""
    found = Undisturbed(phases)
    for phase in phases:
        happen(bench, phase)
        process = start(bench, phase) if start else None
        since = time.monotonic()
        if process:
            run_to_its_end(process)
        else:
            run_days(bench, phase.first, phase.last)
        found.lives.append(time.monotonic() - since)
        found.outcomes.append(outcome(bench))
    return found


def end_by_itself(bench: Workbench, phase: Phase, start: Start) -> None:
    """The run, started again for the last time."""
    run_to_its_end(start(bench, phase))


def kill_often(bench: Workbench, expected: Undisturbed, start: Start, seed: int, kills: list[int]) -> int:
    """Run the history with so many planned kills in each phase; gives how many there were.

    A phase's instants are spread evenly over the life of its run, in any order, each at random within its share.
    The work that earlier runs have done is not done again, so later runs may end before their instant: that is no
    kill, and the instants that follow are of the shorter life.
    """
    chance = random.Random(seed)
    done = 0
    for phase, outcome_of_phase, life, planned in zip(
        expected.phases, expected.outcomes, expected.lives, kills, strict=True
    ):
        happen(bench, phase)
        instants = [(share + chance.random()) / planned for share in chance.sample(range(planned), planned)]
        what = f"seed {seed}, days {phase.first} to {phase.last}, a life of {life:.2f} s, killed at"
        of_phase = 0
        for instant in instants:
            process = start(bench, phase)
            since = time.monotonic()
            if killed_after(process, instant * life):
                of_phase += 1
                what += f" {instant * life:.3f}"
            else:
                life = time.monotonic() - since  # noqa: PLW2901 - of a run that finds most of its work done
                what += f" (ended at {life:.3f})"
            assert_whole(bench)
        sys.stdout.write(f"{what}\n")
        assert of_phase, what
        done += of_phase
        end_by_itself(bench, phase, start)
        assert_same(outcome(bench), outcome_of_phase, what)
    return done


# -- the tests ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_history_has_what_makes_crashes_hard(tmp_path: Path) -> None:
    bench = Workbench(tmp_path)
    seen: list[dict[str, str]] = []
    for phase in history(rows=40):
        happen(bench, phase)
        for day in days_from(phase.first, (phase.last - phase.first).days + 1):
            bench.run_day(day)
        again = list(bench.work.ledger.pending_days())
        for day in again:
            bench.run_day(day)
        assert not bench.work.ledger.pending_days()
        assert again == ([phase.again] if phase.again else [])
        seen.append(
            {
                entry["path"].removeprefix("ingest_date=2025-12-"): entry["status"]
                for entry in bench.work.ledger.entries()
            }
        )
    first, _, third = seen
    assert first["13/hour=09/events_raw.csv.gz"] == FAILED
    assert third["13/hour=09/events_raw.csv.gz"] == SUCCESS
    assert [each["11/events_raw_resent.csv"] for each in seen] == [SKIPPED, SUCCESS, SUCCESS]
    assert [each["12/events_raw.csv"] for each in seen] == [SUCCESS, SKIPPED, SUCCESS]
    assert third["11/customers_raw.csv"] == SKIPPED
    assert third["13/orders_raw.csv.gz"] == SKIPPED
    assert third["12/hour=03/events_raw.jsonl"] == SUCCESS  # vanished, its rows kept


def test_a_run_killed_a_few_times_gives_what_an_undisturbed_one_gives(tmp_path: Path) -> None:
    arrive, change, _ = history(rows=400)
    expected, bench = Workbench(tmp_path / "undisturbed"), Workbench(tmp_path / "killed")
    for each in (expected, bench):
        happen(each, arrive)
        run_days(each, arrive.first, arrive.last)
    assert kill_often(bench, undisturbed(expected, [change]), start_steps, seed=1, kills=[3]) >= 1


def test_a_day_that_was_killed_while_it_was_processed_again_is_taken_up_by_the_next_run(tmp_path: Path) -> None:
    expected, bench = Workbench(tmp_path / "undisturbed"), Workbench(tmp_path / "killed")
    for each in (expected, bench):
        each.put_feed("events", {"event_id": "e1"}, day=SECOND)
        run_days(each, SECOND, SECOND)
        each.put_feed("events", {"event_id": "e1"}, day=FIRST)  # so the second day gives it up
    dies(start_steps(bench, Phase(FIRST, FIRST, {}), f"clean:{SECOND}"))
    for each in (expected, bench):
        run_days(each, FIRST, FIRST)
    assert_same(outcome(bench), outcome(expected), "killed on a day that nobody asked for")


def test_a_rerun_changes_nothing_after_a_vanished_file_was_taken_over(tmp_path: Path) -> None:
    bench = Workbench(tmp_path)
    bench.put_feed("events", {"event_id": "e1"}, day=SECOND)
    bench.run_day(SECOND)
    (bench.settings.raw_dir / f"ingest_date={SECOND}/events_raw.csv").unlink()
    bench.put_feed("events", {"event_id": "e1"}, day=FIRST)
    for day in (FIRST, SECOND):
        bench.run_day(day)
    before = outcome(bench)
    for day in (FIRST, SECOND):
        bench.run_day(day)
    assert_same(outcome(bench), before, "run again")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events_raw.csv", b"event_id,mood\ne1,good\n"),
        pytest.param("events_raw.jsonl", b'{"mood": null}\n', marks=pytest.mark.slow),
    ],
    ids=["a column nobody knows", "and only nulls"],
)
def test_what_was_odd_about_a_file_is_still_told_when_a_kill_and_its_deletion_met(
    tmp_path: Path, name: str, content: bytes
) -> None:
    expected, bench = Workbench(tmp_path / "undisturbed"), Workbench(tmp_path / "killed")
    phase = Phase(DAY, DAY, {(DAY, name): content})
    for each in (expected, bench):
        happen(each, phase)
    expected.run_day()
    dies(start_steps(bench, phase, "finish:events"))
    for each in (expected, bench):
        (each.settings.raw_dir / f"ingest_date={DAY}" / name).unlink()
        each.run_day()
    assert_same(outcome(bench), outcome(expected), "killed before the ledger was told, then deleted")


def new_seed() -> int:
    """Another one each time, so that every slow run meets other instants."""
    return random.SystemRandom().randrange(10**6)


@pytest.mark.slow
def test_the_steps_killed_fifty_times_give_what_undisturbed_ones_give(tmp_path: Path) -> None:
    expected = undisturbed(Workbench(tmp_path / "undisturbed"), history(rows=12_000), start_steps)
    kills = histories = 0
    while kills < KILLS and histories < 8:
        bench = Workbench(tmp_path / f"history {histories}")
        kills += kill_often(bench, expected, start_steps, new_seed(), [6, 5, 5])
        histories += 1
    sys.stdout.write(f"{kills} kills in {histories} histories\n")
    assert kills >= KILLS


@pytest.mark.slow
def test_the_steps_with_a_ledger_in_postgresql_give_the_same_too(tmp_path: Path, postgres_url: str) -> None:
    expected = undisturbed(Workbench(tmp_path / "undisturbed"), history(rows=12_000), start_steps)
    bench = Workbench(tmp_path / "killed", ledger_url=postgres_url)
    assert kill_often(bench, expected, start_steps, new_seed(), [4, 4, 4]) >= 6


@pytest.mark.slow
def test_the_command_line_killed_again_and_again_gives_what_an_undisturbed_one_gives(tmp_path: Path) -> None:
    expected = undisturbed(Workbench(project(tmp_path / "undisturbed")), history(rows=6_000), start_command)
    bench = Workbench(project(tmp_path / "killed"))
    assert kill_often(bench, expected, start_command, new_seed(), [4, 4, 4]) >= 6


@pytest.mark.parametrize("feed", ["events", pytest.param("customers", marks=pytest.mark.slow)])
def test_rows_committed_before_the_ledger_was_told_stay_when_their_file_is_gone_at_the_next_run(
    tmp_path: Path, feed: str, ledger_url: str
) -> None:
    bench = Workbench(tmp_path, ledger_url=ledger_url)
    bench.put_feed("customers", {"customer_id": "c1"}, {"customer_id": "c2"})
    bench.put_feed("events", {"event_id": "e1"}, {"event_id": "e2"}, {"event_id": "e3"})
    phase = Phase(DAY, DAY, {})
    dies(start_steps(bench, phase, f"finish:{feed}"))
    (interrupted,) = bench.files(FEEDS[feed])
    assert interrupted.status == "PROCESSING"
    source = f"ingest_date={DAY}/{feed}_raw.csv"
    (bench.settings.raw_dir / source).unlink()
    for _ in range(2):
        bench.run_day()
        (file,) = bench.files(FEEDS[feed])
        expected = {"customers": 2, "events": 3}[feed]
        assert (file.path, file.status, file.records) == (source, SUCCESS, expected)
        assert file.content_sha256 == interrupted.content_sha256
        rows = [row[SOURCE_ROW] for row in bench.rows(FEEDS[feed].raw) if row[SOURCE_FILE] == source]
        assert rows == list(range(1, expected + 1))
    # Its content is known: the same bytes on the next day are the same data.
    if feed == EVENTS.name:
        bench.put_feed("events", {"event_id": "e1"}, {"event_id": "e2"}, {"event_id": "e3"}, day=SECOND)
        bench.run_day(SECOND)
        (copy,) = bench.files(EVENTS, SECOND)
        assert (copy.status, copy.duplicate_of) == (SKIPPED, source)


@pytest.mark.parametrize(("instant", "is_new"), [("start", False), ("finish", True)])
def test_a_changed_file_whose_reading_was_killed_and_that_then_vanished_keeps_the_rows_that_the_table_has(
    bench: Workbench, instant: str, is_new: bool
) -> None:
    old = feed_csv("events", {"event_id": "e1"}, {"event_id": "e2"}).encode()
    new = feed_csv("events", {"event_id": "e3"}, {"event_id": "e4"}, {"event_id": "e5"}).encode()
    path = bench.settings.raw_dir / bench.put("events_raw.csv", old)
    bench.run_day()
    path.write_bytes(new)
    dies(start_steps(bench, Phase(DAY, DAY, {}), f"{instant}:events"))
    path.unlink()
    holds = new if is_new else old
    for _ in range(2):
        bench.run_day()
        (file,) = bench.files(EVENTS)
        assert (file.status, file.records) == (SUCCESS, len(holds.splitlines()) - 1)
        assert file.content_sha256 == hashlib.sha256(holds).hexdigest()
        assert len(bench.rows("raw_events")) == file.records
