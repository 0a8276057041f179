"""A stream of bytes in blocks of whole lines, whatever ends them: LF, CRLF or CR (contract §1, §9)."""

import re
from typing import IO, Final

from assets_pkg.storage.records import UnreadableFileError

BOM: Final = b"\xef\xbb\xbf"
BLOCK: Final = 4 * 2**20  # 1 MiB is as fast and 16 MiB slower: the kernel maps large pieces anew each time
LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class LineBlocks:
    """The lines of a stream, many at a time; a byte-order mark at its start is dropped.

    Raises UnreadableFileError for a line longer than `max_line_bytes`; `kind` is what the file should be.
    """

    def __init__(self, stream: IO[bytes], *, kind: str, max_line_bytes: int, block: int = BLOCK) -> None:
        self._stream = stream
        self._kind = kind
        self._max_line = max_line_bytes
        self._block = block
        self._buffer = b""
        self._ended = False
        self._fill(max(block, len(BOM)))
        self._buffer = self._buffer.removeprefix(BOM)

    def take(self) -> bytes:
        """The next whole lines, at least one unless the stream has ended."""
        self._fill(max(self._block, len(self._buffer)))
        while True:
            if self._ended:
                end = len(self._buffer)
            else:
                # A \r at the very end may be the first half of \r\n.
                end = max(self._buffer.rfind(b"\n"), self._buffer.rfind(b"\r", 0, len(self._buffer) - 1)) + 1
            if end or self._ended:
                lines, self._buffer = self._buffer[:end], self._buffer[end:]
                self._check_lengths(lines)
                return lines
            if len(self._buffer) - self._buffer.endswith(b"\r") > self._max_line:
                self._line_too_long()
            self.read_more()

    def give_back(self, lines: bytes) -> None:
        """Put lines that were taken but not used back in front."""
        self._buffer = lines + self._buffer

    def read_more(self) -> None:
        """Have a block more at hand, so that the next lines taken are more."""
        self._fill(len(self._buffer) + self._block)

    def at_end(self) -> bool:
        """Whether there is nothing left to take."""
        if not self._buffer and not self._ended:
            self._fill(1)
        return self._ended and not self._buffer

    def _fill(self, size: int) -> None:
        """Read until the buffer holds `size` bytes or the stream ends."""
        pieces, have = [self._buffer], len(self._buffer)
        while have < size and not self._ended:
            piece = self._stream.read(min(self._block, size - have))
            self._ended = not piece
            pieces.append(piece)
            have += len(piece)
        self._buffer = b"".join(pieces)

    def _check_lengths(self, lines: bytes) -> None:
        # A piece of max_line bytes that has a line end in it holds no line twice as long; so look only then.
        if len(lines) <= self._max_line:
            return
        start = 0
        for end in LINE_END.finditer(lines):
            if end.start() - start > self._max_line:
                self._line_too_long()
            start = end.end()
        if len(lines) - start > self._max_line:
            self._line_too_long()

    def _line_too_long(self) -> None:
        raise UnreadableFileError(
            f"a line is longer than {self._max_line / 2**20:g} MiB. This is no {self._kind} file, or its line ends "
            "were lost; ask for it again, or raise reading.max_line_mib in the policy"
        )


def normal_line_ends(lines: bytes) -> bytes:
    """`lines` with line feeds as the only line end; for lines whose records hold no line end."""
    if b"\r" in lines:
        lines = lines.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return lines
