"""What all commands share: where they write, how they fail, how a day is written, which pipeline they work on."""

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final, NoReturn

import typer
from pydantic import ValidationError
from rich import markup
from rich.console import Console
from rich.table import Table

from assets_pkg.policy import PolicyError
from assets_pkg.settings import Settings
from assets_pkg.steps.workplace import Workplace

# Exit status.
FAILURE: Final = 1
USAGE: Final = 2
HIGH_ALERTS: Final = 3

INTERRUPTED: Final = "Interrupted. Tables hold what they held, or the new day; run the days again."

out = Console()
err = Console(stderr=True)


def day_of(text: str) -> date:
    """A day from the command line."""
    try:
        # Python also reads week dates, which nobody means.
        return date.fromisoformat(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else _no_day(text)
    except ValueError:
        _no_day(text)


def _no_day(text: str) -> NoReturn:
    raise typer.BadParameter(f"{text!r} is no date; write it as YYYY-MM-DD, for example 2025-12-10")


def workplace(policy: Path | None = None) -> Workplace:
    """Settings and policy, from the environment unless one is given, and what is under them."""
    try:
        settings = Settings() if policy is None else Settings(policy=policy)
        return Workplace.from_settings(settings, "command line")
    except PolicyError as error:
        fail(str(error))
    except ValidationError as error:
        faults = "; ".join(f"PIPELINE_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
        fail(f"The environment cannot be used: {faults}")


def wide() -> Console:
    """For tables: a narrow terminal wraps the lines; cutting paths and values short would hide what is asked for."""
    return Console(width=max(out.width, 160))


def number_table(title: str, names: Sequence[str], columns: Sequence[str]) -> Table:
    """A table without rows yet: columns that say what, then columns of numbers."""
    table = Table(*names, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def escape(text: str) -> str:
    """A text as it stands: no markup, and signs that a terminal would obey or hide are written out."""
    return markup.escape("".join(sign if sign.isprintable() or sign == "\n" else _written_out(sign) for sign in text))


def _written_out(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def say(sentence: str, to: Console = out) -> None:
    """Print a sentence with markup as it is: no colours guessed, no line broken that somebody may copy."""
    to.print(sentence, highlight=False, soft_wrap=True)


def fail(message: str, status: int = FAILURE) -> NoReturn:
    """Say what is wrong and end."""
    say(f"[bold red]Error:[/] {escape(message)}", err)
    raise typer.Exit(status)
