"""Every reason to reject a row and every warning, on rows with exactly it and with several (section 3)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS, FEEDS, Feed
from assets_pkg.contracts.rules import reject_rules, warning_rules
from assets_pkg.policy import Policy, PolicyError
from assets_pkg_tests.workbench import DAY, GOOD, Workbench, csv_of, customers_csv, feed_csv

# The contract's list, written out once more: the order in which reasons are joined.
ORDER: Mapping[str, Sequence[str]] = {
    "customers": [
        "malformed_row",
        *(f"missing_column:{name}" for name in ("customer_id", "email", "created_at", "country", "status")),
        "ingest_date_mismatch",
        "missing_customer_id",
        "missing_created_at",
        "invalid_created_at",
        "duplicate_customer_id",
    ],
    "events": [
        "malformed_row",
        *(
            f"missing_column:{name}"
            for name in (
                "event_id",
                "customer_id",
                "event_time",
                "event_type",
                "platform",
                "session_id",
                "duration_ms",
            )
        ),
        "ingest_date_mismatch",
        "missing_customer_id",
        "missing_event_id",
        "missing_event_time",
        "invalid_event_time",
        "future_event_time",
        "invalid_duration_ms",
        "negative_duration_ms",
        "duration_ms_exceeds_max",
        "orphan_customer_id",
        "duplicate_event_id",
    ],
    "orders": [
        "malformed_row",
        *(
            f"missing_column:{name}"
            for name in ("order_id", "customer_id", "order_time", "amount", "currency", "status")
        ),
        "ingest_date_mismatch",
        "missing_customer_id",
        "missing_order_id",
        "missing_order_time",
        "invalid_order_time",
        "future_order_time",
        "missing_currency",
        "unknown_currency",
        "missing_status",
        "unknown_status",
        "missing_amount",
        "invalid_amount",
        "negative_amount",
        "zero_amount",
        "amount_exceeds_max",
        "orphan_customer_id",
        "duplicate_order_id",
    ],
}
WARNINGS: Mapping[str, Sequence[str]] = {
    "customers": ["invalid_email", "unknown_country", "missing_status", "unknown_status"],
    "events": ["missing_event_type", "unknown_event_type", "missing_platform", "unknown_platform"],
    "orders": [],
}

Changed = dict[str, str]


class Case(NamedTuple):
    """A row (what it has else than a good one) and its reasons to be rejected, or its warnings."""

    feed: str
    changed: Changed
    reasons: str | None = None
    warnings: str | None = None


def _customers(changed: Changed, reasons: str | None = None, warnings: str | None = None) -> Case:
    return Case("customers", changed, reasons, warnings)


def _events(changed: Changed, reasons: str | None = None, warnings: str | None = None) -> Case:
    return Case("events", changed, reasons, warnings)


def _orders(changed: Changed, reasons: str | None = None) -> Case:
    return Case("orders", changed, reasons)


YESTERDAY, TODAY = "2025-12-09", "2025-12-10"

CASES: list[Case] = [
    # Nothing wrong.
    _customers({}),
    _customers({"ingest_date": TODAY}),
    _customers({"ingest_date": f" {TODAY} "}),
    _customers({"ingest_date": "N/A"}),
    _customers({"created_at": "2031-01-01"}),  # only events and orders can be in the future
    _events({}),
    _events({"ingest_date": TODAY}),
    _events({"session_id": "", "url": "", "duration_ms": ""}),
    _events({"duration_ms": "null"}),
    _orders({}),
    _orders({"ingest_date": TODAY}),
    # 3: ingest_date is compared as text.
    _customers({"ingest_date": YESTERDAY}, "ingest_date_mismatch"),
    _events({"ingest_date": YESTERDAY}, "ingest_date_mismatch"),
    _events({"ingest_date": "2025/12/10"}, "ingest_date_mismatch"),
    _events({"ingest_date": "2025-12-10T00:00:00"}, "ingest_date_mismatch"),
    _events({"ingest_date": "20251210"}, "ingest_date_mismatch"),
    _orders({"ingest_date": "today"}, "ingest_date_mismatch"),
    # 4: ids.
    _customers({"customer_id": ""}, "missing_customer_id"),
    _customers({"customer_id": " None "}, "missing_customer_id"),
    _events({"customer_id": ""}, "missing_customer_id"),
    _events({"event_id": ""}, "missing_event_id"),
    _events({"event_id": "\u00a0nan"}, "missing_event_id"),
    _orders({"customer_id": "n/a"}, "missing_customer_id"),
    _orders({"order_id": "NULL"}, "missing_order_id"),
    # 5: times.
    _customers({"created_at": ""}, "missing_created_at"),
    _customers({"created_at": "null"}, "missing_created_at"),
    _customers({"created_at": "soon"}, "invalid_created_at"),
    _customers({"created_at": "1969-12-31"}, "invalid_created_at"),
    _customers({"created_at": "2101-01-01"}, "invalid_created_at"),
    _events({"event_time": ""}, "missing_event_time"),
    _events({"event_time": "2025-02-30"}, "invalid_event_time"),
    _events({"event_time": "2025-12-10T10:00:00 EST"}, "invalid_event_time"),
    _orders({"order_time": "None"}, "missing_order_time"),
    _orders({"order_time": "13/10/2025"}, "invalid_order_time"),
    # 6: at or after midnight of D + 2 days.
    _events({"event_time": "2025-12-11T23:59:59.999999Z"}),
    _events({"event_time": "2025-12-12T00:59:59+01:00"}),
    _events({"event_time": "2025-12-12T00:00:00Z"}, "future_event_time"),
    _events({"event_time": "2025-12-11T19:00:00-05:00"}, "future_event_time"),
    _events({"event_time": "2099-01-01"}, "future_event_time"),
    _events({"event_time": "1970-01-01"}),
    _orders({"order_time": "2025-12-11T23:59:59.999999Z"}),
    _orders({"order_time": "2025-12-12"}, "future_order_time"),
    # 7: durations.
    _events({"duration_ms": "0"}),
    _events({"duration_ms": "-0.4"}),
    _events({"duration_ms": "86400000"}),
    _events({"duration_ms": "fast"}, "invalid_duration_ms"),
    _events({"duration_ms": "1,000"}, "invalid_duration_ms"),
    _events({"duration_ms": "inf"}, "invalid_duration_ms"),
    _events({"duration_ms": "-1"}, "negative_duration_ms"),
    _events({"duration_ms": "-0.5"}, "negative_duration_ms"),
    _events({"duration_ms": "86400001"}, "duration_ms_exceeds_max"),
    _events({"duration_ms": "1e99"}, "duration_ms_exceeds_max"),
    _events({"duration_ms": "-1e99"}, "negative_duration_ms"),
    # 8: currencies.
    _orders({"currency": "us$"}),
    _orders({"currency": ""}, "missing_currency"),
    _orders({"currency": "none"}, "missing_currency"),
    _orders({"currency": "Euro"}, "unknown_currency"),
    _orders({"currency": "XXX"}, "unknown_currency"),
    # 9: statuses.
    _orders({"status": "Completed"}),
    _orders({"status": ""}, "missing_status"),
    _orders({"status": "pending"}, "unknown_status"),
    # 10: amounts.
    _orders({"amount": "1000000"}),
    _orders({"amount": "$ 1,000.50"}),
    _orders({"amount": "", "status": "failed"}),
    _orders({"amount": "n/a", "status": "declined"}),
    _orders({"amount": "0", "status": "failed"}),
    _orders({"amount": ""}, "missing_amount"),
    _orders({"amount": "", "status": "refunded"}, "missing_amount"),
    _orders({"amount": "", "status": "chargeback"}, "missing_amount"),
    _orders({"amount": "free"}, "invalid_amount"),
    _orders({"amount": "free", "status": "failed"}, "invalid_amount"),
    _orders({"amount": "0x10"}, "invalid_amount"),
    _orders({"amount": "-5"}, "negative_amount"),
    _orders({"amount": "-5", "status": "refunded"}, "negative_amount"),
    _orders({"amount": "-5", "status": "failed"}, "negative_amount"),
    _orders({"amount": "0"}, "zero_amount"),
    _orders({"amount": "-0.00", "status": "refunded"}, "zero_amount"),
    _orders({"amount": "0.00004", "status": "charge_back"}, "zero_amount"),
    _orders({"amount": "1000000.0001"}, "amount_exceeds_max"),
    _orders({"amount": "1e30", "status": "failed"}, "amount_exceeds_max"),
    # 11: orphans.
    _events({"customer_id": " c1 "}),
    _events({"customer_id": "C1"}, "orphan_customer_id"),
    _events({"customer_id": "nobody"}, "orphan_customer_id"),
    _orders({"customer_id": "nobody"}, "orphan_customer_id"),
    # 12: duplicates; the better row has the same id further down.
    _customers({"customer_id": "twice", "email": ""}, "duplicate_customer_id"),
    _customers({"customer_id": "twice"}),
    _events({"event_id": "twice", "url": ""}, "duplicate_event_id"),
    _events({"event_id": "twice"}),
    _orders({"order_id": "twice", "order_time": "2025-12-10T04:59:59"}, "duplicate_order_id"),
    _orders({"order_id": "twice"}),
    # Warnings.
    _customers({"email": "nobody"}, warnings="invalid_email"),
    _customers({"email": ""}),
    _customers({"country": "Atlantis"}, warnings="unknown_country"),
    _customers({"country": "null"}),
    _customers({"status": ""}, warnings="missing_status"),
    _customers({"status": "vip"}, warnings="unknown_status"),
    _events({"event_type": "n/a"}, warnings="missing_event_type"),
    _events({"event_type": "scroll"}, warnings="unknown_event_type"),
    _events({"platform": ""}, warnings="missing_platform"),
    _events({"platform": "fridge"}, warnings="unknown_platform"),
    # Several warnings, in column order.
    _customers({"email": "x", "country": "x", "status": "x"}, warnings="invalid_email|unknown_country|unknown_status"),
    _customers({"email": "x", "country": "", "status": ""}, warnings="invalid_email|missing_status"),
    _events({"event_type": "x", "platform": ""}, warnings="unknown_event_type|missing_platform"),
    _events({"event_type": "", "platform": "x"}, warnings="missing_event_type|unknown_platform"),
    # Warnings never reject, and a rejected row has none.
    _customers({"email": "x", "created_at": "x"}, "invalid_created_at"),
    _events({"platform": "x", "event_time": ""}, "missing_event_time"),
    # Several reasons, in the list's order.
    _customers(
        {"ingest_date": YESTERDAY, "customer_id": "", "created_at": ""},
        "ingest_date_mismatch|missing_customer_id|missing_created_at",
    ),
    _customers({"customer_id": "", "created_at": "x"}, "missing_customer_id|invalid_created_at"),
    _events(
        {"ingest_date": YESTERDAY, "customer_id": "", "event_id": "", "event_time": "", "duration_ms": "x"},
        "ingest_date_mismatch|missing_customer_id|missing_event_id|missing_event_time|invalid_duration_ms",
    ),
    _events(
        {
            "ingest_date": "x",
            "customer_id": "x",
            "event_id": "",
            "event_time": "2030-01-01",
            "duration_ms": "-1",
        },
        "ingest_date_mismatch|missing_event_id|future_event_time|negative_duration_ms|orphan_customer_id",
    ),
    _events(
        {"customer_id": "x", "event_time": "x", "duration_ms": "1e9"},
        "invalid_event_time|duration_ms_exceeds_max|orphan_customer_id",
    ),
    _orders(
        {
            "ingest_date": YESTERDAY,
            "customer_id": "",
            "order_id": "",
            "order_time": "",
            "currency": "",
            "status": "",
            "amount": "",
        },
        "ingest_date_mismatch|missing_customer_id|missing_order_id|missing_order_time|missing_currency|missing_status|"
        "missing_amount",
    ),
    _orders(
        {"customer_id": "x", "order_time": "x", "currency": "x", "status": "x", "amount": "x"},
        "invalid_order_time|unknown_currency|unknown_status|invalid_amount|orphan_customer_id",
    ),
    _orders(
        {"customer_id": "x", "order_time": "2030-01-01", "currency": "x", "amount": "0"},
        "future_order_time|unknown_currency|zero_amount|orphan_customer_id",
    ),
    _orders({"status": "x", "amount": "-1"}, "unknown_status|negative_amount"),
    _orders({"status": "", "amount": "2e6"}, "missing_status|amount_exceeds_max"),
    _orders({"status": "x", "amount": ""}, "unknown_status|missing_amount"),
    # An amount of 0 with a status that is none of the three is no zero_amount.
    _orders({"status": "x", "amount": "0"}, "unknown_status"),
    # A duplicate is told only of rows with no other reason.
    _events({"event_id": "thrice", "url": ""}, "duplicate_event_id"),
    _events({"event_id": "thrice", "duration_ms": "x"}, "invalid_duration_ms"),
    _events({"event_id": "thrice"}),
]


def _with_own_id(case: Case, number: int) -> Changed:
    """Rows that do not speak of their id get one of their own, so that no two meet by accident."""
    return {FEEDS[case.feed].id: f"own-{number}", **case.changed}


class Ran(NamedTuple):
    """A day of all cases: for each the row in clean or quarantine."""

    bench: Workbench
    address: list[tuple[str, int]]
    clean: dict[tuple[str, int], dict[str, Any]]
    quarantine: dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One day with a file per feed that has a row per case, and one with files without a column."""
    bench = Workbench(tmp_path_factory.mktemp("rules"))
    # c1, whom events and orders name, is known by a file of its own.
    bench.put("customers_raw_known.csv", customers_csv("c1"))
    address: list[tuple[str, int]] = [("", 0)] * len(CASES)
    for name in FEEDS:
        own = [(number, case) for number, case in enumerate(CASES) if case.feed == name]
        rows = [_with_own_id(case, number) for number, case in own]
        source = bench.put(f"{name}_raw.csv", feed_csv(name, *rows, columns=[*GOOD[name], "ingest_date"]))
        for row, (number, _) in enumerate(own, 1):
            address[number] = (source, row)
    bench.clean_feeds()
    clean: dict[tuple[str, int], dict[str, Any]] = {}
    quarantine: dict[tuple[str, int], dict[str, Any]] = {}
    for feed in FEEDS.values():
        clean |= bench.by_address(feed.clean_table)
        quarantine |= bench.by_address(feed.quarantine)
    return Ran(bench, address, clean, quarantine)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{case.feed} {case.changed}" for case in CASES])
def test_a_row_has_exactly_these_reasons_or_warnings(number: int, ran: Ran) -> None:
    case, address = CASES[number], ran.address[number]
    if case.reasons is None:
        assert address not in ran.quarantine, ran.quarantine[address]["reject_reason"]
        assert ran.clean[address]["warnings"] == case.warnings
    else:
        assert address not in ran.clean
        assert ran.quarantine[address]["reject_reason"] == case.reasons


def test_a_rejected_row_is_unchanged(ran: Ran) -> None:
    for feed in FEEDS.values():
        raw = ran.bench.by_address(feed.raw)
        for address, row in ran.bench.by_address(feed.quarantine).items():
            assert {name: value for name, value in row.items() if name != "reject_reason"} == raw[address]


def test_nothing_is_lost(ran: Ran) -> None:
    for feed in FEEDS.values():
        raw = ran.bench.by_address(feed.raw).keys()
        clean, rejected = (ran.bench.by_address(table).keys() for table in (feed.clean_table, feed.quarantine))
        assert clean | rejected == raw
        assert not clean & rejected


# -- rows of broken records and of files without a column ------------------------------------------


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_a_malformed_row_carries_no_other_reason(feed: Feed, bench: Workbench) -> None:
    header = ",".join(GOOD[feed.name])
    bench.put(f"{feed.name}_raw.csv", f'{header}\nx\n{header},x\n"x\n')
    bench.clean_feeds()
    assert [row["reject_reason"] for row in bench.rows(feed.quarantine)] == ["malformed_row"] * 3
    assert sorted(row["raw_text"] for row in bench.rows(feed.quarantine)) == sorted(['"x', "x", f"{header},x"])


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_rows_of_a_file_without_a_column_carry_only_that(feed: Feed, bench: Workbench) -> None:
    """However wrong they are otherwise. And the day's other files are not concerned."""
    bad = {FEEDS[feed.name].id: "", FEEDS[feed.name].time: "x", "customer_id": "nobody", "ingest_date": "x"}
    required = [name.partition(":")[2] for name in ORDER[feed.name] if name.startswith("missing_column:")]
    expected = {}
    lacking = [*([column] for column in required), required[1:3], required[:1] + required[3:], required]
    for number, without in enumerate(lacking):
        columns = [column for column in (*required, "ingest_date") if column not in without]
        row = {name: value for name, value in (GOOD[feed.name] | bad).items() if name in columns}
        source = bench.put(f"{feed.name}_raw_{number}.csv", csv_of([row], columns))
        expected[source] = "|".join(f"missing_column:{column}" for column in without)
    bench.put(f"{feed.name}_raw_whole.csv", feed_csv(feed.name, {FEEDS[feed.name].id: "c1", "customer_id": "c1"}))
    bench.put("customers_raw_known.csv", customers_csv("c1" if feed.name != "customers" else "c2"))
    bench.clean_feeds()
    assert {row["source_file"]: row["reject_reason"] for row in bench.rows(feed.quarantine)} == expected
    assert f"ingest_date={DAY}/{feed.name}_raw_whole.csv" in {
        row["source_file"] for row in bench.rows(feed.clean_table)
    }


def test_a_malformed_row_of_a_file_without_a_column_is_malformed(bench: Workbench) -> None:
    bench.put("events_raw.csv", "event_id,customer_id\ne1,c1\ne2\n")
    bench.clean_feeds()
    reasons = {row["source_row"]: row["reject_reason"] for row in bench.rows("events_quarantine")}
    assert reasons[2] == "malformed_row"
    assert reasons[1].startswith("missing_column:event_time|missing_column:event_type|")


@pytest.mark.parametrize(
    ("feed", "column"),
    [("customers", "ingest_date"), ("events", "url"), ("events", "ingest_date"), ("orders", "ingest_date")],
)
def test_an_optional_column_may_be_absent(feed: str, column: str, bench: Workbench) -> None:
    bench.put("customers_raw_known.csv", customers_csv("c1"))
    row = {
        name: value
        for name, value in (GOOD[feed] | {"ingest_date": TODAY, FEEDS[feed].id: "x"}).items()
        if name != column
    }
    source = bench.put(f"{feed}_raw.csv", csv_of([row]))
    bench.clean_feeds()
    clean = bench.by_address(f"{feed}_clean")[source, 1]
    assert clean["warnings"] is None


# -- that nothing is left out ----------------------------------------------------------------------


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_the_reasons_and_their_order_are_the_contracts(feed: Feed, policy: Policy) -> None:
    assert [rule.reason for rule in reject_rules(feed, policy, DAY)] == list(ORDER[feed.name])
    assert [rule.reason for rule in warning_rules(feed, policy)] == list(WARNINGS[feed.name])


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_every_rule_has_a_row_with_exactly_it(feed: Feed, policy: Policy) -> None:
    """malformed_row and missing_column:… have tests of their own, for every feed and column."""
    alone = {case.reasons for case in CASES if case.feed == feed.name}
    rules = {rule.reason for rule in reject_rules(feed, policy, DAY)}
    assert {reason for reason in rules if ":" not in reason} - {"malformed_row"} <= alone
    warned = {case.warnings for case in CASES if case.feed == feed.name}
    assert {rule.reason for rule in warning_rules(feed, policy)} <= warned


def test_every_combination_in_the_table_is_in_order() -> None:
    for case in CASES:
        for joined, order in ((case.reasons, ORDER[case.feed]), (case.warnings, WARNINGS[case.feed])):
            places = [list(order).index(reason) for reason in (joined or "").split("|") if reason]
            assert places == sorted(places), case


# -- policies --------------------------------------------------------------------------------------


def reasons_under(folder: Path, overlay: dict[str, Any], feed: str, *changes: Changed) -> list[str | None]:
    """For each row its reasons under another policy; None for a clean one. c1 is a known customer."""
    bench = Workbench(folder, overlay)
    bench.put("customers_raw_known.csv", customers_csv("c1"))
    rows = [{FEEDS[feed].id: f"own-{number}", **changed} for number, changed in enumerate(changes)]
    source = bench.put(f"{feed}_raw.csv", feed_csv(feed, *rows))
    bench.clean_feeds(feeds=[CUSTOMERS, FEEDS[feed]])
    rejected = bench.by_address(f"{feed}_quarantine")
    found = [rejected.get((source, number), {}).get("reject_reason") for number in range(1, len(changes) + 1)]
    clean = bench.by_address(f"{feed}_clean")
    assert all((reason is None) == ((source, number) in clean) for number, reason in enumerate(found, 1))
    return found


@pytest.mark.parametrize(
    ("overlay", "feed", "rows"),
    [
        (
            {"feeds": {"events": {"check_orphans": False}}},
            "events",
            [({"customer_id": "nobody"}, None), ({"customer_id": ""}, "missing_customer_id")],
        ),
        (
            {"feeds": {"orders": {"check_orphans": False}}},
            "events",
            [({"customer_id": "nobody"}, "orphan_customer_id")],
        ),
        ({"feeds": {"orders": {"check_orphans": False}}}, "orders", [({"customer_id": "nobody"}, None)]),
        (
            {"values": {"clock_skew_hours": 0}},
            "events",
            [
                ({"event_time": "2025-12-10T23:59:59.9"}, None),
                ({"event_time": "2025-12-11"}, "future_event_time"),
            ],
        ),
        (
            {"values": {"clock_skew_hours": 36}},
            "orders",
            [
                ({"order_time": "2025-12-12T11:59:59"}, None),
                ({"order_time": "2025-12-12T12:00:00"}, "future_order_time"),
            ],
        ),
        (
            {"values": {"max_duration_ms": 1000}},
            "events",
            [({"duration_ms": "1000.4"}, None), ({"duration_ms": "1000.5"}, "duration_ms_exceeds_max")],
        ),
        (
            {"values": {"max_amount": 50}},
            "orders",
            [({"amount": "50.00004"}, None), ({"amount": "50.00005"}, "amount_exceeds_max")],
        ),
        (
            {"values": {"max_amount": 10**12}},
            "orders",
            [({"amount": "1e12"}, None), ({"amount": "1e13"}, "amount_exceeds_max")],
        ),
        (
            {"values": {"slash_dates": "dmy"}},
            "events",
            [({"event_time": "10/12/2025"}, None), ({"event_time": "12/31/2025"}, "invalid_event_time")],
        ),
        (
            {"values": {"slash_dates": "reject"}},
            "events",
            [({"event_time": "10/12/2025"}, "invalid_event_time"), ({"event_time": "2025/12/10"}, None)],
        ),
        (
            {"values": {"first_year": 2020, "last_year": 2026}},
            "events",
            [
                ({"event_time": "2019-12-31"}, "invalid_event_time"),
                ({"event_time": "2027-01-01"}, "invalid_event_time"),
            ],
        ),
        (
            {"values": {"null_tokens": ["", "-"]}},
            "events",
            [({"event_time": "-"}, "missing_event_time"), ({"event_time": "null"}, "invalid_event_time")],
        ),
        (
            {"categories": {"order_status": {"names": ["paid", "failed", "refunded", "chargeback", "pending"]}}},
            "orders",
            [({"status": "Pending", "amount": "0"}, None), ({"status": "x"}, "unknown_status")],
        ),
        (
            {"categories": {"currency": {"symbols": {"€": None}}}},
            "orders",
            [
                ({"currency": "€"}, "unknown_currency"),
                ({"amount": "€5"}, "invalid_amount"),
                ({"currency": "EUR"}, None),
            ],
        ),
    ],
)
def test_rules_under_other_policies(
    overlay: dict[str, Any], feed: str, rows: list[tuple[Changed, str | None]], tmp_path: Path
) -> None:
    found = reasons_under(tmp_path, overlay, feed, *(changed for changed, _ in rows))
    assert found == [reason for _, reason in rows]


SMALL = {
    "feeds": {
        "events": {
            "required": ["event_id", "customer_id", "event_type", "event_time"],
            "aliases": {"customer_id": ["user_id"], "event_time": ["ts"]},
            "check_orphans": False,
        }
    }
}


def test_another_source_is_served_by_a_policy(tmp_path: Path) -> None:
    """The contract's own example. What the file has no column for gives no warning."""
    bench = Workbench(tmp_path, SMALL)
    bench.put("events_raw.csv", "event_id,user_id,event_type,ts\ne1,u1,login,2025-12-10T01:00:00Z\ne2,u1,,x\n")
    bench.put("events_raw_b.csv", "event_id,user_id,ts\ne3,u1,2025-12-10\n")
    bench.put(
        "events_raw_c.csv",
        "event_id,user_id,event_type,ts,platform,duration_ms\ne4,u1,,2025-12-10,,x\ne5,u1,,2025-12-10,,\n",
    )
    bench.clean_feeds()
    rejected = {row["event_id"]: row["reject_reason"] for row in bench.rows("events_quarantine")}
    assert rejected == {
        "e2": "invalid_event_time",
        "e3": "missing_column:event_type",
        "e4": "invalid_duration_ms",
    }
    clean = {row["event_id"]: row for row in bench.rows("events_clean")}
    assert {name: (row["platform"], row["warnings"]) for name, row in clean.items()} == {
        "e1": ("unknown", None),
        "e5": ("unknown", "missing_event_type|missing_platform"),
    }
    assert clean["e1"]["client_session_id"] is clean["e1"]["duration_ms"] is None
    assert [rule.reason for rule in reject_rules(EVENTS, bench.work.policy, DAY) if ":" in rule.reason] == [
        f"missing_column:{column}" for column in ("event_id", "customer_id", "event_time", "event_type")
    ]


def test_reasons_of_missing_columns_are_in_the_feeds_column_order_whatever_the_policys(
    tmp_path: Path,
) -> None:
    bench = Workbench(
        tmp_path, {"feeds": {"orders": {"required": ["amount", "order_time", "customer_id", "order_id"]}}}
    )
    bench.put("orders_raw.csv", "status\npaid\n")
    bench.clean_feeds()
    (row,) = bench.rows("orders_quarantine")
    assert row["reject_reason"] == "|".join(
        f"missing_column:{column}" for column in ("order_id", "customer_id", "order_time", "amount")
    )


def test_a_customers_row_is_never_an_orphan(tmp_path: Path) -> None:
    """It makes its customer known. A policy that asks for the check says nothing, or is refused."""
    try:
        bench = Workbench(tmp_path, {"feeds": {"customers": {"check_orphans": True}}})
    except PolicyError:
        return
    bench.put_feed("customers", {})
    bench.clean_feeds()
    assert [row["customer_id"] for row in bench.rows("customers_clean")] == ["c1"]
    bench.clean_feeds()
    assert [row["customer_id"] for row in bench.rows("customers_clean")] == ["c1"]
