"""JSON to records: values as their text as it stands in the file, in blocks, in bounded memory (contract §1, §9).

Both layouts, JSON lines and one `.json` document, become lists of *sources*: the bytes of one object each. Most
objects of a file look alike, so msgspec decodes them into a struct made for this file: fields that hold only strings
and nulls as str, all others as slices of the source. What the struct does not fit (a new key, a number where a string
was, NaN) is read by a slower and more general way, and teaches the struct for the blocks to come. What msgspec
refuses and Python's json module accepts is accepted.
"""

import codecs
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import IO, Any, Final, NoReturn

import msgspec
import polars as pl

from assets_pkg.contracts.feeds import EXTRA, TEXT
from assets_pkg.storage.json_window import JsonWindow
from assets_pkg.storage.lines import LineBlocks, normal_line_ends
from assets_pkg.storage.records import (
    ROW,
    Block,
    Columns,
    HeaderGrewError,
    Resolve,
    UnreadableFileError,
    json_object,
)

_BLOCK: Final = 2**20  # the objects of 4 MiB do not fit the processor's cache: 20 % slower
_FIELDS: Final = 64  # of the struct; keys beyond are read the general way
_KEYS: Final = 10_000  # that are remembered; a file may have a new key in every object
_SAMPLE: Final = 100  # objects looked at before the first struct is made
_RUN: Final = 100  # objects decoded at a stroke, as long as all have the struct's shape
_NULL: Final = msgspec.Raw(b"null")
_NO_FIELD: Final = re.compile(r'["\\\x00-\x1f]')  # msgspec has no fields of such names
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BLANK: Final = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*")  # White_Space
_OPENING: Final = re.compile(r'[ \t\n\r]*\{[ \t\n\r]*(?:(?=")|\})')
_COLON: Final = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_FOLLOWING: Final = re.compile(r'[ \t\n\r]*(?:,[ \t\n\r]*(?=")|\})')
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

Sources = Iterator[list[bytes]]
Members = dict[str, str | None]
"""An object's keys, each with the text of its value; None for null."""


class _Verbatim(str):
    """The text of a value that is no string, as it stands in the file."""

    __slots__ = ()


# Numbers are never made into numbers: that would be slow, and too long ones would be refused.
_PYTHON: Final = json.JSONDecoder(parse_int=_Verbatim, parse_float=_Verbatim, parse_constant=_Verbatim)


# -- sources to records --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """How objects of the file look: a struct with a field per key; keys in `sliced` do not hold strings only."""

    keys: tuple[str, ...] = ()
    sliced: frozenset[str] = frozenset()

    @cached_property
    def decode(self) -> Callable[[bytes], Any]:
        """Gives an object as the struct; raises msgspec.DecodeError for what has another shape."""
        fields: list[tuple[str, Any, Any]] = [
            (f"k{number}", *((msgspec.Raw, _NULL) if key in self.sliced else (str | None, None)))
            for number, key in enumerate(self.keys)
        ]
        names = {f"k{number}": key for number, key in enumerate(self.keys)}
        # Without garbage collection: the objects hold texts only.
        struct = msgspec.defstruct("Record", fields, rename=names, forbid_unknown_fields=True, gc=False)
        return msgspec.json.Decoder(struct).decode

    def texts(self, objects: list[Any]) -> Iterator[tuple[str, pl.Series]]:
        """Each key with its values as text."""
        for number, key in enumerate(self.keys):
            values = list(map(attrgetter(f"k{number}"), objects))
            yield key, _sliced_texts(values) if key in self.sliced else pl.Series(values, dtype=TEXT)


@dataclass
class _Decoded:
    """A block's records: those of the file's `shape`, and others by their number within the block."""

    shape: _Shape
    objects: list[Any] = field(default_factory=list)
    odd: list[tuple[int, Members]] = field(default_factory=list)
    malformed: list[tuple[int, str]] = field(default_factory=list)
    unremembered: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.objects) + len(self.odd) + len(self.malformed)

    def add_each(self, sources: list[bytes]) -> None:
        """Add records of which not all have the file's shape."""
        for source in sources:
            try:
                self.objects.append(self.shape.decode(source))
            except (msgspec.DecodeError, RecursionError):
                text = source.decode()
                if _BLANK.fullmatch(text):
                    continue
                members = _members(source)
                if members is None:
                    self.malformed.append((len(self) + 1, text))
                else:
                    self.odd.append((len(self) + 1, members))


class JsonRecords:
    """The keys of JSON objects, in order of first appearance, and the objects in blocks.

    `sources` starts from the file's beginning each time it is called. `header` has the keys of the first block, of the
    whole file when `whole_header`; None when there is no object. Later keys are added to the columns' unknown ones;
    one that changes what feeds a column raises HeaderGrewError.
    """

    def __init__(self, sources: Callable[[], Sources], resolve: Resolve, *, whole_header: bool = False) -> None:
        self._resolve = resolve
        self._positions: dict[str, int] = {}  # key -> header position
        self._has_object = False
        self._sliced: set[str] = set()
        self._shape = _Shape()
        if whole_header:
            for block in sources():
                self._decode(block)
        self._rest = sources()
        self._first = [self._decode(block) for block in (next(self._rest, None),) if block is not None]
        self.header = self._header()

    def blocks(self, columns: Columns) -> Iterator[Block]:
        """All records, once. Adds to the unknown `columns` as keys appear."""
        row = 0
        header = self.header
        self._reshape(columns.positions.values())
        for decoded in chain(self._first, map(self._decode, self._rest)):
            if header != self._header():
                header = self._header()
                self._grow(columns)
            if len(decoded):
                yield self._block(decoded, columns, row)
            row += len(decoded)

    # -- keys -------------------------------------------------------------------------------------------

    def _header(self) -> list[str] | None:
        return list(self._positions) if self._has_object else None

    def _grow(self, columns: Columns) -> None:
        grown = self._resolve(list(self._positions))
        if (grown.positions, grown.absent) != (columns.positions, columns.absent):
            raise HeaderGrewError(list(self._positions))
        columns.unknown.update(grown.unknown)

    def _learn(self, objects: Iterable[Members]) -> tuple[str, ...]:
        """Remember keys and what they hold; gives the keys that are not remembered, for there are too many."""
        fresh: dict[str, None] = {}
        kinds = len(self._sliced)
        for members in objects:
            self._has_object = True
            fresh.update((key, None) for key in members if key not in self._positions)
            self._sliced.update(key for key, text in members.items() if isinstance(text, _Verbatim))
        room = max(0, _KEYS - len(self._positions))
        kept, left = list(fresh)[:room], list(fresh)[room:]
        if left:  # a key that feeds a column is always remembered
            header = [*self._positions, *kept, *left]
            feeding = {header[position] for position in self._resolve(header).positions.values()}
            kept += [key for key in left if key in feeding]
            left = [key for key in left if key not in feeding]
            self._sliced.difference_update(left)
        self._positions.update((key, len(self._positions) + number) for number, key in enumerate(kept))
        if kept or len(self._sliced) > kinds:
            self._reshape()
        return tuple(left)

    def _reshape(self, needed: Collection[int] = ()) -> None:
        """Make the struct anew: the keys `needed`, those it has, and more as long as there is room."""
        keys = list(self._positions)
        wanted = dict.fromkeys([*(keys[position] for position in needed), *self._shape.keys, *keys[:_FIELDS]])
        kept = tuple([key for key in wanted if not _NO_FIELD.search(key)][:_FIELDS])
        shape = _Shape(kept, frozenset(self._sliced.intersection(kept)))
        if shape != self._shape:
            self._shape = shape

    # -- records ----------------------------------------------------------------------------------------

    def _decode(self, sources: list[bytes]) -> _Decoded:
        if not self._positions:
            self._learn(members for source in sources[:_SAMPLE] if (members := _members(source)) is not None)
        found = _Decoded(self._shape)
        for start in range(0, len(sources), _RUN):
            run = sources[start : start + _RUN]
            try:
                found.objects += list(map(found.shape.decode, run))
            except (msgspec.DecodeError, RecursionError):
                found.add_each(run)
        if found.odd:
            found.unremembered = self._learn(members for _, members in found.odd)
        self._has_object = self._has_object or bool(found.objects)
        return found

    def _block(self, decoded: _Decoded, columns: Columns, row: int) -> Block:
        keys = list(self._positions)
        needed = {keys[position]: str(position) for position in columns.positions.values()}
        unknown = {keys[position]: name for name, position in columns.unknown.items()}
        rows = self._alike(decoded, needed, unknown, row)
        if decoded.odd:
            if decoded.unremembered:
                keys += decoded.unremembered
                unknown = {keys[position]: name for name, position in self._resolve(keys).unknown.items()}
            rows = rows.vstack(_odd(decoded, needed, unknown, row))
        return Block(rows, [(row + number, text) for number, text in decoded.malformed])

    def _alike(self, decoded: _Decoded, needed: dict[str, str], unknown: dict[str, str], row: int) -> pl.DataFrame:
        """The records that have the file's shape."""
        numbers = pl.int_range(1, len(decoded) + 1, eager=True, dtype=pl.Int64)
        others = [number for number, _ in chain[tuple[int, Any]](decoded.odd, decoded.malformed)]
        if others:
            numbers = numbers.filter(~numbers.is_in(others))
        texts = dict(decoded.shape.texts(decoded.objects))
        rows = pl.DataFrame([(numbers + row).alias(ROW), *(text.alias(f"={key}") for key, text in texts.items())])
        return rows.select(
            *(
                (pl.col(f"={key}") if key in texts else pl.lit(None, TEXT)).alias(position)
                for key, position in needed.items()
            ),
            json_object({unknown[key]: text for key, text in texts.items() if key in unknown}).alias(EXTRA),
            ROW,
        )


def _odd(decoded: _Decoded, needed: dict[str, str], unknown: dict[str, str], row: int) -> pl.DataFrame:
    """The records that do not have the file's shape."""
    columns: dict[str, list[Any]] = {
        position: [members.get(key) for _, members in decoded.odd] for key, position in needed.items()
    }
    columns[EXTRA] = [_extra(members, unknown) for _, members in decoded.odd]
    columns[ROW] = [row + number for number, _ in decoded.odd]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, TEXT) | {ROW: pl.Int64()})


def _extra(members: Members, unknown: dict[str, str]) -> str | None:
    texts = {unknown[key]: str(text) for key, text in members.items() if key in unknown and text is not None}
    return msgspec.json.encode(dict(sorted(texts.items()))).decode() if texts else None


# -- one object ----------------------------------------------------------------------------------------


def _members(source: bytes) -> Members | None:
    """The members of an object; None for what is no object."""
    try:
        return {key: _text(str(bytes(value), "utf-8")) for key, value in _MEMBERS.decode(source).items()}
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, RecursionError):
        return _members_by_python(source.decode())


def _members_by_python(text: str) -> Members | None:
    """The same of what Python's json module accepts and msgspec does not: NaN, Infinity, lone surrogates."""
    try:
        values = _PYTHON.decode(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    if any(isinstance(value, dict | list) for value in values.values()):
        values = _with_slices(text)
    return {_LONE_SURROGATE.sub("\ufffd", key): _text_by_python(value) for key, value in values.items()}


def _text_by_python(value: str | bool | None) -> str | None:
    if value is None or isinstance(value, _Verbatim):
        return value
    return _Verbatim("true" if value else "false") if isinstance(value, bool) else _LONE_SURROGATE.sub("\ufffd", value)


def _with_slices(text: str) -> dict[str, Any]:
    """The members of a valid object, nested values as they stand."""
    values: dict[str, Any] = {}
    at = _after(_OPENING, text, 0)
    while text[at - 1] != "}":
        key, at = _PYTHON.raw_decode(text, at)
        start = _after(_COLON, text, at)
        value, end = _PYTHON.raw_decode(text, start)
        values[key] = _Verbatim(text[start:end]) if isinstance(value, dict | list) else value
        at = _after(_FOLLOWING, text, end)
    return values


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _text(source: str) -> str | None:
    """A value's text: a string's content, null for null, anything else as it stands."""
    if not source.startswith('"'):
        return None if source == "null" else _Verbatim(source)
    if "\\" not in source:
        return source[1:-1]
    return _LONE_SURROGATE.sub("\ufffd", _PYTHON.decode(source))


def _sliced_texts(values: Sequence[msgspec.Raw]) -> pl.Series:
    sources = pl.Series(list(map(bytes, values)), dtype=pl.Binary()).cast(TEXT)
    quoted = sources.str.starts_with('"')
    if (quoted & sources.str.contains("\\", literal=True)).any():
        return pl.Series(list(map(_text, sources.to_list())), dtype=TEXT)
    unquoted = sources.str.strip_prefix('"').str.strip_suffix('"')
    return unquoted.set(sources == "null", None)


# -- bytes to sources ----------------------------------------------------------------------------------


def json_lines(stream: IO[bytes], *, max_line_bytes: int, block: int = _BLOCK) -> Sources:
    """The lines of a stream, from its beginning; bytes that are not UTF-8 are replaced."""
    stream.seek(0)
    lines = LineBlocks(stream, kind="JSON lines", max_line_bytes=max_line_bytes, block=block)
    while taken := lines.take():
        if not taken.isascii():
            taken = taken.decode("utf-8", "replace").encode()
        yield normal_line_ends(taken).removesuffix(b"\n").split(b"\n")


def json_elements(stream: IO[bytes], *, max_element_bytes: int, block: int = _BLOCK) -> Sources:
    """The elements of the array that a stream holds, or its objects one after another, from its beginning.

    Raises UnreadableFileError for anything else, and for an element longer than `max_element_bytes`.
    """
    stream.seek(0)
    batch: list[bytes] = []
    size = 0
    for elements in _Document(stream, max_element_bytes, block).elements():
        batch += elements
        size += sum(map(len, elements))
        if size >= block:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Document(JsonWindow):
    """A `.json` file's elements."""

    _between = re.compile(r"[ \t\n\r]*")
    _GUESSES: Final = 8
    _TAIL: Final = 2**16  # the part of the window in which guesses are looked for

    def __init__(self, stream: IO[bytes], max_element_bytes: int, block: int) -> None:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        super().__init__(stream, decode, longest=max_element_bytes, block=block)
        self._guessed = False  # in this window
        self._count = 0
        while not self._text and not self._ended:
            self._read_more()
        self._text = self._text.removeprefix("\ufeff")

    def elements(self) -> Iterator[list[bytes]]:
        """All elements, some at a time."""
        match self._sign():
            case "[":
                yield from self._array()
            case "{":
                while self._sign():
                    yield self._some(in_array=False)
            case "":
                raise UnreadableFileError(
                    "the file is empty: a .json file holds one array, or objects one after another; ask for it again"
                )
            case _:
                self._fail("a .json file begins with [ or {")
        if self._sign():
            self._fail("there is text behind the end of the array")

    def _array(self) -> Iterator[list[bytes]]:
        self._move(self._at + 1)
        if self._sign() != "]":
            yield self._some(in_array=True)
            while (sign := self._sign()) == ",":
                self._move(self._at + 1)
                self._sign()
                yield self._some(in_array=True)
            if sign != "]":
                self._fail("a comma or the closing ] is missing" if sign else "the file ends before the closing ]")
        self._move(self._at + 1)

    def _some(self, *, in_array: bool) -> list[bytes]:
        """The elements that begin here, at least one."""
        while True:
            found = [] if self._guessed else self._guess(in_array=in_array)
            self._guessed = True
            if found:
                return found
            element = self._one(in_array=in_array)
            if element is not None:
                return [element]
            if len(self._text) - self._at > self._longest + self._exponent:
                self._too_long()
            self._read_more()

    def _guess(self, *, in_array: bool) -> list[bytes]:
        """As many elements as the window seems to hold; none when no guess is right."""
        between = re.compile(r"\}\s*,\s*\{" if in_array else r"\}\s*\{")
        tail = max(self._at, len(self._text) - self._TAIL)
        for match in reversed([*between.finditer(self._text, tail)][-self._GUESSES :]):
            end = match.start() + 1
            elements = self._many(end, in_array=in_array)
            if elements and (in_array or all(element.startswith(b"{") for element in elements)):
                if max(map(len, elements)) > self._longest:
                    self._too_long()
                self._count += len(elements)
                self._move(end)
                return elements
        return []

    def _one(self, *, in_array: bool) -> bytes | None:
        """The element that begins here; None when more text is needed to tell its end."""
        if not in_array and self._text[self._at] != "{":
            self._fail("only objects may stand one after another")
        try:
            end = self._end_of_one()
        except RecursionError:
            self._fail("it is nested too deeply")
        except json.JSONDecodeError as error:
            if self._is_cut(error) and not self._ended:
                return None
            self._fail(error.msg.removesuffix(" starting at"), error.pos)
        if end + self._exponent >= len(self._text) and not self._ended:
            return None  # a number may go on
        element = self._text[self._at : end].encode()
        if len(element) > self._longest:
            self._too_long()
        self._count += 1
        self._move(end)
        return element

    def _read_more(self) -> None:
        super()._read_more()
        self._guessed = False

    def _too_long(self) -> NoReturn:
        raise UnreadableFileError(
            f"element {self._count + 1} (line {self._line}) is longer than {self._longest / 2**20:g} MiB. Ask for the "
            "file as JSON lines, or raise reading.max_line_mib in the policy"
        )

    def _fail(self, why: str, at: int | None = None) -> NoReturn:
        line = self._line + self._text.count("\n", self._at, at if at is not None else self._at)
        raise UnreadableFileError(f"no valid JSON at element {self._count + 1} (line {line}): {why}. Ask for it again")
