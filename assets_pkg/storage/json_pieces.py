"""JSON text that may be broken, cut into pieces: one object each, and each broken piece by itself (contract §8, §9).

One array, JSON lines and objects one after another are read alike: commas and brackets between objects only part
them. Where all is sound, many objects are read at a stroke (json_window.py).

What is broken ends where the next object can begin:
- at its own closing bracket, where brackets pair;
- at the end of the line on which it began, where the fault is on that line (a string that was cut, brackets that do
  not pair);
- before the next line that begins with an object, where it was still open at its line's end;
- in an array, also behind the next comma between two objects.
What is no object and in no array is one broken piece up to its line's end.
"""

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import IO, Final

from assets_pkg.storage.json_window import JsonWindow

_BLOCK: Final = 2**20
_MOST: Final = 20_000  # pieces in a batch
# In an array a nested object may end like an element; elsewhere only text in a string can look like an object's end.
_GUESSES: Final = {False: 1, True: 4}
_TAIL: Final = 16  # the last of so many parts of a stretch is where its end is looked for first
_SHORTEST: Final = 2**11  # stretch; a shorter one is not worth the attempt
_GROWTH: Final = 4
_SHRINKAGE: Final = 16
_SINGLY: Final = 256  # values read one by one, at most, before a stretch is tried again
_LOOK: Final = 2**16  # so far behind a fault a piece's closing bracket is looked for
_EXCERPT: Final = 200

_AT_OBJECT: Final = re.compile(r"\[\s*(?:(?P<object>\{)|.|$)", re.DOTALL)
_OBJECT_END: Final = {False: re.compile(r"\}\s*(?=\{)"), True: re.compile(r"\}\s*(?=,\s*\{)")}
_TOKEN: Final = re.compile(r'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"|["{}\[\]]')
_CLOSING: Final = {"{": "}", "[": "]"}
_LINE_END: Final = re.compile(r"\n")
_NEXT_LINE: Final = re.compile(r"\n[ \t\n,]*(?=\{)")  # that begins with an object
_NEXT_ELEMENT: Final = r"|\}[ \t\n]*,[ \t\n]*(?=\{)"
_RESUMPTION: Final = {
    # (in an array, fault on the line on which the piece began)
    (False, True): _LINE_END,
    (False, False): _NEXT_LINE,
    (True, True): re.compile(_LINE_END.pattern + _NEXT_ELEMENT),
    (True, False): re.compile(_NEXT_LINE.pattern + _NEXT_ELEMENT),
}
_VALUE_END: Final = re.compile(r"(?=[,\]{\n])")


class JsonPieces(JsonWindow):
    """The pieces of a stream by iteration, in file order, in batches, in bounded memory.

    Bytes that are not UTF-8 are replaced, line ends are line feeds. A broken piece, also one of more than
    `max_piece_bytes`, is given as the first characters of its text: enough to show, and no object. `lines` has, for the
    batch given last, the line on which each piece began that is no object, by its 1-based number in the file.
    """

    # Files that were put together have byte-order marks in the middle.
    _between = re.compile(r"[\s,\ufeff]*")

    def __init__(self, stream: IO[bytes], *, max_piece_bytes: int, block: int = _BLOCK) -> None:
        decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        decode = io.IncrementalNewlineDecoder(decoder, translate=True).decode
        super().__init__(stream, decode, longest=max_piece_bytes, block=block)
        self.lines: dict[int, int] = {}
        self._begun = False
        self._in_array = False
        # No object of a stretch may be too long; a character takes up to four bytes.
        self._longest_stretch = min(block, max_piece_bytes // 4)
        self._stretch_size = self._longest_stretch
        self._singly = 0
        self._next_singly = 1

    def __iter__(self) -> Iterator[list[bytes]]:
        batch: list[bytes] = []
        size = count = 0
        while sign := self._sign():
            found = self._stretch() if sign == "{" else []
            found = found or self._piece(sign, count + 1)
            self._begun = True
            batch += found
            count += len(found)
            size += sum(map(len, found))
            if size >= self._block or len(batch) >= _MOST:
                yield batch
                batch, size, self.lines = [], 0, {}
        if batch:
            yield batch

    # -- many at a stroke -------------------------------------------------------------------------------

    def _stretch(self) -> list[bytes]:
        """As many sound objects as possible; none when the next one is to be read by itself."""
        if self._singly:
            self._singly -= 1
            return []
        if len(self._text) - self._at < self._stretch_size and not self._ended:
            self._read_more()
        while ends := self._ends():
            for end in ends:
                if found := self._sound_objects(end):
                    self._stretch_size = min(self._stretch_size * _GROWTH, self._longest_stretch)
                    self._next_singly = 1
                    return found
            if self._stretch_size <= _SHORTEST:
                self._singly, self._next_singly = self._next_singly - 1, min(self._next_singly * 2, _SINGLY)
                return []
            self._stretch_size = max(self._stretch_size // _SHRINKAGE, _SHORTEST)
        self._stretch_size = min(self._stretch_size * _GROWTH, self._longest_stretch)
        return []

    def _ends(self) -> list[int]:
        """Where a stretch of about the size that is tried now seems to end with an object, the farthest first."""
        limit = min(self._at + self._stretch_size, len(self._text))
        for start in (max(self._at, limit - self._stretch_size // _TAIL), self._at):
            ends = [match.start() + 1 for match in _OBJECT_END[self._in_array].finditer(self._text, start, limit)]
            if ends:
                return ends[: -_GUESSES[self._in_array] - 1 : -1]
        return []

    def _sound_objects(self, end: int) -> list[bytes]:
        """All there is up to `end`, if it is nothing but sound objects as the layout has them."""
        found = self._many(end, in_array=self._in_array)
        if not found or min(found) < b"{":  # every other value begins with a smaller byte than an object
            return []
        self._move(end)
        return found

    # -- one by one -------------------------------------------------------------------------------------

    def _piece(self, sign: str, number: int) -> list[bytes]:
        """The piece that begins here with `sign`, the file's `number`-th; none for a bracket of an array of events."""
        if sign == "]" or (sign == "[" and self._opens_array()):
            self._in_array = sign == "["
            self._move(self._at + 1)
            return []
        line = self._line
        if sign == "{" or self._in_array:
            sound, length = self._value()
            piece = self._taken(length) if sound else self._broken(length)
        else:
            sound, piece = False, self._skipped(_LINE_END)
        if not sound or sign != "{":
            self.lines[number] = line
        return [piece]

    def _opens_array(self) -> bool:
        """Whether a bracket begins an array of events: the file's first one does, and one before an object."""
        if self._in_array or not self._begun:
            return not self._in_array
        while True:
            match = _AT_OBJECT.match(self._text, self._at)
            if self._ended or (match and match.end() < len(self._text)):
                return bool(match and match["object"])
            self._read_more()

    def _value(self) -> tuple[bool, int]:
        """Whether the value that begins here is sound, and its length; or how far behind its begin the fault is."""
        while True:
            rest = len(self._text) - self._at
            try:
                end = self._end_of_one()
            except RecursionError:
                return False, 0
            except json.JSONDecodeError as error:
                cut = self._is_cut(error)
                if cut and rest > self._longest:
                    return False, self._longest
                if self._ended or not cut:
                    return False, min(error.pos - self._at, self._longest)
            else:
                length = end - self._at
                if self._ended or length + self._exponent < rest:  # else it may be a number that goes on
                    is_short = length <= self._longest and len(self._text[self._at : end].encode()) <= self._longest
                    return is_short, length if is_short else self._longest
            if rest > self._longest + self._exponent:
                return False, self._longest
            self._read_more()

    def _broken(self, fault: int) -> bytes:
        """Take a piece that is broken so far behind its begin."""
        sign = self._text[self._at]
        if sign not in _CLOSING:
            return self._skipped(_VALUE_END)
        while len(self._text) - self._at < fault + _LOOK and not self._ended:
            self._read_more()
        limit = min(self._at + fault + _LOOK, len(self._text))
        following = _NEXT_LINE.search(self._text, self._at, limit)
        closes, end = _closing(self._text, self._at, following.start() if following else limit)
        if closes:
            return self._taken(end - self._at)[:_EXCERPT]
        line_end = self._text.find("\n", self._at, limit)
        return self._skipped(_RESUMPTION[self._in_array, line_end < 0 or end < line_end])

    def _taken(self, length: int) -> bytes:
        piece = self._text[self._at : self._at + length].encode()
        self._move(self._at + length)
        return piece

    def _skipped(self, to: re.Pattern[str]) -> bytes:
        """Take what is here up to the end of the next match of `to`; gives the first characters before the match."""
        while len(self._text) - self._at < _EXCERPT and not self._ended:
            self._read_more()
        excerpt = self._text[self._at : self._at + _EXCERPT]
        length, begin = 0, self._at + 1
        while (found := to.search(self._text, begin)) is None and not self._ended:
            # What a match may begin with stays: the character before white space and commas.
            kept = max(self._at, len(self._text.rstrip(" \t\n,")) - 1)
            length += kept - self._at
            self._move(kept)
            self._read_more()
            begin = 0
        start, end = found.span() if found else (len(self._text),) * 2
        length += start - self._at
        self._move(end)
        return excerpt[:length].encode()


def _closing(text: str, at: int, stop: int) -> tuple[bool, int]:
    """Whether the bracket at `at` closes before `stop`, and where; or where brackets and quotes go wrong."""
    expected: list[str] = []
    for token in _TOKEN.finditer(text, at, stop):
        sign = token[0]
        if sign in _CLOSING:
            expected.append(_CLOSING[sign])
        elif sign == '"':  # the string does not end on its line
            return False, token.start()
        elif sign in _CLOSING.values():
            if expected.pop() != sign:
                return False, token.start()
            if not expected:
                return True, token.end()
    return False, stop
