"""The floor: the events file, all columns as text, to one Parquet file with polars. No day can cost less.

python benchmarks/floor.py --raw RAW_ROOT --date 2025-12-10 --out FOLDER    prints JSON
"""

import argparse
import json
from datetime import date
from pathlib import Path

import polars as pl
from meter import Meter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--date", type=date.fromisoformat, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    events = sorted((asked.raw / f"ingest_date={asked.date}").glob("events_raw*.csv"))
    meter = Meter()
    with meter.lap("floor"):
        # The lake's codec and level, so that the floor and the pipeline write the same bytes per row.
        pl.scan_csv(events, infer_schema=False).sink_parquet(
            asked.out / "events.parquet", compression="zstd", compression_level=1
        )
    print(json.dumps(meter.result()))


if __name__ == "__main__":
    main()
