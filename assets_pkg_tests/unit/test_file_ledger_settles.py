"""Who holds which content, over days, changes, vanishing and forgetting (section 6), on every kind of ledger."""

import os
import shutil
from datetime import date
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect, text

from assets_pkg.contracts.feeds import CUSTOMERS, EVENTS
from assets_pkg.contracts.files import FAILED, PENDING, PROCESSING, SKIPPED, SUCCESS, FileRecord
from assets_pkg.steps.files import differences, file_lives
from assets_pkg.steps.raw import RawDay
from assets_pkg.storage import ledger as ledger_module
from assets_pkg.storage import raw_files
from assets_pkg.storage.lake import LakeError
from assets_pkg.storage.ledger import Ledger, LedgerError, is_there
from assets_pkg.storage.raw_files import RawFile
from assets_pkg_tests.workbench import DAY, Workbench, at_once, days_from, feed_csv

D1, D2, D3 = days_from(DAY, 3)
FIRST, SECOND, THIRD = (f"ingest_date={day}/events_raw.csv" for day in (D1, D2, D3))


@pytest.fixture
def bench(tmp_path: Path, ledger_url: str) -> Workbench:
    """An empty pipeline, on every kind of ledger."""
    return Workbench(tmp_path, ledger_url=ledger_url)


def put(bench: Workbench, day: date, *ids: str, name: str = "events_raw.csv") -> str:
    """An events file with these ids."""
    return bench.put(name, feed_csv("events", *({"event_id": each} for each in ids)), day)


def take_away(bench: Workbench, path: str) -> None:
    (bench.work.raw_root / path).unlink()


def says(bench: Workbench) -> dict[str, tuple[str, str | None]]:
    """Status and duplicate_of of every events file."""
    return {row["path"]: (row["status"], row["duplicate_of"]) for row in bench.work.ledger.entries(feed="events")}


def ids(bench: Workbench, day: date) -> list[str]:
    return sorted(row["event_id"] for row in bench.rows("raw_events", day))


def land(bench: Workbench, *days: date) -> list[RawDay]:
    return [bench.land(EVENTS, day) for day in days]


# -- an earlier path takes over -------------------------------------------------------------------------


def test_content_that_comes_under_an_earlier_path_makes_the_later_day_pending(bench: Workbench) -> None:
    put(bench, D2, "a")
    land(bench, D2)
    put(bench, D1, "a")
    (landed,) = land(bench, D1)
    assert landed.again == (D2,)
    assert list(bench.work.ledger.pending_days()) == [D2]
    assert says(bench) == {FIRST: (SUCCESS, None), SECOND: (PENDING, None)}
    assert (ids(bench, D1), ids(bench, D2)) == (["a"], ["a"])  # until its day is run, its rows are there
    (again,) = land(bench, D2)
    assert (again.skipped, again.again, again.read) == ((SECOND,), (), ())
    assert says(bench) == {FIRST: (SUCCESS, None), SECOND: (SKIPPED, FIRST)}
    assert (ids(bench, D1), ids(bench, D2)) == (["a"], [])
    assert list(bench.work.ledger.pending_days()) == [D2]  # what follows the raw step is still to be done
    bench.work.ledger.day_done(D2)
    assert bench.work.ledger.pending_days() == {}


def test_a_day_is_not_done_as_long_as_files_of_it_must_be_judged(bench: Workbench) -> None:
    put(bench, D2, "a")
    land(bench, D2)
    put(bench, D1, "a")
    land(bench, D1)
    bench.work.ledger.day_done(D2)
    assert list(bench.work.ledger.pending_days()) == [D2]
    bench.run_day(D2)
    assert bench.work.ledger.pending_days() == {}


def test_files_that_were_skipped_for_the_later_one_name_the_earlier_at_once(bench: Workbench) -> None:
    put(bench, D2, "a")
    put(bench, D3, "a")
    land(bench, D2, D3)
    assert says(bench)[THIRD] == (SKIPPED, SECOND)
    put(bench, D1, "a")
    (landed,) = land(bench, D1)
    assert landed.again == (D2,)
    assert says(bench)[THIRD] == (SKIPPED, FIRST)


def test_an_earlier_file_that_cannot_be_read_takes_nothing_over(bench: Workbench) -> None:
    """The same bytes are an events file under one name, and none under another."""
    content = feed_csv("events", {"event_id": "a"})
    later = bench.put("events_raw.csv", content, D2)
    land(bench, D2)
    earlier = bench.put("events_raw.json", content, D1)
    (landed,) = land(bench, D1)
    assert landed.again == ()
    assert says(bench) == {earlier: (FAILED, None), later: (SUCCESS, None)}
    land(bench, D2)
    assert ids(bench, D2) == ["a"]


def test_when_the_first_of_a_day_cannot_be_read_the_next_is(bench: Workbench) -> None:
    content = feed_csv("events", {"event_id": "a"})
    paths = [bench.put(name, content) for name in ("events_raw_1.json", "events_raw_2.csv", "events_raw_3.csv")]
    (landed,) = land(bench, D1)
    assert says(bench) == {
        paths[0]: (FAILED, None),
        paths[1]: (SUCCESS, None),
        paths[2]: (SKIPPED, paths[1]),
    }
    assert landed.read == (paths[0], paths[1])
    version = bench.work.lake.version("raw_events", D1)
    land(bench, D1)
    assert bench.work.lake.version("raw_events", D1) == version


def test_a_file_that_was_renamed_counts_once(bench: Workbench) -> None:
    put(bench, D1, "a", name="events_raw_m.csv")
    land(bench, D1)
    folder = bench.work.raw_root / f"ingest_date={D1}"
    old = f"ingest_date={D1}/events_raw_m.csv"
    for name, holder in (("events_raw_z.csv", old), ("events_raw_b.csv", f"ingest_date={D1}/events_raw_b.csv")):
        next(folder.iterdir()).rename(folder / name)
        land(bench, D1)
        assert ids(bench, D1) == ["a"], name
        holders = [path for path, (status, _) in says(bench).items() if status == SUCCESS]
        assert holders == [holder]
    land(bench, D1)
    assert list(says(bench)) == [f"ingest_date={D1}/events_raw_b.csv"]


def test_a_pending_file_whose_rival_vanishes_keeps_its_rows_unread(bench: Workbench) -> None:
    put(bench, D2, "a")
    land(bench, D2)
    put(bench, D1, "a")
    land(bench, D1)
    take_away(bench, FIRST)
    bench.work.ledger.request_forgetting(FIRST)
    land(bench, D1)
    (landed,) = land(bench, D2)
    assert (landed.read, landed.carried, ids(bench, D2)) == ((), (SECOND,), ["a"])
    assert says(bench) == {SECOND: (SUCCESS, None)}


# -- a holder gives its content up ----------------------------------------------------------------------


def test_a_changed_holder_frees_the_days_of_those_that_were_skipped_for_it(bench: Workbench) -> None:
    for day in (D1, D2, D3):
        put(bench, day, "a")
    land(bench, D1, D2, D3)
    put(bench, D1, "b")
    (landed,) = land(bench, D1)
    assert landed.again == (D2, D3)
    assert list(bench.work.ledger.pending_days()) == [D2, D3]
    land(bench, D2, D3)
    assert says(bench) == {FIRST: (SUCCESS, None), SECOND: (SUCCESS, None), THIRD: (SKIPPED, SECOND)}
    assert [ids(bench, day) for day in (D1, D2, D3)] == [["b"], ["a"], []]


def test_a_skipped_file_is_judged_again_on_every_run_of_its_day(bench: Workbench) -> None:
    put(bench, D1, "a")
    put(bench, D2, "a")
    land(bench, D1, D2)
    version = bench.work.lake.version("raw_events", D2)
    (landed,) = land(bench, D2)
    assert (landed.skipped, landed.read, bench.work.lake.version("raw_events", D2)) == ((SECOND,), (), version)
    (entry,) = bench.work.ledger.entries(path=SECOND)
    assert (entry["attempts"], entry["record_count"]) == (1, None)
    put(bench, D2, "c")
    land(bench, D2)
    assert says(bench)[SECOND] == (SUCCESS, None)


def test_a_holder_that_vanished_still_holds_its_content(bench: Workbench) -> None:
    put(bench, D1, "a")
    put(bench, D2, "a")
    land(bench, D1, D2)
    take_away(bench, FIRST)
    assert land(bench, D1, D2)[0].vanished == (FIRST,)
    assert says(bench) == {FIRST: (SUCCESS, None), SECOND: (SKIPPED, FIRST)}
    assert (ids(bench, D1), ids(bench, D2)) == (["a"], [])


def test_skipped_and_failed_files_that_vanish_are_no_longer_listed(bench: Workbench) -> None:
    put(bench, D1, "a")
    skipped = put(bench, D1, "a", name="events_raw_z.csv")
    failed = bench.put("events_raw.json", "nothing of the kind")
    land(bench, D1)
    assert {status for status, _ in says(bench).values()} == {SUCCESS, SKIPPED, FAILED}
    for path in (skipped, failed):
        take_away(bench, path)
    land(bench, D1)
    assert says(bench) == {FIRST: (SUCCESS, None)}


# -- forgetting -----------------------------------------------------------------------------------------


def test_a_vanished_file_is_forgotten_when_somebody_says_so(bench: Workbench) -> None:
    put(bench, D1, "a")
    put(bench, D1, "b", name="events_raw_b.csv")
    put(bench, D2, "a")
    land(bench, D1, D2)
    take_away(bench, FIRST)
    bench.work.ledger.request_forgetting(FIRST)
    (landed,) = land(bench, D1)
    assert (landed.forgotten, landed.vanished, landed.again) == ((FIRST,), (), (D2,))
    assert ids(bench, D1) == ["b"]
    assert FIRST not in says(bench)
    land(bench, D2)
    assert (says(bench)[SECOND], ids(bench, D2)) == ((SUCCESS, None), ["a"])


def test_a_file_that_came_back_is_not_forgotten(bench: Workbench) -> None:
    put(bench, D1, "a")
    land(bench, D1)
    take_away(bench, FIRST)
    bench.work.ledger.request_forgetting(FIRST)
    put(bench, D1, "a")
    land(bench, D1)
    take_away(bench, FIRST)
    assert land(bench, D1)[0].vanished == (FIRST,)
    assert ids(bench, D1) == ["a"]


# -- the ledger and the table ---------------------------------------------------------------------------


def lose_ledger(bench: Workbench) -> Workbench:
    """The same data with an empty ledger."""
    return Workbench(bench.folder, ledger_url=f"sqlite:///{bench.folder / 'another.db'}")


def test_a_lost_ledger_loses_no_row(bench: Workbench) -> None:
    put(bench, D1, "a")
    gone = put(bench, D1, "b", "c", name="events_raw_b.csv")
    land(bench, D1)
    (before,) = (each for each in bench.files(EVENTS) if each.path == gone)
    take_away(bench, gone)
    bench = lose_ledger(bench)
    assert land(bench, D1)[0].vanished == (gone,)
    assert ids(bench, D1) == ["a", "b", "c"]
    (after,) = (each for each in bench.files(EVENTS) if each.path == gone)
    assert (after.status, after.records, after.content_sha256) == (SUCCESS, 2, before.content_sha256)


def test_a_lost_ledger_loses_no_row_of_a_day_without_files(bench: Workbench) -> None:
    put(bench, D1, "a")
    land(bench, D1)
    shutil.rmtree(bench.work.raw_root / f"ingest_date={D1}")
    bench = lose_ledger(bench)
    assert land(bench, D1)[0].vanished == (FIRST,)
    assert ids(bench, D1) == ["a"]


@pytest.mark.parametrize("committed", [True, False])
def test_rows_of_a_file_that_vanished_after_a_crash_are_known_by_their_content(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    """Whether the crash came before or after the commit: the data files say whose rows they hold."""
    put(bench, D1, "old")
    land(bench, D1)
    (old,) = bench.files(EVENTS)
    put(bench, D1, "new")
    with monkeypatch.context() as patch:
        if committed:
            patch.setattr(Ledger, "finish", _crash)
        else:
            patch.setattr("assets_pkg.storage.lake.Lake._commit", _crash)
        with pytest.raises(KeyboardInterrupt):
            land(bench, D1)
    (crashed,) = bench.files(EVENTS)
    assert crashed.status == PROCESSING
    take_away(bench, FIRST)
    land(bench, D1)
    (after,) = bench.files(EVENTS)
    assert ids(bench, D1) == (["new"] if committed else ["old"])
    assert after.content_sha256 == (crashed if committed else old).content_sha256
    put(bench, D2, "new")
    land(bench, D2)
    assert ids(bench, D2) == ([] if committed else ["new"])


def _crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_rows_that_others_compacted_are_carried_over_by_their_file(bench: Workbench) -> None:
    put(bench, D1, "a", name="events_raw_a.csv")
    put(bench, D1, "b", name="events_raw_b.csv")
    land(bench, D1)
    from deltalake import DeltaTable  # noqa: PLC0415

    DeltaTable(bench.settings.lake_dir / "raw_events").optimize.compact()
    assert len(bench.work.lake.files("raw_events", D1)) == 1
    put(bench, D1, "c", name="events_raw_a.csv")
    land(bench, D1)
    assert ids(bench, D1) == ["b", "c"]


def test_rows_that_an_older_ledger_does_not_know_are_kept_and_reported(bench: Workbench) -> None:
    put(bench, D1, "a")
    gone = put(bench, D1, "b", name="events_raw_b.csv")
    land(bench, D1)
    engine = create_engine(bench.settings.ledger)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM file_ledger WHERE path = :path"), {"path": gone})
    engine.dispose()
    take_away(bench, gone)
    put(bench, D1, "c", name="events_raw_c.csv")
    assert land(bench, D1)[0].vanished == (gone,)
    assert ids(bench, D1) == ["a", "b", "c"]
    assert says(bench)[gone] == (SUCCESS, None)


def test_a_lost_ledger_still_knows_what_other_days_hold(bench: Workbench) -> None:
    """The table tells it, before anything is read a second time."""
    put(bench, D1, "a")
    put(bench, D2, "a")
    land(bench, D1, D2)
    bench = lose_ledger(bench)
    land(bench, D2)
    assert says(bench) == {FIRST: (SUCCESS, None), SECOND: (SKIPPED, FIRST)}
    assert (ids(bench, D1), ids(bench, D2)) == (["a"], [])
    land(bench, D1, D2)
    assert (ids(bench, D1), ids(bench, D2)) == (["a"], [])


def test_the_same_bytes_in_another_format_are_other_data(bench: Workbench) -> None:
    """A file that was delivered under a wrong name is read when it is renamed."""
    content = '{"event_id": "a"}\n{"event_id": "b"}\n'
    wrong = bench.put("events_raw.csv", content)
    land(bench, D1)
    take_away(bench, wrong)
    right = bench.put("events_raw.jsonl", content)
    land(bench, D1)
    assert says(bench) == {wrong: (SUCCESS, None), right: (SUCCESS, None)}
    again = bench.put("events_raw_z.ndjson", content)
    land(bench, D1)
    assert says(bench)[again] == (SKIPPED, right)


def test_empty_files_that_cannot_be_read_fail_whatever_else_is_empty(bench: Workbench) -> None:
    paths = [bench.put(f"events_raw.{form}", b"") for form in ("csv", "csv.gz", "json", "jsonl", "parquet")]
    land(bench, D1)
    assert [says(bench)[path][0] for path in paths] == [SUCCESS, FAILED, FAILED, SUCCESS, FAILED]


def test_very_many_files_are_settled(ledger_url: str) -> None:
    """Databases bound the number of parameters of a statement."""
    ledger = Ledger(ledger_url)
    assert ledger.finish("events", D1, [], "run", gone=[f"{number}" for number in range(1_200)]) == []


# -- hashing ----------------------------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose bytes were hashed. Folder entries count as settled at once."""
    names: list[str] = []
    really = RawFile.fingerprint

    def counted(self: RawFile) -> raw_files.Fingerprint:
        names.append(self.location.name)
        return really(self)

    monkeypatch.setattr(RawFile, "fingerprint", counted)
    monkeypatch.setattr(raw_files, "SETTLED_SECONDS", 0.0)
    return names


def test_files_that_nobody_touched_are_not_even_hashed(bench: Workbench, hashed: list[str]) -> None:
    put(bench, D1, "a")
    put(bench, D1, "b", name="events_raw_b.csv")
    put(bench, D1, "b", name="events_raw_c.csv")
    land(bench, D1)
    assert sorted(hashed) == ["events_raw.csv", "events_raw_b.csv", "events_raw_c.csv"]
    hashed.clear()
    land(bench, D1)
    assert hashed == []
    put(bench, D1, "b2", name="events_raw_b.csv")
    land(bench, D1)
    assert hashed == ["events_raw_b.csv"]


def test_verify_hashes_all(bench: Workbench, hashed: list[str]) -> None:
    put(bench, D1, "a")
    land(bench, D1)
    hashed.clear()
    verifying = type(bench.work)(bench.settings, bench.work.policy, "run", verify=True)
    from assets_pkg.steps.raw import land_raw  # noqa: PLC0415

    assert land_raw(verifying, EVENTS, D1).carried == (FIRST,)
    assert hashed == ["events_raw.csv"]


def test_a_touched_file_is_hashed_once_and_then_believed_again(bench: Workbench, hashed: list[str]) -> None:
    put(bench, D1, "a")
    land(bench, D1)
    os.utime(bench.work.raw_root / FIRST)
    hashed.clear()
    land(bench, D1)
    land(bench, D1)
    assert hashed == ["events_raw.csv"]
    (entry,) = bench.work.ledger.entries()
    assert entry["attempts"] == 1


def test_a_file_that_was_just_written_is_not_believed(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock tick may not be over: another write could leave the same times."""
    put(bench, D1, "a")
    land(bench, D1)
    (entry,) = bench.work.ledger.entries()
    assert entry["stamp"] == ""
    monkeypatch.setattr(raw_files, "SETTLED_SECONDS", 0.0)
    land(bench, D1)
    (entry,) = bench.work.ledger.entries()
    assert entry["stamp"] != ""


def test_a_file_that_changes_while_it_is_read_gives_no_row(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bench, D1, "a")
    good = put(bench, D1, "b", name="events_raw_b.csv")
    really = raw_files.open_raw_file

    def meddle(file: RawFile, *arguments: object, **how: object) -> object:
        if file.path == FIRST:
            with file.location.open("a") as stream:
                stream.write("e2,c1,2025-12-10T04:21:24Z,login,web,s1,1200,\n")
        return really(file, *arguments, **how)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("assets_pkg.steps.raw.open_raw_file", meddle)
        land(bench, D1)
    assert says(bench) == {FIRST: (FAILED, None), good: (SUCCESS, None)}
    (entry,) = bench.work.ledger.entries(path=FIRST)
    assert "changed while it was read" in entry["error_message"]
    assert ids(bench, D1) == ["b"]
    land(bench, D1)
    assert ids(bench, D1) == ["a", "b", "e2"]


def test_differences_are_found_by_hashing(bench: Workbench) -> None:
    put(bench, D1, "a")
    put(bench, D2, "b")
    land(bench, D1, D2)
    assert list(differences(bench.work)) == []
    put(bench, D1, "c")
    take_away(bench, SECOND)
    new = put(bench, D3, "d")
    told = {each.path: each.problem for each in differences(bench.work)}
    assert list(told) == [FIRST, new, SECOND]
    assert "other bytes" in told[FIRST]
    assert "new" in told[new]
    assert "no longer" in told[SECOND]
    assert [each.path for each in differences(bench.work, D1)] == [FIRST]


# -- two at once --------------------------------------------------------------------------------------------


def record(path: str = "a", digest: str = "d", status: str = PROCESSING, **rest: int | str) -> FileRecord:
    return FileRecord(path, digest, 1, status, **rest)  # type: ignore[arg-type]


def test_a_file_that_another_run_took_is_refused(ledger_url: str) -> None:
    mine, other = Ledger(ledger_url), Ledger(ledger_url)
    mine.start("events", D1, [record("b")], "mine")
    with pytest.raises(LedgerError, match="another run took b"):
        other.start("events", D1, [record("a"), record("b")], "other")
    assert [each.path for each in mine.records("events", D1)] == ["b"]  # all at once: a was not taken either
    (known,) = mine.records("events", D1)
    other.start("events", D1, [known], "other")  # a crash is taken up by who has seen it
    with pytest.raises(LedgerError, match="another run took b"):
        mine.finish("events", D1, [record("b", status=SUCCESS)], "mine")
    assert [each.status for each in mine.records("events", D1)] == [PROCESSING]


def test_of_two_that_take_a_file_at_once_one_gets_it(ledger_url: str) -> None:
    Ledger(ledger_url)
    code = (
        "import sys\nfrom datetime import date\nfrom assets_pkg.contracts.files import PROCESSING, FileRecord\n"
        "from assets_pkg.storage.ledger import Ledger, LedgerError\nday = date(2025, 12, 10)\n"
        "ledger = Ledger(sys.argv[1])\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "won = 0\n"
        "for number in range(30):\n"
        "    try:\n"
        "        ledger.start('events', day, [FileRecord(f'{number}', 'd', 1, PROCESSING)], sys.argv[2])\n"
        "        won += 1\n"
        "    except LedgerError:\n"
        "        pass\n"
        "print(won)\n"
    )
    won = at_once(code, [(ledger_url, owner) for owner in ("one", "two")])
    assert sum(map(int, won)) == 30


@pytest.mark.parametrize("order", [(D1, D2), (D2, D1)])
def test_two_days_that_read_the_same_content_at_once_settle_who_holds_it(
    ledger_url: str, order: tuple[date, date]
) -> None:
    """Neither saw the other when it began; the second to finish sees."""
    ledger = Ledger(ledger_url)
    path = {D1: FIRST, D2: SECOND}
    for day in (D1, D2):
        ledger.start("events", day, [record(path[day])], "run")
    again = [ledger.finish("events", day, [record(path[day], status=SUCCESS, records=1)], "run") for day in order]
    assert again == [[], [D2]]
    assert [each.status for each in ledger.records("events", D1)] == [SUCCESS]
    assert [each.status for each in ledger.records("events", D2)] == [PENDING]


def test_customers_of_other_days_are_other_snapshots(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    for day in (D1, D2):
        path = f"ingest_date={day}/customers_raw.csv"
        ledger.start("customers", day, [record(path)], "run")
        assert ledger.finish("customers", day, [record(path, status=SUCCESS)], "run") == []
        assert ledger.holders(CUSTOMERS.name, D3, ["d"]) == []


# -- migrations ---------------------------------------------------------------------------------------------


def migrate(url: str, revision: str) -> None:
    """Bring a ledger to a revision, as an earlier version of the software left it."""
    config = Config()
    config.set_main_option("script_location", str(ledger_module._MIGRATIONS))
    config.attributes["version_table"] = ledger_module._VERSIONS
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_a_ledger_of_the_first_version_is_brought_up_to_date_with_its_rows(ledger_url: str) -> None:
    migrate(ledger_url, "0001")
    engine = create_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO file_ledger (feed, ingest_date, path, content_sha256, status, bytes, record_count, attempts,"
                " discovered_at) VALUES ('events', '2025-12-10', 'a', 'd', 'SUCCESS', 1, 7, 1, '2025-12-10 01:02:03')"
            )
        )
    ledger = Ledger(ledger_url)
    (found,) = ledger.records("events", D1)
    assert (found.path, found.status, found.records, found.stamp) == ("a", SUCCESS, 7, "")
    with engine.connect() as connection:
        columns = {column["name"] for column in inspect(connection).get_columns("file_ledger")}
    engine.dispose()
    assert columns == set(ledger_module.FILE_LEDGER.c.keys())


def test_the_migrations_make_the_table_that_the_code_speaks_of(ledger_url: str) -> None:
    Ledger(ledger_url)
    engine = create_engine(ledger_url)
    with engine.connect() as connection:
        made = {column["name"]: column for column in inspect(connection).get_columns("file_ledger")}
        keys = inspect(connection).get_pk_constraint("file_ledger")["constrained_columns"]
    engine.dispose()
    assert set(made) == set(ledger_module.FILE_LEDGER.c.keys())
    assert keys == ["feed", "ingest_date", "path"]
    for column in ledger_module.FILE_LEDGER.c:
        assert made[column.name]["nullable"] == column.nullable, column.name
        assert isinstance(made[column.name]["type"], type(column.type).__mro__[1]), column.name


def test_a_ledger_of_a_newer_version_is_refused(ledger_url: str) -> None:
    Ledger(ledger_url)
    engine = create_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {ledger_module._VERSIONS} SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerError, match="newer version of this software"):
        Ledger(ledger_url)


def test_it_shares_a_database_with_dagsters_own_tables(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('of-dagster')"))
    Ledger(postgres_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "of-dagster"
    engine.dispose()


def test_looking_for_a_ledger_makes_none(tmp_path: Path, postgres_url: str) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    assert not is_there(url)
    assert not (tmp_path / "ledger.db").exists()
    Ledger(url)
    assert is_there(url)
    assert is_there(postgres_url)


# -- what became of a file's rows -----------------------------------------------------------------------------


def test_each_file_tells_where_its_rows_went(bench: Workbench) -> None:
    bench.put_feed("customers", {})
    one = bench.put_feed("events", {"event_id": "a"}, {"event_id": "b"}, {"event_id": "a"}, name="events_raw_1.csv")
    two = bench.put_feed(
        "events",
        {"event_id": "a"},
        {"event_id": "b", "duration_ms": ""},
        {"event_id": "c", "event_time": "no time"},
        {"event_id": "d"},
        name="events_raw_2.csv",
    )
    three = bench.put_feed("events", {"event_id": "a"}, {"event_id": "b"}, {"event_id": "a"}, name="events_raw_3.csv")
    bench.run_day()
    lives = {each.path: each for each in file_lives(bench.work, EVENTS, D1)}
    assert [
        (each.records, each.clean, each.rejected, each.id_duplicates, each.full_row_duplicates)
        for each in lives.values()
    ] == [(3, 2, 0, 0, 1), (4, 1, 1, 1, 1), (None, None, None, None, None)]
    assert list(lives) == [one, two, three]
    assert (lives[three].status, lives[three].note) == (SKIPPED, f"same content as {one}")
    assert [each.path for each in file_lives(bench.work, status=SKIPPED)] == [three]
    assert [each.path for each in file_lives(bench.work, path=two)] == [two]


def test_the_report_lists_skipped_files_with_no_record(bench: Workbench) -> None:
    first = bench.put_feed("events", {}, name="events_raw_1.csv")
    second = bench.put_feed("events", {}, name="events_raw_2.csv")
    report = bench.run_day().report
    listed = {file["path"]: (file["status"], file["records"]) for file in report["events"]["files"]}
    assert listed == {first: (SUCCESS, 1), second: (SKIPPED, 0)}
    assert len({file["sha256"] for file in report["events"]["files"]}) == 1


# -- a data file of the raw table is lost -----------------------------------------------------------------


def lose(bench: Workbench, day: date) -> None:
    Path(bench.work.lake.files("raw_events", day)[0].location).unlink()


def test_rows_of_a_lost_data_file_are_read_again(bench: Workbench) -> None:
    put(bench, D1, "a", "b")
    land(bench, D1)
    lose(bench, D1)
    (again,) = land(bench, D1)
    assert again.read == (FIRST,)
    assert ids(bench, D1) == ["a", "b"]
    assert says(bench) == {FIRST: (SUCCESS, None)}


def test_lost_rows_whose_raw_file_is_gone_too_are_told_of_and_nothing_is_changed(bench: Workbench) -> None:
    gone = put(bench, D1, "a", name="events_raw_2.csv")
    put(bench, D1, "b")
    land(bench, D1)
    content = (bench.work.raw_root / gone).read_text()
    take_away(bench, gone)
    lose(bench, D1)
    before = says(bench)
    with pytest.raises(LakeError, match=rf"the rows of {gone}, which are not in the raw folder any more"):
        land(bench, D1)
    assert says(bench) == before
    bench.put("events_raw_2.csv", content, D1)
    land(bench, D1)
    assert ids(bench, D1) == ["a", "b"]


def test_lost_rows_can_be_given_up(bench: Workbench) -> None:
    gone = put(bench, D1, "a", name="events_raw_2.csv")
    put(bench, D1, "b")
    land(bench, D1)
    take_away(bench, gone)
    lose(bench, D1)
    bench.work.ledger.request_forgetting(gone)
    land(bench, D1)
    assert ids(bench, D1) == ["b"]
    assert says(bench) == {FIRST: (SUCCESS, None)}
