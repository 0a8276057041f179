"""Texts to instants: every accepted form and every refusal of the contract's sections 2 and 9."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_pkg.contracts.feeds import MICROS
from assets_pkg.policy import Policy, load_policy
from assets_pkg.policy.model import ValuePolicy
from assets_pkg.transforms.texts import clean_text
from assets_pkg.transforms.timestamps import _parse_iso, parse_any_form, parse_timestamps
from assets_pkg_tests import texts as strategies
from assets_pkg_tests.reference.values import parse_timestamp
from assets_pkg_tests.workbench import at


def instants(texts: Iterable[str | None], values: ValuePolicy) -> list[datetime | None]:
    """What raw texts become: cleaned first, as the pipeline does it."""
    cleaned = clean_text(pl.Series("t", list(texts), pl.String), values.null_tokens)
    parsed = parse_timestamps(cleaned, values)
    assert parsed.dtype == MICROS
    return parsed.to_list()


# The accepted forms, by row of the contract's table: text, and the instant in UTC.
ISO = [
    ("2025-12-10T04:21:24.5-05:00", "2025-12-10T09:21:24.500000"),
    ("2025-12-10T04:21:24", "2025-12-10T04:21:24"),
    ("2025-12-10 04:21:24", "2025-12-10T04:21:24"),
    ("2025-12-10T04:21", "2025-12-10T04:21:00"),
    ("2025-12-10 04:21", "2025-12-10T04:21:00"),
    ("2025-12-10T04:21Z", "2025-12-10T04:21:00"),
    ("2025-12-10T04:21+02", "2025-12-10T02:21:00"),
    ("2025-12-10T04:21:24Z", "2025-12-10T04:21:24"),
    ("2025-12-10T04:21:24z", "2025-12-10T04:21:24"),
    ("2025-12-10T04:21:24 Z", "2025-12-10T04:21:24"),
    ("2025-12-10T04:21:24 z", "2025-12-10T04:21:24"),
    ("2025-12-10T04:21:24+01", "2025-12-10T03:21:24"),
    ("2025-12-10T04:21:24+0130", "2025-12-10T02:51:24"),
    ("2025-12-10T04:21:24+01:30", "2025-12-10T02:51:24"),
    ("2025-12-10T04:21:24 +01:30", "2025-12-10T02:51:24"),
    ("2025-12-10T04:21:24 -0500", "2025-12-10T09:21:24"),
    ("2025-12-10T04:21:24 -05", "2025-12-10T09:21:24"),
    ("2025-12-10T04:21:24-00:00", "2025-12-10T04:21:24"),
    ("2025-12-10T04:21:24+14:00", "2025-12-09T14:21:24"),
    ("2025-12-10T04:21:24-14:00", "2025-12-10T18:21:24"),
    ("2025-12-10T00:00:00", "2025-12-10T00:00:00"),
    ("2025-12-10T23:59:59", "2025-12-10T23:59:59"),
    ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00"),
    ("2000-02-29T12:00:00Z", "2000-02-29T12:00:00"),
]
FRACTIONS = [
    ("2025-12-10T04:21:24.1", "2025-12-10T04:21:24.100000"),
    ("2025-12-10T04:21:24,1", "2025-12-10T04:21:24.100000"),
    ("2025-12-10T04:21:24.000001", "2025-12-10T04:21:24.000001"),
    ("2025-12-10T04:21:24.123456", "2025-12-10T04:21:24.123456"),
    ("2025-12-10T04:21:24.1234567", "2025-12-10T04:21:24.123456"),
    ("2025-12-10T04:21:24.123456999", "2025-12-10T04:21:24.123456"),
    ("2025-12-10T04:21:24.999999999Z", "2025-12-10T04:21:24.999999"),
    ("2025-12-10T23:59:59,999999999 +00:00", "2025-12-10T23:59:59.999999"),
    ("1969-12-31T19:00:00.9999999-05:00", "1970-01-01T00:00:00.999999"),
]
DATES = [
    ("2025-12-10", "2025-12-10T00:00:00"),
    ("20251210", "2025-12-10T00:00:00"),
    ("20251210T042124", "2025-12-10T04:21:24"),
    ("20251210T042124Z", "2025-12-10T04:21:24"),
    ("20251210T042124z", "2025-12-10T04:21:24"),
    ("20251210T042124 Z", "2025-12-10T04:21:24"),
    ("20251210T042124+0530", "2025-12-09T22:51:24"),
    ("20251210T042124-05", "2025-12-10T09:21:24"),
    ("20251210T042124 +05:30", "2025-12-09T22:51:24"),
]
EPOCHS = [
    ("1733804484", "2024-12-10T04:21:24"),
    ("0000000000", "1970-01-01T00:00:00"),
    ("0000000001", "1970-01-01T00:00:01"),
    ("1733804484123", "2024-12-10T04:21:24.123000"),
    ("1733804484123456", "2024-12-10T04:21:24.123456"),
    ("1733804484.5", "2024-12-10T04:21:24.500000"),
    ("1733804484.1234567", "2024-12-10T04:21:24.123456"),
    ("1733804484.999999999", "2024-12-10T04:21:24.999999"),
    # No floating point: as a float this would end in …782.
    ("1733804484.000001", "2024-12-10T04:21:24.000001"),
    ("4133980799", "2100-12-31T23:59:59"),
]
YEAR_FIRST_SLASH = [
    ("2025/12/10", "2025-12-10T00:00:00"),
    ("2025/12/10 04:21", "2025-12-10T04:21:00"),
    ("2025/12/10T04:21:24.5Z", "2025-12-10T04:21:24.500000"),
    ("2025/12/10 04:21:24 +0100", "2025-12-10T03:21:24"),
]
SLASH_MDY = [
    ("12/10/2025", "2025-12-10T00:00:00"),
    ("1/2/2025", "2025-01-02T00:00:00"),
    ("01/02/2025", "2025-01-02T00:00:00"),
    ("12/31/2025", "2025-12-31T00:00:00"),
    ("12/10/2025 4:21 PM", "2025-12-10T16:21:00"),
    ("12/10/2025 4:21PM", "2025-12-10T16:21:00"),
    ("12/10/2025 04:21 pm", "2025-12-10T16:21:00"),
    ("12/10/2025 4:21:05 aM", "2025-12-10T04:21:05"),
    ("12/10/2025 12:00 AM", "2025-12-10T00:00:00"),
    ("12/10/2025 12:00 PM", "2025-12-10T12:00:00"),
    ("12/10/2025 1:00 AM", "2025-12-10T01:00:00"),
    ("12/10/2025 16:21", "2025-12-10T16:21:00"),
    ("12/10/2025 0:05", "2025-12-10T00:05:00"),
    ("12/10/2025 16:21:24", "2025-12-10T16:21:24"),
    ("12/10/2025 16:21:24.25", "2025-12-10T16:21:24.250000"),
    ("12/10/2025 4:21:24,25 PM", "2025-12-10T16:21:24.250000"),
]
MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # fmt: skip
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
NAMED = [
    ("Wed, 10 Dec 2025 04:21:24 GMT", "2025-12-10T04:21:24"),
    ("Dec 10, 2025 4:21 PM", "2025-12-10T16:21:00"),
    ("10 Dec 2025", "2025-12-10T00:00:00"),
    ("10 December 2025", "2025-12-10T00:00:00"),
    ("December 10 2025", "2025-12-10T00:00:00"),
    ("December 10, 2025", "2025-12-10T00:00:00"),
    ("10 Dec, 2025", "2025-12-10T00:00:00"),
    ("dEC 10, 2025", "2025-12-10T00:00:00"),
    ("1 may 2025", "2025-05-01T00:00:00"),
    ("01 MAY 2025", "2025-05-01T00:00:00"),
    ("Wed 10 Dec 2025", "2025-12-10T00:00:00"),
    ("Wednesday, December 10, 2025 4:21:24.5 PM", "2025-12-10T16:21:24.500000"),
    ("wednesday December 10, 2025", "2025-12-10T00:00:00"),
    ("10 Dec 2025 4:21 PM +0100", "2025-12-10T15:21:00"),
    ("10 Dec 2025 4:21 PM+0100", "2025-12-10T15:21:00"),
    ("10 Dec 2025 4:21PM+01:00", "2025-12-10T15:21:00"),
    ("10 Dec 2025 04:21:24 -05:00", "2025-12-10T09:21:24"),
    ("10 Dec 2025 04:21:24 Z", "2025-12-10T04:21:24"),
    ("10 Dec 2025 04:21:24Z", "2025-12-10T04:21:24"),
    ("10 Dec 2025 04:21:24 UTC", "2025-12-10T04:21:24"),
    ("10 Dec 2025 04:21:24 utc", "2025-12-10T04:21:24"),
    ("10 Dec 2025 04:21:24UTC", "2025-12-10T04:21:24"),
    ("10 Dec 2025 04:21 Gmt", "2025-12-10T04:21:00"),
    ("29 Feb 2024", "2024-02-29T00:00:00"),
    *((f"1 {name[:3]} 2025", f"2025-{month:02d}-01T00:00:00") for month, name in enumerate(MONTHS, 1)),
    *((f"{name} 1, 2025", f"2025-{month:02d}-01T00:00:00") for month, name in enumerate(MONTHS, 1)),
    *((f"{name[:3]}, {day} Dec 2025", f"2025-12-{day:02d}T00:00:00") for day, name in enumerate(WEEKDAYS, 8)),
    *((f"{name} {day} Dec 2025", f"2025-12-{day:02d}T00:00:00") for day, name in enumerate(WEEKDAYS, 8)),
]
AROUND = [
    (" 2025-12-10T04:21:24Z\t", "2025-12-10T04:21:24"),
    ("\u00a02025-12-10\u2003", "2025-12-10T00:00:00"),
    ("\u3000 1733804484 ", "2024-12-10T04:21:24"),
]

# The year bound is on the instant in UTC, not on the year as written.
BOUNDS = [
    ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00"),
    ("1969-12-31T23:59:59.999999Z", None),
    ("1969-12-31T23:00:00-01:00", "1970-01-01T00:00:00"),
    ("1970-01-01T00:59:59+01:00", None),
    ("1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00"),
    ("2100-12-31T23:59:59.999999Z", "2100-12-31T23:59:59.999999"),
    ("2101-01-01T00:00:00Z", None),
    ("2101-01-01T00:00:00+00:01", "2100-12-31T23:59:00"),
    ("2100-12-31T23:00:00-01:00", None),
    ("1969-12-31", None),
    ("2101-01-01", None),
    ("0001-01-01T00:00:00Z", None),
    ("0000-01-01T00:00:00Z", None),
    ("9999-12-31T23:59:59Z", None),
    ("4133980800", None),
    ("9999999999", None),
    ("9999999999999", None),
    ("9999999999999999", None),
    ("12/31/1969", None),
    ("31 Dec 1969 23:00:00 -0100", "1970-01-01T00:00:00"),
    ("1 Jan 2101", None),
    ("19691231", None),
]

NO_SUCH_DATE = [
    "2025-02-30", "2025-02-29", "2100-02-29", "2025-13-01", "2025-00-10", "2025-12-00", "2025-12-32",
    "2025-04-31",
    "2025-06-31T00:00:00Z", "2025-09-31T00:00:00Z", "2025-11-31 00:00:00", "20250230", "20250230T000000",
    "2025/02/30",
    "2/30/2025", "30 Feb 2025", "Feb 30, 2025", "0 Dec 2025", "32 Dec 2025", "0/1/2025", "1/0/2025",
]  # fmt: skip
NO_SUCH_CLOCK = [
    "2025-12-10T24:00:00", "2025-12-10T24:00:00Z", "2025-12-10T25:00:00", "2025-12-10T23:60:00",
    "2025-12-10T23:59:60", "2025-12-10T23:59:60Z", "2025-12-10T24:00", "2025-12-10 04:60", "20251210T240000",
    "20251210T046000", "20251210T042160", "2025/12/10 24:00", "12/10/2025 24:00", "12/10/2025 13:00 PM",
    "12/10/2025 0:00 AM", "12/10/2025 0:30 PM", "12/10/2025 4:60 PM", "12/10/2025 4:21:60",
    "10 Dec 2025 24:00",
    "10 Dec 2025 13:00 AM", "10 Dec 2025 4:21:60",
]  # fmt: skip
NO_SUCH_ZONE = [
    "2025-12-10T04:21:24+14:01", "2025-12-10T04:21:24-14:01", "2025-12-10T04:21:24+15",
    "2025-12-10T04:21:24-1500",
    "2025-12-10T04:21:24+00:60", "2025-12-10T04:21:24+0199", "20251210T042124+1430",
    "10 Dec 2025 04:21 +1401",
    "2025-12-10T04:21:24 EST", "2025-12-10T04:21:24 UTC", "2025-12-10T04:21:24GMT", "2025-12-10T04:21:24+1",
    "2025-12-10T04:21:24+1:00", "2025-12-10T04:21:24+010", "2025-12-10T04:21:24+01:3",
    "2025-12-10T04:21:24+01:",
    "2025-12-10T04:21:24+-1:00", "2025-12-10T04:21:24 +01 00", "2025-12-10T04:21:24Z+01",
    "2025-12-10T04:21:24 ZZ",
    "2025-12-10T04:21:24\u221205:00", "2025-12-10T04:21:24[Europe/Berlin]", "2025-12-10T04:21:24+01:00:00",
    "10 Dec 2025 04:21 EST", "10 Dec 2025 04:21 PST", "10 Dec 2025 04:21 +01", "10 Dec 2025 04:21 z",
    "12/10/2025 04:21Z", "12/10/2025 04:21 UTC", "12/10/2025 04:21 +0100", "12/10/2025 4:21 PM +0100",
    "2025-12-10Z", "2025-12-10+01:00", "20251210Z", "1733804484Z", "1733804484 UTC",
]  # fmt: skip
NO_FORM = [
    "yesterday", "now", "T", "Z", "-", "0", "1", "2025", "2025-12", "2025-1-2", "25-12-10", "10-12-2025",
    "12-10-2025",
    "10.12.2025", "2025.12.10", "2025_12_10", "2025-12/10", "2025/12-10", "2025/1/2", "2025-W50-3",
    "2025-344",
    "+2025-12-10", "-2025-12-10", "02025-12-10", "12025-12-10T00:00:00Z",
    "2025-12-10t04:21:24", "2025-12-10T04", "2025-12-10T4:21", "2025-12-10T04:2", "2025-12-10T04:21:4",
    "2025-12-10T042124", "2025-12-10T04:21:24.", "2025-12-10T04:21:24,", "2025-12-10T04:21:24.1234567890",
    "2025-12-10T04:21:24.5.5", "2025-12-10T04:21.5", "2025-12-10T", "2025-12-10 ", "2025-12-10  04:21",
    "2025-12-10T 04:21", "2025-12-10\t04:21", "2025-12-10\u00a004:21", "2025-12-10T04:21:24  Z",
    "2025-12-10T04:21:24\tZ",
    "2025-12-10T04:21 PM", "2025-12-10 4:21 PM", "2025-12-10-04:21", "2025-12-10T04-21-24",
    "2025-12-10T04:21:24x",
    "x2025-12-10T04:21:24", "2025-12-10T04:21:24\n2025-12-10T04:21:24", "2025-12-10T04: 1:24", "2025-12- 1",
    "20251210T0421", "20251210T0421Z", "20251210T042124.5", "20251210 042124", "20251210t042124",
    "20251210T04:21:24",
    "2025121", "202512101", "20251210042124", "173380448", "17338044841", "173380448412", "17338044841234",
    "173380448412345", "17338044841234567", "-1733804484", "+1733804484", "1733804484.",
    "1733804484.1234567890",
    "1733804484,5", "1733804484123.5", "1733804484123456.5", "1.733804484e9", "1733804484 ", "1_733_804_484",
    "13/10/2025", "31/12/2025", "12/10/25", "12/10/025", "012/10/2025", "12/010/2025", "12 /10/2025",
    "12/10/2025T04:21",
    "12/10/2025  04:21", "12/10/2025 4:21  PM", "12/10/2025 4 PM", "12/10/2025 4:2", "12/10/2025 004:21",
    "12/10/2025 4:21 P", "12/10/2025 4:21 P.M.", "12/10/2025, 4:21 PM", "/10/2025", "12//2025",
    "Thu, 10 Dec 2025", "Mon 10 Dec 2025", "Thursday December 10, 2025", "Wednes, 10 Dec 2025",
    "Wed,10 Dec 2025",
    "Wed,  10 Dec 2025", "Wed. 10 Dec 2025", "10 Decem 2025", "10 Sept 2025", "10 Dez 2025", "10. Dec 2025",
    "10th Dec 2025", "10-Dec-2025", "10 Dec 25", "10 Dec", "Dec 2025", "10 Dec , 2025", "10 Dec,2025",
    "Dec 10,2025",
    "Dec, 10 2025", "10  Dec 2025", "10 Dec  2025", "10 Dec 2025T04:21", "10 Dec 2025, 04:21",
    "10 Dec 2025 04:21 AM PM",
    "2025 Dec 10", "Dec 10 2025 04", "110 Dec 2025", "10 Dec 02025",
    "٢٠٢٥-١٢-١٠", "２０２５-12-10", "2025-12-1０", "10 Auguſt 2025", "ſat, 13 Dec 2025", "ſun, 13 Dec 2025",
]  # fmt: skip
NULLS = [None, "", "  ", "\u00a0", "null", "NULL", "None", "nan", "NaN", "n/a", "N/A", " N/a "]

# A text that only ends in white space is trimmed first and may be fine then; these are refused all the same.
_TRIMMED = {"2025-12-10 ": "2025-12-10T00:00:00", "1733804484 ": "2024-12-10T04:21:24"}

CASES: list[tuple[str | None, str | None]] = [
    *ISO,
    *FRACTIONS,
    *DATES,
    *EPOCHS,
    *YEAR_FIRST_SLASH,
    *SLASH_MDY,
    *NAMED,
    *AROUND,
    *BOUNDS,
    *((text, None) for text in (*NO_SUCH_DATE, *NO_SUCH_CLOCK, *NO_SUCH_ZONE)),
    *((text, _TRIMMED.get(text)) for text in NO_FORM),
    *((text, None) for text in NULLS),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_every_form_and_every_refusal(text: str | None, expected: str | None, policy: Policy) -> None:
    assert instants([text], policy.values) == [None if expected is None else at(expected)]


def test_a_column_gives_what_its_texts_give_alone(policy: Policy) -> None:
    expected = [None if instant is None else at(instant) for _, instant in CASES]
    assert instants([text for text, _ in CASES], policy.values) == expected


def test_the_table_is_the_oracles_too() -> None:
    """So that the two can not drift apart."""
    for text, expected in CASES:
        assert parse_timestamp(text) == (None if expected is None else at(expected)), text


@pytest.mark.parametrize(
    ("text", "mdy", "dmy"),
    [
        ("12/10/2025", "2025-12-10T00:00:00", "2025-10-12T00:00:00"),
        ("1/2/2025 4:21 PM", "2025-01-02T16:21:00", "2025-02-01T16:21:00"),
        ("12/31/2025", "2025-12-31T00:00:00", None),
        ("31/12/2025", None, "2025-12-31T00:00:00"),
        ("31/12/2025 23:59:59", None, "2025-12-31T23:59:59"),
        ("29/2/2024", None, "2024-02-29T00:00:00"),
        ("2/29/2024", "2024-02-29T00:00:00", None),
        ("29/2/2025", None, None),
    ],
)
def test_slash_dates_are_read_in_the_policys_order(text: str, mdy: str | None, dmy: str | None) -> None:
    for order, expected in (("mdy", mdy), ("dmy", dmy), ("reject", None)):
        values = load_policy(overlay={"values": {"slash_dates": order}}).values
        assert instants([text], values) == [None if expected is None else at(expected)], order


@pytest.mark.parametrize("order", ["mdy", "dmy", "reject"])
def test_the_order_of_slash_dates_concerns_no_other_form(order: str) -> None:
    values = load_policy(overlay={"values": {"slash_dates": order}}).values
    others = [*ISO, *FRACTIONS, *DATES, *EPOCHS, *YEAR_FIRST_SLASH, *NAMED]
    assert instants([text for text, _ in others], values) == [at(expected) for _, expected in others]


def test_the_years_are_policy() -> None:
    values = load_policy(overlay={"values": {"first_year": 2020, "last_year": 2030}}).values
    texts = ["2019-12-31T23:59:59Z", "2020-01-01", "2030-12-31T23:59:59.999999Z", "2031-01-01", "1733804484"]
    assert [instant is not None for instant in instants(texts, values)] == [False, True, True, False, True]


def test_early_years_can_be_allowed_and_are_still_exact() -> None:
    values = load_policy(overlay={"values": {"first_year": 1900, "last_year": 2100}}).values
    texts = [
        "1900-01-01T00:00:00.000001Z",
        "1900-02-29",
        "1969-12-31T23:59:59.9999999",
        "31 Dec 1969 23:59:59.5",
    ]
    expected = [
        at("1900-01-01T00:00:00.000001"),
        None,
        at("1969-12-31T23:59:59.999999"),
        at("1969-12-31T23:59:59.5"),
    ]
    assert instants(texts, values) == expected


def test_no_texts_give_no_instants(policy: Policy) -> None:
    assert instants([], policy.values) == []
    assert instants([None, None], policy.values) == [None, None]


@given(strategies.columns_of(strategies.TIMESTAMPS))
def test_the_fast_way_gives_what_the_complete_way_gives(texts: Sequence[str]) -> None:
    """Where the fast ISO path answers at all, it answers as the forms do."""
    column = pl.Series("t", texts, pl.String)
    fast, complete = _parse_iso(column).to_list(), parse_any_form(column, "mdy").to_list()
    answered = [
        (text, mine, theirs) for text, mine, theirs in zip(texts, fast, complete, strict=True) if mine is not None
    ]
    assert [row for row in answered if row[1] != row[2]] == []


@given(st.lists(st.integers(0, 4_133_894_400 * 10**6), min_size=1, max_size=40))
def test_the_fast_way_takes_the_usual_forms(micros: list[int]) -> None:
    """So that the property above is not met by never answering."""
    moments = [at("1970-01-01") + timedelta(microseconds=each) for each in micros]
    texts = [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in moments]
    texts += [moment.strftime("%Y-%m-%d %H:%M:%S.%f+01:00") for moment in moments]
    expected = [each // 10**6 * 10**6 for each in micros] + [each - 3600 * 10**6 for each in micros]
    assert _parse_iso(pl.Series(texts)).to_list() == expected


@pytest.mark.parametrize("order", ["mdy", "dmy", "reject"])
@given(texts=strategies.columns_of(strategies.TIMESTAMPS))
def test_instants_are_the_oracles(order: str, texts: Sequence[str]) -> None:
    values = load_policy(overlay={"values": {"slash_dates": order}}).values
    ours = instants(texts, values)
    assert ours == [parse_timestamp(text, order) for text in texts]


@given(texts=strategies.columns_of(strategies.TIMESTAMPS))
def test_an_instant_written_out_is_read_back(texts: Sequence[str]) -> None:
    values = load_policy().values
    found = [instant for instant in instants(texts, values) if instant is not None]
    assert instants([instant.isoformat() for instant in found], values) == found
    assert all(instant.tzinfo is not None and instant.utcoffset() == timedelta(0) for instant in found)
    assert all(1970 <= instant.astimezone(UTC).year <= 2100 for instant in found)


@pytest.mark.slow
@settings(settings.get_profile("deep"))
@given(texts=strategies.columns_of(strategies.TIMESTAMPS, 200))
def test_instants_are_the_oracles_deep(texts: Sequence[str]) -> None:
    assert instants(texts, load_policy().values) == [parse_timestamp(text) for text in texts]
