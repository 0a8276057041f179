"""What partitions are built from, and whether they still are: what makes a rerun of an unchanged day do nothing.

A step's partitions carry the digest of what it read (docs/adr/0007): the versions of its source partitions and the
policy that decides. If the same step would read the same now, its partitions stay.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import date
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.lake import PartitionWriter

# The packages whose code decides what tables hold.
_DECIDING = ("policy", "contracts", "transforms", "storage", "steps")


def inputs_of(work: Workplace, sections: Iterable[str], sources: Mapping[str, Iterable[date]], *more: str) -> str:
    """A digest of the partitions `sources` (dates by table) that are there now, of sections of the policy, and more."""
    told = [work.policy.fingerprint(*sections), *more]
    for table, days in sources.items():
        told += [f"{table} {day} {version}" for day in days if (version := work.lake.version(table, day)) is not None]
    return digest_of(told)


def digest_of(texts: Iterable[str]) -> str:
    """A short digest of texts: equal for equal ones in the same order."""
    return hashlib.blake2b("\n".join(texts).encode(), digest_size=10).hexdigest()


def built_from(inputs: str) -> str:
    """What a partition made by this code from `inputs` carries."""
    return f"{inputs}.{code_digest()}"


def inputs_named(built: str) -> str:
    """The inputs that a partition carries, without the code that made it."""
    return built.partition(".")[0]


def is_built_from(work: Workplace, table: str, day: date, inputs: str) -> bool:
    """Whether the partition was made from `inputs`, by whatever version of the code."""
    partition = work.lake.partition(table, day)
    return partition is not None and inputs_named(partition.built_from) == inputs


def is_current(work: Workplace, tables: Iterable[str], day: date, inputs: str, *, by_any_code: bool = False) -> bool:
    """Whether a step that reads `inputs` need not be done: its partitions are those that this code makes of them.

    `by_any_code`: or that other code made of them. Never when the workplace takes nothing on trust.
    """
    wanted = built_from(inputs)
    return not work.verify and all(
        (partition := work.lake.partition(table, day)) is not None
        and (partition.built_from == wanted or (by_any_code and inputs_named(partition.built_from) == inputs))
        and work.lake.is_whole(table, day)
        for table in tables
    )


def replacing(work: Workplace, day: date, inputs: str) -> Callable[[str], AbstractContextManager[PartitionWriter]]:
    """How a step writes its partitions of `day`, made from `inputs`: a table's by what is written inside the block."""

    def replace(table: str) -> AbstractContextManager[PartitionWriter]:
        return work.lake.replace(table, day, work.run, built_from(inputs))

    return replace


@cache
def code_digest() -> str:
    """A digest of the code that decides what tables hold: after an upgrade, days that are run again are made anew."""
    return _digest_of(_DECIDING)


@cache
def page_digest() -> str:
    """A digest of the code that decides how the day report looks, whatever tables hold."""
    return _digest_of(("report",))


def _digest_of(packages: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=5)
    for package in packages:
        for source in sorted(_sources(files("assets_pkg").joinpath(package)), key=lambda each: each.name):
            digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()


def _sources(folder: Traversable) -> list[Traversable]:
    found = []
    for each in folder.iterdir():
        if each.is_dir():
            found += _sources(each)
        elif each.name.endswith((".py", ".yaml", ".html", ".css")):
            found.append(each)
    return found
