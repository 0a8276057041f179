"""From the bytes of a CSV file to addressed records, and from its header to the contract's columns."""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from .values import WHITE_SPACE

MAX_OPEN_QUOTE_LINES = 100
MAX_LINE_BYTES = 16 * 1024 * 1024

_BYTE_ORDER_MARK = "\ufeff"
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n)|([^\r\n]+)\Z")
_LINE_END_BYTES = re.compile(rb"\r\n|\r|\n")


class UnreadableFileError(Exception):
    """The file as a whole is FAILED: it gives no rows."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record after the header: its number from 1, and either its fields or, if malformed, its text.

    A field of CSV is never None; of the other formats it is where the value is null or the key is absent.
    """

    row: int
    fields: Sequence[str | None] | None
    raw_text: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file, apart from its line end (empty only where the file ends without one)."""

    body: str
    end: str


class State(Enum):
    """Where in a record the reader stands before the next character."""

    FIELD_START = auto()
    PLAIN = auto()
    QUOTED = auto()
    QUOTE_IN_QUOTED = auto()


@dataclass(frozen=True, slots=True)
class Columns:
    """How a header feeds the contract: what is where, what is missing, what nobody asked for."""

    positions: dict[str, int]
    missing: list[str]
    unknown: dict[str, int]


def read_records(
    data: bytes,
    max_open_quote_lines: int = MAX_OPEN_QUOTE_LINES,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> tuple[list[str] | None, list[Record]]:
    """Give the header as written (None where there is no header line) and every record after it, in order."""
    refuse_long_lines(data, max_line_bytes)
    lines = split_lines(decode(data))
    header: list[str] | None = None
    records: list[Record] = []
    position = 0
    while position < len(lines):
        start = position
        if not lines[start].body:
            position += 1
            continue
        fields, position = _read_record(lines, start, max_open_quote_lines)
        if header is None:
            # A header whose quote stays open is still the header, as if the quote closed at the line's end.
            header = fields if fields is not None else _close_quote(lines[start:position])
        elif fields is not None and len(fields) == len(header):
            records.append(Record(len(records) + 1, fields, None))
        else:
            records.append(Record(len(records) + 1, None, _source_text(lines[start:position])))
    return header, records


def resolve_columns(
    header: Sequence[str],
    required: Sequence[str],
    optional: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
) -> Columns:
    """Decide which header position feeds which column; `aliases` maps a column to its other names, in order.

    A column's own name wins, then its aliases in order, then the leftmost. What is left over is unknown, by
    its normalised name; an unknown name met again gets the suffix _2, _3, ...
    """
    names = [normalise_name(name) for name in header]
    positions: dict[str, int] = {}
    for column in [*required, *optional]:
        accepted = [column, *aliases.get(column, ())]
        present = next((name for name in accepted if name in names), None)
        if present is not None:
            positions[column] = names.index(present)
    unknown: dict[str, int] = {}
    for position, name in enumerate(names):
        if position not in positions.values():
            unknown[_free_name(name, unknown)] = position
    return Columns(positions, [column for column in required if column not in positions], unknown)


def normalise_name(name: str) -> str:
    """Trim a header name, rid it of byte-order marks at its ends and lower its case."""
    return name.strip(WHITE_SPACE + _BYTE_ORDER_MARK).lower()


def _free_name(name: str, taken: Container[str]) -> str:
    """Give the name itself, or the first of name_2, name_3, ... that is not taken."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def refuse_long_lines(data: bytes, max_line_bytes: int) -> None:
    """Refuse a file with a line that is too long."""
    if max(map(len, _LINE_END_BYTES.split(data))) > max_line_bytes:
        raise UnreadableFileError(f"a line is longer than {max_line_bytes} bytes")


def decode(data: bytes) -> str:
    """Give a file's text: bytes that are not UTF-8 are replaced, a byte-order mark at the start is dropped."""
    return data.decode("utf-8", errors="replace").removeprefix(_BYTE_ORDER_MARK)


def split_lines(text: str) -> list[Line]:
    """Split at LF, CRLF and CR only: other characters that Unicode calls line breaks are text."""
    return [Line(body or last, end or "") for body, end, last in _LINE.findall(text)]


def _source_text(lines: Sequence[Line]) -> str:
    """Give the text of these lines as in the file, without the last line's end."""
    return "".join(line.body + line.end for line in lines[:-1]) + lines[-1].body


def _close_quote(lines: Sequence[Line]) -> list[str]:
    """Read lines that end inside a quoted field as if the quote closed at the end of the last one."""
    closed = [*lines[:-1], Line(lines[-1].body + '"', lines[-1].end)]
    fields, _ = _read_record(closed, 0, len(closed))
    assert fields is not None
    return fields


def _read_record(lines: Sequence[Line], start: int, max_open_quote_lines: int) -> tuple[list[str] | None, int]:
    """Read the record that begins at lines[start]: its fields, and the index of the line to read on from.

    No fields: a quote stays open, and the record is given up after the line on which that quote opened. The
    rules for a character are those of Python's csv with its default dialect.
    """
    fields: list[str] = []
    field: list[str] = []
    state = State.FIELD_START
    opened_at = start
    for number in range(start, len(lines)):
        for char in lines[number].body:
            if state is State.QUOTED:
                if char == '"':
                    state = State.QUOTE_IN_QUOTED
                else:
                    field.append(char)
            elif char == ",":
                fields.append("".join(field))
                field = []
                state = State.FIELD_START
            elif state is State.FIELD_START and char == '"':
                state = State.QUOTED
                opened_at = number
            elif state is State.QUOTE_IN_QUOTED and char == '"':
                field.append(char)  # a doubled quote is one quote, and the field is still the same quoted one
                state = State.QUOTED
            else:
                field.append(char)
                state = State.PLAIN
        if state is not State.QUOTED:
            fields.append("".join(field))
            return fields, number + 1
        lines_open = number - opened_at + 1
        if lines_open >= max_open_quote_lines:
            break
        field.append(lines[number].end)
    return None, opened_at + 1
