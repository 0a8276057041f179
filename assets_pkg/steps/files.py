"""What became of raw files: the ledger beside the counts of their rows, and whether it still tells the truth."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl
from sqlalchemy import RowMapping

from assets_pkg.contracts.feeds import FEEDS, Feed
from assets_pkg.contracts.files import PENDING, PROCESSING, SUCCESS, FileRecord, note_on
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.raw_files import files_of_day, find_files, raw_days
from assets_pkg.storage.records import UnreadableFileError
from assets_pkg.transforms.split import FILE_CLEAN, FILE_FULL_ROW, FILE_QUARANTINE, FILE_SAME_ID

_KINDS = [FILE_CLEAN, FILE_QUARANTINE, FILE_FULL_ROW, FILE_SAME_ID]


@dataclass(frozen=True)
class FileLife:
    """A file of the ledger and where its rows went. Counts are None until its feed and day are cleaned."""

    feed: str
    day: date
    path: str
    status: str
    bytes: int
    attempts: int
    discovered_at: datetime
    processed_at: datetime | None
    run: str | None
    records: int | None
    clean: int | None
    quarantine: int | None
    full_row_duplicates: int | None
    id_duplicates: int | None
    duplicate_of: str | None
    note: str

    @property
    def rejected(self) -> int | None:
        """Rows in quarantine for another reason than their id."""
        return None if self.quarantine is None or self.id_duplicates is None else self.quarantine - self.id_duplicates


def file_lives(
    work: Workplace,
    feed: Feed | None = None,
    day: date | None = None,
    status: str | None = None,
    path: str | None = None,
) -> list[FileLife]:
    """The ledger's files, by day, feed and path, with the counts of their rows."""
    entries = work.ledger.entries(feed=feed.name if feed else None, day=day, status=status, path=path)
    counts = _counts(work, entries)
    return [
        FileLife(
            feed=entry["feed"],
            day=entry["ingest_date"],
            path=entry["path"],
            status=entry["status"],
            bytes=entry["bytes"],
            attempts=entry["attempts"],
            discovered_at=_utc(entry["discovered_at"]),
            processed_at=_utc(entry["processed_at"]) if entry["processed_at"] else None,
            run=entry["run_id"],
            records=entry["record_count"],
            clean=counts.get((entry["feed"], entry["path"], FILE_CLEAN)),
            quarantine=counts.get((entry["feed"], entry["path"], FILE_QUARANTINE)),
            full_row_duplicates=counts.get((entry["feed"], entry["path"], FILE_FULL_ROW)),
            id_duplicates=counts.get((entry["feed"], entry["path"], FILE_SAME_ID)),
            duplicate_of=entry["duplicate_of"],
            note=note_on(entry["status"], entry["error_message"], entry["duplicate_of"]),
        )
        for entry in entries
    ]


def _counts(work: Workplace, entries: Sequence[RowMapping]) -> dict[tuple[str, str, str], int]:
    """Rows by feed, path and kind, of the days that `entries` are about."""
    found = {}
    for name, feed in FEEDS.items():
        days = sorted({entry["ingest_date"] for entry in entries if entry["feed"] == name})
        if not days:
            continue
        profile = work.lake.scan(feed.profile, days).filter(pl.col("kind").is_in(_KINDS)).collect()
        for kind, path, rows in profile.select("kind", "name", "rows").iter_rows():
            found[name, path, kind] = rows
    return found


def _utc(instant: datetime) -> datetime:
    """The instant in UTC; SQLite forgets the zone of what was UTC."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


@dataclass(frozen=True)
class Difference:
    """A raw file that is not what the ledger says."""

    path: str
    problem: str
    mended_by_run: bool = True


def differences(
    work: Workplace, day: date | None = None, feeds: Iterable[Feed] = FEEDS.values()
) -> Iterator[Difference]:
    """Hash every raw file (of one ingest date, or of all) and compare: nothing but bytes is believed."""
    feeds = list(feeds)
    known = {entry["path"]: entry for feed in feeds for entry in work.ledger.entries(feed=feed.name, day=day)}
    seen = set()
    for each in [day] if day else raw_days(work.raw_root):
        for feed in feeds:
            for file in find_files(work.raw_root, feed, each):
                seen.add(file.path)
                entry = known.get(file.path)
                try:
                    digest = file.fingerprint().sha256
                except UnreadableFileError as error:
                    yield Difference(file.path, str(error))
                    continue
                if entry is None:
                    yield Difference(file.path, "is new: no run has seen it")
                elif entry["content_sha256"] != digest:
                    yield Difference(file.path, "has other bytes than when it was read")
    for path in sorted(known.keys() - seen):
        if known[path]["status"] in (SUCCESS, PENDING, PROCESSING):
            yield Difference(path, "is no longer in the raw folder; its rows are kept", mended_by_run=False)


def is_in_folder(work: Workplace, day: date, path: str) -> bool:
    """Whether a raw file is there."""
    return path in files_of_day(work.raw_root, day)


def records_of(work: Workplace, day: date) -> dict[str, list[FileRecord]]:
    """Every feed's files of the day, as the ledger has them."""
    return {name: work.ledger.records(name, day) for name in FEEDS}


def files_read_otherwise(work: Workplace, feed: Feed, day: date) -> list[str]:
    """The files whose rows are in the raw table as another policy had them read: other aliases, other `reading`."""
    how = work.policy.reading_fingerprint(feed.name)
    return [file.path for file in work.ledger.records(feed.name, day) if file.has_rows and file.read_policy != how]


def vanished_files(work: Workplace, day: date) -> list[str]:
    """Files of the day whose rows are kept though they are no longer in the raw folder."""
    there = files_of_day(work.raw_root, day)
    return [entry["path"] for entry in work.ledger.entries(day=day, status=SUCCESS) if entry["path"] not in there]
