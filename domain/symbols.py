"""Names of coins and markets: one written form everywhere, the ccxt unified pair ``BASE/QUOTE``."""

from __future__ import annotations

import re

from domain.errors import UnknownSymbol

DEFAULT_QUOTE = "USDT"
DEFAULT_SYMBOL = "BTC/USDT"

_QUOTES = ("USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USD", "EUR", "BTC", "ETH")
_CODE = re.compile(r"[A-Z0-9]{2,15}")

COIN_NAMES: dict[str, str] = {
    "bitcoin": "BTC",
    "ethereum": "ETH",
    "ether": "ETH",
    "ripple": "XRP",
    "solana": "SOL",
    "dogecoin": "DOGE",
    "cardano": "ADA",
    "litecoin": "LTC",
    "polkadot": "DOT",
    "chainlink": "LINK",
    "avalanche": "AVAX",
    "polygon": "MATIC",
    "shiba inu": "SHIB",
    "shiba": "SHIB",
    "binance coin": "BNB",
    "bitcoin cash": "BCH",
    "terra luna": "LUNA",
}
"""Spoken names to codes; lower case. Names that are everyday English words are left out on purpose."""

CODES: frozenset[str] = frozenset(COIN_NAMES.values()) | {"EOS"}
"""Codes recognised in running text when written as ``BTC``, ``$BTC`` or ``#btc``."""

_WORDLIKE = frozenset({"LINK", "DOT", "LUNA", "SOL", "ADA"})
_MENTION = re.compile(r"(?P<mark>[$#]?)\b(?P<word>[A-Za-z][A-Za-z0-9]{1,14})\b")
_NAMES = re.compile(r"\b(" + "|".join(sorted(map(re.escape, COIN_NAMES), key=len, reverse=True)) + r")s?\b", re.I)


def normalize(symbol: str) -> str:
    """``btc``, ``$BTC``, ``BTCUSDT``, ``BTC-USDT`` and ``BTC/USDT`` all become ``BTC/USDT``; ``:USDT`` is kept.

    Raises:
        UnknownSymbol: the text has no form of a market name.
    """
    raw = symbol.strip().lstrip("$#").upper().replace("-", "/").replace("_", "/")
    if raw.lower() in COIN_NAMES:
        raw = COIN_NAMES[raw.lower()]
    pair, _, settle = raw.partition(":")
    base, slash, quote = pair.partition("/")
    if not slash:
        base, quote = _split(base)
    if not (_CODE.fullmatch(base) and _CODE.fullmatch(quote) and (not settle or _CODE.fullmatch(settle))):
        raise UnknownSymbol(f"“{symbol[:40]}” is not a market name; write it like BTC/USDT.")
    return f"{base}/{quote}" + (f":{settle}" if settle else "")


def _split(code: str) -> tuple[str, str]:
    for quote in _QUOTES:
        if code.endswith(quote) and len(code) >= len(quote) + 2:
            return code.removesuffix(quote), quote
    return code, DEFAULT_QUOTE


def mentioned(text: str) -> tuple[str, ...]:
    """Markets that a text names (``$BTC``, ``#bitcoin``, ``Ether``, ``DOGE``), in order of appearance, each once.

    A code that is also an English word (``LINK``, ``SOL`` …) counts only with a ``$`` or ``#`` before it or in capitals.
    """
    found = [(hit.start(), COIN_NAMES[hit.group(1).lower()]) for hit in _NAMES.finditer(text)]
    for hit in _MENTION.finditer(text):
        word = hit["word"].upper()
        code = word if word in CODES else None
        if code is None and hit["mark"] == "$" and 2 <= len(word) <= 6 and word.isalpha():
            code = word
        if code in _WORDLIKE and not hit["mark"] and not hit["word"].isupper():
            code = None
        if code:
            found.append((hit.start(), code))
    return tuple(dict.fromkeys(f"{code}/{DEFAULT_QUOTE}" for _, code in sorted(found)))
