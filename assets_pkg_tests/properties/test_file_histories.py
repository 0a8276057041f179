"""Random histories of raw files: after every run, ledger and raw tables are those of the model of section 6.

Files arrive, are resent under other names and on other days, change, break, vanish, come back and are forgotten;
days run in any order. The model is assets_pkg_tests/reference/ledger.py.
"""

import gzip
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from assets_pkg.contracts.feeds import EVENTS, FEEDS, Feed
from assets_pkg.storage.compaction import compact
from assets_pkg_tests.reference.ledger import PENDING, SKIPPED, LedgerModel, day_of
from assets_pkg_tests.workbench import Workbench, days_from

Arrivals = list[tuple[date, int, int]]
"""A day, and by number a name and a content."""

Thing = TypeVar("Thing")

DAYS: Final = days_from(date(2025, 12, 10), 3)


def _parquet(**columns: Sequence[Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


# Whether a content can be read is for the name to say: each is fine under some and broken or odd under others.
_ONE: Final = b"event_id,customer_id\ne1,c1\n"
_OTHER: Final = b"event_id,customer_id\ne2,c2\n"  # of the same length
_MESSY: Final = b'customer_id,mood\nc1,"a\nb"\nc2\n"open,c3\n'
_LINES: Final = b'{"event_id": 1.0, "customer_id": "c1"}\n{"event_id": 2, "mood": [1, 2]}\n'
_ARRAY: Final = b'[{"event_id": "e1"}, {"order_id": "o1", "mood": null}]'
_TORN: Final = b'{"event_id": "e1"}\n{"event_id":'
_PACKED: Final = gzip.compress(_ONE, mtime=0)
_CONTENTS: Final = (
    _ONE, _OTHER, _MESSY, _LINES, _ARRAY, _TORN, b"", _PACKED, gzip.compress(_LINES, mtime=0), _PACKED[:-9],
    _parquet(event_id=[1.0, None], mood=[None, "x"]),
)  # fmt: skip
_NAMES: Final = (
    "{}_raw.csv", "{}_raw-2.csv", "{}_raw_b.csv", "hour=03/{}_raw.csv", "{}_raw.jsonl", "hour=23/{}_raw.json",
    "{}_raw.csv.gz", "{}_raw.ndjson.gz", "{}_raw.parquet",
)  # fmt: skip

_days: Final = st.sampled_from(DAYS)
_choices: Final = st.integers(0, 11)  # of a number of things that is not known beforehand
_arrivals: Final = st.lists(st.tuples(_days, _choices, _choices), min_size=1, max_size=4)


class Histories(RuleBasedStateMachine):
    """One feed's history, told to the pipeline and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.bench = Workbench(Path(self.place.name))
        self.model = LedgerModel()
        self.feed: Feed = EVENTS
        self.names: list[str] = []
        self.contents: list[bytes] = []
        self.gone: dict[str, bytes] = {}
        self.agreed = True

    @initialize(
        feed=st.sampled_from(["events", "events", "events", "customers", "orders"]),
        names=st.lists(st.sampled_from(_NAMES), min_size=2, max_size=4, unique=True),
        contents=st.lists(st.sampled_from(_CONTENTS), min_size=1, max_size=3, unique=True),
        files=_arrivals,
        more=_arrivals,
    )
    def begin(self, feed: str, names: list[str], contents: list[bytes], files: Arrivals, more: Arrivals) -> None:
        """One feed, as feeds share nothing; few names and fewer contents, so that the same ones meet often."""
        self.feed = FEEDS[feed]
        self.names = [name.format(feed) for name in names]
        self.contents = contents
        self.files_arrive(files)
        for day in sorted({day for day, *_ in files}):
            self._run(day)
        self.files_arrive(more)

    # -- what happens to files ---------------------------------------------------------------------

    @rule(files=_arrivals)
    def files_arrive(self, files: Arrivals) -> None:
        """New, or over what was there."""
        for day, name, content in files:
            self._put(self._path(day, name), _choose(self.contents, content))

    @precondition(lambda self: self.model.folder)
    @rule(files=st.lists(_choices, min_size=1, max_size=2))
    def files_vanish(self, files: list[int]) -> None:
        """Gone from the folder; nobody says why."""
        for file in files:
            if self.model.folder:
                self._remove(_choose(sorted(self.model.folder), file))

    @precondition(lambda self: self.gone)
    @rule(file=_choices)
    def a_file_comes_back(self, file: int) -> None:
        """Under its name, as it was."""
        path = _choose(sorted(self.gone), file)
        self._put(path, self.gone[path])

    @precondition(lambda self: self.model.folder)
    @rule(file=_choices, day=_days, name=_choices)
    def a_file_is_moved(self, file: int, day: date, name: int) -> None:
        """To another name or day."""
        source = _choose(sorted(self.model.folder), file)
        content = self.model.folder[source]
        self._remove(source)
        self._put(self._path(day, name), content)

    # -- what is run -------------------------------------------------------------------------------

    @rule(day=_days)
    def a_day_is_run(self, day: date) -> None:
        self._run(day)

    @rule(first=st.integers(0, 2), count=st.integers(2, 3))
    def a_range_is_run(self, first: int, count: int) -> None:
        """As the pipeline does it: the days in order, then those that must be run again."""
        for day in DAYS[first : first + count]:
            self._run(day)
        self._settle()

    @rule()
    def what_waits_is_run(self) -> None:
        self._settle()

    @rule(day=_days)
    def a_day_is_compacted(self, day: date) -> None:
        """As maintenance does it: which rows are whose must be as plain as before."""
        before = self._everything()["versions"]
        compact(self.bench.work.lake, self.feed.raw, day)
        assert self._everything()["versions"] == before
        self._compare([day])

    @precondition(lambda self: self.model.vanished(self.feed.name))
    @rule(file=_choices, is_back=st.sampled_from([False, False, True]))
    def a_vanished_file_is_forgotten(self, file: int, is_back: bool) -> None:
        """The mark, and the run of its day that the command starts at once; in between the file may come back."""
        path = _choose(self.model.vanished(self.feed.name), file)
        self.bench.work.ledger.request_forgetting(path)
        self.model.forget(path)
        if is_back:
            self._put(path, self.gone[path])
        self._run(day_of(path))

    def teardown(self) -> None:
        """Run everything; once more must change nothing."""
        try:
            if self.agreed:
                for day in DAYS:
                    self._run(day)
                self._settle()
                self._compare(DAYS)
                before = self._everything()
                for day in DAYS:
                    self.bench.land(self.feed, day)
                assert self._everything() == before
        finally:
            self.place.cleanup()

    # -- both sides --------------------------------------------------------------------------------

    def _path(self, day: date, name: int) -> str:
        return f"ingest_date={day}/{_choose(self.names, name)}"

    def _put(self, path: str, content: bytes) -> None:
        folder, _, name = path.partition("/")
        assert self.bench.put(name, content, date.fromisoformat(folder.removeprefix("ingest_date="))) == path
        self.model.put(path, content)
        self.gone.pop(path, None)

    def _remove(self, path: str) -> None:
        (self.bench.settings.raw_dir / path).unlink()
        self.gone[path] = self.model.folder[path]
        self.model.delete(path)

    def _run(self, day: date) -> None:
        self.agreed = False
        self.model.run(self.feed.name, day)
        self.bench.land(self.feed, day)
        self._compare([day])
        self.agreed = True

    def _settle(self) -> None:
        """Run what must be run again, earliest first. Each run settles a content for good, so it comes to an end."""
        for _ in range(10):
            days = self.model.pending_days(self.feed.name)
            if not days:
                return
            self._run(days[0])
        raise AssertionError("days must be run again and again")

    def _compare(self, days: Sequence[date]) -> None:
        """Hold the pipeline against the model: all files, and the rows of some days."""
        name, ledger = self.feed.name, self.bench.work.ledger
        ours: dict[Any, Any] = {
            "days that wait": sorted({each["ingest_date"] for each in ledger.entries(feed=name, status="PENDING")})
        }
        theirs: dict[Any, Any] = {"days that wait": self.model.pending_days(name)}
        for day in DAYS:
            for file in ledger.records(name, day):
                ours[day, file.path] = _told(file.status, file.duplicate_of, file.records)
            for path, entry in self.model.records(name, day).items():
                theirs[day, path] = _told(entry.status, entry.duplicate_of, entry.records)
        for day in days:
            found = self.bench.rows(self.feed.raw, day)
            ours |= {(day, row["source_file"], row["source_row"]): self._texts(row) for row in found}
            ours[day, "rows"] = len(found)
            expected = self.model.rows(name, day)
            theirs |= {(day, *address): self._texts(row) for address, row in expected.items()}
            theirs[day, "rows"] = len(expected)
        places = [place for place in ours.keys() | theirs.keys() if ours.get(place) != theirs.get(place)]
        told = [f"{place}: {ours.get(place)}, model {theirs.get(place)}" for place in sorted(places, key=str)]
        assert not told, "\n".join(told)

    def _texts(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A raw row's texts; JSON objects are equal when what they say is."""
        texts = {column: row[column] for column in (*self.feed.raw_columns, "raw_text")}
        return {**texts, "extra": json.loads(row["extra"] or "null")}

    def _everything(self) -> dict[str, Any]:
        """What a rerun must leave as it is: the ledger, the partitions' content, the number of commits."""
        # Stamps are filled in by the first run that finds a file no longer young.
        files = [
            replace(file, stamp="") for day in DAYS for file in self.bench.work.ledger.records(self.feed.name, day)
        ]
        return {"files": files, "versions": self.bench.versions(), "commits": self.bench.commits()}


def _choose(things: Sequence[Thing], number: int) -> Thing:
    return things[number % len(things)]


def _told(status: str, duplicate_of: str | None, records: int) -> tuple[str, str | None, int | None]:
    """What is compared of a file; of one that waits to be judged again, only that it does."""
    return status, duplicate_of if status == SKIPPED else None, None if status == PENDING else records


def test_histories_of_files_are_the_models() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=50, stateful_step_count=12))


@pytest.mark.slow
def test_histories_of_files_are_the_models_deep() -> None:
    deep = settings(settings.get_profile("deep"), max_examples=1000, stateful_step_count=25)
    run_state_machine_as_test(Histories, settings=deep)
