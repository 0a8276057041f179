"""The policy: its defaults are the contract's, files laid over it are checked, messages name the fault."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from assets_pkg.policy import Policy, PolicyError, load_policy

# Every number and list of the contract, written out once more.
DEFAULTS: dict[str, Any] = {
    "feeds": {
        "customers": {
            "required": ("customer_id", "email", "created_at", "country", "status"),
            "aliases": {"customer_id": ("user_id",)},
            "check_orphans": False,
        },
        "events": {
            "required": (
                "event_id", "customer_id", "event_time", "event_type", "platform", "session_id", "duration_ms"
            ),
            "aliases": {"customer_id": ("user_id",), "event_time": ("ts", "timestamp")},
            "check_orphans": True,
        },
        "orders": {
            "required": ("order_id", "customer_id", "order_time", "amount", "currency", "status"),
            "aliases": {"customer_id": ("user_id",), "order_time": ("ts", "timestamp")},
            "check_orphans": True,
        },
    },
    "reading": {"open_quote_lines": 100, "max_line_mib": 16},
    "values": {
        "null_tokens": ("", "null", "none", "nan", "n/a"),
        "slash_dates": "mdy",
        "first_year": 1970,
        "last_year": 2100,
        "clock_skew_hours": 24,
        "max_duration_ms": 86_400_000,
        "max_amount": 1_000_000,
    },
    "categories": {
        "country": {
            "aliases": {
                "uk": "GB", "great_britain": "GB", "england": "GB",
                "usa": "US", "u.s.": "US", "u.s.a.": "US", "america": "US",
            },
        },
        "customer_status": {
            "names": ("active", "inactive", "banned"),
            "aliases": {"actve": "active", "enabled": "active", "disabled": "inactive", "blocked": "banned"},
        },
        "platform": {
            "names": ("ios", "android", "web"),
            "aliases": {
                "iphone": "ios", "ipad": "ios", "and": "android", "droid": "android", "browser": "web",
                "desktop": "web",
            },
        },
        "event_type": {
            "names": (
                "login", "logout", "signup", "page_view", "click", "search", "feature_use", "paywall_view",
                "add_to_cart",
                "purchase", "error",
            ),
            "aliases": {
                "pageview": "page_view", "view": "page_view", "sign_up": "signup", "log_in": "login",
                "sign_in": "login",
                "log_out": "logout", "sign_out": "logout",
            },
        },
        "currency": {
            "not_money": ("XXX", "XTS"),
            "symbols": {"$": "USD", "us$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"},
            "misread_as": ("mac_roman", "cp1252"),
        },
        "order_status": {
            "names": ("paid", "failed", "refunded", "chargeback"),
            "aliases": {
                "succeeded": "paid", "success": "paid", "completed": "paid", "declined": "failed",
                "refund": "refunded", "charge_back": "chargeback",
            },
            "settled": ("paid", "refunded", "chargeback"),
            "without_amount": ("failed",),
        },
    },
    "activity": {"late_window_days": 2, "session_timeout_minutes": 30, "active_gap_minutes": None},
    "alerts": {
        "history_days": 7,
        "min_history_days": 3,
        "missing_feed": {"enabled": True, "severity": "high"},
        "failed_file": {"enabled": True, "severity": "high"},
        "hourly_coverage": {"enabled": True, "severity": "medium", "max_missing_hours": 4},
        "volume_drop": {"enabled": True, "severity": "high", "max_drop": 0.5},
        "volume_spike": {"enabled": True, "severity": "medium", "max_ratio": 3},
        "quarantine_rate": {"enabled": True, "severity": "medium", "max_points_above": 0.2},
        "orphan_rate": {"enabled": True, "severity": "medium", "max_rate": 0.1},
        "duplicate_rate": {"enabled": True, "severity": "low", "max_rate": 0.2},
        "late_beyond_window": {"enabled": True, "severity": "low", "max_events": 0},
        "schema_drift": {"enabled": True, "severity": "medium"},
        "activity_drop": {"enabled": True, "severity": "high", "max_drop": 0.5},
        "activity_spike": {"enabled": True, "severity": "medium", "max_ratio": 3},
    },
}  # fmt: skip


def leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every setting by its path."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        found |= leaves(value, (*path, key)) if isinstance(value, dict) and value else {(*path, key): value}
    return found


def at_path(tree: Any, path: tuple[str, ...]) -> Any:
    """One setting."""
    for key in path:
        tree = tree[key]
    return tree


@pytest.mark.parametrize("path", leaves(DEFAULTS), ids=".".join)
def test_a_default_is_the_contracts(path: tuple[str, ...], policy: Policy) -> None:
    assert at_path(policy.model_dump(), path) == at_path(DEFAULTS, path)


def test_there_are_no_settings_that_the_contract_does_not_have(policy: Policy) -> None:
    """But for when files are taken as complete, for what checks show and for maintenance, which is ours."""
    found = {path for path in leaves(policy.model_dump()) if path[0] not in {"arrival", "checks", "maintenance"}}
    assert found == leaves(DEFAULTS).keys()


def test_currency_symbols_are_also_known_misread(policy: Policy) -> None:
    assert policy.categories.currency.spellings == {
        "$": "USD", "us$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR",
        "‚Ç¨": "EUR", "â‚¬": "EUR", "¬£": "GBP", "Â£": "GBP", "¬•": "JPY", "Â¥": "JPY", "‚Çπ": "INR",
        "â‚¹": "INR",
    }  # fmt: skip


# -- laying one over another -----------------------------------------------------------------------


def written(folder: Path, content: str) -> Path:
    """A policy file."""
    path = folder / "own.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def test_a_partial_file_changes_what_it_names_and_nothing_else(tmp_path: Path, policy: Policy) -> None:
    own = load_policy(written(tmp_path, "values: {max_amount: 50}\nalerts:\n  volume_drop:\n    max_drop: 0.25\n"))
    changed = {path for path, value in leaves(own.model_dump()).items() if value != at_path(policy.model_dump(), path)}
    assert changed == {("values", "max_amount"), ("alerts", "volume_drop", "max_drop")}
    assert (own.values.max_amount, own.alerts.volume_drop.max_drop) == (50, 0.25)


@pytest.mark.parametrize("content", ["", "\n", "# nothing but a comment\n", "{}", "---\n"])
def test_an_empty_file_changes_nothing(content: str, tmp_path: Path, policy: Policy) -> None:
    assert load_policy(written(tmp_path, content)) == policy


def test_maps_are_merged_and_lists_are_replaced(tmp_path: Path) -> None:
    content = """
        values: {null_tokens: ["", "-"]}
        feeds: {events: {required: [event_id, customer_id, event_time], aliases: {event_time: [at]}}}
        categories: {platform: {names: [ios, android, web, tv], aliases: {fire: tv}}}
    """
    own = load_policy(written(tmp_path, content))
    assert own.values.null_tokens == ("", "-")
    assert own.feeds.events.required == ("event_id", "customer_id", "event_time")
    assert own.feeds.events.aliases == {"customer_id": ("user_id",), "event_time": ("at",)}
    assert own.feeds.events.check_orphans is True
    assert own.categories.platform.aliases == {**DEFAULTS["categories"]["platform"]["aliases"], "fire": "tv"}


def test_null_takes_the_aliases_of_a_header_away(tmp_path: Path) -> None:
    own = load_policy(written(tmp_path, "feeds: {events: {aliases: {event_time: null}}}"))
    assert own.feeds.events.aliases == {"customer_id": ("user_id",)}


def test_null_tokens_are_compared_as_texts_are(tmp_path: Path) -> None:
    assert load_policy(written(tmp_path, "values: {null_tokens: [' NIL ']}")).values.null_tokens == ("nil",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("values: {max_amount: 5}\nvalues: {max_amount: 6}", "key 'values' stands twice"),
        ("values: {max_amount: 5, max_amount: 6}", "key 'max_amount' stands twice"),
        ("values: {max_amount: true}", "values.max_amount: is a switch"),
        ("values: {slash_dates: no}", "values.slash_dates: is a switch"),
        ("alerts: {orphan_rate: {max_rate: yes}}", "max_rate: is a switch"),
        ("feeds: {events: {aliases: {event_time: ['']}}}", "alias of event_time is empty"),
        ("categories: {event_type: {names: ['Page View']}}", "'page_view'"),
        ("categories: {platform: {names: [ios, web]}}", "taken away by setting it to null"),
    ],
)
def test_what_nobody_can_have_meant_is_refused(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(written(tmp_path, content))
    assert message in str(caught.value)


def test_null_takes_an_alias_away(tmp_path: Path) -> None:
    content = """
        categories:
          platform: {aliases: {and: null}}
          country: {aliases: {england: null}}
          currency: {symbols: {"₹": null}}
    """
    categories = load_policy(written(tmp_path, content)).categories
    assert "and" not in categories.platform.aliases
    assert "england" not in categories.country.aliases
    assert categories.platform.aliases["droid"] == "android"
    assert "INR" not in categories.currency.spellings.values()


def test_null_sets_back_what_may_be_unset(tmp_path: Path) -> None:
    assert load_policy(written(tmp_path, "activity: {active_gap_minutes: 5}")).activity.active_gap_minutes == 5
    assert load_policy(written(tmp_path, "activity: {active_gap_minutes: null}")).activity.active_gap_minutes is None


def test_an_overlay_lies_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "values: {max_amount: 50, first_year: 2000}")
    own = load_policy(path, overlay={"values": {"max_amount": 60}})
    assert (own.values.max_amount, own.values.first_year) == (60, 2000)


def test_loading_twice_gives_equals_and_the_default_is_never_changed(policy: Policy) -> None:
    load_policy(overlay={"categories": {"platform": {"aliases": {"tv": "web"}}}, "values": {"max_amount": 1}})
    assert load_policy() == policy


def test_a_policy_is_frozen(policy: Policy) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        policy.values.max_amount = 5  # type: ignore[misc]


# -- what is refused -------------------------------------------------------------------------------

# content, what the message must name
REFUSED: list[tuple[str, list[str]]] = [
    # Unknown keys, wherever.
    ("valeus: {max_amount: 5}", ["valeus", "unknown key"]),
    ("values: {max_amuont: 5}", ["values.max_amuont", "unknown key"]),
    ("feeds: {events: {requried: []}}", ["feeds.events.requried", "unknown key"]),
    ("feeds: {products: {required: [id]}}", ["feeds.products", "unknown key"]),
    ("alerts: {volume_dorp: {enabled: false}}", ["alerts.volume_dorp", "unknown key"]),
    ("alerts: {volume_drop: {max_rate: 0.5}}", ["alerts.volume_drop.max_rate", "unknown key"]),
    ("categories: {colour: {names: [red]}}", ["categories.colour", "unknown key"]),
    ("categories: {country: {names: [DE]}}", ["categories.country.names", "unknown key"]),
    # Impossible values.
    ("values: {slash_dates: ymd}", ["values.slash_dates", "ymd"]),
    ("values: {max_amount: -1}", ["values.max_amount", "-1"]),
    ("values: {max_amount: 0}", ["values.max_amount"]),
    ("values: {max_amount: lots}", ["values.max_amount", "lots"]),
    ("values: {max_amount: 1.5}", ["values.max_amount", "1.5"]),
    ("values: {max_amount: null}", ["values.max_amount"]),
    ("values: {max_amount: 1000000000001}", ["values.max_amount"]),
    ("values: {max_duration_ms: 0}", ["values.max_duration_ms"]),
    ("values: {max_duration_ms: .inf}", ["values.max_duration_ms"]),
    ("values: {clock_skew_hours: -1}", ["values.clock_skew_hours"]),
    ("values: {first_year: 2101}", ["values", "first_year 2101", "last_year 2100"]),
    ("values: {last_year: 10000}", ["values.last_year"]),
    ("values: {null_tokens: none}", ["values.null_tokens"]),
    ("values: 5", ["values"]),
    ("values: null", ["values"]),
    ("reading: {open_quote_lines: 0}", ["reading.open_quote_lines"]),
    ("reading: {max_line_mib: 0}", ["reading.max_line_mib"]),
    ("activity: {late_window_days: -1}", ["activity.late_window_days"]),
    ("activity: {session_timeout_minutes: 0}", ["activity.session_timeout_minutes"]),
    ("activity: {session_timeout_minutes: 1441}", ["activity.session_timeout_minutes"]),
    ("activity: {active_gap_minutes: 0}", ["activity.active_gap_minutes"]),
    ("alerts: {volume_drop: {max_drop: 1.5}}", ["alerts.volume_drop.max_drop", "1.5"]),
    ("alerts: {volume_drop: {max_drop: 50%}}", ["alerts.volume_drop.max_drop", "50%"]),
    ("alerts: {volume_drop: {max_drop: .nan}}", ["alerts.volume_drop.max_drop"]),
    ("alerts: {volume_spike: {max_ratio: 0.5}}", ["alerts.volume_spike.max_ratio"]),
    ("alerts: {hourly_coverage: {max_missing_hours: 25}}", ["alerts.hourly_coverage.max_missing_hours"]),
    ("alerts: {missing_feed: {severity: urgent}}", ["alerts.missing_feed.severity", "urgent"]),
    ("alerts: {missing_feed: {enabled: perhaps}}", ["alerts.missing_feed.enabled", "perhaps"]),
    ("alerts: {missing_feed: off}", ["alerts.missing_feed"]),
    ("alerts: {history_days: 2}", ["alerts", "min_history_days 3", "2 history_days"]),
    ("alerts: {history_days: 0}", ["alerts.history_days"]),
    ("maintenance: {keep_versions_hours: 23}", ["maintenance.keep_versions_hours", "23"]),
    ("maintenance: {keep_versions_hours: 30.5}", ["maintenance.keep_versions_hours", "30.5"]),
    # Columns.
    ("feeds: {events: {required: [event_id]}}", ["events", "customer_id", "event_time"]),
    ("feeds: {customers: {required: [customer_id]}}", ["customers", "created_at"]),
    ("feeds: {orders: {required: []}}", ["orders", "order_id"]),
    ("feeds: {events: {required: [event_id, customer_id, event_time, colour]}}", ["events", "colour"]),
    ("feeds: {events: {required: [event_id, customer_id, event_time, event_id]}}", ["feeds.events", "twice"]),
    (
        "feeds: {events: {required: [event_id, customer_id, event_time, ingest_date]}}",
        ["events", "ingest_date"],
    ),
    ("feeds: {events: {aliases: {colour: [color]}}}", ["events", "colour"]),
    ("feeds: {events: {aliases: {event_time: [Time]}}}", ["feeds.events", "Time", "lower case"]),
    ("feeds: {events: {aliases: {event_time: [' at']}}}", ["feeds.events", "' at'"]),
    (
        "feeds: {events: {aliases: {event_time: [user_id]}}}",
        ["feeds.events", "user_id", "event_time", "customer_id"],
    ),
    ("feeds: {events: {aliases: {event_time: [url]}}}", ["events", "url", "event_time"]),
    ("feeds: {events: {aliases: {event_time: at}}}", ["feeds.events.aliases.event_time"]),
    # Names.
    ("categories: {platform: {aliases: {tv: television}}}", ["categories.platform", "tv", "television"]),
    ("categories: {platform: {names: [ios]}}", ["categories.platform", "android"]),
    ("categories: {currency: {misread_as: [klingon]}}", ["categories.currency.misread_as", "klingon"]),
    ("categories: {country: {aliases: {on: GB}}}", ["categories.country.aliases"]),  # YAML's `on` is true
    (
        "categories: {country: {aliases: {norge: NO}}}",
        ["categories.country.aliases.norge"],
    ),  # and its NO is false
    # Aliases that lead to no code: the clean table would hold what is none.
    ("categories: {country: {aliases: {atlantis: ZZ}}}", ["categories.country", "ZZ"]),
    ("categories: {currency: {symbols: {'%': ZZZ}}}", ["categories.currency", "ZZZ"]),
]


@pytest.mark.parametrize(("content", "named"), REFUSED)
def test_an_unknown_key_or_an_impossible_value_is_named(content: str, named: list[str], tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    for each in (str(path), *named):
        assert each in str(caught.value)


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "values: {max_amount: -1, slash_dates: x}\nreading: {max_line_mib: 0, colour: 1}")
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    for key in ("values.max_amount", "values.slash_dates", "reading.max_line_mib", "reading.colour"):
        assert key in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"values: {max_amount: 5", "no valid YAML"),
        (b"values:\n\t- x", "no valid YAML"),
        (b"!!python/object:os.system {}", "no valid YAML"),
        (b"a: &a [*b]", "no valid YAML"),
        (b"- values", "must hold a map"),
        (b"values", "must hold a map"),
        (b"5", "must hold a map"),
        (b"values: {max_amount: \xff\xfe}", "cannot be read"),
    ],
)
def test_a_file_that_is_no_map_of_settings_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match=said) as caught:
        load_policy(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(PolicyError, match="cannot be read") as caught:
            load_policy(path)
        assert str(path) in str(caught.value)
        assert "PIPELINE_POLICY" in str(caught.value)


def test_a_fault_in_an_overlay_is_named() -> None:
    with pytest.raises(PolicyError, match=r"values\.max_amount"):
        load_policy(overlay={"values": {"max_amount": "x"}})


# -- fingerprints ----------------------------------------------------------------------------------

SECTIONS = ("feeds", "reading", "values", "categories", "activity", "alerts", "checks", "maintenance")
CHANGES: dict[str, Any] = {
    "feeds": {"events": {"check_orphans": False}},
    "reading": {"open_quote_lines": 99},
    "values": {"max_amount": 999_999},
    "categories": {"platform": {"aliases": {"and": None}}},
    "activity": {"active_gap_minutes": 5},
    "alerts": {"volume_drop": {"enabled": False}},
    "checks": {"sample_rows": 11},
    "maintenance": {"keep_versions_hours": 24},
}


@pytest.mark.parametrize("changed", SECTIONS)
def test_a_fingerprint_changes_with_its_own_sections_only(changed: str, policy: Policy) -> None:
    other = load_policy(overlay={changed: CHANGES[changed]})
    for section in SECTIONS:
        assert (other.fingerprint(section) != policy.fingerprint(section)) == (section == changed)
    assert other.fingerprint() != policy.fingerprint()
    assert other.fingerprint("reading", changed) != policy.fingerprint("reading", changed)


def test_a_fingerprint_depends_on_what_is_set_and_not_on_how(policy: Policy, tmp_path: Path) -> None:
    same = load_policy(written(tmp_path, yaml.safe_dump({"values": {"max_amount": 1_000_000}, "reading": {}})))
    assert same.fingerprint() == policy.fingerprint()
    assert policy.fingerprint("values", "feeds") == policy.fingerprint("feeds", "values")
    assert len({policy.fingerprint(section) for section in SECTIONS}) == len(SECTIONS)
