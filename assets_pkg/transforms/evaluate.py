"""One evaluation of all row rules: raw texts in; values, reasons and warnings out (contract §2, §3).

Everything downstream (clean, quarantine, counts, duplicates) is cut from this one frame, so that no two of
them can disagree about a row. Reasons and warnings travel as bit masks and become text for few rows only.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import (
    ABSENT_COLUMNS,
    ADDRESS,
    CUSTOMERS,
    EVENTS,
    RAW_TEXT,
    TEXT,
    UNKNOWN,
    CategoryColumn,
    Feed,
    raw_name,
)
from assets_pkg.contracts.rules import (
    IS_ORPHAN,
    MALFORMED_ROW,
    SEPARATOR,
    Rule,
    is_malformed,
    missing_column,
    reject_rules,
    warning_rules,
)
from assets_pkg.policy import Policy
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.transforms.categories import clean_category_text, match_category
from assets_pkg.transforms.numbers import parse_amounts, parse_durations
from assets_pkg.transforms.texts import clean_text, map_distinct
from assets_pkg.transforms.timestamps import parse_timestamps

REASONS: Final = "reasons"
WARNINGS: Final = "warning_bits"
MASK: Final = pl.UInt64()

_EMAIL: Final = r"^[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+$"


def evaluate(raw: pl.LazyFrame, feed: Feed, policy: Policy, day: date, orphans: pl.Series) -> pl.LazyFrame:
    """Every raw row with its values, its reasons and its warnings.

    Needs the raw table's columns; `orphans` are the raw customer_id texts that name no known customer of `day`
    (see `transforms.customers.orphan_texts`). Gives source_file, source_row, the clean table's feed columns,
    `text:<column>` for each feed column (cleaned text), `reasons` and `warning_bits` (bit i: rule i of
    `reject_rules`/`warning_rules`). Duplicates are decided later, among rows.
    """
    texts = raw.select(
        *ADDRESS,
        RAW_TEXT,
        ABSENT_COLUMNS,
        pl.col("customer_id").is_in(orphans.implode()).fill_null(value=False).alias(IS_ORPHAN),
        *(_cleaned(feed, column, policy).alias(f"text:{column}") for column in feed.columns),
    )
    valued = texts.with_columns(*_values(feed, policy))
    if feed is EVENTS:
        is_unknown = pl.col("event_type") == UNKNOWN
        valued = valued.with_columns(
            event_date=pl.col("event_time").dt.date(),
            event_type_raw=pl.when(is_unknown).then(pl.col("text:event_type")),
        )
    rejects, warnings = reject_rules(feed, policy, day), warning_rules(feed, policy)
    missing = pl.col(ABSENT_COLUMNS).map_batches(
        lambda absent: map_distinct(absent, lambda names: _missing_bits(names, rejects), MASK), return_dtype=MASK
    )
    return valued.with_columns(
        # A malformed row carries no other reason; a row of a file without a column carries only that (§3).
        pl.when(is_malformed())
        .then(pl.lit(bit(rejects, MALFORMED_ROW), MASK))
        .when(missing > 0)
        .then(missing)
        .otherwise(_mask(rejects))
        .alias(REASONS),
        _mask(warnings).alias(WARNINGS),
    )


def bit(rules: Sequence[Rule], reason: str) -> int:
    """The mask that has only the bit of `reason`."""
    return 1 << next(position for position, rule in enumerate(rules) if rule.reason == reason)


def mask_texts(masks: pl.Series, rules: Sequence[Rule]) -> pl.Series:
    """Masks as text: the reasons of their bits, joined in rule order; null for no bit."""

    def joined(distinct: pl.Series) -> pl.Series:
        texts = [
            SEPARATOR.join(rule.reason for position, rule in enumerate(rules) if mask >> position & 1) or None
            for mask in distinct
        ]
        return pl.Series(texts, dtype=TEXT)

    return map_distinct(masks, joined, TEXT)


def cleaned_id(feed: Feed, policy: Policy) -> pl.Expr:
    """The cleaned id of raw rows."""
    return _cleaned(feed, feed.id, policy)


def _cleaned(feed: Feed, column: str, policy: Policy) -> pl.Expr:
    raw = pl.col(raw_name(column))
    if column in feed.categories or column == INGEST_DATE:
        return raw.map_batches(lambda texts: clean_category_text(texts, policy), return_dtype=TEXT)
    return raw.map_batches(lambda texts: clean_text(texts, policy.values.null_tokens), return_dtype=TEXT)


def _values(feed: Feed, policy: Policy) -> list[pl.Expr]:
    """The values of the clean table, from cleaned texts."""
    values = [pl.col(f"text:{feed.id}").alias(feed.id)]
    if feed is not CUSTOMERS:
        values.append(pl.col("text:customer_id").alias("customer_id"))
    values.append(
        pl.col(f"text:{feed.time}")
        .map_batches(lambda texts: parse_timestamps(texts, policy.values), return_dtype=feed.clean[feed.time])
        .alias(feed.time)
    )
    values += [_category(column, category, policy) for column, category in feed.categories.items()]
    if feed is CUSTOMERS:
        email = pl.col("text:email")
        values.append(pl.when(email.str.contains(_EMAIL)).then(email).alias("email"))
    elif feed is EVENTS:
        values += [
            pl.col("text:session_id").alias("client_session_id"),
            pl.col("text:url").alias("url"),
            pl.col("text:duration_ms").map_batches(parse_durations, return_dtype=pl.Int64()).alias("duration_ms"),
        ]
    else:
        symbols = policy.categories.currency.spellings
        values.append(
            pl.col("text:amount")
            .map_batches(lambda texts: parse_amounts(texts, symbols), return_dtype=feed.clean["amount"])
            .alias("amount")
        )
    return values


def _category(column: str, category: CategoryColumn, policy: Policy) -> pl.Expr:
    matched = pl.col(f"text:{column}").map_batches(
        lambda texts: match_category(texts, category.category, policy, humps=category.camel_case), return_dtype=TEXT
    )
    return (matched.fill_null(UNKNOWN) if category.or_unknown else matched).alias(column)


def _mask(rules: Sequence[Rule]) -> pl.Expr:
    mask: pl.Expr = pl.lit(0, MASK)
    for position, rule in enumerate(rules):
        if rule.when is not None:
            mask = mask | pl.when(rule.when).then(pl.lit(1 << position, MASK)).otherwise(pl.lit(0, MASK))
    return mask


def _missing_bits(absent: pl.Series, rules: Sequence[Rule]) -> pl.Series:
    required = {rule.reason for rule in rules}
    reasons = [[missing_column(column) for column in names.split(SEPARATOR)] for names in absent]
    return pl.Series([sum(bit(rules, reason) for reason in row if reason in required) for row in reasons], dtype=MASK)
