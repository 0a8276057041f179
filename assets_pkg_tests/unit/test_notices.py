"""What is news to somebody, how it is put in words, and how apprise keeps those words plain."""

from datetime import date, timedelta
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from pydantic import SecretStr, ValidationError
from sqlalchemy import create_engine, inspect, text

from assets_pkg.settings import Settings
from assets_pkg.storage import ledger as ledger_module
from assets_pkg.storage.ledger import Ledger
from assets_pkg.storage.notices import FAILURES, NOTICES, Notices
from assets_pkg.storage.notifiers import notifiers_of
from assets_pkg.transforms.notices import ALERT, RUN, News, Notice, Problem, message, news_of
from assets_pkg_tests.workbench import DAY, days_from

OLD = DAY - timedelta(days=15)
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def problem(
    name: str = "x", day: date = DAY, severity: str = "high", kind: str = ALERT, axis: str = "ingest_date"
) -> Problem:
    return Problem(f"{axis} {day} {name}", kind, severity, axis, day, name)


P = problem()
TOLD, WAITING = Notice(P, told=True), Notice(P, told=False)

# what is open, what is known, then: what is new, what has recovered, what is withdrawn
CASES: dict[str, tuple[list[Problem], list[Notice], list[Problem], list[Problem], list[Problem]]] = {
    "nothing": ([], [], [], [], []),
    "new": ([P], [], [P], [], []),
    "told": ([P], [TOLD], [], [], []),
    "waiting": ([P], [WAITING], [P], [], []),
    "over": ([], [TOLD], [], [P], []),
    "over before it was told": ([], [WAITING], [], [], [P]),
    "new, of a day of long ago": ([problem(day=OLD)], [], [], [], []),
    "waiting, of a day of long ago": ([problem(day=OLD)], [Notice(problem(day=OLD), told=False)], [problem(day=OLD)], [], []),
    "of the first recent day": ([problem(day=OLD + timedelta(days=1))], [], [problem(day=OLD + timedelta(days=1))], [], []),
    "of another severity": ([problem(severity="low")], [], [], [], []),
    "told, and of another severity now": ([problem(severity="low")], [TOLD], [], [], []),
    "waiting, and of another severity now": ([problem(severity="low")], [WAITING], [], [], [P]),
    "a run of a day of long ago": ([problem(day=OLD, kind=RUN)], [], [problem(day=OLD, kind=RUN)], [], []),
}  # fmt: skip


@pytest.mark.parametrize(("there", "known", "new", "recovered", "withdrawn"), CASES.values(), ids=CASES)
def test_news_is_what_somebody_does_not_know(
    there: list[Problem], known: list[Notice], new: list[Problem], recovered: list[Problem], withdrawn: list[Problem]
) -> None:
    assert news_of(there, known, {"high"}, DAY) == News(tuple(new), tuple(recovered), tuple(withdrawn))


def test_runs_are_news_where_no_alert_was_ever_raised_and_whatever_severities_are_told() -> None:
    run = problem("run", kind=RUN)
    assert news_of([run, P], [], {"medium"}, None).new == (run,)


# -- words ----------------------------------------------------------------------------------------------------


def said(new: list[Problem] | None = None, recovered: list[Problem] | None = None) -> tuple[str, list[str]]:
    told = message(News(tuple(new or ()), tuple(recovered or ())))
    return told.title, told.body.splitlines()


def test_a_title_counts() -> None:
    a, b = problem("a"), problem("b")
    assert said([a])[0] == "1 new problem"
    assert said([a, b], [a])[0] == "2 new problems, 1 recovered"
    assert said([], [a, b])[0] == "2 problems recovered"


def test_the_severest_come_first_then_the_earliest_then_what_has_recovered() -> None:
    new = [problem("a", severity="low"), problem("b", DAY), problem("c", OLD), problem("d", severity="medium")]
    assert said(new, [problem("e", axis="event_date")])[1] == [
        f"- high, ingest date {OLD}: c",
        f"- high, ingest date {DAY}: b",
        f"- medium, ingest date {DAY}: d",
        f"- low, ingest date {DAY}: a",
        f"- recovered: high, event date {DAY}: e",
    ]


def test_days_with_the_same_problem_are_one() -> None:
    title, lines = said([problem(day=day) for day in days_from(DAY, 3)] + [problem(axis="event_date")])
    assert title == "2 new problems"
    assert f"- high, ingest date {DAY} to {DAY + timedelta(days=2)} (3 days): x" in lines


def test_there_is_an_end_to_a_message() -> None:
    title, lines = said([problem("long " * 100 + str(number)) for number in range(100)])
    assert title == "100 new problems"
    assert len(lines) == 11
    assert lines[-1] == "and 90 more"
    assert sum(map(len, lines)) < 1800  # what the narrowest of the usual services take
    assert lines[0].endswith("…")
    assert said([problem(str(number)) for number in range(10)])[1][-1] == f"- high, ingest date {DAY}: 9"


def test_a_problem_is_one_line_of_characters_that_can_be_seen() -> None:
    assert said([problem("a\r\n\x00b\u2028\u202ec\ud800 \t d")])[1] == [f"- high, ingest date {DAY}: a b c d"]


# -- apprise: what the design leans on --------------------------------------------------------------------------

MARKUP = "<!channel> <http://x|y> [x](http://y) <b>&"
AS_SENT = {
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ": "&lt;!channel&gt; &lt;http://x|y&gt; [x](http://y) &lt;b&gt;&amp;",
    "mailtos://user:password@example.com": MARKUP,
    "workflows://host/workflow/signature": r"<\!channel\> <http://x\|y\> \[x\]\(http://y\) <b\>&",
    "json://host": MARKUP,
}  # fmt: skip


@pytest.mark.parametrize(("url", "expected"), AS_SENT.items())
def test_plain_text_stays_plain_wherever_it_is_sent(url: str, expected: str) -> None:
    import apprise  # noqa: PLC0415
    from apprise.conversion import convert_between  # noqa: PLC0415

    service: Any = apprise.Apprise.instantiate(url)
    text_format = apprise.NotifyFormat.TEXT
    target = service.resolve_format(text_format)
    assert service.dialect_convert(convert_between(text_format, target, MARKUP), target) == expected


# -- URLs -----------------------------------------------------------------------------------------------------


def test_urls_are_separated_as_apprise_does_and_called_without_their_secrets() -> None:
    urls = """
        mailtos://me:pass,word@example.com?to=a@b.c, slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ
        json://host/one;json://host/two json://host/one
        whatever"""
    assert [each.name for each in notifiers_of(SecretStr(urls))] == [
        "mailtos://example.com/…",
        "slack://T...2/…",
        "json://host/…",
        "json://host/… (2)",
    ]


def test_what_is_no_url_is_not_shown_as_it_may_be_a_secret() -> None:
    (notifier,) = notifiers_of(SecretStr("s3cr3t"))
    assert notifier.name == "?:///…"
    assert notifier.send(message(News((P,), ()))) == "no notification service understands its URL"


def test_urls_are_a_secret_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_NOTIFY_URLS", "json://s3cr3t")
    monkeypatch.setenv("PIPELINE_NOTIFY_SEVERITIES", "High, medium")
    settings = Settings()
    assert settings.notify_severities == {"high", "medium"}
    assert settings.notify_urls.get_secret_value() == "json://s3cr3t"
    assert "s3cr3t" not in f"{settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    monkeypatch.setenv("PIPELINE_NOTIFY_SEVERITIES", "urgent")
    with pytest.raises(ValidationError, match="notify_severities") as refused:
        Settings()
    assert "s3cr3t" not in str(refused.value)


# -- the tables -----------------------------------------------------------------------------------------------


def test_notices_are_kept_by_notifier_until_they_are_told_to_be_over(ledger_url: str) -> None:
    a, b = problem("a"), problem("b")
    Notices(Ledger(ledger_url)).enter("one", News((a, b), ()))
    notices = Notices(Ledger(ledger_url))
    assert notices.open() == {"one": [Notice(a, told=False), Notice(b, told=False)]}
    notices.told("one", News((a, b), ()))
    notices.enter("two", News((a,), ()))
    notices.enter("two", News((), (), (a,)))
    assert notices.open() == {"one": [Notice(a, told=True), Notice(b, told=True)]}
    notices.told("one", News((), (a,)))
    assert notices.open() == {"one": [Notice(b, told=True)]}
    notices.enter("one", News((a,), ()))  # it is back
    assert notices.open() == {"one": [Notice(a, told=False), Notice(b, told=True)]}


def test_a_ledger_of_before_gets_its_tables(ledger_url: str) -> None:
    engine = create_engine(ledger_url)
    config = Config()
    config.set_main_option("script_location", str(ledger_module._MIGRATIONS))
    config.attributes["version_table"] = ledger_module._VERSIONS
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(text("INSERT INTO pending_day VALUES ('2025-12-10', '2025-12-10 00:00:00')"))
    assert list(Ledger(ledger_url).pending_days()) == [DAY]
    for table in (NOTICES, FAILURES):
        there = {column["name"]: column["nullable"] for column in inspect(engine).get_columns(table.name)}
        assert there == {column.name: column.nullable for column in table.columns}
    engine.dispose()
