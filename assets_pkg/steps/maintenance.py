"""Maintenance of all tables, and of what else piles up."""

from collections import Counter
from dataclasses import dataclass, field

from assets_pkg.contracts.tables import TABLES
from assets_pkg.steps.reports import unfinished_reports
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.lake import LOG
from assets_pkg.storage.locks import remove_unheld
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
    try:
        # A report is written in a moment, so what is that old was left by a process that was killed.
        done.others["unfinished reports"] = remove_older(unfinished_reports(work), keep, dry_run=dry_run)
        done.others["locks that nobody holds"] = remove_unheld(work.settings.lock_dir, keep, dry_run=dry_run)
    except OSError as error:
        done.other_problems.append(f"reports and locks: {error}")
    return done
