"""`python -m assets_pkg`."""

import sys

try:
    from assets_pkg.cli import app

    app(prog_name="python -m assets_pkg")
except KeyboardInterrupt:
    sys.stderr.write("Interrupted. Tables hold what they held, or the new day; run the days again.\n")
    sys.exit(1)
