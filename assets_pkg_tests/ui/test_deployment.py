"""The deployment of `deploy/`, as its units start it: four servers, everything in PostgreSQL, and days that come.

What systemd would do is done by hand: each unit's command, working directory and environment, and SIGTERM at its end.
Paths of a server are those of a temporary folder here, and its ports free ones.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
import yaml
from playwright.sync_api import Page, expect
from sqlalchemy import create_engine, text

from assets_pkg.contracts.tables import ACTIVITY_ALERTS, EVENTS_BY_DATE
from assets_pkg.policy.columns import INGEST_DATE
from assets_pkg.storage.lake import Lake
from assets_pkg_tests.orchestration.test_runbook_and_deployment import COMPOSE, DEPLOY, UNITS, unit
from assets_pkg_tests.ui.conftest import WAIT_SECONDS, WebUi, wait_for
from assets_pkg_tests.workbench import ROOT, days_from, free_port

# Not with the other browser tests, which take as long as CI has: `pytest -m slow`.
pytestmark = pytest.mark.slow

FIRST, SECOND = days_from(date(2025, 12, 10), 2)
STOP_SECONDS: Final = 60  # TimeoutStopSec of the code server
BINARIES: Final = Path(sys.executable).parent


class Server:
    """A machine on which the deployment is installed, with PostgreSQL databases for the ledger and for Dagster."""

    def __init__(self, place: Path, ledger_url: str, dagster_url: str) -> None:
        self.place = place
        self.state, self.etc, self.opt, self.run = (place / name for name in ("state", "etc", "opt", "run"))
        for folder in (self.state / "data" / "raw", self.state / "dagster", self.etc, self.opt, self.run):
            folder.mkdir(parents=True)
        self.ports = {"3000": str(free_port()), "3080": str(free_port())}
        self.ledger_url, self.dagster_url = ledger_url, dagster_url
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._install()

    def _install(self) -> None:
        shutil.copytree(DEPLOY, self.opt / "deploy", ignore=shutil.ignore_patterns("environment", "postgres_password"))
        for path in (self.opt / "deploy").rglob("*"):
            if path.is_file():
                path.write_text(self.here(path.read_text(encoding="utf-8")), encoding="utf-8")
        (self.opt / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
        example = (self.opt / "deploy" / "environment.example").read_text(encoding="utf-8")
        said = {"PIPELINE_LEDGER_URL": self.ledger_url, "PIPELINE_REPORTS_URL": self.address("3080")}
        for name, value in said.items():
            example = re.sub(rf"^#?{name}=.*$", lambda _, line=f"{name}='{value}'": line, example, flags=re.MULTILINE)
        (self.etc / "environment").write_text(f"{example}\nDAGSTER_POSTGRES_URL='{self.dagster_url}'\n")
        (self.etc / "storage").write_text(f"DAGSTER_POSTGRES_URL='{self.dagster_url}'\n")
        # As its own comment says for PostgreSQL.
        instance = (self.opt / "deploy" / "dagster.yaml").read_text(encoding="utf-8")
        ((told, of_folder),) = re.findall(
            r"^((?:# +\S.*\n)*?# storage:\n(?:#  .*\n)+)(storage:\n(?:  .*\n)+)", instance, re.MULTILINE
        )
        for_postgres = re.sub(r"^# ?", "", told[told.index("# storage:") :], flags=re.MULTILINE)
        (self.state / "dagster" / "dagster.yaml").write_text(instance.replace(of_folder, for_postgres))

    def here(self, words: str) -> str:
        """With the places of this machine for those of a server."""
        places = {
            "/opt/shop-pipeline/.venv/bin/": f"{BINARIES}/",
            "exec .venv/bin/": f"exec {BINARIES}/",
            "/opt/shop-pipeline": str(self.opt),
            "/etc/shop-pipeline": str(self.etc),
            "/var/lib/shop-pipeline": str(self.state),
            "/run/shop-pipeline": str(self.run),
        }
        for there, here in places.items():
            words = words.replace(there, here)
        return words

    def address(self, port: str) -> str:
        """Where browsers find what listens on a port of the units."""
        return f"http://127.0.0.1:{self.ports[port]}"

    @property
    def web(self) -> WebUi:
        """The web UI."""
        return WebUi(self.place, int(self.ports["3000"]), {})

    def log(self, name: str) -> Path:
        """What a unit says."""
        return self.place / f"{name}.log"

    def environment(self, service: Mapping[str, str]) -> dict[str, str]:
        """What systemd gives a unit: its own words, nothing of whoever starts the tests."""
        found = {"PATH": f"{BINARIES}:/usr/bin:/bin", "HOME": str(self.state), "LANG": "C.UTF-8"}
        if "PYTHONPATH" in os.environ:
            found["PYTHONPATH"] = os.environ["PYTHONPATH"]
        lines = [service.get("Environment", "")]
        if "EnvironmentFile" in service:
            lines += Path(self.here(service["EnvironmentFile"].removeprefix("-"))).read_text().splitlines()
        for line in lines:
            if line and not line.startswith("#"):
                name, _, value = self.here(line).partition("=")
                found[name] = value.strip("'")
        return found

    def start(self, *names: str) -> None:
        """Start units."""
        for name in names:
            service = unit(DEPLOY / "systemd" / f"shop-pipeline-{name}.service")["Service"]
            words = [self.ports.get(word, word) for word in shlex.split(self.here(service["ExecStart"]))]
            with self.log(name).open("ab") as out:
                self.processes[name] = subprocess.Popen(
                    words,
                    cwd=self.here(service["WorkingDirectory"]),
                    env=self.environment(service),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    def stop(self, *names: str) -> dict[str, int | None]:
        """Stop units as systemd does; how each ended, None for one that had to be killed."""
        ended: dict[str, int | None] = {}
        for name in names:
            self.processes[name].terminate()
        for name in names:
            process = self.processes.pop(name)
            with suppress(subprocess.TimeoutExpired):
                ended[name] = process.wait(timeout=STOP_SECONDS)
            ended.setdefault(name, None)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=STOP_SECONDS)
        return ended

    def raw_files_come(self, day: date) -> None:
        """A sample day's, whole."""
        name = f"ingest_date={day}"
        shutil.copytree(ROOT / "data" / "raw" / name, self.state / "data" / "raw" / name)

    def asked(self, *words: str, of: str = "daemon") -> subprocess.CompletedProcess[str]:
        """What a command says that is given in the environment of a unit."""
        service = unit(DEPLOY / "systemd" / f"shop-pipeline-{of}.service")["Service"]
        command = [self.here(word) for word in words]
        command[0] = str(BINARIES / command[0]) if "/" not in command[0] else command[0]
        return subprocess.run(
            command,
            cwd=self.opt,
            env=self.environment(service) | {"COLUMNS": "250"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def server(postgres: str) -> Iterator[Server]:
    """A new one, whose units run."""
    names = [f"{name}_{os.getpid()}_{time.monotonic_ns()}" for name in ("pipeline", "dagster")]
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in names:
            connection.execute(text(f"CREATE DATABASE {name}"))
    ledger, dagster = (engine.url.set(database=name) for name in names)
    urls = ledger, dagster.set(drivername="postgresql+psycopg2")
    engine.dispose()
    # A short path, as the name of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="shop") as place:
        made = Server(Path(place), *(url.render_as_string(hide_password=False) for url in urls))
        try:
            made.start("code", "web", "daemon", "reports")
            wait_for("the web UI", lambda: _is_up(made), log=made.log("web"))
            yield made
        finally:
            made.stop(*made.processes)


def _is_up(server: Server) -> bool:
    for name, process in server.processes.items():
        if process.poll() is not None:
            pytest.fail(f"{name} ended with {process.returncode}:\n{server.log(name).read_text()[-3000:]}")
    with suppress(OSError):
        return bool(server.web.ask("{ version }"))
    return False


RUNS: Final = """{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }"""


def runs(server: Server) -> list[dict[str, Any]]:
    """All runs, with their tags by name."""
    found = server.web.ask(RUNS)["runsOrError"]["results"]
    return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]


def wait_for_day(server: Server, day: date) -> list[dict[str, Any]]:
    """Wait until a day came through to the tables by event date and no run goes on any more; gives all runs.

    Each has succeeded.
    """
    lake = Lake(server.state / "data" / "lake")

    def look() -> list[dict[str, Any]] | None:
        there = runs(server)
        assert not [run for run in there if run["status"] in {"FAILURE", "CANCELED"}], server.log("code").read_text()[
            -3000:
        ]
        events = lake.scan(EVENTS_BY_DATE.name, [day]).filter(pl.col(INGEST_DATE) == day)
        is_there = not events.head(1).collect().is_empty() and day in lake.partitions(ACTIVITY_ALERTS.name)
        return there if is_there and {run["status"] for run in there} == {"SUCCESS"} else None

    # A tick to see the files, one to see that they grow no more, the run, a tick for the refresh, its run.
    return wait_for(str(day), look, seconds=2 * WAIT_SECONDS, every=2, log=server.log("daemon"))


def test_a_day_that_comes_is_processed_without_a_hand(server: Server) -> None:
    server.raw_files_come(FIRST)
    assert any(run["tags"].get("dagster/sensor_name") for run in wait_for_day(server, FIRST))


def test_runs_and_ledger_are_in_postgresql(server: Server) -> None:
    counts = {server.dagster_url: "runs", server.ledger_url: "file_ledger"}
    for url, table in counts.items():
        engine = create_engine(url)
        with engine.connect() as connection:
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) > 0
        engine.dispose()
    assert not list(server.state.rglob("*.db"))


def test_health_is_told_as_the_containers_ask_for_it(server: Server) -> None:
    asked = [service["healthcheck"]["test"][1:] for service in COMPOSE["services"].values() if "healthcheck" in service]
    asked = [words for words in asked if words[0].startswith("dagster")]
    assert len(asked) == 2
    for words in asked:
        told = server.asked(*words)
        assert told.returncode == 0, (words, told.stdout, told.stderr)
    dead = server.asked(*(word.replace("code.sock", "none.sock") for word in asked[0]))
    assert dead.returncode != 0


def test_the_command_of_the_deployment_sees_the_same(server: Server) -> None:
    command = server.opt / "deploy" / "systemd" / "pipeline"
    told = server.asked("/bin/sh", str(command), "ledger", of="reports")
    assert told.returncode == 0, told.stderr
    assert re.search(rf"ingest_date={FIRST}/customers_raw\.csv +│ SUCCESS ", told.stdout)


def test_only_the_code_server_knows_our_secrets(server: Server) -> None:
    def knows(name: str) -> set[str]:
        told = Path(f"/proc/{server.processes[name].pid}/environ").read_bytes().decode().split("\0")
        return {line.partition("=")[0] for line in told if line.startswith(("PIPELINE_", "DAGSTER_POSTGRES"))}

    assert "PIPELINE_LEDGER_URL" in knows("code")
    assert knows("web") == knows("daemon") == {"DAGSTER_POSTGRES_URL"}
    assert knows("reports") == set()


def test_the_days_report_opens_where_its_link_leads(server: Server, page: Page) -> None:
    page.goto(f"{server.address('3080')}/ingest_date={FIRST}/report.html")
    expect(page.locator("h1")).to_contain_text(str(FIRST))
    query = "query ($path: [String!]!) { assetNodeOrError(assetKey: {path: $path}) { ... on AssetNode {\n"
    query += "assetMaterializations(limit: 1) { metadataEntries { label ... on UrlMetadataEntry { url } } } } } }"
    (made,) = server.web.ask(query, path=["day_report"])["assetNodeOrError"]["assetMaterializations"]
    urls = [entry["url"] for entry in made["metadataEntries"] if entry.get("url")]
    assert urls == [page.url]


def test_after_a_restart_the_next_day_comes_and_runs_of_before_are_there(server: Server, page: Page) -> None:
    before = {run["runId"] for run in runs(server)}
    ended = server.stop("web", "daemon", "code", "reports")
    assert None not in ended.values(), "each ends by itself within the time that its unit gives it"
    server.raw_files_come(SECOND)
    server.start("daemon", "web", "code", "reports")  # in no order: each waits for what it needs
    wait_for("the web UI", lambda: _is_up(server), log=server.log("web"))
    after = wait_for_day(server, SECOND)
    assert before < {run["runId"] for run in after}
    page.goto(server.web.url("/runs"))
    expect(page.get_by_text(after[0]["runId"][:8]).first).to_be_visible()


def test_units_are_sound_to_systemd(server: Server, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze (Debian: apt-get install systemd)")
    units = []
    for path in UNITS:
        units.append(tmp_path / path.name)
        units[-1].write_text(server.here(path.read_text(encoding="utf-8")), encoding="utf-8")
    told = subprocess.run(
        [program, "verify", "--man=no", *map(str, units)], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")


def test_the_instance_that_containers_mount_is_the_one_that_is_tried(server: Server) -> None:
    """But for its storage, which is the one that its comment shows."""
    mounted = [volume for volume in COMPOSE["services"]["code"]["volumes"] if "dagster.yaml" in volume]
    assert len(mounted) == 1
    tried = yaml.safe_load((server.state / "dagster" / "dagster.yaml").read_text())
    given = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    assert {name: value for name, value in tried.items() if name != "storage"} == {
        name: value for name, value in given.items() if name != "storage"
    }
    assert tried["storage"] == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
