"""Hypothesis strategies for whole days of raw files: small, and with everything in them that can go wrong."""

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from hypothesis import strategies as st

from assets_pkg_tests.workbench import Workbench, days_from

START: Final = date(2025, 12, 10)
COLUMNS: Final[Mapping[str, Sequence[str]]] = {
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
}
_OPTIONAL: Final[Mapping[str, Sequence[str]]] = {
    "customers": ("ingest_date",),
    "events": ("url", "ingest_date"),
    "orders": ("ingest_date",),
}
_ALIASES: Final = {
    "customer_id": ("user_id",),
    "event_time": ("ts", "timestamp"),
    "order_time": ("ts", "timestamp"),
}

Row = Mapping[str, str]
Files = dict[str, bytes]
"""A day's raw files, by name below the day's folder."""


def _mostly(usual: Sequence[str], odd: Sequence[str]) -> st.SearchStrategy[str]:
    """One of the usual texts six times in seven."""
    return st.sampled_from([*usual] * (6 * len(odd)) + [*odd] * len(usual))


_customer_ids = _mostly(["c1", "c2", "c3", "c4"], [" c2 ", "C1", "", "null", "ghost", "c1\u00a0", "é"])
_times = _mostly(
    [
        "2025-12-10T04:21:24Z", "2025-12-10 04:21:24", "2025-12-11T00:00:00+01:00",
        "2025-12-10T23:59:59.999999Z",
        "2025-12-09T10:00:00Z", "2025-12-11T22:15:00", "2025-12-10T07:30:00.5-05:00",
    ],
    [
        "", "null", "soon", "2025-02-30", "1765340484", "1765340484123", "12/10/2025 4:21 PM", "13/10/2025",
        "Wed, 10 Dec 2025 04:21:24 GMT", "2025-12-12T00:00:00Z", "2025-12-11T23:59:59Z", "2025-12-13",
        "2025-12-07",
        "2025-12-08T23:59:59Z", "20251210T042124Z", "2025/12/10 04:21", "2101-01-01", "10 Auguſt 2025",
        "Dec 10, 2025",
    ],
)  # fmt: skip
_ingest_dates = _mostly(["", "2025-12-10"], ["2025-12-11", "n/a", " 2025-12-10 ", "10.12.2025"])
_VALUES: Final[Mapping[str, Mapping[str, st.SearchStrategy[str]]]] = {
    "customers": {
        "customer_id": _customer_ids,
        "email": _mostly(["a@b.de", "ann@example.com"], ["", "nobody", "a@b", " a@b.de", "a @b.de", "NULL", "a@@b.de"]),
        "created_at": _times,
        "country": _mostly(["DE", "us", "Germany"], ["", "NA", "N/A", "Atlantis", "uk", "Côte d'Ivoire", "u.s."]),
        "status": _mostly(["active", "Inactive"], ["", "actve", "BLOCKED", "vip", "none"]),
    },
    "events": {
        "event_id": _mostly(["e1", "e2", "e3", "e4", "e5", "e6"], ["", "None", " e1", "E1"]),
        "customer_id": _customer_ids,
        "event_time": _times,
        "event_type": _mostly(
            ["login", "page_view", "click"], ["", "pageView", "scroll", "SIGN-UP", "n/a", "add to  cart"]
        ),
        "platform": _mostly(["web", "ios"], ["", "iPhone", "fridge", "droid", "null"]),
        "session_id": _mostly(["s1", "s2"], ["", "nan"]),
        "duration_ms": _mostly(
            ["0", "1200", "86400000"],
            ["", "x", "-1", "-0.4", "1.5", "2.5", "86400000.5", "1e3", "1e99", "0x1", "+7"],
        ),
        "url": _mostly(["/", "/a"], ["", "null", "/with,comma", 'a"b', "two\nlines", "cr\rlf\r\n", "日本"]),
    },
    "orders": {
        "order_id": _mostly(["o1", "o2", "o3", "o4"], ["", "nan", "o1 "]),
        "customer_id": _customer_ids,
        "order_time": _times,
        "amount": _mostly(
            ["19.99", "5", "1,234.50"],
            [
                "",
                "0",
                "-0.00004",
                "-5",
                "free",
                "$5",
                "‚Ç¨ 7",
                "1000000",
                "1000000.00005",
                "1e30",
                "0.00005",
                "2.00025",
            ],
        ),
        "currency": _mostly(["EUR", "usd"], ["", "€", "â‚¬", "XXX", "Euro", "¥"]),
        "status": _mostly(["paid", "failed"], ["", "Completed", "charge_back", "refund", "pending", "declined"]),
    },
}
_VALUES_ALL: Final = {
    feed: st.fixed_dictionaries({**values, "ingest_date": _ingest_dates, "mood": st.sampled_from(["", "good", " x "])})
    for feed, values in _VALUES.items()
}
# Lines that are no record of any feed, put between records as they stand.
_STRAY: Final = st.sampled_from(
    ["", "", " ", "x", "x,y", '"open', 'x,"open', ",,,,,,,,,,,", '""', '"a\nb",c', "\x00", "\x1f"]
)


@st.composite
def _columns(draw: st.DrawFn, feed: str) -> tuple[list[str], list[str]]:
    """Which columns a file has, and the header names that it gives them."""
    columns = [*COLUMNS[feed], *(each for each in _OPTIONAL[feed] if draw(st.booleans()))]
    kind = draw(st.sampled_from(["usual"] * 6 + ["unknown", "missing", "shuffled", "alias", "twice"]))
    if kind == "unknown":
        columns.append("mood")
    elif kind == "missing":
        columns.remove(draw(st.sampled_from(columns)))
    elif kind == "shuffled":
        columns = draw(st.permutations(columns))
    elif kind == "twice":
        columns.append(draw(st.sampled_from(columns)))
    names = [
        draw(st.sampled_from(_ALIASES[name])) if kind == "alias" and name in _ALIASES else name for name in columns
    ]
    pattern = draw(st.sampled_from(["{}", "{}", "{}", "{} ", "\u2003{}", "\x1f{}"]))
    names[0] = pattern.format(draw(st.sampled_from([names[0], names[0].upper()])))
    return columns, names


@st.composite
def _csv_file(draw: st.DrawFn, feed: str, rows: st.SearchStrategy[list[Row]]) -> bytes:
    """A CSV file's bytes."""
    columns, names = draw(_columns(feed))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=end, quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])))
    writer.writerow(names)
    messy = draw(st.integers(0, 4)) == 0
    for row in draw(rows):
        writer.writerow([row[name] for name in columns])
        if messy and draw(st.integers(0, 3)) == 0:
            out.write(draw(_STRAY) + end)
    text = out.getvalue()
    if draw(st.integers(0, 7)) == 0:
        text = "\ufeff" + text
    if draw(st.booleans()):
        text = text.removesuffix(end)
    content = text.encode()
    return content.replace(b"log", b"l\xffg") if draw(st.integers(0, 15)) == 0 else content


@st.composite
def _feed_files(draw: st.DrawFn, feed: str, most_rows: int) -> Files:
    """A feed's files of one day: none, one, or a few; packed, torn or empty now and then."""
    rows: st.SearchStrategy[list[Row]] = st.lists(_VALUES_ALL[feed], max_size=most_rows)
    files: Files = {}
    names = ["", "_b", "-2", "_Z"]
    for number in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2, 2, 3]))):
        name = (
            draw(st.sampled_from(["", "hour=04/", "hour=23/"] if number else [""])) + f"{feed}_raw{names[number]}.csv"
        )
        kind = draw(st.sampled_from(["plain"] * 9 + ["packed", "packed", "torn", "empty", "blank"]))
        if kind == "plain":
            files[name] = draw(_csv_file(feed, rows))
        elif kind == "packed":
            files[f"{name}.gz"] = gzip.compress(draw(_csv_file(feed, rows)), mtime=0)
        elif kind == "torn":
            files[f"{name}.gz"] = gzip.compress(draw(_csv_file(feed, rows)), mtime=0)[: draw(st.integers(0, 40))]
        else:
            files[name] = b"" if kind == "empty" else b"\r\n\n"
    return files


@dataclass(frozen=True)
class Days:
    """Some days in a row, and how many rows a data file of the lake may have."""

    files: Mapping[date, Files]
    rows_per_file: int

    def __repr__(self) -> str:
        """As a failing example is to be read."""
        listed = [
            f"  {day} {name}: {content!r}" for day, files in self.files.items() for name, content in files.items()
        ]
        return "\n".join([f"Days(rows_per_file={self.rows_per_file})", *listed])

    def put(self, bench: Workbench, *, backwards: bool = False) -> None:
        """Write all files, in order or in the opposite order."""
        written = [(day, name, content) for day, files in self.files.items() for name, content in files.items()]
        for day, name, content in reversed(written) if backwards else written:
            bench.put(name, content, day)


@st.composite
def _day_files(draw: st.DrawFn, most_rows: int) -> Files:
    return {name: content for feed in COLUMNS for name, content in draw(_feed_files(feed, most_rows)).items()}


def days(least: int = 1, most: int = 3, most_rows: int = 10) -> st.SearchStrategy[Days]:
    """Days of raw files."""
    files = st.lists(_day_files(most_rows), min_size=least, max_size=most)
    dated = files.map(lambda contents: dict(zip(days_from(START, len(contents)), contents, strict=True)))
    return st.builds(Days, dated, st.sampled_from([400_000, 400_000, 2, 5]))


@dataclass(frozen=True)
class Dealt:
    """Rows of the events feed, dealt out to files in two ways."""

    rows: Sequence[Row]
    one_way: Sequence[int]
    """For each row the number of its file."""
    other_way: Sequence[int]
    order: Sequence[int]
    """The order of the rows in the other way."""

    def files(self, *, other: bool) -> Files:
        """The files of one way or the other: no two with the same bytes, and the same header in each."""
        columns = [*COLUMNS["events"], "url", "ingest_date", "mood"]
        parts: dict[int, list[Row]] = {}
        for place in self.order if other else range(len(self.rows)):
            parts.setdefault((self.other_way if other else self.one_way)[place], []).append(self.rows[place])
        files = {}
        for number, part in parts.items():
            out = io.StringIO(newline="")
            writer = csv.DictWriter(out, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(part)
            files[f"events_raw_{number}.csv"] = (out.getvalue() + "\n" * number).encode()
        return files


def _deal(rows: Sequence[Row]) -> st.SearchStrategy[Dealt]:
    places = st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))
    return st.builds(Dealt, st.just(rows), places, places, st.permutations(range(len(rows))))


def dealt_events() -> st.SearchStrategy[Dealt]:
    """Some events rows, and two ways to deal them out to files."""
    rows: st.SearchStrategy[Sequence[Row]] = st.lists(_VALUES_ALL["events"], min_size=2, max_size=16)
    return rows.flatmap(_deal)
