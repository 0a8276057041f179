"""One run at a time for an ingest date, so that no day is ever a mixture of two runs."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

from filelock import FileLock, Timeout


class DayIsBusyError(RuntimeError):
    """Another run works on the day and did not end in time; the message names both."""


@contextmanager
def days_locked(
    folder: Path, days: Iterable[date], owner: str, *, wait_seconds: float, say: Callable[[str], None]
) -> Iterator[None]:
    """Hold every day's lock, waiting up to `wait_seconds` in all; the operating system frees them if we die.

    Days are taken in order, so two runs cannot wait for each other. Raises DayIsBusyError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    patience_ends = time.monotonic() + wait_seconds
    with ExitStack() as held:
        for day in sorted(set(days)):
            path = folder / f"{day.isoformat()}.lock"
            holder = path.with_suffix(".holder")
            lock = FileLock(path)
            try:
                held.enter_context(lock.acquire(timeout=0))
            except Timeout:
                say(f"{day} is being processed by {_told(holder)}; waiting up to {wait_seconds:g} s for it to end")
                try:
                    held.enter_context(lock.acquire(timeout=max(0.0, patience_ends - time.monotonic())))
                except Timeout:
                    raise DayIsBusyError(
                        f"{day} is still being processed by {_told(holder)} after {wait_seconds:g} s. "
                        "Nothing was changed by this run; start it again when the other has ended"
                    ) from None
            holder.write_text(json.dumps({"run": owner, "process": os.getpid()}), encoding="utf-8")
        yield


def _told(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "another run"
    return f"run {who['run']} (process {who['process']})"
