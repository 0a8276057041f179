"""What all tests share: fixtures and hypothesis profiles."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from assets_pkg.policy import Policy, load_policy
from assets_pkg_tests.workbench import SAMPLES, Workbench

# The normal suite meets the same cases on every run, so that it fails for a change and never for luck.
settings.register_profile(
    "normal", derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
# Tests marked slow use it: not derandomized, so they look for new cases every time.
settings.register_profile(
    "deep", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("normal")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the developer's own PIPELINE_* variables."""
    for field in ("DATA_DIR", "REPORTS_DIR", "POLICY", "LEDGER_URL", "LOCK_WAIT_SECONDS"):
        monkeypatch.delenv(f"PIPELINE_{field}", raising=False)


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The default policy."""
    return load_policy()


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    """An empty pipeline with the default policy."""
    return Workbench(tmp_path)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of sample files beside the repository; the test is skipped where it is absent."""
    if not SAMPLES.is_dir():
        pytest.skip("the sample files (../shared/samples, beside the repository) are not here")
    return SAMPLES
