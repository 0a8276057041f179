"""The clean events that count for an event date, wherever in its window they landed (contract §4)."""

from collections.abc import Iterator
from datetime import date

import polars as pl

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import EVENT_DATE
from assets_pkg.steps.provenance import inputs_of
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.duplicates import are_among
from assets_pkg.transforms.windows import landing

ACTIVITY_POLICY = ("activity",)  # the section that decides what counts for a date and what a session is
_ID_SEED = 23


def is_processed(work: Workplace, event_date: date) -> bool:
    """Whether files of the day itself were processed: then it has numbers, even if all of them are 0."""
    return work.lake.version(EVENTS.clean_table, event_date) is not None


def clean_rows(work: Workplace, ingest_date: date, event_date: date) -> int:
    """How many clean events of an event date landed on an ingest date."""
    return work.lake.rows_of(EVENTS.clean_table, ingest_date, event_date)


def gathered_from(work: Workplace, event_date: date) -> str:
    """A digest of what events_by_date of an event date is made from."""
    return inputs_of(work, ACTIVITY_POLICY, {EVENTS.clean_table: landing(work.policy).of(event_date)})


class LandedEvents:
    """The clean events that count for an event date, by the ingest date they come from."""

    def __init__(self, work: Workplace, event_date: date) -> None:
        # Looked up once: rows are read twice, and must be the same both times, whoever replaces a partition meanwhile.
        lake = work.lake.as_now()
        window = landing(work.policy).of(event_date)
        own = {day: lake.slices(EVENTS.clean_table, day, event_date) for day in window}
        self._all = {day: lake.slices(EVENTS.clean_table, day) for day in window}
        self._own = {day: [piece.filter(pl.col(EVENT_DATE) == event_date) for piece in own[day]] for day in window}
        self._seen: dict[date, pl.Series] = {}
        self.days = []
        for day in window:
            if rows := sum(map(_height, self._own[day])):
                self.days.append(day)
                self._seen[day] = self._seen_before(day, rows)

    def rows(self, day: date, columns: list[pl.Expr] | None = None) -> Iterator[pl.DataFrame]:
        """The event date's rows of one ingest date, without those whose event an earlier one of the window holds.

        The columns of events_clean, or some made from them; a slice at a time.
        """
        seen = self._seen[day]
        for piece in self._own[day]:
            rows = piece.filter(~pl.col("event_id").is_in(seen.implode())) if len(seen) else piece
            found = (rows.select(columns) if columns else rows).collect(engine="in-memory")
            if found.height:
                yield found

    def _seen_before(self, day: date, rows: int) -> pl.Series:
        """The ids of an ingest date's rows that an earlier one of the window holds, under any event date.

        Hashes find the few that may repeat; only those are compared as texts. Those of the smaller side are held,
        sorted; the larger passes by in slices.
        """
        own = self._own[day]
        earlier = [piece for each, pieces in self._all.items() if each < day for piece in pieces]
        others = sum(map(_height, earlier))
        held, passing = (own, earlier) if rows <= others else (earlier, own)
        suspects = _common(held, passing)
        if suspects.is_empty():
            return pl.Series(dtype=pl.String)
        is_suspect = _hash().is_in(suspects.implode())
        found = [piece.select("event_id").filter(is_suspect).collect(engine="in-memory") for piece in earlier]
        return pl.concat(found).to_series().unique()


def _height(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect(engine="in-memory").item())


def _hash() -> pl.Expr:
    """32 bits of an event id: they halve what is held, and an unlucky match is compared as text anyway."""
    return pl.col("event_id").hash(_ID_SEED).cast(pl.UInt32, wrap_numerical=True)


def _common(held: list[pl.LazyFrame], passing: list[pl.LazyFrame]) -> pl.Series:
    """The hashes of ids that are on both sides."""
    hashes = [piece.select(_hash()).collect(engine="in-memory").to_series() for piece in held]
    known = pl.concat(hashes, rechunk=True).sort() if hashes else pl.Series(dtype=pl.UInt32)
    del hashes
    found = [pl.Series(dtype=pl.UInt32)]
    for piece in passing if len(known) else ():
        asked = piece.select(_hash()).collect(engine="in-memory").to_series().sort()
        found.append(asked.filter(are_among(asked, known)))
    return pl.concat(found).unique()
