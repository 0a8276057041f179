"""Hypothesis strategies for texts of raw files: every form of the contract, and near misses of them."""

from collections.abc import Sequence

from hypothesis import strategies as st

# What a near miss is made with: signs that the forms are built of, and look-alikes that are none of them.
_ALPHABET = "0123456789-/:.,+TtZz APMapm\u00a0\u2003\u0663\uff11\u017f\u212a\n\t_eE$€£x'\""

_MONTHS = ("Jan", "february", "MARCH", "May", "Aug", "August", "sept", "Sep", "Dec", "december", "Foo")
_WEEKDAYS = ("", "", "Mon, ", "Tue ", "wednesday, ", "Thu", "SAT, ", "Sunday ")
_ZONES = (
    "",
    "",
    "Z",
    "z",
    " Z",
    "+01",
    "-0500",
    "+05:30",
    " +14:00",
    "-14:01",
    "+00:60",
    "UTC",
    " gmt",
    " EST",
    "+1",
)
_FRACTIONS = ("", "", ".5", ",25", ".123456", ".123456789", ".1234567890", ".")


def _joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map("".join)


def _number(low: int, high: int, width: int) -> st.SearchStrategy[str]:
    return st.integers(low, high).map(lambda value: f"{value:0{width}d}")


_year = st.sampled_from(("1969", "1970", "2000", "2024", "2025", "2100", "2101", "0001", "9999", "25"))
_month, _day = _number(0, 13, 2), _number(0, 32, 2)
_small_month, _small_day = _number(0, 13, 1), _number(0, 32, 1)
_zone, _fraction = st.sampled_from(_ZONES), st.sampled_from(_FRACTIONS)
_minutes = _joined(st.just(":"), _number(0, 60, 2))
_seconds = st.one_of(st.just(""), _joined(st.just(":"), _number(0, 60, 2), _fraction))
_clock = _joined(_number(0, 25, 2), _minutes, _seconds)
_loose_clock = _joined(
    _number(0, 25, 1), _minutes, _seconds, st.sampled_from(("", "", " AM", "pm", " Pm", "  AM", " XM"))
)


def _maybe(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(st.just(""), _joined(*parts))


_mark = st.sampled_from("-/")
_iso = st.one_of(
    _joined(_year, st.just("-"), _month, st.just("-"), _day, _maybe(st.sampled_from("T tT"), _clock, _zone)),
    _joined(_year, st.just("/"), _month, st.just("/"), _day, _maybe(st.sampled_from("T "), _clock, _zone)),
    _joined(_year, _mark, _month, _mark, _day),
)
_basic = _joined(
    _year,
    _month,
    _day,
    _maybe(st.sampled_from("Tt "), _number(0, 25, 2), _number(0, 60, 2), _number(0, 60, 2), _zone),
)
_epoch = st.one_of(
    _joined(st.integers(0, 10**10 - 1).map("{:010d}".format), _fraction),
    st.integers(0, 10**13 - 1).map("{:013d}".format),
    st.integers(0, 10**16 - 1).map("{:016d}".format),
    st.integers(0, 10**17).map(str),
)
_slash = _joined(_small_month, st.just("/"), _small_day, st.just("/"), _year, _maybe(st.just(" "), _loose_clock, _zone))
_comma = st.sampled_from((" ", ", ", ",", " , "))
_weekday, _month_name = st.sampled_from(_WEEKDAYS), st.sampled_from(_MONTHS)
_tail = _joined(_comma, _year, _maybe(st.just(" "), _loose_clock), _zone)
_named = st.one_of(
    _joined(_weekday, _small_day, st.just(" "), _month_name, _tail),
    _joined(_weekday, _month_name, st.just(" "), _small_day, _tail),
)
# Instants in the forms that nearly every row has, to reach the valid side often.
_usual = st.datetimes().map(lambda instant: instant.isoformat(sep=" ", timespec="seconds"))


@st.composite
def _near_miss(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A text with a sign put in, taken out or replaced."""
    text = draw(texts)
    place = draw(st.integers(0, len(text)))
    kept = place + draw(st.integers(0, 1))
    sign: str = draw(st.sampled_from(("", *_ALPHABET)))
    return text[:place] + sign + text[kept:]


def with_near_misses(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts, one in two of them with one or two faults."""
    return st.one_of(texts, texts, _near_miss(texts), _near_miss(_near_miss(texts)))


def columns_of(texts: st.SearchStrategy[str], size: int = 40) -> st.SearchStrategy[Sequence[str]]:
    """Many texts at once: one call of the pipeline judges a whole column."""
    return st.lists(texts, min_size=1, max_size=size)


TIMESTAMPS = with_near_misses(st.one_of(_usual, _iso, _basic, _epoch, _slash, _named))

_sign = st.sampled_from(("", "", "+", "-", "--"))
_digits = st.one_of(st.integers(0, 10**6).map(str), st.integers(0, 10**22).map(str), st.just("000"))
_groups = st.integers(0, 10**9).map("{:,}".format)
_decimals = st.one_of(
    st.just(""),
    st.text("0123456789", max_size=7).map(".{}".format),
    st.sampled_from((".00005", ".99995", ".5")),
)
_exponent = st.one_of(
    st.just(""),
    st.just(""),
    _joined(st.sampled_from("eE"), st.sampled_from(("", "+", "-")), st.integers(0, 40).map(str)),
    st.sampled_from(("e99999", "E-99999", "e", "e1.5", "e+", "e0005", "e999999999999999999999999")),
)
_symbol = st.sampled_from(("", "", "$", "us$", "US$", "€", "£", "¥", "₹", "‚Ç¨", "â‚¬", "Â£", "¬£", "CHF", "uſ$"))

DURATIONS = with_near_misses(_joined(_sign, st.one_of(_digits, _digits, _groups), _decimals, _exponent))
AMOUNTS = with_near_misses(
    _joined(
        _sign,
        _symbol,
        st.sampled_from(("", "", " ", "  ", "\u00a0")),
        _sign,
        st.one_of(_digits, _groups),
        _decimals,
        _exponent,
    )
)
