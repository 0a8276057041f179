"""Bad days, with the real thing: full disks, a lake that cannot be written, a locked ledger, files in motion, bombs.

Every one must end with a message that a person understands, with tables that are the old or the new ones, and with a
rerun that gives what an undisturbed run gives.
"""

import ctypes
import gzip
import hashlib
import itertools
import os
import shutil
import signal
import sqlite3
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest
from sqlalchemy import create_engine, text

from assets_pkg.contracts.feeds import EVENTS, FEEDS, ORDERS
from assets_pkg.contracts.files import FAILED, SUCCESS, FileRecord
from assets_pkg.orchestration.jobs import DAILY_JOB
from assets_pkg.orchestration.workplace import ACTIVITY_JOB
from assets_pkg.storage.locks import FolderLocks, days_locked
from assets_pkg.storage.raw_files import SETTLED_SECONDS
from assets_pkg_tests.orchestration.pipeline import command_line, environment, good_day, put_files
from assets_pkg_tests.orchestration.steps_alone import READY
from assets_pkg_tests.orchestration.test_cli import fails, told_here
from assets_pkg_tests.orchestration.test_kills import Outcome, assert_same, assert_whole, events_csv, outcome
from assets_pkg_tests.orchestration.test_two_runs import kill_when_there, started
from assets_pkg_tests.orchestration.test_two_runs import project as empty_project
from assets_pkg_tests.workbench import DAY, ROOT, Workbench, feed_csv

Told = subprocess.CompletedProcess[str]
LARGE: Final = 30_000  # rows


def project(folder: Path, ledger_url: str | None = None) -> Workbench:
    """A project with a good day, not yet run."""
    bench = Workbench(empty_project(folder), ledger_url=ledger_url)
    put_files(bench, DAY, good_day(DAY))
    return bench


def run(bench: Workbench, *options: str, **settings: str) -> Told:
    """The command line on the day."""
    if bench.settings.ledger_url:
        settings["PIPELINE_LEDGER_URL"] = bench.settings.ledger_url
    at = bench.folder
    return command_line("run", "--date", str(DAY), *options, folder=at, home=at, cwd=at, **settings)


def succeeds(told: Told) -> None:
    assert told.returncode == 0, told.stderr


def in_peace(folder: Path, *changes: Callable[[Workbench], None]) -> Outcome:
    """What undisturbed runs leave behind: one of the good day, and one after each change."""
    bench = Workbench(folder)
    put_files(bench, DAY, good_day(DAY))
    bench.run_day(with_page=True)
    for change in changes:
        change(bench)
        bench.run_day(with_page=True)
    return outcome(bench)


def more_events(bench: Workbench) -> None:
    """A large file more, of texts that do not shrink."""
    rows = (
        {"event_id": hashlib.sha256(str(number).encode()).hexdigest(), "session_id": f"s{number}"}
        for number in range(LARGE)
    )
    bench.put("events_raw_more.csv", feed_csv("events", *rows))


def corrected(bench: Workbench) -> None:
    """Every feed has another content than before."""
    for name, content in good_day(DAY).items():
        bench.put(name, content.replace("login", "click").replace("19.99", "29.99").replace("DE", "FR"))


# -- a full disk ----------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A disk of its own at `folder`; gives what makes it larger."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")

    def remount(new_size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={new_size}", str(folder)], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.parametrize(
    "size", ["300k", *(pytest.param(size, marks=pytest.mark.slow) for size in ("8k", "500k", "1m", "1500k", "2m"))]
)
def test_a_full_disk_fails_the_run_and_loses_nothing(tmp_path: Path, size: str) -> None:
    bench = project(tmp_path / "ours")
    with small_disk(bench.settings.lake_dir, size) as remount:
        more_events(bench)
        told = run(bench)
        assert_whole(bench)
        fails(told, 1, "disk is full", "ake room", "run the day")
        remount("100m")
        bench.run_day(with_page=True)
        assert_same(outcome(bench), in_peace(tmp_path / "theirs", more_events), size)


@pytest.mark.slow
def test_a_disk_that_is_full_for_the_second_run_keeps_the_first_ones_tables(tmp_path: Path) -> None:
    bench = project(tmp_path / "ours")
    with small_disk(bench.settings.lake_dir, "100m") as remount:
        bench.run_day(with_page=True)
        before = outcome(bench)
        used = sum(path.stat().st_size + 4096 for path in bench.settings.lake_dir.rglob("*"))
        remount(f"{used // 1024 + 60}k")
        more_events(bench)
        told = run(bench)
        now = outcome(bench)
        assert now.versions == before.versions
        assert now.reports == before.reports
        fails(told, 1, "disk is full", "ake room", "run the day")
        remount("100m")
        succeeds(run(bench))
        assert_same(outcome(bench), in_peace(tmp_path / "theirs", more_events), "after room was made")


@pytest.mark.parametrize(
    "size", [pytest.param(size, marks=pytest.mark.slow) for size in ("4k", "64k", "80k", "100k", "112k", "140k")]
)
def test_a_full_disk_of_the_ledger_fails_the_run_and_loses_nothing(tmp_path: Path, size: str) -> None:
    bench = project(tmp_path / "ours", f"sqlite:///{tmp_path}/small/ledger.db")
    with small_disk(tmp_path / "small", size) as remount:
        for number in range(100):
            bench.put(f"orders_raw_{number:03}_{'x' * 150}.csv", feed_csv("orders", {"order_id": f"o{number}"}))
        told = run(bench)
        fails(told, 1, "the file ledger at", "Make room on its disk")
        assert_whole(bench)
        remount("10m")
        succeeds(run(bench))
        assert {file.status for feed in FEEDS.values() for file in bench.files(feed)} == {SUCCESS}
        assert len(bench.rows("raw_orders")) == 110


# -- a lake that cannot be written ----------------------------------------------------------------------------


def as_nobody_special(*command: str) -> list[str]:
    """The command with the permissions of files in force; root otherwise need not care about them."""
    if os.getuid() != 0:
        return list(command)
    if not shutil.which("setpriv"):
        pytest.skip("root cannot give up its powers without setpriv (util-linux)")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]


@pytest.mark.slow
def test_a_lake_that_may_not_be_written_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    bench = project(tmp_path / "ours")
    bench.run_day(with_page=True)
    before = outcome(bench)
    corrected(bench)
    places = [bench.settings.lake_dir, *(path for path in bench.settings.lake_dir.rglob("*") if path.is_dir())]
    for place in places:
        place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    told = subprocess.run(
        as_nobody_special(sys.executable, "-m", "assets_pkg", "run", "--date", str(DAY)),
        cwd=bench.folder,
        env=environment(bench.folder, bench.folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    for place in places:
        place.chmod(stat.S_IRWXU)
    now = outcome(bench)
    assert now.versions == before.versions
    assert now.reports == before.reports
    fails(told, 1, "may not be written", "lake", "right to")
    succeeds(run(bench))
    assert_same(outcome(bench), in_peace(tmp_path / "theirs", corrected), "when it may be written again")


# -- a locked ledger ------------------------------------------------------------------------------------------


@contextmanager
def locked(bench: Workbench) -> Iterator[None]:
    """The ledger, locked by somebody who has nothing to do with us."""
    url = bench.settings.ledger
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.close()
        return
    engine = create_engine(url)
    with engine.connect() as other:
        other.execute(text("LOCK TABLE file_ledger IN ACCESS EXCLUSIVE MODE"))
        yield
    engine.dispose()


@pytest.mark.parametrize("ledger_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_a_ledger_that_stays_locked_fails_the_run_and_is_named(tmp_path: Path, ledger_url: str) -> None:
    bench = project(tmp_path / "ours", ledger_url)
    bench.run_day(with_page=True)
    before = outcome(bench)
    corrected(bench)
    with locked(bench):
        told = run(bench, PIPELINE_LEDGER_WAIT_SECONDS="1")
    fails(told, 1, "the file ledger at", "ledger", "Another process has kept it locked for 1 s", "run the day again")
    assert_same(outcome(bench), before, "nothing was changed")
    bench.run_day(with_page=True)
    assert_same(outcome(bench), in_peace(tmp_path / "theirs", corrected), "when it was free again")


@pytest.mark.slow
def test_a_ledger_that_is_freed_in_time_is_waited_for(tmp_path: Path, ledger_url: str) -> None:
    bench = project(tmp_path / "ours", ledger_url)
    bench.run_day(with_page=True)
    corrected(bench)
    with locked(bench):
        ledger = {"PIPELINE_LEDGER_URL": ledger_url, "PIPELINE_LEDGER_WAIT_SECONDS": "60"}
        process = started(bench.folder, **ledger)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=8)
    said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert_same(outcome(bench), in_peace(tmp_path / "theirs", corrected), "when it was freed")


# -- files in motion ------------------------------------------------------------------------------------------


class Watch:
    """The kernel's own account of which files of some folders were opened."""

    OPEN: Final = 0x20
    IS_DIRECTORY: Final = 0x4000_0000

    def __init__(self, *folders: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._descriptor >= 0, os.strerror(ctypes.get_errno())
        for folder in folders:
            watched = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), self.OPEN)
            assert watched >= 0, os.strerror(ctypes.get_errno())

    def opened(self) -> list[str]:
        """The names of files that were opened since it was last asked."""
        names: list[str] = []
        while True:
            try:
                events = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return names
            at = 0
            while at < len(events):
                _, mask, _, length = struct.unpack_from("iIII", events, at)
                name = events[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                if not mask & self.IS_DIRECTORY:
                    names.append(name)
                at += 16 + length

    def close(self) -> None:
        os.close(self._descriptor)


def assert_whole_or_failed(bench: Workbench, file: FileRecord, contents: dict[str, bytes]) -> None:
    """A SUCCESS file's rows are those of the content its SHA-256 names; a FAILED one has none, and a message."""
    rows = [row for row in bench.rows("raw_events") if row["source_file"] == file.path]
    if file.status == SUCCESS:
        assert len(rows) == file.records == len(contents[file.content_sha256].splitlines()) - 1
    else:
        assert (file.status, rows) == (FAILED, [])
        assert "changed while it was read" in (file.error or "")


WRITER: Final = """
import sys, time
line = "e{},c1,2025-12-10T04:21:24Z,login,web,s1,1200,https://shop.example/\\n"
with open(sys.argv[1], "a") as stream:
    number = 0
    while True:
        stream.write("".join(line.format(f"{number}-{each}") for each in range(200)))
        stream.flush()
        number += 1
        time.sleep(0.002)
"""


@pytest.mark.parametrize("delay", [0.0, *(pytest.param(0.1 * each, marks=pytest.mark.slow) for each in range(1, 8))])
def test_a_file_that_grows_while_it_is_read_is_never_half_taken(bench: Workbench, delay: float) -> None:
    bench.put_feed("orders", {})
    path = bench.settings.raw_dir / bench.put("events_raw.csv", events_csv(DAY, "whole", LARGE))
    size = path.stat().st_size
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    try:
        while path.stat().st_size == size:
            time.sleep(0.01)
        time.sleep(delay)
        for _ in range(2):
            bench.run_day(with_page=True)
            (file,) = bench.files(EVENTS)
            content = path.read_bytes()[: file.bytes]
            assert_whole_or_failed(bench, file, {hashlib.sha256(content).hexdigest(): content})
            assert file.status == FAILED, "the writer was too slow for this test"
        assert [each.status for each in bench.files(ORDERS)] == [SUCCESS]
    finally:
        writer.kill()
        writer.wait()
    bench.run_day(with_page=True)
    (file,) = bench.files(EVENTS)
    assert file.status == SUCCESS
    assert_whole_or_failed(bench, file, {hashlib.sha256(path.read_bytes()).hexdigest(): path.read_bytes()})


def in_the_normal_suite(how: str, opened: int, is_settled: bool) -> bool:
    return how in ("rewritten", "cut off") and opened == 2 and not is_settled


@pytest.mark.parametrize(
    ("how", "opened", "is_settled"),
    [
        pytest.param(
            *case,
            marks=[] if in_the_normal_suite(*case) else pytest.mark.slow,
            id=f"{case[0]} while it is {('hashed', 'read')[case[1] - 1]}{', settled' if case[2] else ''}",
        )
        for case in itertools.product(["rewritten", "replaced", "cut off", "deleted"], [1, 2], [False, True])
    ],
)
def test_a_file_that_changes_under_our_hands_is_never_half_taken(
    bench: Workbench, how: str, opened: int, is_settled: bool
) -> None:
    old, new = (events_csv(DAY, part, LARGE) for part in ("one", "two"))
    path = bench.settings.raw_dir / bench.put("events_raw.csv", old)
    aside = bench.folder / "aside.csv"
    aside.write_bytes(new)
    contents = {hashlib.sha256(each).hexdigest(): each for each in (old, new, old[: len(old) // 2])}
    if is_settled:
        time.sleep(SETTLED_SECONDS + 0.1)
    watch = Watch(path.parent)
    is_over = threading.Event()

    def change() -> None:
        seen = 0
        while not is_over.is_set():
            seen += len(watch.opened())
            if seen >= opened:
                break
        match how:
            case "rewritten":
                path.write_bytes(new)
            case "replaced":
                aside.replace(path)
            case "cut off":
                os.truncate(path, len(old) // 2)
            case "deleted":
                path.unlink()

    changer = threading.Thread(target=change)
    changer.start()
    bench.run_day(with_page=True)
    is_over.set()
    changer.join()
    watch.close()
    for file in bench.files(EVENTS):
        if file.status == FAILED and how == "deleted":
            assert "vanished while the day was read" in (file.error or "")
        else:
            assert_whole_or_failed(bench, file, contents)
    if how != "deleted":
        bench.run_day(with_page=True)
        (file,) = bench.files(EVENTS)
        assert file.status == SUCCESS
        assert file.content_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert_whole_or_failed(bench, file, contents)


# -- bombs ----------------------------------------------------------------------------------------------------

GIBI: Final = 2**30
BOMBS: Final = {
    "csv": "a line is longer than 16 MiB. This is no CSV file",
    "csv.gz": "a line is longer than 16 MiB. This is no CSV file",
    "jsonl": "a line is longer than 16 MiB. This is no JSON lines file",
    "ndjson.gz": "a line is longer than 16 MiB. This is no JSON lines file",
    "json": "a .json file begins with [ or {",
    "parquet": "cannot be read as Parquet",
}


def bomb(path: Path) -> None:
    """A gigabyte of NULs: as a file with nothing but holes, or packed into a megabyte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(bytes(GIBI // 64), compresslevel=1) * 64)  # members one after another
        return
    with path.open("wb") as stream:
        stream.truncate(GIBI)


@pytest.mark.parametrize(
    "ending", [ending if ending == "csv.gz" else pytest.param(ending, marks=pytest.mark.slow) for ending in BOMBS]
)
def test_a_gigabyte_without_a_line_end_is_refused_and_little_memory_is_used(bench: Workbench, ending: str) -> None:
    put_files(bench, DAY, good_day(DAY))
    bomb(bench.settings.raw_dir / f"ingest_date={DAY}/events_raw_bomb.{ending}")
    process = subprocess.run(
        [
            *(sys.executable, "-m", "assets_pkg_tests.orchestration.steps_alone"),
            *(str(bench.folder), bench.settings.ledger, str(DAY), str(DAY)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    ready, peaks = process.stdout.splitlines()
    assert ready == READY
    before, peak = map(int, peaks.split())
    good, bad = bench.files(EVENTS)
    assert peak - before < 300, f"{before} MiB when it began, {peak} MiB at most"
    assert (good.status, good.records, bad.status) == (SUCCESS, 24, FAILED)
    assert [file.status for file in bench.files(ORDERS)] == [SUCCESS]
    assert BOMBS[ending] in (bad.error or "")


# -- a rerun --------------------------------------------------------------------------------------------------


def test_a_rerun_opens_no_raw_file_and_with_verify_each_of_them_once(tmp_path: Path) -> None:
    bench = project(tmp_path)
    bench.put("hour=03/events_raw.csv", feed_csv("events", {"event_id": "late"}))
    bench.put("hour=04/events_raw.csv", feed_csv("events", {"event_id": "late"}))  # skipped: the same content
    bench.put("orders_raw_2.csv.gz", gzip.compress(feed_csv("orders", {"order_id": "o-2"}).encode()))
    time.sleep(SETTLED_SECONDS + 0.1)
    bench.run_day(with_page=True)
    before = [entry for entry in bench.work.ledger.entries() if entry["attempts"]]
    assert len(before) == 6
    folder = bench.settings.raw_dir / f"ingest_date={DAY}"
    watch = Watch(folder, folder / "hour=03", folder / "hour=04")
    (folder / "customers_raw.csv").read_bytes()
    assert watch.opened() == ["customers_raw.csv"]  # it sees
    succeeds(told_here(bench.folder, "run", "--date", str(DAY)))
    assert watch.opened() == []
    succeeds(told_here(bench.folder, "run", "--date", str(DAY), "--verify"))
    verified = watch.opened()
    watch.close()
    assert sorted(verified) == sorted(entry["path"].rpartition("/")[2] for entry in before)
    assert bench.work.ledger.entries() == before  # no attempt is counted, no time, no run


# -- stopped --------------------------------------------------------------------------------------------------

CTRL_C_AT = ["data/locks/*/*.holder", "data/lake/raw_events/**/*.parquet", "data/lake/daily_metrics/_delta_log/*.json"]


@pytest.mark.parametrize(
    "instant", [CTRL_C_AT[1], *(pytest.param(each, marks=pytest.mark.slow) for each in (CTRL_C_AT[0], CTRL_C_AT[2]))]
)
def test_ctrl_c_ends_the_command_with_1_and_a_message_and_a_rerun_works(tmp_path: Path, instant: str) -> None:
    bench = project(tmp_path / "ours")
    more_events(bench)
    process = started(bench.folder)
    while process.poll() is None and not any(bench.folder.glob(instant)):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    told = subprocess.CompletedProcess([], 0, *process.communicate(timeout=60))
    told.returncode = process.returncode
    assert_whole(bench)
    fails(told, 1, "Interrupted", "run the days again")
    bench.run_day(with_page=True)
    assert_same(outcome(bench), in_peace(tmp_path / "theirs", more_events), instant)


@pytest.mark.slow
def test_ctrl_c_while_the_day_is_busy_says_so(tmp_path: Path) -> None:
    bench = project(tmp_path)
    with days_locked(FolderLocks(bench.settings.lock_dir, "another"), [DAY], wait_seconds=0, say=print):
        process = started(bench.folder)
        assert process.stderr
        assert "is being processed by run another" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        told = subprocess.CompletedProcess([], 0, *process.communicate(timeout=60))
    told.returncode = process.returncode
    fails(told, 1, "Interrupted")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.3, 1.8, 2.3, 2.8])
def test_ctrl_c_at_any_time_leaves_nothing_that_a_rerun_does_not_mend(tmp_path: Path, seconds: float) -> None:
    bench = project(tmp_path / "ours")
    process = started(bench.folder)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert_whole(bench)
    succeeds(run(bench))
    assert_same(outcome(bench), in_peace(tmp_path / "theirs"), str(seconds))


def test_a_run_that_was_killed_is_marked_failed_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = project(tmp_path)
    more_events(bench)
    kill_when_there(started(tmp_path), tmp_path, "data/lake/raw_events/**/*.parquet")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def statuses() -> list[Any]:
        with dg.DagsterInstance.get() as instance:
            return [(each.job_name, each.status) for each in instance.get_runs()]  # the newest first

    assert statuses() == [(DAILY_JOB, dg.DagsterRunStatus.STARTED)]
    succeeds(run(bench))
    done = dg.DagsterRunStatus.SUCCESS
    assert statuses() == [(ACTIVITY_JOB, done), (DAILY_JOB, done), (DAILY_JOB, dg.DagsterRunStatus.FAILURE)]
