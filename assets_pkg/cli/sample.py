"""`generate`: sample days; `rules`: the table of reasons."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from assets_pkg.cli.console import USAGE, day_of, fail, out, workplace
from assets_pkg.contracts.feeds import FEEDS


def generate(
    start: Annotated[date, typer.Option(parser=day_of, metavar="YYYY-MM-DD", help="first ingest date")],
    end: Annotated[date, typer.Option(parser=day_of, metavar="YYYY-MM-DD", help="last ingest date")],
    events: Annotated[int, typer.Option(min=50, help="events a day, about")] = 2000,
    seed: Annotated[int, typer.Option(help="another seed, another shop")] = 1,
    into: Annotated[Path | None, typer.Option("--out", help="raw root; the pipeline's own by default")] = None,
    missing_hours: Annotated[
        list[str] | None, typer.Option(metavar="YYYY-MM-DD:FIRST-LAST", help="hours without events; may be repeated")
    ] = None,
) -> None:
    """Make sample days of a believable, messy shop."""
    from assets_pkg.sampledata import generate as generate_days  # noqa: PLC0415 - only this command needs it

    if end < start:
        fail(f"--end {end} is before --start {start}.", USAGE)
    root = into or workplace().raw_root
    gaps = dict(_gap(text) for text in missing_hours or [])
    try:
        made = generate_days(root, start, end, events, seed, gaps)
    except (FileExistsError, ValueError) as error:
        fail(str(error))
    table = Table("ingest date", "files", *FEEDS, "bytes")
    for each in made:
        counts = (f"{each.records[feed]:,}" for feed in FEEDS)
        table.add_row(str(each.day), str(len(each.files)), *counts, f"{each.bytes:,}")
    out.print(table)


def rules() -> None:
    """Print every reason and warning with its meaning, as Markdown (the README's table)."""
    from assets_pkg.contracts.summary import rules_table  # noqa: PLC0415

    typer.echo(rules_table(workplace().policy))


def _gap(text: str) -> tuple[date, range]:
    day, _, hours = text.partition(":")
    first, _, last = hours.partition("-")
    try:
        return date.fromisoformat(day), range(int(first), int(last or first) + 1)
    except ValueError:
        fail(f"--missing-hours {text!r}: write YYYY-MM-DD:FIRST-LAST, for example 2025-12-12:1-6.", USAGE)
