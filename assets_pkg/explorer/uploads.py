"""Files that were uploaded: each lies in a folder of its own until its visit ends, or another file takes its place."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import streamlit as st
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from assets_pkg.policy import load_policy
from assets_pkg.steps.event_file import FileSummary, FileTables, tables_of_file
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.records import UnreadableFileError

_PREFIX: Final = "explorer-"
_LOOK_SECONDS: Final = 10
_GRACE_SECONDS: Final = 60  # a browser that lost its connection comes back
_LONGEST_LINE: Final = 2_000  # characters

Answer = TypeVar("Answer")


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


@dataclass
class Upload:
    """A file that was uploaded, and what is in it.

    `identity` tells uploads apart; `gap`: minutes of a pause that ends a session, None for one row per user. `problem`:
    why it cannot be read.
    """

    identity: str
    name: str
    gap: float | None
    folder: Path = field(default_factory=_folder)
    summary: FileSummary = field(default_factory=FileSummary)
    problem: str = ""
    _answers: dict[tuple[object, ...], Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file, under a name of ours: how it ends decides how it may be read."""
        return self.folder / ("file.csv" if self.name.lower().endswith(".csv") else "file.json")

    @property
    def tables(self) -> FileTables:
        """What is in it."""
        return FileTables(self.folder)

    @classmethod
    def of(cls, identity: str, name: str, gap: float | None, content: BinaryIO, work: Workplace) -> "Upload":
        """Copy a file and fill the tables, or say why that cannot be, by the name that its owner knows the file by."""
        upload = cls(identity, name, gap)
        try:
            upload._read(content, work)
        except UnreadableFileError as error:
            upload.problem = str(error).replace(str(upload.path), name)
        except OSError as error:
            why = error.strerror or error
            upload.problem = f"The server's temporary folder {upload.folder.parent} cannot hold {name}: {why}."
        except BaseException:
            upload.forget()
            raise
        return upload

    def _read(self, content: BinaryIO, work: Workplace) -> None:
        content.seek(0)
        with self.path.open("wb") as target:
            shutil.copyfileobj(content, target)
        changed = {} if self.gap is None else {"activity": {"session_timeout_minutes": self.gap}}
        policy = load_policy(work.settings.policy, changed)
        self.summary, _ = tables_of_file(self.path, self.folder, policy, by_gap=self.gap is not None)

    def answer(self, ask: Callable[[], Answer], *question: object) -> Answer:
        """What `ask` gives; asked once for a question. It goes with the file."""
        if question not in self._answers:
            self._answers[question] = ask()
        found: Answer = self._answers[question]
        return found

    def lines(self, first: int, count: int) -> list[str]:
        """Some lines of the file, the first is 1; what is too long for a page is several."""
        with self.path.open("rb") as stream:
            pieces = iter(lambda: stream.readline(_LONGEST_LINE), b"")
            return [each.decode("utf-8", "replace") for each in islice(pieces, first - 1, first - 1 + count)]

    def line_count(self) -> int:
        """How many lines `lines` has."""
        with self.path.open("rb") as stream:
            return sum(1 for _ in iter(lambda: stream.readline(_LONGEST_LINE), b""))

    def forget(self) -> None:
        """Remove it."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Uploads:
    """The upload of each visit. Those of visits that are over are removed within about a minute."""

    def __init__(self) -> None:
        self._of: dict[str, Upload] = {}
        self._gone_since: dict[str, float] = {}
        _remove_those_of_dead_servers()
        threading.Thread(target=self._watch, name="uploads", daemon=True).start()

    def of(self, visit: str) -> Upload | None:
        """The upload of a visit, if there is one."""
        return self._of.get(visit)

    def keep(self, visit: str, upload: Upload | None) -> None:
        """Keep an upload, or none, in place of the visit's one."""
        before = self._of.pop(visit, None)
        if before is not None:
            before.forget()
        if upload is not None:
            self._of[visit] = upload

    def forget_ended(self, now: float) -> None:
        """Remove the uploads of visits that have been over for a while."""
        for visit in list(self._of):
            if _is_going_on(visit):
                self._gone_since.pop(visit, None)
            elif now - self._gone_since.setdefault(visit, now) >= _GRACE_SECONDS:
                self.keep(visit, None)
                del self._gone_since[visit]

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            self.forget_ended(time.monotonic())


@st.cache_resource
def uploads() -> Uploads:
    """Those of this server."""
    return Uploads()


def visit_id() -> str:
    """Whose look at a page this is."""
    context = get_script_run_ctx()
    return context.session_id if context else ""


def _is_going_on(visit: str) -> bool:
    return not Runtime.exists() or Runtime.instance().is_active_session(visit)


def _remove_those_of_dead_servers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
