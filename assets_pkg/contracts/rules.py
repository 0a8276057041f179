"""Every reason to reject a row and every warning, written once (contract §2, §3).

The quarantine split, the pandera schema of the clean table, the counts in reports and the README's table
are all made from these definitions. Rules speak about the frame that `transforms.evaluate` builds: values
under the clean table's column names, cleaned texts under `text:<feed column>`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import ABSENT_COLUMNS, CUSTOMERS, EVENTS, ORDERS, RAW_TEXT, UNKNOWN, Feed
from assets_pkg.policy import Policy
from assets_pkg.policy.columns import INGEST_DATE

MALFORMED_ROW: Final = "malformed_row"
INGEST_DATE_MISMATCH: Final = "ingest_date_mismatch"
ORPHAN: Final = "orphan_customer_id"
IS_ORPHAN: Final = "is_orphan"
SEPARATOR: Final = "|"


def missing_column(column: str) -> str:
    """The reason of rows whose file has no such column."""
    return f"missing_column:{column}"


def duplicate_of(feed: Feed) -> str:
    """The reason of rows that lost against another row with their id."""
    return f"duplicate_{feed.id}"


def text(column: str) -> pl.Expr:
    """The cleaned text of a feed column (null when it says nothing), before it became a value."""
    return pl.col(f"text:{column}")


def is_malformed() -> pl.Expr:
    """True for raw rows that could not be split into columns: exactly they keep their text (§9)."""
    return pl.col(RAW_TEXT).is_not_null()


@dataclass(frozen=True)
class Rule:
    """One reason or warning.

    `when` is true where a row breaks the rule; None when it is decided elsewhere: by the row's file (missing
    columns) or among rows (duplicates). `in_clean` is true where a *clean* row would break it, for
    the clean table's schema; None where a clean row cannot show it.
    """

    reason: str
    columns: tuple[str, ...]
    meaning: str
    when: pl.Expr | None = None
    in_clean: pl.Expr | None = None


def reject_rules(feed: Feed, policy: Policy, day: date) -> tuple[Rule, ...]:
    """All reasons that can reject a row of `feed` on ingest date `day`, in the order in which they are joined (§3)."""
    return (
        Rule(
            MALFORMED_ROW,
            (),
            "the record has more or fewer fields than the header, a quote that never closes, or is no JSON object",
            when=is_malformed(),
        ),
        *(
            Rule(missing_column(column), (column,), f"the file has no column {column}")
            for column in feed.required(policy)
        ),
        Rule(
            INGEST_DATE_MISMATCH,
            (INGEST_DATE,),
            "the row's own ingest_date is not the day its file landed",
            when=text(INGEST_DATE) != day.isoformat(),
        ),
        _missing("customer_id", "the row names no customer"),
        *([] if feed is CUSTOMERS else [_missing(feed.id, f"the row has no {feed.id}")]),
        _missing(feed.time, f"the row has no {feed.time}"),
        _invalid(feed.time, f"{feed.time} is in none of the accepted forms, or no such instant exists"),
        *_RULES_OF_ONE_FEED[feed.name](feed, policy, day),
        *(
            [Rule(ORPHAN, ("customer_id",), "no customers file up to this day names the customer", pl.col(IS_ORPHAN))]
            if feed.policy(policy).check_orphans
            else []
        ),
        Rule(
            duplicate_of(feed),
            (feed.id,),
            f"another row of the day has the same {feed.id} and is the better one",
            in_clean=pl.col(feed.id).is_duplicated(),
        ),
    )


def warning_rules(feed: Feed, policy: Policy) -> tuple[Rule, ...]:
    """All warnings a clean row of `feed` can carry, in column order (§2)."""

    def category(column: str) -> Iterator[Rule]:
        # A column that is not required and that the file lacks says nothing about the row (§9).
        expected = pl.lit(value=True) if column in feed.required(policy) else ~_is_absent(column)
        is_null = text(column).is_null()
        yield Rule(f"missing_{column}", (column,), f"{column} is empty; it became `{UNKNOWN}`", when=is_null & expected)
        yield Rule(
            f"unknown_{column}",
            (column,),
            f"{column} is no known name or alias; it became `{UNKNOWN}`",
            when=~is_null & (pl.col(column) == UNKNOWN),
        )

    if feed is CUSTOMERS:
        return (
            _lost("email", "invalid_email", "email is no address; it became null"),
            _lost("country", "unknown_country", "country is neither an ISO 3166 code or name nor an alias; null"),
            *category("status"),
        )
    if feed is EVENTS:
        return (*category("event_type"), *category("platform"))
    return ()


def first_future_instant(day: date, policy: Policy) -> datetime:
    """The first instant that rows of ingest date `day` cannot have happened at: its end plus the clock skew (§3.6)."""
    return datetime.combine(day + timedelta(days=1), time(), UTC) + policy.values.clock_skew


def _is_absent(column: str) -> pl.Expr:
    return pl.col(ABSENT_COLUMNS).str.split(SEPARATOR).list.contains(column).fill_null(value=False)


def _missing(column: str, meaning: str) -> Rule:
    return Rule(f"missing_{column}", (column,), meaning, text(column).is_null(), in_clean=pl.col(column).is_null())


def _invalid(column: str, meaning: str, *, nullable: bool = False) -> Rule:
    is_null = pl.col(column).is_null()
    return Rule(
        f"invalid_{column}",
        (column,),
        meaning,
        text(column).is_not_null() & is_null,
        in_clean=None if nullable else is_null,
    )


def _unknown(column: str, meaning: str) -> Rule:
    is_null = pl.col(column).is_null()
    return Rule(f"unknown_{column}", (column,), meaning, text(column).is_not_null() & is_null, in_clean=is_null)


def _lost(column: str, warning: str, meaning: str) -> Rule:
    return Rule(warning, (column,), meaning, text(column).is_not_null() & pl.col(column).is_null())


def _value(reason: str, columns: tuple[str, ...], meaning: str, when: pl.Expr) -> Rule:
    """A rule about values alone: what rejects a row must never be seen in the clean table."""
    return Rule(reason, columns, meaning, when, in_clean=when)


def _future(feed: Feed, policy: Policy, day: date) -> Rule:
    return _value(
        f"future_{feed.time}",
        (feed.time,),
        f"{feed.time} is more than {policy.values.clock_skew_hours} h after the end of the day its file landed",
        pl.col(feed.time) >= first_future_instant(day, policy),
    )


def _customers_rules(_feed: Feed, _policy: Policy, _day: date) -> Iterator[Rule]:
    yield from ()


def _events_rules(feed: Feed, policy: Policy, day: date) -> Iterator[Rule]:
    duration, most = pl.col("duration_ms"), policy.values.max_duration_ms
    yield _future(feed, policy, day)
    yield _invalid("duration_ms", "duration_ms is no decimal number", nullable=True)
    yield _value("negative_duration_ms", ("duration_ms",), "duration_ms is below 0", duration < 0)
    yield _value("duration_ms_exceeds_max", ("duration_ms",), f"duration_ms is above {most:,}", duration > most)


def _orders_rules(feed: Feed, policy: Policy, day: date) -> Iterator[Rule]:
    amount, most = pl.col("amount"), policy.values.max_amount
    states = policy.categories.order_status
    paid_nothing = (amount == 0) & pl.col("status").is_in(states.settled)
    may_lack = pl.col("status").is_in(states.without_amount).fill_null(value=False)
    no_amount = amount.is_null() & ~may_lack
    yield _future(feed, policy, day)
    yield _missing("currency", "the order has no currency")
    yield _unknown("currency", "currency is no ISO 4217 code, alias or symbol")
    yield _missing("status", "the order has no status")
    yield _unknown("status", "status is no known name or alias")
    yield Rule(
        "missing_amount",
        ("amount", "status"),
        f"an order that is not {', '.join(states.without_amount)} has no amount",
        when=text("amount").is_null() & no_amount,
        in_clean=no_amount,
    )
    yield _invalid("amount", "amount is no decimal number", nullable=True)
    yield _value("negative_amount", ("amount",), "amount is below 0", amount < 0)
    yield _value(
        "zero_amount", ("amount", "status"), f"amount is 0 with status {', '.join(states.settled)}", paid_nothing
    )
    yield _value("amount_exceeds_max", ("amount",), f"amount is above {most:,}", amount > most)


_RULES_OF_ONE_FEED: Final = {
    CUSTOMERS.name: _customers_rules,
    EVENTS.name: _events_rules,
    ORDERS.name: _orders_rules,
}


def rejected_for(reason: str) -> pl.Expr:
    """Whether a quarantined row carries a reason. Needs reject_reason."""
    return pl.col("reject_reason").str.split(SEPARATOR).list.contains(reason)
