"""`policy preview`: what the policy in force would do to a day that was processed under another."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from assets_pkg.cli.console import day_of, escape, fail, number_table, out, say, workplace
from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.orchestration.partitions import run_command

policy = typer.Typer(no_args_is_help=True, help="Look at the policy before it decides.")


@policy.command()
def preview(
    day: Annotated[date, typer.Option("--date", parser=day_of, metavar="YYYY-MM-DD", help="a processed ingest date")],
    file: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="the policy to look at; that in force by default")
    ] = None,
) -> None:
    """Count the rows that would move between clean and quarantine, by reason. Nothing is written."""
    from assets_pkg.steps.preview import preview_policy  # noqa: PLC0415 - imports what only this command needs

    work = workplace(file)
    source = work.settings.policy or "the default policy"
    processed = [feed for feed in FEEDS.values() if work.lake.version(feed.quarantine, day) is not None]
    if not processed:
        fail(f"{day} was not processed yet: there is nothing to compare with. Run it first.")
    columns = ("clean", "quarantine", "would be rejected", "would be clean")
    table = number_table(f"{day} under {escape(str(source))}", ("feed",), columns)
    changes = number_table("What changes", ("feed", "reason or warning"), ("rows now", "rows then"))
    unread: list[str] = []
    for feed in processed:
        found = preview_policy(work, feed, day)
        numbers = (found.clean, found.quarantine, found.to_quarantine, found.to_clean)
        table.add_row(found.feed, *(f"{number:,}" for number in numbers))
        unread += found.unread
        for change in found.changes:
            changes.add_row(found.feed, f"{change.kind} {change.name}", f"{change.before:,}", f"{change.after:,}")
    out.print(table)
    if changes.row_count:
        out.print(changes)
    if unread:
        say(
            f"[yellow]Not previewed:[/] {escape(', '.join(unread))} would be read again, by other names of columns "
            "or other limits, and their rows judged by what is read then."
        )
    if changes.row_count or unread:
        say(f"Nothing was written. With that policy in force, `{run_command(day, day)}` applies it.")
    else:
        say("No row would move. What follows for sessions is not previewed.")
