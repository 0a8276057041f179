"""Maintenance of all tables, and of what else piles up."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy.exc import SQLAlchemyError

from assets_pkg.contracts.tables import TABLES, Table
from assets_pkg.steps.reports import unfinished_reports
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.compaction import compact, scattered
from assets_pkg.storage.lake import LOG, LakeError
from assets_pkg.storage.locks import LocksUnreachableError, day_locks, remove_unheld
from assets_pkg.storage.maintenance import FREED, Upkeep, maintain_table, remove_older


@dataclass(frozen=True)
class Maintained:
    """What was done, or would be: to each table that exists, and how many files of other kinds went."""

    tables: list[Upkeep]
    others: dict[str, int]
    other_problems: list[str] = field(default_factory=list)

    @property
    def total(self) -> dict[str, int]:
        """The sums of all tables' numbers."""
        total = Counter(Upkeep("").numbers())
        for each in self.tables:
            total.update(each.numbers())
        return dict(total)

    @property
    def freed(self) -> int:
        """Bytes."""
        return self.total[FREED]

    @property
    def problems(self) -> list[str]:
        """With which tables not all went well, and why."""
        return [f"{each.table}: {each.problem}" for each in self.tables if each.problem] + self.other_problems


def maintain(work: Workplace, *, dry_run: bool = False) -> Maintained:
    """Maintain every table that exists, whatever goes wrong with others. A `dry_run` removes and writes nothing."""
    root, keep = work.settings.lake_dir, work.policy.maintenance.keep_versions_hours
    there = [name for name in TABLES if (root / name / LOG).is_dir()]
    done = Maintained([maintain_table(root, name, keep, dry_run=dry_run) for name in there], {})
    # After what makes room, and not where that failed.
    for each in (each for each in done.tables if not each.problem):
        _compact(work, each, dry_run=dry_run)
    try:
        # A report is written in a moment, so what is that old was left by a process that was killed.
        done.others["unfinished reports"] = remove_older(unfinished_reports(work), keep, dry_run=dry_run)
        done.others["locks that nobody holds"] = remove_unheld(work.settings.lock_dir, keep, dry_run=dry_run)
    except OSError as error:
        done.other_problems.append(f"reports and locks: {error}")
    return done


def _compact(work: Workplace, done: Upkeep, *, dry_run: bool) -> None:
    """Compact the table's partitions that nobody works on."""
    from_files, problems = work.policy.maintenance.compact_from_files, []
    for day in work.lake.partitions(done.table):
        try:
            too_many = scattered(work.lake, done.table, day, from_files)
            if too_many and (dry_run or _compacted(work, TABLES[done.table], day, from_files)):
                done.files_compacted += too_many
        except (LakeError, LocksUnreachableError) as error:
            problems.append(str(error))
    done.problem = " ".join(problems)


def _compacted(work: Workplace, table: Table, day: date, from_files: int) -> bool:
    """Whether the partition was: a run that has the day comes first, and the next maintenance looks again."""
    settings = work.settings
    locks = day_locks(settings.ledger, settings.lock_dir, work.run or "maintenance", table.partition_by)
    try:
        try:
            is_ours = locks.take(day, 0)
        except (SQLAlchemyError, OSError) as error:
            raise LocksUnreachableError(f"the lock on {day} cannot be taken: {str(error).splitlines()[0]}") from error
        return is_ours and scattered(work.lake, table.name, day, from_files) > 0 and compact(work.lake, table.name, day)
    finally:
        locks.close()
