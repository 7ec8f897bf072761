"""Names of markets: every spelling people use, what is refused, and coins named in running text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import domain.symbols
from domain.errors import UnknownSymbol
from domain.symbols import _RARE_QUOTES, kind_of, mentioned, normalize, readings

LISTS = json.loads(Path(domain.symbols.__file__).with_name("markets.json").read_text())


@pytest.mark.parametrize(
    ("written", "symbol"),
    [
        ("btc", "BTC/USDT"),
        ("$DOGE", "DOGE/USDT"),
        ("BTCUSDT", "BTC/USDT"),
        ("eth-usd", "ETH/USD"),
        ("BTC/USDT:USDT", "BTC/USDT:USDT"),
        ("Bitcoin", "BTC/USDT"),
        ("gork", "GORK/USDT"),
        ("ETHBTC", "ETH/BTC"),
        ("DOTUSD", "DOT/USD"),
        ("SHIBUSD", "SHIB/USD"),
        ("ETHGBP", "ETH/GBP"),
        ("XXBTZUSD", "BTC/USD"),
        ("XETHXXBT", "ETH/BTC"),
        ("USDTZUSD", "USDT/USD"),
        ("XBTEUR", "BTC/EUR"),
        ("BTC-USD", "BTC/USD"),
        ("$BTC.X", "BTC/USDT"),
        ("PYUSD", "PYUSD/USDT"),
        ("stETH", "STETH/USDT"),
        ("USDTUSD", "USDT/USD"),
        ("USDT", "USDT/USD"),
        ("TUSDUSDT", "TUSD/USDT"),
        ("PAXGUSD", "PAXG/USD"),
        ("1INCHUSDT", "1INCH/USDT"),
        ("AVAXETH", "AVAX/ETH"),
        ("BTCUSD_PERP", "BTC/USD:BTC"),
        ("BTC-USDT-SWAP", "BTC/USDT:USDT"),
        ("PI_XBTUSD", "BTC/USD:BTC"),
        ("PF_ETHUSD", "ETH/USD:USD"),
        ("BTCUSDT_240329", "BTC/USDT:USDT-240329"),
    ],
)
def test_every_spelling_becomes_the_unified_pair(written: str, symbol: str) -> None:
    """One form everywhere; normalising twice changes nothing."""
    assert normalize(written) == symbol
    assert normalize(symbol) == symbol


@pytest.mark.parametrize(
    "written",
    ["", "  ", "a b c", "<script>", "BTC/", "💥", "BTC\n/USDT", "BTC/USDT:\0x", "BTC/USDT:" + "X" * 3000],
)
def test_what_is_no_market_name_is_refused(written: str) -> None:
    """By its reason."""
    with pytest.raises(UnknownSymbol, match="not_a_market"):
        normalize(written)


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("to the moon $BTC and Ether, #dogecoin!", ("BTC/USDT", "ETH/USDT", "DOGE/USDT")),
        ("click the link in my bio, sol mio", ()),
        ("LINK and $sol", ("LINK/USDT", "SOL/USDT")),
        ("I paid $100 for $PEPE", ("PEPE/USDT",)),
        ("bitcoins bitcoin BTC", ("BTC/USDT",)),
        ("nothing here", ()),
        ("$BTCUSD and $ETHUSD", ("BTC/USDT", "ETH/USDT")),
        ("BTCUSDT #ETHBTC", ("BTC/USDT", "ETH/USDT")),
        ("see https://x.com/solana or x.com/solana, ask bob@bitcoin.org or @solana", ()),
        ("a ripple effect after an avalanche of news", ()),
        ("SOL brilla", ()),
        ("NEAR the end of ONE long day, GAS is dear", ()),
        ("ripple is pumping, buy SOL", ("XRP/USDT", "SOL/USDT")),
    ],
)
def test_coins_named_in_text(text: str, symbols: tuple[str, ...]) -> None:
    """Cashtags, hashtags, codes and names count; everyday words do not."""
    assert mentioned(text) == symbols


@pytest.mark.parametrize(
    ("written", "exchange", "symbol"),
    [("ARBUSD", "kraken", "ARB/USD"), ("ARBUSD", "binance", "AR/BUSD"), ("BTCBUSD", "binance", "BTC/BUSD")],
)
def test_an_exchange_narrows_the_readings(written: str, exchange: str, symbol: str) -> None:
    """A name with two readings is split by the quotes that its exchange has."""
    assert normalize(written, exchange) == symbol


@pytest.mark.parametrize(
    ("written", "exchange", "symbol"),
    [
        ("BTCUSDT.P", None, "BTC/USDT:USDT"), ("tBTCUSD", "bitfinex", "BTC/USD"), ("TBTCUSD", None, "TBTC/USD"),
        ("XBTUSD", "bitmex", "BTC/USD:BTC"), ("XBT_USDT", "bitmex", "BTC/USDT"), ("BINANCE:BTCUSDT", None, "BTC/USDT"),
        ("COINBASE:SOLUSD", None, "SOL/USD"), ("BTCUSDT:USDT", None, "BTC/USDT:USDT"), ("X:ETHUSDT.P", None, "ETH/USDT:USDT"),
        ("FI_XBTUSD_240628", "krakenfutures", "BTC/USD:BTC-240628"), ("BTC-USD-240628", "okx", "BTC/USD:BTC-240628"),
        ("XXRPZEUR", "kraken", "XRP/EUR"), ("BCHABCUSDT", "binance", "BCH/USDT"), ("WBETHETH", "binance", "WBETH/ETH"),
    ],
)  # fmt: skip
def test_further_spellings(written: str, exchange: str | None, symbol: str) -> None:
    """TradingView's venues and perpetuals, Bitfinex's ``t``, BitMEX's contracts, Kraken's four letters."""
    assert normalize(written, exchange) == symbol


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("BTC-28JUN24", "market_unsettled"), ("BTC/28JUN24", "market_unsettled"), ("BTCUSD0628", "market_unsettled"),
        ("BTCUSDM24", "market_unsettled"), ("XBTM24", "market_unsettled"), ("BTCPERP", "market_unsettled"),
        ("BTC-28JUN24-60000-C", "market_unsettled"), ("tBTCF0:USTF0", "not_a_market"), ("CRYPTO:BTC", "not_a_market"),
        ("STMXBTC", "coin_unknown"), ("XBTXVN", "coin_unknown"), ("RENBTC", "market_ambiguous"),
        ("BTCBIDR", "market_ambiguous"), ("BTC.D", "not_a_market"), ("DOGUSD", "coin_unknown"),
        ("1000PEPEUSDT", "coin_unknown"), ("ＢＴＣ", "not_a_market"),
    ],
)  # fmt: skip
def test_further_names_that_are_refused(written: str, why: str) -> None:
    """Dated futures without what they settle in, indices, unknown coins: never a coin of that name in USDT."""
    with pytest.raises(UnknownSymbol, match=why):
        normalize(written)


@pytest.mark.parametrize(
    ("words", "symbols"),
    [
        ("bitcoin.org is down", ()), ("ETH Zürich opened", ()), ("$TSLA and $AAPL", ()), ("$USD strong, $EUR weak", ()),
        ("$USDT printing", ()), ("THE MOON IS NEAR", ()), ("sol/usdt looks good", ("SOL/USDT",)), ("$1INCH", ("1INCH/USDT",)),
        ("I made $100k, $5M", ()), ("$btcusdt.p long", ("BTC/USDT",)), ("BTC,ETH;SOL", ("BTC/USDT", "ETH/USDT", "SOL/USDT")),
        ("bitcoin cash is not bitcoin", ("BCH/USDT", "BTC/USDT")), ("BUY SOL NOW", ("SOL/USDT",)), ("dot/com era", ()),
    ],
)  # fmt: skip
def test_further_texts(words: str, symbols: tuple[str, ...]) -> None:
    """Domains, shares, currencies and shouted words name no coin; a pair with a stroke does, in small letters too."""
    assert mentioned(words) == symbols


def test_two_readings_are_both_named_and_none_is_refused() -> None:
    """Nothing is split greedily: the reason says what the name may mean, or that no coin is known."""
    with pytest.raises(UnknownSymbol, match="AR/BUSD, ARB/USD"):
        normalize("ARBUSD")
    with pytest.raises(UnknownSymbol, match="coin_unknown"):
        normalize("FOOUSD")
    with pytest.raises(UnknownSymbol, match="market_unsettled"):
        normalize("ETH-PERPETUAL")
    assert normalize("ARBUSD", listed=("ARB/USD", "BTC/USD")) == "ARB/USD"
    assert normalize("XXBTXVN", listed=("BTC/XVN", "BTC/USD")) == "BTC/XVN", "coins that only the exchange knows"
    with pytest.raises(UnknownSymbol, match="coin_unknown"):
        normalize("XYZUSD", listed=("ARB/USD", "BTC/USD"))
    with pytest.raises(UnknownSymbol, match="TUSD/USDT, T/USD"):
        normalize("TUSD", "kraken")


def test_kinds_of_markets_are_kept_apart() -> None:
    """Spot, perpetual and dated future are told by the unified name."""
    assert [kind_of(normalize(name)) for name in ("BTCUSDT", "BTCUSD_PERP", "BTCUSDT_240329")] == [
        "spot",
        "swap",
        "future",
    ]


@pytest.mark.parametrize("exchange", ["binance", "kraken", "coinbase", None])
def test_no_glued_name_of_known_coins_is_split_wrongly(exchange: str | None) -> None:
    """For every listed coin and quote, the only reading is the right one, or the name is refused."""
    quotes = LISTS["exchanges"].get(exchange, LISTS["quotes"])
    wrong = refused = count = 0
    for base in LISTS["coins"]:
        for quote in (q for q in quotes if q != base):
            if quote in _RARE_QUOTES and (len(base) < 3 or base in LISTS["fiat"]):
                continue
            found = readings(base + quote, exchange)
            count += 1
            refused += len(found) != 1
            wrong += len(found) == 1 and found != [f"{base}/{quote}"]
    assert wrong == 0
    assert refused < 0.01 * count


@pytest.mark.parametrize("written", ["OGNSOL", "NAVVAI", "MONDOGE", "AVAXIDRT"])
def test_a_quote_of_one_exchange_is_not_taken_for_a_part_of_a_coin(written: str) -> None:
    """Without the exchange such a name is refused with its reading, never stored as an unknown coin in USDT."""
    with pytest.raises(UnknownSymbol, match="market_ambiguous"):
        normalize(written)
