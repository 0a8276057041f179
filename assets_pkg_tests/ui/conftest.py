"""A real `dagster dev` over a copy of the project, as a person has it after the README's commands, and a browser."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from assets_pkg_tests.workbench import ROOT, free_port

CHROMIUM: Final = Path("/usr/bin/chromium")
WAIT_SECONDS: Final = 600.0  # machines are shared and slow: no wait is a stopwatch, and every wait ends
_GRACE_SECONDS: Final = 20.0
_T = TypeVar("_T")


def wait_for(
    what: str,
    look: Callable[[], _T | None],
    seconds: float = WAIT_SECONDS,
    every: float = 0.5,
    log: Path | None = None,
) -> _T:
    """Look until there is something other than None and False.

    When the time is over it fails with `what`, and with the end of `log`.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found is not None and found is not False:
            return found
        time.sleep(every)
    pytest.fail(f"waited {seconds:.0f} s for {what}" + (f"; the end of the log: {_tail(log)}" if log else ""))


def expect_drawn(page: Page, plots: int) -> None:
    """So many plots are there, and something is drawn in each."""
    canvases = page.locator("canvas")
    expect(canvases).to_have_count(plots)
    drawn = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(byte => byte)"
    page.wait_for_timeout(1500)  # lines grow into place
    assert all(plot.evaluate(drawn) for plot in canvases.all())


@dataclass(frozen=True)
class WebUi:
    """A running web UI with its daemon, the folder it was started in, and the environment it has."""

    folder: Path
    port: int
    environment: dict[str, str]

    @property
    def log(self) -> Path:
        """What its servers say."""
        return self.folder / "dagster-dev.log"

    def url(self, path: str) -> str:
        """The address of a page."""
        return f"http://127.0.0.1:{self.port}{path}"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The answer to a GraphQL query, as the pages ask them; an answer with errors raises."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.url("/graphql"), body, {"Content-Type": "application/json"})
        with _OPENER.open(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
        assert not answer.get("errors"), answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m assets_pkg` in the folder, beside the running UI."""
        return subprocess.run(
            [sys.executable, "-m", "assets_pkg", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )


_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback goes through no proxy


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, with the sample days and nothing run."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", "dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "data" / "raw", folder / "data" / "raw")
    return folder


@pytest.fixture(scope="module")
def set_by_hand() -> Mapping[str, str]:
    """What the environment says of the pipeline: nothing."""
    return {}


@pytest.fixture(scope="module")
def web_ui(project: Path, set_by_hand: Mapping[str, str]) -> Iterator[WebUi]:
    """`dagster dev` in the project."""
    folder, ours = project, ("PIPELINE_", "DAGSTER_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | set_by_hand
    ui = WebUi(folder, free_port(), environment)
    log = ui.log
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(ui.port)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its servers outlive it when it is killed: the whole group is ended below
        )
        try:
            wait_for("the web UI", lambda: _up(ui, process, log), log=log)
            yield ui
        finally:
            _end(process)


def _up(ui: WebUi, process: subprocess.Popen[bytes], log: Path) -> bool | None:
    if process.poll() is not None:
        pytest.fail(f"dagster dev ended with {process.returncode}:\n{_tail(log)}")
    with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
        return bool(ui.ask("{ version }")) or None
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the group to end, and then make sure that nothing of it is left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=_GRACE_SECONDS)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no Chromium at {CHROMIUM} (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browsing(browser: Browser) -> Iterator[BrowserContext]:
    """A browser's window, as large as a desk's."""
    context = browser.new_context(viewport={"width": 1800, "height": 900}, timezone_id="UTC", locale="en-US")
    context.set_default_timeout(WAIT_SECONDS * 1000)
    expect.set_options(timeout=WAIT_SECONDS * 1000)
    # Dagster's invitation to its community covers the first page a new browser opens.
    context.add_init_script("localStorage.setItem('communityNux', JSON.stringify('1'))")
    # From top to bottom, the graph is as wide as a screen; from left to right it is far higher.
    context.add_init_script("localStorage.setItem('asset-graph-direction', JSON.stringify('vertical'))")
    yield context
    context.close()


@pytest.fixture
def page(browsing: BrowserContext) -> Iterator[Page]:
    """A fresh page of a browser that sees loopback alone."""
    opened = browsing.new_page()
    opened.route("**/*", lambda route: route.continue_() if "//127.0.0.1:" in route.request.url else route.abort())
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where screenshots are kept: CI_ARTIFACTS, else a folder that git ignores."""
    folder = Path(os.environ.get("CI_ARTIFACTS") or ROOT / "ci-artifacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
