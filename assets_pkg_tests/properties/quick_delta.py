"""A stand-in for deltalake's table, with what the lake asks of it: commits cost 0.1 ms instead of 6.

Histories are many commits of a few rows each, and Delta's log would be half of what they cost. The log is here a
file per commit too, under the same names, so that everything above the library works as it does with Delta.
Some histories run on Delta itself all the same.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction

from assets_pkg.storage import lake

_ADDED: Final = {"path": pl.String, "num_records": pl.Int64, "size_bytes": pl.Int64, "day": pl.String}


class QuickTable:
    """A table is the data files that its newest commit names."""

    def __init__(self, root: Path) -> None:
        self._log = root / "_delta_log"
        commits = sorted(self._log.glob("*.json"))
        if not commits:
            raise TableNotFoundError(str(root))
        self._version = len(commits) - 1
        self._files: list[dict[str, Any]] = json.loads(commits[-1].read_text())

    @classmethod
    def create(cls, root: Path, **_: Any) -> "QuickTable":
        log = root / "_delta_log"
        log.mkdir(parents=True)
        (log / f"{0:020d}.json").write_text("[]")
        return cls(root)

    def create_write_transaction(
        self, actions: Sequence[AddAction], *, partition_filters: Sequence[tuple[str, str, str]], **_: Any
    ) -> None:
        """Replace the partition that the one filter names."""
        ((column, _equals, day),) = partition_filters
        kept = [file for file in self._files if file["day"] != day]
        added = [
            {
                "path": each.path,
                "num_records": json.loads(each.stats)["numRecords"],
                "size_bytes": each.size,
                "day": day,
            }
            for each in actions
            if each.partition_values == {column: day}
        ]
        assert len(added) == len(actions)
        (self._log / f"{self._version + 1:020d}.json").write_text(json.dumps(kept + added))

    def get_add_actions(self, *, flatten: bool) -> pl.DataFrame:
        assert flatten
        found = pl.DataFrame(self._files, schema=_ADDED)
        days = pl.col("day").map_elements(date.fromisoformat, pl.Date)
        columns = {file["path"].partition("=")[0] for file in self._files} or {"day"}
        return found.with_columns(*(days.alias(f"partition.{column}") for column in columns))


@contextmanager
def quick_delta() -> Iterator[None]:
    """Lakes are made of such tables."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lake, "DeltaTable", QuickTable)
        yield
