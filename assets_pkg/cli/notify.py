"""`notify`: tell people now what is new, or see whether they can be told at all."""

from typing import Annotated

import typer
from dagster import DagsterError
from sqlalchemy.exc import SQLAlchemyError

from assets_pkg.cli.console import FAILURE, err, escape, fail, say, workplace
from assets_pkg.cli.instance import opened_instance
from assets_pkg.orchestration.notifications import is_configured, tell_news
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.lake import LakeError
from assets_pkg.storage.ledger import LedgerError
from assets_pkg.storage.locks import LocksUnreachableError
from assets_pkg.storage.notifiers import notifiers_of, send_all
from assets_pkg.transforms.notices import TEST

_WAIT_SECONDS = 45  # longer than another process needs to send


def notify(
    *,
    test: Annotated[bool, typer.Option("--test", help="send a test message to each, and say how it went")] = False,
) -> None:
    """Tell the notifiers of PIPELINE_NOTIFY_URLS what is new, as every run does at its end."""
    work = workplace()
    if not is_configured(work.settings):
        fail("PIPELINE_NOTIFY_URLS names nobody to be told, for example mailtos://user:password@example.com")
    if not (_tested(work) if test else tell(work)):
        raise typer.Exit(FAILURE)


def _tested(work: Workplace) -> bool:
    notifiers = notifiers_of(work.settings.notify_urls)
    faults = send_all(notifiers, [TEST] * len(notifiers))
    for notifier, fault in zip(notifiers, faults, strict=True):
        if fault is None:
            say(f"[green]Works:[/] {escape(notifier.name)}")
        else:
            say(f"[bold red]Failed:[/] {escape(notifier.name)}: {escape(fault)}", err)
    return not any(faults)


def tell(work: Workplace) -> bool:
    """Tell what is new, if there is anybody to be told; whether nothing went wrong. It never ends the command."""
    if not is_configured(work.settings):
        return True
    try:
        with opened_instance() as instance:
            told = tell_news(work, instance, _WAIT_SECONDS)
    except (LakeError, LedgerError, LocksUnreachableError, DagsterError, SQLAlchemyError, OSError) as error:
        say(f"[yellow]Nobody was told of problems:[/] {escape(str(error))}", err)
        return False
    for sentence in told.sentences():
        say(escape(sentence), err)
    return not told.failed
