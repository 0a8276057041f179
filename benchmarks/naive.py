"""The project's graph under Dagster's own defaults: a run for each partition, a process for each step.

What somebody has who declares daily assets and presses Materialize. `backfills.py` serves it beside the project's own.
"""

import dagster as dg

from assets_pkg.definitions import defs as ours

ONE_EACH = dg.BackfillPolicy.multi_run(max_partitions_per_run=1)

defs = dg.Definitions(
    assets=[
        each.with_attributes(backfill_policy=ONE_EACH) if isinstance(each, dg.AssetsDefinition) else each
        for each in ours.assets or ()
    ],
    asset_checks=ours.asset_checks,
    resources=ours.resources,
    executor=dg.multiprocess_executor,
)
