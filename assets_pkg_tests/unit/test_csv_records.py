"""CSV bytes to records, as Python's csv splits them: odd quotes, line ends, bytes, lengths (section 9)."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_pkg.storage.csv_records import CsvRecords
from assets_pkg.storage.records import UnreadableFileError
from assets_pkg_tests.reference.csv_records import UnreadableFileError as OracleRefusesError
from assets_pkg_tests.reference.csv_records import read_records as oracle_reads

Read = tuple[list[str] | None, list[list[str] | str]]
"""The header, and each record in order: its fields, or the text of a malformed one."""

BLOCKS = [4, 5, 7, 16, 61, 2**10, 2**24]
"""From a few bytes to more than any case has: where a block ends must never show."""
LARGE = 2**24


def read(data: bytes, block: int = LARGE, open_quote_lines: int = 100, max_line_bytes: int = LARGE) -> Read:
    """Read all records; the record numbers must be 1, 2, 3 …"""
    records = CsvRecords(
        io.BytesIO(data), open_quote_lines=open_quote_lines, max_line_bytes=max_line_bytes, block=block
    )
    found: dict[int, list[str] | str] = {}
    for piece in records:
        assert piece.columns.height + len(piece.malformed) > 0
        numbered: list[tuple[int, list[str] | str]] = [(row[-1], list(row[:-1])) for row in piece.columns.iter_rows()]
        numbered += piece.malformed
        for number, content in numbered:
            assert number not in found, f"two records have number {number}"
            found[number] = content
    assert sorted(found) == list(range(1, len(found) + 1))
    return records.header, [found[number] for number in sorted(found)]


def oracle(data: bytes, open_quote_lines: int = 100, max_line_bytes: int = LARGE) -> Read:
    """The same from the oracle."""
    header, records = oracle_reads(data, open_quote_lines, max_line_bytes)
    return header, [record.fields if record.fields is not None else record.raw_text or "" for record in records]


AB = ["a", "b"]
MARK = b"\xef\xbb\xbf"
BAD = "\ufffd"

CASES: dict[str, tuple[bytes, list[str] | None, list[list[str] | str]]] = {
    # Files without records.
    "nothing": (b"", None, []),
    "one line end": (b"\n", None, []),
    "blank lines only": (b"\n\r\n\r\r\n\n", None, []),
    "a byte-order mark only": (MARK, None, []),
    "header only": (b"a,b", AB, []),
    "header and line end": (b"a,b\n", AB, []),
    "header and blank lines": (b"a,b\n\n\r\n", AB, []),
    "a header of blanks": (b" \n1\n", [" "], [["1"]]),
    # Line ends.
    "LF": (b"a,b\n1,2\n3,4\n", AB, [["1", "2"], ["3", "4"]]),
    "CRLF": (b"a,b\r\n1,2\r\n3,4\r\n", AB, [["1", "2"], ["3", "4"]]),
    "CR": (b"a,b\r1,2\r3,4\r", AB, [["1", "2"], ["3", "4"]]),
    "all of them": (b"a,b\r1,2\n3,4\r\n5,6\r7,8", AB, [["1", "2"], ["3", "4"], ["5", "6"], ["7", "8"]]),
    "no line end at the end": (b"a,b\n1,2", AB, [["1", "2"]]),
    "CR at the end": (b"a,b\n1,2\r", AB, [["1", "2"]]),
    "LF CR is a line and a blank line": (b"a,b\n\r1,2\n\r3,4", AB, [["1", "2"], ["3", "4"]]),
    "other Unicode line breaks are text": (
        "a,b\n1\u2028x,2\u0085y\n3\x0b,4\x0c\n\x1c,\x1e\n".encode(),
        AB,
        [["1\u2028x", "2\u0085y"], ["3\x0b", "4\x0c"], ["\x1c", "\x1e"]],
    ),
    # Blank lines are no records, and lines of blanks are.
    "blank lines before the header": (b"\n\r\n\ra,b\n1,2\n", AB, [["1", "2"]]),
    "blank lines between records": (b"a,b\n\n1,2\n\n\n\r\n3,4\n\n", AB, [["1", "2"], ["3", "4"]]),
    "a line of one blank": (b"a,b\n \n1,2\n", AB, [" ", ["1", "2"]]),
    "a line of one blank in one column": (b"a\n \n\n1\n", ["a"], [[" "], ["1"]]),
    "one comma": (b"a,b\n,\n", AB, [["", ""]]),
    # Ragged records.
    "too few fields": (b"a,b\n1\n2,3\n", AB, ["1", ["2", "3"]]),
    "too many fields": (b"a,b\n1,2,3\n4,5\n", AB, ["1,2,3", ["4", "5"]]),
    "a comma too many at the end": (b"a,b\n1,2,\n", AB, ["1,2,"]),
    "ragged with a quote": (b'a,b\n"1",2,3\n4,5\n', AB, ['"1",2,3', ["4", "5"]]),
    "ragged over two lines": (b'a,b\n"1\r\n1"\r\n4,5\n', AB, ['"1\r\n1"', ["4", "5"]]),
    "ragged at the end without line end": (b"a,b\n1,2\n3", AB, [["1", "2"], "3"]),
    "ragged line, CRLF": (b"a,b\r\n1\r\n2,3\r\n", AB, ["1", ["2", "3"]]),
    "two ragged lines that have the right number of commas together": (
        b"a,b,c\n1\n2,3,4,5,6\n7,8,9\n",
        ["a", "b", "c"],
        ["1", "2,3,4,5,6", ["7", "8", "9"]],
    ),
    "a ragged line of blanks around": (b"a,b\n  1 \n2,3\n", AB, ["  1 ", ["2", "3"]]),
    # One column.
    "one column": (b"a\n1\n2\n", ["a"], [["1"], ["2"]]),
    "one column with blank lines": (b"a\n\n1\n\n\n2\n\n", ["a"], [["1"], ["2"]]),
    "one column, empty quoted field": (b'a\n""\n1\n', ["a"], [[""], ["1"]]),
    "one column, too many": (b"a\n1,2\n3\n", ["a"], ["1,2", ["3"]]),
    "one column, CR": (b"a\r1\r\r2", ["a"], [["1"], ["2"]]),
    # Quotes.
    "quoted": (b'a,b\n"1","2"\n', AB, [["1", "2"]]),
    "a comma in quotes": (b'a,b\n"1,1",2\n', AB, [["1,1", "2"]]),
    "doubled quotes": (b'a,b\n"1""1",""""\n', AB, [['1"1', '"']]),
    "empty quoted fields": (b'a,b\n"",""\n', AB, [["", ""]]),
    "LF in quotes": (b'a,b\n"1\n1",2\n3,4\n', AB, [["1\n1", "2"], ["3", "4"]]),
    "CRLF in quotes": (b'a,b\r\n"1\r\n1",2\r\n3,4\r\n', AB, [["1\r\n1", "2"], ["3", "4"]]),
    "CR in quotes": (b'a,b\r"1\r1",2\r3,4\r', AB, [["1\r1", "2"], ["3", "4"]]),
    "blank lines in quotes": (b'a,b\n"\n\n\r\n",2\n', AB, [["\n\n\r\n", "2"]]),
    "a quote inside a field is text": (b'a,b\n1"1,2"\n3,4\n', AB, [['1"1', '2"'], ["3", "4"]]),
    "a quote after a blank is text": (b'a,b\n "1",2\n', AB, [[' "1"', "2"]]),
    "text after a closed quote": (b'a,b\n"1"1,"2" \n', AB, [["11", "2 "]]),
    "a quote in text after a closed quote": (b'a,b\n"1"1"1,2\n', AB, [['11"1', "2"]]),
    "quoted record at the end without line end": (b'a,b\n1,"2"', AB, [["1", "2"]]),
    "quoted between plain": (
        b'a,b\n1,2\n"3",4\n5,6\n7,"8"\n9,10\n',
        AB,
        [["1", "2"], ["3", "4"], ["5", "6"], ["7", "8"], ["9", "10"]],
    ),
    "single quotes and backslashes are text": (b"a,b\n'1,\\\"2\n", AB, [["'1", '\\"2']]),
    "a quoted line of commas": (b'a,b\n",,",","\n', AB, [[",,", ","]]),
    # The header.
    "quoted header": (b'"a","b"\n1,2\n', AB, [["1", "2"]]),
    "header over lines": (b'"a\nx",b\n1,2\n', ["a\nx", "b"], [["1", "2"]]),
    "header over lines, CRLF": (b'a,"b\r\n\r\ny"\r\n1,2\r\n', ["a", "b\r\n\r\ny"], [["1", "2"]]),
    "header with a comma in quotes": (b'"a,x",b\n1,2\n', ["a,x", "b"], [["1", "2"]]),
    "header that stays open": (b'a,"b\n1,2\n3,4\n', ["a", "b"], [["1", "2"], ["3", "4"]]),
    "header as it stands": (b" A ,b\n1,2\n", [" A ", "b"], [["1", "2"]]),
    "header of empty names": (b",,\n1,2,3\n", ["", "", ""], [["1", "2", "3"]]),
    # Quotes that never close: one malformed row, and reading goes on at the next line.
    "open to the end": (b'a,b\n"1,2\n3,4\n5,6\n', AB, ['"1,2', ["3", "4"], ["5", "6"]]),
    "open on the last line": (b'a,b\n1,2\n3,"4', AB, [["1", "2"], '3,"4']),
    "open on the last line, with line end": (b'a,b\n1,2\n3,"4\n', AB, [["1", "2"], '3,"4']),
    "open, CRLF": (b'a,b\r\n"1,2\r\n3,4\r\n', AB, ['"1,2', ["3", "4"]]),
    "open, CR": (b'a,b\r"1,2\r3,4', AB, ['"1,2', ["3", "4"]]),
    "open twice": (b'a,b\n"1,2\n"3,4\n5,6\n', AB, [["1,2\n3", "4"], ["5", "6"]]),
    "open again after a closed one": (b'a,b\n"1,2"\n"3,4\n5,6\n', AB, ['"1,2"', '"3,4', ["5", "6"]]),
    "open with blank lines below": (b'a,b\n"1,2\n\n\n3,4\n', AB, ['"1,2', ["3", "4"]]),
    "only a quote": (b'a,b\n"', AB, ['"']),
    "only a quote below the header": (b'a,b\n"\n1,2\n', AB, ['"', ["1", "2"]]),
    "three quotes are an open field": (b'a,b\n"""\n1,2\n', AB, ['"""', ["1", "2"]]),
    # A field opened on a later line of the record: that line is the malformed row's last.
    "opened again on a continuation line": (
        b'a,b\n"1\n1","2\n3,4\n5,6\n',
        AB,
        ['"1\n1","2', ["3", "4"], ["5", "6"]],
    ),
    "opened again, CRLF": (b'a,b\r\n"1\r\n1","2\r\n3,4\r\n', AB, ['"1\r\n1","2', ["3", "4"]]),
    "opened again twice": (
        b'a,b,c\n"1\n1","2\n2","3\n4,5,6',
        ["a", "b", "c"],
        ['"1\n1","2\n2","3', ["4", "5", "6"]],
    ),
    "opened again by a field of a doubled quote": (b'a,b\n"1\n1","""\n3,4\n', AB, ['"1\n1","""', ["3", "4"]]),
    "a quote in text on a continuation line": (
        b'a,b\n"1\n1"x"y,2\n3,4\n',
        AB,
        [['1\n1x"y', "2"], ["3", "4"]],
    ),
    "a doubled quote on a continuation line": (b'a,b\n"1\n""1",2\n', AB, [['1\n"1', "2"]]),
    "a stray quote further down closes": (
        b'a,b\n"1,2\n3,4\n5,6"\n7,8\n',
        AB,
        ['"1,2\n3,4\n5,6"', ["7", "8"]],
    ),
    "a stray quote further down closes into a whole record": (
        b'a,b\nx,"1\n3,4\n5"\n7,8\n',
        AB,
        [["x", "1\n3,4\n5"], ["7", "8"]],
    ),
    # Bytes.
    "UTF-8": ("a,b\nä,日本\n".encode(), AB, [["ä", "日本"]]),
    "UTF-8 in quotes": ('a,b\n"ä""ß",日本\n'.encode(), AB, [['ä"ß', "日本"]]),
    "NUL": (b"a,b\n1\x00,\x00\n", AB, [["1\x00", "\x00"]]),
    "NUL in quotes": (b'a,b\n"1\x00","\x00"\n', AB, [["1\x00", "\x00"]]),
    "NUL in a malformed row": (b"a,b\n\x00\n", AB, ["\x00"]),
    "a byte-order mark": (MARK + b"a,b\n1,2\n", AB, [["1", "2"]]),
    "a byte-order mark before a quote": (MARK + b'"a",b\n1,2\n', AB, [["1", "2"]]),
    "a byte-order mark before blank lines": (MARK + b"\n\na,b\n1,2\n", AB, [["1", "2"]]),
    "a second byte-order mark is text": (
        b"a,b\n" + MARK + b"1,2\n" + MARK + b"3,4\n",
        AB,
        [["\ufeff1", "2"], ["\ufeff3", "4"]],
    ),
    "a byte that is not UTF-8": (b"a,b\n1\xff,2\n3,4\n", AB, [["1" + BAD, "2"], ["3", "4"]]),
    "Latin-1": (b"a,b\nM\xfcller,2\n", AB, [[f"M{BAD}ller", "2"]]),
    "half a sign before a comma": (b"a,b\n\xe2\x82,2\n", AB, [[BAD, "2"]]),
    "half a sign before a line end": (b"a,b\n1,\xe2\x82\n3,4\n", AB, [["1", BAD], ["3", "4"]]),
    "half a sign before a quote": (b'a,b\n"\xe2\x82",2\n', AB, [[BAD, "2"]]),
    "half a sign at the end": (b"a,b\n1,\xf0\x9f\x98", AB, [["1", BAD]]),
    "four bad bytes": (b"a,b\n\xff\xfe\xc0\xaf,2\n", AB, [[BAD * 4, "2"]]),
    "a surrogate in UTF-8": (b"a,b\n\xed\xa0\x80,2\n", AB, [[BAD * 3, "2"]]),
    "bad bytes in a malformed row": (b"a,b\n1\xff\n2,3\n", AB, ["1" + BAD, ["2", "3"]]),
    "bad bytes in the header": (b"a\xff,b\n1,2\n", ["a" + BAD, "b"], [["1", "2"]]),
    "bad bytes in an open record": (b'a,b\n"\xff,2\n3,4\n', AB, [f'"{BAD},2', ["3", "4"]]),
    "white space stays": (b"a,b\n 1 ,\t2\n", AB, [[" 1 ", "\t2"]]),
    "what looks like something else": (b"a,b\n# 1,NULL\n-,1e5\n", AB, [["# 1", "NULL"], ["-", "1e5"]]),
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("data", "header", "records"), CASES.values(), ids=CASES.keys())
def test_records(data: bytes, header: list[str] | None, records: list[list[str] | str], block: int) -> None:
    assert read(data, block) == (header, records)


@pytest.mark.parametrize(("data", "header", "records"), CASES.values(), ids=CASES.keys())
def test_the_table_is_the_oracles_too(data: bytes, header: list[str] | None, records: list[list[str] | str]) -> None:
    assert oracle(data) == (header, records)


# A case with a quote that stays open is where the contract leaves Python's csv.
_CLOSED = {
    name: case
    for name, case in CASES.items()
    if not any(isinstance(record, str) for record in case[2]) and name != "header that stays open"
}


@pytest.mark.parametrize(("data", "header", "records"), _CLOSED.values(), ids=_CLOSED.keys())
def test_the_table_is_python_csvs_too(data: bytes, header: list[str] | None, records: list[list[str]]) -> None:
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    assert rows == ([] if header is None else [header, *records])


# -- how long a quote may stay open ----------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("lines", [1, 2, 3, 100])
def test_a_quote_may_close_on_the_last_line_allowed(lines: int, block: int) -> None:
    """The opening line is the first: with 3 lines the quote may close on the second line after it."""
    inside = ["1", *(["x"] * (lines - 2)), "z"] if lines > 1 else ["z"]
    data = ("a,b\n" + '"' + "\n".join(inside) + '",2\n3,4\n').encode()
    assert data.split(b"\n").index(b"3,4") == 1 + lines
    assert read(data, block, open_quote_lines=lines) == (AB, [["\n".join(inside), "2"], ["3", "4"]])


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("lines", [1, 2, 3, 100])
def test_a_quote_that_closes_a_line_later_never_closes(lines: int, block: int) -> None:
    between = [f"{number},x" for number in range(lines - 1)]
    data = "\n".join(["a,b", '"open,1', *between, 'y",2', "3,4", ""]).encode()
    expected = ['"open,1', *(each.split(",") for each in between), ['y"', "2"], ["3", "4"]]
    assert read(data, block, open_quote_lines=lines) == (AB, expected)


def test_the_hundred_lines_are_counted_from_the_line_on_which_the_open_quote_opened() -> None:
    long = "\n".join(["x"] * 99)
    data = f'a,b\n"{long}\n1","2\n{long}"\n3,4\n'.encode()
    assert read(data) == (AB, [[f"{long}\n1", f"2\n{long}"], ["3", "4"]])
    data = f'a,b\n"{long}\n1","2\n{long}\n"\n3,4\n'.encode()
    header, records = read(data)
    assert header == AB
    assert records[0] == f'"{long}\n1","2'
    assert records[1:-2] == ["x"] * 99
    assert records[-2:] == ['"', ["3", "4"]]


def test_a_header_that_stays_open_ends_after_its_line() -> None:
    rest = "".join(f"{number},x\n" for number in range(150))
    header, records = read(f'a,"b\n{rest}'.encode())
    assert (header, len(records), records[0]) == (["a", "b"], 150, ["0", "x"])


def test_many_open_quotes_cost_a_row_each() -> None:
    data = b"a,b\n" + b'1,"2\n' * 1000
    header, records = read(data, open_quote_lines=1)
    assert (header, records) == (AB, ['1,"2'] * 1000)


# -- how long a line may be ------------------------------------------------------------------------

LONGEST = 16
_ENDS = pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])


@_ENDS
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("at_end", [True, False], ids=["line end at the end", "none"])
def test_the_longest_line_allowed_is_read(end: str, block: int, at_end: bool) -> None:
    """A line's length is without its line end."""
    line = "1," + "x" * (LONGEST - 2)
    data = (end.join(["a,b", line, line, line]) + (end if at_end else "")).encode()
    assert read(data, block, max_line_bytes=LONGEST) == (AB, [line.split(",")] * 3)


@_ENDS
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("at_end", [True, False], ids=["line end at the end", "none"])
def test_a_longer_line_makes_the_file_unreadable(end: str, block: int, place: int, at_end: bool) -> None:
    lines = ["a,b", "1,2", "3,4", "5,6"]
    lines[place] += "x" * (LONGEST - 2)
    data = (end.join(lines) + (end if at_end else "")).encode()
    with pytest.raises(UnreadableFileError, match=r"line is longer than .* MiB"):
        read(data, block, max_line_bytes=LONGEST)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_longer_line_inside_quotes_counts_too(block: int) -> None:
    data = b'a,b\n"1\n' + b"x" * (LONGEST + 1) + b'",2\n'
    with pytest.raises(UnreadableFileError):
        read(data, block, max_line_bytes=LONGEST)


def test_a_record_may_be_longer_than_a_line() -> None:
    value = "\n".join(["x" * (LONGEST - 4)] * 50)
    assert read(f'a,b\n"{value}",2\n'.encode(), max_line_bytes=LONGEST) == (AB, [[value, "2"]])


def test_a_field_has_no_limit_of_its_own() -> None:
    value = "x" * 200_000
    assert read(f'a,b\n"{value}",{value}\n{value},2\n'.encode()) == (AB, [[value, value], [value, "2"]])


def test_the_message_says_how_much_is_allowed_and_where_to_change_it() -> None:
    with pytest.raises(UnreadableFileError, match=r"longer than 16 MiB.*reading\.max_line_mib"):
        read(b"a,b\n" + b"x" * (2**24 + 1), max_line_bytes=2**24)


# -- borrowed cases --------------------------------------------------------------------------------

SPECTRUM = [
    "comma_in_quotes", "empty", "empty_crlf", "escaped_quotes", "json", "newlines", "newlines_crlf",
    "quotes_and_newlines", "simple", "simple_crlf", "utf8", "location_coordinates",
]  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name", SPECTRUM)
def test_csv_spectrum(name: str, block: int, samples: Path) -> None:
    folder = samples / "csv_spectrum"
    expected = json.loads((folder / "json" / f"{name}.json").read_text(encoding="utf-8"))
    header, records = read((folder / "csvs" / f"{name}.csv").read_bytes(), block)
    assert header is not None
    rows = [dict(zip(header, record, strict=True)) for record in records if isinstance(record, list)]
    assert len(rows) == len(records)
    if name == "location_coordinates":  # one object, and the two files disagree on its phone number
        expected = [expected | {"Contact Phone Number": rows[0]["Contact Phone Number"]}]
    assert rows == expected


def test_csv_spectrum_is_whole(samples: Path) -> None:
    assert {path.stem for path in (samples / "csv_spectrum" / "csvs").glob("*.csv")} == set(SPECTRUM)


# -- against the oracle, and against Python --------------------------------------------------------

_PIECES = st.sampled_from(
    [b",", b",", b"\n", b"\n", b"\r\n", b"\r", b'"', b'"', b'""', b"a", b"1", b" ", b"\x00", b"\xff",
        b"\xe2\x82",
     "€".encode(), MARK, b"\x0b", "\u2028".encode(), b"1,2\n", b'"x","y"\n', b'"x\ny",z\r\n', b"a,b,c\r\n"]
)  # fmt: skip
_BYTES = st.lists(_PIECES, max_size=40).map(b"".join)
# Mostly in order: a header, and records of its width with now and then something else between them.
_FIELD = st.sampled_from(
    [
        "",
        "1",
        "x y",
        '"q"',
        '"a,b"',
        '"l\nl"',
        '"l\r\nl"',
        '"d""d"',
        'i"i',
        '"open',
        '"c"t',
        "é",
        "\x00",
        '"\n\n"',
    ]
)
_LINES = st.lists(
    st.one_of(
        st.tuples(_FIELD, _FIELD, _FIELD).map(",".join),
        st.tuples(_FIELD, _FIELD, _FIELD).map(",".join),
        st.lists(_FIELD, max_size=4).map(",".join),
    ),
    max_size=12,
)
_FILES = st.tuples(_LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans()).map(
    lambda parts: ("a,b,c" + parts[1] + parts[1].join(parts[0]) + (parts[1] if parts[2] else "")).encode()
)
_DATA = st.one_of(_BYTES, _FILES)
# Whether a byte-order mark counts as a part of its line is nobody's business.
_UNMARKED = _DATA.filter(lambda data: not data.startswith(MARK))


def _same_as_oracle(data: bytes, block: int, lines: int, longest: int) -> None:
    try:
        expected = oracle(data, lines, longest)
    except OracleRefusesError:
        with pytest.raises(UnreadableFileError):
            read(data, block, lines, longest)
    else:
        assert read(data, block, lines, longest) == expected


@settings(max_examples=400)
@given(_DATA, st.sampled_from([4, 6, 11, 40, LARGE]), st.sampled_from([1, 2, 3, 100]))
def test_records_are_the_oracles(data: bytes, block: int, lines: int) -> None:
    _same_as_oracle(data, block, lines, LARGE)


@settings(max_examples=200)
@given(_UNMARKED, st.sampled_from([4, 6, 11, LARGE]), st.integers(1, 12))
def test_line_lengths_are_the_oracles(data: bytes, block: int, longest: int) -> None:
    _same_as_oracle(data, block, 100, longest)


@settings(max_examples=200)
@given(
    st.lists(st.lists(st.text(max_size=8), min_size=3, max_size=3), max_size=10),
    st.sampled_from(
        [("\r\n", csv.QUOTE_MINIMAL), ("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_ALL), ("\r", csv.QUOTE_ALL)]
    ),
    st.sampled_from([4, 9, LARGE]),
)
def test_what_python_writes_is_read_back(rows: Sequence[list[str]], style: tuple[str, Any], block: int) -> None:
    rows = [[value.encode("utf-8", "replace").decode() for value in row] for row in rows]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=style[0], quoting=style[1])
    writer.writerows([["a", "b", "c"], *rows])
    assert read(out.getvalue().encode(), block) == (["a", "b", "c"], [list(row) for row in rows])


@pytest.mark.slow
@settings(settings.get_profile("deep"), max_examples=5_000)
@given(_UNMARKED, st.sampled_from([4, 6, 11, 40, LARGE]), st.sampled_from([1, 2, 3, 100]), st.integers(1, 60))
def test_records_are_the_oracles_deep(data: bytes, block: int, lines: int, longest: int) -> None:
    _same_as_oracle(data, block, lines, longest)
