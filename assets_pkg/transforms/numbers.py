"""Texts to numbers: durations and amounts, rounded half away from zero (contract §2, §9 "Values")."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import AMOUNT
from assets_pkg.transforms.texts import any_case, map_distinct

_PLAIN: Final = r"(?:(?P<i>[0-9]+)(?:\.(?P<f>[0-9]*))?|\.(?P<g>[0-9]+))"
_GROUPED: Final = r"(?:(?P<i>[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.(?P<f>[0-9]*))?|\.(?P<g>[0-9]+))"
_EXPONENT: Final = r"(?:[eE](?P<e>[+-]?[0-9]+))?"
_TOO_LARGE: Final = 10**17  # fits Int64, and above every maximum that a policy can set
_AMOUNT_SCALE: Final = 4
_LONGEST_EXPONENT: Final = 4  # digits; a longer one is 0 or too large whatever stands before it


def parse_durations(texts: pl.Series) -> pl.Series:
    """Int64 milliseconds of cleaned `texts`; null where a text is null or no decimal number.

    A number too large to store becomes one above every maximum, so that it is rejected for its size.
    """
    numbers = texts.cast(pl.Int64, strict=False)  # plain integers, which nearly all are
    rest = numbers.is_null() & texts.is_not_null()
    if not rest.any():
        return numbers
    pattern = rf"^(?P<s>[+-])?{_PLAIN}{_EXPONENT}$"
    at = rest.arg_true()
    return numbers.scatter(at, map_distinct(texts.gather(at), lambda t: _scaled(t, pattern, 0), pl.Int64()))


def parse_amounts(texts: pl.Series, symbols: Iterable[str]) -> pl.Series:
    """Decimal(18, 4) amounts of cleaned `texts`; null where a text is null or no amount.

    Accepted: an optional sign and one of `symbols` (any letter case) in any order, a blank after the symbol,
    digits with `,` groups of three, decimals, an exponent.
    """
    any_symbol = "|".join(any_case(symbol) for symbol in sorted(symbols, key=len, reverse=True))
    symbol = rf"(?:{any_symbol})[ ]?"
    pattern = rf"^(?:(?P<s>[+-])?(?:{symbol})?|{symbol}(?P<t>[+-]))?{_GROUPED}{_EXPONENT}$"
    scaled = map_distinct(texts, lambda t: _scaled(t, pattern, _AMOUNT_SCALE), pl.Int64())
    # Decimal from its unscaled integer: exact, where a way over Float64 would not be.
    whole, part = scaled // 10**_AMOUNT_SCALE, scaled % 10**_AMOUNT_SCALE
    exact = whole.cast(AMOUNT) + part.cast(AMOUNT) * Decimal("0.0001")
    return exact.cast(AMOUNT).alias(texts.name)


def _scaled(texts: pl.Series, pattern: str, scale: int) -> pl.Series:
    """`texts` times 10**scale as Int64, rounded half away from zero; null where `pattern` does not match."""
    matched = texts.str.contains(pattern)
    parts = texts.str.extract_groups(pattern).struct.unnest()
    if "t" not in parts.columns:
        parts = parts.with_columns(t=pl.lit(None, pl.String))
    digits = pl.col("i").str.replace_all(",", "", literal=True).fill_null("").str.strip_chars_start("0")
    fraction = pl.coalesce("f", "g", pl.lit(""))
    # Everything stays integer: the digits before the cut, plus one when the first digit after it is 5 or more.
    kept = digits + fraction.str.head(scale).str.pad_end(scale, "0")
    up = (fraction.str.slice(scale, 1).fill_null("") >= "5").cast(pl.Int64)
    fits = digits.str.len_bytes() + scale <= len(str(_TOO_LARGE)) - 1
    size = pl.when(fits).then(pl.when(kept == "").then(pl.lit("0")).otherwise(kept).cast(pl.Int64, strict=False) + up)
    negative = pl.coalesce("s", "t", pl.lit("")) == "-"
    value = size.fill_null(_TOO_LARGE)
    frame = parts.select(
        pl.when(matched).then(pl.when(negative).then(-value).otherwise(value)).alias("value"),
        (matched & pl.col("e").is_not_null()).alias("has_exponent"),
    )
    result = frame["value"]
    at = frame["has_exponent"].fill_null(value=False).arg_true()
    if at.is_empty():
        return result
    exact = [_scaled_exponent(text, pattern, scale) for text in texts.gather(at)]
    return result.scatter(at, pl.Series(exact, dtype=pl.Int64))


def _scaled_exponent(text: str, pattern: str, scale: int) -> int:
    """One number with an exponent, by Python: they are rare, and shifting digits by them is not worth vectorising."""
    found = re.fullmatch(pattern, text)
    assert found is not None, f"{text!r} matched in polars and not here"
    groups = found.groupdict()
    sign = -1 if (groups.get("s") or groups.get("t")) == "-" else 1
    whole = (groups["i"] or "").replace(",", "")
    fraction = groups["f"] or groups["g"] or ""
    digits = (whole + fraction).lstrip("0")
    power: str = groups["e"]
    exponent_text = power.lstrip("+-").lstrip("0")
    if not digits:
        return 0
    if len(exponent_text) > _LONGEST_EXPONENT:
        return 0 if power.startswith("-") else sign * _TOO_LARGE
    shift = int(power) - len(fraction) + scale
    if len(digits) + shift > len(str(_TOO_LARGE)) - 1:
        return sign * _TOO_LARGE
    if shift >= 0:
        return sign * int(digits) * int(10**shift)
    kept, cut = digits[:shift], digits[shift:].rjust(-shift, "0")
    return sign * (int(kept or "0") + (cut[0] >= "5"))
