"""Made-up days with every kind of mess that the generator knows: all tables and reports are the oracle's."""

from collections.abc import Sequence
from datetime import date

import pytest

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.files import FAILED
from assets_pkg.sampledata import DayFiles, generate
from assets_pkg_tests.workbench import DayRun, Workbench, days_from, differences_from_oracle

# Kinds of file mess come round in five days.
DAYS = days_from(date(2025, 12, 10), 5)
TORN = DAYS[3]
QUIET = DAYS[2]
HOURS_OFF = range(2, 8)

Ran = tuple[Workbench, dict[date, DayRun], Sequence[DayFiles]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Five days, made and run in order."""
    bench = Workbench(tmp_path_factory.mktemp("generated"))
    made = generate(bench.work.raw_root, DAYS[0], DAYS[-1], 700, 20, {QUIET: HOURS_OFF}, broken_gzip_days=[TORN])
    return bench, {day: bench.run_day(day) for day in DAYS}, made


def test_everything_is_the_oracles(ran: Ran) -> None:
    bench, runs, _ = ran
    assert differences_from_oracle(bench, runs) == []


def test_every_record_that_was_made_is_a_raw_row(ran: Ran) -> None:
    """A file that is a copy of another counts once."""
    _, runs, made = ran
    for day in made:
        for feed in FEEDS:
            records: dict[str, int] = {}
            for file in runs[day.day].report[feed]["files"]:
                records[file["sha256"]] = max(file["records"], records.get(file["sha256"], 0))
            assert sum(records.values()) == day.records[feed], (day.day, feed)


def test_the_mess_reaches_every_outcome(ran: Ran) -> None:
    """So that equality with the oracle says something."""
    _, runs, made = ran
    assert len({kind for day in made for kind in day.mess}) > 30
    for feed in FEEDS:
        reports = [run.report[feed] for run in runs.values()]
        reasons = {reason for report in reports for reason in report["quarantine_by_reason"]}
        assert "malformed_row" in reasons
        assert any(report["duplicates"]["full_row"] for report in reports)
        assert any(report["duplicates"]["id"] for report in reports)
        assert all(report["clean"] for report in reports)
    assert any(run.report["events"]["warnings_by_reason"] for run in runs.values())


def test_the_day_with_hours_off_and_the_day_with_a_torn_file_raise_alerts(ran: Ran) -> None:
    _, runs, _ = ran
    coverage = {
        day: alert["details"] for day, run in runs.items() for alert in run.alerts if alert["rule"] == "hourly_coverage"
    }
    assert set(coverage[QUIET]["missing_hours"]) >= {f"{hour:02d}" for hour in HOURS_OFF}
    assert ("failed_file", "high", "events") in runs[TORN].fired()
    assert FAILED in {file["status"] for file in runs[TORN].report["events"]["files"]}
