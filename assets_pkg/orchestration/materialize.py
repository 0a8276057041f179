"""Partitions told to Dagster one by one, each with the version of its content, also in runs over a range of days.

A `MaterializeResult` of a range run gives all its partitions one data version. Here each gets its own: equal versions,
equal rows, so what is downstream is stale exactly when something changed. Tests pin down what this leans on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from assets_pkg.orchestration.workplace import bad_days_of
from assets_pkg.storage.lake import Lake

_NEVER = "none"  # the version of an input that was never made


def untold_days(instance: dg.DagsterInstance, lake: Lake, tables: Iterable[str], days: Iterable[date]) -> set[date]:
    """The days of which Dagster does not know what a table holds: whoever made that was killed before it told."""
    asked = {day: str(day) for day in days}
    found = set()
    for table in tables:
        held = {day: partition.version for day, partition in lake.partitions(table).items() if day in asked}
        told = instance.event_log_storage.get_latest_tags_by_partition(
            dg.AssetKey(table),
            dg.DagsterEventType.ASSET_MATERIALIZATION,
            [DATA_VERSION_TAG],
            asset_partitions=[asked[day] for day in held],
        )
        found |= {day for day, version in held.items() if told.get(asked[day], {}).get(DATA_VERSION_TAG) != version}
    return found


class Materializations:
    """What a step made, asset by asset and day by day. Make it before the step reads its inputs."""

    def __init__(self, context: dg.AssetExecutionContext, specs: Sequence[dg.AssetSpec], lake: Lake) -> None:
        self._context = context
        self._lake = lake
        self._bad_days = bad_days_of(context)
        self._specs = {spec.key.to_user_string(): spec for spec in specs}
        self._inputs = self._input_tags({dep.asset_key for spec in specs for dep in spec.deps})

    def days(self) -> list[date]:
        """Those of the step's days that did not go wrong before."""
        return self._bad_days.left(self._context)

    def untold(self, days: Iterable[date]) -> set[date]:
        """Those of the days of which what was made before was not told."""
        return untold_days(self._context.instance, self._lake, self._specs, days)

    def attempt(self, day: date) -> AbstractContextManager[None]:
        """Make a day's partitions; if that fails, the step's other days go on."""
        return self._bad_days.attempt(self._context, day)

    def made(self, asset: str, day: date, facts: Mapping[str, Any], version: str | None = None) -> None:
        """Tell of a partition. `version`: that of its content, where it is no table's partition."""
        spec = self._specs[asset]
        version = version or self._lake.version(asset, day)
        inputs = {name: tag for dep in spec.deps for name, tag in self._inputs[dep.asset_key].items()}
        self._context.log_event(
            dg.AssetMaterialization(
                asset,
                partition=day.isoformat(),
                metadata=facts,
                tags={
                    DATA_VERSION_TAG: version or _NEVER,
                    DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
                    CODE_VERSION_TAG: spec.code_version or "",
                    **inputs,
                },
            )
        )

    def done(self) -> Iterator[dg.Output[None]]:
        """The outputs that let the steps downstream begin. Their events were logged: Dagster shall add none."""
        for spec in self._specs.values():
            yield dg.Output(
                None,
                output_name=spec.key.to_python_identifier(),
                metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True},
            )
        self._bad_days.tell(self._context)

    def _input_tags(self, keys: set[dg.AssetKey]) -> dict[dg.AssetKey, dict[str, str]]:
        """How far each input's events went when the step began: later ones of other versions make its assets stale."""
        tags = {
            key: {get_input_data_version_tag(key): _NEVER, get_input_event_pointer_tag(key): NULL_EVENT_POINTER}
            for key in keys
        }
        for record in self._context.instance.get_asset_records(list(keys)):
            newest = record.asset_entry.last_materialization_record
            if newest is not None:
                key = record.asset_entry.asset_key
                version = (newest.event_log_entry.tags or {}).get(DATA_VERSION_TAG, _NEVER)
                tags[key] = {
                    get_input_data_version_tag(key): version,
                    get_input_event_pointer_tag(key): str(newest.storage_id),
                }
        return tags
