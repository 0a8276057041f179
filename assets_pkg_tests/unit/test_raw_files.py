"""Which raw files a day has, how headers feed columns, what a file gives as raw rows (sections 1, 9)."""

import gzip
import json
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS, FEEDS, ORDERS, Feed
from assets_pkg.policy import FeedPolicy, load_policy
from assets_pkg.storage.lake import PartitionWriter
from assets_pkg.storage.raw_files import (
    RawFile,
    day_folder,
    find_files,
    open_raw_file,
    raw_days,
    resolve_columns,
    unrecognised_files,
)
from assets_pkg.storage.records import UnreadableFileError
from assets_pkg_tests.workbench import DAY, GOOD, Workbench, days_from, feed_csv

HERE = f"ingest_date={DAY}"


def packed(content: bytes) -> bytes:
    """The same bytes every time: without a clock."""
    return gzip.compress(content, mtime=0)


ANY_CSV = "a,b\n1,2\n"


def found(bench: Workbench, feed: Feed, day: date = DAY) -> list[str]:
    """Paths of a feed's files below the day's folder."""
    return [file.path.removeprefix(f"{HERE}/") for file in find_files(bench.work.raw_root, feed, day)]


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "feed", "kind"),
    [
        ("customers_raw.csv", "customers", "csv"),
        ("events_raw.csv", "events", "csv"),
        ("orders_raw.csv", "orders", "csv"),
        ("events_raw.csv.gz", "events", "csv.gz"),
        ("events_raw.jsonl", "events", "jsonl"),
        ("events_raw.jsonl.gz", "events", "jsonl.gz"),
        ("events_raw.ndjson", "events", "ndjson"),
        ("events_raw.ndjson.gz", "events", "ndjson.gz"),
        ("events_raw.json", "events", "json"),
        ("events_raw.parquet", "events", "parquet"),
        ("events_raw_2.csv", "events", "csv"),
        ("events_raw-part.0001.csv", "events", "csv"),
        ("events_raw (1).csv", "events", "csv"),
        ("events_raw.csv.csv", "events", "csv"),
        ("events_raw.json.csv.gz", "events", "csv.gz"),
        ("events_rawé日.csv", "events", "csv"),
        ("hour=00/events_raw.csv", "events", "csv"),
        ("hour=23/events_raw_late.csv.gz", "events", "csv.gz"),
        ("hour=07/orders_raw.csv", "orders", "csv"),
    ],
)
def test_a_file_is_its_feeds_by_its_name(name: str, feed: str, kind: str, bench: Workbench) -> None:
    source = bench.put(name, ANY_CSV)
    for each in FEEDS.values():
        files = find_files(bench.work.raw_root, each, DAY)
        assert [(file.path, file.format) for file in files] == ([(source, kind)] if each.name == feed else [])
    assert unrecognised_files(bench.work.raw_root, DAY) == {}


@pytest.mark.parametrize(
    "name",
    [
        "event_raw.csv",
        "events.csv",
        "eventsraw.csv",
        "Events_raw.csv",
        "my_events_raw.csv",
        "events_raw.CSV",
        "events_raw.txt",
        "events_raw.csv.zip",
        "events_raw.csv.bak",
        "events_rawcsv",
        "events_raw.json.gz",
        "events_raw.parquet.gz",
        "events_raw",
        "products_raw.csv",
        "README.md",
        "hour=7/events_raw.csv",
        "hour=xx/events_raw.csv",
        "hours=07/events_raw.csv",
        "hour=07/hour=08/events_raw.csv",
        "archive/events_raw.csv",
    ],
)
def test_other_files_are_no_feeds_and_are_told(name: str, bench: Workbench) -> None:
    source = bench.put(name, ANY_CSV)
    assert [found(bench, feed) for feed in FEEDS.values()] == [[], [], []]
    assert unrecognised_files(bench.work.raw_root, DAY) == {source: "check its name"}


def test_hidden_files_are_neither(bench: Workbench) -> None:
    """What is being written has a name with a dot in front, by old custom."""
    bench.put(".events_raw.csv.part", ANY_CSV)
    bench.put("events_raw.csv", ANY_CSV)
    assert found(bench, EVENTS) == ["events_raw.csv"]
    assert unrecognised_files(bench.work.raw_root, DAY) == {}


def test_a_folder_with_a_files_name_is_no_file(bench: Workbench) -> None:
    (day_folder(bench.work.raw_root, DAY) / "events_raw.csv").mkdir(parents=True)
    assert found(bench, EVENTS) == []


def test_files_are_ordered_by_path(bench: Workbench) -> None:
    names = [
        "hour=01/events_raw.csv",
        "events_raw_b.csv",
        "events_raw.csv",
        "hour=00/events_raw.csv",
        "events_raw_B.csv",
    ]
    for name in names:
        bench.put(name, ANY_CSV)
    assert found(bench, EVENTS) == sorted(names)


def test_a_day_without_a_folder_has_no_files(bench: Workbench) -> None:
    assert found(bench, EVENTS) == []
    assert unrecognised_files(bench.work.raw_root, DAY) == {}


def test_days_are_the_folders_named_so(bench: Workbench) -> None:
    for day in (date(2025, 12, 11), date(2024, 2, 29), date(2025, 12, 10)):
        bench.put("events_raw.csv", ANY_CSV, day)
    for stray in (
        "ingest_date=2025-1-1",
        "ingest_date=",
        "2025-12-10",
        "ingest_date=2025-12-10.bak",
        "_SUCCESS",
    ):
        (bench.work.raw_root / stray).mkdir()
    (bench.work.raw_root / "ingest_date=2025-12-09").write_text("a file")
    assert raw_days(bench.work.raw_root) == [date(2024, 2, 29), date(2025, 12, 10), date(2025, 12, 11)]


@pytest.mark.parametrize("stray", ["ingest_date=2025-02-30", "ingest_date=2025-13-01", "ingest_date=0000-01-01"])
def test_a_folder_of_no_date_does_not_hide_the_days_there_are(stray: str, bench: Workbench) -> None:
    bench.put("events_raw.csv", ANY_CSV)
    (bench.work.raw_root / stray).mkdir()
    assert raw_days(bench.work.raw_root) == [DAY]


# -- links -----------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the pipeline's, with a file that would be an events file inside."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "events_raw.csv").write_text(feed_csv("events", {}))
    return folder


def test_a_link_out_of_the_raw_root_is_not_followed(tmp_path: Path, outside: Path) -> None:
    bench = Workbench(tmp_path / "inside")
    bench.put_feed("events", {}, name="events_raw_own.csv")
    home = day_folder(bench.work.raw_root, DAY)
    (home / "events_raw_link.csv").symlink_to(outside / "events_raw.csv")
    (home / "events_raw_relative.csv").symlink_to(Path("../../../../outside/events_raw.csv"))
    (home / "hour=05").symlink_to(outside)
    (home / "events_raw_dangling.csv").symlink_to(outside / "nothing.csv")
    assert (home / "events_raw_relative.csv").is_file()
    assert found(bench, EVENTS) == ["events_raw_own.csv"]
    assert bench.land(EVENTS).rows == 1
    (home / "events_raw_loop.csv").symlink_to("events_raw_loop.csv")
    names = (
        "events_raw_dangling.csv",
        "events_raw_loop.csv",
        "events_raw_link.csv",
        "events_raw_relative.csv",
        "hour=05",
    )
    assert unrecognised_files(bench.work.raw_root, DAY) == {f"ingest_date={DAY}/{name}": LINK for name in names}


LINK = "it is a link out of the raw folder; put there what it leads to"


def test_a_day_that_is_a_link_out_of_the_raw_root_has_no_files(tmp_path: Path, outside: Path) -> None:
    bench = Workbench(tmp_path / "inside")
    bench.work.raw_root.mkdir(parents=True)
    day_folder(bench.work.raw_root, DAY).symlink_to(outside)
    assert found(bench, EVENTS) == []
    assert unrecognised_files(bench.work.raw_root, DAY) == {f"ingest_date={DAY}": LINK}


def test_links_within_the_raw_root_are_files(bench: Workbench) -> None:
    bench.put_feed("events", {})
    home = day_folder(bench.work.raw_root, DAY)
    (home / "events_raw_again.csv").symlink_to("events_raw.csv")
    assert found(bench, EVENTS) == ["events_raw.csv", "events_raw_again.csv"]


def test_the_raw_root_itself_may_be_a_link(tmp_path: Path) -> None:
    real = Workbench(tmp_path / "real")
    real.put_feed("events", {})
    linked = Workbench(tmp_path / "linked")
    linked.settings.data_dir.mkdir(parents=True)
    linked.work.raw_root.symlink_to(real.work.raw_root)
    assert found(linked, EVENTS) == ["events_raw.csv"]
    assert linked.land(EVENTS).rows == 1


# -- headers ---------------------------------------------------------------------------------------

COLUMNS = ("id", "time", "note")
ALIASES = FeedPolicy(required=(), aliases={"time": ("ts", "timestamp"), "id": ("key",)})


@pytest.mark.parametrize(
    ("header", "positions", "unknown", "absent"),
    [
        (["id", "time", "note"], {"id": 0, "time": 1, "note": 2}, {}, ()),
        (["note", "id", "time"], {"id": 1, "time": 2, "note": 0}, {}, ()),
        ([" ID ", "\tTime", "nOTE\u00a0"], {"id": 0, "time": 1, "note": 2}, {}, ()),
        (["\ufeffid", "\ufeff time", " \ufeffnote"], {"id": 0, "time": 1, "note": 2}, {}, ()),
        (["key", "ts"], {"id": 0, "time": 1}, {}, ("note",)),
        ([], {}, {}, ("id", "time", "note")),
        (["x", "y"], {}, {"x": 0, "y": 1}, ("id", "time", "note")),
        # Its own name wins, then the aliases in policy order, then the leftmost; the others are unknown.
        (["ts", "time", "id"], {"id": 2, "time": 1}, {"ts": 0}, ("note",)),
        (["timestamp", "ts", "id"], {"id": 2, "time": 1}, {"timestamp": 0}, ("note",)),
        (["timestamp", "ts", "TIME", "id"], {"id": 3, "time": 2}, {"timestamp": 0, "ts": 1}, ("note",)),
        (["id", "id", "Id"], {"id": 0}, {"id": 1, "id_2": 2}, ("time", "note")),
        (["key", "key", "id"], {"id": 2}, {"key": 0, "key_2": 1}, ("time", "note")),
        (["ts", "ts"], {"time": 0}, {"ts": 1}, ("id", "note")),
        # An unknown name that repeats gets a number: nothing is lost.
        (["x", "x", "x", "id"], {"id": 3}, {"x": 0, "x_2": 1, "x_3": 2}, ("time", "note")),
        (["x", "x_2", "x", "id"], {"id": 3}, {"x": 0, "x_2": 1, "x_3": 2}, ("time", "note")),
        (["x", "x", "x_2", "id"], {"id": 3}, {"x": 0, "x_2": 1, "x_2_2": 2}, ("time", "note")),
        (["X", " x", "id"], {"id": 2}, {"x": 0, "x_2": 1}, ("time", "note")),
        (["", "", "id"], {"id": 2}, {"": 0, "_2": 1}, ("time", "note")),
        (["i d", "id_", "_id"], {}, {"i d": 0, "id_": 1, "_id": 2}, ("id", "time", "note")),
        # White space is Unicode's property: U+001C to U+001F do not have it.
        (["\x1fid", "time\x1c", "note"], {"note": 2}, {"\x1fid": 0, "time\x1c": 1}, ("id", "time")),
        (["\u3000id\u2028", "\u0085time", "note"], {"id": 0, "time": 1, "note": 2}, {}, ()),
    ],
)
def test_columns(
    header: Sequence[str], positions: dict[str, int], unknown: dict[str, int], absent: tuple[str, ...]
) -> None:
    columns = resolve_columns(header, COLUMNS, ALIASES)
    assert (columns.positions, columns.unknown, columns.absent) == (positions, unknown, absent)


@pytest.mark.parametrize(
    ("feed", "header", "column"),
    [
        (CUSTOMERS, "user_id", "customer_id"),
        (EVENTS, "user_id", "customer_id"),
        (EVENTS, "ts", "event_time"),
        (EVENTS, "timestamp", "event_time"),
        (ORDERS, "user_id", "customer_id"),
        (ORDERS, "ts", "order_time"),
        (ORDERS, "TimeStamp", "order_time"),
    ],
)
def test_also_accepted_as(feed: Feed, header: str, column: str, bench: Workbench) -> None:
    """The contract's table of other header names."""
    row = dict(GOOD[feed.name])
    bench.put(f"{feed.name}_raw.csv", feed_csv(feed.name, {}).replace(column, header, 1))
    bench.land(feed)
    (raw,) = bench.rows(feed.raw)
    assert raw[column] == row[column]
    assert bench.files(feed)[0].unknown_columns == ()


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_the_columns_of_each_feed(feed: Feed) -> None:
    """Section 1's table: required, then optional."""
    policy = load_policy()
    required = {
        "customers": ("customer_id", "email", "created_at", "country", "status"),
        "events": (
            "event_id",
            "customer_id",
            "event_time",
            "event_type",
            "platform",
            "session_id",
            "duration_ms",
        ),
        "orders": ("order_id", "customer_id", "order_time", "amount", "currency", "status"),
    }[feed.name]
    optional = {"events": ("url", "ingest_date")}.get(feed.name, ("ingest_date",))
    assert (feed.required(policy), feed.columns) == (required, required + optional)


# -- raw rows --------------------------------------------------------------------------------------


def raw_rows(bench: Workbench, feed: Feed = EVENTS) -> list[dict[str, Any]]:
    """The feed's raw rows of the day, ordered by address."""
    bench.land(feed)
    return sorted(bench.rows(feed.raw), key=lambda row: (row["source_file"], row["source_row"]))


def test_a_raw_row_is_the_record_as_it_stood(bench: Workbench) -> None:
    source = bench.put(
        "events_raw.csv",
        "event_id,customer_id,event_time,event_type,platform,session_id,duration_ms,url,ingest_date\n"
        ' e1 ,c1,NULL,"Page, View",,s1,5,"line\nbreak",10.12.2025\n',
    )
    assert raw_rows(bench) == [
        {
            "ingest_date": DAY,
            "event_id": " e1 ",
            "customer_id": "c1",
            "event_time": "NULL",
            "event_type": "Page, View",
            "platform": "",
            "session_id": "s1",
            "duration_ms": "5",
            "url": "line\nbreak",
            "ingest_date_raw": "10.12.2025",
            "extra": None,
            "raw_text": None,
            "source_file": source,
            "source_row": 1,
            "absent_columns": None,
        }
    ]


def test_absent_columns_are_null_and_are_told(bench: Workbench) -> None:
    bench.put("events_raw.csv", "event_id,customer_id,event_time,url\ne1,c1,2025-12-10,\n")
    (row,) = raw_rows(bench)
    missing = ("event_type", "platform", "session_id", "duration_ms", "ingest_date")
    assert row["absent_columns"] == "|".join(missing)
    assert bench.files(EVENTS)[0].absent_columns == missing
    assert {column: row[column] for column in (*missing[:-1], "ingest_date_raw", "url")} == {
        **dict.fromkeys((*missing[:-1], "ingest_date_raw")),
        "url": "",
    }


def test_a_malformed_row_has_null_in_every_feed_column(bench: Workbench) -> None:
    bench.put("events_raw.csv", feed_csv("events", {}, columns=[*GOOD["events"], "mood"]) + 'e2,c1\n"e3\n')
    good, ragged, opened = raw_rows(bench)
    assert good["raw_text"] is None
    assert good["extra"] == '{"mood":""}'
    for row, text, number in ((ragged, "e2,c1", 2), (opened, '"e3', 3)):
        assert (row["raw_text"], row["source_row"]) == (text, number)
        assert all(row[name] is None for name in (*EVENTS.raw_columns, "extra"))


UNKNOWN: list[tuple[Sequence[str], Sequence[str], dict[str, str]]] = [
    (["mood"], ["good"], {"mood": "good"}),
    (["Zeta", " alpha "], ["1", " 2 "], {"alpha": " 2 ", "zeta": "1"}),
    (
        ["b", "B", "a_2", "a", "a"],
        ["1", "2", "3", "4", "5"],
        {"a": "4", "a_2": "3", "a_3": "5", "b": "1", "b_2": "2"},
    ),
    ([""], ["x"], {"": "x"}),
    (["note"], [""], {"note": ""}),
    (["note"], ["null"], {"note": "null"}),
    (["no\u2028te"], ['"quoted" \\ / \t ü 日 \x01 \x7f'], {"no\u2028te": '"quoted" \\ / \t ü 日 \x01 \x7f'}),
    (['a"b\\'], ["</script>"], {'a"b\\': "</script>"}),
    (["n"], ["line\nbreak"], {"n": "line\nbreak"}),
    (["user_id"], ["u9"], {"user_id": "u9"}),  # an alias next to the column itself
    (["event_id"], ["again"], {"event_id": "again"}),  # a second column of a name
    (["ä", "z", "Z", "é"], ["1", "2", "3", "4"], {"z": "2", "z_2": "3", "ä": "1", "é": "4"}),
]


@pytest.mark.parametrize(("names", "values", "extra"), UNKNOWN)
def test_unknown_columns_are_kept_as_json(
    names: Sequence[str], values: Sequence[str], extra: dict[str, str], bench: Workbench
) -> None:
    def quoted(texts: Sequence[str]) -> str:
        return ",".join('"' + text.replace('"', '""') + '"' for text in texts)

    row = GOOD["events"]
    bench.put("events_raw.csv", f"{quoted([*row, *names])}\n{quoted([*row.values(), *values])}\n")
    (raw,) = raw_rows(bench)
    assert json.loads(raw["extra"]) == extra
    assert list(json.loads(raw["extra"])) == sorted(extra)
    assert sorted(bench.files(EVENTS)[0].unknown_columns) == sorted(extra)
    assert {name: raw[name] for name in row} == row


def test_rows_are_addressed_by_file_and_record(bench: Workbench) -> None:
    sources = [
        bench.put(
            "hour=03/events_raw.csv",
            "\n" + feed_csv("events", {}, {}) + "\n\n" + ",".join(GOOD["events"].values()),
        ),
        bench.put_feed("events", {}, name="events_raw_b.csv"),
        bench.put("events_raw_a.csv", feed_csv("events", {"url": "two\nlines"}, {}) + "ragged\n" + '"open\n'),
    ]
    addresses = [(row["source_file"], row["source_row"]) for row in raw_rows(bench)]
    expected = [
        *((sources[0], row) for row in (1, 2, 3)),
        (sources[1], 1),
        *((sources[2], row) for row in (1, 2, 3, 4)),
    ]
    assert addresses == sorted(expected)


@pytest.mark.parametrize(
    ("name", "content", "records"),
    [
        ("events_raw.csv", b"", 0),
        ("events_raw.csv", b"\n\r\n", 0),
        ("events_raw.csv", feed_csv("events", {}).split("\n")[0].encode(), 0),
        ("events_raw.csv", feed_csv("events", {}).encode(), 1),
        ("events_raw.csv.gz", packed(feed_csv("events", {}).encode()), 1),
        ("events_raw.csv.gz", packed(b""), 0),
        (
            "events_raw.csv.gz",
            packed(feed_csv("events", {}).encode()[:9]) + packed(b""),
            0,
        ),
        # A gzip file may have several members, one after another.
        (
            "events_raw.csv.gz",
            packed(feed_csv("events", {}).encode()) + packed((",".join(GOOD["events"].values())).encode()),
            2,
        ),
    ],
    ids=range(8),
)
def test_files_that_can_be_read(name: str, content: bytes, records: int, bench: Workbench) -> None:
    bench.put(name, content)
    landed = bench.land(EVENTS)
    (file,) = landed.files
    assert (file.status, file.records, file.error, landed.rows) == ("SUCCESS", records, None, records)


def test_a_file_without_a_header_line_says_nothing_about_columns(bench: Workbench) -> None:
    bench.put("events_raw.csv", b"\r\n\n")
    (file,) = bench.land(EVENTS).files
    assert (file.status, file.records, file.absent_columns, file.unknown_columns) == ("SUCCESS", 0, (), ())


_GOOD_GZIP = packed(feed_csv("events", *({"event_id": f"e{n}"} for n in range(2000))).encode())
BROKEN: dict[str, tuple[str, bytes, str]] = {
    "0 bytes": ("events_raw.csv.gz", b"", "empty"),
    "not gzip": ("events_raw.csv.gz", feed_csv("events", {}).encode(), "no valid gzip"),
    "half": ("events_raw.csv.gz", _GOOD_GZIP[: len(_GOOD_GZIP) // 2], "too early"),
    "without its last byte": ("events_raw.csv.gz", _GOOD_GZIP[:-1], "too early"),
    "a header only": ("events_raw.csv.gz", _GOOD_GZIP[:10], "too early"),
    "three bytes": ("events_raw.csv.gz", _GOOD_GZIP[:3], "too early"),
    "a wrong checksum": ("events_raw.csv.gz", _GOOD_GZIP[:-8] + b"\0" * 8, "gzip"),
    "damaged inside": ("events_raw.csv.gz", _GOOD_GZIP[:200] + b"\xff" * 50 + _GOOD_GZIP[250:], "gzip"),
    "garbage behind": ("events_raw.csv.gz", _GOOD_GZIP + b"garbage", "gzip"),
    "a line too long": ("events_raw.csv", b"a,b\n" + b"x" * (2**20 + 1), "longer than 1 MiB"),
    "a line too long, packed": (
        "events_raw.csv.gz",
        packed(b"x" * (2**20 + 1)),
        "longer than 1 MiB",
    ),
}


@pytest.mark.parametrize(("name", "content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_cannot_be_read_is_failed_and_stops_no_other(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    bench = Workbench(tmp_path, {"reading": {"max_line_mib": 1}})
    bad = bench.put(name, content)
    good = [bench.put_feed("events", {"url": mark}, name=f"events_raw{mark}.csv") for mark in ("!", "~")]
    assert sorted([bad, *good]) == [good[0], bad, good[1]]
    landed = bench.land(EVENTS)
    by_path = {file.path: file for file in landed.files}
    failed = by_path.pop(bad)
    assert (failed.status, failed.records) == ("FAILED", 0)
    assert failed.error is not None
    assert message in failed.error
    assert {file.status for file in by_path.values()} == {"SUCCESS"}
    assert [(row["source_file"], row["source_row"]) for row in raw_rows(bench)] == [
        (good[0], 1),
        (good[1], 1),
    ]
    assert landed.rows == 2


def test_a_large_file_that_breaks_off_leaves_no_row(bench: Workbench) -> None:
    """Rows before the fault were read by then; they must not stay."""
    text = feed_csv("events", *({"event_id": f"e{number}", "url": os.urandom(40).hex()} for number in range(3000)))
    bench.put("events_raw.csv.gz", packed(text.encode())[:-1])
    bench.put_feed("events", {}, name="events_raw_b.csv")
    assert bench.land(EVENTS).rows == 1
    assert [row["event_id"] for row in bench.rows("raw_events")] == ["e1"]


def test_a_file_in_a_format_that_cannot_be_decoded_is_failed(bench: Workbench) -> None:
    for name, content in (("events_raw.parquet", b"PAR1 no parquet"), ("events_raw.json", b"no json")):
        bench.put(name, content)
    assert {file.status for file in bench.land(EVENTS).files} == {"FAILED"}
    assert bench.rows("raw_events") == []


def test_opening_raises_one_error_for_people(bench: Workbench) -> None:
    bench.put("events_raw.csv.gz", b"")
    (file,) = find_files(bench.work.raw_root, EVENTS, DAY)
    with pytest.raises(UnreadableFileError), open_raw_file(file, bench.work.policy):
        pass


def test_a_file_that_vanishes_while_the_day_is_read_is_failed(bench: Workbench) -> None:
    source = bench.put_feed("events", {})
    (file,) = find_files(bench.work.raw_root, EVENTS, DAY)
    (bench.work.raw_root / source).unlink()
    with pytest.raises(UnreadableFileError, match="vanished"), open_raw_file(file, bench.work.policy):
        pass


def test_a_file_that_may_not_be_opened_is_failed(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    source = bench.put_feed("events", {})
    really_open = Path.open

    def refuse(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if path.name == "events_raw.csv" and "buffering" in kwargs:  # not while its bytes are only counted
            raise PermissionError(13, "Permission denied", str(path))
        return really_open(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    (file,) = bench.land(EVENTS).files
    assert (file.path, file.status) == (source, "FAILED")
    assert "permission denied" in (file.error or "")


@pytest.mark.parametrize(
    "fault",
    [
        PermissionError(13, "Permission denied", "lake"),
        FileNotFoundError(2, "No such file", "lake"),
        EOFError("lake"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_fault_of_the_lake_is_not_blamed_on_the_raw_file(
    fault: Exception, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAILED is for files that cannot be opened or decoded; what we cannot write must stop the run."""
    bench.put_feed("events", {})
    really_write, faults = PartitionWriter._write_file, [fault]

    def broken_once(writer: PartitionWriter, frame: pl.DataFrame) -> None:
        if faults:
            raise faults.pop()
        really_write(writer, frame)

    monkeypatch.setattr(PartitionWriter, "_write_file", broken_once)
    with pytest.raises(type(fault)):
        bench.land(EVENTS)
    assert [file.status for file in bench.files(EVENTS)] == ["PROCESSING"]


def test_a_name_that_is_not_utf8_does_not_stop_the_day(bench: Workbench) -> None:
    """A Latin-1 name from an old machine; the day's other files are processed."""
    bench.put_feed("events", {})
    home = day_folder(bench.work.raw_root, DAY)
    odd = os.fsencode(home) + b"/events_raw_M\xfcller.csv"
    try:
        with open(odd, "wb") as stream:  # noqa: PTH123 - Path takes no bytes
            stream.write(feed_csv("events", {"event_id": "e2"}).encode())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    bench.clean_feeds()
    assert "e1" in {row["event_id"] for row in bench.rows("raw_events")}


def test_a_files_fingerprint_is_of_its_bytes(bench: Workbench) -> None:
    bench.put("events_raw.csv", b"abc")
    (file,) = find_files(bench.work.raw_root, EVENTS, DAY)
    found = file.fingerprint()
    assert (found.sha256, found.bytes) == ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 3)


def test_a_raw_file_knows_where_it_is(bench: Workbench) -> None:
    bench.put("hour=04/orders_raw.csv.gz", b"")
    (file,) = find_files(bench.work.raw_root, ORDERS, DAY)
    assert file == RawFile(
        ORDERS,
        DAY,
        f"{HERE}/hour=04/orders_raw.csv.gz",
        bench.work.raw_root / HERE / "hour=04/orders_raw.csv.gz",
        "csv.gz",
    )


def test_each_day_has_its_own_files(bench: Workbench) -> None:
    for day in days_from(DAY, 3):
        bench.put_feed("events", {"event_id": f"of {day}"}, day=day)
    for day in days_from(DAY, 3):
        bench.land(EVENTS, day)
        assert [row["event_id"] for row in bench.rows("raw_events", day)] == [f"of {day}"]


def test_a_file_that_cannot_even_be_opened_fails_alone(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 1: FAILED with its error, no row; the day's other files are processed."""
    bench.put_feed("events", {})
    denied = bench.put("events_raw_denied.csv", feed_csv("events", {"event_id": "e9"}))
    really_open = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "events_raw_denied.csv":
            raise PermissionError(13, "Permission denied", str(path))
        return really_open(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    landed = bench.land(EVENTS)
    assert landed.rows == 1
    assert {file.path: file.status for file in landed.files}[denied] == "FAILED"
    assert sorted(file.status for file in landed.files) == ["FAILED", "SUCCESS"]
