"""The lake: Delta tables, read by partition and replaced a whole partition at a time, in one commit.

The names of data files carry digests of their bytes, so the content of a partition has a version that can be read
from the table's log alone, without any data: equal versions, equal rows. Rewriting a partition with what it
already holds is no commit at all. They also carry what their writer said the partition was built from, so whether it
is up to date is told by the log, and changes in the same commit as the rows.

Data files are written by polars and committed through the Delta log (175 ms a million rows where write_deltalake
takes 331); they are 1 row group of at most ROWS_PER_FILE rows, so a reader can bound its memory.
"""

import errno
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Field, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import ArrayType, PrimitiveType
from deltalake.transaction import AddAction, RemoveAction

from assets_pkg.contracts.tables import TABLES, Table
from assets_pkg.storage.data_files import DataFile, Written, add_actions, version_of, write_data_file

ROWS_PER_FILE: Final = 400_000
_ATTEMPTS: Final = 5
LOG: Final = "_delta_log"
# A commit, or a checkpoint: all that is left of it when the log was cleaned up.
_COMMIT: Final = re.compile(r"\d{20}\.(?:json|checkpoint\.(?:.*\.)?parquet)")


class LakeError(RuntimeError):
    """The lake cannot be read or written; the message says which table and what to do."""


def partition_folder(root: Path, table: Table, day: date) -> Path:
    """Where a partition's data files are."""
    return root / table.name / f"{table.partition_by}={day.isoformat()}"


@dataclass(frozen=True)
class Partition:
    """What the table's log tells of a partition. Equal versions, equal rows.

    `built_from`: what its writer said it was built from; empty when nobody did.
    """

    version: str
    rows: int
    built_from: str


@dataclass
class PartitionWriter:
    """Takes the rows of one partition, in order, and keeps them out of the table until the partition is committed."""

    table: Table
    day: date
    root: Path
    built_from: str = ""
    rows: int = 0
    _pending: dict[bool, list[pl.DataFrame]] = field(default_factory=dict)
    _written: list[Written] = field(default_factory=list)
    _facts: Callable[[], dict[str, str]] = dict

    @property
    def _folder(self) -> Path:
        return partition_folder(self.root, self.table, self.day)

    def describe(self, facts: Callable[[], dict[str, str]]) -> None:
        """Say something of the rows that follow.

        Each of their data files, which hold no others, keeps what `facts` gives when it is written.
        """
        self.flush()
        self._facts = facts

    def write(self, frame: pl.DataFrame) -> None:
        """Add rows. The columns must be the table's, in its order; anything else is a fault of ours and raises."""
        if frame.schema != self.table.schema:
            raise LakeError(f"{self.table.name}: rows have {frame.schema}, the table has {self.table.schema}")
        column = self.table.apart_by
        if column and not (own := frame[column].eq_missing(self.day)).all():
            self._add(frame.filter(own), is_own=True)
            self._add(frame.filter(~own), is_own=False)
        else:
            self._add(frame, is_own=True)

    def _add(self, frame: pl.DataFrame, *, is_own: bool) -> None:
        pending = self._pending.setdefault(is_own, [])
        while frame.height:
            room = ROWS_PER_FILE - sum(map(len, pending))
            pending.append(frame.head(room))
            self.rows += pending[-1].height
            frame = frame.slice(room)
            if pending[-1].height == room:
                self._write_file(pl.concat(pending))
                pending.clear()

    def flush(self) -> None:
        """Put what is pending into data files, so that rows before and after share none."""
        for pending in self._pending.values():
            if pending:
                self._write_file(pl.concat(pending))
        self._pending = {}

    def mark(self) -> int:
        """A point to come back to with `back_to`."""
        self.flush()
        return len(self._written)

    def back_to(self, mark: int) -> None:
        """Forget all rows written since `mark`."""
        self._pending = {}
        for file in self._written[mark:]:
            file.discard()
        del self._written[mark:]
        self.rows = sum(file.rows for file in self._written)

    def _write_file(self, frame: pl.DataFrame) -> None:
        with explained(self.table, self._folder):
            number, facts = len(self._written), self._facts()
            file = write_data_file(self._folder, self.table, number, frame, self.built_from, facts)
        self._written.append(file)

    def complete(self) -> str:
        """Write what is pending: all rows were given. Gives the version that the partition will have."""
        self.flush()
        if not self._written:  # an empty answer is an answer: the partition exists, with no rows
            self._write_file(pl.DataFrame(schema=self.table.schema))
        return self.version

    def finish(self) -> list[AddAction | RemoveAction]:
        """Write what is pending; gives what to commit. For the lake only."""
        self.complete()
        return list(add_actions(self._written, self.table, self.day))

    def discard(self) -> None:
        """Remove what was written."""
        for file in self._written:
            file.discard()

    @property
    def version(self) -> str:
        """The content version that the partition has, or would have, with these rows."""
        return version_of(file.digest for file in self._written)


@dataclass(frozen=True)
class _Commit:
    """A commit of a table's log: a file, which is never written over."""

    path: Path
    # Inode and time: a table that was deleted and made anew has the same names. The folder's time: where the log is
    # cleaned up, the next commit may go before this one.
    identity: tuple[int, int, int]

    @classmethod
    def at(cls, path: Path) -> "_Commit":
        """Raises FileNotFoundError."""
        folder, found = path.parent.stat(), path.stat()
        return cls(path, (found.st_ino, found.st_mtime_ns, folder.st_mtime_ns))

    def is_latest(self) -> bool:
        """Whether it is still there, and no other came after it."""
        try:
            return self == _Commit.at(self.path) and not self._next().exists()
        except FileNotFoundError:
            return False

    def is_kept(self) -> bool:
        """Whether it is still there: then what came since goes on from it."""
        try:
            return self.identity[:2] == _Commit.at(self.path).identity[:2]
        except FileNotFoundError:
            return False

    @property
    def version(self) -> int:
        """The table's, as of the commit."""
        return int(self.path.name.partition(".")[0])

    def _next(self) -> Path:
        return self.path.with_name(f"{self.version + 1:020d}.json")


@dataclass(frozen=True)
class _Contents:
    """What a table's log says, as of a commit; None when there is no table."""

    commit: _Commit | None
    files: dict[date, list[DataFile]]
    partitions: dict[date, Partition]

    def is_latest(self) -> bool:
        return self.commit is not None and self.commit.is_latest()


class Lake:
    """The tables of `contracts.tables` under one folder.

    A `frozen` one shows them as they are when first looked at. One that writes `anew` also replaces partitions by what
    they seem to hold: their bytes may have spoilt.
    """

    def __init__(self, root: Path, *, frozen: bool = False, anew: bool = False) -> None:
        self.root = root
        self._frozen = frozen
        self._anew = anew
        self._seen: dict[str, _Contents] = {}
        self._tables: dict[str, tuple[_Commit, DeltaTable]] = {}

    def as_now(self) -> "Lake":
        """A frozen one, which begins with what this one has seen and is still so."""
        now = Lake(self.root, frozen=True)
        now._seen = {table: seen for table, seen in self._seen.items() if seen.is_latest()}
        return now

    # -- reading ----------------------------------------------------------------------------------------

    def files(self, table: str, day: date) -> list[DataFile]:
        """The partition's data files in the order of their rows; empty when it was never written."""
        return self._contents(table).files.get(day, [])

    def version(self, table: str, day: date) -> str | None:
        """The content version of a partition; None when it was never written."""
        partition = self.partition(table, day)
        return partition.version if partition else None

    def partition(self, table: str, day: date) -> Partition | None:
        """What the log tells of a partition; None when it was never written."""
        return self._contents(table).partitions.get(day)

    def partitions(self, table: str) -> dict[date, Partition]:
        """The partitions that have been written, in order of their days."""
        return dict(self._contents(table).partitions)

    def is_whole(self, table: str, day: date) -> bool:
        """Whether every data file of a partition is there, as long as the log says."""
        return all(map(DataFile.is_whole, self.files(table, day)))

    def rows(self, table: str, day: date) -> int:
        """How many rows a partition has, from its files' own metadata (not from what the log says)."""
        locations = [file.location for file in self._whole_files(table, day)]
        return pl.scan_parquet(locations).select(pl.len()).collect().item() if locations else 0

    def scan(self, table: str, days: Iterable[date]) -> pl.LazyFrame:
        """The rows of some partitions, the partition column first; no rows for those that were never written."""
        spec = TABLES[table]
        frames = [
            pl.scan_parquet([file.location for file in files]).select(
                pl.lit(day, pl.Date).alias(spec.partition_by), *spec.columns
            )
            for day in days
            if (files := self._whole_files(table, day))
        ]
        return pl.concat(frames) if frames else pl.LazyFrame(schema=spec.full_schema)

    def slices(self, table: str, day: date, of_date: date | None = None) -> list[pl.LazyFrame]:
        """The rows of a partition in pieces of at most ROWS_PER_FILE (without the partition column), in order.

        `of_date`: without data files that hold none of that date, in the column that rows are kept apart by.
        """
        return [
            pl.scan_parquet(file.location).slice(offset, ROWS_PER_FILE)
            for file in self._whole_files(table, day)
            if of_date is None or file.dates is None or file.dates[0] <= of_date <= file.dates[1]
            for offset in range(0, file.rows, ROWS_PER_FILE)
        ]

    def rows_of(self, table: str, day: date, of_date: date) -> int:
        """How many rows of a partition are of a date, in the column that rows are kept apart by.

        Only data files are read that hold other dates too.
        """
        rows = 0
        for file in self._whole_files(table, day):
            if file.dates == (of_date, of_date):
                rows += file.rows
            elif file.dates is None or file.dates[0] <= of_date <= file.dates[1]:
                of_file = pl.scan_parquet(file.location).filter(pl.col(str(TABLES[table].apart_by)) == of_date)
                rows += int(of_file.select(pl.len()).collect(engine="streaming").item())
        return rows

    # -- writing ----------------------------------------------------------------------------------------

    @contextmanager
    def replace(self, table: str, day: date, run: str = "", built_from: str = "") -> Iterator[PartitionWriter]:
        """Replace one partition by what is written inside the block, in one commit at its end.

        When the block raises, or the process dies, the table keeps the old partition. `run` is kept in the log.
        `built_from`: what the rows are made from, in letters, digits and dots; kept with them.
        """
        spec = TABLES[table]
        writer = PartitionWriter(spec, day, self.root, built_from)
        try:
            yield writer
            actions = writer.finish()
        except BaseException:
            writer.discard()
            raise
        before = self.partition(table, day)
        same = before is not None and (before.version, before.built_from) == (writer.version, built_from)
        if same and self.is_whole(table, day) and not self._anew:
            writer.discard()
        else:
            # From here on nothing is discarded: a commit that seems to fail may have been done. Files that no
            # commit names are no part of the table; maintenance removes them.
            self._commit(spec, day, actions, run)

    def _commit(self, table: Table, day: date, actions: list[AddAction | RemoveAction], run: str) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with explained(table, self.root / table.name):
                    self._open_or_create(table).create_write_transaction(
                        actions,
                        mode="overwrite",
                        schema=delta_schema(table),
                        partition_by=[table.partition_by],
                        partition_filters=[(table.partition_by, "=", day.isoformat())],
                        commit_properties=CommitProperties(custom_metadata={"run_id": run} if run else None),
                    )
            except CommitFailedError as error:
                if attempt == _ATTEMPTS:
                    raise LakeError(
                        f"{table.name} of {day}: another process kept writing the same table ({error}). "
                        "Nothing was changed; run the day again"
                    ) from error
                time.sleep(0.2 * attempt)
            else:
                return

    def _open(self, table: str) -> DeltaTable | None:
        """The table as it is now. A log is read once; then only what was added, as long as that goes on from there."""
        newest = self._newest_commit(table)
        known, delta = self._tables.get(table, (None, None))
        try:
            if not (known and newest and delta and known.is_kept() and _is_brought_up_to(newest, delta)):
                delta = DeltaTable(self.root / table)
        except TableNotFoundError:
            self._tables.pop(table, None)
            return None
        except DeltaError as error:
            raise LakeError(
                f"{table} cannot be opened at {self.root / table}: {str(error).splitlines()[0]}. If its {LOG} is "
                "damaged, bring it back from a backup, or move the table's folder away and run its days again"
            ) from error
        if newest:
            self._tables[table] = newest, delta
        return delta

    def _open_or_create(self, table: Table) -> DeltaTable:
        found = self._open(table.name)
        if found is not None:
            return found
        created = DeltaTable.create(
            self.root / table.name,
            schema=delta_schema(table),
            mode="ignore",
            partition_by=[table.partition_by],
            name=table.name,
            description=table.meaning,
        )
        if newest := self._newest_commit(table.name):
            self._tables[table.name] = newest, created
        return created

    def _whole_files(self, table: str, day: date) -> list[DataFile]:
        """As `files`. Raises LakeError, as a reader of a lost file would tell neither which table nor what to do."""
        files = self.files(table, day)
        if broken := next((file for file in files if not file.is_whole()), None):
            raise LakeError(
                f"{table} of {day} cannot be read: its data file {broken.location} is lost or cut off. Other days are "
                f"untouched; materialize {table} of {day} again, and it is made anew"
            )
        return files

    def _contents(self, table: str) -> "_Contents":
        """What the table's log says. Opening it costs 100 times as much as to look whether anything was added."""
        seen = self._seen.get(table)
        if seen is None or not (self._frozen or seen.is_latest()):
            newest = self._newest_commit(table)
            files = self._listed(table) if newest else {}
            seen = _Contents(newest, files, {day: _partition(of_day) for day, of_day in sorted(files.items())})
            self._seen[table] = seen
        return seen

    def _newest_commit(self, table: str) -> "_Commit | None":
        log = self.root / table / LOG
        try:
            with os.scandir(log) as entries:
                name = max(each.name for each in entries if _COMMIT.fullmatch(each.name))
            return _Commit.at(log / name)
        except (FileNotFoundError, ValueError):
            return None
        except OSError as error:
            raise LakeError(f"{table} cannot be read at {log.parent}: {error.strerror or error}") from error

    def _listed(self, table: str) -> dict[date, list[DataFile]]:
        delta, root = self._open(table), str(self.root / table)
        if delta is None:
            return {}
        actions: Any = delta.get_add_actions(flatten=True)
        spec, names = TABLES[table], set(actions.schema.names)

        def column(name: str) -> Iterable[Any]:
            return actions.column(name).to_pylist() if name in names else repeat(None, actions.num_rows)

        days, rows, sizes = map(column, (f"partition.{spec.partition_by}", "num_records", "size_bytes"))
        first, last = (column(f"{bound}.{spec.apart_by}") for bound in ("min", "max"))
        files = sorted(zip(column("path"), days, rows, sizes, first, last, strict=True), key=itemgetter(0))
        found: dict[date, list[DataFile]] = {}
        for path, day, height, size, *dates in files:
            bounds = (dates[0], dates[1]) if dates[0] else None
            found.setdefault(day, []).append(DataFile.of_log(root, path, height, size, bounds))
        return found


def _is_brought_up_to(newest: _Commit, delta: DeltaTable) -> bool:
    """Whether a table has read its log up to a commit, or could read what was added since."""
    try:
        if delta.version() != newest.version:
            delta.update_incremental()
    except DeltaError:  # opening it anew will say why
        return False
    return True


def disk_problem(error: OSError | DeltaError) -> tuple[str, str]:
    """What a disk refused in words, and what to do."""
    said = str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in said:
        return "its disk is full", "make room"
    if isinstance(error, PermissionError) or any(word in said for word in ("ermission", "ead-only")):
        return "it may not be written", "give the pipeline's user the right to"
    return (error.strerror if isinstance(error, OSError) and error.strerror else said), "look at its disk"


@contextmanager
def explained(table: Table, place: Path) -> Iterator[None]:
    """Tell what a disk refused in words, with what to do."""
    try:
        yield
    except CommitFailedError:
        raise
    except (OSError, DeltaError) as error:
        why, advice = disk_problem(error)
        raise LakeError(
            f"{table.name} cannot be written to {place}: {why}. Its partitions are as before; {advice}, and run the "
            "days again"
        ) from error


def _partition(files: list[DataFile]) -> Partition:
    said = {file.built_from for file in files}
    return Partition(
        version_of(file.digest for file in files),
        sum(file.rows for file in files),
        said.pop() if len(said) == 1 else "",
    )


_DELTA_TYPES: Final = {
    pl.String(): "string",
    pl.Int64(): "long",
    pl.Float64(): "double",
    pl.Date(): "date",
    pl.Boolean(): "boolean",
    pl.Datetime("us", "UTC"): "timestamp",
}


def delta_schema(table: Table) -> Schema:
    """The table's columns as Delta has them, the partition's first."""
    return Schema([Field(name, _delta_type(dtype)) for name, dtype in table.full_schema.items()])


def _delta_type(dtype: pl.DataType) -> PrimitiveType | ArrayType:
    if isinstance(dtype, pl.Decimal):
        return PrimitiveType(f"decimal({dtype.precision},{dtype.scale})")
    if isinstance(dtype, pl.List):
        return ArrayType(_delta_type(dtype.inner), contains_null=False)  # type: ignore[arg-type]
    return PrimitiveType(_DELTA_TYPES[dtype])
