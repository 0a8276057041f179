"""A process that runs days step by step, without Dagster: it starts in a second, so it can be killed often.

`python -m assets_pkg_tests.orchestration.steps_alone FOLDER LEDGER_URL FIRST LAST [INSTANT]`, like the command line:
the days in order, then those that must be judged again, until there are none. It kills itself at an INSTANT:
`start:FEED`, when the ledger says that the feed's files are being read and none is, `finish:FEED`, when their rows are
in the table and the ledger is about to be told, or `clean:DAY`, when the day's raw tables and the ledger are done and
nothing after them.
"""

import os
import signal
import sys
from datetime import date
from pathlib import Path
from typing import Any, Final

from assets_pkg.contracts.feeds import Feed
from assets_pkg.steps.clean import clean
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.ledger import Ledger
from assets_pkg_tests import workbench
from assets_pkg_tests.workbench import Workbench, days_from

READY: Final = "ready"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(instant: str) -> None:
    what, _, where = instant.partition(":")
    start, finish = Ledger.start, Ledger.finish

    def start_and_die(self: Ledger, feed: str, *rest: Any, **more: Any) -> None:
        start(self, feed, *rest, **more)
        if (what, where) == ("start", feed):
            _die()

    def finish_or_die(self: Ledger, feed: str, *rest: Any, **more: Any) -> list[date]:
        if (what, where) == ("finish", feed):
            _die()
        return finish(self, feed, *rest, **more)

    def clean_or_die(work: Workplace, feed: Feed, day: date) -> Any:
        if (what, where) == ("clean", str(day)):
            _die()
        return clean(work, feed, day)

    Ledger.start = start_and_die  # type: ignore[method-assign]
    Ledger.finish = finish_or_die  # type: ignore[method-assign]
    vars(workbench)["clean"] = clean_or_die


def _peak_mib() -> float:
    """The most memory this process had. (ru_maxrss would count what its parent had when it was forked.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def run_days(bench: Workbench, first: date, last: date) -> list[date]:
    """The days in order, then those that must be judged again; gives the latter."""
    for day in days_from(first, (last - first).days + 1):
        bench.run_day(day)
    again: list[date] = []
    while pending := bench.work.ledger.pending_days():
        again += pending
        for day in pending:
            bench.run_day(day)
    return again


def _main(folder: str, ledger_url: str, first: str, last: str, dies_at: str = "") -> None:
    if dies_at:
        _die_at(dies_at)
    _say(READY)
    before = _peak_mib()
    bench = Workbench(Path(folder), run=f"process {os.getpid()}", ledger_url=ledger_url)
    run_days(bench, date.fromisoformat(first), date.fromisoformat(last))
    _say(f"{before:.0f} {_peak_mib():.0f}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
