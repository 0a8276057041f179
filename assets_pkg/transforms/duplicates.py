"""Which rows repeat others: exact copies, and rows that share an id (contract §3 "Duplicates").

Equal rows have equal ids, so only rows whose id occurs twice (about 3 %) need a second look. The first pass
keeps a 64-bit hash per row and nothing else; a collision there only adds a candidate. Candidates are compared
by their id's text and two independent 64-bit hashes over all their columns.
"""

from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import ADDRESS, CUSTOMERS, EXTRA, RAW_TEXT, UNKNOWN, Feed
from assets_pkg.policy import Policy
from assets_pkg.transforms.evaluate import REASONS, cleaned_id

DROPPED: Final = "dropped"
LOST: Final = "lost"
_SEEDS: Final = (11, 97)


def id_keys(raw: pl.LazyFrame, feed: Feed, policy: Policy) -> pl.LazyFrame:
    """A hash of each row's id, equal for rows that may repeat each other; null for rows without an id.

    Needs the feed's id and raw_text. Gives `key` (UInt64) and `anonymous`: the row is well-formed but has no id, so
    it can repeat only a row that equals it whole (see `row_keys`). A malformed row repeats none.
    """
    return raw.select(
        cleaned_id(feed, policy).hash(_SEEDS[0]).alias("key"),
        cleaned_id(feed, policy).is_null().alias("no_id"),
        pl.col(RAW_TEXT).is_null().alias("well_formed"),
    ).select(
        pl.when(pl.col("well_formed") & ~pl.col("no_id")).then(pl.col("key")).alias("key"),
        (pl.col("well_formed") & pl.col("no_id")).alias("anonymous"),
    )


def row_keys(raw: pl.DataFrame, feed: Feed) -> pl.Series:
    """A hash of each row's every column, for rows without an id. Needs the raw table's columns."""
    return raw.select(_row_hash(feed, _SEEDS[0])).to_series()


def repeated(keys: pl.Series) -> pl.Series:
    """The keys that occur more than once."""
    ordered = keys.drop_nulls().sort()
    return ordered.filter(ordered == ordered.shift(1)).unique()


def are_among(keys: pl.Series, known: pl.Series) -> pl.Series:
    """Which of the keys are among the known ones: true or false for each. Both are sorted."""
    if known.is_empty():
        return pl.repeat(value=False, n=len(keys), eager=True)
    at = known.search_sorted(keys).clip(upper_bound=len(known) - 1)
    return known.gather(at) == keys


def fingerprints(raw: pl.DataFrame, evaluated: pl.DataFrame, feed: Feed) -> pl.DataFrame:
    """What candidates are compared by, narrow enough to hold for all of a day.

    Needs some raw rows and the same rows evaluated. Gives source_file, source_row, `copy_a`, `copy_b` (equal for
    rows equal in every contract column and `extra`, after trimming), `id`, `sound` (no reason to reject), and
    `rank_*`: the better row has the larger ones, compared in order.
    """
    filled: pl.Expr = pl.lit(0, pl.UInt8)
    for column in feed.canonical:
        says = pl.col(column).is_not_null()
        if column in feed.categories and feed.categories[column].or_unknown:
            says = says & (pl.col(column) != UNKNOWN)
        filled = filled + says.cast(pl.UInt8)
    ranks = {
        **({"rank_email": pl.col("email").is_not_null()} if feed is CUSTOMERS else {}),
        "rank_filled": filled,
        "rank_time": pl.col(feed.time),
    }
    copies = raw.select(copy_a=_row_hash(feed, _SEEDS[0]), copy_b=_row_hash(feed, _SEEDS[1]))
    compared = evaluated.lazy().select(*ADDRESS, id=pl.col(feed.id), sound=pl.col(REASONS) == 0, **ranks)
    return compared.collect(engine="in-memory").hstack(copies)


def decide(candidates: pl.DataFrame) -> pl.DataFrame:
    """The fate of candidates that repeat others.

    Needs the columns of `fingerprints`. Gives them back for the rows that do not stay, with `fate`: `dropped`
    (an exact copy of an earlier row) or `lost` (sound, but another sound row with its id is better).
    """
    ordered = candidates.sort(ADDRESS)
    is_first = pl.struct("copy_a", "copy_b").is_first_distinct()
    marked = ordered.with_columns(is_copy=~is_first)
    dropped = marked.filter("is_copy").with_columns(fate=pl.lit(DROPPED))
    ranks = [column for column in candidates.columns if column.startswith("rank_")]
    contenders = marked.filter(~pl.col("is_copy") & pl.col("sound")).sort(*ranks, *ADDRESS, descending=True)
    lost = contenders.filter(~pl.col("id").is_first_distinct()).with_columns(fate=pl.lit(LOST))
    return pl.concat([dropped, lost]).drop("is_copy")


def _row_hash(feed: Feed, seed: int) -> pl.Expr:
    """A hash over all contract columns and `extra`; null, an absent column and an empty text are equal (§9)."""
    texts = [pl.col(column).str.strip_chars().fill_null("") for column in (*feed.raw_columns, EXTRA)]
    return pl.struct(texts).hash(seed)


def no_candidates(feed: Feed) -> pl.DataFrame:
    """No rows, with the columns of `fingerprints`."""
    return pl.DataFrame(
        schema={
            "source_file": pl.String,
            "source_row": pl.Int64,
            "id": pl.String,
            "sound": pl.Boolean,
            **({"rank_email": pl.Boolean} if feed is CUSTOMERS else {}),
            "rank_filled": pl.UInt8,
            "rank_time": feed.clean[feed.time],
            "copy_a": pl.UInt64,
            "copy_b": pl.UInt64,
        }
    )
