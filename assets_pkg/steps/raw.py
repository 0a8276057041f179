"""Raw files of a day into the feed's raw table, each content exactly once (contract §6).

What is new is read, what is unchanged is carried over unread, what another file holds already is skipped. The
ledger is told before the table is touched and after it was committed, so a crash between leaves PROCESSING.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial

import polars as pl

from assets_pkg.contracts.feeds import ABSENT_COLUMNS, SOURCE_FILE, Feed
from assets_pkg.contracts.files import FAILED, PROCESSING, SKIPPED, SUCCESS, FileRecord
from assets_pkg.policy import Policy
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.data_files import DataFile, Piece
from assets_pkg.storage.lake import LakeError, PartitionWriter
from assets_pkg.storage.raw_files import Fingerprint, RawFile, RawRecords, find_files, open_raw_file
from assets_pkg.storage.records import HeaderGrewError, UnreadableFileError
from assets_pkg.storage.transient import is_transient

_SHA256, _BYTES, _UNKNOWN = "content_sha256", "bytes", "unknown_columns"


@dataclass(frozen=True)
class RawDay:
    """What a raw step did.

    Paths of files `read`, `carried` over unread, `skipped` as others hold their content, `vanished` from the folder
    with their rows kept, and `forgotten` on request. `again`: other days that must be processed again, because of
    what this day brought or gave up.
    """

    rows: int
    files: tuple[FileRecord, ...]
    read: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    again: tuple[date, ...] = ()


class Holders:
    """Which file holds which content: of files with the same, the one with the smallest path."""

    def __init__(self, elsewhere: Iterable[FileRecord]) -> None:
        self._paths: dict[str, set[str]] = {}
        for record in elsewhere:
            self.add(record)

    def before(self, record: FileRecord) -> str | None:
        """The file with a smaller path that holds the record's content."""
        earlier = (path for path in self._paths.get(record.content or "", ()) if path < record.path)
        return min(earlier, default=None)

    def add(self, record: FileRecord) -> None:
        """The record's file holds its content."""
        if record.content is not None:
            self._paths.setdefault(record.content, set()).add(record.path)


def land_raw(work: Workplace, feed: Feed, day: date) -> RawDay:
    """Replace the feed's raw partition of `day` by the records of all its files.

    A file that cannot be read is FAILED in the ledger and gives no row; the others are processed. A file whose
    content a file with a smaller path holds is SKIPPED and gives no row. Rows of a file that vanished from the
    folder are kept: removing data is never a side effect.
    """
    _adopt_unknown_rows(work, feed, day)
    return _RawStep(work, feed, day).run()


class _RawStep:
    """One feed and day."""

    def __init__(self, work: Workplace, feed: Feed, day: date) -> None:
        self.work, self.feed, self.day = work, feed, day
        self.how = work.policy.reading_fingerprint(feed.name)
        self.is_lost = not work.lake.is_whole(feed.raw, day)
        self.landed = work.lake.version(feed.raw, day) is not None and not self.is_lost
        self.now = {file.path: file for file in find_files(work.raw_root, feed, day)}
        self.before = {record.path: record for record in work.ledger.records(feed.name, day)}
        self.forgotten = {path for path, record in self.before.items() if record.forget and path not in self.now}
        self._earlier: dict[str, list[Piece]] | None = None

    def run(self) -> RawDay:
        """Do it."""
        ledger, name = self.work.ledger, self.feed.name
        if came_back := [path for path, record in self.before.items() if record.forget and path in self.now]:
            ledger.keep(name, self.day, came_back)
        kept, fresh = self._files()
        files = kept | fresh
        elsewhere = ledger.holders(name, self.day, {record.content_sha256 for record in files.values()})
        touched = self._touched(kept, fresh, elsewhere)
        gone = set(self.before) - set(files)
        if self.landed and not touched and not gone:
            return self._result(files, self.work.lake.rows(self.feed.raw, self.day), read=())
        ledger.start(name, self.day, [files[path] for path in touched], self.work.run)
        outcomes: dict[str, FileRecord] = {}
        read = []
        holders = Holders(elsewhere)
        with self.work.lake.replace(self.feed.raw, self.day, self.work.run) as writer:
            for path in sorted(files):
                record = files[path]
                first = holders.before(record)
                if first is not None and path not in self.now:
                    gone.add(path)  # it vanished, and what it held came under a smaller path: a file that moved
                    continue
                if first is not None:
                    record = replace(_unread(record), status=SKIPPED, duplicate_of=first, read_policy=self.how)
                elif path in kept:
                    self._carry_over(record, writer)
                    record = replace(record, status=SUCCESS)
                elif record.status != FAILED:
                    record = self._read(self.now[path], record, writer)
                    read.append(path)
                if record.status == SUCCESS:
                    holders.add(record)
                outcomes[path] = record
        done = [outcomes[path] for path in touched if path not in gone]
        again = ledger.finish(name, self.day, done, self.work.run, gone)
        return replace(self._result(outcomes, writer.rows, read), again=tuple(again))

    # -- which files there are ----------------------------------------------------------------------------

    def _files(self) -> tuple[dict[str, FileRecord], dict[str, FileRecord]]:
        """Files whose rows the table holds, unchanged; and all others.

        Those are SKIPPED if they were, FAILED if they cannot even be opened, else to be read.
        """
        kept, fresh, stamps = {}, {}, {}
        for path, file in self.now.items():
            known = self.before.get(path)
            attempts = known.attempts if known else 0
            try:
                holds = self._fingerprint(file, known)
            except UnreadableFileError as error:
                _raise_what_may_pass(error)
                fresh[path] = FileRecord(path, "", 0, FAILED, error=str(error), read_policy=self.how, attempts=attempts)
                continue
            same = known is not None and known.content_sha256 == holds.sha256
            if known and same and known.has_rows and self.landed and known.read_policy == self.how:
                kept[path] = known
            elif known and same and known.status == SKIPPED:
                fresh[path] = replace(known, read_policy=self.how)
            else:
                fresh[path] = FileRecord(
                    path, holds.sha256, holds.bytes, read_policy=self.how, stamp=holds.stamp, attempts=attempts
                )
                continue
            if holds.stamp != known.stamp:
                stamps[path] = holds.stamp
        if stamps:
            self.work.ledger.stamp(self.feed.name, self.day, stamps)
        kept |= self._vanished()
        return kept, fresh

    def _fingerprint(self, file: RawFile, known: FileRecord | None) -> Fingerprint:
        if known and known.stamp and not self.work.verify and file.stamp() == known.stamp:
            return Fingerprint(known.content_sha256, known.bytes, known.stamp)
        return file.fingerprint()

    def _vanished(self) -> dict[str, FileRecord]:
        """Files that are no longer in the folder but have rows in the table."""
        if self.is_lost and (rowless := [path for path, each in self.before.items() if self._is_beyond(path, each)]):
            raise LakeError(
                f"{self.feed.raw} of {self.day} lost a data file, and so the rows of {', '.join(rowless)}, which are "
                "not in the raw folder any more. Put these files back, or give them up with `forget`, and run it again"
            )
        if not self.landed:
            return {}
        missing = {path: record for path, record in self.before.items() if path not in self.now}
        found = {path: record for path, record in missing.items() if record.has_rows}
        # It was being read when a run died, or the ledger does not know it (an older one was put back): the rows that
        # are there stay, and their data files know of which content they are.
        for path in self.earlier.keys() - set(self.now) - set(found) - self.forgotten:
            attempts = self.before[path].attempts if path in self.before else 0
            found[path] = replace(_told_by_table(path, self.earlier[path]), status=PROCESSING, attempts=attempts)
        return {path: record for path, record in found.items() if path not in self.forgotten}

    def _is_beyond(self, path: str, record: FileRecord) -> bool:
        return record.has_rows and path not in self.now and path not in self.forgotten

    def _touched(
        self, kept: Mapping[str, FileRecord], fresh: Mapping[str, FileRecord], elsewhere: Iterable[FileRecord]
    ) -> list[str]:
        """The files whose entry may change: all but those that stay as they are even if every file can be read."""
        holders, reading, touched = Holders(elsewhere), set(), []
        for path, record in sorted({**kept, **fresh}.items()):
            first = holders.before(record)
            if first is None:
                holders.add(record)
            stays_read = path in kept and record.status == SUCCESS and first is None
            stays_skipped = record.status == SKIPPED and first == record.duplicate_of and first not in reading
            if not (stays_read or stays_skipped):
                touched.append(path)
                reading.add(path)
        return touched

    # -- rows ---------------------------------------------------------------------------------------------

    @property
    def earlier(self) -> dict[str, list[Piece]]:
        """The rows of the partition, as it was, by the raw file that they come from."""
        if self._earlier is None:
            self._earlier = _by_raw_file(self.work.lake.files(self.feed.raw, self.day))
        return self._earlier

    def _carry_over(self, record: FileRecord, writer: PartitionWriter) -> None:
        writer.describe(partial(_facts, record))
        for piece in self.earlier.get(record.path, ()):
            writer.write(piece.scan().filter(pl.col(SOURCE_FILE) == record.path).collect(engine="in-memory"))
        writer.flush()

    def _read(self, file: RawFile, record: FileRecord, writer: PartitionWriter) -> FileRecord:
        start = writer.mark()
        try:
            outcome = _read_into(writer, file, record, self.work.policy)
            if file.still_holds(Fingerprint(record.content_sha256, record.bytes, record.stamp)):
                return outcome
            problem = (
                "changed while it was read: is it still being written? Nothing of it was taken; the next run of its "
                "day reads it"
            )
        except UnreadableFileError as error:
            _raise_what_may_pass(error)
            problem = str(error)
        writer.back_to(start)
        return replace(_unread(record), status=FAILED, error=problem)

    def _result(self, files: Mapping[str, FileRecord], rows: int, read: Iterable[str]) -> RawDay:
        def of(status: str) -> tuple[str, ...]:
            return tuple(path for path in sorted(files) if files[path].status == status)

        have_rows = of(SUCCESS)
        return RawDay(
            rows,
            tuple(files[path] for path in sorted(files)),
            read=tuple(read),
            carried=tuple(path for path in have_rows if path in self.now and path not in set(read)),
            skipped=of(SKIPPED),
            vanished=tuple(path for path in have_rows if path not in self.now),
            forgotten=tuple(sorted(self.forgotten)),
        )


def _adopt_unknown_rows(work: Workplace, feed: Feed, day: date) -> None:
    """Tell the ledger of raw rows of other days that it does not know: it was lost, or an older one was put back.

    Otherwise content that those days hold would be read a second time. Days are compared by their number of rows.
    """
    known = work.ledger.row_counts(feed.name)
    for each, partition in work.lake.partitions(feed.raw).items():
        rows = known.get(each, 0)
        if each != day and rows is not None and rows < partition.rows:
            told = _by_raw_file(work.lake.files(feed.raw, each))
            work.ledger.adopt(feed.name, each, [_told_by_table(*item) for item in told.items()], work.run)


def _raise_what_may_pass(error: UnreadableFileError) -> None:
    """A share that does not answer says nothing of the file: the step is tried again, and the day is as it was."""
    if is_transient(error):
        raise error


def _by_raw_file(data_files: Iterable[DataFile]) -> dict[str, list[Piece]]:
    found: dict[str, list[Piece]] = {}
    for piece in (piece for data_file in data_files for piece in data_file.pieces() if piece.rows):
        # One that we wrote says whose its rows are; one that others wrote must be looked into.
        said = piece.facts.get(SOURCE_FILE)
        for path in [said] if said is not None else _column(piece).unique().to_list():
            found.setdefault(path, []).append(piece)
    return found


def _told_by_table(path: str, pieces: Sequence[Piece]) -> FileRecord:
    """What the table says of a raw file whose rows it holds."""
    facts = [piece.facts for piece in pieces]
    unknown = [name for each in facts for name in json.loads(each.get(_UNKNOWN, "[]"))]
    return FileRecord(
        path,
        facts[0].get(_SHA256, ""),
        int(facts[0].get(_BYTES, 0)),
        SUCCESS,
        records=sum(int((_column(piece) == path).sum()) for piece in pieces),
        absent_columns=tuple(json.loads(facts[0].get(ABSENT_COLUMNS, "[]"))),
        unknown_columns=tuple(dict.fromkeys(unknown)),
    )


def _column(piece: Piece) -> pl.Series:
    """The raw file of each row."""
    return piece.scan().select(SOURCE_FILE).collect(engine="in-memory").to_series()


def _facts(record: FileRecord) -> dict[str, str]:
    """What a data file says of its rows, so that the table alone tells whose content it holds."""
    return {
        SOURCE_FILE: record.path,
        _SHA256: record.content_sha256,
        _BYTES: str(record.bytes),
        ABSENT_COLUMNS: json.dumps(record.absent_columns),
        _UNKNOWN: json.dumps(record.unknown_columns),
    }


def _unread(record: FileRecord) -> FileRecord:
    """The record without what reading its file has told."""
    return replace(record, records=0, error=None, absent_columns=(), unknown_columns=(), duplicate_of=None)


def _read_into(writer: PartitionWriter, file: RawFile, record: FileRecord, policy: Policy) -> FileRecord:
    """Write the file's records. Raises UnreadableFileError."""
    start = writer.mark()
    for whole_header in (False, True):
        try:
            with open_raw_file(file, policy, whole_header=whole_header) as records:

                def outcome(records: RawRecords = records) -> FileRecord:
                    return replace(
                        _unread(record),
                        status=SUCCESS,
                        records=records.rows,
                        absent_columns=records.columns.absent,
                        unknown_columns=records.columns.unknown_names(),
                    )

                writer.describe(lambda: _facts(outcome()))
                for rows in records:
                    writer.write(rows)
                writer.flush()
                return outcome()
        except HeaderGrewError:  # a key further down changes what the columns mean: look at all of them first
            writer.back_to(start)
    raise AssertionError("a header that is whole cannot grow")
