"""Broken JSON cut into pieces: nothing that follows is lost, each fault is one piece, and block ends never show."""

import io
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assets_pkg.storage.json_pieces import JsonPieces

BLOCKS = [1, 2, 3, 7, 64, 4096, 2**20]
"""From one byte to more than any case has."""
LARGE = 2**24


@dataclass
class Read:
    """All pieces of a text, and the lines of those that are no object, by number."""

    pieces: list[str]
    lines: dict[int, int]

    @property
    def objects(self) -> list[str]:
        return [piece for number, piece in enumerate(self.pieces, 1) if number not in self.lines]


def read(data: bytes | str, block: int = 2**20, longest: int = LARGE) -> Read:
    content = data if isinstance(data, bytes) else data.encode()
    pieces = JsonPieces(io.BytesIO(content), max_piece_bytes=longest, block=block)
    found = Read([], {})
    for batch in pieces:
        found.pieces += [piece.decode() for piece in batch]
        found.lines |= pieces.lines
    return found


def read_in_any_blocks(data: bytes | str, longest: int = LARGE) -> Read:
    whole = read(data, longest=longest)
    for block in BLOCKS:
        assert read(data, block, longest) == whole, f"blocks of {block} bytes"
    return whole


A, B, C = '{"a": 1}', '{"b": {"x": [1, {"y": "}{"}]}}', '{"c": "é\\n\\u00e9"}'

LAYOUTS = {
    "lines": f"{A}\n{B}\n{C}\n",
    "lines without a last line end": f"{A}\n{B}\n{C}",
    "lines that end with CRLF": f"{A}\r\n{B}\r\n{C}\r\n",
    "lines that end with CR": f"{A}\r{B}\r{C}\r",
    "lines with blank ones between": f"\n\n{A}\n \t\n{B}\n\n{C}\n\n",
    "lines with commas behind": f"{A},\n{B},\n{C},\n",
    "objects in a row": A + B + C,
    "an array": f"[{A},{B},{C}]",
    "an array with an object on each line": f"[\n{A},\n{B},\n{C}\n]\n",
    "an array with commas in front": f"[\n  {A}\n, {B}\n, {C}\n]",
    "an array without commas": f"[{A}\n{B} {C}]",
    "an array that is not closed": f"[{A},\n{B},\n{C}",
    "two arrays": f"[{A}]\n[{B}, {C}]",
    "an array, then lines": f"[{A}]\n{B}\n{C}",
    "a byte-order mark": f"\ufeff{A}\n{B}\n{C}",
    "files with byte-order marks, one behind the other": f"\ufeff{A}\n\ufeff{B}\n\ufeff{C}",
}


@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_same_objects(text: str) -> None:
    assert read_in_any_blocks(text) == Read([A, B, C], {})


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("in_array", [False, True])
def test_objects_over_several_lines_are_given_as_they_stand(*, indent: int | None, in_array: bool) -> None:
    objects = [json.dumps({"n": number, "nested": {"list": [{}, {"x": "\n"}]}}, indent=indent) for number in range(50)]
    text = "[" + ",\n".join(objects) + "]" if in_array else "\n".join(objects)
    assert read_in_any_blocks(text) == Read(objects, {})


def test_an_object_may_have_brackets_on_lines_of_their_own() -> None:
    allman = '{\n"a":\n{\n"b": 1\n}\n}'
    assert read_in_any_blocks(f"{allman}\n{A}") == Read([allman, A], {})


@pytest.mark.parametrize("text", ["", " \n\t", "\ufeff", "[]", "[\n]\n", "[ "])
def test_there_may_be_nothing(text: str) -> None:
    assert read_in_any_blocks(text) == Read([], {})


# -- what is broken ----------------------------------------------------------------------------------

BROKEN: dict[str, tuple[str, list[str], dict[int, int]]] = {
    "a line that was cut in a string": (
        f'{A}\n{{"x": "2024-07\n{C}\n',
        [A, '{"x": "2024-07', C],
        {2: 2},
    ),
    "a line that was cut behind a colon": (f'{A}\n{{"x":\n{C}\n{A}', [A, '{"x":', C, A], {2: 2}),
    "a line that was cut in a nested object": (f'{A}\n{{"x": {{"y": 1\n{C}\n{A}', [A, '{"x": {"y": 1', C, A], {2: 2}),
    "a last line that was cut": (f'{A}\n{{"x": 1, ', [A, '{"x": 1, '], {2: 2}),
    "a wrong word": (f'{A}\n{{"x": oops}}\n{C}', [A, '{"x": oops}', C], {2: 2}),
    "a comma too many": (f'{A}\n{{"x": 1,}}\n{C}', [A, '{"x": 1,}', C], {2: 2}),
    "brackets that do not pair": (f'{A}\n{{"x": [1}}\n{C}', [A, '{"x": [1}', C], {2: 2}),
    "a line of text": (f"{A}\nhello, world\n{C}", [A, "hello, world", C], {2: 2}),
    "lines of values": (f"{A}\n1\nnull\n[1, 2]\n{C}", [A, "1", "null", "[1, 2]", C], {2: 2, 3: 3, 4: 4}),
    "text behind an object": (f"{A} and\n{C}", [A, "and", C], {2: 1}),
    "a closing bracket too many": (f"{A}}}\n{C}", [A, "}", C], {2: 1}),
    "an object over several lines": (
        '{\n"a": 1,\n"b": oops,\n"c": {"d": 1}\n}\n' + C,
        ['{\n"a": 1,\n"b": oops,\n"c": {"d": 1}\n}', C],
        {1: 1},
    ),
    "one that was not closed": ('{\n"a": 1\n{\n"b": 2\n}\n' + C, ['{\n"a": 1', '{\n"b": 2\n}', C], {1: 1}),
    "one with a string that was cut": ('{\n"a": "1,\n"b": 2\n}\n' + C, ['{\n"a": "1,\n"b": 2\n}', C], {1: 1}),
    "two in a row": ('{"x\n{"y\n' + A, ['{"x', '{"y', A], {1: 1, 2: 2}),
    "in an array on one line, a wrong word": (f'[{A}, {{"x": oops}}, {C}]', [A, '{"x": oops}', C], {2: 1}),
    "in an array on one line, a string that was cut": (f'[{A}, {{"x": "oops}}, {C}, {A}]', [A, '{"x": "oops', C, A], {2: 1}),
    "in an array on one line, brackets that do not pair": (f'[{A}, {{"x": [1, 2}}, {C}]', [A, '{"x": [1, 2', C], {2: 1}),
    "in an array, a line that was cut": (f'[\n{A},\n{{"x": "oo\n{C},\n{A}]', [A, '{"x": "oo', C, A], {2: 3}),
    "in an array, an object over several lines": (
        '[{\n"a": 1\n}, {\n"b": "x\n}, {\n"c": 1\n}]',
        ['{\n"a": 1\n}', '{\n"b": "x\n', '{\n"c": 1\n}'],
        {2: 3},
    ),
    "in an array, what is no object": (
        f'[1, "a, b", [2, {{}}], null, -1.5e3, oops, {C}]',
        ["1", '"a, b"', "[2, {}]", "null", "-1.5e3", "oops", C],
        dict.fromkeys(range(1, 7), 1),
    ),
    "a file that begins with text": (f"hello\n{A}", ["hello", A], {1: 1}),
}  # fmt: skip


@pytest.mark.parametrize(("text", "pieces", "lines"), BROKEN.values(), ids=BROKEN)
def test_a_fault_is_one_piece_and_what_follows_is_read(text: str, pieces: list[str], lines: dict[int, int]) -> None:
    found = read_in_any_blocks(text)
    assert (found.lines, found.objects) == (lines, [p for n, p in enumerate(pieces, 1) if n not in lines])
    assert [piece.strip() for piece in found.pieces] == [piece.strip() for piece in pieces]


@pytest.mark.parametrize(
    ("value", "piece"),
    [("NaN", "NaN"), ("-Infinity", "-Infinity"), ('"\\ud800"', '"\\ud800"'), ("9" * 5000, "9" * 5000)],
    ids=["NaN", "infinity", "a lone surrogate", "a number of 5000 digits"],
)
def test_what_pythons_json_accepts_is_sound(value: str, piece: str) -> None:
    assert read_in_any_blocks(f'{A}\n{{"x": {value}}}\n{C}') == Read([A, f'{{"x": {piece}}}', C], {})


def test_bytes_that_are_not_utf_8_are_replaced_and_lose_nothing() -> None:
    assert read_in_any_blocks(b'{"a": "\xff"}\n{"b": "\xc3"}\n') == Read(['{"a": "\ufffd"}', '{"b": "\ufffd"}'], {})


def test_what_is_nested_too_deeply_is_broken_and_what_follows_is_read() -> None:
    deep = '{"x": ' * 20_000 + "1" + "}" * 20_000
    found = read_in_any_blocks(f"{A}\n{deep}\n{C}\n")
    assert (found.objects, found.lines) == ([A, C], {2: 2})


@pytest.mark.parametrize("layout", ["{}\n{}\n{}\n", "[{}, {}, {}]"])
def test_a_piece_may_be_so_long_and_no_longer(layout: str) -> None:
    fits, too_long = ('{"x": "' + "y" * size + '"}' for size in (91, 92))
    assert len(fits) == 100
    assert read_in_any_blocks(layout.replace("{}", "%s") % (A, fits, C), longest=100) == Read([A, fits, C], {})
    found = read_in_any_blocks(layout.replace("{}", "%s") % (A, too_long, C), longest=100)
    assert (found.objects, list(found.lines)) == ([A, C], [2])


def test_a_fault_that_never_ends_takes_little_memory() -> None:
    class Endless(io.RawIOBase):
        """An object whose string never ends, for 64 MiB, and then one line more."""

        def __init__(self) -> None:
            self.parts = iter([b'{"a": 1}\n{"x": "', *[b"y" * 2**20] * 64, b"\n", b'{"c": 1}'])

        def read(self, _size: int = -1) -> bytes:
            return next(self.parts, b"")

    tracemalloc.start()
    try:
        pieces = JsonPieces(Endless(), max_piece_bytes=2**20)  # type: ignore[arg-type]
        found = [(piece[:5], dict(pieces.lines)) for batch in pieces for piece in batch]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [(b'{"a":', {2: 2}), (b'{"x":', {2: 2}), (b'{"c":', {2: 2})]
    assert peak < 16 * 2**20


# -- whatever comes ------------------------------------------------------------------------------------

SCRAPS = ["{", "}", "[", "]", ",", ":", '"', "\\", "\n", " ", "1", "-", "null", "é", '"k"', "{}", "},{", "}, {", "}\n{"]
_objects = st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, "x", None, {"y": [{}]}, "}{", "\n"]), max_size=3)
_sound = st.builds(json.dumps, _objects, indent=st.sampled_from([None, None, 1]))
_cut = st.builds(lambda text, at: text[: at % len(text)], _sound, st.integers(0, 99))
_junk = st.lists(st.sampled_from(SCRAPS), max_size=8).map("".join)


@given(st.lists(st.one_of(_sound, _sound, _cut, _junk, st.sampled_from(["\n", ",", "\n", ",\n"])), max_size=30))
@example(["[", '{"a": "}', ",", '{"b": 1}'])
@example(['{\n "b":{"b": "}{", "c": "}{", "a": "}{"}['])
def test_where_a_block_ends_never_shows(parts: list[str]) -> None:
    read_in_any_blocks("".join(parts), longest=40)
    read_in_any_blocks("".join(parts))


@given(st.lists(st.tuples(st.booleans(), _sound, _cut), max_size=40), st.booleans())
def test_sound_lines_are_read_whatever_lines_are_cut(lines: list[tuple[bool, str, str]], pretty: bool) -> None:
    one_line = [(sound, " ".join((text if sound else cut).split("\n"))) for sound, text, cut in lines]
    separator = "\n\n" if pretty else "\n"
    found = read_in_any_blocks(separator.join(text for _, text in one_line)).objects
    expected = [text for sound, text in one_line if sound]
    assert [piece for piece in found if piece in expected] == expected


def test_many_objects_with_faults_among_them_are_all_read() -> None:
    """Enough of them that stretches of every size are tried."""

    def texts() -> Iterator[str]:
        for number in range(20_000):
            if number % 997 == 5:
                yield f'{{"n": {number}, "cut'
            elif number % 1501 == 7:
                yield f'{{"n": {number}, "x": NaN}}'
            else:
                yield json.dumps({"n": number, "text": "x" * (number % 50)})

    expected = list(texts())
    found = read("\n".join(expected))
    assert found.pieces == expected
    assert found.lines == {number + 1: number + 1 for number in range(5, 20_000, 997)}
