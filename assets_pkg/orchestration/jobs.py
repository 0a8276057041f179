"""The jobs of both axes and of health, and all schedules."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets_pkg.contracts.tables import ACTIVITY_TABLES, INGEST_TABLES
from assets_pkg.orchestration.health import PARTITION_HEALTH
from assets_pkg.orchestration.workplace import ACTIVITY_JOB, DAILY_JOB, days_at_work
from assets_pkg.policy import Policy
from assets_pkg.settings import Settings
from assets_pkg.steps.arrivals import arrivals
from assets_pkg.steps.reports import DAY_REPORT, VALIDATION_REPORT
from assets_pkg.steps.workplace import Workplace

DAILY_SCHEDULE = "daily_schedule"
HEALTH_JOB = "health"
HEALTH_SCHEDULE = "health_schedule"
MAINTENANCE_SCHEDULE = "maintenance_schedule"


def build_daily_job() -> UnresolvedAssetJobDefinition:
    """Raw to the day report, with all checks, for an ingest date or a range of them."""
    return dg.define_asset_job(
        DAILY_JOB,
        selection=_with_checks(*INGEST_TABLES, VALIDATION_REPORT, DAY_REPORT),
        description="Everything of an ingest date: raw files to alerts and reports, and every check.",
    )


def build_activity_job() -> UnresolvedAssetJobDefinition:
    """Events by date to activity alerts, with all checks, for an event date or a range of them."""
    return dg.define_asset_job(
        ACTIVITY_JOB,
        selection=_with_checks(*ACTIVITY_TABLES),
        description="Everything of an event date: events that happened on it, sessions, metrics, alerts, every check.",
    )


def build_health_job() -> UnresolvedAssetJobDefinition:
    """Looks at all partitions and changes nothing."""
    return dg.define_asset_job(
        HEALTH_JOB,
        selection=dg.AssetSelection.checks_for_assets(dg.AssetKey(PARTITION_HEALTH)),
        description="Which dates of which assets failed, are missing, lost or stale.",
    )


def build_health_schedule(job: UnresolvedAssetJobDefinition, settings: Settings) -> dg.ScheduleDefinition:
    """Every day, an hour after the daily run starts."""
    return _after_the_daily_run(HEALTH_SCHEDULE, job, settings, hours=1)


def _with_checks(*assets: str) -> dg.AssetSelection:
    selected = dg.AssetSelection.assets(*assets)
    return selected | dg.AssetSelection.checks_for_assets(*map(dg.AssetKey, assets))


def build_schedule(job: UnresolvedAssetJobDefinition, settings: Settings, policy: Policy) -> dg.ScheduleDefinition:
    """The job for the last day that is over (UTC), every day at the settings' hour.

    Whatever is there then is processed, also if a feed is missing: the file sensor runs the day again when it comes.
    Not if somebody is at it, or nothing came since it was processed.
    """

    @dg.schedule(
        name=DAILY_SCHEDULE,
        job=job,
        cron_schedule=f"0 {settings.schedule_hour} * * *",
        execution_timezone=settings.schedule_zone.key,
        default_status=_status(settings),
        description=f"Runs {DAILY_JOB} for the day before at {settings.schedule_hour:02d}:00 {settings.schedule_zone}.",
    )
    def daily_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        day = context.scheduled_execution_time.astimezone(UTC).date() - timedelta(days=1)
        if day in days_at_work(context.instance):
            return dg.SkipReason(f"{day} is being processed.")
        found = arrivals(Workplace(settings, policy, frozen=True), day, datetime.now(UTC))
        if found.processed and not found.changed and not found.growing:
            return dg.SkipReason(f"{day} was processed, and nothing is new.")
        return dg.RunRequest(run_key=f"{day} {found.version}", partition_key=day.isoformat())

    return daily_schedule


def build_maintenance_schedule(job: dg.JobDefinition, settings: Settings) -> dg.ScheduleDefinition:
    """Every Sunday, two hours after the daily run starts."""
    return _after_the_daily_run(MAINTENANCE_SCHEDULE, job, settings, hours=2, weekday="SUN")


def _after_the_daily_run(
    name: str,
    job: dg.JobDefinition | UnresolvedAssetJobDefinition,
    settings: Settings,
    hours: int,
    weekday: str | None = None,
) -> dg.ScheduleDefinition:
    hour = (settings.schedule_hour + hours) % 24
    days = f"every {weekday}" if weekday else "every day"
    return dg.ScheduleDefinition(
        name=name,
        job=job,
        cron_schedule=f"0 {hour} * * {weekday or '*'}",
        execution_timezone=settings.schedule_zone.key,
        default_status=_status(settings),
        description=f"Runs {job.name} {days} at {hour:02d}:00 {settings.schedule_zone}.",
    )


def _status(settings: Settings) -> dg.DefaultScheduleStatus:
    return dg.DefaultScheduleStatus.RUNNING if settings.automatic else dg.DefaultScheduleStatus.STOPPED
