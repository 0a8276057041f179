"""The job over the whole chain, and the schedule that runs it for the day before."""

from datetime import UTC, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets_pkg.settings import Settings

DAILY_JOB = "daily_pipeline"


def build_job() -> UnresolvedAssetJobDefinition:
    """Raw to alerts, with all checks, for a day or a range of days."""
    return dg.define_asset_job(
        DAILY_JOB,
        selection=dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
        description="Everything of an ingest date: raw files to alerts, and every check.",
    )


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
