"""One text in, one value out: trimming, null tokens, timestamps, numbers, categories and e-mail addresses."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

import pycountry

# Unicode's White_Space property. str.strip() alone would also take U+001C to U+001F, which do not have it.
WHITE_SPACE = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
NULL_TOKENS = frozenset({"", "null", "none", "nan", "n/a"})

MIN_YEAR, MAX_YEAR = 1970, 2100
MAX_OFFSET = timedelta(hours=14)
SLASH_ORDER = "mdy"
MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

AMOUNT_SCALE = 4
HUGE = 10**40
"""Stands for every number of more than 40 digits: beyond any maximum, and beyond what can be stored."""

COUNTRY_ALIASES = {
    "uk": "GB", "great_britain": "GB", "england": "GB",
    "usa": "US", "u.s.": "US", "u.s.a.": "US", "america": "US",
}  # fmt: skip
STATUS_ALIASES = {
    "customers": {
        "active": "active", "inactive": "inactive", "banned": "banned",
        "actve": "active", "enabled": "active", "disabled": "inactive", "blocked": "banned",
    },
    "orders": {
        "paid": "paid", "failed": "failed", "refunded": "refunded", "chargeback": "chargeback",
        "succeeded": "paid", "success": "paid", "completed": "paid", "declined": "failed",
        "refund": "refunded", "charge_back": "chargeback",
    },
}  # fmt: skip
PLATFORM_ALIASES = {
    "ios": "ios", "android": "android", "web": "web",
    "iphone": "ios", "ipad": "ios", "and": "android", "droid": "android", "browser": "web", "desktop": "web",
}  # fmt: skip
EVENT_TYPE_ALIASES = {
    "login": "login", "logout": "logout", "signup": "signup", "page_view": "page_view", "click": "click",
    "search": "search", "feature_use": "feature_use", "paywall_view": "paywall_view",
    "add_to_cart": "add_to_cart", "purchase": "purchase", "error": "error",
    "pageview": "page_view", "view": "page_view", "sign_up": "signup", "log_in": "login", "sign_in": "login",
    "log_out": "logout", "sign_out": "logout",
}  # fmt: skip
_SYMBOLS = {"€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}
CURRENCY_SYMBOLS = {
    "$": "USD",
    "us$": "USD",
    **_SYMBOLS,
    # What becomes of a symbol whose UTF-8 bytes somebody has read as another encoding.
    **{symbol.encode().decode("mac_roman"): code for symbol, code in _SYMBOLS.items()},
    **{symbol.encode().decode("cp1252"): code for symbol, code in _SYMBOLS.items()},
}
NO_CURRENCIES = frozenset({"XXX", "XTS"})


def clean_text(text: str | None) -> str | None:
    """Trim; None for a null token."""
    if text is None:
        return None
    trimmed = text.strip(WHITE_SPACE)
    return None if trimmed.lower() in NULL_TOKENS else trimmed


# --- timestamps -------------------------------------------------------------------------------------------

_ISO_ZONE = r"(?: ?(?P<zone>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?))?"
_ISO_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
_LOOSE_CLOCK = (
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"(?: ?(?P<meridiem>[AaPp][Mm]))?"
)
_WEEKDAY = r"(?:(?P<weekday>[A-Za-z]+),? )?"
_AFTER_DAY_AND_MONTH = (
    rf",? (?P<year>[0-9]{{4}})(?: {_LOOSE_CLOCK})?"
    r"(?: ?(?P<zone>Z|[Uu][Tt][Cc]|[Gg][Mm][Tt]|[+-][0-9]{2}:?[0-9]{2}))?"
)
_ISO = re.compile(
    r"(?P<year>[0-9]{4})(?P<mark>[-/])(?P<month>[0-9]{2})(?P=mark)(?P<day>[0-9]{2})"
    rf"(?:[T ]{_ISO_CLOCK}{_ISO_ZONE})?"
)
_BASIC = re.compile(
    r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
    rf"(?:T(?P<hour>[0-9]{{2}})(?P<minute>[0-9]{{2}})(?P<second>[0-9]{{2}}){_ISO_ZONE})?"
)
_SLASH = re.compile(rf"(?P<first>[0-9]{{1,2}})/(?P<other>[0-9]{{1,2}})/(?P<year>[0-9]{{4}})(?: {_LOOSE_CLOCK})?")
_DAY_FIRST = re.compile(rf"{_WEEKDAY}(?P<day>[0-9]{{1,2}}) (?P<month>[A-Za-z]+){_AFTER_DAY_AND_MONTH}")
_MONTH_FIRST = re.compile(rf"{_WEEKDAY}(?P<month>[A-Za-z]+) (?P<day>[0-9]{{1,2}}){_AFTER_DAY_AND_MONTH}")
_EPOCH = re.compile(r"(?P<seconds>[0-9]{10})(?:\.(?P<fraction>[0-9]{1,9}))?|(?P<ms>[0-9]{13})|(?P<us>[0-9]{16})")

_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


def parse_timestamp(text: str | None, slash_order: str = SLASH_ORDER) -> datetime | None:
    """Read a timestamp in one of the contract's forms as an instant in UTC; None for anything else."""
    text = clean_text(text)
    if text is None:
        return None
    if found := _EPOCH.fullmatch(text):
        return _within_years(_EPOCH_START + timedelta(microseconds=_epoch_microseconds(found)))
    if found := _ISO.fullmatch(text) or _BASIC.fullmatch(text):
        parts = found.groupdict()
        return _instant(parts, int(parts["month"]), int(parts["day"]))
    if found := _SLASH.fullmatch(text):
        parts = found.groupdict()
        first, other = int(parts["first"]), int(parts["other"])
        if slash_order == "mdy":
            return _instant(parts, month=first, day=other)
        return _instant(parts, month=other, day=first) if slash_order == "dmy" else None
    if found := _DAY_FIRST.fullmatch(text) or _MONTH_FIRST.fullmatch(text):
        parts = found.groupdict()
        month = _place_of_name(parts["month"], MONTHS)
        return None if month is None else _instant(parts, month + 1, int(parts["day"]))
    return None


def _epoch_microseconds(found: re.Match[str]) -> int:
    """Give the microseconds of an epoch by its number of digits."""
    if found["ms"]:
        return int(found["ms"]) * 1_000
    if found["us"]:
        return int(found["us"])
    return int(found["seconds"]) * 1_000_000 + _microseconds(found["fraction"])


def _microseconds(fraction: str | None) -> int:
    """Cut the digits after the point to six."""
    return int((fraction or "0")[:6].ljust(6, "0"))


def _instant(parts: Mapping[str, str | None], month: int, day: int) -> datetime | None:
    """Put a timestamp's parts together, in UTC; None if there is no such date, clock, weekday or zone."""
    year = int(parts["year"] or 0)
    hour = _hour(int(parts.get("hour") or 0), parts.get("meridiem"))
    offset = _offset(parts.get("zone"))
    if hour is None or offset is None or not MIN_YEAR - 1 <= year <= MAX_YEAR + 1:
        return None
    minute, second = int(parts.get("minute") or 0), int(parts.get("second") or 0)
    try:
        local = datetime(year, month, day, hour, minute, second, _microseconds(parts.get("fraction")), UTC)
    except ValueError:
        return None
    weekday = parts.get("weekday")
    if weekday is not None and _place_of_name(weekday, WEEKDAYS) != local.weekday():
        return None
    return _within_years(local - offset)


def _within_years(instant: datetime) -> datetime | None:
    """Refuse an instant outside the years that the contract accepts."""
    return instant if MIN_YEAR <= instant.year <= MAX_YEAR else None


def _hour(hour: int, meridiem: str | None) -> int | None:
    """Give the hour of 24; with AM or PM only 1 to 12 will do."""
    if meridiem is None:
        return hour
    if not 1 <= hour <= 12:
        return None
    return hour % 12 + (12 if meridiem.lower() == "pm" else 0)


def _offset(zone: str | None) -> timedelta | None:
    """Give how far a zone is ahead of UTC; None if that is impossible."""
    if zone is None or zone.lower() in {"z", "utc", "gmt"}:
        return timedelta(0)
    digits = zone[1:].replace(":", "").ljust(4, "0")
    if int(digits[2:]) > 59:
        return None
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if offset > MAX_OFFSET:
        return None
    return -offset if zone[0] == "-" else offset


def _place_of_name(name: str, names: tuple[str, ...]) -> int | None:
    """Find a name, written whole or as its first three letters, in any case."""
    wanted = name.lower()
    return next((place for place, full in enumerate(names) if wanted in (full, full[:3])), None)


# --- numbers ----------------------------------------------------------------------------------------------

_PLAIN_DIGITS = r"(?:(?P<whole>[0-9]+)(?:\.(?P<fraction>[0-9]*))?|\.(?P<only_fraction>[0-9]+))"
_GROUPED_DIGITS = (
    r"(?:(?P<whole>[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.(?P<fraction>[0-9]*))?|\.(?P<only_fraction>[0-9]+))"
)
_EXPONENT = r"(?:[eE](?P<exponent>[+-]?[0-9]+))?"
_DURATION = re.compile(rf"(?P<sign>[+-]?){_PLAIN_DIGITS}{_EXPONENT}")
_UNSIGNED_AMOUNT = re.compile(rf"{_GROUPED_DIGITS}{_EXPONENT}")


def parse_duration_ms(text: str | None) -> int | None:
    """Read a decimal number, rounded to a whole one half away from zero."""
    text = clean_text(text)
    found = _DURATION.fullmatch(text) if text is not None else None
    if found is None:
        return None
    size = _rounded(found, scale=0)
    return -size if found["sign"] == "-" else size


def parse_amount(text: str | None) -> Decimal | None:
    """Read an amount, rounded to four decimals half away from zero.

    One sign at most, before or after the symbol; one blank at most, after the symbol.
    """
    rest = clean_text(text)
    if rest is None:
        return None
    sign, rest = _take_sign(rest)
    symbol = next((each for each in CURRENCY_SYMBOLS if rest.lower().startswith(each.lower())), None)
    if symbol is not None:
        rest = rest[len(symbol) :].removeprefix(" ")
        if not sign:
            sign, rest = _take_sign(rest)
    found = _UNSIGNED_AMOUNT.fullmatch(rest)
    if found is None:
        return None
    size = _rounded(found, AMOUNT_SCALE)
    digits = tuple(int(digit) for digit in str(size))
    return Decimal((1 if sign == "-" and size else 0, digits, -AMOUNT_SCALE))


def _take_sign(text: str) -> tuple[str, str]:
    """Split a leading sign from a text."""
    return (text[:1], text[1:]) if text[:1] in {"+", "-"} else ("", text)


def _rounded(number: re.Match[str], scale: int) -> int:
    """Give an unsigned number times 10**scale, rounded half away from zero, by moving the point in text."""
    whole = (number["whole"] or "").replace(",", "")
    digits = whole + (number["fraction"] or number["only_fraction"] or "")
    point = len(whole) + _exponent(number["exponent"]) + scale
    without_zeros = digits.lstrip("0")
    point -= len(digits) - len(without_zeros)
    if not without_zeros or point < 0:
        return 0
    if point > len(str(HUGE)) - 1:
        return HUGE
    kept = int(without_zeros[:point].ljust(point, "0") or "0")
    first_dropped = without_zeros[point : point + 1]
    return kept + 1 if first_dropped >= "5" else kept


def _exponent(text: str | None) -> int:
    """Read an exponent; one of very many digits becomes one that is merely enormous."""
    if text is None:
        return 0
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-").lstrip("0") or "0"
    return sign * (int(digits) if len(digits) <= 18 else 10**18)


# --- categories and e-mail --------------------------------------------------------------------------------

_SEPARATORS = re.compile(rf"[{re.escape(WHITE_SPACE)}_-]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def category_key(text: str, *, split_humps: bool = False) -> str:
    """Give the form in which categories are compared; event types also have their camelCase humps split."""
    if split_humps:
        text = _HUMP.sub("_", text)
    return _SEPARATORS.sub("_", text.lower())


def match_country(text: str | None) -> str | None:
    """Give the ISO 3166-1 alpha-2 code; None for null and for what is no country."""
    return _match(text, _countries())


def match_status(text: str | None, feed: str) -> str | None:
    """Give the canonical status of a customer or an order; None for null and for the unknown."""
    return _match(text, STATUS_ALIASES[feed])


def match_platform(text: str | None) -> str | None:
    """Give the canonical platform; None for null and for the unknown."""
    return _match(text, PLATFORM_ALIASES)


def match_event_type(text: str | None) -> str | None:
    """Give the canonical event type; None for null and for the unknown."""
    return _match(text, EVENT_TYPE_ALIASES, split_humps=True)


def match_currency(text: str | None) -> str | None:
    """Give the ISO 4217 code; None for null and for what is no currency."""
    return _match(text, _currencies())


def valid_email(text: str | None) -> bool:
    """Tell whether this is one `@` between a local part and a domain of two or more labels, with no blank."""
    text = clean_text(text)
    if text is None or text.count("@") != 1 or any(char in WHITE_SPACE for char in text):
        return False
    local, domain = text.split("@")
    labels = domain.split(".")
    return bool(local) and len(labels) >= 2 and all(labels)


def _match(text: str | None, canonical: Mapping[str, str], *, split_humps: bool = False) -> str | None:
    """Look a text up by its category key."""
    text = clean_text(text)
    return None if text is None else canonical.get(category_key(text, split_humps=split_humps))


@cache
def _countries() -> dict[str, str]:
    """Map the key of every code, name and alias to the country's alpha-2 code."""
    codes: dict[str, str] = {}
    for country in pycountry.countries:
        for attribute in ("alpha_2", "alpha_3", "name", "official_name", "common_name"):
            name = getattr(country, attribute, None)
            if name is not None:
                codes[category_key(name)] = country.alpha_2
    return codes | {category_key(alias): code for alias, code in COUNTRY_ALIASES.items()}


@cache
def _currencies() -> dict[str, str]:
    """Map the key of every code and symbol to the currency's code."""
    codes = {category_key(currency.alpha_3): currency.alpha_3 for currency in pycountry.currencies}
    codes = {key: code for key, code in codes.items() if code not in NO_CURRENCIES}
    return codes | {category_key(symbol): code for symbol, code in CURRENCY_SYMBOLS.items()}
