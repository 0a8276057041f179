"""The jobs of both axes, and the schedule that runs an ingest date: the day before."""

from datetime import UTC, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets_pkg.contracts.tables import ACTIVITY_TABLES, INGEST_TABLES
from assets_pkg.orchestration.assets import VALIDATION_REPORT
from assets_pkg.orchestration.workplace import ACTIVITY_JOB
from assets_pkg.settings import Settings

DAILY_JOB = "daily_pipeline"


def build_daily_job() -> UnresolvedAssetJobDefinition:
    """Raw to alerts, with all checks, for an ingest date or a range of them."""
    return dg.define_asset_job(
        DAILY_JOB,
        selection=_with_checks(*INGEST_TABLES, VALIDATION_REPORT),
        description="Everything of an ingest date: raw files to alerts, and every check.",
    )


def build_activity_job() -> UnresolvedAssetJobDefinition:
    """Events by date to activity alerts, with all checks, for an event date or a range of them."""
    return dg.define_asset_job(
        ACTIVITY_JOB,
        selection=_with_checks(*ACTIVITY_TABLES),
        description="Everything of an event date: events that happened on it, sessions, metrics, alerts, every check.",
    )


def _with_checks(*assets: str) -> dg.AssetSelection:
    selected = dg.AssetSelection.assets(*assets)
    return selected | dg.AssetSelection.checks_for_assets(*map(dg.AssetKey, assets))


def build_schedule(job: UnresolvedAssetJobDefinition, settings: Settings) -> dg.ScheduleDefinition:
    """The job for the day before, every day at the settings' hour (UTC). Off until it is turned on."""

    @dg.schedule(
        name="daily_schedule",
        job=job,
        cron_schedule=f"0 {settings.schedule_hour} * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Runs {DAILY_JOB} for the day before at {settings.schedule_hour:02d}:00 UTC.",
    )
    def daily_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        key = (context.scheduled_execution_time.astimezone(UTC).date() - timedelta(days=1)).isoformat()
        return dg.RunRequest(run_key=key, partition_key=key)

    return daily_schedule
