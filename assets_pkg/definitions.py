"""The one Definitions object, built by a function that takes overrides."""

import warnings

import dagster as dg

from assets_pkg.orchestration.activity import GROUP, build_activity_assets
from assets_pkg.orchestration.activity_checks import build_activity_checks
from assets_pkg.orchestration.assets import Graph, build_ingest_assets
from assets_pkg.orchestration.automation import build_refresh_sensor
from assets_pkg.orchestration.checks import build_checks
from assets_pkg.orchestration.health import build_health
from assets_pkg.orchestration.jobs import (
    build_activity_job,
    build_daily_job,
    build_health_job,
    build_health_schedule,
    build_maintenance_schedule,
    build_schedule,
)
from assets_pkg.orchestration.maintenance import build_maintenance_job
from assets_pkg.orchestration.notifications import build_notifications
from assets_pkg.orchestration.sensors import build_pending_days, build_raw_files
from assets_pkg.orchestration.workplace import WORKPLACE, workplace_resource
from assets_pkg.policy import Policy, load_policy
from assets_pkg.settings import Settings


def build_definitions(settings: Settings | None = None, policy: Policy | None = None) -> dg.Definitions:
    """All assets, checks, jobs, schedules and sensors; settings from the environment unless given.

    Raises PolicyError when the policy file cannot be used.
    """
    settings = settings or Settings()
    policy = policy or load_policy(settings.policy)
    with warnings.catch_warnings():
        # What is in preview or beta there (partitioned checks, windows over missing partitions, conditions evaluated in
        # the code server) is pinned down by tests.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _definitions(settings, Graph(settings, policy))


def _definitions(settings: Settings, graph: Graph) -> dg.Definitions:
    daily, activity, health = build_daily_job(), build_activity_job(), build_health_job()
    maintenance = build_maintenance_job(settings, graph.policy)
    checks = [*build_checks(graph), *build_activity_checks(graph)]
    all_partitions, all_up_to_date = build_health(
        (spec for each in checks for spec in each.check_specs), settings.owners
    )
    return dg.Definitions(
        assets=[*build_ingest_assets(graph), *build_activity_assets(graph), all_partitions],
        asset_checks=[*checks, all_up_to_date],
        jobs=[daily, activity, health, maintenance],
        schedules=[
            build_schedule(daily, settings, graph.policy),
            build_health_schedule(health, settings),
            build_maintenance_schedule(maintenance, settings),
        ],
        sensors=[
            build_pending_days(daily, settings),
            build_raw_files(daily, settings, graph.policy),
            build_refresh_sensor(dg.AssetSelection.groups(GROUP), graph.policy),
            build_notifications(settings, graph.policy),
        ],
        resources={WORKPLACE: workplace_resource(settings, graph.policy)},
        executor=dg.in_process_executor,
    )


defs = build_definitions()
