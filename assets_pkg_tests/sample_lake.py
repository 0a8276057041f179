"""The sample days as tables, made without Dagster: for tests of what only reads them."""

import shutil
from datetime import date
from pathlib import Path
from typing import Final

from assets_pkg.steps.activity import refresh
from assets_pkg_tests.workbench import ROOT, Workbench, days_from

SAMPLE_DAYS: Final = days_from(date(2025, 12, 10), 5)


def sample_lake(folder: Path) -> Workbench:
    """All sample days, run one by one, so that late events restate days that had numbers before."""
    bench = Workbench(folder)
    shutil.copytree(ROOT / "data" / "raw", bench.settings.raw_dir)
    for day in SAMPLE_DAYS:
        bench.run_day(day)
        refresh(bench.work, [day])
    return bench
