"""How long the explorer's pages take over a large lake: each page's first look in a new process, and the next one.

python benchmarks/explorer.py --events 10000000 --dates 10 --work FOLDER    prints a table

One day of large_days.py goes through the pipeline; the tables that pages read are then written for other dates too,
with their dates and times moved. FOLDER keeps the lake: given again, it is looked at as it is.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
from meter import Meter

HERE: Final = Path(__file__).parent
FIRST: Final = date(2025, 12, 10)
PAGES: Final = ("Overview", "Sessions", "Quarantine", "Metrics", "Alerts")


def page(name: str, days: tuple[object, object], **filters: str) -> None:
    """What AppTest runs."""
    import streamlit as st  # noqa: PLC0415 - these lines run alone

    from assets_pkg.explorer.lake import FROM, TO  # noqa: PLC0415
    from assets_pkg.explorer.site import over_lake  # noqa: PLC0415

    st.session_state[FROM], st.session_state[TO] = days
    for key, value in filters.items():
        st.session_state[key] = value
    over_lake(name)


def make(folder: Path, events: int, dates: int) -> None:
    """A lake of so many dates with so many events each."""
    from assets_pkg.contracts.tables import TABLES  # noqa: PLC0415 - the process that only looks need not know
    from assets_pkg.settings import Settings  # noqa: PLC0415
    from assets_pkg.steps.workplace import Workplace  # noqa: PLC0415

    data = folder / "data"
    environment = {**os.environ, "PIPELINE_DATA_DIR": str(data), "PIPELINE_REPORTS_DIR": str(folder / "reports")}
    days = ["--out", str(data / "raw"), "--events", str(events), "--date", str(FIRST)]
    subprocess.run([sys.executable, str(HERE / "large_days.py"), *days], check=True, stdout=subprocess.DEVNULL)
    stages = [sys.executable, str(HERE / "stages.py"), "--dates", str(FIRST)]
    subprocess.run(stages, check=True, env=environment, stdout=subprocess.DEVNULL)
    lake = Workplace.from_settings(Settings(data_dir=data)).lake
    looked_at = [name for name in TABLES if not name.startswith("raw_") and not name.endswith("_clean")]
    for name in looked_at:
        for number in range(1, dates):
            with lake.replace(name, FIRST + timedelta(days=number)) as writer:
                for rows in _moved(lake.slices(name, FIRST), timedelta(days=number)):
                    writer.write(rows)


def _moved(pieces: list[pl.LazyFrame], by: timedelta) -> Iterator[pl.DataFrame]:
    for piece in pieces:
        rows = piece.collect()
        moved = [pl.col(column) + by for column, dtype in rows.schema.items() if dtype.is_temporal()]
        yield rows.with_columns(moved)


def look(name: str, days: tuple[date, date], filters: dict[str, str]) -> dict[str, Any]:
    """Open a page twice in this process. Streamlit is imported before: a server has it, too."""
    from streamlit.testing.v1 import AppTest  # noqa: PLC0415

    import assets_pkg.explorer.site  # noqa: F401, PLC0415

    meter = Meter()
    with meter.lap("first"):
        seen = AppTest.from_function(page, default_timeout=600, args=(name, days), kwargs=filters).run()
    assert not seen.exception, seen.exception
    assert not seen.error, seen.error
    with meter.lap("next"):
        seen.run()
    return meter.result()


def main() -> None:
    """Make the lake if there is none, and look at it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--dates", type=int, default=10)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--look", help=argparse.SUPPRESS)
    parser.add_argument("--customer", help=argparse.SUPPRESS)
    given = parser.parse_args()
    first, last = FIRST, FIRST + timedelta(days=given.dates - 1)
    if given.look:
        print(json.dumps(look(given.look, (first, last), {"customer": given.customer} if given.customer else {})))
        return
    if not (given.work / "data" / "lake").exists():
        make(given.work, given.events, given.dates)
    sessions = pl.scan_delta(str(given.work / "data" / "lake" / "sessions"))
    customer = sessions.select("customer_id").head(1).collect().item()
    environment = {**os.environ, "PIPELINE_DATA_DIR": str(given.work / "data")}
    print(f"{given.dates} dates ({first} to {last}) of {given.events:,} events, all looked at")
    print("| page | first look (s) | CPU (s) | next look (s) | peak (MiB) |\n|---|---|---|---|---|")
    for name, who in [*((each, None) for each in PAGES), ("Sessions", customer)]:
        asked = [sys.executable, __file__, "--work", str(given.work), "--dates", str(given.dates), "--look", name]
        asked += ["--customer", who] if who else []
        told = subprocess.run(asked, check=True, env=environment, capture_output=True, text=True).stdout
        once, again = json.loads(told.splitlines()[-1])["stages"]
        label = f"{name} of one customer" if who else name
        print(
            f"| {label} | {once['wall']:.1f} | {once['cpu']:.1f} | {again['wall']:.2f} | {once['peak_mib']:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
