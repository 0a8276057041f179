"""The command line: the same assets, storage and instance as the web UI, from a terminal.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 done with alerts of severity high under --fail-on-alert.
"""

import typer

from assets_pkg.cli.explore import explore
from assets_pkg.cli.files import explain, forget, ledger
from assets_pkg.cli.maintain import maintain
from assets_pkg.cli.notify import notify
from assets_pkg.cli.policy import policy
from assets_pkg.cli.run import run
from assets_pkg.cli.sample import generate, rules
from assets_pkg.cli.sessions import sessions
from assets_pkg.cli.status import status

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for command in (run, status, ledger, forget, explain, notify, maintain, generate, rules, sessions, explore):
    app.command()(command)
app.add_typer(policy, name="policy")
