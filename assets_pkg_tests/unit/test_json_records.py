"""JSON bytes to records: every value as its text in the file, keys as they come, broken files (sections 1, 9)."""

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_pkg.contracts.feeds import EVENTS
from assets_pkg.policy import FeedPolicy
from assets_pkg.storage import json_records
from assets_pkg.storage.json_records import JsonRecords, json_elements, json_lines
from assets_pkg.storage.raw_files import resolve_columns
from assets_pkg.storage.records import Columns, HeaderGrewError, UnreadableFileError
from assets_pkg_tests.reference.csv_records import UnreadableFileError as OracleRefusesError
from assets_pkg_tests.reference.json_records import read_json, read_json_lines
from assets_pkg_tests.workbench import GOOD, Workbench

COLUMNS = ("id", "time", "note")
ALIASES = FeedPolicy(required=(), aliases={"time": ("ts", "timestamp"), "id": ("key",)})
RESOLVE = partial(resolve_columns, columns=COLUMNS, policy=ALIASES)

Row = tuple[dict[str, str | None], dict[str, str]] | str
"""A record's columns and what is unknown, or the text of a malformed one."""

BLOCKS = [1, 2, 3, 7, 64, 2**20]
"""From one byte to more than any case has: where a block ends must never show."""
LARGE = 2**24
BAD = "\ufffd"
MARK = b"\xef\xbb\xbf"


def lines(stream: IO[bytes], block: int, longest: int) -> json_records.Sources:
    return json_lines(stream, max_line_bytes=longest, block=block)


def document(stream: IO[bytes], block: int, longest: int) -> json_records.Sources:
    return json_elements(stream, max_element_bytes=longest, block=block)


Layout = Callable[[IO[bytes], int, int], json_records.Sources]


def read(layout: Layout, data: bytes, block: int = LARGE, longest: int = LARGE) -> tuple[Columns | None, list[Row]]:
    """All records, as the raw step reads them: with all keys known as soon as one of them turns out to matter."""
    for whole_header in (False, True):
        stream = io.BytesIO(data)
        records = JsonRecords(lambda: layout(stream, block, longest), RESOLVE, whole_header=whole_header)  # noqa: B023
        columns = Columns({}) if records.header is None else RESOLVE(records.header)
        try:
            rows = _rows(records, columns)
        except HeaderGrewError:
            assert not whole_header
            continue
        return (None if records.header is None else columns), rows
    raise AssertionError


def _rows(records: JsonRecords, columns: Columns) -> list[Row]:
    found: dict[int, Row] = {}
    for piece in records.blocks(columns):
        assert piece.columns.height + len(piece.malformed) > 0
        needed = {str(position) for position in columns.positions.values()}
        assert set(piece.columns.columns) == {*needed, "row", "extra"}
        for row in piece.columns.iter_rows(named=True):
            values = {column: row[str(position)] for column, position in columns.positions.items()}
            extra = json.loads(row["extra"]) if row["extra"] is not None else {}
            assert list(extra) == sorted(extra)
            assert row["extra"] != "{}"
            assert row["row"] not in found
            found[row["row"]] = (values, extra)
        for number, text in piece.malformed:
            assert number not in found
            found[number] = text
    assert sorted(found) == list(range(1, len(found) + 1))
    return [found[number] for number in sorted(found)]


def oracle(layout: Layout, data: bytes, longest: int = LARGE) -> tuple[Columns | None, list[Row]]:
    """The same from the oracle."""
    header, records = read_json(data) if layout is document else read_json_lines(data, longest)
    columns = Columns({}) if header is None else RESOLVE(header)
    rows: list[Row] = []
    for record in records:
        if record.fields is None:
            rows.append(record.raw_text or "")
            continue
        values = {column: record.fields[position] for column, position in columns.positions.items()}
        unknown = {name: record.fields[position] for name, position in columns.unknown.items()}
        rows.append((values, {name: text for name, text in unknown.items() if text is not None}))
    return (None if header is None else columns), rows


# -- values ----------------------------------------------------------------------------------------

VALUES: dict[str, tuple[str, str | None]] = {
    "a string": ('"x"', "x"),
    "an empty string": ('""', ""),
    "blanks": ('" x "', " x "),
    "escapes": (r'"\"\\\/\b\f\n\r\t\u00e4"', '"\\/\b\f\n\r\tä'),
    "a pair of surrogates": (r'"\ud83d\ude00"', "😀"),
    "a lone surrogate": (r'"a\ud83db"', f"a{BAD}b"),
    "the wrong half": (r'"\ude00"', BAD),
    "two first halves": (r'"\ud83d\ud83d\ude00"', f"{BAD}😀"),
    "a string that looks like null": ('"null"', "null"),
    "a string that looks like a number": ('"1.50"', "1.50"),
    "DEL and other controls": ('"\x7f\u0085\u2028"', "\x7f\u0085\u2028"),
    "null": ("null", None),
    "true": ("true", "true"),
    "false": ("false", "false"),
    "a number": ("1200", "1200"),
    "a fraction": ("1.50", "1.50"),
    "an exponent": ("1e3", "1e3"),
    "another exponent": ("-1.0E+05", "-1.0E+05"),
    "minus zero": ("-0", "-0"),
    "a huge number": ("123456789012345678901234567890", "123456789012345678901234567890"),
    "more digits than Python takes": ("9" * 5000, "9" * 5000),
    "more than a float holds": ("1e999", "1e999"),
    "NaN": ("NaN", "NaN"),
    "Infinity": ("-Infinity", "-Infinity"),
    "an object": ('{ "b":1.50,\t"a" : [ ] }', '{ "b":1.50,\t"a" : [ ] }'),
    "an array": ('[1, "x\\u00e4",null]', '[1, "x\\u00e4",null]'),
    "NaN inside": ('[NaN, "\\ud800"]', '[NaN, "\\ud800"]'),
    "brackets in a string": ('"}],[{"', "}],[{"),
}


@pytest.mark.parametrize("layout", [lines, document])
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("source", "text"), VALUES.values(), ids=VALUES)
def test_a_value_becomes_its_text(source: str, text: str | None, block: int, layout: Layout) -> None:
    """As the value of a column, and of an unknown key; alone, and after strings."""
    before = '{"id": "1", "x": "y"}\n' * 3
    data = f'{before}{{"id": {source}, "x":{source} }}'.encode()
    _, rows = read(layout, data, block)
    assert rows[:-1] == [({"id": "1"}, {"x": "y"})] * 3
    assert rows[-1] == ({"id": text}, {} if text is None else {"x": text})


@pytest.mark.parametrize("layout", [lines, document])
def test_a_column_of_all_kinds_of_values(layout: Layout) -> None:
    data = "\n".join(f'{{"id":{source},"note":"n"}}' for source, _ in VALUES.values()).encode()
    _, rows = read(layout, data)
    assert rows == [({"id": text, "note": "n"}, {}) for _, text in VALUES.values()]


CASES: dict[str, bytes] = {
    "an empty object": b"{}",
    "equal keys": b'{"id":1,"id":"2","x":1,"x":null}\n{"id":"1","id":2}',
    "keys that are equal when read": b'{"i\\u0064":1,"id":2}',
    "lone surrogates in keys": b'{"\\ud800":1,"id":"1"}',
    "keys of quotes and controls": b'{"a\\"b":1,"\\n":2,"\\\\":3,"id":"1"}\n{"id":"2","a\\"b":"x"}',
    "an empty key": b'{"":1,"id":"2"}',
    "normalised keys": b'{" ID ":"1","\\ufeffTime":"2","NOTE\\u00a0":"3"}',
    "aliases": b'{"ts":"1","key":"2"}',
    "a mark in front": MARK + b'{"id":"1"}',
    "bytes that are not UTF-8": b'{"id":"\xff\xe2\x82","x\xff":["\xc0\xaf"]}',
    "a surrogate in UTF-8": b'{"id":"\xed\xa0\x80"}',
    "signs of all lengths": '{"id":"aä日😀","ä日😀":"x"}'.encode(),
    "other keys in every object": b'{"a":1}\n{"b":2}\n{"c":3}\n{"id":4}',
    "a key that others lack": b'{"id":"1"}\n{"id":"2","mood":"x"}\n{"id":"3","mood":null}\n{"mood":"z"}',
    "names that clash": b'{"X":1,"id":1}\n{"x":2}\n{" x":3,"x_2":4}\n{"X":5," X":6}',
    "its own name comes late": b'{"ts":"alias"}\n{"time":"own"}\n{"time":"own","ts":"alias"}',
    "a better alias comes late": b'{"timestamp":"1"}\n{"ts":"2","timestamp":"3"}',
    "a worse alias comes late": b'{"ts":"2"}\n{"timestamp":"3"}',
    "the same column comes again": b'{"ID":"1"}\n{"id":"2"}\n{"ID":"3","id":"4"}',
    "spaces inside": b' { "id" : "1" , "x" :\t[ 1 ] } ',
    "many keys": json.dumps({f"k{n}": str(n) for n in range(200)} | {"id": "1"}).encode(),
    "many keys, then a column": b"\n".join(
        [json.dumps({f"k{n}": str(n) for n in range(100)}).encode()] * 3 + [b'{"id":"1","k99":2}'] * 3
    ),
}

LINES: dict[str, bytes] = {
    "nothing": b"",
    "a mark only": MARK,
    "blank lines": b"\n\r\n\r \n\t\n",
    "white space that is Unicode's": "\u00a0\u2003\n\u2028\u0085\n".encode(),
    "control characters are none": b"\x1c\n\x1f\n",
    "only lines that are no objects": b'1\n"x"\n[]\nnull\nno\n',
    "no object first": b'1\n{"id":"1"}\n2',
    "all line ends": b'{"id":1}\r{"id":2}\n{"id":3}\r\n\r\n{"id":4}',
    "a break inside": b'{"id":\n1}\n{"id":[1\n2]}\n{"id":2}',
    "two on a line": b'{"id":1}{"id":2}\n{"id":1} {"id":2}\n{"id":1},{"id":2}\n{"id":3},\n',
    "broken ones": b'{"id":1\n{"id":01}\n{"id":.5}\n{"id":1.}\n{id:1}\n{\'id\':1}\n{"id":1,}\n{"id":tru}\n{"id":"x}\n{"id":2}',
    "controls in strings": b'{"id":"a\tb"}\n{"id":"\x00"}\n{"id":1}\x00',
    "bad escapes": b'{"id":"\\x"}\n{"id":"\\u12"}\n{"id":"\\"}',
    "bad bytes outside strings": b'{"id":1}\xff\n\xff\n{"id":2}',
    "a second mark is text": b'{"id":1}\n' + MARK + b'{"id":2}',
    "other line breaks are text": '{"id":"1\u2028\u0085"}\n'.encode(),
}

DOCUMENTS: dict[str, bytes] = {
    "no elements": b"[]",
    "no elements, blanks": b" \n[ \t]\r\n ",
    "elements": b'[{"id":1},{"id":"2"}]',
    "elements that are no objects": b'[1,{"id":1},null,"x",[{"id":2}, 3],-0,1.50]',
    "only such": b"[1, 2]",
    "a number at the end": b"[{}, 12345]",
    "over lines": json.dumps([{"id": n, "x": {"y": [n, "}, {"]}} for n in range(20)], indent=2).encode(),
    "a mark": MARK + b'[{"id":1}]',
    "bad bytes": b'[{"id":"\xff"},"\xff"]',
    "one after another": b'{"id":1}{"id":2} {"id":3}\n\n{\n"id"\n:\n4}\r\n',
    "one after another over lines": "\n".join(
        json.dumps({"id": n, "o": {"a": {}}}, indent=1) for n in range(20)
    ).encode(),
    "blanks everywhere": b' [ {"id" : 1 } , { } , [ ] ] ',
    "strings that look like ends": b'[{"id":"}, {"},{"id":"\\"},{"},{"id":"}]"}]',
    "NaN": b'[{"id":NaN},{"id":"x","y":-Infinity},NaN,Infinity,-Infinity]',
    "nested objects": b'[{"a":{"b":{"c":1}},"id":1},{"a":[{},{}],"id":2},{"a":{"b":2},"id":3}]',
}

_ALL = [
    *((lines, name, data) for name, data in (CASES | LINES).items()),
    *((document, name, data) for name, data in (CASES | DOCUMENTS).items()),
]


@pytest.mark.parametrize("block", [*range(1, 24), 64, 2**20])
@pytest.mark.parametrize(("layout", "name", "data"), _ALL, ids=[f"{each[0].__name__}: {each[1]}" for each in _ALL])
def test_records_are_the_oracles(layout: Layout, name: str, data: bytes, block: int) -> None:
    """Wherever a block ends."""
    assert read(layout, data, block) == oracle(layout, data)


def test_some_cases_by_hand() -> None:
    """So that not all hangs on the oracle."""
    columns, rows = read(lines, CASES["its own name comes late"])
    assert columns == Columns({"time": 1}, {"ts": 0}, ("id", "note"))
    assert rows == [
        ({"time": None}, {"ts": "alias"}),
        ({"time": "own"}, {}),
        ({"time": "own"}, {"ts": "alias"}),
    ]
    _, rows = read(lines, CASES["names that clash"])
    assert [row[1] for row in rows] == [{"x": "1"}, {"x_2": "2"}, {"x_3": "3", "x_2_2": "4"}, {"x": "5", "x_4": "6"}]
    assert read(lines, LINES["nothing"]) == (None, [])
    assert read(lines, LINES["blank lines"]) == (None, [])
    assert read(lines, LINES["only lines that are no objects"]) == (None, ["1", '"x"', "[]", "null", "no"])
    assert read(document, DOCUMENTS["no elements"]) == (None, [])
    assert read(document, b"[1, {} , [ 2 ]]") == (Columns({}, {}, COLUMNS), ["1", ({}, {}), "[ 2 ]"])


# -- keys ------------------------------------------------------------------------------------------


def test_all_keys_of_the_first_block_are_the_header() -> None:
    data = b'{"b":1}\n{"a":2,"b":3}\n'
    assert JsonRecords(lambda: lines(io.BytesIO(data), LARGE, LARGE), RESOLVE).header == ["b", "a"]
    assert JsonRecords(lambda: lines(io.BytesIO(data), 8, LARGE), RESOLVE).header == ["b"]
    whole = JsonRecords(lambda: lines(io.BytesIO(data), 8, LARGE), RESOLVE, whole_header=True)
    assert whole.header == ["b", "a"]


@pytest.mark.parametrize(
    ("later", "grows"),
    [
        (b'{"note":1}', True),
        (b'{"time":1}', True),
        (b'{"timestamp":1}', False),
        (b'{"id":1,"mood":2}', False),
        (b'{"key":1}', False),
        (b"[]", False),
    ],
)
def test_only_a_key_that_changes_what_feeds_a_column_asks_for_the_whole_header(later: bytes, grows: bool) -> None:
    data = b'{"id":1,"ts":2}\n' + later
    records = JsonRecords(lambda: lines(io.BytesIO(data), 4, LARGE), RESOLVE)
    columns = RESOLVE(records.header or [])
    if grows:
        with pytest.raises(HeaderGrewError):
            list(records.blocks(columns))
    else:
        list(records.blocks(columns))
        assert set(columns.unknown) <= {"timestamp", "mood", "key"}


def test_many_keys_are_recorded_in_short() -> None:
    columns = Columns({}, {f"k{number}": number for number in range(1434)})
    assert columns.unknown_names() == (*(f"k{number}" for number in range(200)), "… and 1234 more")
    assert Columns({}, {"a": 1}).unknown_names() == ("a",)
    assert len(Columns({}, {f"k{number}": number for number in range(200)}).unknown_names()) == 200


@pytest.mark.parametrize("block", [50, 1000, 2**20])
def test_keys_beyond_those_remembered_are_kept_all_the_same(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_records, "_KEYS", 5)
    objects = [{"id": str(number), f" K{number} ": str(number), "ts": "t"} for number in range(50)]
    objects += [{"time": "own", "n": None, "x": "y", "X": "z"}]
    columns, rows = read(lines, "\n".join(map(json.dumps, objects)).encode(), block)
    assert columns is not None
    assert list(columns.positions) == ["id", "time"]
    assert rows[:50] == [({"id": str(n), "time": None}, {f"k{n}": str(n), "ts": "t"}) for n in range(50)]
    assert rows[50] == ({"id": None, "time": "own"}, {"x": "y", "x_2": "z"})


def _peak(read_all: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        read_all()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


class Made(io.RawIOBase):
    """A file that is made while it is read: `piece(number)` until there are `pieces`."""

    def __init__(self, piece: Callable[[int], bytes], pieces: int) -> None:
        self._piece, self._pieces = piece, pieces
        self._next, self._rest = 0, b""

    def seek(self, offset: int, whence: int = 0) -> int:
        assert (offset, whence) == (0, 0)
        self._next, self._rest = 0, b""
        return 0

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and self._next < self._pieces:
            self._rest += self._piece(self._next)
            self._next += 1
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def _all(layout: Layout, made: Made) -> int:
    records = JsonRecords(lambda: layout(made, 2**16, LARGE), RESOLVE)  # type: ignore[arg-type]
    columns = Columns({}) if records.header is None else RESOLVE(records.header)
    return sum(block.columns.height + len(block.malformed) for block in records.blocks(columns))


def test_any_number_of_keys_takes_no_memory() -> None:
    def piece(number: int) -> bytes:
        return b"".join(b'{"id":"1","key-%d":"x"}\n' % (number * 1000 + each) for each in range(1000))

    assert _peak(lambda: _all(lines, Made(piece, 30))) < 20


def test_a_large_array_takes_no_memory() -> None:
    made = Made(lambda number: (b"[" if number == 0 else b",") + b'{"id":"1","note":"%d"}' % number, 50_000)
    with pytest.raises(UnreadableFileError, match="before the closing ]"):
        _all(document, made)

    def read_all() -> None:
        with pytest.raises(UnreadableFileError):
            _all(document, made)

    assert _peak(read_all) < 20


@pytest.mark.parametrize("layout", [lines, document])
def test_white_space_takes_no_memory(layout: Layout) -> None:
    made = Made(lambda number: b" \n" * 2**15 if number < 400 else b'{"id":1}', 401)
    if layout is document:
        assert _peak(lambda: _all(layout, made)) < 20
    assert _all(layout, Made(lambda number: b" \n" * 2**10 if number < 4 else b'{"id":1}', 5)) == 1


# -- broken documents ------------------------------------------------------------------------------

BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the file is empty"),
    "a mark only": (MARK, "the file is empty"),
    "white space": (b" \n\t\r\n", "the file is empty"),
    "a number": (b"1", "begins with"),
    "a string": (b'"x"', "begins with"),
    "null": (b"null", "begins with"),
    "words": (b"no json", "begins with"),
    "not closed": (b'[{"id":1}', "before the closing ]"),
    "not closed, comma": (b'[{"id":1},', "element 2"),
    "only opened": (b"[", "element 1"),
    "a comma too many": (b'[{"id":1},]', "element 2"),
    "no comma": (b'[{"id":1}\n\n{"id":2}]', r"element 2 \(line 3\): a comma or the closing"),
    "text behind": (b'[{"id":1}]\nx', r"line 2\): there is text behind"),
    "a second array": (b"[] []", "text behind"),
    "an object behind": (b'[{"id":1}] {"id":2}', "text behind"),
    "an object cut": (b'{"id":1}\n{"id":', r"element 2 \(line 2\)"),
    "a string cut": (b'[{"id":"1', "element 1"),
    "a value behind an object": (b'{"id":1}\n1', r"element 2 \(line 2\): only objects"),
    "an array behind an object": (b'{"id":1}[]', "only objects"),
    "a comma behind an object": (b'{"id":1},{"id":2}', "only objects"),
    "a broken element": (b'[{"id":1},\n{"id":01},\n{"id":3}]', r"element 2 \(line 2\)"),
    "a broken line in an element": (b'[{"id":1},\n{\n"id"\n1}]', r"element 2 \(line 4\)"),
    "a control character": (b'[{"id":"\n"}]', "element 1"),
    "too deep": (b"[" * 3000, "nested too deeply"),
    "an element too deep": (b'[{"id":' + b"[" * 3000 + b"]" * 3000 + b"}]", "nested too deeply"),
}


@pytest.mark.parametrize("block", [1, 5, 64, 2**20])
@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_anything_else_is_no_json(data: bytes, message: str, block: int) -> None:
    with pytest.raises(UnreadableFileError, match=message) as raised:
        read(document, data, block)
    assert "sk for it again" in str(raised.value)
    with pytest.raises(OracleRefusesError):
        oracle(document, data)


def test_a_fault_early_in_a_large_file_is_told_at_once() -> None:
    made = Made(lambda number: b'[{"id":1},{"id" 2},' if number == 0 else b'{"id":3},' * 1000, 10_000)
    with pytest.raises(UnreadableFileError, match=r"element 2 \(line 1\): Expecting ':'"):
        _all(document, made)
    assert made._next < 100


@pytest.mark.parametrize("layout", [lines, document])
@pytest.mark.parametrize("block", [7, 64, 2**20])
def test_the_longest_record_allowed(layout: Layout, block: int) -> None:
    longest = '{"id":"' + "x" * 32 + '"}'
    data = f"{longest}\n{longest}".encode()
    assert len(read(layout, data, block, len(longest))[1]) == 2
    for each in (
        data.replace(b"xx", "xä".encode(), 1),
        data.replace(b"x\n", b"xx\n"),
        data + b"\n" + longest[:-1].encode() + b" }",
    ):
        with pytest.raises(UnreadableFileError, match=r"longer than .*reading\.max_line_mib"):
            assert read(layout, each.replace(b'x"}\n', b'xx"}\n', 1), block, len(longest))


@pytest.mark.parametrize(("start", "more"), [(b'[{"id":"', b"x"), (b'{"id":[', b"1,"), (b'["', b"\\\\"), (b"[", b"1")])
def test_an_element_that_does_not_end_is_told_before_all_is_read(start: bytes, more: bytes) -> None:
    made = Made(lambda number: more * 1000 if number else start, 1_000_000)
    with pytest.raises(UnreadableFileError, match="longer than"):
        list(document(made, 2**10, 2**16))  # type: ignore[arg-type]
    assert made._next < 1000


def test_deep_nesting_in_a_line_is_a_malformed_row() -> None:
    deep = '{"id":' + "[" * 100_000 + "]" * 100_000 + "}"
    assert read(lines, f'{{"id":1}}\n{deep}\n{{"id":2}}'.encode())[1] == [({"id": "1"}, {}), deep, ({"id": "2"}, {})]


# -- against the oracle ----------------------------------------------------------------------------

_TOKENS = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"id"', '"ts"', '"x"', '"X "', '"a\\"b"', "1", "-0", "1.50", "NaN", "null", "true",
     '"\\ud800"', '"é日"', '""', " ", "\n", "\r\n", "\t", "\\", '"', "e", "\ufeff"]
)  # fmt: skip
_KEY = st.sampled_from(["id", "ID", "key", "time", "ts", "note", "x", "X", "x_2", "", 'q"', "é", "k1", "k2", "k3"])
_SCALAR = st.sampled_from(
    ['"a"', '"é\\n"', "1", "-0", "1.50", "null", "true", "NaN", '"\\udc00"', '"}, {"', "[]", '{"a":[1, {}]}']
)
_OBJECT = st.lists(st.tuples(_KEY, _SCALAR), max_size=5).map(
    lambda members: "{" + ", ".join(f"{json.dumps(key)}:{value}" for key, value in members) + "}"
)
_ELEMENT = st.one_of(_OBJECT, _OBJECT, _OBJECT, _SCALAR)
_DATA = st.one_of(
    st.lists(_TOKENS, max_size=30).map("".join),
    st.tuples(st.lists(_ELEMENT, max_size=12), st.sampled_from(["\n", "\r\n", "\r", " ", ""])).map(
        lambda parts: parts[1].join(parts[0])
    ),
    st.tuples(st.lists(_ELEMENT, max_size=12), st.sampled_from([",", " ,\n"])).map(
        lambda parts: "[" + parts[1].join(parts[0]) + "]"
    ),
).map(str.encode)
_CUT = st.tuples(_DATA, st.integers(0, 300)).map(lambda parts: parts[0][: parts[1]])


@settings(max_examples=500)
@given(st.sampled_from([lines, document]), st.one_of(_DATA, _CUT), st.sampled_from([1, 2, 5, 17, LARGE]))
def test_any_bytes_are_read_as_the_oracle_does(layout: Layout, data: bytes, block: int) -> None:
    try:
        expected = oracle(layout, data)
    except OracleRefusesError:
        with pytest.raises(UnreadableFileError):
            read(layout, data, block)
    else:
        assert read(layout, data, block) == expected


# -- raw rows --------------------------------------------------------------------------------------


def jsonl(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(GOOD["events"] | row) + "\n" for row in rows).encode()


CONTENT = jsonl({}, {"duration_ms": 5, "Mood": "good", "a": None}, {"url": None, "tags": ["x", 1.5]})
FILES: dict[str, bytes] = {
    "events_raw.jsonl": CONTENT,
    "events_raw.ndjson": CONTENT,
    "events_raw.jsonl.gz": gzip.compress(CONTENT),
    "events_raw.ndjson.gz": gzip.compress(CONTENT),
    "events_raw.json": b"[" + CONTENT.strip().replace(b"\n", b",") + b"]",
    "events_raw_2.json": CONTENT,
}


@pytest.mark.parametrize(("name", "content"), FILES.items(), ids=FILES)
def test_every_json_format_gives_raw_rows(name: str, content: bytes, bench: Workbench) -> None:
    source = bench.put(name, content)
    (file,) = bench.land(EVENTS).files
    assert (file.status, file.records, file.absent_columns) == ("SUCCESS", 3, ("ingest_date",))
    assert file.unknown_columns == ("mood", "a", "tags")
    rows = sorted(bench.rows("raw_events"), key=lambda row: row["source_row"])
    good = GOOD["events"]
    assert [{name: row[name] for name in good} for row in rows] == [
        good,
        good | {"duration_ms": "5"},
        good | {"url": None},
    ]
    assert [row["extra"] for row in rows] == [None, '{"mood":"good"}', '{"tags":"[\\"x\\", 1.5]"}']
    assert [(row["source_file"], row["source_row"], row["raw_text"]) for row in rows] == [
        (source, number, None) for number in (1, 2, 3)
    ]


def test_a_malformed_line_has_null_in_every_column(bench: Workbench) -> None:
    bench.put("events_raw.jsonl", CONTENT + b"{broken\r\n\n[1]")
    assert bench.land(EVENTS).rows == 5
    rows = {row["source_row"]: row for row in bench.rows("raw_events")}
    assert [rows[4]["raw_text"], rows[5]["raw_text"]] == ["{broken", "[1]"]
    assert all(rows[4][name] is None for name in (*EVENTS.raw_columns, "extra"))


@pytest.mark.parametrize(
    ("name", "content"), [("events_raw.jsonl", b"\n \n"), ("events_raw.json", b"[]"), ("events_raw.jsonl", b"")]
)
def test_a_file_without_an_object_says_nothing_about_columns(name: str, content: bytes, bench: Workbench) -> None:
    bench.put(name, content)
    (file,) = bench.land(EVENTS).files
    assert (file.status, file.records, file.absent_columns, file.unknown_columns) == ("SUCCESS", 0, (), ())


def test_lines_without_any_object_are_all_malformed_rows(bench: Workbench) -> None:
    bench.put("events_raw.jsonl", b"1\n2")
    (file,) = bench.land(EVENTS).files
    assert (file.status, file.records, file.absent_columns) == ("SUCCESS", 2, ())
    assert {row["raw_text"] for row in bench.rows("raw_events")} == {"1", "2"}


@pytest.mark.parametrize("packed", [False, True])
def test_a_column_that_comes_late_is_everyones(packed: bool, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of all objects together: the first rows were already on their way when it appeared."""
    monkeypatch.setattr(json_records.json_lines, "__kwdefaults__", {"block": 100})
    content = b'{"event_id":"1","ts":"t"}\n' * 50 + b'{"event_id":"2","event_time":"own","ts":"t"}'
    bench.put(f"events_raw.jsonl{'.gz' * packed}", gzip.compress(content) if packed else content)
    (file,) = bench.land(EVENTS).files
    assert (file.records, file.unknown_columns) == (51, ("ts",))
    assert "event_time" not in file.absent_columns
    rows = {row["source_row"]: row for row in bench.rows("raw_events")}
    assert sorted(rows) == list(range(1, 52))
    assert (rows[1]["event_time"], rows[1]["extra"], rows[51]["event_time"]) == (None, '{"ts":"t"}', "own")


UNREADABLE: dict[str, tuple[str, bytes, str]] = {
    "0 bytes": ("events_raw.json", b"", "the file is empty"),
    "0 bytes, packed": ("events_raw.jsonl.gz", b"", "empty (0 bytes)"),
    "0 bytes, packed ndjson": ("events_raw.ndjson.gz", b"", "empty (0 bytes)"),
    "cut off": ("events_raw.jsonl.gz", gzip.compress(CONTENT)[:-9], "too early"),
    "not packed": ("events_raw.ndjson.gz", CONTENT, "no valid gzip"),
    "broken": ("events_raw.json", b'[{"event_id":"1"}', "before the closing ]"),
    "a long line": ("events_raw.jsonl", CONTENT + b'"' + b"x" * 2**20 + b'"', "a line is longer than 1 MiB"),
    "a long element": ("events_raw.json", b'["' + b"x" * 2**20 + b'"]', "element 1 (line 1) is longer than 1 MiB"),
}


@pytest.mark.parametrize(("name", "content", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_file_is_failed_and_stops_no_other(
    name: str, content: bytes, message: str, tmp_path: Any
) -> None:
    bench = Workbench(tmp_path, {"reading": {"max_line_mib": 1}})
    bad = bench.put(name, content)
    bench.put("events_raw_good.jsonl", CONTENT)
    landed = bench.land(EVENTS)
    failed = next(file for file in landed.files if file.path == bad)
    assert (landed.rows, failed.status) == (3, "FAILED")
    assert message in (failed.error or "")


def test_extra_is_written_as_for_csv(bench: Workbench) -> None:
    """The same characters, whichever way a record was read."""
    names: Sequence[str] = ["no\u2028te", 'a"b\\', "</s>"]
    value = '"quoted" \\ / \t ü 日 \x01 \x7f \u2028 </script>'
    row = GOOD["events"] | dict.fromkeys(names, value)
    cells = ",".join('"' + text.replace('"', '""') + '"' for text in row.values())
    bench.put("events_raw.csv", ",".join('"' + name.replace('"', '""') + '"' for name in row) + f"\n{cells}\n")
    bench.put("events_raw_1.jsonl", json.dumps(row) + "\n" + json.dumps(row | {"new": None, "platform": 1}))
    bench.land(EVENTS)
    extras = {row["extra"] for row in bench.rows("raw_events")}
    assert len(extras) == 1
