"""The page over one file of events: what `python -m assets_pkg sessions` makes of it, to look at."""

from typing import Any, Final

import polars as pl
import streamlit as st

from assets_pkg.contracts.event_file import EVENT, EVENT_TIME, EVENT_TYPE, FIELDS, REASON, USER_ID
from assets_pkg.explorer import charts
from assets_pkg.explorer.parts import chart, problem, table, tiles
from assets_pkg.explorer.uploads import Upload, uploads, visit_id
from assets_pkg.steps.workplace import Workplace

_SHORTEST: Final = 0.01  # minutes
_LINES: Final = 200  # of the original, at once
_EXCERPT: Final = 1_000  # characters


def one_file(work: Workplace) -> None:
    """Sessions of a file, and what was skipped and why."""
    chosen: Any = st.file_uploader(
        "A file of events",
        key="file",
        help="A JSON array, JSON lines, JSON objects in a row, or CSV. Each event needs " + ", ".join(FIELDS) + ". "
        "It stays on the machine that this page is served from, and is removed soon after the page is closed.",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by_gap = st.checkbox("A pause ends a session", key="by_gap", help="Without it, one row per user.")
        minutes = st.number_input(
            "Minutes of the pause",
            min_value=_SHORTEST,
            max_value=24 * 60.0,
            value=max(work.policy.activity.session_timeout_minutes, _SHORTEST),
            key="gap",
            disabled=not by_gap,
        )
    upload = _kept(work, chosen, minutes if by_gap else None)
    if upload is None:
        return
    if upload.problem:
        problem("The file cannot be read.", upload.problem)
        return
    summary = upload.summary
    tiles(
        {
            "Events": (summary.total, "all that the file holds, broken ones too"),
            "Valid": (summary.valid, "that count, each once"),
            "Skipped": (summary.skipped.total(), "that do not count, each with its reason"),
            "Duplicates": (summary.duplicates, "the same user, instant and event type as another: dropped"),
            "Users": (summary.users, "who have a valid event"),
            "Sessions": (summary.sessions, "one per user, or split at pauses"),
        }
    )
    parts = {"Sessions": _sessions, "Skipped": _skipped, "Events": _events, "Original": _original}
    for place, part in zip(st.tabs(list(parts)), parts.values(), strict=True):
        with place:
            part(upload)


def _kept(work: Workplace, chosen: Any, gap: float | None) -> Upload | None:
    """The upload, read once; None if there is none."""
    kept, visit = uploads(), visit_id()
    upload = kept.of(visit)
    if chosen is None:
        kept.keep(visit, None)
        return None
    if upload is None or (upload.identity, upload.gap) != (chosen.file_id, gap):
        kept.keep(visit, None)
        with st.spinner("Reading the file …"):
            upload = Upload.of(chosen.file_id, chosen.name, gap, chosen, work)
        kept.keep(visit, upload)
    return upload


def _sessions(upload: Upload) -> None:
    table("Sessions of the file", upload.tables.sessions, "sessions", ask=upload.answer)


def _skipped(upload: Upload) -> None:
    reasons = pl.DataFrame(
        sorted(upload.summary.skipped.items(), key=lambda item: (-item[1], item[0])),
        schema={REASON: pl.String, "events": pl.Int64},
        orient="row",
    )
    if not reasons.is_empty():
        chart(charts.bars_by_name(reasons, REASON, "events"), "Skipped events by reason.")
    table("Skipped events by reason", reasons.lazy(), "skipped_by_reason", ask=upload.answer)
    table("Skipped events", upload.tables.skipped, "skipped", ask=upload.answer)
    for each in upload.summary.broken:
        st.text(f"Event {each.event:,}{'' if each.line is None else f', line {each.line:,}'} begins:")
        st.code(each.text[:_EXCERPT], language=None, wrap_lines=True)


def _events(upload: Upload) -> None:
    user = st.text_input("User", key="user", placeholder="all").strip()
    rows = upload.tables.events
    if user:
        rows = rows.filter(pl.col(USER_ID) == user)
    steps = upload.answer(lambda: charts.trend(rows), "trend", user)
    if not steps.is_empty():
        _trend(steps)
        table("Events by type in steps of 5 minutes", steps.lazy(), "trend", user, ask=upload.answer)
    table("Events", rows, "events", user, ask=upload.answer)


def _trend(steps: pl.DataFrame) -> None:
    by_date = steps.group_by(pl.col(EVENT_TIME).dt.date().alias("date")).agg(pl.sum("events")).sort("date")
    dates = by_date["date"].to_list()
    busiest = by_date["events"].arg_max() or 0
    day = st.selectbox("Date (UTC)", dates, index=busiest, key="trend_date") if len(dates) > 1 else dates[0]
    of_day = steps.filter(pl.col(EVENT_TIME).dt.date() == day)
    chart(charts.trend_chart(of_day), f"Events of {day} by {EVENT_TYPE}, in steps of 5 minutes (UTC).")


def _original(upload: Upload) -> None:
    tables = upload.tables
    reasons = tables.skipped.select(EVENT, pl.col(REASON).alias("skipped because"))
    as_read = tables.as_read.join(reasons, on=EVENT, how="left", maintain_order="left")
    table("Events as they came", as_read, "original", ask=upload.answer)
    st.download_button(
        "The file itself",
        upload.path.read_bytes,
        file_name=upload.name,
        mime="application/octet-stream",
        key="original-file",
        on_click="ignore",
    )
    count = upload.answer(upload.line_count, "lines")
    first = st.number_input("From line", min_value=1, max_value=max(count, 1), step=_LINES, key="first_line")
    shown = upload.lines(first, _LINES)
    st.code("".join(line if line.endswith("\n") else f"{line}\n" for line in shown), language=None)
    st.caption(f"Lines {first:,} to {first - 1 + len(shown):,} of {count:,}; a very long one counts as several")
