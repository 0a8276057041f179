"""Which customers are known as of a day, and with which attributes (section 3, "Known customer as of D")."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS
from assets_pkg.steps import known as known_step
from assets_pkg.steps.clean import clean
from assets_pkg.steps.known import know_customers
from assets_pkg.transforms.customers import known_from_day
from assets_pkg_tests.reference.day import build_day
from assets_pkg_tests.workbench import Workbench, at, customers_csv, days_from, feed_csv

D1, D2, D3, D4 = days_from(date(2025, 12, 10), 4)
Changed = Mapping[str, str]
Known = dict[str, dict[str, Any]]


def known(bench: Workbench, day: date) -> Known:
    """The snapshot as of `day`, by customer_id; without what only the pipeline itself needs."""
    rows = bench.rows("customers_known", day)
    found = {row["customer_id"]: row for row in rows}
    assert len(found) == len(rows)
    for row in rows:
        assert row.pop("ingest_date") == day
        del row["customer_id"]
    return found


def seen(bench: Workbench, day: date) -> dict[str, tuple[date, date]]:
    """First and last seen of everybody known as of `day`."""
    return {customer: (row["first_seen"], row["last_seen"]) for customer, row in known(bench, day).items()}


def build(bench: Workbench, *days: date) -> None:
    """Raw, clean and known of the customers feed, day by day."""
    for day in days:
        bench.clean_feeds(day, [CUSTOMERS])


def oracles(bench: Workbench, day: date, days: Iterable[date]) -> Known:
    """The oracle's snapshot as of `day`, from the raw files of `days`."""
    expected = build_day(day, {each: bench.raw_bytes(each) for each in days}).known
    return {customer: {k: v for k, v in row.items() if k != "customer_id"} for customer, row in expected.items()}


def test_who_is_known_and_since_when(bench: Workbench) -> None:
    bench.put("customers_raw.csv", customers_csv("c1", "c2"), D1)
    bench.put("customers_raw.csv", customers_csv("c2", "c3"), D2)
    bench.put("customers_raw.csv", customers_csv("c1"), D3)
    build(bench, D1, D2, D3)
    assert seen(bench, D1) == {"c1": (D1, D1), "c2": (D1, D1)}
    assert seen(bench, D2) == {"c1": (D1, D1), "c2": (D1, D2), "c3": (D2, D2)}
    assert seen(bench, D3) == {"c1": (D1, D3), "c2": (D1, D2), "c3": (D2, D2)}


def test_attributes_are_those_of_the_latest_clean_row_all_at_once(bench: Workbench) -> None:
    """A later row's null is no reason to keep an older value."""
    bench.put_feed("customers", {"email": "old@x.de", "country": "DE", "status": "banned"}, day=D1)
    bench.put_feed("customers", {"email": "", "country": "FR", "status": "", "created_at": "2024-01-01"}, day=D2)
    bench.put_feed("customers", {"created_at": "never", "email": "new@x.de"}, day=D3)
    build(bench, D1, D2, D3)
    first = {
        "email": "old@x.de",
        "created_at": at("2025-01-02T03:04:05"),
        "country": "DE",
        "status": "banned",
    }
    second = {"email": None, "created_at": at("2024-01-01"), "country": "FR", "status": "unknown"}
    assert known(bench, D1)["c1"] == {"first_seen": D1, "last_seen": D1, **first}
    assert known(bench, D2)["c1"] == {"first_seen": D1, "last_seen": D2, **second}
    # The third day's row is rejected: the customer is seen, and keeps the latest clean attributes.
    assert known(bench, D3)["c1"] == {"first_seen": D1, "last_seen": D3, **second}


NOTHING = {"email": None, "created_at": None, "country": None, "status": None}

REJECTED: dict[str, tuple[str, list[str]]] = {
    "a bad date": (feed_csv("customers", {"created_at": "x"}), ["c1"]),
    "no date": (feed_csv("customers", {"created_at": ""}), ["c1"]),
    "another ingest_date": (
        feed_csv(
            "customers",
            {"ingest_date": "x"},
            columns=["customer_id", "email", "created_at", "country", "status", "ingest_date"],
        ),
        ["c1"],
    ),
    "a file without a column": ("customer_id,email\nc1,a@b.de\n", ["c1"]),
    "a file that calls it user_id": ("user_id\nc1\n", ["c1"]),
    "white space around": ("customer_id\n c1 \n\u00a0c1\n", ["c1"]),
    "no id": (
        feed_csv("customers", {"customer_id": ""}, {"customer_id": "null"}, {"customer_id": " N/A "}),
        [],
    ),
    "a file without customer_id": ("email\na@b.de\n", []),
    "a malformed row": ("customer_id,email\nc1\n", []),
    "an open quote": ('customer_id,email\nc1,"x\n', []),
    "the last field of a ragged row": ("email,customer_id\na,b,c1\n", []),
    "ids as they stand": ("customer_id\nc1\nC1\n1\n01\n", ["01", "1", "C1", "c1"]),
}


@pytest.fixture(scope="module")
def one_customer_a_case(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Known]:
    """Every case of REJECTED on a day of its own: what that day's rows make known, told by first_seen."""
    bench = Workbench(tmp_path_factory.mktemp("rejected"))
    days = days_from(D1, len(REJECTED))
    for number, (day, (content, _)) in enumerate(zip(days, REJECTED.values(), strict=True)):
        bench.put("customers_raw.csv", content.replace("c1", f"{number}.c1").replace("C1", f"{number}.C1"), day)
    build(bench, *days)
    everybody = known(bench, days[-1])
    return {
        name: {
            customer.removeprefix(f"{number}."): row for customer, row in everybody.items() if row["first_seen"] == day
        }
        for number, (day, name) in enumerate(zip(days, REJECTED, strict=True))
    }


@pytest.mark.parametrize("name", REJECTED)
def test_a_customer_of_a_rejected_row_is_known(name: str, one_customer_a_case: dict[str, Known]) -> None:
    """One bad attribute must not make orphans of all its events; a malformed row names nobody."""
    found = one_customer_a_case[name]
    assert sorted(found) == REJECTED[name][1]
    for row in found.values():
        assert {column: row[column] for column in NOTHING} == NOTHING


def test_a_customer_whose_best_row_won_over_a_duplicate(bench: Workbench) -> None:
    rows: list[Changed] = [{"email": ""}, {"country": "FR"}, {"created_at": "x"}, {"country": "FR"}]
    bench.put_feed("customers", *rows, day=D1)
    build(bench, D1)
    assert known(bench, D1)["c1"]["country"] == "FR"


def test_days_without_customers_change_nothing(bench: Workbench) -> None:
    bench.put("customers_raw.csv", customers_csv("c1"), D1)
    bench.put("customers_raw.csv", customers_csv("c2"), D4)
    build(bench, D1, D2, D3, D4)
    assert seen(bench, D2) == seen(bench, D3) == {"c1": (D1, D1)}
    assert seen(bench, D4) == {"c1": (D1, D1), "c2": (D4, D4)}


def test_days_that_were_never_built_change_nothing(bench: Workbench) -> None:
    """A gap in the partitions is no fault: what is not there names nobody."""
    bench.put("customers_raw.csv", customers_csv("c1"), D1)
    bench.put("customers_raw.csv", customers_csv("c2"), D4)
    build(bench, D1, D4)
    assert seen(bench, D4) == {"c1": (D1, D1), "c2": (D4, D4)}
    assert seen(bench, D2) == {}  # never asked for


def test_a_snapshot_of_a_day_without_a_customers_partition(bench: Workbench) -> None:
    bench.put("customers_raw.csv", customers_csv("c1"), D1)
    build(bench, D1)
    know_customers(bench.work, D3)
    assert seen(bench, D3) == {"c1": (D1, D1)}
    bench.put("customers_raw.csv", customers_csv("c2"), D2)
    build(bench, D2)
    know_customers(bench.work, D4)
    assert seen(bench, D4) == {"c1": (D1, D1), "c2": (D2, D2)}


def test_nobody_is_known_where_nobody_was_named(bench: Workbench) -> None:
    build(bench, D1)
    assert known(bench, D1) == {}
    assert bench.work.lake.version("customers_known", D1) is not None
    bench.put("customers_raw.csv", customers_csv("c1"), D2)
    build(bench, D2)
    assert seen(bench, D2) == {"c1": (D2, D2)}


def test_a_day_knows_nothing_of_later_days(bench: Workbench) -> None:
    """As of D: a rerun of an earlier day is decided by who was known then."""
    bench.put("customers_raw.csv", customers_csv("c1"), D1)
    bench.put("customers_raw.csv", customers_csv("late"), D2)
    for day in (D1, D2):
        moment = f"{day}T10:00:00Z"
        bench.put_feed(
            "events",
            {"event_id": "a", "event_time": moment},
            {"event_id": "b", "customer_id": "late"},
            day=day,
        )
    bench.clean_feeds(D1)
    bench.clean_feeds(D2)
    bench.clean_feeds(D1)
    assert [row["reject_reason"] for row in bench.rows("events_quarantine", D1)] == ["orphan_customer_id"]
    assert bench.rows("events_quarantine", D2) == []
    assert sorted(seen(bench, D1)) == ["c1"]


def test_a_customer_named_on_the_same_day_is_known(bench: Workbench) -> None:
    bench.put("customers_raw.csv", customers_csv("c1"), D2)
    bench.put_feed("events", {"event_time": f"{D2}T00:00:00Z"}, day=D2)
    bench.clean_feeds(D2)
    assert len(bench.rows("events_clean", D2)) == 1


# -- repairs ---------------------------------------------------------------------------------------


def test_a_snapshot_is_never_built_upon_one_that_is_stale(bench: Workbench) -> None:
    """The earlier day is repaired; its own snapshot is still the old one; the later day must not trust it."""
    bench.put("customers_raw.csv", customers_csv("c1"), D1)
    bench.put("customers_raw.csv", customers_csv("c2"), D2)
    bench.put("customers_raw.csv", customers_csv("c3"), D3)
    build(bench, D1, D2, D3)
    bench.put("customers_raw.csv", customers_csv("c1", "found"), D1)
    bench.land(CUSTOMERS, D1)
    clean(bench.work, CUSTOMERS, D1)
    assert "found" not in known(bench, D1)  # not yet
    for day in (D3, D2):
        know_customers(bench.work, day)
        assert seen(bench, day)["found"] == (D1, D1)
        assert known(bench, day) == oracles(bench, day, [D1, D2, D3])


def test_a_repaired_attribute_reaches_later_days(bench: Workbench) -> None:
    """Only the clean partition changes: the raw rows name the same customers."""
    bench.put_feed("customers", {"country": "Germoney"}, day=D1)
    build(bench, D1, D2)
    again = bench.under({"categories": {"country": {"aliases": {"germoney": "DE"}}}})
    build(again, D1)
    know_customers(again.work, D2)
    assert known(again, D2)["c1"]["country"] == "DE"


def test_a_customer_taken_back_is_no_longer_known(bench: Workbench) -> None:
    bench.put("customers_raw.csv", customers_csv("c1", "wrong"), D1)
    bench.put("customers_raw.csv", customers_csv("c1"), D2)
    build(bench, D1, D2)
    bench.put("customers_raw.csv", customers_csv("c1"), D1)
    build(bench, D1, D2)
    assert seen(bench, D2) == {"c1": (D1, D2)}


def test_a_day_put_in_between_later(bench: Workbench) -> None:
    bench.put("customers_raw.csv", customers_csv("c1"), D1)
    bench.put("customers_raw.csv", customers_csv("c1"), D3)
    build(bench, D1, D3)
    bench.put_feed("customers", {"customer_id": "c2", "country": "IT"}, {"country": "IT"}, day=D2)
    build(bench, D2)
    know_customers(bench.work, D3)
    assert known(bench, D3) == oracles(bench, D3, [D1, D2, D3])
    assert known(bench, D3)["c1"]["country"] == "DE"  # the third day's row is the later one


def test_another_policy_is_another_snapshot(bench: Workbench) -> None:
    """What names nobody is policy: a snapshot made under another one is not built upon."""
    bench.put("customers_raw.csv", customers_csv("c1", "test"), D1)
    bench.put("customers_raw.csv", customers_csv("c2"), D2)
    build(bench, D1, D2)
    again = bench.under({"values": {"null_tokens": ["", "test"]}})
    build(again, D2)
    assert sorted(known(again, D2)) == ["c1", "c2"]


def test_a_new_day_folds_that_day_alone(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for the memory: a year of days must not be read for every new one."""
    folded: list[date] = []
    really = known_from_day

    def counted(raw: pl.LazyFrame, rows: pl.LazyFrame, day: date, *rest: Any) -> pl.LazyFrame:
        folded.append(day)
        return really(raw, rows, day, *rest)

    monkeypatch.setattr(known_step, "known_from_day", counted)
    for day in (D1, D2, D3):
        bench.put("customers_raw.csv", customers_csv("c1"), day)
    build(bench, D1, D2, D3)
    assert folded == [D1, D2, D3]
    build(bench, D3)
    assert folded == [D1, D2, D3], "nothing changed, so nothing is folded again"
    bench.put("customers_raw.csv", customers_csv("c1", "c2"), D3)
    build(bench, D3)
    assert folded == [D1, D2, D3, D3]


# -- any order -------------------------------------------------------------------------------------

_ROW = st.fixed_dictionaries(
    {
        "customer_id": st.sampled_from(["c1", "c2", "c3", " c2 ", "null"]),
        "email": st.sampled_from(["a@b.de", "x", ""]),
        "created_at": st.sampled_from(["2025-01-01", "2025-01-02", "x", ""]),
        "country": st.sampled_from(["DE", "x", ""]),
        "status": st.sampled_from(["active", "x", ""]),
    }
)
_FILES = st.lists(st.lists(_ROW, max_size=4), min_size=3, max_size=3)


@settings(max_examples=4)
@given(first=_FILES, repaired=_FILES, order=st.permutations([0, 1, 2]), repairs=st.permutations([0, 1, 2]))
def test_any_order_of_builds_gives_the_in_order_build(
    tmp_path_factory: pytest.TempPathFactory,
    first: Sequence[Sequence[Changed]],
    repaired: Sequence[Sequence[Changed]],
    order: Sequence[int],
    repairs: Sequence[int],
) -> None:
    """Days built in any order, then repaired in any order: snapshots rebuilt at the end are the oracle's."""
    bench = Workbench(tmp_path_factory.mktemp("known"))
    days = [D1, D2, D3]
    for contents, sequence in ((first, order), (repaired, repairs)):
        for place in sequence:
            bench.put("customers_raw.csv", feed_csv("customers", *contents[place]), days[place])
            build(bench, days[place])
        # The last day rebuilt alone is right already, whatever the snapshots between are.
        know_customers(bench.work, D3)
        assert known(bench, D3) == oracles(bench, D3, days)
    for day in days:
        know_customers(bench.work, day)
        assert known(bench, day) == oracles(bench, day, days)


def test_events_are_decided_by_the_snapshot_of_their_day(tmp_path: Path) -> None:
    """The clean step reads the snapshot's partition of its own day and no other."""
    bench = Workbench(tmp_path)
    bench.put("customers_raw.csv", customers_csv("c1"), D1)
    bench.put_feed("events", {}, day=D1)
    bench.land(CUSTOMERS, D1)
    bench.land(EVENTS, D1)
    clean(bench.work, CUSTOMERS, D1)
    clean(bench.work, EVENTS, D1)
    assert [row["reject_reason"] for row in bench.rows("events_quarantine", D1)] == ["orphan_customer_id"]
    know_customers(bench.work, D1)
    clean(bench.work, EVENTS, D1)
    assert bench.rows("events_quarantine", D1) == []
