"""The check healable_orphans: whose orphans a backfill would heal, told for every day that it concerns."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS, ORDERS
from assets_pkg_tests.orchestration.pipeline import Pipeline, evaluations, facts, pipeline_in
from assets_pkg_tests.workbench import DAY, Workbench, customers_csv, days_from

D0, D1, D2, D3 = days_from(DAY, 4)
Said = dict[date, AssetCheckEvaluation]


def put_orphans(bench: Workbench) -> None:
    """Two days of events and orders; of some customers nothing is known yet."""
    bench.put("customers_raw.csv", customers_csv("c1"), D1)
    names = ["c1", "newcomer", " newcomer ", "later"]
    for day, of_day in ((D1, names), (D2, names[1:2])):
        bench.put_feed(
            "events",
            *({"event_id": f"e{day}-{at}", "customer_id": name, "event_time": f"{day}T12:00:00Z"} for at, name in enumerate(of_day)),
            day=day,
        )  # fmt: skip
        bench.put_feed(
            "orders", {"order_id": f"o{day}", "customer_id": "later", "order_time": f"{day}T12:00:00Z"}, day=day
        )
        bench.clean_feeds(day)


def bring_customers(bench: Workbench, day: date, *names: str, name: str = "customers_raw.csv") -> None:
    """A customers file that comes only now."""
    bench.put(name, customers_csv(*names), day)
    bench.clean_feeds(day, (CUSTOMERS, EVENTS, ORDERS))


def ask(pipeline: Pipeline, first: date, last: date | None = None, asset: str = "events_quarantine") -> Said:
    """What a run over some days says, by the days it speaks of."""
    result = pipeline.check((asset, "healable_orphans"), first=first, last=last)
    assert result.success, "the check stops nothing"
    return {date.fromisoformat(day): each for (_, _, day), each in evaluations(result).items()}


def numbers(said: AssetCheckEvaluation) -> tuple[bool, int, int]:
    """Whether it passed, of how many orphans, of whom so many can be healed."""
    found = facts(said)
    return said.passed, found["orphans"], found["orphans whose customer is known by now"]


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    """Both days were run and judged: nothing can be healed."""
    with pipeline_in(tmp_path) as pipeline:
        put_orphans(pipeline.bench)
        said = ask(pipeline, D1, D2)
        assert {day: numbers(each) for day, each in said.items()} == {D1: (True, 3, 0), D2: (True, 1, 0)}
        yield pipeline


def test_a_late_customers_file_is_told_to_later_days_with_the_command_that_heals_them(pipeline: Pipeline) -> None:
    bring_customers(pipeline.bench, D0, "newcomer")
    said = ask(pipeline, D0)
    assert {day: numbers(each) for day, each in said.items()} == {
        D0: (True, 0, 0),
        D1: (False, 3, 2),
        D2: (False, 1, 1),
    }
    told, first = said[D1], facts(said[D1])["rows (first)"]
    assert told.severity == dg.AssetCheckSeverity.WARN
    assert not told.blocking
    assert facts(told)["command"] == f"python -m assets_pkg run --date {D1}"
    assert (told.description or "").startswith(f"2 of 3 orphans name customers who are known as of {D1} by now")
    assert [(row["source_row"], row["customer_id"]) for row in first] == [(2, "newcomer"), (3, "newcomer")]

    pipeline.bench.clean_feeds(D1)  # what the command does of it
    assert {day: numbers(each) for day, each in ask(pipeline, D1).items()} == {D1: (True, 1, 0)}
    clean = [row["customer_id"] for row in pipeline.bench.rows("events_clean", D1)]
    assert sorted(clean) == ["c1", "newcomer", "newcomer"]
    assert numbers(ask(pipeline, D2)[D2]) == (False, 1, 1), "each day has to be run"
    pipeline.bench.clean_feeds(D2)
    assert numbers(ask(pipeline, D2)[D2]) == (True, 0, 0)


def test_a_customers_file_that_loses_a_customer_is_told_to_the_days_that_hold_clean_rows(pipeline: Pipeline) -> None:
    bring_customers(pipeline.bench, D0, "newcomer", "later")
    for day in (D1, D2):
        pipeline.bench.clean_feeds(day)
    assert numbers(ask(pipeline, D2)[D2]) == (True, 0, 0)
    bring_customers(pipeline.bench, D0, "later")
    said = ask(pipeline, D0)
    assert {day: (numbers(each)[0], facts(each)["clean rows whose customer is known no more"]) for day, each in said.items()} == {
        D0: (True, 0),
        D1: (False, 2),
        D2: (False, 1),
    }  # fmt: skip
    assert (said[D2].description or "").startswith(f"1 clean events name customers who are known as of {D2} no more: ")
    assert {row["customer_id"] for row in facts(said[D1])["rows (first)"]} == {"newcomer"}
    pipeline.bench.clean_feeds(D2)
    assert numbers(ask(pipeline, D2)[D2]) == (True, 1, 0)


def test_a_customer_first_named_on_a_later_day_heals_nothing(pipeline: Pipeline) -> None:
    # A day is decided with the customers known as of that day.
    bring_customers(pipeline.bench, D3, "later", "newcomer")
    said = ask(pipeline, D3)
    assert {day: numbers(each) for day, each in said.items()} == {D3: (True, 0, 0)}
    for day, orphans in ((D1, 3), (D2, 1)):
        assert numbers(ask(pipeline, day)[day]) == (True, orphans, 0)
    pipeline.bench.clean_feeds(D1)
    assert len(pipeline.bench.rows("events_clean", D1)) == 1


def test_a_customer_of_the_day_in_between_heals_from_that_day_on(pipeline: Pipeline) -> None:
    bring_customers(pipeline.bench, D2, "newcomer")  # which runs D2 as well
    said = ask(pipeline, D2)
    assert {day: numbers(each) for day, each in said.items()} == {D2: (True, 0, 0)}


def test_orders_are_told_like_events(pipeline: Pipeline) -> None:
    assert {day: numbers(each) for day, each in ask(pipeline, D1, D2, "orders_quarantine").items()} == {
        D1: (True, 1, 0),
        D2: (True, 1, 0),
    }
    bring_customers(pipeline.bench, D0, "later")
    assert {day: numbers(each) for day, each in ask(pipeline, D0, asset="orders_quarantine").items()} == {
        D0: (True, 0, 0),
        D1: (False, 1, 1),
        D2: (False, 1, 1),
    }


def test_what_was_told_of_another_day_is_not_told_again(pipeline: Pipeline) -> None:
    bring_customers(pipeline.bench, D0, "newcomer")
    assert set(ask(pipeline, D0)) == {D0, D1, D2}
    assert set(ask(pipeline, D0)) == {D0}


def test_a_count_that_grew_is_told_to_other_days(pipeline: Pipeline) -> None:
    bring_customers(pipeline.bench, D0, "later")
    assert numbers(ask(pipeline, D0)[D1]) == (False, 3, 1)
    bring_customers(pipeline.bench, D0, "newcomer", name="customers_raw_2.csv")
    ask(pipeline, D0)
    newest = next(
        each for each in pipeline.stored("events_quarantine", "healable_orphans") if each.partition == str(D1)
    )
    assert numbers(newest) == (False, 3, 3)
