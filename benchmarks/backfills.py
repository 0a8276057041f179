"""Backfills as the web UI launches them: a real web server and daemon, all assets over some days, until the end.

python benchmarks/backfills.py --days 30 365                 the project as it is
python benchmarks/backfills.py --days 5 --naive              Dagster's defaults beside it (see naive.py)

Days are small: what is measured is what each day costs beside its rows. CPU is that of the whole machine in the
meantime, so nothing else should run. Numbers are kept as JSON under benchmarks/results/.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parent
RESULTS: Final = HERE / "results"
OURS, NAIVE = "as it is", "naive"
FIRST: Final = date(2025, 1, 1)
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback goes through no proxy
_ASSETS = "{ assetNodes { assetKey { path } isMaterializable } }"
_LAUNCH = """mutation ($wanted: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $wanted) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_BACKFILL = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
    status error { message } runs(limit: 10000) { status tags { key value } }
    assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
        numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed } } } } } }"""
Ask = Callable[..., dict[str, Any]]
_Found = TypeVar("_Found")


def main() -> int:
    """Exit status 0: every backfill ended well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, nargs="+", default=[30], help="how many days; a backfill for each")
    parser.add_argument("--events", type=int, default=2000, help="events a day")
    parser.add_argument("--naive", action="store_true", help="also with a run for each partition, a process a step")
    given = parser.parse_args()
    rows = []
    for days in given.days:
        for side in (OURS, NAIVE) if given.naive else (OURS,):
            rows.append(measured(side, days, given.events))
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"backfills-{datetime.now(UTC):%Y%m%dT%H%M%S}.json").write_text(json.dumps(rows, indent=1))
    return 0 if all(row["status"] == "COMPLETED_SUCCESS" for row in rows) else 1


def measured(side: str, days: int, events: int) -> dict[str, Any]:
    """One backfill of so many days, in a project folder of its own."""
    with tempfile.TemporaryDirectory(prefix="backfill") as name:
        folder = Path(name)
        last = FIRST + timedelta(days=days - 1)
        environment = {**os.environ, "PYTHONPATH": f"{PROJECT}{os.pathsep}{HERE}", "PIPELINE_FIRST_DAY": str(FIRST)}
        generate = [sys.executable, "-m", "assets_pkg", "generate", "--start", str(FIRST), "--end", str(last)]
        prepare(folder, side)
        subprocess.run(
            [*generate, "--events", str(events)], cwd=folder, env=environment, check=True, capture_output=True
        )
        with served(folder, environment) as ask:
            names = [each["assetKey"] for each in ask(_ASSETS)["assetNodes"] if each["isMaterializable"]]
            wanted = {
                "assetSelection": names,
                "partitionNames": [str(FIRST + timedelta(days=day)) for day in range(days)],
                "fromFailure": False,
                "runConfigData": {},
                "tags": [],
            }
            wall, busy = time.perf_counter(), busy_seconds()
            launched = ask(_LAUNCH, wanted=wanted)["launchPartitionBackfill"]
            ended = wait_for(lambda: over(ask, launched["backfillId"]), seconds=4 * 3600)
            wall, busy = time.perf_counter() - wall, busy_seconds() - busy
        counts = ended["assetBackfillData"]["assetBackfillStatuses"]
        return {
            "side": side,
            "days": days,
            "events": events,
            "status": ended["status"],
            "runs": len(ended["runs"]),
            "partitions": sum(each["numPartitionsMaterialized"] for each in counts),
            "failed": sum(each["numPartitionsFailed"] for each in counts),
            "wall": round(wall, 1),
            "cpu": round(busy, 1),
        }


def prepare(folder: Path, side: str) -> None:
    """A project folder: for the naive side with an instance that is told where its databases are and no more."""
    for name in ("pyproject.toml", "dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / name, folder)
    if side == NAIVE:
        (folder / "workspace.yaml").write_text("load_from:\n  - python_module: {module_name: naive, attribute: defs}\n")
        (folder / "dagster.yaml").write_text(
            "storage: {sqlite: {base_dir: .dagster/storage}}\ntelemetry: {enabled: false}\nnux: {enabled: false}\n"
        )


@contextmanager
def served(folder: Path, environment: dict[str, str]) -> Iterator[Ask]:
    """`dagster dev` in the folder, and how to ask it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def ask(query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
        with _OPENER.open(request, timeout=120) as response:
            answer: dict[str, Any] = json.load(response)
        if answer.get("errors"):
            raise RuntimeError(answer["errors"])
        return dict(answer["data"])

    def is_up() -> list[Any] | None:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            return ask(_ASSETS)["assetNodes"] or None
        return None

    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)]
    with (folder / "dagster-dev.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(is_up, seconds=180)
        yield ask
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def over(ask: Ask, backfill: str) -> dict[str, Any] | None:
    """The backfill, when it has come to its end."""
    found: dict[str, Any] = ask(_BACKFILL, id=backfill)["partitionBackfillOrError"]
    return None if found["status"] in ("REQUESTED", "IN_PROGRESS") else found


def wait_for(look: Callable[[], _Found | None], seconds: float) -> _Found:
    """Look until there is something; raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(1)
    raise TimeoutError(f"nothing came within {seconds:.0f} s")


def busy_seconds() -> float:
    """CPU seconds that the machine has been busy since it started, without waiting for disks; Linux alone tells."""
    user, nice, system, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as markdown."""
    lines = ["| days | side | runs | partitions | wall s | CPU s | CPU s a day |", "|--:|---|--:|--:|--:|--:|--:|"]
    for row in rows:
        numbers = [row["days"], row["side"], row["runs"], row["partitions"], row["wall"], row["cpu"]]
        lines.append(f"| {' | '.join(map(str, numbers))} | {row['cpu'] / row['days']:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
