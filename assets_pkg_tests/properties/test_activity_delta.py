"""Random histories of events, the other half, and some on Delta itself.

In a file of their own, as pytest's workers share the tests by file.
"""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from assets_pkg_tests.properties.activity_histories import Histories


class OtherHistories(Histories):
    """Not those of the other file: what hypothesis draws depends on the class."""


class HistoriesOnDelta(Histories):
    """Nothing is stood in for."""

    is_quick = False
    fresh_builds = 1


class LongHistoriesOnDelta(HistoriesOnDelta):
    """More of everything."""

    most_days = 5


def test_tables_by_event_date_are_those_of_a_fresh_build() -> None:
    run_state_machine_as_test(OtherHistories, settings=settings(max_examples=90, stateful_step_count=6))


def test_on_delta_too() -> None:
    run_state_machine_as_test(HistoriesOnDelta, settings=settings(max_examples=12, stateful_step_count=6))


@pytest.mark.slow
def test_on_delta_too_deep() -> None:
    deep = settings(settings.get_profile("deep"), max_examples=300, stateful_step_count=15)
    run_state_machine_as_test(LongHistoriesOnDelta, settings=deep)
