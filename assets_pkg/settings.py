"""Where things are, from the environment (PIPELINE_*); defaults suit the project's root on one machine."""

from datetime import date
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from assets_pkg.policy.model import Severity


def _split(names: object) -> object:
    return names.replace(",", " ").lower().split() if isinstance(names, str) else names


_Owner = Annotated[str, StringConstraints(pattern=r"^(team:.+|[^@\s]+@[^@\s]+\.[^@\s]+)$")]


class Settings(BaseSettings):
    """Paths and addresses. Every field is read from PIPELINE_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="PIPELINE_", frozen=True, extra="ignore")

    data_dir: Path = Field(default=Path("data"), description="holds raw/ and, once run, lake/ and ledger.db")
    reports_dir: Path = Field(default=Path("reports"), description="where day reports are written")
    reports_url: str | None = Field(default=None, description="where that folder is served to browsers, for links")
    policy: Path | None = Field(default=None, description="a policy file laid over the default one")
    ledger_url: str | None = Field(default=None, description="SQLite or PostgreSQL URL of the file ledger")
    first_day: date = Field(default=date(2025, 1, 1), description="the first ingest date there is")
    automatic: bool = Field(default=False, description="schedule and file sensor are on from the start")
    schedule_hour: int = Field(default=4, ge=0, le=23, description="hour at which the daily run starts")
    schedule_zone: ZoneInfo = Field(default=ZoneInfo("UTC"), description="time zone of that hour")
    lock_wait_seconds: float = Field(default=600, ge=0, description="how long a run waits for another on the same day")
    ledger_wait_seconds: float = Field(default=30, ge=0, description="how long to wait for a ledger that is locked")

    owners: Annotated[tuple[_Owner, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=("team:data-operations",), description="who looks after the assets: e-mail addresses or team:name"
    )
    notify_urls: SecretStr = Field(default=SecretStr(""), description="apprise URLs that are told of problems")
    notify_severities: Annotated[frozenset[Severity], NoDecode, BeforeValidator(_split)] = Field(
        default=frozenset({"high"}), description="alerts of which severities are told"
    )

    def is_ingest_date(self, day: date, today: date) -> bool:
        """Whether a day can be run: from the first one up to today, which may be run before it is over."""
        return self.first_day <= day <= today

    @property
    def raw_dir(self) -> Path:
        """The raw root."""
        return self.data_dir / "raw"

    @property
    def lake_dir(self) -> Path:
        """The folder of the Delta tables."""
        return self.data_dir / "lake"

    @property
    def lock_dir(self) -> Path:
        """The folder of the locks on days."""
        return self.data_dir / "locks"

    @property
    def ledger(self) -> str:
        """The ledger's URL."""
        return self.ledger_url or f"sqlite:///{self.data_dir / 'ledger.db'}"
