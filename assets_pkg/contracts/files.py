"""What is told about one raw file: the row of the ledger that reports and alerts read."""

import shlex
from dataclasses import dataclass, field
from typing import Final

PENDING: Final = "PENDING"
PROCESSING: Final = "PROCESSING"
SUCCESS: Final = "SUCCESS"
FAILED: Final = "FAILED"
SKIPPED: Final = "SKIPPED"
FORMATS: Final = ("csv", "csv.gz", "jsonl", "jsonl.gz", "ndjson", "ndjson.gz", "json", "parquet")
STATUSES: Final = (PENDING, PROCESSING, SUCCESS, FAILED, SKIPPED)


@dataclass(frozen=True)
class FileRecord:
    """What became of one file.

    `content_sha256` is empty for a file whose bytes could not be read. `duplicate_of`: the file that holds the same
    content. `absent_columns`: feed columns it lacks; `unknown_columns`: names no feed column has. `read_policy`:
    digest of the policy it was read under. `stamp`: how its folder entry looked when it was hashed. `attempts`: how
    often it was taken for reading, which also tells whether anybody took it since this record was read. `forget`:
    somebody asked to remove its rows.
    """

    path: str
    content_sha256: str
    bytes: int
    status: str = PROCESSING
    records: int = 0
    error: str | None = None
    absent_columns: tuple[str, ...] = ()
    unknown_columns: tuple[str, ...] = ()
    read_policy: str = ""
    duplicate_of: str | None = None
    stamp: str = ""
    attempts: int = field(default=0, compare=False)
    forget: bool = False

    @property
    def has_rows(self) -> bool:
        """Whether the raw table holds this content's rows. A PENDING file has, unless it names another that does."""
        return self.status == SUCCESS or (self.status == PENDING and self.duplicate_of is None)

    @property
    def content(self) -> str | None:
        """What makes two files the same data: their bytes, and how these are read. None when they could not be read.

        The same bytes are not the same data as CSV and as JSON lines.
        """
        how = format_of(self.path).replace("ndjson", "jsonl")
        return f"{self.content_sha256} {how}" if self.content_sha256 else None


def note_on(status: str, error: str | None, duplicate_of: str | None) -> str:
    """What people should know about a file of that state; the empty text when its state says it all."""
    if status == FAILED:
        return error or ""
    return f"same content as {duplicate_of}" if status == SKIPPED else ""


def format_of(path: str) -> str:
    """The format that a raw file's name says; the empty text for none that is read."""
    return max((each for each in FORMATS if path.endswith(f".{each}")), key=len, default="")


def explain_command(path: str, row: int) -> str:
    """The command that tells a record's life."""
    return f"python -m assets_pkg explain --file {shlex.quote(path)} --row {row}"
