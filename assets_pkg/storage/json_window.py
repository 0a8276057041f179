"""A window that slides over JSON text: what readers share that look for where values end.

Where a value ends only a JSON parser can tell, and Python's is slow. So a stretch of many values that seems to end
with one is given to msgspec as if it were the whole: if that is valid, the guess was right, since what is behind cannot
change how the stretch was read. What is left is read value by value by Python's json module, which says where a fault
is.
"""

import json
import re
from collections.abc import Callable
from typing import IO, ClassVar, Final

import msgspec

_HIDDEN: Final = 16  # a fault so near the window's end may be a token that was cut
_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_VALUES: Final = msgspec.json.Decoder(msgspec.Raw)
# Numbers are never made into numbers: that would be slow, and too long ones would be refused.
_PYTHON: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


class JsonWindow:
    """The text of `stream` from where the reader is (`_at` in `_text`, on `_line`) to where more is to be read.

    `decode` makes text of bytes, incrementally.
    """

    _between: ClassVar[re.Pattern[str]]
    """What may stand between values; matches also nothing."""
    _exponent: Final = 2
    """So much may stand behind a number that was cut: e+."""

    def __init__(self, stream: IO[bytes], decode: Callable[[bytes, bool], str], *, longest: int, block: int) -> None:
        self._stream = stream
        self._decode = decode
        self._longest = longest
        self._block = block
        self._text = ""
        self._at = 0
        self._ended = False
        self._line = 1

    def _sign(self) -> str:
        """The character with which the next value begins, without taking it; nothing at the stream's end."""
        while True:
            between = self._between.match(self._text, self._at)
            self._move(between.end() if between else self._at)
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read_more()

    def _move(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _read_more(self) -> None:
        rest = self._text[self._at :]
        # As much again as there is: a long value is tried anew each time.
        piece = self._stream.read(max(self._block, len(rest)))
        self._ended = not piece
        self._text, self._at = rest + self._decode(piece, self._ended), 0

    def _many(self, end: int, *, in_array: bool) -> list[bytes]:
        """All values there are up to `end`, as they stand; none when the stretch is not valid by itself."""
        stretch = self._text[self._at : end]
        try:
            return list(map(bytes, _ELEMENTS.decode(f"[{stretch}]") if in_array else _VALUES.decode_lines(stretch)))
        except (msgspec.DecodeError, RecursionError):
            return []

    def _end_of_one(self) -> int:
        """Where the value ends that begins here. Raises json.JSONDecodeError, RecursionError."""
        return _PYTHON.raw_decode(self._text, self._at)[1]

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether a fault may be only that the window ends there."""
        return error.msg.startswith("Unterminated") or error.pos + _HIDDEN > len(self._text)
