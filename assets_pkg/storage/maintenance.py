"""Maintenance of the lake's tables: what nobody reads any more is removed, and the log is compacted.

Data files are compacted elsewhere (`storage/compaction.py`), as that asks for a day's lock.

Safe beside writers and readers, as what goes is older than any of them: a data file that the newest commit does not
name goes when it was written, and if it was replaced when that was done, more than the given hours ago. Names are
never used again. Nothing depends on the end being reached: killed anywhere, the next time goes on.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from assets_pkg.storage.lake import LOG, disk_problem

FREED: Final = "bytes freed"
CHECKPOINT_COMMITS: Final = 10  # since the last checkpoint, or none is written
BUSY: Final = "other processes kept writing it; maintain it again"
_ATTEMPTS: Final = 10
_COMMIT: Final = re.compile(r"(\d{20})\.json")
_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint\..*parquet")
_UNFINISHED: Final = re.compile(r".*#\d+")  # what deltalake writes before it gets its name


@dataclass
class Upkeep:
    """What maintenance did to a table, or would do. `files` and `bytes` are those before, without the log's.

    `files_compacted`: how many data files fewer its partitions have; those that went out of use lie there for a while.
    `problem`: why not all was done, in words.
    """

    table: str
    files: int = 0
    bytes: int = 0
    files_removed: int = 0
    bytes_removed: int = 0
    log_entries: int = 0
    log_entries_after: int = 0
    log_bytes_removed: int = 0
    files_compacted: int = 0
    problem: str = ""

    def numbers(self) -> dict[str, int]:
        """Before and after, by what they are called for people."""
        return {
            "files": self.files,
            "files after": self.files - self.files_removed,
            "bytes": self.bytes,
            "bytes after": self.bytes - self.bytes_removed,
            "files compacted": self.files_compacted,
            "log entries": self.log_entries,
            "log entries after": self.log_entries_after,
            FREED: self.bytes_removed + self.log_bytes_removed,
        }


def maintain_table(root: Path, table: str, keep_hours: int, *, dry_run: bool = False) -> Upkeep:
    """Remove data files that no commit of the last `keep_hours` names, and log entries of before; write a checkpoint.

    A `dry_run` only looks, at data files. What goes wrong is told in the outcome, beside what was done until then.
    """
    done = Upkeep(table)
    try:
        # Room is made first: on a full disk nothing can be written to the log.
        _remove_unnamed(root / table, keep_hours, done, dry_run=dry_run)
        _compact_log(root / table, keep_hours, done, dry_run=dry_run)
    except CommitFailedError:
        done.problem = BUSY
    except (OSError, DeltaError) as error:
        why, advice = disk_problem(error)
        done.problem = f"{why.splitlines()[0]}; {advice}, and maintain it again"
    return done


def remove_older(paths: Iterable[Path], keep_hours: int, *, dry_run: bool = False) -> int:
    """Remove the files that nobody has written to for so long; how many these were."""
    since, removed = time.time() - keep_hours * 3600, 0
    for path in paths:
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < since:
                removed += 1
                if not dry_run:
                    path.unlink()
    return removed


def _remove_unnamed(place: Path, keep_hours: int, done: Upkeep, *, dry_run: bool) -> None:
    """What deltalake's vacuum finds, without the two commits of its own, for which a full disk has no room."""
    found = dict(_files(place))
    done.files, done.bytes = len(found), sum(found.values())
    unnamed = DeltaTable(place).vacuum(keep_hours, dry_run=True, enforce_retention_duration=False, full=True)
    for path in map(place.joinpath, unnamed):
        if (size := found.get(str(path))) is not None:  # it may be gone: the log goes on saying that it was removed
            if not dry_run:
                path.unlink(missing_ok=True)
            done.files_removed += 1
            done.bytes_removed += size


def _compact_log(place: Path, keep_hours: int, done: Upkeep, *, dry_run: bool) -> None:
    log = place / LOG
    entries = dict(_files(log))
    done.log_entries = done.log_entries_after = len(entries)
    if dry_run:
        return
    _set_retention(place, keep_hours)
    delta = DeltaTable(place)
    # Not by the checkpoint that follows: versions between the last one and that can still be read.
    delta.cleanup_metadata()
    if _newest(_COMMIT, entries) - _newest(_CHECKPOINT, entries) >= CHECKPOINT_COMMITS:
        delta.create_checkpoint()
    remove_older((path for path in log.iterdir() if _UNFINISHED.fullmatch(path.name)), keep_hours)
    after = dict(_files(log))
    done.log_entries_after = len(after)
    done.log_bytes_removed = sum(size for path, size in entries.items() if path not in after)


def _set_retention(place: Path, keep_hours: int) -> None:
    """Tell the table what we keep: Delta goes by that, whoever writes a checkpoint or cleans up.

    It is about the log, and for how long a checkpoint says that a file was removed, without which its age alone counts.
    """
    kept = f"interval {keep_hours} hours"
    properties = {"delta.logRetentionDuration": kept, "delta.deletedFileRetentionDuration": kept}
    for attempt in range(1, _ATTEMPTS + 1):
        delta = DeltaTable(place)
        if properties.items() <= delta.metadata().configuration.items():
            return
        try:
            delta.alter.set_table_properties(properties)
        except CommitFailedError:  # a partition was replaced in between
            if attempt == _ATTEMPTS:
                raise
            time.sleep(0.05 * attempt)


def _newest(kind: re.Pattern[str], entries: Iterable[str]) -> int:
    """The version of the newest log entry of a kind; -1 when there is none."""
    return max((int(match[1]) for each in entries if (match := kind.fullmatch(Path(each).name))), default=-1)


def _files(folder: Path | str) -> Iterator[tuple[str, int]]:
    """Every file below a folder with its size; of a table, without its log."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # another writer's, which has its name by now
                if not entry.is_dir(follow_symlinks=False):
                    yield entry.path, entry.stat(follow_symlinks=False).st_size
                elif entry.name != LOG:
                    yield from _files(entry.path)
