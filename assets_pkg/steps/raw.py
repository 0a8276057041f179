"""Raw files of a day into the feed's raw table: what is new is read, what is unchanged is carried over."""

from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from assets_pkg.contracts.feeds import SOURCE_FILE, Feed
from assets_pkg.contracts.files import FAILED, PROCESSING, SUCCESS, FileRecord
from assets_pkg.policy import Policy
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.csv_records import UnreadableFileError
from assets_pkg.storage.lake import Lake, PartitionWriter
from assets_pkg.storage.raw_files import RawFile, find_files, open_raw_file


@dataclass(frozen=True)
class RawDay:
    """What a raw step did. `carried`: files whose rows were kept unread; `vanished`: those no longer in the folder."""

    rows: int
    files: tuple[FileRecord, ...]
    read: tuple[str, ...]
    carried: tuple[str, ...]
    vanished: tuple[str, ...]


def land_raw(work: Workplace, feed: Feed, day: date) -> RawDay:
    """Replace the feed's raw partition of `day` by the records of all its files.

    A file that cannot be read is FAILED in the ledger and gives no row; the others are processed. Rows of a file
    that vanished from the folder are kept: removing data is never a side effect.
    """
    now = {file.path: file for file in find_files(work.raw_root, feed, day)}
    before = {record.path: record for record in work.ledger.records(feed.name, day)}
    how = work.policy.reading_fingerprint(feed.name)
    landed = work.lake.version(feed.raw, day) is not None
    known = {path: record for path, record in before.items() if landed and record.read_policy == how}
    carried, fresh = _compared(now, known, how)
    gone = {path: record for path, record in before.items() if path not in now and landed}
    vanished = {path: record for path, record in gone.items() if record.status == SUCCESS}
    kept = carried | vanished
    if landed and not fresh and set(before) == set(kept):
        return RawDay(work.lake.rows(feed.raw, day), _by_path(kept), (), tuple(carried), tuple(vanished))

    work.ledger.start(feed.name, day, fresh.values(), work.run)
    earlier = _rows_by_file(work.lake, feed, day) if landed else {}
    for path, record in gone.items():
        if record.status == PROCESSING and path in earlier:
            # It was being read when a run died, and then it vanished: its rows stay, whichever they are. Should it
            # come back, it is read anew.
            fresh[path] = replace(record, status=SUCCESS, records=_count(earlier[path], path), read_policy="")
            kept[path] = vanished[path] = fresh[path]
    outcomes = dict(kept)
    with work.lake.replace(feed.raw, day, work.run) as writer:
        for path in sorted(kept | fresh):
            if path in kept:
                for location in earlier.get(path, ()):
                    writer.write(pl.read_parquet(location).filter(pl.col(SOURCE_FILE) == path))
                writer.flush()
            elif fresh[path].status == FAILED:
                outcomes[path] = fresh[path]
            else:
                outcomes[path] = _read(now[path], fresh[path], writer, work.policy)
    work.ledger.finish(feed.name, day, [outcomes[path] for path in fresh], work.run)
    work.ledger.forget(feed.name, day, set(before) - set(outcomes))
    return RawDay(
        writer.rows, _by_path(outcomes), tuple(path for path in fresh if path in now), tuple(carried), tuple(vanished)
    )


def _compared(
    now: dict[str, RawFile], known: dict[str, FileRecord], how: str
) -> tuple[dict[str, FileRecord], dict[str, FileRecord]]:
    """Files whose rows we have, and files to read; one that cannot even be opened is among the latter, as FAILED."""
    carried, fresh = {}, {}
    for path, file in now.items():
        try:
            digest, size = file.fingerprint()
        except UnreadableFileError as error:
            fresh[path] = FileRecord(path, "", 0, FAILED, error=str(error), read_policy=how)
            continue
        record = known.get(path)
        if record and (record.status, record.content_sha256) == (SUCCESS, digest):
            carried[path] = record
        else:
            fresh[path] = FileRecord(path, digest, size, read_policy=how)
    return carried, fresh


def _by_path(records: dict[str, FileRecord]) -> tuple[FileRecord, ...]:
    return tuple(records[path] for path in sorted(records))


def _count(locations: list[str], path: str) -> int:
    rows = pl.scan_parquet(locations).filter(pl.col(SOURCE_FILE) == path)
    return int(rows.select(pl.len()).collect().item())


def _read(file: RawFile, record: FileRecord, writer: PartitionWriter, policy: Policy) -> FileRecord:
    start = writer.mark()
    try:
        with open_raw_file(file, policy) as records:
            for rows in records:
                writer.write(rows)
            writer.flush()
            return replace(
                record,
                status=SUCCESS,
                records=records.rows,
                absent_columns=records.columns.absent,
                unknown_columns=tuple(records.columns.unknown),
            )
    except UnreadableFileError as error:
        writer.back_to(start)
        return replace(record, status=FAILED, error=str(error))


def _rows_by_file(lake: Lake, feed: Feed, day: date) -> dict[str, list[str]]:
    """Which data files of the partition hold rows of which raw file."""
    found: dict[str, list[str]] = {}
    for data_file in lake.files(feed.raw, day):
        names = pl.scan_parquet(data_file.location).select(pl.col(SOURCE_FILE).unique()).collect().to_series()
        for name in names:
            found.setdefault(name, []).append(data_file.location)
    return found
