"""Texts to numbers: durations and amounts, rounded half away from zero (contract sections 2 and 9)."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_pkg.contracts.feeds import AMOUNT
from assets_pkg.policy import Policy, PolicyError, load_policy
from assets_pkg.transforms.numbers import parse_amounts, parse_durations
from assets_pkg.transforms.texts import clean_text
from assets_pkg_tests import texts as strategies
from assets_pkg_tests.reference.values import parse_amount, parse_duration_ms
from assets_pkg_tests.workbench import Workbench

LARGE = 10**12
"""The largest maximum of an amount that a policy can set; numbers beyond it need not be told apart."""


def durations(texts: Iterable[str | None], policy: Policy) -> list[int | None]:
    """What raw texts become."""
    parsed = parse_durations(clean_text(pl.Series("t", list(texts), pl.String), policy.values.null_tokens))
    assert parsed.dtype == pl.Int64
    return parsed.to_list()


def amounts(texts: Iterable[str | None], policy: Policy) -> list[Decimal | None]:
    """What raw texts become."""
    cleaned = clean_text(pl.Series("t", list(texts), pl.String), policy.values.null_tokens)
    parsed = parse_amounts(cleaned, policy.categories.currency.spellings)
    assert parsed.dtype == AMOUNT
    return parsed.to_list()


DURATIONS: list[tuple[str | None, int | None]] = [
    ("0", 0),
    ("-0", 0),
    ("+0", 0),
    ("1200", 1200),
    ("+1200", 1200),
    ("-1200", -1200),
    ("0001200", 1200),
    (" 1200 ", 1200),
    ("1.2e3", 1200),
    ("1.2E3", 1200),
    ("1.2e+3", 1200),
    ("12000e-1", 1200),
    ("+1.2e3", 1200),
    ("-1.2e3", -1200),
    ("1.2e0003", 1200),
    ("0e99999", 0),
    ("0.000e999999999999999999", 0),
    ("1200.", 1200),
    ("1200.0", 1200),
    (".5", 1),
    ("-.5", -1),
    (".4", 0),
    ("-.4", 0),
    ("0.5", 1),
    ("1.5", 2),
    ("2.5", 3),
    ("-2.5", -3),
    ("2.4999999999999999999999", 2),
    ("0.49999999999999999999", 0),
    ("999.5", 1000),
    ("86399999.5", 86_400_000),
    ("5e-1", 1),
    ("4e-1", 0),
    ("25e-1", 3),
    ("-25e-1", -3),
    ("1e-9", 0),
    ("1e-99999", 0),
    ("9e-999999999999999999999", 0),
    ("86400000", 86_400_000),
    ("86400001", 86_400_001),
    ("9007199254740993", 9_007_199_254_740_993),
    (None, None),
    ("", None),
    ("null", None),
    ("N/A", None),
    ("inf", None),
    ("-inf", None),
    ("Infinity", None),
    ("NaN", None),
    ("0x10", None),
    ("0b1", None),
    ("1_000", None),
    ("1,000", None),
    ("1,5", None),
    ("1 000", None),
    ("1.2.3", None),
    ("1e", None),
    ("e3", None),
    (".", None),
    (".e3", None),
    ("+", None),
    ("-", None),
    ("--1", None),
    ("+-1", None),
    ("- 1", None),
    ("1-", None),
    ("1e1.5", None),
    ("1e 3", None),
    ("1 e3", None),
    ("1e--3", None),
    ("1f", None),
    ("1200ms", None),
    ("$5", None),
    ("true", None),
    ("１２", None),
    ("٣", None),
    ("−5", None),
    ("1\n2", None),
    ("½", None),
]


@pytest.mark.parametrize(("text", "expected"), DURATIONS)
def test_durations(text: str | None, expected: int | None, policy: Policy) -> None:
    assert durations([text], policy) == [expected]


def test_a_column_of_durations_gives_what_its_texts_give_alone(policy: Policy) -> None:
    assert durations([text for text, _ in DURATIONS], policy) == [expected for _, expected in DURATIONS]


@pytest.mark.parametrize("text", ["1e30", "1e99999", "1" + "0" * 40, "9223372036854775808", "123456789e15"])
@pytest.mark.parametrize("sign", ["", "+", "-"])
def test_a_duration_too_large_to_store_is_beyond_every_maximum(text: str, sign: str, policy: Policy) -> None:
    (value,) = durations([sign + text], policy)
    assert value is not None
    assert abs(value) > policy.values.max_duration_ms
    assert (value < 0) == (sign == "-")


def _largest_maximum() -> int:
    """The largest maximum of a duration that a policy can set."""
    for maximum in (2**63 - 1, 2**62 - 1, 10**18, 10**17 - 1, 10**16, 10**15):
        with suppress(PolicyError):
            return load_policy(overlay={"values": {"max_duration_ms": maximum}}).values.max_duration_ms
    raise AssertionError("no policy can allow more than 10**15 ms")


@pytest.mark.parametrize("text", ["1e30", "9" * 25, "1e99999"])
def test_a_duration_too_large_to_store_exceeds_the_largest_maximum(text: str, policy: Policy) -> None:
    """Section 9: a number too large to store exceeds the maximum, whatever that is."""
    (value,) = durations([text], policy)
    assert value is not None
    assert value > _largest_maximum()


MONEY: list[tuple[str | None, str | None]] = [
    ("19.99", "19.9900"),
    ("0", "0.0000"),
    ("-0", "0.0000"),
    ("-0.00", "0.0000"),
    ("+5", "5.0000"),
    ("-5", "-5.0000"),
    ("5.", "5.0000"),
    (".5", "0.5000"),
    ("-.5", "-0.5000"),
    ("0005", "5.0000"),
    (" 5 ", "5.0000"),
    # Thousands groups.
    ("1,234", "1234.0000"),
    ("1,234,567.89", "1234567.8900"),
    ("12,345.6", "12345.6000"),
    ("999,999", "999999.0000"),
    ("000,001", "1.0000"),
    ("1,000,000", "1000000.0000"),
    ("1,234e2", "123400.0000"),
    # Exponents.
    ("1.2e3", "1200.0000"),
    ("1.2E+3", "1200.0000"),
    ("12e-1", "1.2000"),
    ("-12e-1", "-1.2000"),
    ("0e99", "0.0000"),
    ("1e-99999", "0.0000"),
    ("5e-5", "0.0001"),
    ("4e-5", "0.0000"),
    ("123456e-6", "0.1235"),
    # Half away from zero, at the fifth decimal, by decimals and not by a float.
    ("1.00005", "1.0001"),
    ("1.00004999999999999999", "1.0000"),
    ("-1.00005", "-1.0001"),
    ("-1.00004", "-1.0000"),
    ("0.00005", "0.0001"),
    ("-0.00005", "-0.0001"),
    ("-0.00004", "0.0000"),
    ("2.00025", "2.0003"),
    ("1.00015", "1.0002"),
    ("999999.99995", "1000000.0000"),
    ("1000000.00004", "1000000.0000"),
    ("1000000.00005", "1000000.0001"),
    # A currency symbol in front, whatever the row's currency says.
    ("$5", "5.0000"),
    ("$ 5", "5.0000"),
    ("-$5", "-5.0000"),
    ("$-5", "-5.0000"),
    ("+$5", "5.0000"),
    ("$+5", "5.0000"),
    ("-$ 5", "-5.0000"),
    ("$ -5", "-5.0000"),
    ("$1,234.50", "1234.5000"),
    ("US$5", "5.0000"),
    ("us$ 5", "5.0000"),
    ("Us$5", "5.0000"),
    ("€5", "5.0000"),
    ("£5.5", "5.5000"),
    ("¥500", "500.0000"),
    ("₹500", "500.0000"),
    ("€1.5e2", "150.0000"),
    ("$.5", "0.5000"),
    # The same symbols, misread as Mac Roman and as Windows-1252.
    ("‚Ç¨5", "5.0000"),
    ("â‚¬5", "5.0000"),
    ("¬£5", "5.0000"),
    ("Â£5", "5.0000"),
    ("¬•5", "5.0000"),
    ("Â¥5", "5.0000"),
    ("‚Çπ5", "5.0000"),
    ("â‚¹5", "5.0000"),
    (None, None),
    ("", None),
    ("None", None),
    ("nan", None),
    ("inf", None),
    ("-Infinity", None),
    ("0x1F", None),
    ("1_000", None),
    ("1,00", None),
    ("1,0000", None),
    ("1234,567", None),
    (",123", None),
    ("1,,234", None),
    ("1,234,", None),
    ("1.234,56", None),
    ("1.5,000", None),
    ("1'000", None),
    ("1 000", None),
    ("5$", None),
    ("5 EUR", None),
    ("EUR 5", None),
    ("CHF5", None),
    ("EUR5", None),
    ("$$5", None),
    ("$€5", None),
    ("$", None),
    ("-", None),
    ("-$", None),
    ("$  5", None),
    ("$\u00a05", None),
    ("- $5", None),
    ("- 5", None),
    ("-$-5", None),
    ("--5", None),
    ("$--5", None),
    ("$-+5", None),
    ("(5)", None),
    (".", None),
    ("e5", None),
    ("5e", None),
    ("5e1.5", None),
    ("1.2.3", None),
    ("free", None),
    ("５", None),
    ("uſ$5", None),
]


@pytest.mark.parametrize(("text", "expected"), MONEY)
def test_amounts(text: str | None, expected: str | None, policy: Policy) -> None:
    (value,) = amounts([text], policy)
    assert (None if value is None else str(value)) == expected


def test_a_column_of_amounts_gives_what_its_texts_give_alone(policy: Policy) -> None:
    expected = [None if amount is None else Decimal(amount) for _, amount in MONEY]
    assert amounts([text for text, _ in MONEY], policy) == expected


@pytest.mark.parametrize("text", ["1e30", "1e99999", "9" * 15, "123,456,789,012,345", "$1e25", "1" + "0" * 60])
@pytest.mark.parametrize("sign", ["", "-"])
def test_an_amount_too_large_to_store_is_beyond_every_maximum(text: str, sign: str, policy: Policy) -> None:
    (value,) = amounts([sign + text], policy)
    assert value is not None
    assert abs(value) > LARGE
    assert (value < 0) == (sign == "-")


@pytest.mark.parametrize("text", ["1000000000000", "1e12", "999999999999.9999"])
def test_the_largest_amounts_that_a_policy_can_allow_are_exact(text: str, policy: Policy) -> None:
    assert amounts([text], policy) == [Decimal(text)]


def test_a_symbol_is_the_policys() -> None:
    own = load_policy(overlay={"categories": {"currency": {"symbols": {"₽": "RUB", "€": None}}}})
    assert amounts(["₽5", "€5", "$5"], own) == [Decimal(5), None, Decimal(5)]


def test_signs_and_limits_are_judged_on_the_rounded_value(bench: Workbench) -> None:
    bench.put_feed("customers", {})
    bench.put_feed(
        "events",
        {"event_id": "below-half", "duration_ms": "-0.4"},
        {"event_id": "half", "duration_ms": "-0.5"},
        {"event_id": "at-most", "duration_ms": "86400000.4"},
        {"event_id": "more", "duration_ms": "86400000.5"},
        {"event_id": "huge", "duration_ms": "1e400"},
    )
    bench.put_feed(
        "orders",
        {"order_id": "nothing", "amount": "-0.00004"},
        {"order_id": "failed-nothing", "amount": "-0.00004", "status": "failed"},
        {"order_id": "negative", "amount": "-0.00005"},
        {"order_id": "at-most", "amount": "1,000,000.00004"},
        {"order_id": "more", "amount": "1000000.00005"},
        {"order_id": "huge", "amount": "-1e400"},
    )
    bench.clean_feeds()
    assert {row["event_id"]: row["reject_reason"] for row in bench.rows("events_quarantine")} == {
        "half": "negative_duration_ms",
        "more": "duration_ms_exceeds_max",
        "huge": "duration_ms_exceeds_max",
    }
    assert {row["order_id"]: row["reject_reason"] for row in bench.rows("orders_quarantine")} == {
        "nothing": "zero_amount",
        "negative": "negative_amount",
        "more": "amount_exceeds_max",
        "huge": "negative_amount",
    }
    assert {row["event_id"]: row["duration_ms"] for row in bench.rows("events_clean")} == {
        "below-half": 0,
        "at-most": 86_400_000,
    }
    assert {row["order_id"]: row["amount"] for row in bench.rows("orders_clean")} == {
        "failed-nothing": Decimal(0),
        "at-most": Decimal(1_000_000),
    }


# -- against the oracle, and against plain decimal arithmetic --------------------------------------


def _bounded(value: Decimal | int | None) -> Decimal | str | None:
    """Numbers beyond every maximum are told apart by their sign alone."""
    value = None if value is None else Decimal(value)
    if value is None or abs(value) <= LARGE:
        return value
    return "too large" if value > 0 else "too small"


@given(strategies.columns_of(strategies.DURATIONS))
def test_durations_are_the_oracles(texts: Sequence[str]) -> None:
    ours = durations(texts, load_policy())
    assert [_bounded(value) for value in ours] == [_bounded(parse_duration_ms(text)) for text in texts]


@given(strategies.columns_of(strategies.AMOUNTS))
def test_amounts_are_the_oracles(texts: Sequence[str]) -> None:
    ours = amounts(texts, load_policy())
    assert [_bounded(value) for value in ours] == [_bounded(parse_amount(text)) for text in texts]


def _by_decimal(text: str, scale: str) -> Decimal | None:
    """The number by Python's decimal, with grammar and rounding of the contract; None for no number."""
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        return None
    with localcontext() as context:
        context.prec = 200
        try:
            return Decimal(text).quantize(Decimal(scale), ROUND_HALF_UP)
        except InvalidOperation:
            return Decimal(10) ** 100 * (-1 if text.startswith("-") else 1)


_numbers = st.decimals(-(10**13), 10**13, allow_nan=False, allow_infinity=False).map(str)


@given(st.lists(_numbers, min_size=1, max_size=40))
def test_numbers_are_rounded_as_decimal_rounds_them(texts: list[str]) -> None:
    policy = load_policy()
    assert [_bounded(value) for value in durations(texts, policy)] == [_bounded(_by_decimal(t, "1")) for t in texts]
    assert [_bounded(value) for value in amounts(texts, policy)] == [_bounded(_by_decimal(t, "1.0000")) for t in texts]


@pytest.mark.slow
@settings(settings.get_profile("deep"))
@given(strategies.columns_of(strategies.AMOUNTS, 200), strategies.columns_of(strategies.DURATIONS, 200))
def test_numbers_are_the_oracles_deep(money: Sequence[str], lengths: Sequence[str]) -> None:
    policy = load_policy()
    assert [_bounded(value) for value in amounts(money, policy)] == [_bounded(parse_amount(text)) for text in money]
    ours = durations(lengths, policy)
    assert [_bounded(value) for value in ours] == [_bounded(parse_duration_ms(text)) for text in lengths]
