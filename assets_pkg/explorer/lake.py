"""The pages over the lake: what is there for some dates, and why."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from math import isfinite
from typing import Any, Final

import polars as pl
import streamlit as st

from assets_pkg.contracts.feeds import ADDRESS, EVENTS, EXTRA, FEEDS, RAW_TEXT, SOURCE_FILE, SOURCE_ROW, UNKNOWN
from assets_pkg.contracts.files import explain_command
from assets_pkg.contracts.rules import SEPARATOR, reject_rules
from assets_pkg.contracts.tables import EVENT_DATE
from assets_pkg.explorer import charts
from assets_pkg.explorer.parts import answer, chart, choice, table, tiles
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.steps import explore
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.alerts import SEVERITIES, some
from assets_pkg.transforms.split import CLEAN, FULL_ROW, QUARANTINE, TOTAL

_FIRST_METRIC: Final = "events · sessions · happened"
FROM, TO = "from", "to"  # in the address
_LATEST: Final = 7  # days that are shown at first


@dataclass(frozen=True)
class Look:
    """Some dates of the lake, as it is now."""

    work: Workplace
    days: list[date]

    def about(self, *questions: explore.Question) -> tuple[object, ...]:
        """What the answers to these questions depend on."""
        return str(self.work.lake.root.resolve()), tuple(self.days), explore.state_of(self.work, questions, self.days)


def look(work: Workplace) -> Look | None:
    """The dates that the sidebar asks for; None, with a word on it, when there are none to look at."""
    there = explore.dates_there(work)
    if not there:
        st.info("There are no tables yet. Run a day: `python -m assets_pkg run --date …`")
        st.text(f"They will be in {work.lake.root.resolve()}")
        return None
    default = {FROM: there[-_LATEST:][0], TO: there[-1]}
    for name, day in default.items():
        # The address is what a visit begins with; then it follows the visit. A page's own link has no dates.
        st.session_state.setdefault(name, _day(st.query_params.get(name)) or day)
        st.session_state[name] = min(max(st.session_state[name], there[0]), there[-1])
    asked = [
        st.sidebar.date_input(
            label,
            min_value=there[0],
            max_value=there[-1],
            key=name,
            required=True,
            persist_state="session",
            format="YYYY-MM-DD",
            help="Of rows, the day their files landed; of sessions and what else customers did, the day it happened.",
        )
        for label, name in (("From", FROM), ("To", TO))
    ]
    st.query_params.update({name: str(day) for name, day in zip((FROM, TO), asked, strict=True)})
    first, last = sorted(asked)
    days = [day for day in there if first <= day <= last]
    st.sidebar.caption(f"{len(days)} of {some(len(there), 'date')} with tables")
    if not days:
        nearest = sorted({max(day for day in there if day < first), min(day for day in there if day > last)})
        st.info(f"There are no tables of these dates. The nearest are {' and '.join(map(str, nearest))}.")
        return None
    return Look(work, days)


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None


def overview(at: Look) -> None:
    """Totals, and what became of rows on each date."""
    about = at.about(explore.totals, explore.outcomes_by_date)
    by_feed = answer(lambda: explore.totals(at.work, at.days), "totals", *about)
    sums = by_feed.sum().row(0, named=True)
    tiles(
        {
            "Rows": (sums[TOTAL], "raw rows of all feeds that landed on these dates"),
            "Clean": (sums[CLEAN], "rows that can be trusted"),
            "Quarantined": (sums[QUARANTINE], "rows that were rejected, each with its reasons"),
            "Duplicates": (sums[FULL_ROW], "exact copies of another row: dropped and counted"),
            "Users": (
                answer(lambda: explore.users(at.work, at.days), "users", *at.about(explore.users)),
                "customers who did something on any of these dates",
            ),
            "Sessions": (
                answer(lambda: explore.session_count(at.work, at.days), "sessions", *at.about(explore.session_count)),
                "sessions that started on these dates",
            ),
        }
    )
    st.subheader("What became of the rows")
    outcomes = answer(lambda: explore.outcomes_by_date(at.work, at.days), "outcomes", *about)
    chart(
        charts.bars_by_date(outcomes, INGEST_DATE, "rows", "outcome"),
        "Rows of all feeds by the day they landed: clean, in quarantine, dropped as copies.",
    )
    table("By feed", by_feed.lazy(), "totals", *about)
    table("By date", outcomes.lazy(), "outcomes_by_date", *about)


def sessions(at: Look) -> None:
    """Sessions, filtered; and one customer's days."""
    with st.container(horizontal=True):
        customer = st.text_input("Customer", key="customer", bind="query-params", placeholder="all").strip()
        platform = choice("Platform", [*at.work.policy.categories.platform.names, UNKNOWN], "platform", every="all")
        least = st.number_input(  # not of whole numbers: Streamlit breaks on an address that says inf
            "Events, at least", min_value=1.0, step=1.0, format="%.0f", key="min_events", bind="query-params"
        )
        minutes = st.number_input("Minutes, at least", min_value=0.0, key="min_minutes", bind="query-params")
        order = choice("Order", list(explore.SESSION_ORDERS), "order")
    wanted = explore.SessionFilter(customer, _finite(least, 1), _finite(minutes, 0), platform)
    about = (*at.about(explore.sessions_of), wanted)
    rows = explore.sessions_of(at.work, at.days, wanted)
    by_date = answer(lambda: explore.sessions_by_date(at.work, at.days, wanted), "sessions by date", *about)
    chart(charts.bars_by_date(by_date, EVENT_DATE, "sessions"), "Sessions by the date they started on.")
    first = partial(explore.first_sessions, at.work, at.days, wanted, order)
    selected = table("Sessions", rows, "sessions", *about, order, first=first, select=True)
    if selected:
        _customer(at, selected["customer_id"])
    st.subheader("By date")
    table("Sessions by date", by_date.lazy(), "sessions_by_date", *about)


def _finite(number: float, otherwise: int) -> float:
    """What an address may say in place of a number is none."""
    return number if isfinite(number) else otherwise


def _customer(at: Look, customer: str) -> None:
    st.subheader("One customer's days")
    st.code(customer, language=None)
    about = (*at.about(explore.sessions_of, explore.events_of_customer), customer)
    own = explore.SessionFilter(customer)
    of_customer = answer(
        lambda: explore.sessions_of(at.work, at.days, own).collect(engine="streaming"), "of customer", *about
    )
    events = answer(lambda: explore.events_of_customer(at.work, at.days, customer), "customer's", *about)
    chart(
        charts.timeline(of_customer, events),
        f"Sessions and events of customer {customer}, a row for each date, by the hour (UTC).",
    )
    table("Events of the customer", events.lazy(), "customer_events", *about)


def quarantine(at: Look) -> None:
    """Rejected rows: why, and what they said."""
    with st.container(horizontal=True):
        feed = FEEDS[choice("Feed", list(FEEDS), "feed", default=EVENTS.name)]
        about = at.about(explore.reject_reasons, explore.quarantined)
        reasons = answer(lambda: explore.reject_reasons(at.work, feed, at.days), "reasons", feed.name, *about)
        reason = choice("Reason", reasons["reason"].to_list(), "reason", every="all")
    if reasons.is_empty():
        st.info(f"No row of {feed.name} that landed on these dates was rejected.")
        return
    chart(charts.bars_by_name(reasons, "reason", "rows"), f"Rejected {feed.name} rows by reason.")
    table("Rows by reason", reasons.lazy(), f"{feed.name}_reject_reasons", feed.name, *about)
    rows = explore.quarantined(at.work, feed, at.days, reason)
    lead = (*ADDRESS, "reject_reason", RAW_TEXT)
    selected = table("Rejected rows", rows, feed.quarantine, feed.name, reason, *about, lead=lead, select=True)
    if selected:
        _rejected_row(at, feed.name, selected)


def _rejected_row(at: Look, feed: str, row: dict[str, Any]) -> None:
    file, number = row[SOURCE_FILE], row[SOURCE_ROW]
    st.subheader("The selected row")
    st.text(f"{file}, row {number:,}")
    meanings = {rule.reason: rule.meaning for rule in reject_rules(FEEDS[feed], at.work.policy, row[INGEST_DATE])}
    for reason in row["reject_reason"].split(SEPARATOR):
        st.text(f"{reason}: {meanings.get(reason, 'see the table of rules in the README')}")
    said = {name: row[name] for name in FEEDS[feed].raw_columns if row[name] is not None}
    if row[EXTRA]:
        said |= json.loads(row[EXTRA])
    st.caption("As it stood in the file" if row[RAW_TEXT] else "Its values, as they stood in the file")
    st.code(row[RAW_TEXT] or json.dumps(said, ensure_ascii=False, indent=2), language=None, wrap_lines=True)
    st.caption("Its whole life, on the command line:")
    st.code(explain_command(file, number), language=None, wrap_lines=True)


def numbers(at: Look) -> None:
    """Metrics over time, and what was restated."""
    about = at.about(explore.metrics)
    known = answer(lambda: explore.metrics(at.work, at.days).collect(), "metrics", *about)
    names = known.select(pl.concat_str("dataset", "metric", "axis", separator=" · ")).to_series()
    options = names.unique().sort().to_list()
    if not options:
        st.info("There are no numbers of these dates yet.")
        return
    chosen = choice("Metric", options, "metric", default=_FIRST_METRIC)
    of_metric = known.filter(names == chosen).sort("date", "dimension")
    kinds = of_metric["dimension"].fill_null("value")
    drawn = of_metric.with_columns(kinds.alias("dimension"))
    largest = drawn.group_by("dimension").agg(pl.sum("value")).top_k(len(charts.PALETTE), by="value")["dimension"]
    if largest.len() < kinds.n_unique():
        st.caption(f"The chart shows the {largest.len()} largest of {kinds.n_unique()}; the table has all.")
    in_chart = drawn.filter(pl.col("dimension").is_in(largest.implode()))
    chart(charts.lines_by_date(in_chart, "date", "value", "dimension"), f"{chosen} over time.")
    table("Numbers", of_metric.lazy(), "metrics", chosen, *about)
    table("All numbers of these dates", known.lazy(), "all_metrics", *about)
    st.subheader("What was restated")
    told = explore.restatements(at.work, at.days)
    table("Restatements", told, "restatements", *at.about(explore.restatements))


def alerts(at: Look) -> None:
    """What deserves a look."""
    wanted = st.multiselect("Severity", SEVERITIES, SEVERITIES, key="severity", bind="query-params")
    about = (*at.about(explore.alerts), tuple(wanted))
    selected = table("Alerts", explore.alerts(at.work, at.days, wanted), "alerts", *about, select=True)
    if selected is None:
        return
    alert = selected
    st.subheader("The selected alert")
    st.text(f"{alert['severity']}, {alert['rule']}, {alert['date']}: {alert['message']}")
    if not alert["judged"]:
        st.text("The date's own files have not come yet: only early or late events have.")
    st.code(json.dumps(json.loads(alert["details"]), ensure_ascii=False, indent=2), language="json", wrap_lines=True)


PAGES: Final[dict[str, Callable[[Look], None]]] = {
    "Overview": overview,
    "Sessions": sessions,
    "Quarantine": quarantine,
    "Metrics": numbers,
    "Alerts": alerts,
}
