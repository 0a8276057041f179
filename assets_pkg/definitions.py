"""The one Definitions object, built by a function that takes overrides."""

import dagster as dg

from assets_pkg.orchestration.assets import Graph, build_assets
from assets_pkg.orchestration.checks import build_checks
from assets_pkg.orchestration.jobs import build_job, build_schedule
from assets_pkg.orchestration.partitions import ingest_dates
from assets_pkg.orchestration.sensors import build_pending_days
from assets_pkg.orchestration.workplace import WORKPLACE, workplace_resource
from assets_pkg.policy import Policy, load_policy
from assets_pkg.settings import Settings


def build_definitions(settings: Settings | None = None, policy: Policy | None = None) -> dg.Definitions:
    """All assets, checks, jobs, schedules and sensors; settings from the environment unless given.

    Raises PolicyError when the policy file cannot be used.
    """
    settings = settings or Settings()
    policy = policy or load_policy(settings.policy)
    days = ingest_dates(settings)
    job = build_job()
    return dg.Definitions(
        assets=build_assets(Graph(days, policy)),
        asset_checks=build_checks(days, policy),
        jobs=[job],
        schedules=[build_schedule(job, settings)],
        sensors=[build_pending_days(job, settings)],
        resources={WORKPLACE: workplace_resource(settings, policy)},
        executor=dg.in_process_executor,
    )


defs = build_definitions()
