"""`python -m assets_pkg`."""

from assets_pkg.cli import app

app(prog_name="python -m assets_pkg")
