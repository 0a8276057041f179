"""Where news goes: the notifiers of PIPELINE_NOTIFY_URLS, through apprise, which knows e-mail, Slack, Teams and others.

Their URLs hold secrets. Neither they nor what apprise says of them leaves this module: a notifier is called by its
scheme and host, and why it did not take a message is told in words of ours.
"""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import SecretStr

from assets_pkg.transforms.notices import Message

_PATIENCE_SECONDS: Final = 20  # a tick of a sensor has a minute for everything
# Both log whole URLs when somebody has all logs of a process shown.
_INDISCREET: Final = ("apprise", "urllib3")
_STATUS: Final = re.compile(r"\berror=(\d{3})\b")


@dataclass(frozen=True)
class Notifier:
    """One URL, by a name without its secrets. A new password or token makes no other notifier."""

    name: str
    _service: Any = field(repr=False, compare=False)

    def send(self, message: Message) -> str | None:
        """Send a message; gives why it was not taken, or None."""
        if self._service is None:
            return "no notification service understands its URL"
        import apprise  # noqa: PLC0415 - as in notifiers_of

        sender = apprise.Apprise(self._service)
        try:
            result = sender.notify(
                body=message.body,
                title=message.title,
                notify_type=message.mood,
                body_format=apprise.NotifyFormat.TEXT,  # so that apprise escapes what is markup to the service
                timeout=_PATIENCE_SECONDS,
            )
        except Exception as error:  # noqa: BLE001 - whatever one of a hundred services raises; its text may hold secrets
            return f"sending failed with {type(error).__name__}"
        return None if result else _reason(result)


def notifiers_of(urls: SecretStr) -> list[Notifier]:
    """The notifiers of URLs, several separated as apprise does: by blanks, commas or semicolons."""
    import apprise  # noqa: PLC0415 - takes time, and is needed only where there is something to tell
    from apprise.utils.parse import parse_urls  # noqa: PLC0415

    for name in _INDISCREET:
        logging.getLogger(name).propagate = False
    found: list[Notifier] = []
    names: Counter[str] = Counter()
    each: list[str] = parse_urls(urls.get_secret_value())  # type: ignore[no-untyped-call]
    for url in dict.fromkeys(each):
        service: Any = apprise.Apprise.instantiate(url)
        scheme, separator, _ = url.partition("://")
        # What is no URL may be a secret as a whole.
        name = _name(service.url(privacy=True) if service else f"{scheme if separator else '?'}://")
        names[name] += 1
        found.append(Notifier(name if names[name] == 1 else f"{name} ({names[name]})", service))
    return found


def send_all(notifiers: Sequence[Notifier], messages: Sequence[Message]) -> list[str | None]:
    """Send each notifier its message, all at once; gives why each was not taken, or None."""
    if not notifiers:
        return []
    with ThreadPoolExecutor(len(notifiers)) as pool:
        return list(pool.map(Notifier.send, notifiers, messages))


def _name(masked: str) -> str:
    """Scheme and host. Apprise masks a token that stands as host, but not all of paths, headers and parameters."""
    scheme, _, rest = masked.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return f"{scheme[:32]}://{host[:128]}/…"


def _reason(result: Any) -> str:
    """Why a message was not taken, of what apprise has told. Its own words may hold anything."""
    told = " ".join(str(entry.message) for service in result.results for entry in service.logs())
    if status := _STATUS.search(told):
        return f"it answered with status {status[1]}"
    if result.status.name == "TIMEOUT":
        return f"it did not answer within {_PATIENCE_SECONDS} s"
    return "it cannot be reached" if "onnection error" in told else "it did not take the message"
