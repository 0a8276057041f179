"""`python -m assets_pkg`."""

import gc
import sys

try:
    gc.disable()  # what is imported stays: to look for garbage in it takes a sixth of the start
    from assets_pkg.cli import app

    gc.freeze()
    gc.enable()
    app(prog_name="python -m assets_pkg")
except KeyboardInterrupt:
    sys.stderr.write("Interrupted. Tables hold what they held, or the new day; run the days again.\n")
    sys.exit(1)
