"""What is told about one raw file: the row of the ledger that reports and alerts read."""

from dataclasses import dataclass
from typing import Final

PROCESSING: Final = "PROCESSING"
SUCCESS: Final = "SUCCESS"
FAILED: Final = "FAILED"


@dataclass(frozen=True)
class FileRecord:
    """What became of one file. `absent_columns`: feed columns it lacks; `unknown_columns`: names no feed column has."""

    path: str
    content_sha256: str
    bytes: int
    status: str = PROCESSING
    records: int = 0
    error: str | None = None
    absent_columns: tuple[str, ...] = ()
    unknown_columns: tuple[str, ...] = ()
    read_policy: str = ""
