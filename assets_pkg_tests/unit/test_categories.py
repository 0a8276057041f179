"""Texts to categories: every canonical name and alias of the contract's section 2, and e-mail addresses."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import polars as pl
import pycountry
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets_pkg.contracts.feeds import CUSTOMERS, RAW_TEXT, SOURCE_FILE, SOURCE_ROW
from assets_pkg.contracts.tables import TABLES
from assets_pkg.policy import Policy, load_policy
from assets_pkg.transforms.categories import category_names, match_category
from assets_pkg.transforms.evaluate import evaluate
from assets_pkg.transforms.texts import clean_text
from assets_pkg_tests.reference import values as oracle
from assets_pkg_tests.workbench import GOOD, Workbench

# The contract's table, written out once more: category of the policy -> canonical name -> other spellings.
NAMES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "customer_status": {"active": ["actve", "enabled"], "inactive": ["disabled"], "banned": ["blocked"]},
    "platform": {"ios": ["iphone", "ipad"], "android": ["and", "droid"], "web": ["browser", "desktop"]},
    "event_type": {
        "login": ["log_in", "sign_in"],
        "logout": ["log_out", "sign_out"],
        "signup": ["sign_up"],
        "page_view": ["pageview", "view"],
        "click": [],
        "search": [],
        "feature_use": [],
        "paywall_view": [],
        "add_to_cart": [],
        "purchase": [],
        "error": [],
    },
    "order_status": {
        "paid": ["succeeded", "success", "completed"],
        "failed": ["declined"],
        "refunded": ["refund"],
        "chargeback": ["charge_back"],
    },
}
COUNTRIES: Mapping[str, Sequence[str]] = {
    "GB": ["GB", "GBR", "uk", "great_britain", "england", "United Kingdom",
           "United Kingdom of Great Britain and Northern Ireland"],
    "US": ["US", "USA", "usa", "u.s.", "u.s.a.", "america", "United States", "United States of America"],
    "NA": ["NA", "na", "NAM", "Namibia", "Republic of Namibia"],
    "DE": ["DE", "de", "DEU", "Germany", "germany", "GERMANY", "Federal Republic of Germany"],
    "BO": ["BO", "Bolivia", "Bolivia, Plurinational State of", "Plurinational State of Bolivia"],
    "CI": ["CI", "Côte d'Ivoire", "CÔTE D'IVOIRE", "Republic of Côte d'Ivoire"],
    "TW": ["TW", "TWN", "Taiwan", "Taiwan, Province of China"],
    "GW": ["GW", "Guinea-Bissau", "guinea bissau", "GUINEA_BISSAU", "guinea - bissau"],
    "CD": ["CD", "Congo, The Democratic Republic of the"],
    "NO": ["NO", "no", "Norway"],
    "TR": ["TR", "Türkiye", "TÜRKIYE", "Republic of Türkiye"],
}  # fmt: skip
NO_COUNTRY = [
    "XX",
    "ZZ",
    "EU",
    "Deutschland",
    "Germ",
    "D",
    "D E",
    "U.S",
    "us.",
    "u.k.",
    "England ,",
    "EN",
    "276",
    "unknown",
    "-",
]
SYMBOLS: Mapping[str, Sequence[str]] = {
    "USD": ["$", "us$", "US$", "Us$"],
    "EUR": ["€", "‚Ç¨", "â‚¬"],
    "GBP": ["£", "¬£", "Â£"],
    "JPY": ["¥", "¬•", "Â¥"],
    "INR": ["₹", "‚Çπ", "â‚¹"],
}
NO_CURRENCY = [
    "XXX",
    "xxx",
    "XTS",
    "xts",
    "EURO",
    "EU",
    "E UR",
    "eu-r",
    "€€",
    "$$",
    "Dollar",
    "usd$",
    "BTC",
    "978",
    "₽",
    "â¬",
    "ZZZ",
]


def canonical(texts: Sequence[str | None], category: str, policy: Policy) -> list[str | None]:
    """What raw texts of a category become: null, or a canonical name."""
    cleaned = clean_text(pl.Series("t", list(texts), pl.String), policy.values.null_tokens)
    return match_category(cleaned, category, policy, humps=category == "event_type").to_list()


def spellings(name: str) -> list[str]:
    """Other ways to write the same key."""
    blanks = ("_", " ", "-", "__", " - ", "_-_", "\u00a0", "\t \u2003", "--")
    ways = [name, name.upper(), name.title(), f"  {name}\t", name.capitalize()]
    return [*ways, *(name.replace("_", blank) for blank in blanks)]


NAMED = [
    (category, spelling, name)
    for category, names in NAMES.items()
    for name, aliases in names.items()
    for known in (name, *aliases)
    for spelling in spellings(known)
]


@pytest.mark.parametrize("category", NAMES)
def test_every_name_and_alias_in_every_spelling(category: str, policy: Policy) -> None:
    cases = [(spelling, name) for of, spelling, name in NAMED if of == category]
    found = canonical([spelling for spelling, _ in cases], category, policy)
    wrong = [(case, name) for case, name in zip(cases, found, strict=True) if case[1] != name]
    assert wrong == []


@pytest.mark.parametrize("category", NAMES)
def test_there_are_no_other_names(category: str, policy: Policy) -> None:
    expected = {known: name for name, aliases in NAMES[category].items() for known in (name, *aliases)}
    assert category_names(category, policy) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pageView", "page_view"),
        ("PageView", "page_view"),
        ("addToCart", "add_to_cart"),
        ("AddToCart", "add_to_cart"),
        ("featureUse", "feature_use"),
        ("logIn", "login"),
        ("signOut", "logout"),
        ("SignUp", "signup"),
        ("paywallView", "paywall_view"),
        ("add ToCart", "add_to_cart"),
        ("add-ToCart", "add_to_cart"),
        ("PAGEVIEW", "page_view"),  # no hump: an upper-case letter after an upper-case one
        ("pageVIEW", "page_view"),
        # A hump is only before an upper-case letter that follows a lower-case one or a digit, and only ASCII.
        ("ADDToCart", None),
        ("addtocart", None),
        ("paGeview", None),
        ("ClicK", None),
        ("loginÉ", None),
        ("page.view", None),
        ("page_view_", None),
        ("_page_view", None),
        ("-click", None),
        ("log  in", "login"),
        ("page__view", "page_view"),
        ("unknown", None),
        ("scroll", None),
        ("search1", None),
        ("2Search", None),
    ],
)
def test_humps_of_event_types(text: str, expected: str | None, policy: Policy) -> None:
    assert canonical([text], "event_type", policy) == [expected]


@pytest.mark.parametrize(
    ("category", "text"),
    [
        ("platform", "iPhone"),
        ("platform", "deskTop"),
        ("customer_status", "inActive"),
        ("order_status", "chargeBack"),
    ],
)
def test_only_event_types_have_humps(category: str, text: str, policy: Policy) -> None:
    """Elsewhere lower-casing is all that happens to capitals."""
    assert canonical([text], category, policy) == canonical([text.lower()], category, policy) != [None]


@pytest.mark.parametrize("category", ["platform", "customer_status", "order_status"])
def test_a_hump_elsewhere_is_no_blank(category: str, policy: Policy) -> None:
    assert canonical(["i_Phone", "in active", "i_phone"], category, policy) == [None, None, None]


@pytest.mark.parametrize(
    ("category", "text"),
    [
        ("platform", "unknown"),
        ("platform", "windows"),
        ("platform", "ios_"),
        ("platform", "i o s"),
        ("customer_status", "unknown"),
        ("customer_status", "deleted"),
        ("order_status", "pending"),
        ("order_status", "paid!"),
        ("order_status", "re fund"),
    ],
)
def test_what_is_no_name(category: str, text: str, policy: Policy) -> None:
    assert canonical([text], category, policy) == [None]


@pytest.mark.parametrize("category", [*NAMES, "country", "currency"])
@pytest.mark.parametrize("text", [None, "", "  ", "null", "NONE", "NaN", "n/a", "N/A", "\u00a0n/a\u2003"])
def test_null_stays_null(category: str, text: str | None, policy: Policy) -> None:
    assert canonical([text], category, policy) == [None]


# -- countries and currencies ----------------------------------------------------------------------


@pytest.mark.parametrize(("code", "texts"), COUNTRIES.items())
def test_countries(code: str, texts: Sequence[str], policy: Policy) -> None:
    assert canonical(texts, "country", policy) == [code] * len(texts)


@pytest.mark.parametrize("text", NO_COUNTRY)
def test_what_is_no_country(text: str, policy: Policy) -> None:
    assert canonical([text], "country", policy) == [None]


def test_na_is_namibia_and_n_a_is_null(policy: Policy) -> None:
    assert canonical(["NA", "na", " Na ", "N/A", "n/a", "NAN", "N A"], "country", policy) == ["NA"] * 3 + [None] * 4


def test_every_iso_country_by_every_code_and_name(policy: Policy) -> None:
    fields = ("alpha_2", "alpha_3", "name", "official_name", "common_name")
    known = [
        (getattr(country, field), country.alpha_2)
        for country in pycountry.countries
        for field in fields
        if getattr(country, field, None)
    ]
    assert len(known) > 800
    for change in (str, str.lower, str.upper):
        texts = [change(text) for text, _ in known]
        assert canonical(texts, "country", policy) == [code for _, code in known]


def test_every_iso_currency_but_the_two_that_are_no_money(policy: Policy) -> None:
    codes = [currency.alpha_3 for currency in pycountry.currencies]
    assert {"XXX", "XTS", "EUR", "XAU"} < set(codes)
    expected = [None if code in {"XXX", "XTS"} else code for code in codes]
    for change in (str, str.lower, str.title):
        assert canonical([change(code) for code in codes], "currency", policy) == expected


@pytest.mark.parametrize(("code", "texts"), SYMBOLS.items())
def test_currency_symbols_also_when_misread(code: str, texts: Sequence[str], policy: Policy) -> None:
    assert canonical(texts, "currency", policy) == [code] * len(texts)
    assert canonical([f" {text} " for text in texts], "currency", policy) == [code] * len(texts)


def test_a_misread_symbol_is_what_its_bytes_look_like(policy: Policy) -> None:
    """The contract's own two examples, made anew: UTF-8 read as Mac Roman and as Windows-1252."""
    euro = "€".encode()
    assert (euro.decode("mac_roman"), euro.decode("cp1252")) == ("‚Ç¨", "â‚¬")
    for symbol, code in {"€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}.items():
        misread = [symbol.encode().decode(encoding) for encoding in ("mac_roman", "cp1252")]
        assert canonical(misread, "currency", policy) == [code, code]


@pytest.mark.parametrize("text", NO_CURRENCY)
def test_what_is_no_currency(text: str, policy: Policy) -> None:
    assert canonical([text], "currency", policy) == [None]


# -- policy ----------------------------------------------------------------------------------------


def test_names_and_aliases_are_policy() -> None:
    own = load_policy(
        overlay={
            "categories": {
                "platform": {
                    "names": ["ios", "android", "web", "tv"],
                    "aliases": {"Smart TV": "tv", "iphone": None},
                },
                "country": {"aliases": {"deutschland": "DE", "england": None}},
                "currency": {
                    "symbols": {"₽": "RUB", "€": None},
                    "not_money": ["XTS"],
                    "misread_as": ["cp1251"],
                },
            }
        }
    )
    assert canonical(["smart-tv", "TV", "iphone", "ipad"], "platform", own) == ["tv", "tv", None, "ios"]
    assert canonical(["Deutschland", "England", "uk"], "country", own) == ["DE", None, "GB"]
    assert canonical(["₽", "€", "â‚¬", "XXX", "XTS"], "currency", own) == ["RUB", None, None, "XXX", None]
    assert canonical(["₽".encode().decode("cp1251"), "£".encode().decode("cp1251")], "currency", own) == [
        "RUB",
        "GBP",
    ]


# -- what a row carries ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "value", "warnings"),
    [
        ({"country": "Atlantis"}, {"country": None}, "unknown_country"),
        ({"country": ""}, {"country": None}, None),
        ({"country": "n/a"}, {"country": None}, None),
        ({"country": "NA"}, {"country": "NA"}, None),
        ({"status": "Blocked"}, {"status": "banned"}, None),
        ({"status": "gone"}, {"status": "unknown"}, "unknown_status"),
        ({"status": "null"}, {"status": "unknown"}, "missing_status"),
        ({"status": "unknown"}, {"status": "unknown"}, "unknown_status"),
        ({"email": ""}, {"email": None}, None),
        ({"email": "nobody"}, {"email": None}, "invalid_email"),
    ],
)
def test_customers(
    changed: dict[str, str], value: dict[str, str | None], warnings: str | None, bench: Workbench
) -> None:
    bench.put_feed("customers", changed)
    bench.clean_feeds(feeds=[CUSTOMERS])
    (row,) = bench.rows("customers_clean")
    assert {**row, **value, "warnings": warnings} == row


EVENT_ROWS: list[tuple[str, str, str, str | None, str, str | None]] = [
    # event_type text, platform text -> event_type, event_type_raw, platform, warnings
    ("pageView", "iPad", "page_view", None, "ios", None),
    ("", "web", "unknown", None, "web", "missing_event_type"),
    ("None", "web", "unknown", None, "web", "missing_event_type"),
    (" Scroll  Down ", "web", "unknown", "Scroll  Down", "web", "unknown_event_type"),
    ("unknown", "web", "unknown", "unknown", "web", "unknown_event_type"),
    ("click", "", "click", None, "unknown", "missing_platform"),
    ("click", "n/a", "click", None, "unknown", "missing_platform"),
    ("click", "toaster", "click", None, "unknown", "unknown_platform"),
    ("scroll", "toaster", "unknown", "scroll", "unknown", "unknown_event_type|unknown_platform"),
    ("", "", "unknown", None, "unknown", "missing_event_type|missing_platform"),
]


def test_events(bench: Workbench) -> None:
    bench.put_feed("customers", {})
    changes = [
        {"event_id": f"e{number}", "event_type": row[0], "platform": row[1]} for number, row in enumerate(EVENT_ROWS)
    ]
    bench.put_feed("events", *changes)
    bench.clean_feeds()
    columns = ("event_type", "event_type_raw", "platform", "warnings")
    clean = sorted(bench.rows("events_clean"), key=lambda row: int(row["source_row"]))
    assert [tuple(row[column] for column in columns) for row in clean] == [row[2:] for row in EVENT_ROWS]


# -- e-mail addresses ------------------------------------------------------------------------------

EMAILS: list[tuple[str, bool]] = [
    ("ann@example.com", True),
    ("a@b.c", True),
    ("Ann.O'Neil+tag@mail.Example.co.uk", True),
    ("@b@example.com", False),
    ("ünï@exämple.de", True),
    (".@a.b", True),
    ("a@1.2", True),
    ("a@-.-", True),
    ('"quoted"@example.com', True),
    ("nobody", False),
    ("@example.com", False),
    ("ann@", False),
    ("ann@example", False),
    ("ann@.com", False),
    ("ann@example.", False),
    ("ann@example..com", False),
    ("ann@.", False),
    ("ann@@example.com", False),
    ("ann@exa@mple.com", False),
    ("ann lee@example.com", False),
    ("ann@exam ple.com", False),
    ("ann@example .com", False),
    ("ann\u00a0@example.com", False),
    ("ann@example.\u2003com", False),
    ("ann\u0085lee@example.com", False),
    ("ann\u2028@example.com", False),
    ("ann\x1f@example.com", True),  # U+001F is no White_Space
    ("ann\u200b@example.com", True),  # nor is the zero-width space
]


def addresses(texts: Sequence[str]) -> list[str | None]:
    """What e-mail texts become on a row that is otherwise good."""
    rows = pl.DataFrame(
        {
            **{column: [GOOD["customers"].get(column)] * len(texts) for column in CUSTOMERS.raw_columns},
            "email": texts,
            SOURCE_FILE: ["f"] * len(texts),
            SOURCE_ROW: range(1, len(texts) + 1),
        }
    )
    raw = pl.concat([pl.DataFrame(schema=TABLES[CUSTOMERS.raw].schema), rows], how="diagonal_relaxed")
    assert raw[RAW_TEXT].null_count() == len(texts)
    orphans = pl.Series(dtype=pl.String)
    return evaluate(raw.lazy(), CUSTOMERS, load_policy(), date(2025, 12, 10), orphans).collect()["email"].to_list()


@pytest.mark.parametrize(("text", "is_address"), EMAILS)
def test_email(text: str, is_address: bool) -> None:
    assert addresses([text]) == [text if is_address else None]
    assert addresses([f" {text}\t"]) == [text if is_address else None]


_EMAIL_TEXTS = st.one_of(
    st.text("a.@ b\u00a0\u200b\x1f", max_size=10),
    st.text(max_size=12),
    st.from_regex(r"[a-z.]{0,3}@[a-z.]{0,6}", fullmatch=True),
)


@given(st.lists(_EMAIL_TEXTS.filter(lambda text: "\x00" not in text), min_size=1, max_size=40))
def test_emails_are_the_oracles(texts: list[str]) -> None:
    expected = [oracle.clean_text(text) if oracle.valid_email(text) else None for text in texts]
    assert addresses(texts) == expected


# -- against the oracle ----------------------------------------------------------------------------

_KNOWN = {category: sorted(category_names(category, load_policy())) for category in (*NAMES, "country", "currency")}
_ORACLE: Mapping[str, Callable[[str], str | None]] = {
    "customer_status": lambda text: oracle.match_status(text, "customers"),
    "order_status": lambda text: oracle.match_status(text, "orders"),
    "platform": oracle.match_platform,
    "event_type": oracle.match_event_type,
    "country": oracle.match_country,
    "currency": oracle.match_currency,
}


@st.composite
def _spelt(draw: st.DrawFn, known: Sequence[str]) -> str:
    """A known name with its blanks and capitals changed, and now and then a fault."""
    text: str = draw(st.sampled_from(known))
    text = draw(st.sampled_from((text, text.upper(), text.lower(), text.title(), text.swapcase())))
    blank = draw(st.sampled_from(("_", " ", "-", "- _", "\u00a0", "\x1f", "\u200b", "", "\u3000")))
    text = text.replace(draw(st.sampled_from("_ -")), blank)
    place = draw(st.integers(0, len(text)))
    sign: str = draw(st.sampled_from(("", "", "", " ", "_", "K", "ſ", "İ", "é", ".", "A")))
    return text[:place] + sign + text[place:]


@pytest.mark.parametrize("category", _KNOWN)
@given(data=st.data())
def test_categories_are_the_oracles(category: str, data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.one_of(_spelt(_KNOWN[category]), st.text(max_size=6)), min_size=1, max_size=40))
    assert canonical(texts, category, load_policy()) == [_ORACLE[category](text) for text in texts]


_WHITE = st.sampled_from([*oracle.WHITE_SPACE, "\x1c", "\x1f", "\u200b", "\ufeff", "a", "NULL", "n/A", "None"])


@given(st.lists(st.lists(_WHITE, max_size=5).map("".join), min_size=1, max_size=40))
def test_trimming_and_null_tokens_are_the_oracles(texts: list[str]) -> None:
    cleaned = clean_text(pl.Series("t", texts, pl.String), load_policy().values.null_tokens)
    assert cleaned.to_list() == [oracle.clean_text(text) for text in texts]


def test_null_tokens_are_policy() -> None:
    tokens = load_policy(overlay={"values": {"null_tokens": ["", "-", "Missing"]}}).values.null_tokens
    cleaned = clean_text(pl.Series("t", ["", " - ", "MISSING", "null", "n/a", "missing!"]), tokens)
    assert cleaned.to_list() == [None, None, None, "null", "n/a", "missing!"]
