"""Every way in which a row or a line goes wrong: a small function each, and two tables that say how often.

`ROW_MESS` changes fields, `LINE_MESS` damages a record's text. What happens to whole files is in `files`.
"""

import csv
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from random import Random
from typing import Final, Literal, NamedTuple

from assets_pkg.sampledata.shop import COUNTRY, pick

Row = dict[str, str]
Outcome = Literal["clean", "warning", "quarantine", "duplicate", "malformed"]

CUSTOMERS: Final = "customers"
EVENTS: Final = "events"
ORDERS: Final = "orders"
FEEDS: Final = (CUSTOMERS, EVENTS, ORDERS)
ALL: Final = "all"

COLUMNS: Final = {
    CUSTOMERS: ("customer_id", "email", "created_at", "country", "status", "ingest_date"),
    EVENTS: (
        "event_id", "customer_id", "event_time", "event_type", "platform", "session_id", "duration_ms", "url",
        "ingest_date",
    ),
    ORDERS: ("order_id", "customer_id", "order_time", "amount", "currency", "status", "ingest_date"),
}  # fmt: skip
_TIMES: Final = ("event_time", "order_time", "created_at")


class RowMess(NamedTuple):
    """A kind of mess in a row: changes the row, and may give another one to be written soon after it."""

    name: str
    feed: str
    rate: float
    outcome: Outcome
    apply: Callable[[Row, Random], Row | None]


class LineMess(NamedTuple):
    """A kind of mess in a record's text: gives the lines that stand in its place.

    `quiet` is the number of records after it that must hold no quote, so that an open quote stays open.
    """

    name: str
    feed: str
    rate: float
    outcome: Outcome
    apply: Callable[[str, Random], list[str]]
    quiet: int = 0


# --- times ------------------------------------------------------------------------------------------------

_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _month(when: datetime) -> str:
    """The English name, whatever the locale."""
    return _MONTHS[when.month - 1]


def _weekday(when: datetime) -> str:
    """The English name, whatever the locale."""
    return _WEEKDAYS[when.weekday()]


def _at(minutes: int, when: datetime) -> datetime:
    """The same instant on a clock that is some minutes ahead of UTC."""
    return when.astimezone(timezone(timedelta(minutes=minutes)))


def _clock12(when: datetime, *, seconds: bool = False) -> str:
    """A clock of twelve hours."""
    ending = f":{when:%S}" if seconds else ""
    return f"{when.hour % 12 or 12}:{when:%M}{ending} {'PM' if when.hour >= 12 else 'AM'}"


def _epoch(when: datetime) -> int:
    """Whole seconds since 1970."""
    return int(when.timestamp())


TIME_FORMS: Final[tuple[Callable[[datetime], str], ...]] = (
    lambda t: f"{_at(-300, t):%Y-%m-%dT%H:%M:%S-05:00}",
    lambda t: f"{_at(330, t):%Y-%m-%dT%H:%M:%S+0530}",
    lambda t: f"{_at(120, t):%Y-%m-%d %H:%M:%S +02}",
    lambda t: f"{_at(-210, t):%Y-%m-%d %H:%M:%S.5 -03:30}",
    lambda t: f"{t:%Y-%m-%dT%H:%M:%S,250z}",
    lambda t: f"{t:%Y-%m-%d %H:%M:%S.123456789}",
    lambda t: f"{t:%Y-%m-%dT%H:%MZ}",
    lambda t: f"{t:%Y-%m-%d %H:%M}",
    lambda t: f"{t:%Y%m%dT%H%M%SZ}",
    lambda t: f"{_at(60, t):%Y%m%dT%H%M%S+0100}",
    lambda t: f"{t:%Y%m%dT%H%M%S}",
    lambda t: f"{_epoch(t)}",
    lambda t: f"{_epoch(t)}.75",
    lambda t: f"{_epoch(t)}{t.microsecond // 1000:03d}",
    lambda t: f"{_epoch(t)}{t.microsecond:06d}",
    lambda t: f"{t:%Y/%m/%d %H:%M:%S}",
    lambda t: f"{_at(-480, t):%Y/%m/%dT%H:%M:%S-08:00}",
    lambda t: f"{t.month}/{t.day}/{t.year} {_clock12(t)}",
    lambda t: f"{t:%m/%d/%Y} {_clock12(t, seconds=True)}",
    lambda t: f"{t:%m/%d/%Y %H:%M:%S}",
    lambda t: f"{_weekday(t)[:3]}, {t.day} {_month(t)[:3]} {t:%Y %H:%M:%S} GMT",
    lambda t: f"{_month(t)[:3]} {t.day}, {t.year} {_clock12(t)}",
    lambda t: f"{t.day} {_month(t)} {t:%Y %H:%M} Z",
    lambda t: f"{_month(t)} {t.day} {t.year} {_clock12(t, seconds=True)} UTC",
    lambda t: f"{_weekday(_at(540, t))}, {_month(_at(540, t))} {_at(540, t).day}, {_at(540, t):%Y %H:%M:%S} +09:00",
)

DATE_FORMS: Final[tuple[Callable[[datetime], str], ...]] = (
    lambda t: f"{t:%Y-%m-%d}",
    lambda t: f"{t:%Y%m%d}",
    lambda t: f"{t:%Y/%m/%d}",
    lambda t: f"{t.month}/{t.day}/{t.year}",
    lambda t: f"{t.day} {_month(t)[:3]} {t.year}",
    lambda t: f"{_weekday(t)}, {_month(t)} {t.day}, {t.year}",
)

BAD_TIMES: Final[tuple[Callable[[datetime], str], ...]] = (
    lambda t: f"{t:%Y}-02-30 {t:%H:%M:%S}",
    lambda t: f"{t:%Y-%m-%d}T24:00:00Z",
    lambda t: f"{t:%Y-%m-%dT%H}:60:00Z",
    lambda t: f"{t:%Y-%m-%dT%H:%M}:60Z",
    lambda t: f"{t:%Y-%m-%dT%H:%M:%S}+15:00",
    lambda t: f"{t:%Y-%m-%dT%H:%M:%S}+01:75",
    lambda t: f"{_month(t)[:3]} {t.day} {t:%Y %H:%M} EST",
    lambda t: f"{t:%H:%M} on {_weekday(t)}",
    lambda t: f"31/12/{t:%Y %H:%M}",
    lambda t: f"{_weekday(t + timedelta(days=1))[:3]}, {t.day} {_month(t)[:3]} {t:%Y %H:%M:%S} GMT",
    lambda t: f"{_epoch(t)}0",
    lambda t: f"{t:%d-%m-%Y %H:%M}",
    lambda _: "0000-00-00 00:00:00",
    lambda _: "1969-07-20T20:17:40Z",
    lambda _: "9999-12-31",
    lambda _: "yesterday",
    lambda _: "#VALUE!",
)


def _time_column(row: Row) -> str:
    """The row's own time column."""
    return next(column for column in _TIMES if column in row)


def _instant(row: Row) -> datetime:
    """The time that a row still free of mess speaks of."""
    when = datetime.fromisoformat(row[_time_column(row)])
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)


def _set_instant(row: Row, when: datetime) -> None:
    """Write a time the plain way."""
    row[_time_column(row)] = f"{when:%Y-%m-%dT%H:%M:%SZ}"


def _rewrite_time(forms: tuple[Callable[[datetime], str], ...], row: Row, rng: Random) -> None:
    """Write the row's time in another form."""
    row[_time_column(row)] = pick(rng, forms)(_instant(row))


def clock_skew(row: Row, rng: Random) -> None:
    """A device whose minutes are wrong, so that events come out of order; the hour stays as it is."""
    when = _instant(row)
    seconds = (when.minute * 60 + when.second + rng.randint(-600, 600)) % 3600
    _set_instant(row, when.replace(minute=seconds // 60, second=seconds % 60))


def clock_a_day_ahead(row: Row, _rng: Random) -> None:
    """A device whose date is tomorrow's: still within the skew that the contract allows."""
    _set_instant(row, _instant(row) + timedelta(days=1))


def future_time(row: Row, rng: Random) -> None:
    """A device whose clock runs ahead by weeks."""
    _set_instant(row, _instant(row) + timedelta(days=rng.randint(12, 500)))


# --- any field --------------------------------------------------------------------------------------------

_NULLS: Final = ("", "", "null", "NULL", "None", "NaN", "nan", "n/a", "N/A", "  ", " null ")
_PADS: Final = (" ", "  ", "\t", " \t ")
_UNICODE_PADS: Final = ("\u00a0", "\u2003", "\u3000", "\u2009\u202f", "\u00a0 ")
_MAY_BE_NULL: Final = {
    CUSTOMERS: ("email", "country", "ingest_date"),
    EVENTS: ("session_id", "duration_ms", "url", "ingest_date"),
    ORDERS: ("ingest_date",),
}


def _feed(row: Row) -> str:
    """Whose row it is."""
    return EVENTS if "event_id" in row else ORDERS if "order_id" in row else CUSTOMERS


def _blank(column: str, row: Row, rng: Random) -> None:
    """Nothing there, or a word for nothing."""
    row[column] = pick(rng, _NULLS)


def _replace(column: str, values: tuple[str, ...], row: Row, rng: Random) -> None:
    """Another value in the place of the right one."""
    row[column] = pick(rng, values)


def null_token(row: Row, rng: Random) -> None:
    """Nothing in a column that may be empty."""
    _blank(pick(rng, _MAY_BE_NULL[_feed(row)]), row, rng)


def blank_id(row: Row, rng: Random) -> None:
    """No id of its own (a feed's first column)."""
    _blank(next(iter(row)), row, rng)


def blank_time(row: Row, rng: Random) -> None:
    """No time at all."""
    _blank(_time_column(row), row, rng)


def _pad(pads: tuple[str, ...], row: Row, rng: Random) -> None:
    """White space around two fields."""
    for column in rng.sample(list(row), 2):
        row[column] = pick(rng, (*pads, "")) + row[column] + pick(rng, pads)


def quoted_line_break(row: Row, rng: Random) -> None:
    """A line break inside a quoted field: at the end, where it gets trimmed, or in the middle of a search."""
    if "url" in row:
        row["url"] = pick(rng, ("/search?q=two\nlines", '/search?q="two"\r\nlines\n'))
    else:
        row["status"] += pick(rng, ("\n", "\r\n"))


def invalid_utf8(row: Row, _rng: Random) -> None:
    """A byte of Latin-1 in a file that is UTF-8 (a lone surrogate here, the byte itself in the file)."""
    if "url" in row:
        row["url"] = "/search?q=caf\udce9"
    else:
        row["email"] = f"jos\udce9.{row['email']}"


def wrong_ingest_date(row: Row, rng: Random) -> None:
    """The date of another day's delivery, or the right one written otherwise."""
    right = row["ingest_date"]
    row["ingest_date"] = pick(rng, ("2099-01-01", "1970-01-01", right.replace("-", "/"), f"{right}T00:00:00Z"))


def orphan(row: Row, rng: Random) -> None:
    """A customer of whom the customers feed never heard."""
    row["customer_id"] = f"guest{rng.randrange(10_000):04d}"


def several_troubles(row: Row, rng: Random) -> None:
    """A row to which everything happened at once."""
    blank_time(row, rng)
    row["ingest_date"] = "2099-01-01"
    if _feed(row) == EVENTS:
        orphan(row, rng)
        negative_duration(row, rng)
        row["platform"] = "fridge"
    elif _feed(row) == ORDERS:
        orphan(row, rng)
        negative_amount(row, rng)
        row["currency"] = "gold"


# --- categories -------------------------------------------------------------------------------------------

_ALIASES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "platform": {
        "ios": ("iPhone", "iPad", "IOS", "iphone"),
        "android": ("Android", "droid", "AND", "ANDROID"),
        "web": ("browser", "Desktop", "WEB", "Web"),
    },
    "event_type": {
        "page_view": ("pageview", "Page View", "PAGE-VIEW", "view", "pageView", "PageView"),
        "feature_use": ("featureUse", "FEATURE_USE", "feature  use"),
        "paywall_view": ("paywallView", "Paywall-View"),
        "add_to_cart": ("addToCart", "Add to cart", "ADD__TO__CART"),
        "login": ("Log In", "signIn", "sign-in", "LOGIN"),
        "logout": ("logOut", "Sign Out", "log_out"),
        "signup": ("signUp", "Sign-up"),
        "click": ("Click", "CLICK"),
        "search": ("Search", "SEARCH"),
        "purchase": ("Purchase",),
        "error": ("ERROR",),
    },
    "status": {
        "active": ("ACTIVE", "actve", "Enabled"),
        "inactive": ("Inactive", "disabled"),
        "banned": ("BANNED", "blocked"),
        "paid": ("PAID", "succeeded", "Success", "completed"),
        "failed": ("Failed", "declined"),
        "refunded": ("REFUNDED", "refund"),
        "chargeback": ("charge back", "Charge-Back", "charge_back"),
    },
    "country": {country.code: country.spellings for country in COUNTRY.values()},
}
_ODD_PLATFORMS: Final = ("TV", "fridge", "smart watch")
_ODD_TYPES: Final = ("hover", "swipeLeft", "42")
_ODD_COUNTRIES: Final = ("XX", "Atlantis", "EU", "E.U.")
_ODD_STATUSES: Final = ("zombie", "pending?", "1", "???")


def _other_spelling(column: str, row: Row, rng: Random) -> None:
    """The same category in other letters or by another name."""
    row[column] = pick(rng, _ALIASES[column][row[column]])


def invalid_email(row: Row, rng: Random) -> None:
    """What forms without a check let through."""
    local, domain = row["email"].split("@")
    wrong = ("{0}{1}", "{0}@@{1}", "@{1}", "{0}@localhost", "{0} @{1}", "{0}@.com", "mail me at {0}")
    row["email"] = pick(rng, wrong).format(local, domain)


# --- durations --------------------------------------------------------------------------------------------

_NO_DURATIONS: Final = ("fast", "12 ms", "1_000", "inf", "0x10")


def duration_fraction(row: Row, rng: Random) -> None:
    """Milliseconds to the microsecond."""
    row["duration_ms"] += pick(rng, (".5", ".25", ".000", ".125"))


def duration_exponent(row: Row, rng: Random) -> None:
    """Written by something that thinks in floats."""
    row["duration_ms"] = pick(rng, ("1.2e3", "4E+3", "+9.75e2", "15000e-1"))


def negative_duration(row: Row, _rng: Random) -> None:
    """The clock was set back while the page was open."""
    row["duration_ms"] = str(-1 - int(row["duration_ms"]))


def duration_too_large(row: Row, rng: Random) -> None:
    """A tab left open for days."""
    row["duration_ms"] = pick(rng, ("86400001", "1e12", str(86_400_001 + rng.randrange(10**9))))


# --- amounts and money ------------------------------------------------------------------------------------

_ODD_CURRENCIES: Final = ("???", "XXX", "gold", "EURO")
_NO_AMOUNTS: Final = ("free", "12,50", "12.50.00", "0x1F", "inf", "1_000")
_ABSURD_AMOUNTS: Final = ("99999999.99", "1000000.01", "1e9")
_SYMBOLS: Final = {"USD": ("$", "US$"), "EUR": ("€",), "GBP": ("£",), "JPY": ("¥",), "INR": ("₹",)}


def currency_symbol(row: Row, rng: Random) -> None:
    """The sign instead of the code, where money has one."""
    row["currency"] = pick(rng, _SYMBOLS.get(row["currency"], (row["currency"].lower(),)))


def currency_lower_case(row: Row, _rng: Random) -> None:
    """The code in small letters."""
    row["currency"] = row["currency"].lower()


def mojibake_symbol(row: Row, rng: Random) -> None:
    """The sign in UTF-8, read on its way in an older encoding (a dollar would survive that: then a euro)."""
    sign = _SYMBOLS.get(row["currency"], ("€",))[0]
    misread = ("€" if sign.isascii() else sign).encode()
    row["currency"] = misread.decode(pick(rng, ("mac_roman", "cp1252")))


def thousands_separator(row: Row, _rng: Random) -> None:
    """A large amount with commas, which the file has to quote."""
    row["amount"] = f"{float(row['amount']) + 1000:,.2f}"


def symbol_before_amount(row: Row, rng: Random) -> None:
    """The sign in front of the number."""
    row["amount"] = pick(rng, ("$", "€", "£", "€ ", "US$")) + row["amount"]


def amount_exponent(row: Row, _rng: Random) -> None:
    """Written by something that thinks in floats; `3.99e+01` is 39.9."""
    row["amount"] = f"{float(row['amount']):.4e}"


def failed_without_amount(row: Row, rng: Random) -> None:
    """Nothing was paid, and nothing is said about what would have been."""
    row["status"] = "failed"
    _blank("amount", row, rng)


def missing_amount(row: Row, rng: Random) -> None:
    """Paid, but nobody says how much."""
    row["status"] = "paid"
    _blank("amount", row, rng)


def negative_amount(row: Row, rng: Random) -> None:
    """A refund's direction put into the amount."""
    row["amount"] = "-" + pick(rng, ("", "$")) + row["amount"]


def zero_amount(row: Row, rng: Random) -> None:
    """Paid with nothing."""
    row["status"] = "paid"
    row["amount"] = pick(rng, ("0", "0.00", "-0", "0.00004"))


# --- copies -----------------------------------------------------------------------------------------------


def exact_duplicate(row: Row, _rng: Random) -> Row:
    """The sender tried again."""
    return dict(row)


def same_id_other_content(row: Row, rng: Random) -> Row:
    """The same id, telling something else."""
    other = dict(row)
    if "duration_ms" in row:
        other["duration_ms"] = str(rng.randrange(100, 100_000))
        other["platform"] = pick(rng, ("web", "ios", "android"))
    elif "amount" in row:
        other["status"] = "refunded" if row["status"] == "paid" else "paid"
    else:
        other["email"] = pick(rng, ("", "new." + row["email"]))
        other["status"] = pick(rng, ("active", "inactive"))
    return other


ROW_MESS: Final = (
    # Another way to say it: the row is as good as any.
    RowMess("time_in_another_form", ALL, 0.04, "clean", partial(_rewrite_time, TIME_FORMS)),
    RowMess("date_without_clock", CUSTOMERS, 0.03, "clean", partial(_rewrite_time, DATE_FORMS)),
    RowMess("clock_skew", EVENTS, 0.01, "clean", clock_skew),
    RowMess("clock_a_day_ahead", EVENTS, 0.001, "clean", clock_a_day_ahead),
    RowMess("null_token", ALL, 0.008, "clean", null_token),
    RowMess("padded", ALL, 0.008, "clean", partial(_pad, _PADS)),
    RowMess("padded_with_unicode_blanks", ALL, 0.004, "clean", partial(_pad, _UNICODE_PADS)),
    RowMess("quoted_line_break", ALL, 0.0025, "clean", quoted_line_break),
    RowMess("invalid_utf8", CUSTOMERS, 0.003, "clean", invalid_utf8),
    RowMess("invalid_utf8", EVENTS, 0.001, "clean", invalid_utf8),
    RowMess("country_spelling", CUSTOMERS, 0.12, "clean", partial(_other_spelling, "country")),
    RowMess("status_spelling", CUSTOMERS, 0.06, "clean", partial(_other_spelling, "status")),
    RowMess("status_spelling", ORDERS, 0.05, "clean", partial(_other_spelling, "status")),
    RowMess("platform_spelling", EVENTS, 0.04, "clean", partial(_other_spelling, "platform")),
    RowMess("event_type_spelling", EVENTS, 0.04, "clean", partial(_other_spelling, "event_type")),
    RowMess("duration_with_fraction", EVENTS, 0.005, "clean", duration_fraction),
    RowMess("duration_with_exponent", EVENTS, 0.002, "clean", duration_exponent),
    RowMess("currency_symbol", ORDERS, 0.03, "clean", currency_symbol),
    RowMess("currency_lower_case", ORDERS, 0.02, "clean", currency_lower_case),
    RowMess("mojibake_symbol", ORDERS, 0.01, "clean", mojibake_symbol),
    RowMess("thousands_separator", ORDERS, 0.015, "clean", thousands_separator),
    RowMess("symbol_before_amount", ORDERS, 0.015, "clean", symbol_before_amount),
    RowMess("amount_with_exponent", ORDERS, 0.005, "clean", amount_exponent),
    RowMess("failed_without_amount", ORDERS, 0.005, "clean", failed_without_amount),
    # Good enough, with a warning.
    RowMess("invalid_email", CUSTOMERS, 0.01, "warning", invalid_email),
    RowMess("unknown_country", CUSTOMERS, 0.005, "warning", partial(_replace, "country", _ODD_COUNTRIES)),
    RowMess("unknown_status", CUSTOMERS, 0.004, "warning", partial(_replace, "status", _ODD_STATUSES)),
    RowMess("blank_status", CUSTOMERS, 0.006, "warning", partial(_blank, "status")),
    RowMess("unknown_platform", EVENTS, 0.003, "warning", partial(_replace, "platform", _ODD_PLATFORMS)),
    RowMess("blank_platform", EVENTS, 0.006, "warning", partial(_blank, "platform")),
    RowMess("unknown_event_type", EVENTS, 0.003, "warning", partial(_replace, "event_type", _ODD_TYPES)),
    RowMess("blank_event_type", EVENTS, 0.003, "warning", partial(_blank, "event_type")),
    # Not to be used.
    RowMess("wrong_ingest_date", ALL, 0.0025, "quarantine", wrong_ingest_date),
    RowMess("missing_id", ALL, 0.0025, "quarantine", blank_id),
    RowMess("missing_customer_id", EVENTS, 0.0025, "quarantine", partial(_blank, "customer_id")),
    RowMess("missing_customer_id", ORDERS, 0.0025, "quarantine", partial(_blank, "customer_id")),
    RowMess("missing_time", ALL, 0.0025, "quarantine", blank_time),
    RowMess("invalid_time", ALL, 0.008, "quarantine", partial(_rewrite_time, BAD_TIMES)),
    RowMess("future_time", EVENTS, 0.0015, "quarantine", future_time),
    RowMess("future_time", ORDERS, 0.0025, "quarantine", future_time),
    RowMess("invalid_duration", EVENTS, 0.002, "quarantine", partial(_replace, "duration_ms", _NO_DURATIONS)),
    RowMess("negative_duration", EVENTS, 0.002, "quarantine", negative_duration),
    RowMess("duration_too_large", EVENTS, 0.0015, "quarantine", duration_too_large),
    RowMess("missing_currency", ORDERS, 0.0025, "quarantine", partial(_blank, "currency")),
    RowMess("unknown_currency", ORDERS, 0.0025, "quarantine", partial(_replace, "currency", _ODD_CURRENCIES)),
    RowMess("missing_status", ORDERS, 0.0025, "quarantine", partial(_blank, "status")),
    RowMess("unknown_status", ORDERS, 0.0025, "quarantine", partial(_replace, "status", _ODD_STATUSES)),
    RowMess("missing_amount", ORDERS, 0.0025, "quarantine", missing_amount),
    RowMess("invalid_amount", ORDERS, 0.005, "quarantine", partial(_replace, "amount", _NO_AMOUNTS)),
    RowMess("negative_amount", ORDERS, 0.004, "quarantine", negative_amount),
    RowMess("zero_amount", ORDERS, 0.0025, "quarantine", zero_amount),
    RowMess("absurd_amount", ORDERS, 0.0025, "quarantine", partial(_replace, "amount", _ABSURD_AMOUNTS)),
    RowMess("orphan_customer", EVENTS, 0.008, "quarantine", orphan),
    RowMess("orphan_customer", ORDERS, 0.005, "quarantine", orphan),
    RowMess("several_troubles", ALL, 0.0025, "quarantine", several_troubles),
    # Twice.
    RowMess("exact_duplicate", ALL, 0.008, "duplicate", exact_duplicate),
    RowMess("same_id_other_content", ALL, 0.005, "duplicate", same_id_other_content),
)  # fmt: skip


# --- lines ------------------------------------------------------------------------------------------------


def field_too_few(line: str, _rng: Random) -> list[str]:
    """Cut off before its last field."""
    return [line.rpartition(",")[0]]


def field_too_many(line: str, rng: Random) -> list[str]:
    """One comma more than the header allows."""
    return [line + pick(rng, (",", ",surplus", ",a,b"))]


def unclosed_quote(line: str, rng: Random) -> list[str]:
    """A quote opens a field and nothing closes it."""
    fields = line.split(",")
    place = rng.randrange(1, len(fields))
    fields[place] = '"' + fields[place]
    return [",".join(fields)]


def blank_line(line: str, rng: Random) -> list[str]:
    """One or two lines of nothing after the record."""
    return [line] + [""] * pick(rng, (1, 1, 2))


LINE_MESS: Final = (
    LineMess("field_too_few", ALL, 0.0025, "malformed", field_too_few),
    LineMess("field_too_many", ALL, 0.0025, "malformed", field_too_many),
    LineMess("unclosed_quote", CUSTOMERS, 0.001, "malformed", unclosed_quote, quiet=100),
    LineMess("unclosed_quote", EVENTS, 0.0002, "malformed", unclosed_quote, quiet=100),
    LineMess("blank_line", ALL, 0.0025, "clean", blank_line),
)


# --- doses ------------------------------------------------------------------------------------------------


class Doses:
    """How often each kind of mess comes on one day.

    Not by chance alone: over any run of days each kind comes as often as its rate says, give or take one.
    """

    def __init__(self, seed: int, ordinal: int) -> None:
        """`ordinal` is the day's."""
        self._seed = seed
        self._ordinal = ordinal

    def __call__(self, kind: str, expected: float) -> int:
        """A whole number for a day on which `expected` are to come on average."""
        phase = Random(f"{self._seed}/{kind}").random()
        return int(expected * (self._ordinal + 1) + phase) - int(expected * self._ordinal + phase)


class _LastLine:
    """Something for a csv writer to write to, of which only the last record is of interest."""

    def __init__(self) -> None:
        """No record yet."""
        self.text = ""

    def write(self, text: str) -> None:
        """Keep the record without its line end."""
        self.text = text[:-2]


_last = _LastLine()
_writer = csv.writer(_last, lineterminator="\r\n")


def csv_text(fields: Iterable[str]) -> str:
    """One record as CSV text, quoted where it must be, without a line end."""
    _writer.writerow(fields)
    return _last.text
