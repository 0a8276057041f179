"""`explore`: pages to look at tables and at a single file, in a browser."""

import os
import sys
from importlib.resources import files
from importlib.util import find_spec
from typing import Annotated

import typer

from assets_pkg.cli.console import fail, workplace


def explore(
    port: Annotated[int, typer.Option(min=1, max=65535, help="of the pages")] = 8501,
    host: Annotated[
        str, typer.Option(help="the address to listen on; the pages ask nobody who they are, so keep it to yourself")
    ] = "127.0.0.1",
    upload_mib: Annotated[int, typer.Option("--upload-mib", min=1, help="the largest file that can be uploaded")] = 200,
) -> None:
    """Look at the lake's tables, or at one file of events, in a browser. Nothing is written."""
    if find_spec("streamlit") is None:
        fail("The explorer is not installed. Install it: .venv/bin/pip install -c constraints.txt -e '.[explorer]'")
    workplace()  # what is wrong with the settings is said here, not on every page
    options = {
        "server.address": host,
        "server.port": port,
        "server.headless": True,  # no browser is opened, nobody is asked for an address
        "server.maxUploadSize": upload_mib,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.disableDataExport": True,  # of the rows shown alone: the pages offer all of them
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        # Given for each, or the page would not follow the browser's choice of light or dark.
        "theme.light.primaryColor": "#0b63b5",
        "theme.dark.primaryColor": "#6cb2f7",
    }
    given = [part for name, value in options.items() for part in (f"--{name}", str(value).lower())]
    script = str(files("assets_pkg.explorer").joinpath("app.py"))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", script, *given])  # noqa: S606 - it is us
