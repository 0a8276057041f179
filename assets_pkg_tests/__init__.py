"""Tests: `unit` (cases in tables), `properties` (random days), `golden` (whole days known beforehand)."""

import os
import sys

if "pytest" in sys.modules:  # not in the processes that tests start: they are to take what they are given
    for setting in [name for name in os.environ if name.startswith(("PIPELINE_", "DAGSTER_"))]:
        del os.environ[setting]  # the developer's own; the definitions would have them from when they are imported

    if "PYTEST_XDIST_WORKER" in os.environ:  # beside others, one thread for its queries
        os.environ["POLARS_MAX_THREADS"] = "1"
        import polars as pl  # reads it

        assert pl.thread_pool_size() == 1
        del os.environ["POLARS_MAX_THREADS"]
