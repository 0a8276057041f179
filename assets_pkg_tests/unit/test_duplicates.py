"""Rows that repeat others: exact copies, and rows that share an id (sections 3 and 9)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, permutations
from pathlib import Path

import pytest

from assets_pkg.contracts.feeds import CUSTOMERS, FEEDS
from assets_pkg.storage import lake
from assets_pkg_tests.workbench import DAY, GOOD, Workbench, csv_of, customers_csv, days_from, feed_csv

Changed = Mapping[str, str]
Fate = str
"""`clean`, `dropped` (an exact copy), or the row's reasons."""


def fates(bench: Workbench, feed: str) -> dict[tuple[str, int], Fate]:
    """What became of every raw row of the day, by file name and record."""
    spec = FEEDS[feed]
    clean, rejected = bench.by_address(spec.clean_table), bench.by_address(spec.quarantine)
    assert not clean.keys() & rejected.keys()
    found = {}
    for source, row in bench.by_address(spec.raw):
        fate = "dropped"
        if (source, row) in clean:
            fate = "clean"
        elif (source, row) in rejected:
            fate = rejected[source, row]["reject_reason"]
        found[source.rpartition("/")[2], row] = fate
    return found


def decided(bench: Workbench, feed: str, files: Mapping[str, str]) -> dict[tuple[str, int], Fate]:
    """Run one feed's files (name -> content); c1 is known."""
    if feed != "customers":
        bench.put("customers_raw.csv", customers_csv("c1"))
    for name, content in files.items():
        bench.put(name, content)
    bench.clean_feeds(feeds=[CUSTOMERS, *([FEEDS[feed]] if feed != "customers" else [])])
    return fates(bench, feed)


def of_rows(bench: Workbench, feed: str, rows: Sequence[Changed], columns: Sequence[str] | None = None) -> list[Fate]:
    """What becomes of some rows of one file, in order."""
    found = decided(bench, feed, {f"{feed}_raw.csv": feed_csv(feed, *rows, columns=columns)})
    return [found[f"{feed}_raw.csv", number] for number in range(1, len(rows) + 1)]


# -- exact copies ----------------------------------------------------------------------------------

LOST = "duplicate_event_id"

COPIES: dict[str, tuple[Sequence[Changed], Sequence[Fate]]] = {
    "the first of equal rows stays": ([{}, {}, {}], ["clean", "dropped", "dropped"]),
    "equal after trimming": (
        [{}, {"event_id": " e1 "}, {"url": GOOD["events"]["url"] + "\t\u00a0"}],
        ["clean", "dropped", "dropped"],
    ),
    "the untrimmed one may be the first": ([{"platform": " web"}, {}], ["clean", "dropped"]),
    "white space inside is no copy": (
        [{"event_type": "page view"}, {"event_type": "page  view"}],
        [LOST, "clean"],
    ),
    "another letter case is no copy": ([{"event_type": "login"}, {"event_type": "LOGIN"}], [LOST, "clean"]),
    "another spelling of the same value is no copy": (
        [{"event_time": "2025-12-10T04:21:24Z"}, {"event_time": "2025-12-10 04:21:24"}],
        [LOST, "clean"],
    ),
    "a null token is not an empty text": (
        [{"url": ""}, {"url": "null"}, {"url": " "}],
        [LOST, "clean", "dropped"],
    ),
    "null tokens differ from one another": ([{"url": "null"}, {"url": "None"}], [LOST, "clean"]),
    "rejected rows can be copies": (
        [{"duration_ms": "x"}, {"duration_ms": "x"}, {"duration_ms": "y"}],
        ["invalid_duration_ms", "dropped", "invalid_duration_ms"],
    ),
    "rows without an id can be copies": (
        [
            {"event_id": ""},
            {"event_id": ""},
            {"event_id": " "},
            {"event_id": "null"},
            {"event_id": "", "url": "x"},
        ],
        ["missing_event_id", "dropped", "dropped", "missing_event_id", "missing_event_id"],
    ),
    "orphans can be copies": (
        [{"customer_id": "x"}, {"customer_id": "x"}],
        ["orphan_customer_id", "dropped"],
    ),
    "two pairs of copies of one id": (
        [{"url": "a"}, {"url": "b"}, {"url": "a"}, {"url": "b"}],
        [LOST, "clean", "dropped", "dropped"],
    ),
    "texts that run into each other are no copies": (
        [{"event_type": "login", "platform": "web"}, {"event_type": "loginw", "platform": "eb"}],
        ["clean", LOST],
    ),
}


def test_every_contract_column_tells_rows_apart(bench: Workbench) -> None:
    """Required and optional ones, ingest_date included."""
    columns = [*GOOD["events"], "ingest_date"]
    other = {
        "customer_id": "nobody", "event_time": "2025-12-10", "event_type": "click", "platform": "ios",
        "session_id": "s2",
        "duration_ms": "7", "url": "/2", "ingest_date": str(DAY),
    }  # fmt: skip
    assert {*other, "event_id"} == set(columns)
    rows = [{}, *({column: value} for column, value in other.items()), {"event_id": "e2"}]
    assert "dropped" not in of_rows(bench, "events", rows, columns)


def test_unknown_columns_tell_rows_apart(bench: Workbench) -> None:
    columns = [*GOOD["events"], "mood"]
    rows = [{"mood": "good"}, {"mood": "bad"}, {"mood": "good"}, {"mood": ""}]
    found = of_rows(bench, "events", rows, columns)
    assert [fate == "dropped" for fate in found] == [False, False, True, False]


def test_an_absent_optional_column_equals_an_empty_one(bench: Workbench) -> None:
    rows = {
        "events_raw_a.csv": feed_csv("events", {"url": ""}),
        "events_raw_b.csv": csv_of([{name: value for name, value in GOOD["events"].items() if name != "url"}]),
        "events_raw_c.csv": feed_csv(
            "events", {"url": " ", "ingest_date": ""}, columns=[*GOOD["events"], "ingest_date"]
        ),
    }
    assert list(decided(bench, "events", rows).values()).count("dropped") == 2
    assert fates(bench, "events")["events_raw_a.csv", 1] == "clean"


def test_the_first_is_by_file_then_record(bench: Workbench) -> None:
    files = {
        "events_raw_b.csv": feed_csv("events", {}, {}),
        "hour=00/events_raw_z.csv": feed_csv("events", {}),
        "events_raw_a.csv": feed_csv("events", {"event_id": "e0"}, {}, {}),
        "events_raw_B.csv": feed_csv("events", {}) + "\n",  # no second file with the same bytes: it would be skipped
    }
    found = decided(bench, "events", files)
    # Upper case before lower case, and `events_…` before `hour=…`: paths are compared as they stand.
    assert found == {
        ("events_raw_B.csv", 1): "clean",
        ("events_raw_a.csv", 1): "clean",
        ("events_raw_a.csv", 2): "dropped",
        ("events_raw_a.csv", 3): "dropped",
        ("events_raw_b.csv", 1): "dropped",
        ("events_raw_b.csv", 2): "dropped",
        ("events_raw_z.csv", 1): "dropped",
    }


def test_records_are_numbers_not_texts(bench: Workbench) -> None:
    """The first of copies is record 2, not record 10."""
    rows: list[Changed] = [{"event_id": f"other-{number}"} for number in range(11)]
    rows[1] = rows[9] = {}
    found = of_rows(bench, "events", rows)
    assert (found[1], found[9]) == ("clean", "dropped")


def test_malformed_rows_are_never_copies(bench: Workbench) -> None:
    found = decided(bench, "events", {"events_raw.csv": feed_csv("events", {}) + "x,y\nx,y\nx,y\n"})
    assert list(found.values()).count("malformed_row") == 3


def test_rows_of_files_without_a_column_can_be_copies(bench: Workbench) -> None:
    row = {name: value for name, value in GOOD["events"].items() if name != "platform"}
    files = {
        "events_raw.csv": csv_of([row, row]),
        "events_raw_b.csv": feed_csv("events", {"platform": ""}, {}),
    }
    assert decided(bench, "events", files) == {
        ("events_raw.csv", 1): "missing_column:platform",
        ("events_raw.csv", 2): "dropped",
        # What is absent is null, and null equals an empty text.
        ("events_raw_b.csv", 1): "dropped",
        ("events_raw_b.csv", 2): "clean",
    }


def test_copies_are_counted_not_kept(bench: Workbench) -> None:
    bench.put_feed("customers", {})
    bench.put_feed("events", {}, {}, {"event_id": "e2"}, {}, {"event_id": "", "url": "x"}, {"event_id": "", "url": "x"})
    run = bench.run_day()
    events = run.report["events"]
    assert (events["total"], events["clean"], events["quarantine"]) == (6, 2, 1)
    assert events["duplicates"] == {"full_row": 3, "id": 0}
    assert events["quarantine_by_reason"] == {"missing_event_id": 1}


# -- the best row of an id -------------------------------------------------------------------------

# Each list is from the best row to the worst, each better than the next by one thing alone.
CUSTOMERS_BY_RANK: list[Changed] = [
    {"country": "DE", "status": "active"},
    {"country": "FR", "status": "active", "created_at": "2025-01-02T03:04:04Z"},  # earlier
    {"country": "", "status": "active", "created_at": "2025-06-01"},  # less filled, though later
    {"country": "", "status": "gone", "created_at": "2025-06-02"},  # `unknown` counts as null
    {"country": "", "status": "gone", "created_at": "2025-01-01"},
    {
        "country": "DE",
        "status": "active",
        "created_at": "2025-07-01",
        "email": "nobody",
    },  # no e-mail, though fuller
    {"country": "DE", "status": "", "created_at": "2025-08-01", "email": ""},
]
EVENTS_BY_RANK: list[Changed] = [
    {"event_time": "2025-12-10T04:21:24.000001Z"},
    {},
    {"url": "", "event_time": "2025-12-10T23:00:00Z"},
    {"url": "", "event_time": "2025-12-10T22:00:00Z", "session_id": "s2"},
    {"url": "", "platform": "", "event_time": "2025-12-10T23:30:00Z"},
    {"url": "", "platform": "fridge", "event_type": "scroll", "event_time": "2025-12-10T23:40:00Z"},
    {"url": "", "platform": "", "event_type": "", "session_id": "", "event_time": "2025-12-10T23:50:00Z"},
    {
        "url": "",
        "platform": "",
        "event_type": "",
        "session_id": "",
        "duration_ms": "",
        "event_time": "2025-12-11",
    },
]
ORDERS_BY_RANK: list[Changed] = [
    {"order_time": "2025-12-10T06:00:00"},
    {},
    {"status": "failed", "amount": "", "order_time": "2025-12-10T07:00:00"},
    {"status": "failed", "amount": "", "order_time": "2025-12-10T06:59:59"},
]
RANKS = {"customers": CUSTOMERS_BY_RANK, "events": EVENTS_BY_RANK, "orders": ORDERS_BY_RANK}


@pytest.mark.parametrize("feed", RANKS)
def test_the_best_row_stays(feed: str, bench: Workbench) -> None:
    """Every two neighbours of the list under an id of their own, in both orders."""
    ranked = RANKS[feed]
    spec, rows, expected = FEEDS[feed], [], []
    for number, (better, worse) in enumerate(pairwise(ranked)):
        pair = [(better, "clean"), (worse, f"duplicate_{spec.id}")]
        for way, ordered in enumerate((pair, pair[::-1])):
            for changed, fate in ordered:
                rows.append({**changed, spec.id: f"id-{number}-{way}"})
                expected.append(fate)
    assert of_rows(bench, feed, rows) == expected


@pytest.mark.parametrize("feed", RANKS)
def test_one_of_many_stays(feed: str, bench: Workbench) -> None:
    found = of_rows(bench, feed, RANKS[feed][::-1])
    assert found == [f"duplicate_{FEEDS[feed].id}"] * (len(found) - 1) + ["clean"]


@pytest.mark.parametrize("feed", RANKS)
def test_among_equals_the_last_by_file_and_record_stays(feed: str, bench: Workbench) -> None:
    spec = FEEDS[feed]
    alike = {
        "customers": [{"country": country} for country in ("DE", "FR", "IT", "ES")],
        "events": [{"platform": platform} for platform in ("web", "ios", "android", "iPad")],
        "orders": [{"currency": currency} for currency in ("EUR", "USD", "GBP", "CHF")],
    }[feed]
    alike = [{**row, spec.id: "same"} for row in alike]
    files = {
        f"{feed}_raw_b.csv": feed_csv(feed, alike[0], alike[1]),
        f"{feed}_raw_a.csv": feed_csv(feed, alike[2]),
        f"{feed}_raw_C.csv": feed_csv(feed, alike[3]),
    }
    found = decided(bench, feed, files)
    assert [address for address, fate in found.items() if fate == "clean" and address[0] in files] == [
        (f"{feed}_raw_b.csv", 2)
    ]


def test_in_equals_record_10_is_after_record_9(bench: Workbench) -> None:
    rows = [{"event_id": "e1", "session_id": f"s{number}"} for number in range(10)]
    assert of_rows(bench, "events", rows) == [LOST] * 9 + ["clean"]


IDS: dict[str, tuple[Sequence[Changed], Sequence[Fate]]] = {
    "ids are compared after trimming": (
        [{"event_id": " e1"}, {"event_id": "e1", "url": "/2"}],
        [LOST, "clean"],
    ),
    "and as they stand": ([{"event_id": "e1"}, {"event_id": "E1"}], ["clean", "clean"]),
    "an id of digits is a text": (
        [{"event_id": "1"}, {"event_id": "01"}, {"event_id": "1.0"}],
        ["clean"] * 3,
    ),
    "a rejected row does not compete": (
        [{"url": ""}, {"duration_ms": "-1"}, {"customer_id": "nobody"}, {"event_time": "x"}],
        ["clean", "negative_duration_ms", "orphan_customer_id", "invalid_event_time"],
    ),
    "rows without an id do not compete": (
        [{"event_id": "", "url": "1"}, {"event_id": "null", "url": "2"}],
        ["missing_event_id", "missing_event_id"],
    ),
    "an exact copy does not compete": (
        # The copy of the first row is the last by address, and would win.
        [{"url": "/a"}, {"url": "/b"}, {"url": "/a"}],
        [LOST, "clean", "dropped"],
    ),
    "the same id of other customers is the same id": (
        [{"url": "/a"}, {"customer_id": " c1", "url": "/b"}],
        [LOST, "clean"],
    ),
    "event_type_raw and event_date do not count": (
        # Were event_type_raw counted, the unknown type would make up for the null that `unknown` is.
        [
            {"event_type": "login", "platform": ""},
            {"event_type": "scroll", "platform": "", "event_time": "2025-12-11"},
        ],
        ["clean", LOST],
    ),
    "extra does not count": (
        [{"mood": ""}, {"url": "", "mood": "good", "event_time": "2025-12-11"}],
        ["clean", LOST],
    ),
    "ingest_date does not count": (
        [{"ingest_date": ""}, {"url": "", "ingest_date": str(DAY), "event_time": "2025-12-11"}],
        ["clean", LOST],
    ),
}


CASES = COPIES | IDS


@pytest.fixture(scope="module")
def fates_of_cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Fate]]:
    """All cases as rows of one file; each case's rows have ids and a session of their own."""
    rows: list[Changed] = []
    for number, (cases_rows, _) in enumerate(CASES.values()):
        for changed in cases_rows:
            event_id = changed.get("event_id", "e1")
            is_null = event_id.strip().lower() in {"", "null"}
            own_id = event_id if is_null else event_id.replace(event_id.strip(), f"{number}-{event_id.strip()}")
            rows.append({"session_id": f"s{number}", **changed, "event_id": own_id})
    columns = [*GOOD["events"], "ingest_date", "mood"]
    assert {name for row in rows for name in row} <= set(columns)
    found = iter(of_rows(Workbench(tmp_path_factory.mktemp("duplicates")), "events", rows, columns))
    return {name: [next(found) for _ in cases_rows] for name, (cases_rows, _) in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_copies_and_ids(name: str, fates_of_cases: dict[str, list[Fate]]) -> None:
    assert fates_of_cases[name] == CASES[name][1]


def test_duplicates_are_per_day_and_feed(bench: Workbench) -> None:
    for day in days_from(DAY, 2):
        bench.put_feed("customers", {"customer_id": "c1"}, day=day)
        bench.put_feed("events", {"event_id": "same", "url": f"/{day}"}, day=day)
        bench.put_feed("orders", {"order_id": "same", "order_time": f"{day}"}, day=day)
        bench.clean_feeds(day)
    for day in days_from(DAY, 2):
        assert [len(bench.rows(feed.clean_table, day)) for feed in FEEDS.values()] == [1, 1, 1]


# -- across slices and files -----------------------------------------------------------------------

MIXED: list[Changed] = [
    {"event_id": "a", "url": "/1"},
    {"event_id": "b"},
    {"event_id": "a", "url": "/2"},
    {"event_id": "", "url": "x"},
    {"event_id": "b"},
    {"event_id": "c", "duration_ms": "x"},
    {"event_id": "", "url": "x"},
    {"event_id": "a", "url": "/1"},
    {"event_id": "c"},
    {"event_id": "b", "platform": ""},
    {"event_id": "c", "duration_ms": "x"},
    {"event_id": "a", "url": "", "event_time": "2025-12-11"},
]
MIXED_FATES = [
    LOST, "clean", "clean", "missing_event_id", "dropped", "invalid_duration_ms",
    "dropped", "dropped", "clean", LOST, "dropped", LOST,
]  # fmt: skip


@pytest.mark.parametrize(
    ("rows_per_file", "files"),
    [(1, 1), (2, 1), (5, 1), (12, 1), (400_000, 1), (1, 3), (3, 2), (400_000, 3), (2, 12)],
)
def test_slices_and_files_do_not_show(
    rows_per_file: int, files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows in more files or smaller slices meet the same fates."""
    monkeypatch.setattr(lake, "ROWS_PER_FILE", rows_per_file)
    bench = Workbench(tmp_path)
    size = len(MIXED) // files
    parts = [MIXED[start : start + size] for start in range(0, len(MIXED), size)]
    contents = {
        # Blank lines are no records; without them some files would have the same bytes and be skipped.
        f"events_raw_{number:02d}.csv": feed_csv("events", *part) + "\n" * number
        for number, part in enumerate(parts)
    }
    found = decided(bench, "events", contents)
    assert [found[address] for address in sorted(found)] == MIXED_FATES
    if files == 1:
        assert len(bench.work.lake.files("raw_events", DAY)) >= len(MIXED) / max(rows_per_file, len(MIXED))


def test_slices_do_not_mix_up_customers_and_their_warnings(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake, "ROWS_PER_FILE", 2)
    rows = [{"customer_id": f"c{number % 4}", "email": "" if number < 4 else f"{number}@x.de"} for number in range(8)]
    rows[6]["country"] = "Atlantis"
    assert of_rows(bench, "customers", rows) == ["duplicate_customer_id"] * 4 + ["clean"] * 4
    clean = {row["customer_id"]: (row["email"], row["warnings"]) for row in bench.rows("customers_clean")}
    assert clean == {
        "c0": ("4@x.de", None),
        "c1": ("5@x.de", None),
        "c2": ("6@x.de", "unknown_country"),
        "c3": ("7@x.de", None),
    }


def test_the_order_of_rows_decides_among_equals_only(bench: Workbench) -> None:
    """Whatever the order, the same row of three different ones stays."""
    three = [EVENTS_BY_RANK[0], EVENTS_BY_RANK[2], EVENTS_BY_RANK[4]]
    orders = list(permutations(three))
    rows = [{**row, "event_id": f"e{number}"} for number, order in enumerate(orders) for row in order]
    found = of_rows(bench, "events", rows)
    for number, order in enumerate(orders):
        assert order[found[3 * number : 3 * number + 3].index("clean")] == three[0]
