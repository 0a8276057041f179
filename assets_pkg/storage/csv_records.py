"""CSV bytes to records, exactly as Python's csv module splits them, at the speed of polars (contract §1, §9).

The file is read in blocks cut at line ends. Most of a block is *plain*: lines without a quote and with the
header's number of commas, which polars parses in one go. What is not plain (quoted, ragged, blank) is cut out
and read line by line by Python's own csv module, so that nothing is guessed and nothing is lost. A piece is
shown to be plain by its skeleton: all bytes but separators taken away, it must be the header's skeleton,
repeated (85 ms for a million events; counting per line costs 130 ms, polars' parse 300 ms).
"""

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final

import polars as pl

from assets_pkg.storage.lines import BLOCK, BOM, LINE_END, LineBlocks, normal_line_ends
from assets_pkg.storage.records import Block, Columns

_SEPARATORS: Final = b',\n\r"'
_ALL_BUT_SEPARATORS: Final = bytes(set(range(256)) - set(_SEPARATORS))

csv.field_size_limit(sys.maxsize)  # the contract bounds lines, not fields


@dataclass
class _Record:
    """A record that was cut out of a block: its fields, or None when it is malformed, and its text."""

    fields: list[str] | None
    text: str

    def quoted(self) -> bytes:
        """The record as one csv line with every field in quotes; nothing for a malformed one."""
        if self.fields is None:
            return b""
        return (",".join('"' + value.replace('"', '""') + '"' for value in self.fields) + "\n").encode()


class CsvRecords:
    """The header of a CSV stream and, by iteration, its records in blocks.

    `header` is None for a stream without a line that is not blank. Raises UnreadableFileError for a line longer
    than `max_line_bytes`. `open_quote_lines`: a quoted field still open after so many lines makes the line on
    which it opened a malformed row.
    """

    def __init__(self, stream: IO[bytes], *, open_quote_lines: int, max_line_bytes: int, block: int = BLOCK) -> None:
        self._lines = LineBlocks(stream, kind="CSV", max_line_bytes=max_line_bytes, block=block)
        self._open_quote_lines = open_quote_lines
        self.header = self._read_header()
        self._width = len(self.header or ())

    def blocks(self, _columns: Columns) -> Iterator[Block]:
        """All records, with all columns, whatever they feed."""
        return iter(self)

    def __iter__(self) -> Iterator[Block]:
        row = 0
        while self.header is not None:
            lines = self._lines.take()
            if not lines:
                return
            block, used, row = self._split(lines, row)
            if used < len(lines):
                self._lines.give_back(lines[used:])
            if used == 0:
                self._lines.read_more()  # an open quote needs more lines to be judged
            if block.columns.height or block.malformed:
                yield block

    # -- the header -------------------------------------------------------------------------------------

    def _read_header(self) -> list[str] | None:
        while lines := self._lines.take():
            first = re.search(rb"[^\r\n]", lines)
            if first is None:
                continue  # nothing but blank lines so far
            record, end = self._record_at(lines, first.start(), width=None)
            self._lines.give_back(lines[first.start() if record is None else end :])
            if record is not None:
                return record.fields if record.fields is not None else next(csv.reader([record.text]))
            self._lines.read_more()  # a quote is open: more lines are needed to judge it
        return None

    # -- lines to records -------------------------------------------------------------------------------

    def _split(self, lines: bytes, row: int) -> tuple[Block, int, int]:
        """Records of `lines`: the block, how many bytes were used, and the number of the last record."""
        parts: list[bytes | _Record] = []
        position = 0
        while (quote := lines.find(b'"', position)) >= 0:
            start = max(lines.rfind(b"\n", position, quote), lines.rfind(b"\r", position, quote), position - 1) + 1
            if start > position:
                parts.append(normal_line_ends(lines[position:start]))
            record, end = self._record_at(lines, start, self._width)
            if record is None:
                position = start
                break
            parts.append(record)
            position = end
        else:
            if position < len(lines):
                rest = normal_line_ends(lines[position:])
                parts.append(rest if rest.endswith(b"\n") else rest + b"\n")
            position = len(lines)
        block, row = self._assemble(parts, row)
        return block, position, row

    def _record_at(self, lines: bytes, start: int, width: int | None) -> tuple[_Record | None, int]:
        """The record that starts at byte `start`, and where the next begins; None if its end is not among `lines`.

        It is malformed unless it has `width` fields (any number when None) and every quote in it closes.
        """
        taken: list[str] = []
        ends: list[int] = []
        opened = 0  # index in `taken` of the line on which the quote that is open now was opened
        gave_up = False

        def feed() -> Iterator[str]:
            nonlocal opened, gave_up
            end = start
            while True:
                # csv asks for a further line only inside a quoted field.
                if len(taken) > 1 and _opens_another_field(taken[-1]):
                    opened = len(taken) - 1
                if end >= len(lines) or len(taken) - opened >= self._open_quote_lines:
                    gave_up = True
                    return
                found = LINE_END.search(lines, end)
                end = found.end() if found else len(lines)
                ends.append(end)
                taken.append(lines[ends[-2] if len(ends) > 1 else start : end].decode("utf-8", "replace"))
                yield taken[-1]

        fields = next(csv.reader(feed()), [])
        if not gave_up:
            fits = width is None or len(fields) == width
            return _Record(fields if fits else None, _without_line_end("".join(taken))), ends[-1]
        if len(taken) - opened < self._open_quote_lines and not self._lines.at_end():
            return None, start
        return _Record(None, _without_line_end("".join(taken[: opened + 1]))), ends[opened]

    def _assemble(self, parts: list[bytes | _Record], row: int) -> tuple[Block, int]:
        """Parse plain lines and special records together, in order; gives the number of the last record too."""
        if not self._is_regular(b"".join(part for part in parts if isinstance(part, bytes))):
            parts = [
                piece for part in parts for piece in (self._sorted_out(part) if isinstance(part, bytes) else [part])
            ]
        special = [part for part in parts if isinstance(part, _Record)]
        malformed = _numbered_malformed(parts, row) if any(record.fields is None for record in special) else []
        # Special records are put back as csv that every parser reads alike, so that order costs nothing.
        texts = (part if isinstance(part, bytes) else part.quoted() for part in parts)
        rows = self._parse(b"".join(texts), quoted=bool(special))
        last = row + rows.height + len(malformed)
        numbers = pl.int_range(row + 1, last + 1, eager=True, dtype=pl.Int64).alias("row")
        if malformed:
            numbers = numbers.filter(~numbers.is_in([number for number, _ in malformed]))
        return Block(rows.hstack([numbers]), malformed), last

    def _is_regular(self, plain: bytes) -> bool:
        """Whether every line has exactly the header's number of fields."""
        skeleton = plain.translate(None, _ALL_BUT_SEPARATORS)
        of_line = b"," * (self._width - 1) + b"\n"
        times, rest = divmod(len(skeleton), len(of_line))
        if self._width == 1 and (plain.startswith(b"\n") or b"\n\n" in plain):
            return False  # with one column a blank line has the header's skeleton too
        return not rest and skeleton == of_line * times

    def _sorted_out(self, plain: bytes) -> Iterator[bytes | _Record]:
        """The same lines without blank ones, and ragged ones as malformed records."""
        commas = self._width - 1
        kept: list[bytes] = []
        for line in plain.split(b"\n")[:-1]:
            if not line:
                continue
            if line.count(b",") == commas:
                kept.append(line)
                continue
            if kept:
                yield b"\n".join(kept) + b"\n"
                kept = []
            yield _Record(None, line.decode("utf-8", "replace"))
        if kept:
            yield b"\n".join(kept) + b"\n"

    def _parse(self, lines: bytes, *, quoted: bool) -> pl.DataFrame:
        """Split regular lines; every field is text, an empty one the empty text."""
        schema = {str(position): pl.String() for position in range(self._width)}
        if not lines:
            return pl.DataFrame(schema=schema)
        if not lines.isascii():
            lines = lines.decode("utf-8", "replace").encode()
            if lines.startswith(BOM):
                lines = BOM + lines  # polars drops one; in the middle of a file it is text
        return pl.read_csv(
            lines,
            has_header=False,
            schema=schema,
            quote_char='"' if quoted else None,
            empty_string_is_null=False,
        )


def _numbered_malformed(parts: Sequence[bytes | _Record], row: int) -> list[tuple[int, str]]:
    malformed = []
    for part in parts:
        if isinstance(part, bytes):
            row += part.count(b"\n")
        else:
            row += 1
            if part.fields is None:
                malformed.append((row, part.text))
    return malformed


def _opens_another_field(continuation: str) -> bool:
    """Whether a quote opened earlier closes on this line and another is open at its end.

    A quoted field can only be opened where a field starts: with the quote put in front, the line has one field
    exactly when the same field is still open.
    """
    return len(next(csv.reader(['"' + continuation]))) > 1


def _without_line_end(text: str) -> str:
    if text.endswith("\r\n"):
        return text[:-2]
    return text[:-1] if text.endswith(("\n", "\r")) else text
