"""Compaction: a partition of many small data files becomes one of few.

Its rows, its version, what it was built from and what is said of its rows stay as they are, so nothing is out of date
by it. Raw tables need it: their writer keeps the rows of each raw file apart, and an hourly feed is 24 of them a day.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from assets_pkg.contracts.tables import TABLES, Table
from assets_pkg.storage import lake as lakes
from assets_pkg.storage.data_files import DataFile, Kept, Piece, Written, add_actions, facts_of_pieces, write_data_file
from assets_pkg.storage.lake import Lake, LakeError, delta_schema, explained, partition_folder

_ATTEMPTS: Final = 5


def scattered(lake: Lake, table: str, day: date, from_files: int) -> int:
    """How many data files a partition has too many; 0 when they are fewer than `from_files`, or few enough.

    To rewrite it must at least halve their number. One that lost a file, or has one that others wrote and that is too
    large to be held, is left alone.
    """
    files = lake.files(table, day)
    packs = _packs(files, day)
    if len(files) < from_files or 2 * len(packs) > len(files):
        return 0
    if any(file.rows > lakes.ROWS_PER_FILE for file in files) or not lake.is_whole(table, day):
        return 0
    return len(files) - len(packs)


def compact(lake: Lake, table: str, day: date) -> bool:
    """Rewrite a partition into as few data files as its rows need, in one commit; whether that was done.

    It is not when somebody else replaced the partition meanwhile. The caller holds the day's lock, or the partition is
    replaced in vain by whoever comes second. Files that go are no part of the table any more, and lie there until
    maintenance removes them. Raises LakeError.
    """
    spec, files, partition = TABLES[table], lake.files(table, day), lake.partition(table, day)
    if partition is None:
        return False
    folder, built_from = partition_folder(lake.root, spec, day), partition.built_from
    written: list[Written] = []
    packs = _packs(files, day)
    kept = Kept(partition.version, len(packs))
    try:
        for number, pack in enumerate(packs):
            rows, facts = _merged(pack, spec, day)
            with explained(spec, folder):
                written.append(write_data_file(folder, spec, number, rows, built_from, facts, kept))
    except BaseException:
        for file in written:
            file.discard()
        raise
    return _commit(lake, spec, day, files, written)


def _packs(files: Sequence[DataFile], day: date) -> list[list[DataFile]]:
    """Which files become one, in order. Rows that are kept apart stay so, and each kind of them in its order."""
    packs: dict[bool, list[list[DataFile]]] = {}
    for file in files:
        own = packs.setdefault(file.dates in {None, (day, day)}, [[]])
        if own[-1] and sum(each.rows for each in own[-1]) + file.rows > lakes.ROWS_PER_FILE:
            own.append([])
        own[-1].append(file)
    return [pack for of_kind in packs.values() for pack in of_kind]


def _merged(pack: Sequence[DataFile], table: Table, day: date) -> tuple[pl.DataFrame, dict[str, str]]:
    pieces: list[Piece] = []
    rows: list[pl.DataFrame] = []
    for file in pack:
        try:
            of_file = file.pieces()
            rows += [piece.scan().collect(engine="in-memory") for piece in of_file]
            there = pl.scan_parquet(file.location).select(pl.len()).collect().item()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _spoilt(table, day, file, str(error).splitlines()[0]) from error
        if there != file.rows:
            raise _spoilt(table, day, file, f"it holds {there:,} rows, the table's log says {file.rows:,}")
        pieces += of_file
    return pl.concat(rows), facts_of_pieces(pieces)


def _spoilt(table: Table, day: date, file: DataFile, why: str) -> LakeError:
    return LakeError(
        f"{table.name} of {day} cannot be read: its data file {file.location} is spoilt ({why}). Other days are "
        "untouched; move the file away and run the day again, and the partition is made anew"
    )


def _commit(lake: Lake, table: Table, day: date, files: Sequence[DataFile], written: Sequence[Written]) -> bool:
    root = lake.root / table.name
    partition: dict[str, str | None] = {table.partition_by: day.isoformat()}
    before, after = {Path(file.location).name for file in files}, {file.path.name for file in written}
    now_ms = int(time.time() * 1000)
    # Delta calls a compaction no change of data. But if what is removed is not said to be one, a replacement that
    # overlaps with this is let through, and both are in the table then (deltalake 1.6.6).
    actions: list[AddAction | RemoveAction] = [
        *add_actions(written, table, day, changes_data=False),
        *(
            RemoveAction(str(Path(file.location).relative_to(root)), True, now_ms, file.bytes, partition)
            for file in files
        ),
    ]
    is_tried = False
    for attempt in range(_ATTEMPTS + 1):
        with explained(table, root):
            delta = DeltaTable(root)
            uris = delta.file_uris(file_pruning_predicate=[(table.partition_by, "=", day.isoformat())])
        now = {uri.rpartition("/")[2] for uri in uris}
        if now == after:
            return True
        if now != before or attempt == _ATTEMPTS:
            break
        is_tried = True
        with explained(table, root), suppress(CommitFailedError):  # whatever was written to the table in between
            delta.create_write_transaction(
                actions, mode="append", schema=delta_schema(table), partition_by=[table.partition_by]
            )
            return True
        time.sleep(0.2 * attempt)
    # A commit that seems to fail may have been done: then a version names these files, until maintenance removes them.
    for file in () if is_tried else written:
        file.discard()
    return False
