"""Raw files as they arrive: which days have content that was not processed yet, and whether it is time to.

A day is processed when its files have settled, and all feeds are there or their deadlines have passed; after that,
whenever a file is new or holds other bytes. Until then nothing is lost: whoever runs the day takes what is there.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import RowMapping

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.files import PENDING
from assets_pkg.contracts.tables import ALERTS
from assets_pkg.policy import Policy
from assets_pkg.steps.provenance import digest_of
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.ledger import is_there
from assets_pkg.storage.raw_files import RawFile, files_of_day, raw_days
from assets_pkg.storage.records import UnreadableFileError
from assets_pkg.transforms.alerts import some


@dataclass(frozen=True)
class Arrivals:
    """The raw files of a day as they lie there.

    `changed`: files that the ledger does not know, or knows with other bytes; `growing`: those that were written to a
    moment ago; `absent`: feeds without a file. `version`: a digest of all content, and of what the ledger knew of
    it: content that comes back after other content is another version. `processed`: whether the day was processed
    to its end before.
    """

    day: date
    changed: tuple[RawFile, ...]
    growing: tuple[RawFile, ...]
    absent: tuple[str, ...]
    processed: bool
    version: str

    @property
    def awaits_something(self) -> bool:
        """Whether there is more to come, or to be done."""
        return bool(self.growing or self.changed or not self.processed)

    def waits_for(self, policy: Policy, now: datetime) -> str | None:
        """Why the day is not to be processed now; None if it is."""
        if self.growing:
            return f"{some(len(self.growing), 'file')} changed a moment ago ({self.growing[0].path})"
        if self.processed:
            return None if self.changed else "nothing is new"
        awaited = [feed for feed in self.absent if now < due(policy, feed, self.day)]
        if awaited:
            latest = max(due(policy, feed, self.day) for feed in awaited)
            return f"{' and '.join(awaited)} may still come until {latest:%Y-%m-%d %H:%M} UTC"
        return None


def _known_as(entry: RowMapping) -> str:
    return f"{entry['path']} {entry['content_sha256']} {entry['attempts']}"


def due(policy: Policy, feed: str, day: date) -> datetime:
    """Until when a feed's files of a day are waited for."""
    hours: float = getattr(policy.arrival.deadline_hours, feed)
    return datetime.combine(day, time(), UTC) + timedelta(days=1, hours=hours)


def days_there(work: Workplace, today: date) -> tuple[list[date], list[date]]:
    """The days that have a raw folder, in order: those that are ingest dates by today, and those that are none."""
    days = raw_days(work.raw_root) if work.raw_root.is_dir() else []
    are_dates = {day: work.settings.is_ingest_date(day, today) for day in days}
    return [day for day in days if are_dates[day]], [day for day in days if not are_dates[day]]


def still_coming(work: Workplace, now: datetime) -> dict[date, str]:
    """The days that were not processed yet since their files are still coming, and what is waited for.

    Raises LedgerError.
    """
    processed = work.lake.partitions(ALERTS.name)
    found = (arrivals(work, day, now) for day in days_there(work, now.date())[0] if day not in processed)
    return {each.day: why for each in found if (why := each.waits_for(work.policy, now))}


def arrivals(work: Workplace, day: date, now: datetime) -> Arrivals:
    """Look at a day's raw files. Only those are hashed whose folder entry is not as the ledger knows it.

    Raises LedgerError.
    """
    entries = work.ledger.entries(day=day) if is_there(work.settings.ledger) else []  # looking makes none
    known = {row["path"]: row for row in entries}
    files = files_of_day(work.raw_root, day)
    changed, growing, contents = [], [], []
    for path, file in files.items():
        row = known.get(path)
        if row and row["status"] == PENDING:  # its day is run again anyway
            contents.append(f"{path} {row['content_sha256']}")
            continue
        try:
            if row and row["stamp"] and row["stamp"] == file.stamp():
                contents.append(f"{path} {row['content_sha256']}")
                continue
            if now.timestamp() - file.changed_at() < work.policy.arrival.settle_seconds:
                growing.append(file)
                continue
            sha256 = file.fingerprint().sha256
        except UnreadableFileError as error:  # the run will say so
            sha256 = str(error)
            if row and row["error_message"] == sha256:
                continue
        contents.append(f"{path} {sha256}")
        if row is None or row["content_sha256"] != sha256:
            changed.append(file)
    there = {file.feed.name for file in files.values()}
    return Arrivals(
        day,
        tuple(changed),
        tuple(growing),
        tuple(name for name in FEEDS if name not in there),
        work.lake.version(ALERTS.name, day) is not None,
        digest_of([*sorted(contents), *map(_known_as, entries)]),
    )
