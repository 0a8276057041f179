"""`status`: which dates want something, and what mends them."""

from rich.table import Table

from assets_pkg.cli.console import escape, fail, say, wide, workplace
from assets_pkg.cli.instance import opened_instance
from assets_pkg.orchestration.health import HEALTH_COLUMNS, not_run_yet, unhealthy
from assets_pkg.storage.lake import LakeError
from assets_pkg.storage.ledger import LedgerError


def status() -> None:
    """Which dates of which assets failed, are missing, lost or stale, and what mends each. Nothing is changed."""
    work = workplace()
    from assets_pkg.definitions import defs  # noqa: PLC0415 - importing it reads what the line before says is wrong

    graph = defs.resolve_asset_graph()
    try:
        with opened_instance() as instance:
            rows = unhealthy(work, instance, (graph.get_check_spec(key) for key in graph.asset_check_keys))
        waiting = not_run_yet(work)
    except (LakeError, LedgerError) as error:
        fail(str(error))
    if rows:
        table = Table(*HEALTH_COLUMNS, title="What wants something", title_justify="left")
        for row in rows:
            table.add_row(*(escape(row[column]) for column in HEALTH_COLUMNS))
        wide().print(table, crop=False)
    else:
        say("Every partition is there and up to date.")
    for sentence in waiting:
        say(escape(sentence))
