"""Texts to instants: exactly the forms of the contract (§2, §9 "Values"), and never a guess.

Each form is one regular expression over named parts; one function turns parts into an instant and refuses
dates, hours and zones that do not exist. That covers everything. The form nearly every row has (ISO date and
time to the second) is cut into its parts without a regular expression; a property test holds the two ways equal.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from assets_pkg.contracts.feeds import MICROS
from assets_pkg.policy.model import ValuePolicy
from assets_pkg.transforms.texts import any_case, map_distinct

_SECOND, _MINUTE, _HOUR, _DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
_MAX_OFFSET: Final = 14 * _HOUR

_MONTHS: Final = [
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
]
_WEEKDAYS: Final = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def _named(names: list[str]) -> str:
    return "|".join(f"{any_case(name)}|{any_case(name[:3])}" for name in names)


_FRACTION: Final = r"(?:[.,](?P<f>[0-9]{1,9}))?"
_CLOCK: Final = rf"(?P<h>[0-9]{{2}}):(?P<mi>[0-9]{{2}})(?::(?P<s>[0-9]{{2}}){_FRACTION})?"
_CLOCK_AMPM: Final = (
    rf"(?P<h>[0-9]{{1,2}}):(?P<mi>[0-9]{{2}})(?::(?P<s>[0-9]{{2}}){_FRACTION})?(?: ?(?P<ap>[AaPp][Mm]))?"
)
_ZONE: Final = r"(?: ?(?P<z>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?))?"
_NAMED_ZONE: Final = r"(?: ?(?P<z>[+-][0-9]{2}:?[0-9]{2}|Z|" + any_case("UTC") + "|" + any_case("GMT") + r"))?"
_YEAR: Final = r"(?P<y>[0-9]{4})"
_WEEKDAY: Final = rf"(?:(?P<wd>{_named(_WEEKDAYS)}),? )?"
_MONTH: Final = rf"(?P<mon>{_named(_MONTHS)})"
_SLASH_ORDER: Final = {
    "mdy": r"(?P<mo>[0-9]{1,2})/(?P<d>[0-9]{1,2})",
    "dmy": r"(?P<d>[0-9]{1,2})/(?P<mo>[0-9]{1,2})",
}

_ISO_DATE: Final = rf"^{_YEAR}-(?P<mo>[0-9]{{2}})-(?P<d>[0-9]{{2}})$"
_ISO_MINUTE: Final = r"^[T ](?P<h>[0-1][0-9]|2[0-3]):(?P<mi>[0-5][0-9])$"
_ISO_SECOND: Final = r"^:(?P<s>[0-5][0-9])$"
_ISO_TAIL: Final = rf"^{_FRACTION}{_ZONE}$"
ISO_8601: Final = ("iso", "basic")
"""The forms that are ISO 8601: the first two rows of the contract's table."""
_MINUTE_AT, _SECOND_AT, _TAIL_AT = len("2025-12-10"), len("2025-12-10T04:21"), len("2025-12-10T04:21:24")


def forms(slash_dates: str) -> dict[str, str]:
    """The accepted forms, by name: expressions with the parts y, mo or mon, d, wd, h, mi, s, f, ap, z or epoch."""
    slash = _SLASH_ORDER.get(slash_dates)
    return {
        "iso": rf"^{_YEAR}-(?P<mo>[0-9]{{2}})-(?P<d>[0-9]{{2}})(?:[T ]{_CLOCK}{_ZONE})?$",
        "epoch_seconds": r"^(?P<epoch>[0-9]{10})(?:\.(?P<f>[0-9]{1,9}))?$",
        "epoch_millis": r"^(?P<epoch>[0-9]{10})(?P<f>[0-9]{3})$",
        "epoch_micros": r"^(?P<epoch>[0-9]{10})(?P<f>[0-9]{6})$",
        **({"slash": rf"^{slash}/{_YEAR}(?: {_CLOCK_AMPM})?$"} if slash else {}),
        "day_month_name": rf"^{_WEEKDAY}(?P<d>[0-9]{{1,2}}) {_MONTH},? {_YEAR}(?: {_CLOCK_AMPM})?{_NAMED_ZONE}$",
        "month_name_day": rf"^{_WEEKDAY}{_MONTH} (?P<d>[0-9]{{1,2}}),? {_YEAR}(?: {_CLOCK_AMPM})?{_NAMED_ZONE}$",
        "basic": rf"^{_YEAR}(?P<mo>[0-9]{{2}})(?P<d>[0-9]{{2}})"
        rf"(?:T(?P<h>[0-9]{{2}})(?P<mi>[0-9]{{2}})(?P<s>[0-9]{{2}}){_ZONE})?$",
        "year_first_slash": rf"^{_YEAR}/(?P<mo>[0-9]{{2}})/(?P<d>[0-9]{{2}})(?:[T ]{_CLOCK}{_ZONE})?$",
    }


def parse_timestamps(texts: pl.Series, values: ValuePolicy, only: Sequence[str] | None = None) -> pl.Series:
    """Instants (Datetime µs, UTC) of cleaned `texts`; null where a text is null or no instant of an accepted form.

    `only`: the names of the forms that are accepted, ISO_8601 or more; all when None.
    """
    instants = _parse_iso(texts)
    rest = instants.is_null() & texts.is_not_null()
    if rest.any():
        at = rest.arg_true()
        parsed = map_distinct(
            texts.gather(at), lambda distinct: parse_any_form(distinct, values.slash_dates, only), pl.Int64()
        )
        instants = instants.scatter(at, parsed)
    first, last = pl.datetime(values.first_year, 1, 1), pl.datetime(values.last_year + 1, 1, 1)
    instant = pl.col("instant")
    in_bounds = (instant >= first.dt.epoch("us")) & (instant < last.dt.epoch("us"))
    bounded = instants.alias("instant").to_frame().select(pl.when(in_bounds).then(instant).cast(pl.Datetime("us")))
    return bounded.to_series().dt.replace_time_zone("UTC").cast(MICROS).alias(texts.name)


def _parse_iso(texts: pl.Series) -> pl.Series:
    """Epoch µs of ISO date-times with seconds; null for all else, which `parse_any_form` then looks at.

    Such a text is four short ones (date, hour and minute, second, fraction and zone) that each repeat a lot, so
    each distinct one is judged once: 190 ms a million, where strptime needs 360 and takes blanks for digits and
    second 60.
    """
    t = pl.col("t")
    cut = (
        texts.alias("t")
        .to_frame()
        .select(
            t.str.head(_MINUTE_AT).alias("date"),
            t.str.slice(_MINUTE_AT, _SECOND_AT - _MINUTE_AT).alias("minute"),
            t.str.slice(_SECOND_AT, _TAIL_AT - _SECOND_AT).alias("second"),
            t.str.slice(_TAIL_AT).alias("tail"),
        )
    )
    return (
        map_distinct(cut["date"], lambda texts: _parse_form(texts, _ISO_DATE), pl.Int64())
        + map_distinct(cut["minute"], lambda texts: _parts(texts, _ISO_MINUTE, _minute()), pl.Int64())
        + map_distinct(cut["second"], lambda texts: _parts(texts, _ISO_SECOND, _int("s") * _SECOND), pl.Int64())
        + map_distinct(cut["tail"], lambda texts: _parts(texts, _ISO_TAIL, _fraction() - _offset()), pl.Int64())
    )


def _parts(texts: pl.Series, pattern: str, value: pl.Expr) -> pl.Series:
    """`value` of the parts that `pattern` names; null for texts that it does not match."""
    parts = texts.str.extract_groups(pattern).struct.unnest()
    return parts.select(pl.when(texts.str.contains(pattern)).then(value)).to_series()


def parse_any_form(texts: pl.Series, slash_dates: str, only: Sequence[str] | None = None) -> pl.Series:
    """Epoch µs of `texts` in any accepted form (see `forms`); null where there is none. Slow and complete."""
    patterns = forms(slash_dates)
    results = [_parse_form(texts, patterns[name]) for name in only or patterns]
    return pl.select(pl.coalesce(results)).to_series()


def _parse_form(texts: pl.Series, pattern: str) -> pl.Series:
    at = texts.str.contains(pattern).fill_null(value=False).arg_true()
    empty = pl.repeat(None, len(texts), dtype=pl.Int64, eager=True)
    if at.is_empty():
        return empty
    parts = texts.gather(at).str.extract_groups(pattern).struct.unnest()
    absent = [
        name for name in ("y", "mo", "mon", "d", "wd", "h", "mi", "s", "f", "ap", "z") if name not in parts.columns
    ]
    parts = parts.with_columns(pl.lit(None, pl.String).alias(name) for name in absent)
    if "epoch" in parts.columns:
        instants = parts.select(_int("epoch") * _SECOND + _fraction()).to_series()
    else:
        instants = _instants(parts)
    return empty.scatter(at, instants)


def _instants(parts: pl.DataFrame) -> pl.Series:
    """Epoch µs from the texts of calendar parts; null where the date, clock, weekday or zone does not exist."""
    month = pl.coalesce(
        _int("mo"),
        pl.col("mon")
        .str.to_lowercase()
        .str.head(3)
        .replace_strict(
            {name[:3]: number for number, name in enumerate(_MONTHS, 1)}, default=None, return_dtype=pl.Int64
        ),
    )
    afternoon = pl.col("ap").str.to_lowercase() == "pm"
    hour = pl.col("hour")
    numbers = parts.with_columns(
        y=_int("y"),
        mo=month,
        d=_int("d"),
        hour=_int("h").fill_null(0),
        mi=_int("mi").fill_null(0),
        s=_int("s").fill_null(0),
    ).with_columns(
        hour=pl.when(pl.col("ap").is_null())
        .then(pl.when(hour <= 23).then(hour))  # noqa: PLR2004
        .when(hour.is_between(1, 12))
        .then(hour % 12 + pl.when(afternoon).then(12).otherwise(0)),
        days=_days_from_civil(),
        weekday=pl.col("wd")
        .str.to_lowercase()
        .str.head(3)
        .replace_strict(
            {name[:3]: number for number, name in enumerate(_WEEKDAYS)}, default=None, return_dtype=pl.Int64
        ),
    )
    right_weekday = pl.col("weekday").is_null() | (pl.col("weekday") == (pl.col("days") + 3) % 7)  # day 0: a Thursday
    instant = (
        pl.col("days") * _DAY + hour * _HOUR + pl.col("mi") * _MINUTE + pl.col("s") * _SECOND + _fraction() - _offset()
    )
    exists = right_weekday & (pl.col("mi") <= 59) & (pl.col("s") <= 59)  # noqa: PLR2004
    return numbers.select(pl.when(exists).then(instant)).to_series()


def _days_from_civil() -> pl.Expr:
    """Days since 1970-01-01 of the proleptic Gregorian date (y, mo, d); null when there is no such date."""
    y, mo, d = pl.col("y"), pl.col("mo"), pl.col("d")
    leap = (y % 4 == 0) & ((y % 100 != 0) | (y % 400 == 0))
    longest = pl.when(mo == 2).then(28 + leap.cast(pl.Int64)).when(mo.is_in([4, 6, 9, 11])).then(30).otherwise(31)  # noqa: PLR2004
    exists = mo.is_between(1, 12) & d.is_between(1, longest)
    # The year is counted from March, so that the leap day is its last.
    year = y - (mo <= 2).cast(pl.Int64)  # noqa: PLR2004
    day_of_year = (153 * ((mo + 9) % 12) + 2) // 5 + d - 1
    days = 365 * year + year // 4 - year // 100 + year // 400 + day_of_year - 719_468
    return pl.when(exists).then(days)


def _int(part: str) -> pl.Expr:
    return pl.col(part).cast(pl.Int64)


def _minute() -> pl.Expr:
    """µs since midnight of h and mi."""
    return _int("h") * _HOUR + _int("mi") * _MINUTE


def _fraction() -> pl.Expr:
    """µs of the fraction `f`, cut, not rounded; 0 when there is none."""
    return pl.col("f").str.head(6).str.pad_end(6, "0").cast(pl.Int64).fill_null(0)


def _offset() -> pl.Expr:
    """µs that the zone `z` is ahead of UTC: 0 without one, null when minutes pass 59 or the whole ±14:00."""
    z = pl.col("z")
    numeric = z.str.contains(r"^[+-]")
    hours, minutes = z.str.slice(1, 2).cast(pl.Int64, strict=False), z.str.slice(3).str.strip_chars_start(":")
    minutes = pl.when(minutes == "").then(0).otherwise(minutes.cast(pl.Int64, strict=False))
    size = hours * _HOUR + minutes * _MINUTE
    signed = pl.when(z.str.starts_with("-")).then(-size).otherwise(size)
    return (
        pl.when(z.is_null() | ~numeric).then(0).when((minutes <= 59) & (size <= _MAX_OFFSET)).then(signed)  # noqa: PLR2004
    )
