"""The runbook and the files in deploy/ name only what there is: checks, sensors, commands, options, settings, paths."""

import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from dagster._cli import create_dagster_cli
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_webserver.cli import dagster_webserver

from assets_pkg.cli import app
from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.definitions import build_definitions
from assets_pkg.settings import Settings
from assets_pkg_tests.workbench import ROOT, free_port

DEPLOY = ROOT / "deploy"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text(encoding="utf-8"))
FILES = sorted(
    path for path in DEPLOY.rglob("*") if path.is_file() and path.name not in {"environment", "postgres_password"}
)
INSTALLED = "/opt/shop-pipeline"
PYTHON = "python -m assets_pkg"
PROGRAMS: dict[str, Any] = {
    "dagster": create_dagster_cli(),
    "dagster-daemon": create_dagster_daemon_cli(),
    "dagster-webserver": dagster_webserver,
    PYTHON: typer.main.get_command(app),
}
DEFS = build_definitions(Settings(data_dir=Path("unused")))


def parsed(program: str, arguments: list[str]) -> list[str]:
    """The path of subcommands that a command line names. Raises what the program's own parser says of it."""
    command, path = PROGRAMS[program], [program]
    while True:
        context = command.make_context(path[-1], list(arguments))
        if not hasattr(command, "resolve_command"):
            return path
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None, f"{path} has no command {name}"
        path.append(name)


def program_in(words: list[str]) -> tuple[str, list[str]] | None:
    """The program among the words of a shell command, without what stands before it, and its arguments."""
    for number, word in enumerate(words):
        name = word.removeprefix(".venv/bin/")
        if name == "pipeline" and number > 0 and words[number - 1] == "shop-pipeline":
            return PYTHON, words[number + 1 :]
        if name == "python" and words[number + 1 : number + 3] == ["-m", "assets_pkg"]:
            return PYTHON, words[number + 3 :]
        if name in PROGRAMS:
            return name, words[number + 1 :]
    return None


def lines_of_runbook() -> Iterator[str]:
    for block in re.findall(r"^```bash\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()


COMMANDS = [line for line in lines_of_runbook() if program_in(shlex.split(line))]


def unit(path: Path) -> RawConfigParser:
    read = RawConfigParser(strict=True)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read(path, encoding="utf-8")
    return read


def started() -> Iterator[tuple[str, list[str]]]:
    """What units and containers start, and ask for their health."""
    for path in UNITS:
        yield path.name, shlex.split(unit(path)["Service"]["ExecStart"])
    for name, service in COMPOSE["services"].items():
        if "command" in service:
            yield name, service["command"]
            test = service["healthcheck"]["test"]
            assert test[0] == "CMD"
            if test[1] != "python":
                yield f"health of {name}", test[1:]


def test_the_runbook_says_what_each_check_means_and_no_other() -> None:
    table = RUNBOOK.partition("<!-- checks: begin -->")[2].partition("<!-- checks: end -->")[0]
    told: dict[tuple[str, str], bool] = {}
    for line in table.strip().splitlines()[2:]:
        check, on, stops, means, to_do = (cell.strip() for cell in line.strip("|").split("|"))
        assert means
        assert to_do
        for name in re.findall(r"`(.+?)`", on):
            for asset in {name.replace("<feed>", feed) for feed in FEEDS}:
                assert (asset, check.strip("`")) not in told
                told[asset, check.strip("`")] = {"yes": True, "no": False}[stops]
    graph = DEFS.resolve_asset_graph()
    there = {(key.asset_key.to_user_string(), key.name): graph.get(key).blocking for key in graph.asset_check_keys}
    assert told == there


def test_the_runbook_names_all_that_runs_by_itself() -> None:
    first = RUNBOOK.partition("## 1.")[2].partition("\n## 2.")[0]
    named = set(re.findall(r"^\| (?:schedule|sensor) `(\w+)`", first, re.MULTILINE))
    assert named == {each.name for each in (*(DEFS.schedules or ()), *(DEFS.sensors or ()))}


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_runbook_can_be_given(line: str) -> None:
    found = program_in(shlex.split(line))
    assert found is not None
    program, arguments = found
    parsed(program, [str(ROOT / word) if word.startswith("deploy/") else word for word in arguments])


def test_the_runbook_leads_to_sections_that_are_there() -> None:
    headings = re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) <= anchors
    for path in re.findall(r"\]\(\.\./([^)#]+)", RUNBOOK):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\bdeploy/[\w./-]*\w", RUNBOOK):
        assert path == "deploy/environment" or (ROOT / path).exists(), path


@pytest.mark.parametrize(("where", "words"), [*started()], ids=[name for name, _ in started()])
def test_what_is_started_is_a_command_with_options_that_there_are(where: str, words: list[str]) -> None:
    program, *arguments = words
    if where in {path.name for path in UNITS}:
        assert program.startswith(f"{INSTALLED}/.venv/bin/")
    if arguments[:2] == ["-m", "http.server"]:  # tried below
        return
    parsed(Path(program).name, [word.replace(INSTALLED, str(ROOT)) for word in arguments])
    for word in arguments:
        if "deploy/" in word:
            assert (ROOT / word.removeprefix(f"{INSTALLED}/")).is_file(), word
    if "start" in arguments:
        given = dict(pairwise(arguments))
        ((local,), (served,)) = (yaml.safe_load(path.read_text())["load_from"] for path in WORKSPACES)
        module = local["python_module"]
        assert (given["-m"], given["-a"]) == (module["module_name"], module["attribute"])
        assert given["--location-name"] == module["location_name"] == served["grpc_server"]["location_name"]
        assert given["--socket"] == served["grpc_server"]["socket"]


WORKSPACES = (ROOT / "workspace.yaml", DEPLOY / "workspace.yaml")


def test_units_and_containers_start_the_same() -> None:
    def bare(words: list[str]) -> list[str]:
        words = [word.removeprefix(f"{INSTALLED}/").removeprefix(".venv/bin/") for word in words]
        return ["127.0.0.1" if word == "0.0.0.0" else word for word in words]  # published on loopback alone

    all_started = dict(started())
    names = {"code": "code", "web": "webserver", "daemon": "daemon", "reports": "reports"}
    for of_unit, of_container in names.items():
        assert bare(all_started[f"shop-pipeline-{of_unit}.service"]) == bare(all_started[of_container])


def test_day_reports_are_served_as_the_unit_says(tmp_path: Path) -> None:
    (words,) = (words for name, words in started() if name == "shop-pipeline-reports.service")
    report = tmp_path / "ingest_date=2025-12-10" / "report.html"
    report.parent.mkdir()
    report.write_text("a report")
    port = str(free_port())
    folder = words[words.index("--directory") + 1]
    given = [{"3080": port, folder: str(tmp_path)}.get(word, word) for word in words[1:]]
    server = subprocess.Popen([sys.executable, *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def served() -> bytes:
        for _ in range(100):
            with (
                suppress(urllib.error.URLError),
                opener.open(f"http://127.0.0.1:{port}/{report.parent.name}/report.html") as page,
            ):
                return bytes(page.read())
            time.sleep(0.2)
        return b""

    try:
        assert served() == b"a report"
    finally:
        server.terminate()
        server.wait()


def test_the_outside_reaches_loopback_alone() -> None:
    bound = {name: words for name, words in started() if name.endswith(".service")}
    assert bound["shop-pipeline-web.service"][2] == bound["shop-pipeline-reports.service"][5] == "127.0.0.1"
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_units_give_nothing_away() -> None:
    for path in UNITS:
        service = unit(path)["Service"]
        assert service["User"] == "shop-pipeline"
        assert (service["NoNewPrivileges"], service["ProtectSystem"], service["UMask"]) == ("yes", "strict", "0027")
        # Secrets of ours for one alone; that of Dagster's own storage, if it has any, for those that open it.
        asked = {"shop-pipeline-code": "/etc/shop-pipeline/environment", "shop-pipeline-reports": None}
        assert service.get("EnvironmentFile") == asked.get(path.stem, "-/etc/shop-pipeline/storage")


def test_every_variable_is_a_setting() -> None:
    settings = {f"PIPELINE_{name.upper()}" for name in Settings.model_fields}
    for text in (RUNBOOK, *(path.read_text(encoding="utf-8") for path in FILES)):
        assert set(re.findall(r"\bPIPELINE_[A-Z_]+[A-Z]\b", text)) <= settings


def test_the_example_of_an_environment_can_be_used_by_shells_and_by_us() -> None:
    example = (DEPLOY / "environment.example").read_text(encoding="utf-8")
    everything = re.sub(r"^#(?=[A-Z]+_[A-Z_]+=)", "", example, flags=re.MULTILINE)
    shell = ["sh", "-euc", 'set -a; . "$0"; env', "/dev/stdin"]
    told = subprocess.run(
        shell, input=everything, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
    )
    read = dict(line.split("=", 1) for line in told.stdout.splitlines() if line.startswith(("PIPELINE_", "DAGSTER_")))
    assert len(read) == len(re.findall(r"^[A-Z]", everything, re.MULTILINE))
    given = {name.removeprefix("PIPELINE_").lower(): value for name, value in read.items() if name != "DAGSTER_HOME"}
    settings = Settings.model_validate(given)
    assert settings.automatic
    assert settings.notify_severities == {"high", "medium"}
    home = Path(read["DAGSTER_HOME"]).parent
    assert {settings.data_dir.parent, settings.reports_dir.parent} == {home}
    for path in UNITS:
        written = unit(path)["Service"].get("StateDirectory")
        assert path.stem == "shop-pipeline-reports" if written is None else f"/var/lib/{written}" == str(home)


def test_the_instance_of_a_deployment_is_the_projects_without_its_paths() -> None:
    own, deployed = (yaml.safe_load((folder / "dagster.yaml").read_text(encoding="utf-8")) for folder in (ROOT, DEPLOY))
    assert deployed.pop("storage") == {
        "custom": own["storage"]["custom"] | {"config": {"base_dir": {"env": "DAGSTER_HOME"}}}
    }
    paths = {"storage", "local_artifact_storage", "compute_logs"}
    assert deployed == {name: value for name, value in own.items() if name not in paths}


def test_the_image_holds_what_the_project_is_installed_from() -> None:
    text = (DEPLOY / "container" / "Containerfile").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    images = re.findall(r"^FROM (\S+)$", text, re.MULTILINE)
    images += [service["image"] for service in COMPOSE["services"].values()]
    assert not [image for image in images if "/" in image], "no registry's name"
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            if volume.startswith("${SHOP_RAW_DIR:?"):  # without it nothing starts: there is no default for production
                continue
            source = volume.split(":")[0]
            there = (DEPLOY / "container" / source).exists() if "/" in source else source in COMPOSE["volumes"]
            assert there, volume


def test_the_command_of_a_deployment_is_a_sound_script() -> None:
    script = DEPLOY / "systemd" / "pipeline"
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert os.access(script, os.X_OK)
    assert f'cd {INSTALLED}\nexec .venv/bin/python -m assets_pkg "$@"' in script.read_text(encoding="utf-8")
