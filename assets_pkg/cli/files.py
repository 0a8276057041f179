"""`ledger`: what became of raw files; `forget`: remove a vanished one; `explain`: a record's life."""

import json
import sys
from dataclasses import asdict, fields
from datetime import date
from enum import StrEnum
from typing import Annotated, Any

import polars as pl
import typer
from rich.table import Table

from assets_pkg.cli.console import FAILURE, USAGE, day_of, err, escape, fail, out, say, wide, workplace
from assets_pkg.cli.instance import process
from assets_pkg.cli.run import show_tables
from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.files import STATUSES
from assets_pkg.steps.explain import RecordLife, customer_story, find_by_address, find_by_id
from assets_pkg.steps.files import Difference, FileLife, differences, file_lives, is_in_folder
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.lake import LakeError
from assets_pkg.storage.ledger import LedgerError, is_there

Status = StrEnum("Status", {name: name for name in STATUSES})  # type: ignore[misc]
FeedName = StrEnum("FeedName", {name: name for name in FEEDS})  # type: ignore[misc]


class Format(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def ledger(
    day: Annotated[
        date | None, typer.Option("--date", parser=day_of, metavar="YYYY-MM-DD", help="one ingest date")
    ] = None,
    status: Annotated[Status | None, typer.Option(case_sensitive=False, help="only files in this state")] = None,
    feed: Annotated[FeedName | None, typer.Option(case_sensitive=False, help="only files of this feed")] = None,
    form: Annotated[Format, typer.Option("--format", help="how to print it")] = Format.TABLE,
    *,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="hash all files and tell those that are not as the ledger says; exit 1 then"),
    ] = False,
) -> None:
    """Show the raw files: what became of each, and where its rows went."""
    work = _processed()
    chosen = [FEEDS[feed]] if feed else list(FEEDS.values())
    if verify and (status is not None or form != Format.TABLE):
        fail("--verify takes --date and --feed; --status and --format are for the list.", USAGE)
    try:
        if verify:
            _verify(list(differences(work, day, chosen)))
            return
        lives = file_lives(work, FEEDS[feed] if feed else None, day, status)
    except LedgerError as error:
        fail(str(error))
    if form == Format.CSV:
        columns = [each.name for each in fields(FileLife)]
        sys.stdout.write(pl.DataFrame(_plain(lives), columns, infer_schema_length=None).write_csv())
    elif form == Format.JSON:
        sys.stdout.write(json.dumps(_plain(lives), indent=2, ensure_ascii=False) + "\n")
    elif lives:
        wide().print(_table(lives), crop=False)
    else:
        out.print("The ledger holds no such file.")


def _plain(lives: list[FileLife]) -> list[dict[str, Any]]:
    return [
        {
            name: value if isinstance(value, int | str | None) else value.isoformat()
            for name, value in asdict(each).items()
        }
        for each in lives
    ]


def _table(lives: list[FileLife]) -> Table:
    table = Table(title=f"Raw files: {len(lives):,}", title_justify="left")
    table.add_column("file", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for name in ("records", "clean", "rejected", "same id", "copies", "bytes", "tries"):
        table.add_column(name, justify="right")
    table.add_column("run")
    table.add_column("note")
    for each in lives:
        colour = {"FAILED": "bold red", "PENDING": "yellow", "PROCESSING": "yellow", "SKIPPED": "dim"}
        counts = (
            each.records,
            each.clean,
            each.rejected,
            each.id_duplicates,
            each.full_row_duplicates,
            each.bytes,
            each.attempts,
        )
        numbers = ("-" if count is None else f"{count:,}" for count in counts)
        run = (each.run or "")[:8]
        table.add_row(
            escape(each.path), each.status, *numbers, run, escape(each.note), style=colour.get(each.status, "")
        )
    return table


def _verify(found: list[Difference]) -> None:
    for each in found:
        say(f"{escape(each.path)} {escape(each.problem)}")
    wrong = sum(each.mended_by_run for each in found)
    if wrong:
        err.print(f"{wrong:,} raw files are not as the ledger says; run their days.")
        raise typer.Exit(FAILURE)
    out.print("Every raw file has the bytes that the ledger says.")


def forget(
    file: Annotated[str, typer.Option(help="path as in the ledger, for example ingest_date=2025-12-10/events_raw.csv")],
) -> None:
    """Remove the rows of a raw file that is no longer in the raw folder, and run its day again."""
    work = _processed()
    path = _as_in_ledger(file, work)
    try:
        entry = next((each for each in work.ledger.entries(path=path)), None)
        if entry is None:
            fail(f"The ledger does not know {path}. `python -m assets_pkg ledger` lists the files it knows.")
        day = entry["ingest_date"]
        if is_in_folder(work, day, path):
            fail(
                f"{path} is still in the raw folder: the next run would read it again. Take it out of "
                f"{work.raw_root} first, then forget it."
            )
        work.ledger.request_forgetting(path)
    except LedgerError as error:
        fail(str(error))
    done = process([day], work)
    if not done.succeeded:
        fail(f"The run failed. {path} is marked, and goes with the next run of {day}.")
    show_tables(done, work)
    say(f"Forgotten: {path} ({entry['record_count'] or 0:,} records).")


def explain(
    event_id: Annotated[str | None, typer.Option(help="an event")] = None,
    order_id: Annotated[str | None, typer.Option(help="an order")] = None,
    customer_id: Annotated[str | None, typer.Option(help="a customer")] = None,
    file: Annotated[str | None, typer.Option(help="a raw file, with --row")] = None,
    row: Annotated[int | None, typer.Option(min=1, help="the record's number in the file, from 1")] = None,
) -> None:
    """Tell a record's life: its file and row, what became of it, and why."""
    given = {"event_id": event_id, "order_id": order_id, "customer_id": customer_id, "file": file}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1 or (file is None) != (row is None):
        fail("Give one of --event-id, --order-id, --customer-id, or --file with --row.", USAGE)
    work = _processed()
    try:
        if file is not None and row is not None:
            _explain_address(work, _as_in_ledger(file, work), row)
            return
        ((column, value),) = named.items()
        lives, count = find_by_id(work, column, value)
        story = customer_story(work, value.strip()) if column == "customer_id" and not lives else ()
    except (LedgerError, LakeError) as error:
        fail(str(error))
    if len(story) > 1:
        say(escape(f"No customers row names {value}."))
        for sentence in story:
            say(f"  {escape(sentence)}")
        return
    if not lives:
        fail(f"No raw row has {column} {value!r}. Was its day run? `python -m assets_pkg ledger` lists the files.")
    for each in lives:
        _show(each)
    if count > len(lives):
        out.print(f"… and {count - len(lives):,} rows more.")


def _explain_address(work: Workplace, path: str, row: int) -> None:
    try:
        life, said = find_by_address(work, path, row)
    except KeyError:
        fail(f"The ledger does not know {path}. `python -m assets_pkg ledger` lists the files it knows.")
    for sentence in said:
        say(escape(sentence))
    if life is None:
        raise typer.Exit(FAILURE)
    _show(life)


def _show(life: RecordLife) -> None:
    say(
        f"[bold]{escape(life.source_file)}[/] row [bold]{life.source_row:,}[/] ({life.feed} of {life.day}): "
        f"[bold]{life.fate}[/]"
    )
    for sentence in life.story:
        say(f"  {escape(sentence)}")
    columns = {**dict.fromkeys(life.raw), **dict.fromkeys(life.clean)}
    table = Table(box=None, padding=(0, 2))
    for name in ("column", "raw", "clean"):
        table.add_column(name, overflow="fold")
    for name in columns:
        clean = life.clean.get(name)
        table.add_row(escape(name), escape(life.raw.get(name) or ""), "" if clean is None else escape(str(clean)))
    wide().print(table, crop=False)


def _processed() -> Workplace:
    """The workplace, if anything was ever processed there."""
    work = workplace()
    if not is_there(work.settings.ledger):
        fail(f"There is no ledger at {work.settings.ledger}: no day was run yet, or PIPELINE_DATA_DIR is another's.")
    return work


def _as_in_ledger(file: str, work: Workplace) -> str:
    """A path as people type it, as the ledger has it: relative to the raw root."""
    for prefix in (f"{work.raw_root.resolve().as_posix()}/", f"{work.raw_root.as_posix()}/"):
        file = file.removeprefix(prefix)
    return file
