"""What all pages share: a table with its downloads, answers that are kept, texts that stay texts."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import altair as alt
import polars as pl
import streamlit as st

from assets_pkg.contracts.rules import SEPARATOR
from assets_pkg.steps.provenance import digest_of
from assets_pkg.storage.whole_files import Format, whole_files
from assets_pkg.transforms.alerts import some

MOST_SHOWN: Final = 1_000
# Rows of one download: the page's server holds it whole, and so does the browser.
_MOST_DOWNLOADED: Final = {Format.CSV: 2_000_000, Format.PARQUET: 10_000_000}
_MIME: Final = {Format.CSV: "text/csv", Format.PARQUET: "application/vnd.apache.parquet"}

Answer = TypeVar("Answer")
Asking = Callable[..., Any]


def problem(what: str, why: str) -> None:
    """Say that something cannot be done. `why` may hold data, and stays a text; `what` is words of ours."""
    st.error(what)
    st.code(why, language=None, wrap_lines=True)


def answer(ask: Callable[[], Answer], *question: object) -> Answer:
    """What `ask` gives; asked once for a question, which says all that the answer depends on, whoever looks."""
    found: Answer = _kept(ask, digest_of(map(repr, question)))
    return found


@st.cache_data(max_entries=300, show_spinner="Reading …")
def _kept(_ask: Callable[[], Any], key: str) -> Any:  # noqa: ARG001 - what it is kept by
    return _ask()


def tiles(numbers: Mapping[str, tuple[int, str]]) -> None:
    """Large numbers side by side, each with what it means."""
    for place, (name, (number, meaning)) in zip(st.columns(len(numbers)), numbers.items(), strict=True):
        place.metric(name, f"{number:,}", help=meaning, border=True)


def chart(drawing: alt.Chart | alt.LayerChart, said: str) -> None:
    """A chart; `said`: what it shows, for those who do not see it."""
    st.altair_chart(drawing, alt=said)


def table(
    title: str,
    rows: pl.LazyFrame,
    file: str,
    *question: object,
    first: Callable[[int], pl.DataFrame] | None = None,
    lead: Sequence[str] = (),
    select: bool = False,
    ask: Asking | None = None,
) -> dict[str, Any] | None:
    """The first rows of a table, how many there are, and all of them to download as `file`.

    `question`: as for `answer`, or for `ask`, which keeps answers instead. `first`: gives so many rows to show, if not
    the first; `lead`: columns shown first. `select`: gives the selected row: that of the selected cell, at
    first the first; None if there is no row.
    """
    kept = ask or answer
    total = kept(lambda: int(rows.select(pl.len()).collect(engine="streaming").item()), title, "rows", *question)
    head = first or (lambda count: rows.head(count).collect(engine="streaming"))
    shown = kept(lambda: head(MOST_SHOWN), title, "first", *question)
    if not total:
        st.info(f"{title}: none.")
        return None
    named: dict[str, Any] = {
        "alt": title,
        "key": f"{file}-table",
        "column_config": _columns(shown),
        "column_order": [*lead, *(name for name in shown.columns if name not in lead)],
        "hide_index": True,
        "placeholder": "",
    }
    found = None
    if select:
        # Cells can be selected with the arrow keys; rows only by a click into a narrow column.
        state: Any = st.dataframe(shown, **named, on_select="rerun", selection_mode="single-cell")
        at, _ = next(iter(state["selection"]["cells"]), (0, ""))
        found = shown.row(min(at, shown.height - 1), named=True)
    else:
        st.dataframe(shown, **named)
    with st.container(horizontal=True, vertical_alignment="center"):
        of = f"{shown.height:,} of " if shown.height < total else ""
        hint = ". Select a cell to look into its row" if select else ""
        st.caption(f"{title}: {of}{some(total, 'row')}{hint}")
        for form in _MIME:
            _download(rows, file, form, total)
    return found


def _download(rows: pl.LazyFrame, file: str, form: Format, total: int) -> None:
    most = _MOST_DOWNLOADED[form]
    st.download_button(
        form.upper() if form is Format.CSV else form.capitalize(),
        data=lambda: file_of(rows, form),
        file_name=f"{file}.{form}",
        mime=_MIME[form],
        key=f"{file}-{form}",
        on_click="ignore",
        disabled=total > most,
        help=f"More than {most:,} rows: narrow what is shown, or read the table itself." if total > most else None,
    )


def file_of(rows: pl.LazyFrame, form: Format) -> bytes:
    """All rows as a file. In CSV a list is its values joined by `|`; times are ISO 8601 in UTC."""
    if form is Format.CSV:
        lists = [name for name, dtype in rows.collect_schema().items() if isinstance(dtype, pl.List)]
        rows = rows.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join(SEPARATOR) for name in lists)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        with whole_files(form) as files:
            file = files.new(path, rows.collect_schema())
            for piece in rows.collect_batches(maintain_order=True):
                file.write(piece)
        return path.read_bytes()


def _columns(rows: pl.DataFrame) -> dict[str, Any]:
    """Dates as dates; times to the millisecond in UTC, wherever the browser is."""
    day, time = "YYYY-MM-DD", "YYYY-MM-DD HH:mm:ss.SSS"
    return {
        name: st.column_config.DateColumn(format=day)
        if dtype == pl.Date()
        else st.column_config.DatetimeColumn(f"{name} (UTC)", format=time, timezone="UTC")
        for name, dtype in rows.schema.items()
        if dtype.is_temporal()
    }


def choice(label: str, names: Sequence[str], key: str, *, every: str = "", default: str = "") -> str:
    """One of some names, which the page's address keeps; "" for `every`, if there is such a choice."""
    options = ["", *names] if every else list(names)
    at = options.index(default) if default in options else 0
    chosen = st.selectbox(label, options, at, key=key, bind="query-params", format_func=lambda name: name or every)
    return chosen or ""
