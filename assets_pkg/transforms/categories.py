"""Texts to categories: one key form, tables of names made from policy and ISO lists (contract §2)."""

from collections.abc import Mapping
from functools import cache
from typing import Final

import polars as pl
import pycountry

from assets_pkg.contracts.feeds import TEXT
from assets_pkg.policy import Policy
from assets_pkg.transforms.texts import clean_text, map_distinct

_BLANKS: Final = r"[\s_-]+"
_HUMP: Final = r"([a-z0-9])([A-Z])"


def category_keys(texts: pl.Series, *, humps: bool = False) -> pl.Series:
    """What texts are compared by: lower case, runs of blanks, `-` and `_` as one `_`; with `humps`, camelCase too."""
    if humps:
        texts = texts.str.replace_all(_HUMP, "${1}_${2}")
    return texts.str.to_lowercase().str.replace_all(_BLANKS, "_")


def category_names(category: str, policy: Policy) -> dict[str, str]:
    """Every spelling that `category` accepts, as given (not yet a key), and its canonical name.

    `category` is a field of the policy's `categories`.
    """
    categories = policy.categories
    match category:
        case "country":
            return {**_countries(), **categories.country.aliases}
        case "currency":
            codes = (code for code in _currencies() if code not in categories.currency.not_money)
            return {**{code: code for code in codes}, **categories.currency.spellings}
        case _:
            named = getattr(categories, category)
            return {**{name: name for name in named.names}, **named.aliases}


@cache
def _countries() -> Mapping[str, str]:
    spellings: dict[str, str] = {}
    for field in ("alpha_2", "alpha_3", "name", "official_name", "common_name"):
        for country in pycountry.countries:
            if spelling := getattr(country, field, None):
                spellings.setdefault(spelling, country.alpha_2)
    return spellings


@cache
def _currencies() -> tuple[str, ...]:
    return tuple(sorted(currency.alpha_3 for currency in pycountry.currencies))


def match_category(texts: pl.Series, category: str, policy: Policy, *, humps: bool = False) -> pl.Series:
    """Canonical names of cleaned `texts`; null where a text is null or no known spelling."""
    names = category_names(category, policy)
    keys = category_keys(pl.Series(list(names), dtype=TEXT))
    lookup = dict(zip(keys, names.values(), strict=True))

    def canonical(distinct: pl.Series) -> pl.Series:
        return category_keys(distinct, humps=humps).replace_strict(lookup, default=None, return_dtype=TEXT)

    return map_distinct(texts, canonical, TEXT)


def clean_category_text(texts: pl.Series, policy: Policy) -> pl.Series:
    """As `clean_text`, for columns with few distinct texts."""
    return map_distinct(texts, lambda distinct: clean_text(distinct, policy.values.null_tokens), TEXT)
