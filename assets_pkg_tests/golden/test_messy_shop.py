"""Five days of three messy feeds: the numbers known beforehand, the only alerts, the oracle's tables."""

from datetime import date
from pathlib import Path

import pytest

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg_tests.workbench import DayRun, Workbench, days_from, differences_from_oracle

DAYS = days_from(date(2025, 12, 10), 5)
# Of the events feed: total, clean, quarantine, full-row duplicates.
EVENTS = dict(
    zip(
        DAYS,
        [
            (5057, 4527, 473, 57),
            (5051, 4553, 447, 51),
            (5055, 4502, 498, 55),
            (5044, 4551, 449, 44),
            (5057, 4542, 458, 57),
        ],
        strict=True,
    )
)
# The only alerts of the five days: events are missing in these hours.
MISSING_HOURS = {
    DAYS[0]: ["01", "02", "03", "04", "05", "06"],
    DAYS[3]: ["05", "06", "07", "08", "09", "10"],
}

Ran = tuple[Workbench, dict[date, DayRun]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Ran:
    """The five days, run in order."""
    raw = samples / "messy_shop"
    if not raw.is_dir():
        pytest.skip("the sample days (../shared/samples/messy_shop, beside the repository) are not here")
    bench = Workbench(tmp_path_factory.mktemp("shop"))
    bench.settings.data_dir.mkdir()
    bench.work.raw_root.symlink_to(raw.resolve())
    return bench, {day: bench.run_day(day) for day in DAYS}


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_events_are_counted_as_known_beforehand(day: date, ran: Ran) -> None:
    events = ran[1][day].report["events"]
    found = (events["total"], events["clean"], events["quarantine"], events["duplicates"]["full_row"])
    assert found == EVENTS[day]


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_the_only_alerts_are_the_two_gaps(day: date, ran: Ran) -> None:
    alerts = ran[1][day].alerts
    found = [
        (alert["rule"], alert["severity"], alert["dataset"], alert["details"]["missing_hours"]) for alert in alerts
    ]
    hours = MISSING_HOURS.get(day)
    assert found == ([("hourly_coverage", "medium", "events", hours)] if hours else [])


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_total_is_clean_and_quarantine_and_full_row_duplicates(day: date, ran: Ran) -> None:
    bench, runs = ran
    for name, feed in FEEDS.items():
        said = runs[day].report[name]
        assert said["total"] == said["clean"] + said["quarantine"] + said["duplicates"]["full_row"] > 0
        counted = [bench.work.lake.rows(table, day) for table in (feed.raw, feed.clean_table, feed.quarantine)]
        assert counted == [said["total"], said["clean"], said["quarantine"]]


def test_everything_is_the_oracles(ran: Ran) -> None:
    assert differences_from_oracle(*ran) == []


def test_a_rerun_changes_nothing(ran: Ran) -> None:
    bench, runs = ran
    versions, commits, reports = bench.versions(), bench.commits(), [bench.report_bytes(day) for day in DAYS]
    for day in (DAYS[3], DAYS[0]):
        assert bench.run_day(day) == runs[day]
    assert (bench.versions(), bench.commits(), [bench.report_bytes(day) for day in DAYS]) == (
        versions,
        commits,
        reports,
    )
