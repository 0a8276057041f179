"""The validation report of an ingest date: the same bytes on every rerun (contract §5)."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from assets_pkg.contracts.feeds import FEEDS
from assets_pkg.contracts.files import SUCCESS, FileRecord
from assets_pkg.contracts.rules import duplicate_of
from assets_pkg.transforms.metrics import Profile
from assets_pkg.transforms.split import CLEAN, FULL_ROW, QUARANTINE, REASON, TOTAL, WARNING


def validation_report(
    day: date, profiles: Mapping[str, Profile], files: Mapping[str, Sequence[FileRecord]]
) -> dict[str, Any]:
    """The report, from every feed's counts and files of the day, by feed name."""
    return {
        "ingest_date": day.isoformat(),
        **{name: _feed_report(name, profiles[name], files[name]) for name in FEEDS},
    }


def _feed_report(name: str, profile: Profile, files: Sequence[FileRecord]) -> dict[str, Any]:
    return {
        "total": profile.rows(TOTAL),
        "clean": profile.rows(CLEAN),
        "quarantine": profile.rows(QUARANTINE),
        "duplicates": {"full_row": profile.rows(FULL_ROW), "id": profile.reason(duplicate_of(FEEDS[name]))},
        "quarantine_by_reason": profile.of_kind(REASON),
        "warnings_by_reason": profile.of_kind(WARNING),
        "files": [
            {
                "path": file.path,
                "sha256": file.content_sha256,
                "records": file.records if file.status == SUCCESS else 0,
                "status": file.status,
            }
            for file in sorted(files, key=lambda file: file.path)
        ],
    }


def as_json(content: Any) -> str:
    """JSON text as report files hold it: indented, with a line end, no clock or host in it."""
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
