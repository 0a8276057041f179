"""From the text of a JSON file to addressed records: JSON lines, one array, or objects one after another.

Python's own json says what a value is and where it ends; only the members of a record's own object are told apart
here, because a number keeps its text as it stands in the file, and a nested value its JSON text.
"""

import json
import re

from .csv_records import MAX_LINE_BYTES, Record, UnreadableFileError, decode, refuse_long_lines, split_lines
from .values import WHITE_SPACE

JsonObject = dict[str, str | None]
"""An object's keys as they stand in the file, each with the text of its value; None for null."""

Values = list[tuple[str, JsonObject | None]]
"""The values of a file that are to be records: the source text, and the object unless it is something else."""

# Numbers stay text, as they do in the file: no limit on digits, no floating point.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_BLANKS = re.compile(r"[ \t\n\r]*")  # what JSON allows between values
_SURROGATES = re.compile("[\ud800-\udfff]")


def read_json_lines(data: bytes, max_line_bytes: int = MAX_LINE_BYTES) -> tuple[list[str] | None, list[Record]]:
    """Give the keys of all objects together (None where there is no object) and every line that is not blank."""
    refuse_long_lines(data, max_line_bytes)
    values: Values = []
    for line in split_lines(decode(data)):
        if line.body.strip(WHITE_SPACE):
            values.append((line.body, _whole_object(line.body)))
    return _to_records(values)


def read_json(data: bytes) -> tuple[list[str] | None, list[Record]]:
    """Give the keys of all objects together (None where there is no object) and every element or object."""
    text = decode(data)
    start = _skip(text, 0)
    try:
        if text.startswith("[", start):
            values, position = _array(text, start)
        elif text.startswith("{", start):
            values, position = _objects(text, start)
        else:
            raise UnreadableFileError("neither an array nor objects")
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(f"no JSON: {error}") from error
    if position != len(text):
        raise UnreadableFileError(f"something follows the JSON, at character {position}")
    return _to_records(values)


def _to_records(values: Values) -> tuple[list[str] | None, list[Record]]:
    """Number the records, and give each object a field for every key of the file, in order of appearance."""
    objects = [found for _, found in values if found is not None]
    keys = list(dict.fromkeys(key for each in objects for key in each))
    records = [
        Record(row, None, text) if found is None else Record(row, [found.get(key) for key in keys], None)
        for row, (text, found) in enumerate(values, start=1)
    ]
    return (keys if objects else None), records


def _whole_object(text: str) -> JsonObject | None:
    """Read a text that should be one object and nothing else; None if it is not."""
    start = _skip(text, 0)
    if not text.startswith("{", start):
        return None
    try:
        found, position = _object(text, start)
    except (ValueError, RecursionError):
        return None
    return found if _skip(text, position) == len(text) else None


def _array(text: str, start: int) -> tuple[Values, int]:
    """Read the array that begins here, and the blanks after it: every element is a record."""
    values: Values = []
    position = _skip(text, start + 1)
    if text.startswith("]", position):
        return values, _skip(text, position + 1)
    while True:
        end = _end_of_value(text, position)
        found = _object(text, position)[0] if text.startswith("{", position) else None
        values.append((text[position:end], found))
        position = _skip(text, end)
        if text.startswith("]", position):
            return values, _skip(text, position + 1)
        position = _skip(text, _expect(",", text, position))


def _objects(text: str, start: int) -> tuple[Values, int]:
    """Read objects for as long as another one follows, and the blanks after them."""
    values: Values = []
    position = start
    while text.startswith("{", position):
        found, end = _object(text, position)
        values.append((text[position:end], found))
        position = _skip(text, end)
    return values, position


def _object(text: str, start: int) -> tuple[JsonObject, int]:
    """Read the object that begins here: its members, the last of equal keys, and where it ends."""
    members: JsonObject = {}
    position = _skip(text, start + 1)
    if text.startswith("}", position):
        return members, position + 1
    while True:
        _expect('"', text, position)
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _expect(":", text, _skip(text, position)))
        end = _end_of_value(text, position)
        members[_without_surrogates(key)] = _text_of_value(text[position:end])
        position = _skip(text, end)
        if text.startswith("}", position):
            return members, position + 1
        position = _skip(text, _expect(",", text, position))


def _text_of_value(source: str) -> str | None:
    """Give a value's text: a string's content, nothing for null, all else as it stands in the file."""
    if source == "null":
        return None
    if source.startswith('"'):
        return _without_surrogates(_DECODER.decode(source))
    return source


def _end_of_value(text: str, start: int) -> int:
    """Find where the JSON value that begins here ends."""
    return _DECODER.raw_decode(text, start)[1]


def _skip(text: str, position: int) -> int:
    """Find the first character from here that is no blank."""
    found = _BLANKS.match(text, position)
    assert found is not None  # no blank at all is found, too
    return found.end()


def _expect(char: str, text: str, position: int) -> int:
    """Step over a character that must stand here."""
    if not text.startswith(char, position):
        raise ValueError(f"no {char} at character {position}")
    return position + 1


def _without_surrogates(text: str) -> str:
    r"""Replace what \ud800 and the like leave behind when the other half of the pair is missing."""
    return _SURROGATES.sub("\ufffd", text)
