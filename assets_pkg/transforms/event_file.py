"""One file's events into sessions: which events count, and who did what from when to when (contract §8, §9)."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

import polars as pl

from assets_pkg.contracts.event_file import (
    EVENT,
    EVENT_TIME,
    EVENT_TYPE,
    FIELDS,
    INVALID_TIME,
    REASON,
    SESSIONS_FILE,
    SKIPPED_FILE,
    USER_ID,
    missing_field,
)
from assets_pkg.contracts.feeds import MICROS, TEXT
from assets_pkg.contracts.tables import SESSION_RUNS
from assets_pkg.policy import Policy
from assets_pkg.policy.model import ValuePolicy
from assets_pkg.transforms.sessions import day_runs, session_starts, sessions, stretches
from assets_pkg.transforms.texts import clean_text
from assets_pkg.transforms.timestamps import ISO_8601, parse_timestamps
from assets_pkg.transforms.windows import BESIDE

_OF_A_DATE: Final = 500_000  # events
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC).date()
_DAY_US: Final = timedelta(days=1) // timedelta(microseconds=1)


class Judge:
    """Which events of a file count. Names become numbers that hold for that file."""

    def __init__(self, values: ValuePolicy) -> None:
        self._values = values
        self._customers = pl.Categorical(pl.Categories.random())
        self._types = pl.Categorical(pl.Categories.random())

    def split(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The events that count, and those that are skipped.

        Needs event, and the FIELDS as text. Gives customer and event_type as categories and at_us (epoch
        microseconds), 16 bytes an event; and the columns of SKIPPED_FILE: the texts as they came, with the reason.
        """
        # Trimmed as everywhere (§2), but only an empty text is no value (§9): a user may be called None.
        cleaned = {name: clean_text(rows[name], [""]) for name in FIELDS}
        at = parse_timestamps(cleaned[EVENT_TIME], self._values, ISO_8601)
        missing = [pl.when(cleaned[name].is_null()).then(pl.lit(missing_field(name))) for name in FIELDS]
        reason = pl.select(pl.coalesce(*missing, pl.when(at.is_null()).then(pl.lit(INVALID_TIME)))).to_series()
        events = pl.DataFrame(
            {
                "customer": cleaned[USER_ID].cast(self._customers),
                "at_us": at.to_physical(),
                EVENT_TYPE: cleaned[EVENT_TYPE].cast(self._types),
            }
        )
        counts = reason.is_null()
        skipped = rows.with_columns(reason.alias(REASON)).filter(~counts)
        return events.filter(counts), skipped.select(list(SKIPPED_FILE))


def skipped_rows(events: list[int], reason: str) -> pl.DataFrame:
    """Events of which nothing could be read, with the columns of SKIPPED_FILE."""
    return pl.DataFrame({EVENT: events, REASON: [reason] * len(events)}, schema_overrides=SKIPPED_FILE).select(
        pl.col(name) if name in {EVENT, REASON} else pl.lit(None, dtype).alias(name)
        for name, dtype in SKIPPED_FILE.items()
    )


def distinct(events: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The events without exact copies: the same customer, instant and event type. Some customers at a time.

    Needs and gives the columns of `Judge.split`.
    """
    for first, last in stretches([events]):
        theirs = events.filter(events["customer"].to_physical().is_between(first, last))
        yield theirs.unique()


def events_as_told(events: pl.DataFrame) -> pl.DataFrame:
    """Events as the rows of EVENTS_FILE. Needs the columns of `Judge.split`."""
    return events.select(
        pl.col("customer").cast(TEXT).alias(USER_ID),
        pl.col("at_us").cast(MICROS).alias(EVENT_TIME),
        pl.col(EVENT_TYPE).cast(TEXT),
    )


def whole_spans(events: pl.DataFrame) -> pl.DataFrame:
    """One span per customer, from the first event to the last. Needs customer and at_us.

    Gives customer, start_us, end_us (epoch microseconds) and event_count.
    """
    at = pl.col("at_us")
    return events.group_by("customer").agg(
        at.min().alias("start_us"), at.max().alias("end_us"), pl.len().cast(pl.Int64).alias("event_count")
    )


def spans_by_gap(events: pl.DataFrame, policy: Policy) -> Iterator[pl.DataFrame]:
    """The sessions of the lake, split by the policy's session timeout: some customers at a time, by date of start.

    Needs customer and at_us of distinct events; gives the columns of `whole_spans`.
    """
    dates = (events["at_us"] // _DAY_US).n_unique()
    parts = 1 + events.height // max(dates * _OF_A_DATE, 1)  # three dates at once are held
    for part in range(parts):
        is_theirs = pl.col("customer").to_physical() % parts == part
        yield from _spans_of_some(events.filter(is_theirs) if parts > 1 else events, policy)


def _spans_of_some(events: pl.DataFrame, policy: Policy) -> Iterator[pl.DataFrame]:
    dates = _Dates(events.select("customer", "at_us").sort("at_us"), policy)
    made: dict[date, pl.DataFrame] = {}
    for day in dates.days:
        near = BESIDE.of(day)
        made = {each: runs for each, runs in made.items() if each in near}
        made |= {each: dates.runs(each) for each in near if each not in made}
        before, own, after = (made[each] for each in near)
        starts = session_starts(own, before.lazy(), day, policy)
        found = sessions(own, starts, after.lazy(), day, policy)
        yield found.select(
            pl.col("customer_id").cast(events.schema["customer"]).alias("customer"),
            pl.col("session_start").to_physical().alias("start_us"),
            pl.col("session_end").to_physical().alias("end_us"),
            "event_count",
        )


class _Dates:
    """Events by UTC date. Needs customer and at_us, in order of time."""

    def __init__(self, ordered: pl.DataFrame, policy: Policy) -> None:
        # Nothing is asked here of page views and platforms.
        self._events = ordered.with_columns(
            pl.lit(value=False).alias("is_page_view"),
            pl.lit("").cast(pl.Categorical(pl.Categories.random())).alias("platform"),
        )
        self._policy = policy
        lengths = (ordered["at_us"] // _DAY_US).rle().struct.unnest()
        starts = lengths["len"].cum_sum() - lengths["len"]
        self._places = {
            _EPOCH + timedelta(days=day): (start, length)
            for day, start, length in zip(lengths["value"], starts, lengths["len"], strict=True)
        }

    @property
    def days(self) -> list[date]:
        """The dates with events, in order."""
        return list(self._places)

    def runs(self, day: date) -> pl.DataFrame:
        """The runs of a date, as the table session_runs has them."""
        if day not in self._places:
            return pl.DataFrame(schema=SESSION_RUNS.schema)
        return day_runs([self._events.slice(*self._places[day])], day, self._policy).runs


def in_order(spans: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Spans as the rows of SESSIONS_FILE, some at a time: by user, then by start.

    Users that are numbers come first, in their order, then the others as texts (§9).
    """
    user, is_number = pl.col(USER_ID), pl.col(USER_ID).str.contains("^[0-9]+$")
    number = user.str.strip_chars_start("0")  # compared by length, then as text: it may have any length
    users = (
        spans.select(pl.col("customer").unique())
        .with_columns(pl.col("customer").cast(TEXT).alias(USER_ID))
        .sort(~is_number, pl.when(is_number).then(number.str.len_bytes()), pl.when(is_number).then(number), user)
        .with_row_index("rank")
    )
    # Some users at a time: joining and sorting millions of spans at once would take several times their memory.
    codes = users["customer"].to_physical()
    most = codes.max()
    rank = pl.zeros(most + 1 if isinstance(most, int) else 0, pl.UInt32, eager=True).scatter(codes, users["rank"])
    ranked = spans.with_columns(rank.gather(spans["customer"].to_physical()).alias("customer"))
    for first, last in stretches([ranked]):
        some = ranked.filter(pl.col("customer").is_between(first, last)).sort("customer", "start_us")
        yield some.select(
            users[USER_ID].gather(some["customer"]),
            pl.col("start_us").cast(MICROS).alias("session_start"),
            pl.col("end_us").cast(MICROS).alias("session_end"),
            "event_count",
        ).select(list(SESSIONS_FILE))
