"""Tests: `unit` (cases in tables), `properties` (random days), `golden` (whole days known beforehand)."""

import os
import sys

# A worker beside others takes one thread for its queries. Processes that it starts take what they find.
if "PYTEST_XDIST_WORKER" in os.environ and "pytest" in sys.modules:
    os.environ["POLARS_MAX_THREADS"] = "1"
    import polars as pl  # reads it

    assert pl.thread_pool_size() == 1
    del os.environ["POLARS_MAX_THREADS"]
