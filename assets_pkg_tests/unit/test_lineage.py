"""Where columns come from: every source is there, and upstream."""

import dagster as dg
import pytest

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.lineage import sources_of
from assets_pkg.contracts.tables import (
    ACTIVITY_TABLES,
    CUSTOMERS_KNOWN,
    EVENTS_BY_DATE,
    SESSION_EVENTS,
    SESSIONS,
    TABLES,
    USER_DAILY,
)
from assets_pkg.definitions import build_definitions

GRAPH = build_definitions().resolve_asset_graph()
TRACED = [
    *(feed.clean_table for feed in FEEDS.values()),
    *(feed.quarantine for feed in FEEDS.values()),
    *(table.name for table in (CUSTOMERS_KNOWN, EVENTS_BY_DATE, SESSION_EVENTS, SESSIONS, USER_DAILY)),
]


@pytest.mark.parametrize("name", TABLES)
def test_every_source_is_a_column_of_a_table_upstream(name: str) -> None:
    above = {key.to_user_string() for key in GRAPH.get_ancestor_asset_keys(dg.AssetKey(name))}
    siblings = set(ACTIVITY_TABLES) & {
        key.to_user_string() for key in GRAPH.get(dg.AssetKey(name)).execution_set_asset_keys
    }
    for column, sources in sources_of(name).items():
        for source in sources:
            assert source.table in above | siblings, f"{name}.{column} from {source}"
            assert source.column in TABLES[source.table].columns, f"{name}.{column} from {source}"


@pytest.mark.parametrize("name", TRACED)
def test_every_column_that_holds_a_value_says_where_it_is_from(name: str) -> None:
    of_ours = {"warnings", "reject_reason", "first_seen", "last_seen", "ingest_date"}
    assert TABLES[name].columns.keys() - sources_of(name).keys() <= of_ours


def test_a_renamed_column_and_a_made_one_say_what_they_are_made_from() -> None:
    clean = sources_of("events_clean")
    assert [str(source) for source in clean["client_session_id"]] == ["raw_events.session_id"]
    assert [str(source) for source in clean["event_date"]] == ["raw_events.event_time"]
    assert {str(source) for source in sources_of("sessions")["session_id"]} == {
        "session_runs.customer_id",
        "session_runs.start_us",
    }
