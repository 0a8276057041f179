"""The model of the ledger says what section 6 says: each sentence, with expectations written by hand."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_pkg_tests.reference.ledger import FAILED, PENDING, SKIPPED, SUCCESS, LedgerModel, day_of

D1, D2, D3 = DAYS = [date(2025, 12, day) for day in (10, 11, 12)]
X, Y = b"event_id\nx1\nx2\n", b"event_id\ny1\n"
BROKEN = b"[1,"  # read as .json

State = dict[str, Any]


class History(LedgerModel):
    """A model that is spoken to in days and short names."""

    feed = "events"

    def at(self, day: date, name: str) -> str:
        return f"ingest_date={day}/{self.feed}_raw_{name}.json" if name == "json" else self.csv(day, name)

    def csv(self, day: date, name: str) -> str:
        return f"ingest_date={day}/{self.feed}_raw_{name}.csv"

    def drop(self, day: date, name: str, content: bytes) -> None:
        self.put(self.at(day, name), content)

    def remove(self, day: date, name: str) -> None:
        self.delete(self.at(day, name))

    def process(self, *days: date) -> None:
        for day in days:
            self.run(self.feed, day)

    def holds(self, day: date) -> State:
        """By short name: the status; of a duplicate the first's path, of a SUCCESS the ids in raw."""
        ids: dict[str, list[str]] = {}
        for row in self.rows(self.feed, day).values():
            ids.setdefault(row["source_file"], []).append(row["event_id"])
        found: State = {}
        for path, entry in self.records(self.feed, day).items():
            name = path.partition("_raw_")[2].partition(".")[0]
            said = ids.get(path) if entry.status == SUCCESS else entry.duplicate_of
            found[name] = entry.status if said is None else (entry.status, said)
            assert entry.records == (len(ids.get(path, [])) if entry.status == SUCCESS else 0)
        return found

    def everything(self) -> State:
        return {"entries": dict(sorted(self.entries.items()))}


OK_X, OK_Y = (SUCCESS, ["x1", "x2"]), (SUCCESS, ["y1"])


@pytest.fixture
def h() -> History:
    return History()


def skipped(h: History, day: date, name: str) -> tuple[str, str]:
    return SKIPPED, h.at(day, name)


# -- unchanged and changed content -----------------------------------------------------------------


def test_a_file_is_read_on_the_first_run_of_its_day(h: History) -> None:
    h.drop(D1, "a", X)
    assert h.holds(D1) == {}
    h.process(D2)
    assert h.holds(D1) == {}
    h.process(D1)
    assert h.holds(D1) == {"a": OK_X}
    assert list(h.rows("events", D1)) == [(h.at(D1, "a"), 1), (h.at(D1, "a"), 2)]


def test_unchanged_content_is_never_read_twice(h: History, monkeypatch: pytest.MonkeyPatch) -> None:
    h.drop(D1, "a", X)
    h.drop(D1, "b", X)
    h.process(D1)
    monkeypatch.setattr(LedgerModel, "_read", None)
    h.process(D1, D1)
    assert h.holds(D1) == {"a": OK_X, "b": skipped(h, D1, "a")}


def test_changed_bytes_under_the_same_path_replace_its_rows(h: History) -> None:
    h.drop(D1, "a", X)
    h.process(D1)
    h.drop(D1, "a", Y)
    assert h.holds(D1) == {"a": OK_X}
    h.process(D1)
    assert h.holds(D1) == {"a": OK_Y}


def test_a_file_changed_to_broken_bytes_is_failed_and_has_no_rows(h: History) -> None:
    h.drop(D1, "json", b"[{}]")
    h.process(D1)
    assert h.holds(D1) == {"json": (SUCCESS, [None])}
    h.drop(D1, "json", BROKEN)
    h.process(D1)
    assert (h.holds(D1), h.rows("events", D1)) == ({"json": FAILED}, {})


def test_a_failed_file_is_retried_on_every_run_of_its_day(h: History) -> None:
    h.drop(D1, "json", BROKEN)
    h.process(D1, D1)
    assert h.holds(D1) == {"json": FAILED}
    h.drop(D1, "a", BROKEN)  # the same bytes are a readable CSV; read otherwise they are other data
    h.process(D1)
    assert h.holds(D1) == {"a": SUCCESS, "json": FAILED}  # a header and no row


def test_a_failed_file_holds_nothing_for_others(h: History) -> None:
    h.drop(D1, "json", X)
    h.drop(D1, "z", X)
    h.process(D1)
    assert h.holds(D1) == {"json": FAILED, "z": OK_X}


# -- the same content under another path -----------------------------------------------------------


def test_the_same_content_is_skipped_and_names_the_smallest_path(h: History) -> None:
    for name in ("c", "a", "b"):
        h.drop(D1, name, X)
    h.process(D1)
    assert h.holds(D1) == {"a": OK_X, "b": skipped(h, D1, "a"), "c": skipped(h, D1, "a")}


def test_paths_are_compared_as_text(h: History) -> None:
    for name in ("a", "A", "a_", "a-", "\U0001f600", "\uffff", "hour"):
        h.drop(D1, name, X)
    h.put(f"ingest_date={D1}/hour=00/events_raw.csv", X)
    h.process(D1)
    first = h.at(D1, "A")
    assert [entry.duplicate_of for entry in h.records("events", D1).values()] == [None, *[first] * 7]
    in_hour = f"ingest_date={D1}/hour=00/events_raw.csv"
    assert list(h.records("events", D1))[-1] == in_hour  # events_ comes before hour=


@pytest.mark.parametrize("feed", ["events", "orders"])
def test_events_and_orders_are_the_same_data_on_any_day(h: History, feed: str) -> None:
    h.feed = feed
    h.put(h.at(D1, "b"), X)
    h.put(h.at(D3, "a"), X)
    h.process(D1, D3)
    assert h.records(feed, D3)[h.at(D3, "a")].duplicate_of == h.at(D1, "b")


def test_customers_are_the_same_data_within_one_day_only(h: History) -> None:
    h.feed = "customers"
    for day, name in ((D1, "a"), (D2, "a"), (D2, "b")):
        h.drop(day, name, b"customer_id\nc1\n")
    h.process(D2, D1)
    entries = h.records("customers", D1) | h.records("customers", D2)
    assert [entry.duplicate_of for entry in entries.values()] == [None, None, h.at(D2, "a")]
    assert h.pending_days("customers") == []


def test_feeds_share_nothing(h: History) -> None:
    h.drop(D1, "a", X)
    h.process(D1)
    h.feed = "orders"
    h.drop(D1, "a", X)
    h.process(D1)
    assert h.records("orders", D1)[h.at(D1, "a")].status == SUCCESS


def test_an_earlier_path_that_comes_later_wins_within_a_day(h: History) -> None:
    h.drop(D1, "b", X)
    h.process(D1)
    h.drop(D1, "a", X)
    h.process(D1)
    assert h.holds(D1) == {"a": OK_X, "b": skipped(h, D1, "a")}
    assert h.pending_days("events") == []


def test_an_earlier_path_that_comes_later_makes_the_others_day_run_again(h: History) -> None:
    h.drop(D2, "b", X)
    h.process(D2)
    h.drop(D1, "z", X)
    h.process(D1)
    assert (h.holds(D1), h.holds(D2)) == ({"z": OK_X}, {"b": PENDING})
    assert len(h.rows("events", D2)) == 2  # until its day is run
    assert h.pending_days("events") == [D2]
    assert h.settle("events") == [D2]
    assert (h.holds(D1), h.holds(D2)) == ({"z": OK_X}, {"b": skipped(h, D1, "z")})
    assert h.rows("events", D2) == {}


def test_only_a_success_file_is_named_however_many_there_are(h: History) -> None:
    h.drop(D2, "a", X)
    h.drop(D3, "a", X)
    h.process(D2, D3)
    assert h.holds(D3) == {"a": skipped(h, D2, "a")}
    h.drop(D1, "a", X)
    h.process(D1)
    assert h.settle("events") == [D2]  # nothing changes in the rows of the third day
    assert h.holds(D2) == h.holds(D3) == {"a": skipped(h, D1, "a")}


def test_a_skipped_file_is_read_when_no_other_path_holds_its_content(h: History) -> None:
    h.drop(D1, "a", X)
    h.drop(D1, "b", X)
    h.drop(D2, "a", X)
    h.drop(D3, "a", X)
    h.process(D1, D2, D3)
    h.drop(D1, "a", Y)
    h.process(D1)
    assert h.holds(D1) == {"a": OK_Y, "b": OK_X}
    assert h.pending_days("events") == []
    assert h.holds(D2) == h.holds(D3) == {"a": skipped(h, D1, "b")}
    h.drop(D1, "b", Y)
    h.process(D1)
    assert h.holds(D1) == {"a": OK_Y, "b": skipped(h, D1, "a")}
    assert h.holds(D2) == h.holds(D3) == {"a": PENDING}
    assert h.settle("events") == [D2, D3]
    assert (h.holds(D2), h.holds(D3)) == ({"a": OK_X}, {"a": skipped(h, D2, "a")})


def test_days_to_be_run_again_may_be_run_in_any_order(h: History) -> None:
    for day in DAYS:
        h.drop(day, "a", X)
    h.process(*DAYS)
    h.drop(D1, "a", Y)
    h.process(D1, D3, D2)
    assert (h.holds(D2), h.holds(D3)) == ({"a": OK_X}, {"a": PENDING})
    h.settle("events")
    assert (h.holds(D2), h.holds(D3)) == ({"a": OK_X}, {"a": skipped(h, D2, "a")})


def test_the_same_bytes_in_another_format_are_other_data(h: History) -> None:
    h.drop(D1, "a", X)
    h.drop(D1, "json", X)
    h.process(D1)
    assert h.holds(D1) == {"a": OK_X, "json": FAILED}


# -- files that vanish -----------------------------------------------------------------------------


def test_a_file_that_vanishes_keeps_its_rows_and_its_content(h: History) -> None:
    h.drop(D1, "a", X)
    h.process(D1)
    h.remove(D1, "a")
    h.drop(D1, "b", X)
    h.drop(D2, "a", X)
    h.process(D1, D2)
    assert h.holds(D1) == {"a": OK_X, "b": skipped(h, D1, "a")}
    assert h.holds(D2) == {"a": skipped(h, D1, "a")}
    assert h.vanished("events") == [h.at(D1, "a")]
    h.drop(D1, "a", X)
    h.process(D1)
    assert (h.holds(D1), h.vanished("events")) == ({"a": OK_X, "b": skipped(h, D1, "a")}, [])


def test_a_renamed_file_is_not_counted_twice(h: History) -> None:
    """To a larger path: the vanished one keeps the rows. To a smaller one: the rows live on there."""
    h.drop(D1, "b", X)
    h.process(D1)
    h.remove(D1, "b")
    h.drop(D1, "a", X)
    h.process(D1)
    assert h.holds(D1) == {"a": OK_X}
    h.remove(D1, "a")
    h.drop(D2, "c", X)
    h.process(D1, D2)
    assert (h.holds(D1), h.holds(D2)) == ({"a": OK_X}, {"c": skipped(h, D1, "a")})


def test_a_vanished_file_of_another_day_gives_way_to_a_smaller_path(h: History) -> None:
    h.drop(D2, "a", X)
    h.process(D2)
    h.remove(D2, "a")
    h.drop(D1, "a", X)
    h.process(D1)
    assert h.holds(D2) == {"a": PENDING}
    assert h.settle("events") == [D2]
    assert (h.holds(D1), h.holds(D2)) == ({"a": OK_X}, {})


def test_a_vanished_file_that_waits_for_its_run_keeps_its_rows_when_the_smaller_path_changes_again(h: History) -> None:
    h.drop(D2, "a", X)
    h.process(D2)
    h.remove(D2, "a")
    h.drop(D1, "a", X)
    h.process(D1)
    h.drop(D1, "a", Y)
    h.process(D1)
    h.settle("events")
    assert (h.holds(D1), h.holds(D2)) == ({"a": OK_Y}, {"a": OK_X})


def test_vanished_failed_and_skipped_files_lose_their_entry(h: History) -> None:
    h.drop(D1, "a", X)
    h.drop(D1, "b", X)
    h.drop(D1, "json", BROKEN)
    h.process(D1)
    h.remove(D1, "b")
    h.remove(D1, "json")
    assert list(h.holds(D1)) == ["a", "b", "json"]
    h.process(D1)
    assert h.holds(D1) == {"a": OK_X}


def test_a_forgotten_file_goes_and_another_takes_its_place(h: History) -> None:
    h.drop(D1, "a", X)
    h.drop(D2, "a", X)
    h.process(D1, D2)
    h.remove(D1, "a")
    h.process(D1)
    h.forget(h.at(D1, "a"))
    assert h.holds(D1) == {"a": OK_X}
    h.process(D1)
    assert (h.holds(D1), h.holds(D2)) == ({}, {"a": PENDING})
    h.settle("events")
    assert h.holds(D2) == {"a": OK_X}


def test_only_a_vanished_file_can_be_forgotten(h: History) -> None:
    h.drop(D1, "a", X)
    h.process(D1)
    for path in (h.at(D1, "a"), h.at(D1, "never")):
        with pytest.raises(ValueError, match="has not vanished"):
            h.forget(path)


def test_a_file_that_is_back_before_the_run_is_not_forgotten(h: History) -> None:
    h.drop(D1, "a", X)
    h.process(D1)
    h.remove(D1, "a")
    h.forget(h.at(D1, "a"))
    h.drop(D1, "a", X)
    h.process(D1)
    assert h.holds(D1) == {"a": OK_X}
    h.remove(D1, "a")
    h.process(D1)
    assert h.holds(D1) == {"a": OK_X}


# -- any history -----------------------------------------------------------------------------------

_PLACES = [(day, name) for day in DAYS for name in ("a", "json", "z")]
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(_PLACES), st.sampled_from([X, Y, BROKEN, b"{}"])),
        st.tuples(st.just("remove"), st.sampled_from(_PLACES)),
        st.tuples(st.just("run"), st.sampled_from(DAYS)),
        st.tuples(st.just("forget"), st.integers(0, 3)),
        st.tuples(st.just("settle")),
    ),
    max_size=30,
)


def play(feed: str, steps: list[Any]) -> History:
    """A history, to its end: everything run and settled."""
    h = History()
    h.feed = feed
    for kind, *rest in steps:
        match kind, rest:
            case "put", [(day, name), content]:
                h.drop(day, name, content)
            case "remove", [(day, name)] if h.at(day, name) in h.folder:
                h.remove(day, name)
            case "run", [day]:
                h.process(day)
            case "forget", [number] if len(h.vanished(feed)) > number:
                path = h.vanished(feed)[number]
                h.forget(path)
                h.process(day_of(path))
            case "settle", []:
                h.settle(feed)
    h.process(*DAYS)
    h.settle(feed)
    return h


@settings(max_examples=300)
@given(st.sampled_from(["customers", "events"]), _STEPS)
def test_a_settled_ledger_is_what_its_files_make_it_however_it_came_about(feed: str, steps: list[Any]) -> None:
    h = play(feed, steps)
    found = h.everything()
    h.process(*DAYS)
    assert (h.settle(feed), h.everything()) == ([], found), "a second run changes something"

    other = History()
    other.feed = feed
    for path, entry in h.entries.items():
        other.put(path, entry.content)
    for path, content in h.folder.items():
        assert h.entries[path].content == content
    other.process(*DAYS)
    assert other.pending_days(feed) == [], "an in-order build has nothing to correct"
    assert other.everything() == found


@settings(max_examples=300)
@given(st.sampled_from(["customers", "events"]), _STEPS)
def test_every_content_in_the_folder_is_counted_once(feed: str, steps: list[Any]) -> None:
    h = play(feed, steps)
    seen: set[Any] = set()
    for path, entry in sorted(h.entries.items()):
        scope = day_of(path) if feed == "customers" else None
        if entry.status == SUCCESS:
            assert (scope, entry.content) not in seen
            seen.add((scope, entry.content))
        if entry.status == SKIPPED:
            assert entry.duplicate_of is not None
            first = h.entries[entry.duplicate_of]
            assert (first.status, first.content, entry.duplicate_of < path) == (SUCCESS, entry.content, True)
            assert (scope, entry.content) in seen
    for path, content in h.folder.items():
        scope = day_of(path) if feed == "customers" else None
        assert h.entries[path].status == FAILED or (scope, content) in seen
