"""The benchmark: large days through the floor, the bare stages, the command line and, if asked, the DuckDB peer.

python benchmarks/run.py --events 1000000 10000000 [--peer] [--repeat 3]

Every side runs in a process of its own, one after the other, in rounds; each round has its own floor. What is judged
is CPU as a multiple of that floor, and peak memory. Days are made once and kept under benchmarks/results/.

This process imports nothing large: Linux counts a parent's memory at the fork in its child's peak.
"""

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import Any, Final

from meter import peak_of

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parent
RESULTS: Final = HERE / "results"

# The aims, judged at AIM_EVENTS; growth of memory from there to GROWTH_EVENTS.
AIM_EVENTS: Final = 10_000_000
GROWTH_EVENTS: Final = 30_000_000
MAX_CPU_RATIO: Final = 6.0
MAX_PEAK_MIB: Final = 1.2 * 1024
MAX_GROWTH: Final = 1.5

FLOOR, STAGES, COMMAND, PEER = "floor", "stages", "command line", "DuckDB peer"
Result = dict[str, Any]


class SideFailedError(RuntimeError):
    """A side ended with an error; the message is what it said."""


def main() -> int:
    """Exit status 0: all aims that could be judged are met, and all sides agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000], help="sizes of the days")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; medians are shown")
    parser.add_argument("--peer", action="store_true", help="the DuckDB peer too, and whether it counts the same")
    parser.add_argument("--no-command-line", action="store_true", help="only the bare stages")
    parser.add_argument("--peer-memory", help="DuckDB's memory_limit for the peer, for example 8GB")
    parser.add_argument("--date", type=date.fromisoformat, default=date(2025, 12, 10))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    sides = [FLOOR, STAGES, *([] if asked.no_command_line else [COMMAND]), *([PEER] if asked.peer else [])]
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}\n")
    rounds: dict[int, list[dict[str, Result]]] = {}
    sound, path = True, RESULTS / f"measured-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    for events in sorted(set(asked.events)):
        raw = prepared_day(events, asked.date, asked.seed)
        rounds[events] = []
        for number in range(asked.repeat):
            found: dict[str, Result] = {}
            rounds[events].append(found)
            for side in [*sides, FLOOR]:
                say(f"{events:,} events, round {number + 1} of {asked.repeat}: {side}")
                result = run_side(side, raw, asked.date, asked.peer_memory)
                # The floor is measured first and last. The lower one counts: a busy machine only ever adds to it.
                found[side] = min(found.get(side, result), result, key=lambda each: each["cpu"])
                keep(rounds, path)
        print("\n".join(table(events, rounds[events])) + "\n")
        for same, text in agreement(rounds[events][-1]):
            print(text)
            sound = sound and same
        print()
    for met, text in judge(rounds):
        print(text)
        sound = sound and met
    say(f"all numbers: {path.relative_to(PROJECT)}")
    return 0 if sound else 1


# -- days ---------------------------------------------------------------------------------------------------


def prepared_day(events: int, day: date, seed: int) -> Path:
    """The raw root that holds the day, made on first use; other code of the generator makes another one."""
    code = blake2b((HERE / "large_days.py").read_bytes(), digest_size=4).hexdigest()
    root = RESULTS / f"day-{events}-{day}-seed{seed}-{code}"
    if not root.is_dir():
        say(f"making {events:,} events")
        unfinished = root.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        script("large_days.py", "--out", unfinished, "--events", events, "--date", day, "--seed", seed)
        unfinished.rename(root)
    for path in sorted(root.rglob("*.csv")):
        warm(path)
    return root


def warm(path: Path) -> None:
    """Read a file once, so that the first side does not pay for the disk."""
    with path.open("rb", buffering=0) as stream:
        while stream.read(1 << 20):
            pass


# -- sides --------------------------------------------------------------------------------------------------


def run_side(side: str, raw: Path, day: date, peer_memory: str | None) -> Result:
    """One side over one day, in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="work-", dir=RESULTS) as name:
        work = Path(name)
        if side == FLOOR:
            return script("floor.py", "--raw", raw, "--date", day, "--out", work)
        if side == PEER:
            limit = ("--memory", peer_memory) if peer_memory else ()
            return script("peer_duckdb.py", "--raw", raw, "--date", day, "--out", work / "peer", *limit)
        # The pipeline takes its raw root to be <data>/raw.
        (work / "data").mkdir()
        (work / "data" / "raw").symlink_to(raw, target_is_directory=True)
        places = {"PIPELINE_DATA_DIR": str(work / "data"), "PIPELINE_REPORTS_DIR": str(work / "reports")}
        if side == STAGES:
            return script("stages.py", "--date", day, environment=places)
        home = work / "dagster_home"
        home.mkdir()
        shutil.copy(PROJECT / "dagster.yaml", home)
        result = child(
            [sys.executable, "-m", "assets_pkg", "run", "--date", str(day)],
            {**places, "DAGSTER_HOME": str(home)},
            folder=home,  # the paths in dagster.yaml are relative to where the command is given
        )
        report = work / "reports" / f"ingest_date={day}" / "validation_report.json"
        counts = json.loads(report.read_text(encoding="utf-8"))
        return {**result, "outcome": {"report": without_files(counts)}}


def script(name: str, *arguments: object, environment: Mapping[str, str] | None = None) -> Result:
    """Run a script of this folder. It measures itself, without its imports, and prints JSON; or it prints a line."""
    result = child([sys.executable, str(HERE / name), *map(str, arguments)], environment or {})
    text = result.pop("output")
    return json.loads(text) if text.startswith("{") else result


def child(command: Sequence[str], environment: Mapping[str, str], folder: Path = PROJECT) -> Result:
    """Run a command and measure its process as a whole. Raises SideFailedError."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "DAGSTER_"))}
    path = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env={**inherited, **environment, "PYTHONPATH": path}, stdout=output, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            said = (errors.read() or output.read()).strip()[-3000:]
            raise SideFailedError(f"{' '.join(command[1:4])} ended with {process.returncode}:\n{said}")
        return {
            "wall": wall,
            "cpu": usage.ru_utime + usage.ru_stime,
            "system": usage.ru_stime,
            "peak_mib": peak_of(usage) / 2**20,
            "stages": [],
            "output": output.read().strip(),
        }


# -- what came out ------------------------------------------------------------------------------------------


def table(events: int, rounds: Sequence[Mapping[str, Result]]) -> Iterator[str]:
    """A Markdown table of one size: medians over the rounds; the ratio is that of each round to its own floor."""
    yield f"| {events:,} events | wall s | CPU s | CPU ÷ floor | peak MiB |"
    yield "|---|--:|--:|--:|--:|"
    for side in rounds[0]:
        yield line(f"**{side}**", [each[side] for each in rounds], rounds)
        for place, stage in enumerate(rounds[0][side]["stages"]):
            if side != FLOOR:
                yield line(f"  {stage['name']}", [each[side]["stages"][place] for each in rounds], rounds)
        if "checks" in rounds[0][side]:
            yield line("  *checks, on top*", [each[side]["checks"] for each in rounds], rounds)


def line(name: str, found: Sequence[Result], rounds: Sequence[Mapping[str, Result]]) -> str:
    ratios = [each["cpu"] / of[FLOOR]["cpu"] for each, of in zip(found, rounds, strict=True)]
    wall, cpu, peak = (median(each[key] for each in found) for key in ("wall", "cpu", "peak_mib"))
    return f"| {name} | {wall:.2f} | {cpu:.2f} | {median(ratios):.2f} | {peak:,.0f} |"


def agreement(found: Mapping[str, Result]) -> Iterator[tuple[bool, str]]:
    """Whether the other sides came to the same as the bare stages, and a line that says so."""
    ours = found[STAGES]["outcome"]
    for side in (COMMAND, PEER):
        if side in found:
            theirs = found[side]["outcome"]
            differences = list(differing(ours, theirs))
            if differences:
                shown = "\n  ".join(differences[:20])
                yield False, f"{side}: DIFFERS from the bare stages (its value, then theirs):\n  {shown}"
            else:
                yield True, f"{side}: the same {', '.join(theirs)} as the bare stages"


def differing(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """Where two outcomes differ, as far as `theirs` goes; numbers are equal to 9 digits."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted({*theirs, *(ours if where else theirs)}):
            yield from differing(ours.get(key), theirs.get(key), f"{where} {key}".strip())
    elif isinstance(theirs, list) and isinstance(ours, list) and len(ours) == len(theirs):
        for our, their in zip(ours, theirs, strict=True):
            yield from differing(our, their, where)
    elif isinstance(theirs, float) and isinstance(ours, int | float):
        if not math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9):
            yield f"{where}: {theirs:,} {ours:,}"
    elif ours != theirs:
        yield f"{where}: {theirs} {ours}"


def without_files(report: Result) -> Result:
    """A validation report as far as the peer has one."""
    return {
        name: {key: value for key, value in part.items() if key != "files"} if isinstance(part, dict) else part
        for name, part in report.items()
    }


def judge(rounds: Mapping[int, Sequence[Mapping[str, Result]]]) -> list[tuple[bool, str]]:
    """Each aim: met or not, and a line that says so. An aim whose size was not run is not judged."""
    verdicts = []

    def verdict(name: str, value: float, most: float, unit: str) -> None:
        met = value <= most
        verdicts.append(
            (met, f"{'met   ' if met else 'MISSED'}  {name}: {value:,.2f}{unit} (at most {most:,.2f}{unit})")
        )

    for side in (STAGES, COMMAND):
        peaks = {}
        for events in (AIM_EVENTS, GROWTH_EVENTS):
            found = [each for each in rounds.get(events, ()) if side in each]
            if found:
                peaks[events] = median(each[side]["peak_mib"] for each in found)
            if found and events == AIM_EVENTS:
                ratio = median(each[side]["cpu"] / each[FLOOR]["cpu"] for each in found)
                verdict(f"CPU of the {side} at {events:,} events", ratio, MAX_CPU_RATIO, " times the floor")
                verdict(
                    f"peak memory of the {side} at {events:,} events", peaks[events] / 1024, MAX_PEAK_MIB / 1024, " GiB"
                )
        if len(peaks) == 2:
            growth = peaks[GROWTH_EVENTS] / peaks[AIM_EVENTS]
            verdict(f"peak memory of the {side} from 10 to 30 million events", growth, MAX_GROWTH, " times")
    return verdicts or [(True, f"The aims are for {AIM_EVENTS:,} events: nothing to judge.")]


def keep(rounds: Mapping[int, Any], path: Path) -> None:
    """All numbers so far as JSON, next to the days: a run of hours that is cut short is not lost."""
    path.write_text(json.dumps({"machine": machine(), "rounds": rounds}, indent=1), encoding="utf-8")


def machine() -> str:
    """What this was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    hardware = f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    return f"{platform.system()} {hardware}, Python {platform.python_version()}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    RESULTS.mkdir(exist_ok=True)
    try:
        sys.exit(main())
    except SideFailedError as error:
        sys.exit(str(error))
