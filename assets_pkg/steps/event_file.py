"""The `sessions` command's work: a file of events in, sessions and skipped events out, in bounded memory."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from assets_pkg.contracts.event_file import (
    AS_READ,
    EVENT,
    EVENT_TIME,
    EVENT_TYPE,
    EVENTS_FILE,
    REASON,
    SESSIONS_FILE,
    SKIPPED_FILE,
    USER_ID,
)
from assets_pkg.policy import Policy
from assets_pkg.storage.event_files import Broken, Events, open_events
from assets_pkg.storage.whole_files import Format, TableFile, whole_files
from assets_pkg.transforms.event_file import (
    Judge,
    distinct,
    events_as_told,
    in_order,
    skipped_rows,
    spans_by_gap,
    whole_spans,
)

BROKEN_TOLD: Final = 10
_AT_ONCE: Final = 2**23  # bytes of events


@dataclass
class FileSummary:
    """What became of a file's events: total = valid + duplicates + all skipped.

    `skipped`: how many by reason; `broken`: the first BROKEN_TOLD of those that could not be read.
    """

    total: int = 0
    valid: int = 0
    duplicates: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    users: int = 0
    sessions: int = 0
    fault: str = ""
    broken: list[Broken] = field(default_factory=list)


@dataclass(frozen=True)
class _Tables:
    """What is written of a file: its sessions, and what else is asked for."""

    sessions: TableFile
    skipped: TableFile | None = None
    events: TableFile | None = None
    as_read: TableFile | None = None


def sessions_of_file(
    source: Path, target: Path, skips: Path | None, policy: Policy, *, by_gap: bool, form: Format
) -> FileSummary:
    """Write the sessions of the events in `source` to `target`, and what is skipped to `skips` if it is given.

    `by_gap`: split by the policy's session timeout; else one row per user. Raises UnreadableFileError and
    UnwritableFileError, and then leaves all files as they were.
    """
    with whole_files(form) as files:
        tables = _Tables(files.new(target, SESSIONS_FILE), files.new(skips, SKIPPED_FILE) if skips else None)
        return _make(source, tables, policy, by_gap=by_gap)


TABLES_OF_FILE: Final = {"sessions": SESSIONS_FILE, "skipped": SKIPPED_FILE, "events": EVENTS_FILE, "as_read": AS_READ}


@dataclass(frozen=True)
class FileTables:
    """What a file holds, as Parquet files: what was read, what of it counts, what was skipped, and the sessions."""

    folder: Path

    def path(self, table: str) -> Path:
        """The file of one of TABLES_OF_FILE."""
        return self.folder / f"{table}.parquet"

    @property
    def sessions(self) -> pl.LazyFrame:
        """The columns of SESSIONS_FILE, by user and start."""
        return pl.scan_parquet(self.path("sessions"))

    @property
    def skipped(self) -> pl.LazyFrame:
        """The columns of SKIPPED_FILE, in order of the file."""
        return pl.scan_parquet(self.path("skipped")).sort(EVENT)

    @property
    def events(self) -> pl.LazyFrame:
        """The columns of EVENTS_FILE, in order of time."""
        return pl.scan_parquet(self.path("events")).sort(EVENT_TIME, USER_ID, EVENT_TYPE)

    @property
    def as_read(self) -> pl.LazyFrame:
        """The columns of AS_READ, in order of the file."""
        return pl.scan_parquet(self.path("as_read")).sort(EVENT)


def tables_of_file(source: Path, folder: Path, policy: Policy, *, by_gap: bool) -> tuple[FileSummary, FileTables]:
    """Write all that can be said of the events in `source` into a folder of one's own.

    As `sessions_of_file`. Raises UnreadableFileError.
    """
    found = FileTables(folder)
    with whole_files(Format.PARQUET) as files:
        tables = _Tables(**{name: files.new(found.path(name), schema) for name, schema in TABLES_OF_FILE.items()})
        summary = _make(source, tables, policy, by_gap=by_gap)
    return summary, found


def _make(source: Path, tables: _Tables, policy: Policy, *, by_gap: bool) -> FileSummary:
    summary = FileSummary()
    spans = _spans(_read(source, policy, tables, summary), policy, tables.events, summary, by_gap=by_gap)
    summary.sessions = spans.height
    summary.users = spans["customer"].n_unique()
    for rows in in_order(spans):
        tables.sessions.write(rows)
    return summary


def _read(source: Path, policy: Policy, tables: _Tables, summary: FileSummary) -> pl.DataFrame:
    """The events that count, as `Judge.split` gives them; the others go to `skipped`."""
    judge = Judge(policy.values)
    pieces = [judge.split(pl.DataFrame(schema=SKIPPED_FILE))[0]]
    with open_events(source, policy) as events:
        summary.fault = events.fault
        for some in _many(events):
            counting, left = judge.split(some.rows)
            pieces.append(counting)
            if tables.as_read is not None:
                tables.as_read.write(some.rows.select(list(AS_READ)))
            if some.broken:
                left = pl.concat([left, skipped_rows([each.event for each in some.broken], events.fault)])
                summary.broken += some.broken[: BROKEN_TOLD - len(summary.broken)]
            if left.height:
                summary.skipped.update(dict(left[REASON].value_counts().iter_rows()))
                if tables.skipped is not None:
                    tables.skipped.write(left.sort(EVENT))
            summary.total += counting.height + left.height
    return pl.concat(pieces, rechunk=True)


def _many(events: Iterable[Events]) -> Iterator[Events]:
    """The same events, more at a time: judging has a price of its own, however few they are."""
    waiting: list[Events] = []
    for some in events:
        waiting.append(some)
        if sum(each.rows.estimated_size() for each in waiting) >= _AT_ONCE:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(events: list[Events]) -> Events:
    return Events(pl.concat([each.rows for each in events]), [broken for each in events for broken in each.broken])


def _spans(
    events: pl.DataFrame, policy: Policy, once_each: TableFile | None, summary: FileSummary, *, by_gap: bool
) -> pl.DataFrame:
    """Who did what from when to when, as `whole_spans` gives it."""
    counting = 0
    found = []
    for some in distinct(events):
        counting += some.height
        if once_each is not None:
            once_each.write(events_as_told(some))
        found.append(some.select("customer", "at_us") if by_gap else whole_spans(some))
    summary.valid, summary.duplicates = counting, events.height - counting
    none = whole_spans(events.clear())
    if not by_gap:
        return pl.concat([none, *found])
    del events
    once = pl.concat([none.select("customer", pl.col("start_us").alias("at_us")), *found])
    found.clear()
    return pl.concat([none, *spans_by_gap(once, policy)])
