"""How a day's records come to lie in files: one plain file per feed, or what senders make of it.

`FILE_MESS` says which feed gets which treatment on which day of a cycle; a `Part` becomes one file.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Final, Literal, NamedTuple

import polars as pl

from assets_pkg.sampledata.mess import COLUMNS, CUSTOMERS, EVENTS, ORDERS
from assets_pkg.sampledata.shop import HOUR, pick

Record = tuple[float, str]
"""When a record reached the file, in seconds of the day, and its text; an empty text is a blank line."""

CYCLE: Final = 5
"""Days after which the kinds of file mess come round again."""

BROKEN: Final = "events_raw_broken.csv.gz"
UNFINISHED: Final = ".part"
_RESENT_SHARE: Final = 50
_BAD_BYTE: Final = re.compile("[\udc80-\udcff]")
_JSON_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


@dataclass
class Part:
    """One file to be: its place within the day's folder, its header and its records."""

    name: str
    header: list[str]
    records: list[Record]
    folder: str = ""
    line_end: str = "\n"
    last_line_end: bool = True
    byte_order_mark: bool = False
    gzipped: bool = False
    copy: bool = False
    form: Literal["csv", "jsonl", "parquet"] = "csv"

    @property
    def path(self) -> str:
        """Where it lies within the day's folder."""
        return f"{self.folder}{self.name}.{self.form}{'.gz' if self.gzipped else ''}"

    @property
    def count(self) -> int:
        """Its records, without blank lines."""
        return sum(1 for _, text in self.records if text)

    def content(self) -> bytes:
        """The file's content, the same wherever it is made."""
        if self.form == "parquet":
            return self._parquet()
        lines = [",".join(self.header)] + [text for _, text in self.records]
        if self.form == "jsonl":
            lines = [self._json(text) for _, text in self.records]
        if self.byte_order_mark:
            lines[0] = "\ufeff" + lines[0]
        if self.last_line_end:
            lines.append("")
        data = self.line_end.join(lines).encode("utf-8", errors="surrogateescape")
        return packed(data) if self.gzipped else data

    def _json(self, text: str) -> str:
        """A record as a JSON object, numbers as numbers; a broken one as it is, which is no JSON either."""
        fields = next(csv.reader([text]), [])
        if len(fields) != len(self.header):
            return text
        values = (value if _JSON_NUMBER.fullmatch(value) else json.dumps(value, ensure_ascii=False) for value in fields)
        return (
            "{"
            + ", ".join(f"{json.dumps(name)}: {value}" for name, value in zip(self.header, values, strict=True))
            + "}"
        )

    def _parquet(self) -> bytes:
        rows = [next(csv.reader([text])) for _, text in self.records]
        target = io.BytesIO()
        pl.DataFrame(rows, schema=dict.fromkeys(self.header, pl.String), orient="row").write_parquet(target)
        return target.getvalue()


class FileMess(NamedTuple):
    """A kind of mess in a feed's files, made on the days of the cycle that have this turn."""

    name: str
    feed: str
    turn: int
    apply: Callable[[list[Part], Random], None]


def packed(data: bytes) -> bytes:
    """Gzip without a clock or a name in it."""
    target = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0, compresslevel=6) as file:
        file.write(data)
    return target.getvalue()


def save(path: Path, data: bytes) -> None:
    """Write a file so that nobody ever finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + UNFINISHED)
    unfinished.write_bytes(data)
    unfinished.replace(path)


def broken_gzip(parts: list[Part]) -> bytes:
    """The beginning of a gzip file, as after a transfer that broke off."""
    whole = packed(parts[0].content()[:20_000])
    return whole[: len(whole) // 2]


# --- one function per kind --------------------------------------------------------------------------------


def hourly(parts: list[Part], _rng: Random) -> None:
    """A folder per hour instead of one file."""
    whole = parts.pop(0)
    by_hour = groupby(whole.records, key=lambda record: int(record[0] // HOUR))
    parts[:0] = [replace(whole, folder=f"hour={hour:02d}/", records=list(rows)) for hour, rows in by_hour]


def three_files(parts: list[Part], _rng: Random) -> None:
    """The day in three deliveries."""
    whole = parts.pop(0)
    size = -(-len(whole.records) // 3)
    parts[:0] = [
        replace(whole, name=f"{whole.name}_{number}", records=whole.records[(number - 1) * size : number * size])
        for number in (1, 2, 3)
    ]


def other_names(parts: list[Part], _rng: Random) -> None:
    """The last file's header says user_id and ts."""
    names = {"customer_id": "user_id", "event_time": "ts", "order_time": "timestamp"}
    parts[-1].header = [names.get(name, name) for name in parts[-1].header]


def shouted_header(parts: list[Part], _rng: Random) -> None:
    """A header in capitals, with blanks around some names."""
    part = parts[0]
    part.header = [name.upper() if place % 2 else f" {name.title()} " for place, name in enumerate(part.header)]


def unknown_column(parts: list[Part], rng: Random) -> None:
    """A column that no contract mentions, in one of the files."""
    part = parts[len(parts) // 2]
    part.header = [*part.header, "Campaign"]
    values = ("", "spring", "autumn", "newsletter-7")
    part.records = [(at, f"{text},{pick(rng, values)}" if text else "") for at, text in part.records]


def lost_column(parts: list[Part], _rng: Random) -> None:
    """A partner sends a few rows without the fifth column."""
    part = parts[0]
    wanted = max(2, len(part.records) // 100)
    plain = [record for record in part.records if _is_plain(record, part)]
    taken = set(plain[-wanted:])
    part.records = [record for record in part.records if record not in taken]
    header = part.header[:4] + part.header[5:]
    records = []
    for at, text in plain[-wanted:]:
        fields = text.split(",")
        records.append((at, ",".join(fields[:4] + fields[5:])))
    parts.append(Part(f"{part.name}_partner", header, records))


def resend(parts: list[Part], rng: Random) -> None:
    """Some of the last quarter's rows once more, in a second file."""
    part = parts[0]
    last_quarter = [record for record in part.records[len(part.records) * 3 // 4 :] if _is_plain(record, part)]
    wanted = max(1, len(part.records) // (_RESENT_SHARE - 1))
    taken = rng.sample(last_quarter, min(wanted, len(last_quarter)))
    parts.append(Part(f"{part.name}_resend", part.header, sorted(taken)))


def corrections(parts: list[Part], rng: Random) -> None:
    """A few orders once more in a second file: what was paid has been refunded since."""
    part = parts[0]
    paid = [record for record in part.records if _is_plain(record, part) and ",paid," in record[1]]
    taken = sorted(rng.sample(paid, min(max(2, len(paid) // 20), len(paid))))
    records = [(at, text.replace(",paid,", ",refunded,")) for at, text in taken]
    parts.append(Part(f"{part.name}_corrections", list(COLUMNS[ORDERS]), records))


def same_bytes(parts: list[Part], _rng: Random) -> None:
    """The whole file again under another name."""
    parts.append(replace(parts[0], name=f"{parts[0].name}_copy", copy=True))


def windows_line_ends(parts: list[Part], _rng: Random) -> None:
    """CRLF, and a byte-order mark."""
    parts[0].line_end = "\r\n"
    parts[0].byte_order_mark = True


def old_mac_line_ends(parts: list[Part], _rng: Random) -> None:
    """CR alone."""
    parts[0].line_end = "\r"


def no_last_line_end(parts: list[Part], _rng: Random) -> None:
    """The last line stops at the end of the file."""
    parts[-1].last_line_end = False


def gzipped(parts: list[Part], _rng: Random) -> None:
    """The first file packed."""
    parts[0].gzipped = True


def json_lines(parts: list[Part], _rng: Random) -> None:
    """The first file as JSON lines."""
    parts[0].form = "jsonl"


def parquet(parts: list[Part], _rng: Random) -> None:
    """The first file as Parquet; what cannot be a row there comes as JSON lines beside it."""
    whole = parts[0]
    plain = [record for record in whole.records if _is_plain(record, whole) and _is_text(record)]
    rest = [record for record in whole.records if record[1] and record not in plain]
    parts[0] = replace(whole, records=plain, form="parquet")
    if rest:
        parts.append(replace(whole, name=f"{whole.name}_rest", records=rest, form="jsonl"))


def _is_plain(record: Record, part: Part) -> bool:
    """Whether a record can be cut at its commas."""
    return '"' not in record[1] and record[1].count(",") == len(part.header) - 1


def _is_text(record: Record) -> bool:
    """Whether a record has no byte that is not UTF-8."""
    return not _BAD_BYTE.search(record[1])


FILE_MESS: Final = (
    FileMess("no_last_line_end", EVENTS, 0, no_last_line_end),
    FileMess("shouted_header", ORDERS, 0, shouted_header),
    FileMess("corrections", ORDERS, 0, corrections),
    FileMess("hourly_folders", EVENTS, 1, hourly),
    FileMess("windows_line_ends", CUSTOMERS, 1, windows_line_ends),
    FileMess("same_bytes", ORDERS, 1, same_bytes),
    FileMess("three_files", EVENTS, 2, three_files),
    FileMess("unknown_column", EVENTS, 2, unknown_column),
    FileMess("other_names", EVENTS, 2, other_names),
    FileMess("old_mac_line_ends", ORDERS, 2, old_mac_line_ends),
    FileMess("parquet", CUSTOMERS, 2, parquet),
    FileMess("other_names", CUSTOMERS, 3, other_names),
    FileMess("gzipped", EVENTS, 3, gzipped),
    FileMess("lost_column", ORDERS, 3, lost_column),
    FileMess("json_lines", ORDERS, 3, json_lines),
    FileMess("windows_line_ends", EVENTS, 4, windows_line_ends),
    FileMess("resend", EVENTS, 4, resend),
    FileMess("unknown_column", CUSTOMERS, 4, unknown_column),
    FileMess("other_names", ORDERS, 4, other_names),
)


def turn_of(ordinal: int, seed: int) -> int:
    """A day's place in the cycle."""
    return (ordinal + seed) % CYCLE


def resent_rows(turn: int, feed: str, records: int) -> int:
    """How many of a feed's records on a day will be ones sent again."""
    again = any(mess.apply is resend and (mess.feed, mess.turn) == (feed, turn) for mess in FILE_MESS)
    return records // _RESENT_SHARE if again else 0


def lay_out(parts: list[Part], feed: str, turn: int, rng: Random, *, always_hourly: bool) -> list[str]:
    """Turn a feed's one plain file into those of the day; gives the names of what was done."""
    done = []
    if always_hourly and feed == EVENTS:
        hourly(parts, rng)
        done.append("hourly_folders")
    for mess in FILE_MESS:
        splits = mess.apply in (hourly, three_files)
        if (mess.feed, mess.turn) == (feed, turn) and not (splits and always_hourly):
            mess.apply(parts, rng)
            done.append(mess.name)
    return done
