"""Where things are: defaults and PIPELINE_* variables (section 7)."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from assets_pkg.policy import PolicyError
from assets_pkg.settings import Settings
from assets_pkg.steps.workplace import Workplace


def test_defaults_suit_the_projects_root() -> None:
    settings = Settings()
    assert (settings.data_dir, settings.reports_dir, settings.policy) == (Path("data"), Path("reports"), None)
    assert (settings.raw_dir, settings.lake_dir) == (Path("data/raw"), Path("data/lake"))
    assert settings.ledger == "sqlite:///data/ledger.db"


def test_every_place_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPELINE_DATA_DIR", str(tmp_path / "d"))
    monkeypatch.setenv("PIPELINE_REPORTS_DIR", str(tmp_path / "r"))
    monkeypatch.setenv("PIPELINE_POLICY", str(tmp_path / "p.yaml"))
    settings = Settings()
    assert (settings.raw_dir, settings.lake_dir) == (tmp_path / "d" / "raw", tmp_path / "d" / "lake")
    assert (settings.reports_dir, settings.policy) == (tmp_path / "r", tmp_path / "p.yaml")
    assert settings.ledger == f"sqlite:///{tmp_path / 'd' / 'ledger.db'}"
    monkeypatch.setenv("PIPELINE_LEDGER_URL", "postgresql://host/ledger")
    assert Settings().ledger == "postgresql://host/ledger"


def test_a_policy_file_is_laid_over_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("values: {max_amount: 5}")
    monkeypatch.setenv("PIPELINE_POLICY", str(path))
    assert Workplace.from_settings(Settings()).policy.values.max_amount == 5
    path.write_text("values: {max_amount: nothing}")
    with pytest.raises(PolicyError, match=r"p\.yaml"):
        Workplace.from_settings(Settings())


def test_an_impossible_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_LOCK_WAIT_SECONDS", "-1")
    with pytest.raises(ValidationError, match="lock_wait_seconds"):
        Settings()


def test_settings_do_not_change(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().data_dir = tmp_path  # type: ignore[misc]
