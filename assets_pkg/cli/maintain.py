"""`maintain`: upkeep of all tables, now."""

from typing import Annotated

import typer
from rich.filesize import decimal

from assets_pkg.cli.console import FAILURE, err, escape, number_table, say, wide, workplace
from assets_pkg.steps.maintenance import maintain as maintain_all


def maintain(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="look at what would go; remove and write nothing")] = False,
) -> None:
    """Remove what is old or was left by killed runs, compact small files and logs. Beside whatever else runs."""
    done = maintain_all(workplace(), dry_run=dry_run)
    title = "What maintenance would do" if dry_run else "Maintained"
    table = number_table(title, ("table",), list(done.total))
    for name, numbers in (*((each.table, each.numbers()) for each in done.tables), ("total", done.total)):
        if name == "total":
            table.add_section()
        shown = (decimal(number) if "bytes" in column else f"{number:,}" for column, number in numbers.items())
        table.add_row(name, *shown)
    wide().print(table, crop=False)
    for name, number in done.others.items():
        if number:
            say(f"{number:,} {name} {'would go' if dry_run else 'removed'}.")
    for problem in done.problems:
        say(f"[bold red]Not maintained:[/] {escape(problem)}", err)
    if done.problems:
        raise typer.Exit(FAILURE)
