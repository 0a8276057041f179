"""What the ledger and the raw tables hold after a history of files and runs (contract §6): a model, without crashes.

The model is told what happens: a file is put, deleted, forgotten; an ingest date of a feed is run. Paths are
relative to the raw root, and compared as plain text. Files are read by the oracle's own reader.
"""

from dataclasses import dataclass, replace
from datetime import date

from .feeds import FEEDS, Files, Row, path_parts, read_feed

PENDING, SUCCESS, FAILED, SKIPPED = "PENDING", "SUCCESS", "FAILED", "SKIPPED"

ONE_DAY_FEEDS = frozenset({"customers"})
"""Snapshots, which may truly repeat: the same content is the same data only within one ingest date."""


@dataclass(frozen=True)
class Entry:
    """One file's row of the ledger, and its rows of the raw table."""

    content: bytes
    status: str
    duplicate_of: str | None = None
    rows: tuple[Row, ...] | None = None
    """None unless the file has been read with success; they stay while such a file is PENDING."""

    @property
    def records(self) -> int:
        """Count the records, 0 unless SUCCESS."""
        return len(self.rows or ()) if self.status == SUCCESS else 0


class LedgerModel:
    """All feeds' ledger, raw tables and raw folder."""

    def __init__(self) -> None:
        self.folder: Files = {}
        self.entries: dict[str, Entry] = {}
        self._to_forget: set[str] = set()

    # -- the history -----------------------------------------------------------------------------------

    def put(self, path: str, content: bytes) -> None:
        """Write a feed's file, new or over another."""
        path_parts(path)  # refuses what is no feed's file
        self.folder[path] = content

    def delete(self, path: str) -> None:
        """Take a file away."""
        del self.folder[path]

    def forget(self, path: str) -> None:
        """Mark a vanished file; the next run of its day lets its rows and entry go, unless it is back by then."""
        if path in self.folder or path not in self.entries:
            raise ValueError(f"{path} has not vanished")
        self._to_forget.add(path)

    def run(self, feed: str, day: date) -> None:
        """Judge every file of a feed's day, in path order; then see which other days this concerns."""
        for path in sorted({*self.folder, *self.entries}):
            if path_parts(path) == (feed, day):
                judged = self._judge(path)
                self.entries.pop(path, None)
                if judged is not None:
                    self.entries[path] = judged
                self._to_forget.discard(path)
        if feed not in ONE_DAY_FEEDS:
            self._look_at_other_days(feed, day)

    def settle(self, feed: str) -> list[date]:
        """Run the days that must be processed again, always the earliest, until there are none; gives them."""
        run: list[date] = []
        while days := self.pending_days(feed):
            self.run(feed, days[0])
            run.append(days[0])
        return run

    # -- what there is ---------------------------------------------------------------------------------

    def pending_days(self, feed: str) -> list[date]:
        """Give the days that must be processed again, in order."""
        return sorted({day_of(path) for path, entry in self._of(feed).items() if entry.status == PENDING})

    def records(self, feed: str, day: date) -> dict[str, Entry]:
        """Give a feed's day in the ledger, by path, in order."""
        return {path: entry for path, entry in sorted(self._of(feed).items()) if day_of(path) == day}

    def rows(self, feed: str, day: date) -> dict[tuple[str, int], Row]:
        """Give the raw rows of a feed's day, by address."""
        rows = [row for entry in self.records(feed, day).values() for row in entry.rows or ()]
        return {(row["source_file"], row["source_row"]): row for row in rows}

    def vanished(self, feed: str) -> list[str]:
        """Give the files that are gone from the folder and kept their rows, in order."""
        return sorted(
            path for path, entry in self._of(feed).items() if path not in self.folder and entry.rows is not None
        )

    # -- judging ---------------------------------------------------------------------------------------

    def _judge(self, path: str) -> Entry | None:
        """Decide what becomes of one file, after all files with smaller paths; None: it loses its entry."""
        before = self.entries.get(path)
        was_read = before is not None and before.rows is not None
        has_vanished = path not in self.folder
        if has_vanished and (not was_read or path in self._to_forget):
            return None
        content = before.content if before is not None and has_vanished else self.folder[path]
        first = self._first_holder(path, content)
        if first is not None:
            # The rows of a vanished file live on under the smaller path; without rows it has no entry either.
            return None if has_vanished else Entry(content, SKIPPED, first)
        if before is not None and before.content == content and was_read:
            return replace(before, status=SUCCESS)
        return self._read(path, content)

    def _read(self, path: str, content: bytes) -> Entry:
        """Read a file."""
        raw = read_feed(FEEDS[path_parts(path)[0]], {path: content})
        if raw.failed_files:
            return Entry(content, FAILED)
        return Entry(content, SUCCESS, rows=tuple(row.row for row in raw.rows))

    def _look_at_other_days(self, feed: str, day: date) -> None:
        """Mark what a run of `day` makes wrong elsewhere: a copy that counts twice, or one that nobody counts."""
        for path, entry in self._of(feed).items():
            if day_of(path) == day:
                continue
            first = self._first_holder(path, entry.content)
            if entry.status == SUCCESS and first is not None:
                self.entries[path] = replace(entry, status=PENDING)
            elif entry.status == SKIPPED:
                # Held by nobody any more: to be judged again. Held by another: only a SUCCESS file can be named.
                held = first is not None
                self.entries[path] = replace(entry, status=SKIPPED if held else PENDING, duplicate_of=first)

    def _first_holder(self, path: str, content: bytes) -> str | None:
        """Find the smallest path, before this one, that holds the same content within the feed's scope."""
        feed, day = path_parts(path)
        holders = (
            other
            for other, entry in self._of(feed).items()
            if other < path
            and entry.status == SUCCESS
            and entry.content == content
            and _format(other) == _format(path)
            and (feed not in ONE_DAY_FEEDS or day_of(other) == day)
        )
        return min(holders, default=None)

    def _of(self, feed: str) -> dict[str, Entry]:
        """Give a feed's entries."""
        return {path: entry for path, entry in self.entries.items() if path_parts(path)[0] == feed}


def day_of(path: str) -> date:
    """Give the ingest date of a path."""
    return path_parts(path)[1]


def _format(path: str) -> str:
    """What the end of a name says of how to read the bytes; the same bytes read otherwise are other data."""
    name = path.rpartition("/")[2].replace(".ndjson", ".jsonl")
    return name[name.index(".") :] if name.count(".") == 1 or name.endswith(".gz") else "." + name.rpartition(".")[2]
