"""All pages, and the way from one to another."""

from functools import partial
from typing import Final

import streamlit as st

from assets_pkg.explorer.file import one_file
from assets_pkg.explorer.lake import PAGES, look
from assets_pkg.explorer.parts import problem
from assets_pkg.policy import PolicyError
from assets_pkg.settings import Settings
from assets_pkg.steps.workplace import Workplace
from assets_pkg.storage.lake import LakeError

_WORK: Final = "workplace"


def main() -> None:
    """The page that is asked for."""
    st.set_page_config(page_title="Explorer", layout="wide")
    pages = [st.Page(partial(over_lake, name), title=name, url_path=name.lower()) for name in PAGES]
    alone = st.Page(over_file, title="One file", url_path="file")
    page = st.navigation({"The lake": pages, "Without a lake": [alone]})
    st.title(page.title)
    page.run()


def over_lake(name: str) -> None:
    """One of PAGES, or a word on why it cannot be shown."""
    try:
        at = look(_workplace().as_now())
        if at is not None:
            PAGES[name](at)
    except (LakeError, PolicyError) as error:
        problem("This cannot be shown.", str(error))


def over_file() -> None:
    """The page over one file of events."""
    try:
        one_file(_workplace())
    except PolicyError as error:
        problem("This cannot be shown.", str(error))


def _workplace() -> Workplace:
    """One for each visit: what is known of the tables' logs is kept, and shared with no other thread."""
    if _WORK not in st.session_state:
        st.session_state[_WORK] = Workplace.from_settings(Settings(), "explorer")
    work: Workplace = st.session_state[_WORK]
    return work
