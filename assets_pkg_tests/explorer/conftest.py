"""One lake for all pages; nobody writes to it."""

import pytest

from assets_pkg_tests.sample_lake import sample_lake
from assets_pkg_tests.workbench import Workbench


@pytest.fixture(scope="session")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """The sample days."""
    return sample_lake(tmp_path_factory.mktemp("looked-at"))
