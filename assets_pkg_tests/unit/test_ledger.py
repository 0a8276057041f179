"""The file ledger and the raw step: nothing is read twice, nothing is lost by a crash (section 6)."""

import gzip
import hashlib
import os
import shutil
import sqlite3
import threading
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import create_engine, text

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS, ORDERS, Feed
from assets_pkg.contracts.files import FAILED, PROCESSING, SKIPPED, SUCCESS, FileRecord
from assets_pkg.steps import raw as raw_step
from assets_pkg.storage import lake as lake_module
from assets_pkg.storage import raw_files
from assets_pkg.storage.lake import Lake
from assets_pkg.storage.ledger import Ledger, LedgerError
from assets_pkg_tests.workbench import DAY, Workbench, at_once, days_from, feed_csv

NEXT, AFTER = days_from(DAY, 3)[1:]


def record(path: str, status: str = SUCCESS, **rest: Any) -> FileRecord:
    """What is told about a file."""
    return FileRecord(path, hashlib.sha256(path.encode()).hexdigest(), len(path), status, **rest)


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    """An empty ledger."""
    return Ledger(ledger_url)


@pytest.fixture
def bench(tmp_path: Path, ledger_url: str) -> Workbench:
    """An empty pipeline, on every kind of ledger."""
    return Workbench(tmp_path, ledger_url=ledger_url)


def entries(url: str) -> list[dict[str, Any]]:
    """The table as anybody else reads it."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM file_ledger ORDER BY feed, ingest_date, path")).mappings().all()
    engine.dispose()
    return [dict(row) for row in rows]


# -- the table -------------------------------------------------------------------------------------


def test_nothing_is_known_of_a_new_day(ledger: Ledger) -> None:
    assert ledger.records("events", DAY) == []


def test_a_file_is_processing_until_it_is_finished(ledger: Ledger) -> None:
    ledger.start("events", DAY, [record("b"), record("a")], "run-1")
    assert [(each.path, each.status, each.records) for each in ledger.records("events", DAY)] == [
        ("a", PROCESSING, 0),
        ("b", PROCESSING, 0),
    ]
    good = record("a", records=7, absent_columns=("url",), unknown_columns=("x", "ü|y"), read_policy="p")
    bad = record("b", FAILED, error="torn", read_policy="p")
    ledger.finish("events", DAY, [good, bad], "run-1")
    assert ledger.records("events", DAY) == [good, bad]


def test_feeds_and_days_are_apart(ledger: Ledger) -> None:
    for feed, day in (("events", DAY), ("events", NEXT), ("orders", DAY)):
        ledger.start(feed, day, [record("same")], "run")
        ledger.finish(feed, day, [record("same", read_policy=f"{feed} {day}")], "run")
    for feed, day in (("events", DAY), ("events", NEXT), ("orders", DAY)):
        assert [each.read_policy for each in ledger.records(feed, day)] == [f"{feed} {day}"]
    assert ledger.records("customers", DAY) == ledger.records("orders", NEXT) == []
    ledger.finish("events", DAY, [], "run", gone=["same", "never there"])
    assert ledger.records("events", DAY) == []
    assert len(ledger.records("events", NEXT)) == 1


def test_the_table_has_the_contracts_columns(ledger: Ledger, ledger_url: str) -> None:
    ledger.start("events", DAY, [record("a")], "run-1")
    (started,) = entries(ledger_url)
    assert {
        "feed", "ingest_date", "path", "content_sha256", "status", "bytes", "record_count", "error_message",
        "attempts",
        "discovered_at", "processed_at", "run_id", "duplicate_of",
    } <= started.keys()  # fmt: skip
    assert (started["attempts"], started["processed_at"], started["record_count"]) == (1, None, None)
    ledger.finish("events", DAY, [record("a", FAILED, error="torn")], "run-1")
    ledger.start("events", DAY, ledger.records("events", DAY), "run-2")
    ledger.finish("events", DAY, [record("a", records=5)], "run-2")
    (finished,) = entries(ledger_url)
    assert (finished["attempts"], finished["run_id"], finished["record_count"]) == (2, "run-2", 5)
    assert (finished["status"], finished["error_message"], finished["bytes"]) == (SUCCESS, None, 1)
    assert finished["discovered_at"] == started["discovered_at"]
    assert finished["processed_at"] > finished["discovered_at"]
    assert finished["content_sha256"] == hashlib.sha256(b"a").hexdigest()


def test_it_is_kept_for_the_next_process(ledger: Ledger, ledger_url: str) -> None:
    ledger.start("events", DAY, [record("a")], "run")
    again = Ledger(ledger_url)
    assert [each.status for each in again.records("events", DAY)] == [PROCESSING]


def test_its_folder_is_made(tmp_path: Path) -> None:
    Ledger(f"sqlite:///{tmp_path / 'deep' / 'down' / 'ledger.db'}")
    assert (tmp_path / "deep" / "down" / "ledger.db").is_file()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_several_processes_may_open_a_new_ledger_at_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The three raw steps of a first run start together; each finds no table."""
    for number in range(5):
        url = f"sqlite:///{tmp_path / f'{number}.db'}"
        if kind == "postgresql":
            if number:
                break
            url = request.getfixturevalue("postgres_url")
        together = threading.Barrier(4)
        faults: list[str] = []

        def open_it(url: str, together: threading.Barrier, faults: list[str]) -> None:
            together.wait()
            try:
                Ledger(url).records("events", DAY)
            except LedgerError as error:
                faults.append(str(error))

        arguments = (url, together, faults)
        threads = [threading.Thread(target=open_it, args=arguments) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []


WRITER = """
import sys
from datetime import date
from assets_pkg.contracts.files import SUCCESS, FileRecord
from assets_pkg.storage.ledger import Ledger
url, feed = sys.argv[1:]
ledger = Ledger(url)
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    each = FileRecord(f"{feed}-{number:02d}", f"{number:064}", 1, SUCCESS)
    ledger.start(feed, date(2025, 12, 10), [each], feed)
    ledger.finish(feed, date(2025, 12, 10), [each], feed)
"""


def test_two_processes_write_at_once(ledger: Ledger, ledger_url: str) -> None:
    at_once(WRITER, [(ledger_url, feed) for feed in ("events", "orders")])
    for feed in ("events", "orders"):
        assert [each.status for each in ledger.records(feed, DAY)] == [SUCCESS] * 25


def _no_database(folder: Path) -> str:
    (folder / "text.db").write_text("this is no database" * 100)
    return f"sqlite:///{folder / 'text.db'}"


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "nosuchdatabase://user:s3cret@host/ledger",
        "postgresql://user:s3cret@127.0.0.1:1/ledger",
        "mysql+pymysql://user:s3cret@127.0.0.1/ledger",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///{folder}",
        "sqlite:///{file}/ledger.db",
        "sqlite:///{no_database}",
    ],
)
def test_a_ledger_that_cannot_be_opened_is_told_without_its_password(url: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    places = {"folder": tmp_path / "folder", "file": tmp_path / "file", "no_database": tmp_path / "text.db"}
    _no_database(tmp_path)
    with pytest.raises(LedgerError, match="PIPELINE_LEDGER_URL") as caught:
        Ledger(url.format(**places))
    assert "s3cret" not in str(caught.value)


def test_a_locked_database_is_waited_for(ledger: Ledger, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    release.start()
    ledger.start("events", DAY, [record("a")], "run")
    release.join()
    other.close()
    assert len(ledger.records("events", DAY)) == 1


# -- the raw step by the ledger --------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the raw files that were opened for reading, in order."""
    names: list[str] = []
    really = raw_files.open_raw_file

    def counted(file: Any, policy: Any, **how: Any) -> Any:
        names.append(file.location.name)
        return really(file, policy, **how)

    monkeypatch.setattr(raw_step, "open_raw_file", counted)
    return names


def ids(bench: Workbench, feed: Feed = EVENTS, day: date = DAY) -> list[str]:
    """The ids in the raw partition, ordered by address."""
    rows = sorted(bench.rows(feed.raw, day), key=lambda row: (row["source_file"], row["source_row"]))
    return [row[feed.id] for row in rows]


def statuses(bench: Workbench, feed: Feed = EVENTS, day: date = DAY) -> dict[str, str]:
    """The ledger's status of each file of a day, by name."""
    return {each.path.rpartition("/")[2]: each.status for each in bench.files(feed, day)}


def put(bench: Workbench, name: str, *event_ids: str, day: date = DAY) -> None:
    """An events file with these ids."""
    bench.put(name, feed_csv("events", *({"event_id": each} for each in event_ids)), day)


def test_unchanged_content_is_never_read_twice(bench: Workbench, opened: list[str]) -> None:
    put(bench, "events_raw_a.csv", "a1", "a2")
    put(bench, "events_raw_b.csv", "b1")
    first = bench.land(EVENTS)
    assert (first.rows, len(first.read), first.carried, first.vanished) == (3, 2, (), ())
    version, commits = bench.work.lake.version("raw_events", DAY), bench.commits()
    opened.clear()
    for _ in range(2):
        again = bench.land(EVENTS)
        assert (again.rows, again.read, len(again.carried)) == (3, (), 2)
        assert again.files == first.files
    assert opened == []
    assert (bench.work.lake.version("raw_events", DAY), bench.commits()) == (version, commits)
    assert {entry["attempts"] for entry in entries(bench.settings.ledger)} == {1}


def test_a_new_file_is_read_and_the_others_are_carried(bench: Workbench, opened: list[str]) -> None:
    put(bench, "events_raw_b.csv", "b1", "b2")
    bench.land(EVENTS)
    put(bench, "events_raw_a.csv", "a1")
    put(bench, "events_raw_c.csv", "c1")
    opened.clear()
    bench.land(EVENTS)
    assert opened == ["events_raw_a.csv", "events_raw_c.csv"]
    assert ids(bench) == ["a1", "b1", "b2", "c1"]


def test_changed_bytes_replace_that_files_rows(bench: Workbench, opened: list[str]) -> None:
    put(bench, "events_raw_a.csv", "a1", "a2")
    put(bench, "events_raw_b.csv", "b1")
    bench.land(EVENTS)
    put(bench, "events_raw_a.csv", "a3")
    opened.clear()
    bench.land(EVENTS)
    assert opened == ["events_raw_a.csv"]
    assert ids(bench) == ["a3", "b1"]
    assert {entry["path"][-5]: entry["attempts"] for entry in entries(bench.settings.ledger)} == {
        "a": 2,
        "b": 1,
    }


def test_the_same_time_and_size_do_not_hide_a_change(bench: Workbench) -> None:
    put(bench, "events_raw.csv", "a1")
    bench.land(EVENTS)
    location = bench.work.raw_root / f"ingest_date={DAY}" / "events_raw.csv"
    before = location.stat()
    put(bench, "events_raw.csv", "b1")
    os.utime(location, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert location.stat().st_size == before.st_size
    bench.land(EVENTS)
    assert ids(bench) == ["b1"]


def test_a_touched_file_is_no_changed_file(bench: Workbench, opened: list[str]) -> None:
    put(bench, "events_raw.csv", "a1")
    bench.land(EVENTS)
    opened.clear()
    put(bench, "events_raw.csv", "a1")
    bench.land(EVENTS)
    assert opened == []


def test_a_partition_that_was_lost_is_read_again(bench: Workbench, opened: list[str]) -> None:
    """The ledger alone proves nothing: the rows must be there."""
    put(bench, "events_raw.csv", "a1")
    bench.land(EVENTS)
    opened.clear()
    shutil.rmtree(bench.settings.lake_dir / "raw_events")
    bench.land(EVENTS)
    assert (opened, ids(bench)) == (["events_raw.csv"], ["a1"])


def test_another_reading_policy_reads_anew(bench: Workbench, opened: list[str]) -> None:
    """What a file's rows are depends on it."""
    put(bench, "events_raw.csv", "a1")
    bench.land(EVENTS)
    opened.clear()
    bench.under({"reading": {"open_quote_lines": 5}}).land(EVENTS)
    assert opened == ["events_raw.csv"]
    bench.under({"reading": {"open_quote_lines": 5}, "values": {"max_amount": 5}}).land(EVENTS)
    assert opened == ["events_raw.csv"]


def test_a_new_alias_is_seen_by_files_already_read(bench: Workbench) -> None:
    bench.put("events_raw.csv", feed_csv("events", {}).replace("event_time", "happened_at"))
    bench.land(EVENTS)
    assert [row["event_time"] for row in bench.rows("raw_events")] == [None]
    again = bench.under({"feeds": {"events": {"aliases": {"event_time": ["happened_at"]}}}})
    again.land(EVENTS)
    assert [row["event_time"] for row in again.rows("raw_events")] == ["2025-12-10T04:21:24Z"]


def test_a_file_that_vanishes_keeps_its_rows_and_is_reported(bench: Workbench, opened: list[str]) -> None:
    put(bench, "events_raw_a.csv", "a1")
    put(bench, "events_raw_b.csv", "b1")
    bench.land(EVENTS)
    gone = bench.work.raw_root / f"ingest_date={DAY}" / "events_raw_a.csv"
    gone.unlink()
    opened.clear()
    landed = bench.land(EVENTS)
    assert landed.vanished == (f"ingest_date={DAY}/events_raw_a.csv",)
    assert (ids(bench), opened) == (["a1", "b1"], [])
    put(bench, "events_raw_b.csv", "b2")
    put(bench, "events_raw_c.csv", "c1")
    assert bench.land(EVENTS).vanished == landed.vanished
    assert ids(bench) == ["a1", "b2", "c1"]
    assert statuses(bench) == {
        "events_raw_a.csv": SUCCESS,
        "events_raw_b.csv": SUCCESS,
        "events_raw_c.csv": SUCCESS,
    }
    put(bench, "events_raw_a.csv", "a1")
    opened.clear()
    assert bench.land(EVENTS).vanished == ()
    assert opened == []


def test_a_day_whose_folder_vanishes_keeps_its_rows(bench: Workbench) -> None:
    put(bench, "events_raw.csv", "a1")
    bench.land(EVENTS)
    shutil.rmtree(bench.work.raw_root / f"ingest_date={DAY}")
    assert len(bench.land(EVENTS).vanished) == 1
    assert ids(bench) == ["a1"]


def test_failed_files_are_tried_again_on_every_run(bench: Workbench, opened: list[str]) -> None:
    put(bench, "events_raw_a.csv", "a1")
    content = gzip.compress(feed_csv("events", {"event_id": "b1"}).encode())
    bench.put("events_raw_b.csv.gz", content[:-3])
    bench.land(EVENTS)
    assert statuses(bench) == {"events_raw_a.csv": SUCCESS, "events_raw_b.csv.gz": FAILED}
    opened.clear()
    version, commits = bench.work.lake.version("raw_events", DAY), bench.commits()
    bench.land(EVENTS)
    assert opened == ["events_raw_b.csv.gz"]
    assert (bench.work.lake.version("raw_events", DAY), bench.commits()) == (version, commits)
    bench.put("events_raw_b.csv.gz", content)
    bench.land(EVENTS)
    assert (ids(bench), set(statuses(bench).values())) == (["a1", "b1"], {SUCCESS})
    by_path = {entry["path"][-2:]: entry for entry in entries(bench.settings.ledger)}
    assert (by_path["gz"]["attempts"], by_path["gz"]["error_message"]) == (3, None)


def test_a_failed_file_that_vanishes_is_forgotten(bench: Workbench) -> None:
    """It never gave a row; an alert about it for ever would help nobody."""
    bench.put("events_raw.csv.gz", b"")
    put(bench, "events_raw_b.csv", "b1")
    bench.land(EVENTS)
    (bench.work.raw_root / f"ingest_date={DAY}" / "events_raw.csv.gz").unlink()
    bench.land(EVENTS)
    assert (statuses(bench), ids(bench)) == ({"events_raw_b.csv": SUCCESS}, ["b1"])


@pytest.mark.parametrize("rows_per_file", [1, 2, 3])
def test_carrying_rows_over_changes_nothing_however_they_are_cut(
    rows_per_file: int, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "ROWS_PER_FILE", rows_per_file)
    put(bench, "events_raw_a.csv", "a1", "a2", "a3", "a4", "a5")
    put(bench, "events_raw_b.csv", "b1", "b2")
    bench.put("events_raw_c.csv.gz", b"")  # FAILED: so the partition is written on every run
    bench.land(EVENTS)
    rows = bench.rows("raw_events")
    for _ in range(2):
        commits = bench.commits()
        bench.land(EVENTS)
        assert bench.rows("raw_events") == rows
    assert bench.commits() == commits
    put(bench, "events_raw_b.csv", "b3")
    bench.land(EVENTS)
    assert ids(bench) == ["a1", "a2", "a3", "a4", "a5", "b3"]


# -- crashes ---------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone: nobody catches it, nothing after it happens."""


def crash(*_: Any, **__: Any) -> None:
    """Be gone."""
    raise Crash


# Where a raw step can crash: while reading, before the commit, after the commit and before the ledger knows.
CRASHES = {
    "while reading": (raw_step, "open_raw_file"),
    "before the commit": (Lake, "_commit"),
    "after the commit": (Ledger, "finish"),
}


@pytest.mark.parametrize("place", CRASHES)
def test_after_a_crash_the_next_run_gives_what_an_uncrashed_one_gives(
    place: str, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bench, "events_raw_a.csv", "a1")
    put(bench, "events_raw_b.csv", "b1")
    bench.land(EVENTS)
    put(bench, "events_raw_b.csv", "b2", "b3")
    put(bench, "events_raw_c.csv", "c1")
    with monkeypatch.context() as patched:
        patched.setattr(*CRASHES[place], crash)
        with pytest.raises(Crash):
            bench.land(EVENTS)
    assert statuses(bench) == {
        "events_raw_a.csv": SUCCESS,
        "events_raw_b.csv": PROCESSING,
        "events_raw_c.csv": PROCESSING,
    }
    assert ids(bench) == (["a1", "b2", "b3", "c1"] if place == "after the commit" else ["a1", "b1"])
    landed = bench.land(EVENTS)
    assert ids(bench) == ["a1", "b2", "b3", "c1"]
    assert set(statuses(bench).values()) == {SUCCESS}
    assert landed.rows == 4
    assert len(landed.carried) == 1


@pytest.mark.parametrize("place", CRASHES)
def test_a_crash_on_a_days_first_run(place: str, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bench, "events_raw.csv", "a1")
    with monkeypatch.context() as patched:
        patched.setattr(*CRASHES[place], crash)
        with pytest.raises(Crash):
            bench.land(EVENTS)
    assert statuses(bench) == {"events_raw.csv": PROCESSING}
    bench.land(EVENTS)
    assert (ids(bench), statuses(bench)) == (["a1"], {"events_raw.csv": SUCCESS})


@pytest.mark.parametrize("place", CRASHES)
def test_a_file_that_vanishes_after_a_crash_keeps_the_rows_it_has(
    place: str, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting data is a deliberate command, never what a crash and a vanished file come to together."""
    put(bench, "events_raw_a.csv", "a1")
    put(bench, "events_raw_b.csv", "b1")
    bench.land(EVENTS)
    put(bench, "events_raw_a.csv", "a2")
    with monkeypatch.context() as patched:
        patched.setattr(*CRASHES[place], crash)
        with pytest.raises(Crash):
            bench.land(EVENTS)
    there = ids(bench)
    assert there == (["a2", "b1"] if place == "after the commit" else ["a1", "b1"])
    (bench.work.raw_root / f"ingest_date={DAY}" / "events_raw_a.csv").unlink()
    bench.land(EVENTS)
    assert ids(bench) == there


def test_a_crash_leaves_other_feeds_and_days_alone(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put_feed("orders", {})
    put(bench, "events_raw.csv", "a1", day=NEXT)
    bench.land(ORDERS)
    bench.land(EVENTS, NEXT)
    put(bench, "events_raw.csv", "b1")
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "_commit", crash)
        with pytest.raises(Crash):
            bench.land(EVENTS)
    assert (ids(bench, ORDERS), ids(bench, EVENTS, NEXT)) == (["o1"], ["a1"])
    assert statuses(bench, ORDERS) == {"orders_raw.csv": SUCCESS}


# -- the same content under another path -----------------------------------------------------------


def ledger_says(bench: Workbench) -> dict[tuple[str, str], tuple[str, str | None]]:
    """(feed, path below the raw root) -> status and duplicate_of, of all days."""
    found = entries(bench.settings.ledger)
    return {(entry["feed"], entry["path"]): (entry["status"], entry["duplicate_of"]) for entry in found}


def test_the_same_content_on_the_same_day_is_skipped(bench: Workbench) -> None:
    paths = [
        bench.put(name, feed_csv("events", {})) for name in ("events_raw_b.csv", "events_raw_a.csv", "events_raw_c.csv")
    ]
    bench.land(EVENTS)
    assert ids(bench) == ["e1"]
    assert ledger_says(bench) == {
        ("events", paths[1]): (SUCCESS, None),
        ("events", paths[0]): (SKIPPED, paths[1]),
        ("events", paths[2]): (SKIPPED, paths[1]),
    }


@pytest.mark.parametrize("feed", [EVENTS, ORDERS], ids=["events", "orders"])
def test_the_same_content_on_another_day_is_skipped(feed: Feed, bench: Workbench) -> None:
    first, second = (bench.put_feed(feed.name, {}, day=day) for day in (DAY, NEXT))
    bench.land(feed)
    bench.land(feed, NEXT)
    assert ledger_says(bench)[feed.name, second] == (SKIPPED, first)
    assert (ids(bench, feed), ids(bench, feed, NEXT)) == (["e1" if feed is EVENTS else "o1"], [])


def test_the_same_customers_on_another_day_are_a_snapshot(bench: Workbench) -> None:
    for day in (DAY, NEXT):
        bench.put_feed("customers", {}, day=day)
        bench.land(CUSTOMERS, day)
    assert (ids(bench, CUSTOMERS), ids(bench, CUSTOMERS, NEXT)) == (["c1"], ["c1"])


def test_the_same_customers_twice_on_a_day_are_skipped(bench: Workbench) -> None:
    first, second = (bench.put_feed("customers", {}, name=f"customers_raw_{name}.csv") for name in "ab")
    bench.land(CUSTOMERS)
    assert ledger_says(bench)["customers", second] == (SKIPPED, first)
    assert ids(bench, CUSTOMERS) == ["c1"]


def test_the_same_content_of_another_feed_is_read(bench: Workbench) -> None:
    content = "event_id,order_id,customer_id\nx,y,z\n"
    bench.put("events_raw.csv", content)
    bench.put("orders_raw.csv", content)
    assert (bench.land(EVENTS).rows, bench.land(ORDERS).rows) == (1, 1)


def test_a_skipped_file_is_read_when_no_other_has_its_content_any_more(bench: Workbench) -> None:
    put(bench, "events_raw_a.csv", "a1")
    put(bench, "events_raw_b.csv", "a1")
    bench.land(EVENTS)
    assert statuses(bench) == {"events_raw_a.csv": SUCCESS, "events_raw_b.csv": SKIPPED}
    put(bench, "events_raw_a.csv", "a2")
    bench.land(EVENTS)
    assert (ids(bench), set(statuses(bench).values())) == (["a2", "a1"], {SUCCESS})


def test_the_smallest_path_is_the_first_whenever_it_comes(bench: Workbench) -> None:
    """The later file's day is processed again, and its rows go."""
    put(bench, "events_raw.csv", "a1", day=NEXT)
    bench.land(EVENTS, NEXT)
    put(bench, "events_raw.csv", "a1")
    bench.land(EVENTS)
    bench.land(EVENTS, NEXT)
    assert (ids(bench), ids(bench, EVENTS, NEXT)) == (["a1"], [])
    first, second = (f"ingest_date={day}/events_raw.csv" for day in (DAY, NEXT))
    assert ledger_says(bench) == {("events", first): (SUCCESS, None), ("events", second): (SKIPPED, first)}


def test_only_a_success_can_be_the_first(bench: Workbench) -> None:
    torn = gzip.compress(b"x" * 100)[:-1]
    for name in ("events_raw_a.csv.gz", "events_raw_b.csv.gz"):
        bench.put(name, torn)
    put(bench, "events_raw_c.csv", "c1")
    put(bench, "events_raw_d.csv", "c1")
    bench.land(EVENTS)
    assert statuses(bench) == {
        "events_raw_a.csv.gz": FAILED,
        "events_raw_b.csv.gz": FAILED,
        "events_raw_c.csv": SUCCESS,
        "events_raw_d.csv": SKIPPED,
    }


def test_raw_rows_are_whole_frames_of_the_raw_table(bench: Workbench) -> None:
    """What is carried over has the same columns and types as what is read."""
    put(bench, "events_raw_a.csv", "a1")
    bench.land(EVENTS)
    put(bench, "events_raw_b.csv", "b1")
    bench.land(EVENTS)
    carried, read = (pl.read_parquet_schema(file.location) for file in bench.work.lake.files("raw_events", DAY))
    assert carried == read
