"""Random histories of events, half of them: the others are in test_activity_again.py.

Thousands of longer ones, every one held against a fresh build: `pytest -m slow`.
"""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from assets_pkg_tests.properties.activity_histories import Histories


class ShortHistories(Histories):
    """Few days, few steps: what is wrong with the tables mostly shows there."""


class LongHistories(Histories):
    """More of everything."""

    most_days = 5
    fresh_builds = 1


def test_tables_by_event_date_are_those_of_a_fresh_build() -> None:
    run_state_machine_as_test(ShortHistories, settings=settings(max_examples=100, stateful_step_count=5))


@pytest.mark.slow
def test_tables_by_event_date_are_those_of_a_fresh_build_deep() -> None:
    deep = settings(settings.get_profile("deep"), max_examples=2000, stateful_step_count=15)
    run_state_machine_as_test(LongHistories, settings=deep)
