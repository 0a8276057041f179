"""What every reader of raw files gives: its header, and its records in blocks of text columns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import polars as pl

ROW: Final = "row"
_NAMES_RECORDED: Final = 200


class UnreadableFileError(ValueError):
    """A file that cannot be opened or decoded at all; the message says what is wrong and what to do."""


class HeaderGrewError(Exception):
    """A record brought a key that changes which column feeds what: the file has to be read anew, knowing all keys."""


@dataclass
class Block:
    """Some records of a file: `columns` by header position as text, with `row` (1-based record number).

    A reader that makes the unknown columns' JSON text itself adds it as `extra`. A record that could not be split
    is in `malformed` instead, as (row, source text).
    """

    columns: pl.DataFrame
    malformed: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Columns:
    """How a file's columns relate to its feed's."""

    positions: dict[str, int]
    unknown: dict[str, int] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    def unknown_names(self) -> tuple[str, ...]:
        """The unknown columns' names for the ledger: of very many only the first, and how many more there are."""
        names = tuple(self.unknown)
        more = len(names) - _NAMES_RECORDED
        return names if more <= 0 else (*names[:_NAMES_RECORDED], f"… and {more} more")


Resolve = Callable[[Sequence[str]], Columns]
"""Which position of a header feeds which column of the feed."""


class Reader(Protocol):
    """A file's header, None when it has none, and its records with the columns that `columns` speaks of."""

    header: list[str] | None

    def blocks(self, columns: Columns) -> Iterator[Block]:
        """All records, once."""


def json_object(texts: Mapping[str, pl.Series]) -> pl.Expr:
    """JSON object of the texts that are not null, by sorted name; null when there is none."""
    if not texts:
        return pl.lit(None, pl.String())
    members = [texts[name].alias(name) for name in sorted(texts)]
    if not any(member.has_nulls() for member in members):
        return pl.struct(pl.lit(member) for member in members).struct.json_encode()  # several times as fast
    listed = pl.concat_str(map(_member, members), separator=",", ignore_nulls=True)
    return pl.when(listed != "").then(pl.concat_str(pl.lit("{"), listed, pl.lit("}")))


def _member(text: pl.Series) -> pl.Expr:
    alone = pl.struct(pl.lit(text)).struct.json_encode()
    return pl.when(pl.lit(text).is_not_null()).then(alone.str.strip_prefix("{").str.strip_suffix("}"))
