"""`sessions`: one file of events into sessions, without a data folder."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from assets_pkg.cli.console import USAGE, err, escape, fail, number_table, out, say, workplace
from assets_pkg.contracts.event_file import FIELDS
from assets_pkg.policy import Policy, PolicyError, load_policy
from assets_pkg.steps.event_file import FileSummary, sessions_of_file
from assets_pkg.storage.records import UnreadableFileError
from assets_pkg.storage.whole_files import Format, UnwritableFileError

_GAP: Final = re.compile(r"(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_EXCERPT: Final = 60


def sessions(
    source: Annotated[Path, typer.Option("--input", help="a JSON array, JSON lines, JSON objects in a row, or CSV")],
    target: Annotated[Path, typer.Option("--out", help="where the sessions go")],
    skips: Annotated[
        Path | None, typer.Option("--skips_out", "--skips-out", help="where skipped events go, each with its reason")
    ] = None,
    gap: Annotated[
        str | None, typer.Option(help="so long a pause ends a session: 30m, 90s, 1h30m; without it, one row per user")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="of what is written")] = Format.CSV,
) -> None:
    """Turn one file of events (user_id, event_time, event_type) into sessions. Needs no data folder."""
    _all_differ({"--input": source, "--out": target, **({"--skips_out": skips} if skips else {})})
    policy = workplace().policy if gap is None else _policy_with(gap)
    try:
        summary = sessions_of_file(source, target, skips, policy, by_gap=gap is not None, form=form)
    except (UnreadableFileError, UnwritableFileError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error}. Nothing was written.")
    except KeyboardInterrupt:
        fail("Interrupted. Nothing was written.")
    _show(summary, skips)


def _all_differ(paths: dict[str, Path]) -> None:
    given = list(paths.items())
    for number, (option, path) in enumerate(given):
        for other, another in given[:number]:
            same = path.resolve() == another.resolve() or (
                path.exists() and another.exists() and path.samefile(another)
            )
            if same:
                fail(f"{other} and {option} are the same file, {path}. Give different ones.", USAGE)


def _policy_with(gap: str) -> Policy:
    """The policy in force with the gap as its session timeout."""
    parts = _GAP.fullmatch(gap)
    if parts is None or not gap:
        fail(f"--gap {gap!r} is no length of time; write it as 30m, 90s or 1h30m.", USAGE)
    hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    timeout = hours * 60 + minutes + seconds / 60
    try:
        return load_policy(workplace().settings.policy, {"activity": {"session_timeout_minutes": timeout}})
    except PolicyError as error:
        fail(f"--gap {gap!r} cannot be a session timeout: {error}", USAGE)


def _show(summary: FileSummary, skips: Path | None) -> None:
    for each in summary.broken:
        line = "" if each.line is None else f", line {each.line:,}"
        begin = " ".join(each.text[:_EXCERPT].split())
        say(f"[yellow]Skipped, {summary.fault}:[/] event {each.event:,}{line}: {escape(begin)}", err)
    if (more := summary.skipped[summary.fault] - len(summary.broken)) > 0:
        say(f"… and {more:,} more", err)
    table = number_table("What the file holds", ("what",), ("count",))
    counts = {
        "events in total": summary.total,
        "valid": summary.valid,
        "duplicates": summary.duplicates,
        "skipped": summary.skipped.total(),
        **{f"- {reason}": count for reason, count in sorted(summary.skipped.items())},
    }
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    table.add_section()
    table.add_row("users", f"{summary.users:,}")
    table.add_row("sessions", f"{summary.sessions:,}")
    out.print(table)
    if summary.skipped and skips is None:
        say("Give --skips_out to have the skipped events in a file, each with its reason.", err)
    if summary.total and not summary.valid:
        say(f"[yellow]No event counts.[/] Each needs {', '.join(FIELDS)}, by these names.", err)
