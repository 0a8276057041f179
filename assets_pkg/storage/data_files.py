"""Data files of the lake: Parquet files whose names say what they hold, and whose own metadata may say more.

A name carries a digest of the file's bytes, or, when its partition was compacted, the version that the partition had
before; and what the partition was built from. So the log alone tells both.
"""

import hashlib
import io
import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import polars as pl
from deltalake.transaction import AddAction

from assets_pkg.contracts.tables import Table

_COMPRESSION_LEVEL: Final = 1  # zstd-1 makes the smallest files and is no slower than lz4 or snappy here
_UNSAID: Final = "unsaid"  # in a file's name: what it was built from
_NAME_PARTS: Final = 5
_KEPT: Final = "v"  # before a version in the place of a digest; no digest has this letter
_ARROW_SCHEMA: Final = "ARROW:schema"  # polars' own entry among a data file's metadata
_PIECES: Final = "pieces"  # of a compacted file: the rows and the facts of each


@dataclass(frozen=True)
class Piece:
    """Rows of a data file, one after the other, of which their writer said the same `facts`."""

    location: str
    offset: int
    rows: int
    facts: Mapping[str, str] = field(default_factory=dict)

    def scan(self) -> pl.LazyFrame:
        """The rows."""
        return pl.scan_parquet(self.location).slice(self.offset, self.rows)


@dataclass(frozen=True)
class DataFile:
    """A data file of one partition."""

    location: str
    rows: int
    bytes: int
    digest: str
    built_from: str
    dates: tuple[date, date] | None = None
    """The first and last date of its rows in the column that they are kept apart by, where the log says."""

    @classmethod
    def of_log(
        cls, table_root: str, path: str, rows: int, size: int, dates: tuple[date, date] | None = None
    ) -> "DataFile":
        """The file that a log has at `path`. By text alone: a log has thousands of them."""
        parts = path.rpartition("/")[2].removesuffix(".parquet").split("-")
        # A file that others wrote: its name is its version, and nobody says what it was built from.
        digest, built_from = parts[2:4] if len(parts) == _NAME_PARTS else (path, _UNSAID)
        return cls(f"{table_root}/{path}", rows, size, digest, "" if built_from == _UNSAID else built_from, dates)

    def is_whole(self) -> bool:
        """Whether it is there, as long as the log says."""
        try:
            return Path(self.location).stat().st_size == self.bytes
        except OSError:
            return False

    def pieces(self) -> list[Piece]:
        """Its rows by what their writer said of them with `describe`: one piece, unless it was compacted."""
        facts = {name: text for name, text in pl.read_parquet_metadata(self.location).items() if name != _ARROW_SCHEMA}
        told: list[tuple[int, dict[str, str]]] = (
            json.loads(facts[_PIECES]) if _PIECES in facts else [(self.rows, facts)]
        )
        found, offset = [], 0
        for rows, said in told:
            found.append(Piece(self.location, offset, rows, said))
            offset += rows
        return found


@dataclass(frozen=True)
class Kept:
    """The version of a partition that was compacted into so many `files`; with one of them gone it is another."""

    version: str
    files: int

    def __str__(self) -> str:
        return f"{_KEPT}{self.version}.{self.files}"


@dataclass(frozen=True)
class Written:
    """A data file that no commit names yet. `stats`: what the log is to say of its rows, as Delta has it."""

    path: Path
    bytes: int
    rows: int
    digest: str
    stats: str

    def discard(self) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)


def write_data_file(
    folder: Path,
    table: Table,
    number: int,
    frame: pl.DataFrame,
    built_from: str,
    facts: Mapping[str, str],
    kept: Kept | None = None,
) -> Written:
    """Write one row group. `number`: its place among the partition's files; `kept`: what version that has already.

    Raises OSError.
    """
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        compression_level=_COMPRESSION_LEVEL,
        row_group_size=max(frame.height, 1),
        metadata=dict(facts),
    )
    content = buffer.getbuffer()
    # SHA-256, as processors have instructions for it.
    digest = str(kept) if kept else hashlib.sha256(content).hexdigest()[:20]
    path = folder / f"part-{number:05d}-{digest}-{built_from or _UNSAID}-{uuid.uuid4().hex[:8]}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes(content)
    except OSError:  # of a full disk, not even a part
        path.unlink(missing_ok=True)
        raise
    stats: dict[str, Any] = {"numRecords": frame.height}
    if (column := table.apart_by) and frame.height:
        bounds = frame[column].min(), frame[column].max()
        stats["minValues"], stats["maxValues"] = ({column: str(bound)} for bound in bounds)
    return Written(path, len(content), frame.height, digest, json.dumps(stats))


def facts_of_pieces(pieces: Sequence[Piece]) -> dict[str, str]:
    """What a data file with the rows of all of them, in this order, keeps."""
    return {_PIECES: json.dumps([[piece.rows, piece.facts] for piece in pieces])}


def add_actions(files: Iterable[Written], table: Table, day: date, *, changes_data: bool = True) -> list[AddAction]:
    """How a commit names them."""
    partition = {table.partition_by: day.isoformat()}
    now = int(time.time() * 1000)
    return [
        AddAction(f"{file.path.parent.name}/{file.path.name}", file.bytes, partition, now, changes_data, file.stats)
        for file in files
    ]


def version_of(digests: Iterable[str]) -> str:
    """The version of a partition whose data files have these digests, in order. Equal versions, equal rows."""
    told = list(digests)
    if told and told[0].startswith(_KEPT) and len(set(told)) == 1:
        version, _, files = told[0].removeprefix(_KEPT).partition(".")
        if files == str(len(told)):
            return version
    return hashlib.blake2b("\n".join(told).encode(), digest_size=10).hexdigest()
