"""The rules as a table for people, made from the rules themselves."""

from datetime import date

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.rules import ORPHAN, SEPARATOR, duplicate_of, missing_column, reject_rules, warning_rules
from assets_pkg.policy import Policy

_ANY_DAY = date(2025, 12, 10)


def rules_table(policy: Policy) -> str:
    """Every reason and warning, in order, as a Markdown table: reason, feeds, meaning, what happens to the row."""
    rows: dict[str, tuple[list[str], str, str]] = {}
    for feed in FEEDS.values():
        for rule in reject_rules(feed, policy, _ANY_DAY):
            is_column = rule.reason.startswith(missing_column(""))
            reason = missing_column("<name>") if is_column else rule.reason
            meaning = "the file has no column of that name" if is_column else rule.meaning
            rows.setdefault(reason, ([], meaning, "quarantine"))[0].append(feed.name)
        for rule in warning_rules(feed, policy):
            rows.setdefault(f"{rule.reason} ", ([], rule.meaning, "clean, with a warning"))[0].append(feed.name)
    lines = ["| reason or warning | feeds | meaning | the row goes to |", "|---|---|---|---|"]
    last = {ORPHAN: 1, **{duplicate_of(feed): 2 for feed in FEEDS.values()}}  # every feed judges them in the end
    for reason, (feeds, meaning, fate) in sorted(
        rows.items(), key=lambda row: (row[1][2] != "quarantine", last.get(row[0], 0))
    ):
        names = ", ".join(dict.fromkeys(feeds))
        lines.append(f"| `{reason.strip()}` | {names} | {meaning.replace(SEPARATOR, '&#124;')} | {fate} |")
    return "\n".join(lines)
