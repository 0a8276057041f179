"""Which customers are known as of a day, and which rows name nobody (contract §3 "Known customer")."""

from datetime import date
from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import CUSTOMERS, RAW_TEXT, TEXT
from assets_pkg.policy import Policy
from assets_pkg.transforms.evaluate import cleaned_id
from assets_pkg.transforms.texts import clean_text

ATTRIBUTES: Final = tuple(column for column in CUSTOMERS.clean if column != "customer_id")


def known_from_day(raw: pl.LazyFrame, clean: pl.LazyFrame, day: date, policy: Policy) -> pl.LazyFrame:
    """The customers that one ingest date names.

    Needs the day's raw_customers and customers_clean. Gives customers_known's columns, and `has_clean`:
    whether a clean row gave the attributes. A customer whose rows were all rejected exists too: one
    bad attribute must not make all of its events orphans.
    """
    named = (
        raw.filter(pl.col(RAW_TEXT).is_null())
        .select(cleaned_id(CUSTOMERS, policy).alias("customer_id"))
        .drop_nulls()
        .unique()
    )
    attributes = clean.select("customer_id", *ATTRIBUTES, has_clean=pl.lit(value=True))
    return named.join(attributes, on="customer_id", how="left").with_columns(
        pl.lit(day).alias("first_seen"), pl.lit(day).alias("last_seen"), pl.col("has_clean").fill_null(value=False)
    )


def known_so_far(before: pl.LazyFrame, today: pl.LazyFrame) -> pl.LazyFrame:
    """Customers known before, and those a later day names: the latest clean row gives all attributes at once.

    Needs and gives the columns of `known_from_day` (`has_clean`: a clean row was ever seen), ordered by customer_id.
    """
    both = before.join(today, on="customer_id", how="full", coalesce=True, suffix="_today")
    is_fresh = pl.col("has_clean_today").fill_null(value=False)
    return both.select(
        "customer_id",
        pl.coalesce("first_seen", "first_seen_today").alias("first_seen"),
        pl.coalesce("last_seen_today", "last_seen").alias("last_seen"),
        *(pl.when(is_fresh).then(pl.col(f"{name}_today")).otherwise(pl.col(name)).alias(name) for name in ATTRIBUTES),
        (is_fresh | pl.col("has_clean").fill_null(value=False)).alias("has_clean"),
    )


def orphan_texts(customer_ids: pl.Series, known: pl.Series, policy: Policy) -> pl.Series:
    """Those of the distinct raw `customer_ids` that, cleaned, name somebody who is not in `known`."""
    cleaned = clean_text(customer_ids.cast(TEXT), policy.values.null_tokens)
    return customer_ids.filter(cleaned.is_not_null() & ~cleaned.is_in(known.implode()))
