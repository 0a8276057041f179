"""The sessions of one file are those of the lake, and the oracle's, for the same events."""

import json
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_pkg.contracts.event_file import SESSIONS_FILE
from assets_pkg.policy import load_policy
from assets_pkg.steps.event_file import sessions_of_file
from assets_pkg.storage.whole_files import Format
from assets_pkg.transforms import event_file
from assets_pkg_tests.activities import Event
from assets_pkg_tests.properties.activity_histories import Chain, _chains, fast_bench
from assets_pkg_tests.reference.activity import Numbers, build_activity

Span = tuple[str, datetime, datetime, int]


def of_file(events: list[Event], minutes: float, *, in_array: bool) -> list[Span]:
    """What the command makes of the events; each comes twice, the second time in another order of keys."""
    once = [{"user_id": e.customer, "event_time": e.texts["event_time"], "event_type": e.event_id} for e in events]
    texts = [json.dumps(each) for each in (*once, *(dict(reversed(each.items())) for each in once))]
    policy = load_policy(overlay={"activity": {"session_timeout_minutes": minutes}})
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "events.json", Path(folder) / "sessions.parquet"
        source.write_text(f"[{','.join(texts)}]" if in_array else "\n".join(texts))
        summary = sessions_of_file(source, out, None, policy, by_gap=True, form=Format.PARQUET)
        rows = pl.read_parquet(out)
    assert (summary.valid, summary.duplicates) == (len(events), len(events))
    assert rows.schema == SESSIONS_FILE
    assert rows.rows() == sorted(rows.rows())
    return rows.rows()


def of_lake(events: list[Event], minutes: float) -> list[Span]:
    """What the lake's tables hold when each event landed on its own day."""
    with fast_bench(session_timeout_minutes=minutes) as bench:
        by_day: dict[object, list[Event]] = {}
        for event in events:
            assert isinstance(event.time, datetime)
            by_day.setdefault(event.time.date(), []).append(event)
        for day in sorted(by_day):
            bench.bring(day, *by_day[day])  # type: ignore[arg-type]
        rows = [row for rows in bench.by_date("sessions").values() for row in rows]
    return sorted((r["customer_id"], r["session_start"], r["session_end"], r["event_count"]) for r in rows)


def of_oracle(events: list[Event], minutes: float) -> list[Span]:
    clean: dict[object, list[dict[str, object]]] = {}
    for event in events:
        assert isinstance(event.time, datetime)
        row = {
            "event_id": event.event_id,
            "customer_id": event.customer,
            "event_time": event.time,
            "event_date": event.time.date(),
            "event_type": event.kind,
            "platform": event.platform,
        }
        clean.setdefault(event.time.date(), []).append(row)
    days = build_activity(clean, Numbers(session_timeout=timedelta(minutes=minutes)))  # type: ignore[arg-type]
    rows = [row for day in days.values() for row in day.sessions]
    return sorted((r["customer_id"], r["session_start"], r["session_end"], r["event_count"]) for r in rows)


def events_of(chains: list[Chain], minutes: float) -> list[Event]:
    times = [(chain.customer, time) for chain in chains for time in chain.times(timedelta(minutes=minutes))]
    return [Event(f"e{number}", time, f"c{customer}") for number, (customer, time) in enumerate(times)]


_some_chains = st.lists(_chains, min_size=1, max_size=5)
_gaps = st.sampled_from([30.0, 480.0, 1440.0])


@given(_some_chains, _gaps, st.booleans(), st.sampled_from([1, 3, 500_000]))
@settings(max_examples=40)
def test_sessions_of_a_file_are_the_oracles(
    chains: list[Chain], minutes: float, in_array: bool, events_of_a_date: int
) -> None:
    events = events_of(chains, minutes)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(event_file, "_OF_A_DATE", events_of_a_date)  # customers in many parts, or all at once
        assert of_file(events, minutes, in_array=in_array) == of_oracle(events, minutes)


@given(_some_chains, _gaps)
@settings(max_examples=6)
def test_sessions_of_a_file_are_those_of_the_lake(chains: list[Chain], minutes: float) -> None:
    events = events_of(chains, minutes)
    assert of_file(events, minutes, in_array=False) == of_lake(events, minutes)
