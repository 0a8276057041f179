"""A day's events into sessions (contract §4 "Sessions").

One event date at a time. A *run* is a stretch of a customer's events of the day without a gap of the session timeout;
all of it belongs to one session. Only a customer's first and last run of a day can reach over midnight, so those are
all that the days beside it need to see. The sessions of a day are its runs: without the first where it goes on from
the day before, and with the last carried on into the day after.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import MICROS, TEXT
from assets_pkg.contracts.tables import SESSION_RUNS, SESSIONS, USER_DAILY
from assets_pkg.policy import Policy

PAGE_VIEW: Final = "page_view"
# What lies apart in a sorting key does so by more than any time of the day and any session timeout (a day at most): by
# three days.
DAY_SPAN_US: Final = 2**38
_AT_ONCE: Final = 1_000_000
_CENT_OF_A_MINUTE_US: Final = 600_000
_CARRIED: Final = ("events", "page_views", "platforms")


class Narrow:
    """What sessions need to know of events, in 17 bytes each: names become numbers that hold for one day's events."""

    def __init__(self) -> None:
        self._customers = pl.Categorical(pl.Categories.random())
        self._platforms = pl.Categorical(pl.Categories.random())

    def columns(self) -> list[pl.Expr]:
        """From clean events: customer, at_us, is_page_view, platform."""
        return [
            pl.col("customer_id").cast(self._customers).alias("customer"),
            pl.col("event_time").to_physical().alias("at_us"),
            (pl.col("event_type") == PAGE_VIEW).alias("is_page_view"),
            pl.col("platform").cast(self._platforms),
        ]


@dataclass(frozen=True)
class DayRuns:
    """The runs of one event date, ordered by customer and time, as session_runs holds them.

    `of_event` has for each event, in the order in which they were given, the row of its run.
    """

    runs: pl.DataFrame
    of_event: pl.Series


def day_runs(pieces: Sequence[pl.DataFrame], day: date, policy: Policy) -> DayRuns:
    """The runs of all events of `day`, which come in pieces with the columns of `Narrow`.

    Some customers at a time, so that what ordering takes does not grow with the day.
    """
    of_event = pl.zeros(sum(map(len, pieces)), dtype=pl.UInt32, eager=True)
    runs = [pl.DataFrame(schema=SESSION_RUNS.schema)]
    made = 0
    for first, last in stretches(pieces):
        places, theirs, at = [], [], 0
        for piece in pieces:
            is_theirs = piece["customer"].to_physical().is_between(first, last)
            places.append(is_theirs.arg_true() + at)
            theirs.append(piece.filter(is_theirs))
            at += piece.height
        found = _runs(pl.concat(theirs, rechunk=True), day, policy)
        of_event.scatter(pl.concat(places), found.of_event + made)
        runs.append(found.runs)
        made += found.runs.height
    return DayRuns(pl.concat(runs), of_event)


def stretches(pieces: Sequence[pl.DataFrame]) -> list[tuple[int, int]]:
    """Customers' numbers, first and last, that have about so many events together as are ordered at once.

    Needs customer.
    """
    numbers = [pl.Series("number", dtype=pl.UInt32), *(piece["customer"].to_physical() for piece in pieces)]
    counts = pl.concat([each.alias("number") for each in numbers]).value_counts(name="events").sort("number")
    before = pl.col("events").cum_sum() - pl.col("events")
    stretches = counts.group_by((before // _AT_ONCE).alias("stretch"), maintain_order=True)
    found = stretches.agg(pl.min("number").alias("first"), pl.max("number").alias("last"))
    return list(found.select("first", "last").iter_rows())


def _runs(events: pl.DataFrame, day: date, policy: Policy) -> DayRuns:
    """The runs of all events of some customers."""
    midnight, timeout = epoch_us(day), policy.activity.session_timeout_us
    # Customer and time in one number sort four times as fast as the two columns. Events at one instant may come in
    # any order: no session depends on it.
    customer = events["customer"].to_physical().cast(pl.UInt64)
    number = customer - customer.min()  # or a day of very many customers would leave what a number can hold
    key = number * DAY_SPAN_US + (events["at_us"] - midnight).cast(pl.UInt64)
    order = key.arg_sort()
    ordered = key.gather(order)
    del number, key

    # Gap: to the customer's previous event; between customers it is longer than any timeout.
    gap = ordered.diff()

    # Flag: an event that starts a run.
    starts_run = (gap >= timeout).fill_null(value=True)

    # First and last event of each run.
    first = starts_run.arg_true()
    last = pl.concat([first.slice(1), pl.Series([len(ordered)][: len(first)], dtype=first.dtype)]) - 1
    start, end = ordered.gather(first), ordered.gather(last)

    # What is counted in a run: differences of running sums.
    def per_run(values: pl.Series) -> pl.Series:
        sums = values.cast(pl.Int64).cum_sum()
        return sums.gather(last) - sums.gather(first) + values.gather(first).cast(pl.Int64)

    active = end - start
    if (limit := policy.activity.active_gap_us) is not None:
        too_long = starts_run | (gap > limit).fill_null(value=True)
        active = per_run(gap.fill_null(0).cast(pl.Int64).set(too_long, 0))

    customer = start // DAY_SPAN_US
    runs = pl.DataFrame(
        {
            "customer_id": events["customer"].gather(order.gather(first)).cast(TEXT),
            "start_us": (start % DAY_SPAN_US).cast(pl.Int64) + midnight,
            "end_us": (end % DAY_SPAN_US).cast(pl.Int64) + midnight,
            "events": (last - first).cast(pl.Int64) + 1,
            "page_views": per_run(events["is_page_view"].gather(order)),
            "platforms": _platforms(events["platform"].gather(order), per_run),
            "active_us": active.cast(pl.Int64),
            "is_first": (customer != customer.shift(1)).fill_null(value=True),
            "is_last": (customer != customer.shift(-1)).fill_null(value=True),
        },
        schema=SESSION_RUNS.schema,
    )
    run = starts_run.cast(pl.UInt32).cum_sum() - 1
    return DayRuns(runs, pl.zeros(len(ordered), dtype=pl.UInt32, eager=True).scatter(order, run))


def _platforms(platform: pl.Series, per_run: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """The distinct platforms of each run, as sorted lists. There are few platforms, so each is counted by itself."""
    distinct_platforms = platform.unique()
    codes = dict(sorted(zip(distinct_platforms.cast(TEXT), distinct_platforms.to_physical(), strict=True)))
    names, code = list(codes), platform.to_physical()
    used = [(per_run(code == of) > 0).cast(pl.UInt64) * 2**bit for bit, of in enumerate(codes.values())]
    if not used:
        return pl.Series([], dtype=pl.List(TEXT))
    combination = pl.select(pl.sum_horizontal(used)).to_series()
    masks = combination.unique().sort()  # few combinations occur: each list is made once
    lists = [[name for bit, name in enumerate(names) if mask >> bit & 1] for mask in masks]
    return pl.Series(lists, dtype=pl.List(TEXT)).gather(masks.search_sorted(combination))


def is_full(day: date, policy: Policy) -> pl.Expr:
    """Whether a run is a whole day without a gap of the timeout, from its start to the customer's last event.

    A session is cut at the end of such a day (§4 "Bound").
    """
    starts_with_day = pl.col("start_us") - epoch_us(day) < policy.activity.session_timeout_us
    return pl.col("is_first") & pl.col("is_last") & starts_with_day


def session_starts(runs: pl.DataFrame, before: pl.LazyFrame, day: date, policy: Policy) -> pl.Series:
    """When the session of each run started (epoch microseconds): before `day` where it goes on from the day before.

    `runs`: session_runs of the day; `before`: those of the day before.
    """
    timeout = policy.activity.session_timeout_us
    yesterday = day - timedelta(days=1)
    can_go_on = pl.col("is_last") & (pl.col("end_us") > epoch_us(day) - timeout) & ~is_full(yesterday, policy)
    open_ones = before.filter(can_go_on).select("customer_id", began="start_us", paused="end_us").collect()
    joined = runs.select("customer_id", "start_us", "is_first").join(
        open_ones, on="customer_id", how="left", maintain_order="left"
    )
    goes_on = pl.col("is_first") & (pl.col("start_us") - pl.col("paused") < timeout)
    return joined.select(pl.when(goes_on).then("began").otherwise("start_us")).to_series()


def sessions(runs: pl.DataFrame, starts: pl.Series, after: pl.LazyFrame, day: date, policy: Policy) -> pl.DataFrame:
    """The sessions that start on `day`, as the table sessions holds them; in the order of runs.

    `starts`: the `session_starts` of the runs; `after`: session_runs of the day after.
    """
    timeout = policy.activity.session_timeout_us
    tomorrow = epoch_us(day + timedelta(days=1))
    can_go_on = pl.col("is_first") & (pl.col("start_us") < tomorrow + timeout)
    carried = {name: f"{name}_after" for name in ("start_us", "end_us", *_CARRIED)}
    early = after.filter(can_go_on).select("customer_id", *carried).rename(carried).collect()
    own = runs.filter(starts == runs["start_us"]).join(early, on="customer_id", how="left", maintain_order="left")
    is_close = (pl.col("start_us_after") - pl.col("end_us") < timeout).fill_null(value=False)
    own = own.with_columns(goes_on=pl.col("is_last") & ~is_full(day, policy) & is_close)

    def with_after(name: str) -> pl.Expr:
        return pl.col(name) + pl.when("goes_on").then(f"{name}_after").otherwise(0)

    end = pl.when("goes_on").then("end_us_after").otherwise("end_us")
    both = pl.when("goes_on").then(pl.col("platforms").list.set_union("platforms_after").list.sort())
    return own.select(
        session_ids(pl.col("start_us")),
        "customer_id",
        pl.col("start_us").cast(MICROS).alias("session_start"),
        end.cast(MICROS).alias("session_end"),
        with_after("events").alias("event_count"),
        with_after("page_views"),
        _quotient(end - pl.col("start_us"), 1_000_000).alias("duration_seconds"),
        both.otherwise("platforms").alias("platforms"),
    ).select(list(SESSIONS.schema))


def session_ids(start_us: pl.Expr) -> pl.Expr:
    """The name of a session, the same through every rerun. Needs customer_id."""
    return pl.concat_str("customer_id", pl.lit("-"), start_us.cast(TEXT)).alias("session_id")


def user_daily(runs: pl.DataFrame) -> pl.DataFrame:
    """What each customer did on the runs' day, as the table user_daily holds it; in the order of runs."""
    cents = (pl.col("active_us") + _CENT_OF_A_MINUTE_US // 2) // _CENT_OF_A_MINUTE_US  # half away from zero
    return (
        runs.group_by("customer_id", maintain_order=True)
        .agg(
            pl.sum("page_views"),
            pl.sum("events"),
            pl.len().cast(pl.Int64).alias("sessions"),
            pl.sum("active_us"),
        )
        .with_columns(active_minutes=_quotient(cents, 100))
        .select(list(USER_DAILY.schema))
    )


def _quotient(number: pl.Expr, by: int) -> pl.Expr:
    """The float nearest to a quotient: polars multiplies by the reciprocal of a literal, and 970 / 100 would be off."""
    return number.cast(pl.Float64) / (number * 0 + by).cast(pl.Float64)


def epoch_us(day: date) -> int:
    """Midnight at the start of `day`, in microseconds since the epoch."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
