"""Wall time, CPU time and peak memory of parts of the running process."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_MIB = 2**20
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Lap:
    """What one part took. `cpu` counts all threads and includes `system`, the kernel's share of it."""

    name: str
    wall: float
    cpu: float
    system: float
    peak_mib: float


class Meter:
    """Laps, one after the other."""

    def __init__(self) -> None:
        self.laps: list[Lap] = []

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Measure the block. Its peak is its own on Linux; elsewhere the process's peak so far."""
        _forget_peak()
        wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        yield
        after = resource.getrusage(resource.RUSAGE_SELF)
        system = after.ru_stime - before.ru_stime
        cpu = after.ru_utime - before.ru_utime + system
        self.laps.append(Lap(name, time.perf_counter() - wall, cpu, system, _peak() / _MIB))

    def result(self) -> dict[str, Any]:
        """All laps and their total, ready for JSON."""
        return {
            "wall": sum(lap.wall for lap in self.laps),
            "cpu": sum(lap.cpu for lap in self.laps),
            "system": sum(lap.system for lap in self.laps),
            "peak_mib": max(lap.peak_mib for lap in self.laps),
            "stages": [asdict(lap) for lap in self.laps],
        }


def peak_of(usage: resource.struct_rusage) -> int:
    """Peak resident memory in bytes: macOS counts bytes there, Linux KiB."""
    return usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024


def _forget_peak() -> None:
    if _RESET.exists():
        _RESET.write_text("5", encoding="ascii")  # proc(5): sets the peak back to what is resident now


def _peak() -> int:
    if not _RESET.exists():
        return peak_of(resource.getrusage(resource.RUSAGE_SELF))
    status = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines())
    return int(status["VmHWM"].split()[0]) * 1024
