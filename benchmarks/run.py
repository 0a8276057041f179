"""The benchmark: large days through the floor, the bare stages, the command line and, if asked, DuckDB peers.

python benchmarks/run.py --events 1000000 10000000 [--peer] [--repeat 3]     whole days, raw to alerts and activity
python benchmarks/run.py --backfill 1000000 [--days 30]                      many days at once

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
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

from meter import peak_of

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parent

# The aims: of one day, judged at AIM_EVENTS and for memory at GROWTH_EVENTS too; the others at any size.
AIM_EVENTS: Final = 10_000_000
GROWTH_EVENTS: Final = 30_000_000
MAX_CPU_RATIO: Final = 9.0
MAX_OF_REFERENCE: Final = 0.55
MAX_PEAK_GIB: Final = {AIM_EVENTS: 1.2, GROWTH_EVENTS: 1.8}
MAX_SECOND_DAY: Final = 1.7
MAX_AGAIN_SECONDS: Final = 1.0
MAX_BACKFILL: Final = 1.1
MAX_BACKFILL_GROWTH: Final = 1.1  # peak memory of the last days over that of the first
ENDS: Final = 5  # days at either end of a backfill
ACTIVITY: Final = ("events_by_date", "sessions", "activity_metrics", "activity_alerts")

FLOOR, STAGES, COMMAND, PEER, REFERENCE = "floor", "stages", "command line", "DuckDB peer", "other peer"
Result = dict[str, Any]


class SideFailedError(RuntimeError):
    """A side ended with an error; the message is what it said."""


@dataclass(frozen=True)
class Bench:
    """What was asked for, as far as sides need it."""

    scratch: Path
    day: date
    seed: int
    second_day: bool
    peer_memory: str | None
    reference: Path | None

    @property
    def days(self) -> list[date]:
        """The first day, and the second if it is wanted."""
        return days_from(self.day, 2 if self.second_day else 1)


def main() -> int:
    """Exit status 0: all aims that could be judged are met, and all sides agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[], help="sizes of the days")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; medians are shown")
    parser.add_argument("--peer", action="store_true", help="the DuckDB peer too, and whether it counts the same")
    parser.add_argument(
        "--other-peer", type=Path, help="a script, called with RAW_ROOT FOLDER DATE, that does a first day"
    )
    parser.add_argument("--no-command-line", action="store_true", help="only the bare stages")
    parser.add_argument("--no-second-day", action="store_true", help="only the first day, and that once more")
    parser.add_argument("--peer-memory", help="DuckDB's memory_limit for the peer, for example 8GB")
    parser.add_argument("--backfill", type=int, metavar="EVENTS", help="many days of so many events each, at once")
    parser.add_argument("--days", type=int, default=30, help="how many days to backfill")
    parser.add_argument("--no-day-by-day", action="store_true", help="do not compare with refreshing after each day")
    parser.add_argument("--date", type=date.fromisoformat, default=date(2025, 12, 10))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path, default=HERE / "results", help="where days and numbers are kept")
    asked = parser.parse_args()
    if not asked.events and not asked.backfill:
        asked.events = [1_000_000]
    scratch = asked.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    bench = Bench(scratch, asked.date, asked.seed, not asked.no_second_day, asked.peer_memory, asked.other_peer)
    sides = [FLOOR, STAGES]
    sides += [COMMAND] if not asked.no_command_line else []
    sides += [PEER] if asked.peer else []
    sides += [REFERENCE] if asked.other_peer else []
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}\n")
    found: Result = {"machine": machine(), "rounds": {}}
    path, sound = scratch / f"measured-{datetime.now(UTC):%Y%m%dT%H%M%S}.json", True
    verdicts = []
    for events in sorted(set(asked.events)):
        rounds = found["rounds"][events] = []
        for _ in measured(bench, events, sides, asked.repeat, rounds):
            keep(found, path)
        print("\n".join(table(events, rounds)) + "\n")
        for same, text in agreement(rounds[-1]):
            print(text)
            sound = sound and same
        print()
        verdicts += judge(events, rounds)
    if asked.backfill:
        days = days_from(asked.date, asked.days)
        found["backfill"] = measured_backfill(bench, asked.backfill, days, day_by_day=not asked.no_day_by_day)
        keep(found, path)
        print("\n".join(backfill_table(asked.backfill, found["backfill"])) + "\n")
        verdicts += judge_backfill(found["backfill"])
    for met, text in verdicts:
        print(text)
        sound = sound and met
    say(f"all numbers: {path}")
    return 0 if sound else 1


def measured(bench: Bench, events: int, sides: Sequence[str], repeat: int, rounds: list[Result]) -> Iterator[None]:
    """Fill `rounds`, side by side."""
    raw = prepared(bench, events, bench.days)
    for number in range(repeat):
        found: dict[str, Result] = {}
        rounds.append(found)
        for side in [*sides, FLOOR]:
            load = f"load {os.getloadavg()[0]:.1f}"
            say(f"{events:,} events, round {number + 1} of {repeat}: {side} ({load})")
            result = run_side(side, raw, bench)
            # The floor is measured first and last. The lower one counts: a busy machine only ever adds to it.
            found[side] = min(found.get(side, result), result, key=lambda each: each["cpu"])
            yield


# -- days ---------------------------------------------------------------------------------------------------


def days_from(first: date, count: int) -> list[date]:
    return [first + timedelta(days=number) for number in range(count)]


def prepared(bench: Bench, events: int, days: Sequence[date]) -> Path:
    """The raw root that holds the days, made on first use; other code of the generator makes another one."""
    code = blake2b((HERE / "large_days.py").read_bytes(), digest_size=4).hexdigest()
    root = bench.scratch / f"days-{events}-seed{bench.seed}-{code}"
    unfinished = root.with_suffix(".unfinished")
    for day in days:
        folder = root / f"ingest_date={day}"
        if not folder.is_dir():
            say(f"making {events:,} events of {day}")
            shutil.rmtree(unfinished, ignore_errors=True)
            script("large_days.py", "--out", unfinished, "--events", events, "--date", day, "--seed", bench.seed)
            root.mkdir(exist_ok=True)
            (unfinished / folder.name).rename(folder)
        for path in sorted(folder.glob("*.csv")):
            warm(path)
    shutil.rmtree(unfinished, ignore_errors=True)
    return root


def warm(path: Path) -> None:
    """Read a file once, so that the first side does not pay for the disk."""
    with path.open("rb", buffering=0) as stream:
        while stream.read(1 << 20):
            pass


# -- sides --------------------------------------------------------------------------------------------------


def run_side(side: str, raw: Path, bench: Bench) -> Result:
    """One side over the day, or over both, in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="work-", dir=bench.scratch) as name:
        work = Path(name)
        if side == FLOOR:
            return script("floor.py", "--raw", raw, "--date", bench.day, "--out", work)
        if side == PEER:
            limit = ("--memory", bench.peer_memory) if bench.peer_memory else ()
            return first_of(
                script("peer_duckdb.py", "--raw", raw, "--dates", *bench.days, "--out", work / "peer", *limit)
            )
        if side == REFERENCE:
            return without_output(
                child([sys.executable, str(bench.reference), str(raw), str(work), str(bench.day)], {})
            )
        places = workplace(work, raw)
        if side == STAGES:
            return first_of(script("stages.py", "--dates", *bench.days, "--again", environment=places))
        home = work / "dagster_home"
        home.mkdir()
        shutil.copy(PROJECT / "dagster.yaml", home)
        result = child(
            [sys.executable, "-m", "assets_pkg", "run", "--date", str(bench.day)],
            {**places, "DAGSTER_HOME": str(home)},
            folder=home,  # the paths in dagster.yaml are relative to where the command is given
        )
        told = script("stages.py", "--dates", bench.day, "--outcome", environment=places)
        return without_output(result) | told


def workplace(work: Path, raw: Path) -> dict[str, str]:
    """The pipeline's settings for an empty data folder with these raw files: it takes its raw root to be <data>/raw."""
    (work / "data").mkdir()
    (work / "data" / "raw").symlink_to(raw, target_is_directory=True)
    return {"PIPELINE_DATA_DIR": str(work / "data"), "PIPELINE_REPORTS_DIR": str(work / "reports")}


def first_of(told: Result) -> Result:
    """What a side did day by day: the numbers of the first day, with the second one's and a rerun's beside them."""
    first, *others = told["days"]
    outcomes = {day["day"]: day.pop("outcome") for day in told["days"] if "outcome" in day}
    more = {"second": others[0]} if others else {}
    return {**first, **more, "outcomes": outcomes, **({"again": told["again"]} if "again" in told else {})}


def without_output(result: Result) -> Result:
    return {name: value for name, value in result.items() if name != "output"}


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


# -- many days at once --------------------------------------------------------------------------------------


def measured_backfill(bench: Bench, events: int, days: Sequence[date], *, day_by_day: bool) -> Result:
    """All days at once; some of them by themselves, each in an empty lake; and one after the other, if wanted."""
    raw = prepared(bench, events, days)

    def stages(name: str, dates: Sequence[date], *flags: str) -> Result:
        say(f"{name} (load {os.getloadavg()[0]:.1f})")
        with tempfile.TemporaryDirectory(prefix="work-", dir=bench.scratch) as folder:
            places = workplace(Path(folder), raw)
            return script("stages.py", "--dates", *dates, *flags, environment=places)

    alone = sorted({days[0], days[len(days) // 2], days[-1]})
    found = {
        "days": len(days),
        "alone": [stages(f"{day} by itself", [day], "--no-checks")["days"][0] for day in alone],
        "backfill": stages(f"{len(days)} days of {events:,} events at once", days, "--backfill"),
    }
    if day_by_day:
        found["day_by_day"] = stages(f"{len(days)} days, one after the other", days, "--no-checks")["days"]
    return found


def backfill_table(events: int, found: Result) -> Iterator[str]:
    """A Markdown table: what the days cost at once, and what they cost otherwise."""
    at_once, days = found["backfill"], found["days"]
    parts = {"ingest dates": at_once["ingest"], **at_once["activity_stages"]}
    total = sum(at_once[part]["cpu"] for part in ("ingest", "activity"))
    alone = mean(day["cpu"] for day in found["alone"])
    yield f"| {days} days of {events:,} events | CPU s | a day | peak MiB, first {ENDS} | last {ENDS} |"
    yield "|---|--:|--:|--:|--:|"
    yield f"| **at once** | {total:.1f} | {total / days:.2f} | | |"
    for name, part in parts.items():
        first, last = ends(part)
        yield f"|   {name} | {part['cpu']:.1f} | {part['cpu'] / days:.2f} | {first:,.0f} | {last:,.0f} |"
    yield f"| each by itself, in an empty lake | {alone * days:.1f} | {alone:.2f} | | |"
    if "day_by_day" in found:
        one_by_one = found["day_by_day"]
        first, last = (max(day["peak_mib"] for day in part) for part in (one_by_one[:ENDS], one_by_one[-ENDS:]))
        total = sum(day["cpu"] for day in one_by_one)
        numbers = f"{total:.1f} | {total / days:.2f} | {first:,.0f} | {last:,.0f}"
        yield f"| one after the other, refreshed each time | {numbers} |"


def ends(part: Result) -> tuple[float, float]:
    """Peak memory of the first days and of the last, in MiB."""
    peaks = [lap["peak_mib"] for lap in part["stages"]]
    return max(peaks[:ENDS]), max(peaks[-ENDS:])


def judge_backfill(found: Result) -> Iterator[tuple[bool, str]]:
    at_once = found["backfill"]
    cost = sum(at_once[part]["cpu"] for part in ("ingest", "activity"))
    sum_of_days = mean(day["cpu"] for day in found["alone"]) * found["days"]
    yield verdict("CPU of the backfill", cost / sum_of_days, MAX_BACKFILL, " times the sum of its days by themselves")
    parts = {"ingest": at_once["ingest"], **at_once["activity_stages"]}
    # The first and last event dates of a backfill are small, as few events are late or early: what counts is the most.
    first, last = (max(each) for each in zip(*(ends(part) for part in parts.values()), strict=True))
    yield verdict(
        f"peak memory of the backfill's last {ENDS} days", last / first, MAX_BACKFILL_GROWTH, f" times the first {ENDS}"
    )


# -- what came out ------------------------------------------------------------------------------------------


def table(events: int, rounds: Sequence[Mapping[str, Result]]) -> Iterator[str]:
    """A Markdown table of one size: medians over the rounds; the ratio is that of each round to its own floor."""
    yield f"| {events:,} events | wall s | CPU s | CPU ÷ floor | peak MiB |"
    yield "|---|--:|--:|--:|--:|"
    for side in rounds[0]:
        found = [each[side] for each in rounds]
        yield line(f"**{side}**", found, rounds)
        if side != FLOOR:
            yield from lines_of_stages(found, rounds)
        for key, name in (("checks", "*checks, on top*"), ("second", "*second day*"), ("again", "*unchanged, again*")):
            if key in found[0]:
                yield line(f"  {name}", [each[key] for each in found], rounds)
            if key == "second" and key in found[0]:
                yield from lines_of_stages([each[key] for each in found], rounds, only=ACTIVITY)


def lines_of_stages(
    found: Sequence[Result], rounds: Sequence[Mapping[str, Result]], only: Sequence[str] = ()
) -> Iterator[str]:
    for place, stage in enumerate(found[0]["stages"]):
        if not only or stage["name"] in only:
            yield line(f"    {stage['name']}", [each["stages"][place] for each in found], rounds)


def line(name: str, found: Sequence[Result], rounds: Sequence[Mapping[str, Result]]) -> str:
    ratios = [each["cpu"] / of[FLOOR]["cpu"] for each, of in zip(found, rounds, strict=True)]
    wall, cpu, peak = (median(each[key] for each in found) for key in ("wall", "cpu", "peak_mib"))
    return f"| {name} | {wall:.2f} | {cpu:.2f} | {median(ratios):.2f} | {peak:,.0f} |"


def agreement(found: Mapping[str, Result]) -> Iterator[tuple[bool, str]]:
    """Whether the other sides came to the same as the bare stages, and a line that says so."""
    ours = found[STAGES]["outcomes"]
    for side in (COMMAND, PEER):
        if side in found:
            theirs = found[side]["outcomes"]
            differences = [each for day in theirs for each in differing(ours[day], theirs[day], day)]
            if differences:
                shown = "\n  ".join(differences[:20])
                yield False, f"{side}: DIFFERS from the bare stages (its value, then theirs):\n  {shown}"
            else:
                compared = ", ".join(next(iter(theirs.values())))
                yield True, f"{side}: the same {compared} as the bare stages, on {' and '.join(theirs)}"


def differing(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    """Where two outcomes differ; numbers are equal to 9 digits."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted({*theirs, *ours}):
            yield from differing(ours.get(key), theirs.get(key), f"{where} {key}")
    elif isinstance(theirs, list) and isinstance(ours, list) and len(ours) == len(theirs):
        for our, their in zip(ours, theirs, strict=True):
            yield from differing(our, their, where)
    elif isinstance(theirs, float) and isinstance(ours, int | float):
        if not math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9):
            yield f"{where}: {theirs:,} {ours:,}"
    elif ours != theirs:
        yield f"{where}: {theirs} {ours}"


def judge(events: int, rounds: Sequence[Mapping[str, Result]]) -> Iterator[tuple[bool, str]]:
    """Each aim that this size can be judged by: met or not, and a line that says so."""

    def usual(side: str, value: str, part: str | None = None) -> float:
        return median((each[side][part] if part else each[side])[value] for each in rounds)

    for side in (STAGES, COMMAND):
        if side not in rounds[0]:
            continue
        name = f"of the {side} at {events:,} events"
        if events == AIM_EVENTS:
            ratio = median(each[side]["cpu"] / each[FLOOR]["cpu"] for each in rounds)
            yield verdict(f"CPU {name}", ratio, MAX_CPU_RATIO, " times the floor")
            if REFERENCE in rounds[0]:
                ratio = median(each[side]["cpu"] / each[REFERENCE]["cpu"] for each in rounds)
                yield verdict(f"CPU {name}", ratio, MAX_OF_REFERENCE, f" of the {REFERENCE}")
        if events in MAX_PEAK_GIB:
            yield verdict(f"peak memory {name}", usual(side, "peak_mib") / 1024, MAX_PEAK_GIB[events], " GiB")
            if "second" in rounds[0][side]:
                peak = usual(side, "peak_mib", "second") / 1024
                yield verdict(f"peak memory of the second day {name}", peak, MAX_PEAK_GIB[events], " GiB")
    second = [each[STAGES]["second"]["cpu"] / each[STAGES]["cpu"] for each in rounds if "second" in each[STAGES]]
    if second and events >= AIM_EVENTS:
        name = f"CPU of the second day at {events:,} events"
        yield verdict(name, median(second), MAX_SECOND_DAY, " times the first")
    yield verdict(f"unchanged rerun at {events:,} events", usual(STAGES, "cpu", "again"), MAX_AGAIN_SECONDS, " CPU s")
    if PEER in rounds[0]:
        ratio = median(each[STAGES]["cpu"] / each[PEER]["cpu"] for each in rounds)
        yield True, f"shown   CPU of the stages at {events:,} events: {ratio:.2f} of the {PEER}"


def verdict(name: str, value: float, most: float, unit: str) -> tuple[bool, str]:
    """Whether an aim is met, and a line that says so."""
    met = value <= most
    return met, f"{'met   ' if met else 'MISSED'}  {name}: {value:,.2f}{unit} (at most {most:,.2f})"


def keep(found: Result, path: Path) -> None:
    """All numbers so far as JSON, next to the days: a run of hours that is cut short is not lost."""
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")


def machine() -> str:
    """What this was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    hardware = f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    return f"{platform.system()} {hardware}, Python {platform.python_version()}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SideFailedError as error:
        sys.exit(str(error))
