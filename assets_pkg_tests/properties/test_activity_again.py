"""Random histories of events, the other half.

In a file of their own, as pytest's workers share the tests by file.
"""

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from assets_pkg_tests.properties.activity_histories import Histories


class OtherHistories(Histories):
    """Not those of the other file: what hypothesis draws depends on the class."""


def test_tables_by_event_date_are_those_of_a_fresh_build() -> None:
    run_state_machine_as_test(OtherHistories, settings=settings(max_examples=100, stateful_step_count=5))
