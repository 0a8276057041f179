"""What every step works with: raw files, lake, ledger, report folder and policy."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from assets_pkg.policy import Policy, load_policy
from assets_pkg.settings import Settings
from assets_pkg.storage.lake import Lake
from assets_pkg.storage.ledger import Ledger


@dataclass(frozen=True)
class Workplace:
    """The places and the policy of one pipeline. `run` names who works, for the ledger and the tables' logs.

    `verify`: take nothing on trust: hash every raw file, also those whose folder entry says that nobody touched them,
    and build every partition anew. `frozen`: show each table as it is when first looked at.
    """

    settings: Settings
    policy: Policy
    run: str = ""
    verify: bool = False
    frozen: bool = False

    @classmethod
    def from_settings(cls, settings: Settings, run: str = "") -> "Workplace":
        """Raises PolicyError."""
        return cls(settings, load_policy(settings.policy), run)

    @property
    def raw_root(self) -> Path:
        """The folder that holds ingest_date=…/."""
        return self.settings.raw_dir

    def as_now(self) -> "Workplace":
        """The same, with the tables as they are now; what they hold is taken on trust."""
        now = replace(self, frozen=True, verify=False)
        vars(now)["lake"] = self.lake.as_now()
        return now

    @cached_property
    def lake(self) -> Lake:
        """The tables."""
        return Lake(self.settings.lake_dir, frozen=self.frozen, anew=self.verify)

    @cached_property
    def ledger(self) -> Ledger:
        """The file ledger; opened on first use. Raises LedgerError."""
        return Ledger(self.settings.ledger, self.settings.ledger_wait_seconds)

    @property
    def reports(self) -> Path:
        """The folder of day reports."""
        return self.settings.reports_dir
