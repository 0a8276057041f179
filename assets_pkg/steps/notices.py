"""Which alerts are open now, as the tables say; the level from which news is told."""

from collections.abc import Iterable
from datetime import date

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.contracts.tables import ACTIVITY_ALERTS, ALERTS, Table
from assets_pkg.steps.landed import is_processed
from assets_pkg.steps.workplace import Workplace
from assets_pkg.transforms.notices import ALERT, Problem, first_recent

_TABLES = (ALERTS, ACTIVITY_ALERTS)


def newest_ingest_date(work: Workplace) -> date | None:
    """The last day that alerts were raised for."""
    return max(work.lake.partitions(ALERTS.name), default=None)


def open_alerts(work: Workplace, known: Iterable[Problem]) -> list[Problem]:
    """The alerts of recent days, and of all days of problems that are `known`, of every severity.

    Those of event dates whose own files have not come are left out: two early events are no drop. Where nothing can be
    read, as a data file is lost, things are as they are known.
    """
    alerts = [each for each in known if each.kind == ALERT]
    newest = newest_ingest_date(work)
    found: list[Problem] = []
    for table in _TABLES:
        of_table = [each for each in alerts if each.axis == table.partition_by]
        days = {day for day in work.lake.partitions(table.name) if newest and day >= first_recent(newest)}
        judged = {day for day in days | {each.day for each in of_table} if _is_judged(work, table, day)}
        found += [each for each in of_table if each.day not in judged]
        found += _alerts(work, table, sorted(judged))
    return found


def alerts_state(work: Workplace) -> list[str]:
    """What open alerts depend on, from the tables' logs alone."""
    tables = [*(table.name for table in _TABLES), EVENTS.clean_table]
    return [f"{table} {day} {each.version}" for table in tables for day, each in work.lake.partitions(table).items()]


def _is_judged(work: Workplace, table: Table, day: date) -> bool:
    return (
        work.lake.version(table.name, day) is not None
        and work.lake.is_whole(table.name, day)
        and (table is ALERTS or is_processed(work, day))
    )


def _alerts(work: Workplace, table: Table, days: list[date]) -> list[Problem]:
    return [
        Problem(f"{table.name}/{day}/{rule}/{dataset}", ALERT, severity, table.partition_by, day, f"{rule}: {message}")
        for day, rule, severity, dataset, message, _ in work.lake.scan(table.name, days).collect().iter_rows()
    ]
