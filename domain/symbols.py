"""Names of coins and markets: one written form everywhere, the ccxt unified pair ``BASE/QUOTE``.

A glued name such as ``DOTUSD`` is split only where exactly one reading is known: by the markets that the exchange lists
(``listed``), else by the packaged lists of coins and quotes (``markets.json``, renewed by ``python -m streaming.coins``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from domain.errors import UnknownSymbol
from domain.reasons import Reason

DEFAULT_QUOTE = "USDT"
DEFAULT_SYMBOL = "BTC/USDT"

ALIASES: dict[str, str] = {
    "XBT": "BTC",
    "XDG": "DOGE",
    "BCHABC": "BCH",
    "BCHSV": "BSV",
    "MIOTA": "IOTA",
    "IOT": "IOTA",
    "STR": "XLM",
    "DSH": "DASH",
    "QTM": "QTUM",
    **{f"X{code}": code for code in ("ETH", "XRP", "LTC", "XLM", "ETC", "REP", "ZEC", "XMR", "MLN")},
    "XXBT": "BTC",
    "XXDG": "DOGE",
    **{f"Z{code}": code for code in ("USD", "EUR", "GBP", "CAD", "JPY", "AUD", "CHF")},
}
"""Other names of a coin or currency, as Kraken, BitMEX, Bitfinex and ccxt write them."""

COIN_NAMES: dict[str, str] = {
    "bitcoin": "BTC",
    "ethereum": "ETH",
    "ether": "ETH",
    "solana": "SOL",
    "dogecoin": "DOGE",
    "cardano": "ADA",
    "litecoin": "LTC",
    "polkadot": "DOT",
    "chainlink": "LINK",
    "shiba inu": "SHIB",
    "shiba": "SHIB",
    "binance coin": "BNB",
    "bitcoin cash": "BCH",
    "terra luna": "LUNA",
}
"""Spoken names to codes; lower case."""

_RARE_QUOTES = frozenset({"TUSD", "GUSD", "PYUSD", "RLUSD"})
"""Quotes with few markets: behind one or two letters, or behind a currency, they are a coin's last letters and ``USD``."""

ANYWHERE = "*"
"""In place of an exchange: every quote that any exchange has."""

_CODE = re.compile(r"[A-Z0-9]{1,15}")
_DATED = re.compile(r"(?P<pair>.+)[_-](?P<date>\d{6})")
_PERPETUAL = re.compile(r"(?P<pair>.+?)(?:[_/-]?(?:PERP|PERPETUAL|SWAP)|\.P)")
_UNSETTLED = re.compile(r"(?P<coin>.+?)(?:[_/-]?[FGHJKMNQUVXZ]\d{2}|[_/-]?\d{4}|[_/-]\d{1,2}[A-Z]{3}\d{2}(?:-.*)?)")
"""Dated futures and options by month codes (``XBTM24``), days (``BTCUSD0628``) or dates (``BTC-28JUN24``)."""
_DAY = re.compile(r"(?:\d{1,2}[A-Z]{3}\d{2}|\d{4,8})(?=/|$)")
_BITFINEX = re.compile(r"t(?=[A-Z0-9]{2,}(?::[A-Z0-9]+)?$)")
"""What Bitfinex writes before each of its trading pairs; ``TBTC`` in capitals is a coin."""
_KRAKEN_FUTURE = re.compile(r"(?P<kind>P[FI]|F[FI])_(?P<pair>[A-Z0-9]+?)(?:_(?P<date>\d{6}))?")


@cache
def _lists() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(Path(__file__).with_name("markets.json").read_text())
    fiat, quotes = frozenset(known["fiat"]), tuple(known["quotes"])
    return {
        "fiat": fiat,
        "bases": frozenset(known["coins"]) | fiat | frozenset(quotes),
        "quotes": quotes,
        "dollars": frozenset({"USD", "USDT", "USDC"}),
        "shares": frozenset(known["shares"]),
        "exchanges": {name: frozenset(own) for name, own in known["exchanges"].items()}
        | {ANYWHERE: frozenset(quotes).union(*known["exchanges"].values())},
    }


def normalize(symbol: str, exchange: str | None = None, listed: Collection[str] = ()) -> str:
    """``btc``, ``$BTC``, ``BTCUSDT``, ``XXBTZUSD``, ``BTC-USDT``, ``$BTC.X`` and ``BTC/USDT`` as the unified pair.

    Perpetuals get what they settle in (``BTCUSD_PERP`` is ``BTC/USD:BTC``), dated futures their date too
    (``BTC/USDT:USDT-240329``); a coin alone is quoted in USDT. ``exchange`` (a ccxt id) narrows the quotes to those that it
    has; ``listed`` holds its markets by their unified names, where they are known.

    Raises:
        UnknownSymbol: no form of a market name, or none or several readings are known; the message names them.
    """
    raw = _venueless(symbol, exchange, listed)
    contract, date = None, ""
    pair, colon, settle = raw.partition(":")
    if colon:
        settle, _, date = settle.partition("-")
    elif found := _KRAKEN_FUTURE.fullmatch(raw):
        pair, date = found["pair"], found["date"] or ""
        contract = "inverse" if found["kind"][1] == "I" else "linear in dollars"
    elif found := _PERPETUAL.fullmatch(raw) or _DATED.fullmatch(raw):
        pair, date, contract = found["pair"], found.groupdict().get("date") or "", "linear"
    elif exchange == "bitmex" and _CODE.fullmatch(pair) and readings(pair, exchange, listed):
        contract = "linear"  # its spot markets have a separator
    base, quote = _pair(pair, symbol, exchange, listed)
    if contract and base == pair:
        raise UnknownSymbol(Reason("market_unsettled", {"text": symbol[:40]}))
    if contract:
        settle = base if contract == "inverse" or (contract == "linear" and quote == "USD") else quote
    if not (_CODE.fullmatch(base) and _CODE.fullmatch(quote) and (not (colon or settle) or _CODE.fullmatch(settle))):
        raise _no_name(symbol)
    if date and not re.fullmatch(r"\d{6}", date):
        raise _no_name(symbol)
    return f"{base}/{quote}" + (f":{settle}" if settle else "") + (f"-{date}" if date else "")


def _venueless(symbol: str, exchange: str | None, listed: Collection[str]) -> str:
    """The name in capitals, without marks, and without a venue before it (``BINANCE:BTCUSDT``, Bitfinex's ``tBTCUSD``).

    Raises:
        UnknownSymbol: neither side of a colon is a known pair.
    """
    plain = symbol.strip()
    if (exchange or "").startswith("bitfinex"):
        plain = _BITFINEX.sub("", plain)
    raw = plain.upper().removesuffix(".X").lstrip("$#")
    left, colon, right = raw.partition(":")
    if colon and not re.search(r"[/_-]", left) and not readings(left, exchange, listed):
        if not readings(right.removesuffix(".P"), exchange, listed):
            raise _no_name(symbol)
        raw = right
    return COIN_NAMES.get(raw.lower(), raw)


def kind_of(symbol: str) -> str:
    """``spot``, ``swap`` (a perpetual) or ``future`` (with a date) of a unified name."""
    _, _, settle = symbol.partition(":")
    return "spot" if not settle else "future" if "-" in settle else "swap"


def readings(code: str, exchange: str | None = None, listed: Collection[str] = ()) -> list[str]:
    """The pairs that a glued name may mean, as unified spot pairs; none where nothing known fits.

    With ``listed`` they are those of these markets that are written so, else what the known coins and quotes allow.
    """
    if listed:
        spot = {name.partition(":")[0] for name in listed}
        return sorted(pair for pair in spot if code in _spellings(pair))
    known = _lists()
    quotes = known["exchanges"].get(exchange or "", known["quotes"])
    found = []
    for written in {*quotes, *(alias for alias, name in ALIASES.items() if name in quotes)}:
        base, quote = code.removesuffix(written), ALIASES.get(written, written)
        if not code.endswith(written) or not base:
            continue
        if len(written) == 4 and written in ALIASES and base not in ALIASES and base != DEFAULT_QUOTE:
            continue  # Kraken writes both halves in four letters (XXBTZUSD, XETHXXBT), but for USDTZUSD
        base = ALIASES.get(base, base)
        rare = quote in _RARE_QUOTES and (len(base) < 3 or base in known["fiat"])
        if base != quote and base in known["bases"] and not rare:
            found.append(f"{base}/{quote}")
    return sorted(set(found))


def _spellings(pair: str) -> set[str]:
    """How a pair is glued together, its halves by their names and aliases."""
    halves = [[name, *(alias for alias, own in ALIASES.items() if own == name)] for name in pair.split("/")]
    return {first + second for first in halves[0] for second in halves[-1]}


def _pair(text: str, symbol: str, exchange: str | None, listed: Collection[str]) -> tuple[str, str]:
    base, slash, quote = text.replace("-", "/").replace("_", "/").partition("/")
    if slash and _DAY.match(quote):
        raise UnknownSymbol(Reason("market_unsettled", {"text": symbol[:40]}))
    if slash:
        return ALIASES.get(base, base), ALIASES.get(quote, quote)
    code = ALIASES.get(base, base)
    found = readings(code, exchange, listed)
    if code in _lists()["bases"]:
        quote = "USD" if code == DEFAULT_QUOTE else DEFAULT_QUOTE
        others = [pair for pair in found if exchange or len(pair.partition("/")[0]) > 2]
        if others and not listed:  # RENBTC is a coin, and REN in BTC
            raise _ambiguous(symbol, [f"{code}/{quote}", *others])
        if len(found) == 1 and listed:
            code, _, quote = found[0].partition("/")
        return code, quote
    if not exchange and not listed:
        rarer = [pair for pair in readings(code, ANYWHERE) if pair.partition("/")[2] not in _RARE_QUOTES]
        found = sorted({*found, *rarer}) if found else []
    if len(found) == 1:
        base, _, quote = found[0].partition("/")
        return base, quote
    found = found or readings(code, ANYWHERE)  # of one exchange's quotes nothing is guessed where no exchange is named
    if found:
        raise _ambiguous(symbol, found)
    if not _CODE.fullmatch(code) or len(code) < 2:
        raise _no_name(symbol)
    if (future := _UNSETTLED.fullmatch(base)) and _known(future["coin"]):
        raise UnknownSymbol(Reason("market_unsettled", {"text": symbol[:40]}))
    if listed or _glued(code):
        raise UnknownSymbol(Reason("coin_unknown", {"text": symbol[:40]}))
    return code, DEFAULT_QUOTE


def _glued(code: str) -> bool:
    """Whether an unknown code begins or ends with a currency or a well-known coin, and so may be a pair with an unknown one."""
    known = {*_lists()["exchanges"][ANYWHERE], *_lists()["dollars"], *CODES, *ALIASES}
    return any(
        (code.startswith(own) or code.endswith(own)) and len(code) > len(own) + 1 for own in known if len(own) > 2
    )


def _ambiguous(symbol: str, found: list[str]) -> UnknownSymbol:
    given = {"text": symbol[:40], "readings": ", ".join(found), "first": found[0]}
    return UnknownSymbol(Reason("market_ambiguous", given))


def _known(code: str) -> bool:
    """Whether a code is a coin, or glued of two that are known."""
    return ALIASES.get(code, code) in _lists()["bases"] or bool(readings(code, ANYWHERE))


def _no_name(symbol: str) -> UnknownSymbol:
    return UnknownSymbol(Reason("not_a_market", {"text": symbol[:40]}))


CODES: frozenset[str] = frozenset(COIN_NAMES.values()) | {"XRP", "AVAX", "MATIC", "EOS", "NEAR"}
"""Codes recognised in running text when written as ``BTC``, ``$BTC`` or ``#btc``."""

_EVERYDAY = {"LINK", "DOT", "LUNA", "SOL", "ADA", "NEAR", "ONE", "GAS"}
_EVERYDAY_ENGLISH = _EVERYDAY - {"SOL", "ADA", "LUNA"}
"""Words that capitals do not mark where all words are in capitals."""
_EVERYDAY_NAMES = {"ripple": "XRP", "avalanche": "AVAX", "polygon": "MATIC"}
_SIGN = re.compile(
    r"\b(?:crypto\w*|coins?|altcoins?|tokens?|blockchains?|defi|nfts?|usdt?|hodl\w*|wallets?|staking|airdrop\w*|bull(?:s|ish)?|"
    r"bear(?:s|ish)?|pump\w*|dump\w*|moon\w*|binance|coinbase|kraken|trad(?:e|es|ing|er|ers)|buy\w*|bought|sell\w*|sold|"
    r"prices?|charts?|breakout|resistance|ath)\b",
    re.I,
)
"""Words that say that a text is about markets: the second sign that an everyday word is meant as a coin."""

_ADDRESSES = re.compile(
    r"(?:https?://|www\.)\S+|\S+@\S+\.\S+|(?<!\w)@\w+|\b(?:[a-z0-9-]+\.)+(?:com|org|net|io|me|co|xyz)/\S*|"
    r"\b(?:[a-z0-9-]+\.)+(?:com|org|net)\b|\bETH\s+Z(?:ü|ue?)rich",
    re.I,
)
"""Where names of coins are none: links, mail addresses, @names, and a university."""
_MENTION = re.compile(r"(?P<mark>[$#]?)\b(?P<word>[A-Za-z][A-Za-z0-9]{1,14}|\d{1,4}[A-Za-z]{3,11})\b")
_PAIR = re.compile(r"\b(?P<word>[a-z0-9]{2,10})/(?:usdt?|usdc|eur|btc|eth)\b", re.I)


def _spoken(names: Collection[str]) -> re.Pattern[str]:
    return re.compile(r"\b(" + "|".join(sorted(map(re.escape, names), key=len, reverse=True)) + r")s?\b", re.I)


_NAMES = _spoken(COIN_NAMES)
_DOUBTFUL_NAMES = _spoken(_EVERYDAY_NAMES)


def mentioned(text: str) -> tuple[str, ...]:
    """Markets that a text names (``$BTC``, ``#bitcoin``, ``Ether``, ``BTCUSDT``), in order of appearance, each once.

    Links, mail addresses and @names name no coin. An everyday word (``SOL``, ``LINK``, ``ripple`` …) counts with a ``$`` or
    ``#``; without one, in capitals or as a name, only beside another sign that the text is about markets.
    """
    text = _ADDRESSES.sub(lambda hit: " " * len(hit[0]), text)
    sure = [(hit.start(), COIN_NAMES[hit.group(1).lower()]) for hit in _NAMES.finditer(text)]
    doubtful = [(hit.start(), _EVERYDAY_NAMES[hit.group(1).lower()]) for hit in _DOUBTFUL_NAMES.finditer(text)]
    sure += [(hit.start(), code) for hit in _PAIR.finditer(text) if (code := _coin(hit["word"]))]
    shouted = text.isupper() and len(text.split()) > 2
    for hit in _MENTION.finditer(text):
        code = _named_by(hit["word"], hit["mark"])
        if code is None:
            continue
        everyday = code in _EVERYDAY and not hit["mark"]
        if not everyday:
            sure.append((hit.start(), code))
        elif hit["word"].isupper() and not (shouted and code in _EVERYDAY_ENGLISH):
            doubtful.append((hit.start(), code))
    if sure or _SIGN.search(text):
        sure += doubtful
    return tuple(dict.fromkeys(f"{code}/{DEFAULT_QUOTE}" for _, code in sorted(sure)))


def _coin(word: str) -> str | None:
    """The code of a listed coin; money of states and the quote itself are none."""
    code = ALIASES.get(word.upper(), word.upper())
    known = _lists()
    return code if code in known["bases"] and code not in known["fiat"] and code != DEFAULT_QUOTE else None


def _named_by(word: str, mark: str) -> str | None:
    """The coin that one word of a text names, if any."""
    upper = word.upper()
    code = ALIASES.get(upper, upper)
    if code in _lists()["fiat"] or code == DEFAULT_QUOTE or (code in _lists()["shares"] and not _coin(upper)):
        return None
    if word[0].isdigit():
        return _coin(upper) if mark or word.isupper() else None
    if code in CODES or (code in _EVERYDAY and mark):
        return code
    marked_code = mark == "$" and 2 <= len(upper) <= 6 and upper.isalpha()
    if marked_code and code in _lists()["bases"]:
        return code
    if mark or word.isupper():
        pairs = readings(upper)
        bases = {pair.partition("/")[0] for pair in pairs}
        if len(bases) == 1 and len(upper) >= 6 and (mark or bases & CODES):
            return bases.pop()
    return code if marked_code else None
