"""What the synthetic feed's posts say; written for this project, about every mood and about nothing."""

from __future__ import annotations

from typing import NamedTuple


class Coin(NamedTuple):
    """A coin's spoken name and its code."""

    name: str
    code: str


COINS: tuple[Coin, ...] = (
    Coin("bitcoin", "BTC"),
    Coin("ethereum", "ETH"),
    Coin("solana", "SOL"),
    Coin("dogecoin", "DOGE"),
)

TEMPLATES: tuple[str, ...] = (
    "Woke up to {coin} being green again, what a lovely morning ☀️",
    "${code} up {percent}% and I finally told my mum what a wallet is 😂",
    "So happy I kept my {tag} through the winter, patience pays!",
    "Paid for coffee with {coin} today. The future is here and it tastes great.",
    "To everyone who held ${code} with me: thank you, I love this community ❤️",
    "We did it! {percent}% on ${code} in one day, drinks are on me 🎉",
    "Sold my ${code} yesterday. It went up {percent}% since. I could cry.",
    "Lost half of my savings on {coin}, I feel empty and I miss the old days.",
    "Everybody left the {tag} group after the drop, it is quiet and sad in here.",
    "My {coin} bag is down {percent}% this week and so am I 😞",
    "I do not know how to tell my family about the ${code} loss.",
    "Is ${code} about to crash? I have not slept for two nights.",
    "Scared to open the app. {coin} dropped {percent}% while I was in the cinema 😨",
    "If {coin} breaks this support we are all in serious trouble, please be careful.",
    "Whales are moving ${code} to exchanges again, this makes me really nervous.",
    "They will freeze our {tag} accounts, I am terrified of what comes next.",
    "The exchange went down exactly when ${code} moved {percent}%. Absolute thieves!",
    "Sick of influencers dumping {coin} on their own followers. Shame on you.",
    "Who approved a fee of {percent}% to withdraw ${code}?! This is robbery 😡",
    "Stop lying about {tag}. You said audited, it was never audited!",
    "Wait, what? ${code} just moved {percent}% in a minute!",
    "I cannot believe it, a supermarket in my village takes {coin} now 😮",
    "Nobody saw this coming: {coin} passed {percent}% before breakfast.",
    "Did you see that candle on ${code}?? I nearly dropped my phone.",
    "Another {tag} giveaway scam in my inbox. Disgusting people.",
    "These fake {coin} doubling sites make me sick.",
    "The way that team treated ${code} holders is revolting.",
    "${code} volume is {percent}% above the weekly average.",
    "Weekly {coin} notes: range unchanged, funding neutral, open interest flat.",
    "Reading the {tag} white paper again. Section three is about the data model.",
    "{coin} node updated to the latest release, sync took four hours.",
    "The ${code} meetup starts at seven in the library, second floor.",
    "Chart of ${code} against its two hundred day average in the next post.",
    "Question: which wallet do you use for {coin} on a laptop?",
    "Moved my ${code} to cold storage, nothing else to report.",
    "{tag} difficulty adjustment in about {percent} days according to my estimate.",
    "A friend asked me to explain {coin}; we talked until midnight and it was great fun.",
    "I keep refreshing the ${code} price, my hands are shaking.",
    "No more leverage on {coin}. I learned it the hard way and I regret it.",
    "{percent}% of my pay goes into ${code} every month, as always.",
)
