"""The page over one file of events: what `python -m assets_pkg sessions` makes of it, to look at."""

import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import polars as pl
import streamlit as st

from assets_pkg.contracts.event_file import EVENT, EVENT_TIME, EVENT_TYPE, FIELDS, REASON, USER_ID
from assets_pkg.explorer import charts
from assets_pkg.explorer.parts import answer, chart, plain, table, tiles
from assets_pkg.policy import load_policy
from assets_pkg.steps.event_file import FileSummary, FileTables, tables_of_file
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.records import UnreadableFileError

_KEPT: Final = "uploaded file"
_SHORTEST: Final = 0.01  # minutes
_LINES: Final = 200  # of the original, at once
_LINE_CHARACTERS: Final = 1_000


@dataclass
class Upload:
    """A file that was uploaded in this visit; gone with the visit, or with the next file.

    `identity` tells uploads apart; `gap`: minutes of a pause that ends a session, None for one row per user.
    """

    identity: str
    name: str
    gap: float | None
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="explorer-")))
    summary: FileSummary = field(default_factory=FileSummary)

    def __post_init__(self) -> None:
        self.forget = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    @property
    def path(self) -> Path:
        """The file, under a name of ours: how it ends decides how it may be read."""
        return self.folder / ("file.csv" if self.name.lower().endswith(".csv") else "file.json")

    @property
    def tables(self) -> FileTables:
        """What is in it."""
        return FileTables(self.folder)

    def read(self, work: Workplace) -> None:
        """Raises UnreadableFileError, with the file's own name."""
        changed = {} if self.gap is None else {"activity": {"session_timeout_minutes": self.gap}}
        policy = load_policy(work.settings.policy, changed)
        try:
            self.summary, _ = tables_of_file(self.path, self.folder, policy, by_gap=self.gap is not None)
        except UnreadableFileError as error:
            raise UnreadableFileError(str(error).replace(str(self.path), self.name)) from error


def one_file(work: Workplace) -> None:
    """Sessions of a file, and what was skipped and why."""
    chosen: Any = st.file_uploader(
        "A file of events",
        key="file",
        help="A JSON array, JSON lines, JSON objects in a row, or CSV. Each event needs " + ", ".join(FIELDS) + ". "
        "It stays on the machine that this page is served from, until the page is closed.",
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
    if chosen is None:
        _forget()
        return
    upload = _kept(work, chosen, minutes if by_gap else None)
    if upload is None:
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
    """The upload, read once; None, with a word on it, if it cannot be read."""
    upload: Upload | None = st.session_state.get(_KEPT)
    if upload and (upload.identity, upload.gap) == (chosen.file_id, gap):
        return upload
    _forget()
    upload = Upload(chosen.file_id, chosen.name, gap)
    with upload.path.open("wb") as target:
        chosen.seek(0)
        shutil.copyfileobj(chosen, target)
    try:
        with st.spinner("Reading the file …"):
            upload.read(work)
    except UnreadableFileError as error:
        st.error(plain(str(error)))
        return None
    st.session_state[_KEPT] = upload
    return upload


def _forget() -> None:
    upload: Upload | None = st.session_state.pop(_KEPT, None)
    if upload is not None:
        upload.forget()


def _sessions(upload: Upload) -> None:
    table("Sessions of the file", upload.tables.sessions, "sessions", upload.identity, upload.gap)


def _skipped(upload: Upload) -> None:
    reasons = pl.DataFrame(
        sorted(upload.summary.skipped.items(), key=lambda item: (-item[1], item[0])),
        schema={REASON: pl.String, "events": pl.Int64},
        orient="row",
    )
    if not reasons.is_empty():
        chart(charts.bars_by_name(reasons, REASON, "events"), "Skipped events by reason.")
    table("Skipped events by reason", reasons.lazy(), "skipped_by_reason", upload.identity)
    table("Skipped events", upload.tables.skipped, "skipped", upload.identity)
    for each in upload.summary.broken:
        st.text(f"Event {each.event:,}{'' if each.line is None else f', line {each.line:,}'} begins:")
        st.code(each.text[:_LINE_CHARACTERS], language=None, wrap_lines=True)


def _events(upload: Upload) -> None:
    user = st.text_input("User", key="user", placeholder="all").strip()
    rows = upload.tables.events
    if user:
        rows = rows.filter(pl.col(USER_ID) == user)
    about = (upload.identity, user)
    steps = answer(lambda: charts.trend(rows), "trend", *about)
    if not steps.is_empty():
        _trend(steps)
        table("Events by type in steps of 5 minutes", steps.lazy(), "trend", *about)
    table("Events", rows, "events", *about)


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
    table("Events as they came", as_read, "original", upload.identity)
    with upload.path.open("rb") as stream:
        st.download_button("The file itself", stream, file_name=upload.name, key="original-file", on_click="ignore")
        stream.seek(0)
        lines = sum(1 for _ in stream)
        first = st.number_input("From line", min_value=1, max_value=max(lines, 1), step=_LINES, key="first_line")
        stream.seek(0)
        wanted = [line.decode("utf-8", "replace") for line in islice(stream, first - 1, first - 1 + _LINES)]
    shown = (line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]} …\n" for line in wanted)
    st.code("".join(shown), language=None, line_numbers=False)
    st.caption(f"Lines {first:,} to {first - 1 + len(wanted):,} of {lines:,}")
