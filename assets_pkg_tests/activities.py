"""A pipeline for events alone, and its tables by event date held against the oracle's."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import ACTIVITY_TABLES
from assets_pkg.steps.activity import refresh
from assets_pkg.storage.lake import Lake
from assets_pkg_tests.reference.activity import EventDay, Numbers, build_activity
from assets_pkg_tests.reference.summary import Metric
from assets_pkg_tests.workbench import DAY, Row, Workbench, csv_of

COLUMNS: Final = ("event_id", "customer_id", "event_time", "event_type", "platform")
TABLES_OF_ROWS: Final = {
    "events_by_date": ("event_id",),
    "session_events": ("event_id",),
    "sessions": ("session_id",),
    "user_daily": ("customer_id",),
}
TOLERANCE: Final = 1e-9
DEFAULTS: Final = {"late_window_days": 2, "session_timeout_minutes": 30, "active_gap_minutes": None}


@dataclass(frozen=True)
class Event:
    """One record of an events file; the time is text."""

    event_id: str
    time: str | datetime
    customer: str = "c1"
    kind: str = "click"
    platform: str = "web"

    @property
    def texts(self) -> dict[str, str]:
        time = self.time if isinstance(self.time, str) else self.time.isoformat()
        return dict(zip(COLUMNS, (self.event_id, self.customer, time, self.kind, self.platform), strict=True))


class ActivityBench(Workbench):
    """Events whose customers nobody asks for, with some numbers of the policy's `activity` changed."""

    def __init__(self, folder: Path, min_history_days: int = 3, **activity: float | None) -> None:
        overlay: dict[str, Any] = {
            "feeds": {"events": {"required": ["event_id", "customer_id", "event_time", "event_type"], "check_orphans": False}},
            "activity": activity,
            "alerts": {"min_history_days": min_history_days},
        }  # fmt: skip
        super().__init__(folder, overlay)
        self._read: dict[tuple[str, ...], list[Row]] = {}
        said = {**DEFAULTS, **activity}
        gap = said["active_gap_minutes"]
        self.numbers = Numbers(
            late_window_days=int(said["late_window_days"] or 0),
            session_timeout=timedelta(minutes=said["session_timeout_minutes"] or 0),
            active_gap=None if gap is None else timedelta(minutes=gap),
            min_history_days=min_history_days,
        )

    def drop(self, day: date, *events: Event, name: str = "events_raw.csv") -> None:
        """Write an events file, over the one that was there."""
        self.put(name, csv_of([event.texts for event in events], COLUMNS), day)

    def clean_events(self, day: date) -> None:
        """Run the ingest steps of a day that activity depends on."""
        self.clean_feeds(day, (EVENTS,))

    def bring(self, day: date, *events: Event, name: str = "events_raw.csv") -> list[date]:
        """Write a file, run its day and refresh; gives the event dates that were built."""
        self.drop(day, *events, name=name)
        self.clean_events(day)
        return refresh(self.work, [day])

    def by_date(self, table: str) -> dict[date, list[Row]]:
        """All rows of a table, by its date; a date without rows is left out."""
        found = {day: self.rows(table, day) for day in sorted(self.work.lake.partitions(table))}
        return {day: rows for day, rows in found.items() if rows}

    def rows(self, table: str, day: date = DAY) -> list[Row]:
        """The rows of a partition, read once: data files are never written over."""
        files = tuple(file.location for file in self.work.lake.files(table, day))
        if files not in self._read:
            self._read[files] = super().rows(table, day)
        return self._read[files]

    def expected(self) -> dict[date, EventDay]:
        """What the oracle makes of the clean events as they are."""
        clean = self.by_date("events_clean")
        return build_activity({day: clean.get(day, []) for day in self.ingest_dates()}, self.numbers)

    def ingest_dates(self) -> list[date]:
        """The ingest dates that have been run."""
        return sorted(self.work.lake.partitions("events_clean"))

    def activity_versions(self) -> dict[str, Any]:
        """Content version of every partition by event date, and how many commits each table has."""
        lake = self.work.lake
        return {"partitions": {table: lake.partitions(table) for table in ACTIVITY_TABLES}, "commits": self.commits()}

    def spans(self, day: date) -> list[tuple[str, str, int]]:
        """The sessions that start on a day: from when to when (day of the month and clock), how many events."""
        return sorted(
            (f"{row['session_start']:%d %H:%M:%S.%f}"[:-4], f"{row['session_end']:%d %H:%M:%S.%f}"[:-4], row["event_count"])
            for row in self.rows("sessions", day)
        )  # fmt: skip

    def counted(self, day: date) -> dict[str, date]:
        """The events of an event date, and the ingest date each was taken from."""
        return {row["event_id"]: row["ingest_date"] for row in self.rows("events_by_date", day)}


def numbers(bench: ActivityBench, day: date) -> dict[str, float]:
    """The metrics of an event date, by name."""
    return {row["metric"]: row["value"] for row in bench.rows("activity_metrics", day)}


def restatements(bench: ActivityBench, day: date) -> list[Row]:
    """What became of an event date's numbers, in order."""
    return sorted(bench.rows("restatements", day), key=lambda row: (row["revision"], row["metric"]))


def first_numbers(bench: ActivityBench, day: date) -> dict[str, float]:
    """The metrics that an event date had at first: each restatement is taken back, from the last on.

    What a restatement says came of it is what was there before it is taken back.
    """
    values = numbers(bench, day)
    for row in reversed(restatements(bench, day)):
        assert values.pop(row["metric"], None) == row["after"], row
        if row["before"] is not None:
            values[row["metric"]] = row["before"]
    return values


class CrashError(Exception):
    """What a refresh ends with when it is told to."""


@contextmanager
def crash_at(commit: int | None) -> Iterator[Iterator[int]]:
    """Let a commit to the lake, by number from 0, fail with everything done but itself; what is left is the next one."""
    numbers = count()
    real = Lake._commit

    def crashing(*arguments: Any, **named: Any) -> None:
        if next(numbers) == commit:
            raise CrashError
        real(*arguments, **named)

    with pytest.MonkeyPatch.context() as patched, suppress(CrashError):
        patched.setattr(Lake, "_commit", crashing)
        yield numbers


def differences(bench: ActivityBench) -> list[str]:
    """Where the tables by event date differ from the oracle's.

    A partition without rows equals one that is not there. Alerts are compared by what fired, as soon as there are any.
    """
    days = bench.expected()
    found = []
    for table, key in TABLES_OF_ROWS.items():
        ours = bench.by_date(table)
        for day in sorted(days.keys() | ours.keys()):
            theirs = getattr(days.get(day, EventDay()), table)
            found += [f"{table} {day} {fault}" for fault in _of_rows(ours.get(day, []), theirs, key)]
    metrics = bench.by_date("activity_metrics")
    for day in sorted(days.keys() | metrics.keys()):
        fault = _of_metrics(metrics.get(day, []), days[day].activity_metrics if day in days else [])
        found += [f"activity_metrics {day} {fault}"] if fault else []
    if bench.work.lake.partitions("activity_alerts"):
        alerts = bench.by_date("activity_alerts")
        for day in sorted(days.keys() | alerts.keys()):
            mine = sorted(_fired(alerts.get(day, [])))
            fired = _fired(days[day].activity_alerts) if day in days else []
            found += [f"activity_alerts {day}: {mine}, oracle {fired}"] if mine != fired else []
    return found


def _of_rows(ours: Sequence[Row], theirs: Sequence[Row], key: tuple[str, ...]) -> list[str]:
    """Both as sets of rows; a row that stands twice is a difference."""
    by_key, expected = ({tuple(row[name] for name in key): row for row in rows} for rows in (ours, theirs))
    found = [f"{each} stands {count} times" for each, count in _keys(ours, key).items() if count > 1]
    found += [f"{each} is not the oracle's" for each in by_key.keys() - expected.keys()]
    found += [f"{each} is missing" for each in expected.keys() - by_key.keys()]
    for each in by_key.keys() & expected.keys():
        for column, value in expected[each].items():
            mine = by_key[each][column]
            if (type(mine), mine) != (type(value), value):
                found.append(f"{each} {column}: {mine!r}, oracle {value!r}")
    return found


def _keys(rows: Iterable[Row], key: tuple[str, ...]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row[name] for name in key) for row in rows)


def _of_metrics(ours: Sequence[Row], theirs: Sequence[Metric]) -> str | None:
    names = ("dataset", "metric", "dimension")
    mine = sorted((tuple(row[name] for name in names), row["value"]) for row in ours)
    expected = sorted((each[:3], each.value) for each in theirs)
    same = [key for key, _ in mine] == [key for key, _ in expected] and all(
        _same(value, other) for (_, value), (_, other) in zip(mine, expected, strict=True)
    )
    return None if same else f"{mine}, oracle {expected}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE * max(1.0, abs(other))
    return type(one) is type(other) and bool(one == other)


def _fired(alerts: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    return [(alert["rule"], alert["severity"], alert["dataset"]) for alert in alerts]
