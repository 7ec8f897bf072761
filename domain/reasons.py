"""Why something is, or is not, in an answer: a code with its parameters. The sentences stand in ``answer/locales``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union

Parameter = Union[str, int, float, "Reason"]

REASONS: dict[str, tuple[str, ...]] = {
    # emotions
    "no_words": (),
    "foreign": ("language",),
    "unsure": ("first", "second"),
    "no_face": (),
    "nothing_readable": (),
    "both": ("text", "picture"),
    # hype
    "no_market_history": (),
    "few_candles": (),
    "few_windows": ("count", "windows", "least"),
    "no_trade": (),
    "no_better_than_persistence": (),
    "no_post_hype": (),
    "no_author": (),
    "short_author_history": ("count", "least"),
    "short_channel_history": ("count", "least"),
    # trajectories
    "signal_untested": (),
    "signal_not_earned": ("crps", "crps_low", "words", "words_low", "words_high"),
    "signal_earned": ("crps", "crps_low", "words", "words_low", "words_high"),
    "older_band": (),
    # the post, its market and what could be matched
    "no_coin": ("symbol",),
    "no_candles": ("symbol",),
    "no_picture": (),
    "no_past": (),
    "width_of_symbol": ("symbol",),
    "width_of_all": ("symbol",),
    "stale_tape": ("symbol",),
    "gapped_tape": ("symbol",),
    "no_window": ("symbol",),
    "newest_windows": (),
    # explanation
    "no_explanation": (),
    "explanation_not_asked": (),
    "explanation_far": (),
    "explanation_clumsy": (),
    "explanation_direction": (),
    "explanation_numbers": (),
    "explanation_names": (),
    "explanation_empty": (),
    "explanation_no_text": (),
    "queue_away": (),
    "no_explainer": ("seconds",),
    "chart_broken": (),
    # what was sent cannot be used
    "empty_post": (),
    "nothing_left": (),
    "text_too_long": ("count", "most"),
    "picture_empty": (),
    "picture_bytes": ("megabytes", "most"),
    "picture_pixels": ("width", "height", "most"),
    "picture_huge": ("most",),
    "picture_broken": (),
    "not_a_picture": ("kind",),
    "picture_not_taken": ("name",),
    "file_of_type": ("name",),
    "upload_too_large": ("most",),
    "file_too_big": ("megabytes",),
    "unsupported": (),
    "not_a_market": ("text",),
    "market_unsettled": ("text",),
    "market_ambiguous": ("text", "readings", "first"),
    "coin_unknown": ("text",),
    "market_unknown": ("symbol", "known"),
    "no_market_known": ("symbol",),
    "not_a_time": ("text",),
    "time_in_future": ("at",),
    "time_too_early": ("at",),
    "no_candles_then": ("symbol", "minutes", "at"),
    "match_both": (),
    "match_nothing": (),
    "window_incomplete": ("symbol", "minutes", "at"),
    "series_length": ("count", "least", "most"),
    "series_not_positive": (),
    "series_not_numbers": (),
    "series_not_price": ("text",),
    # the queue
    "queue_full": ("count", "seconds"),
    "own_queue_full": ("count", "seconds"),
    "no_answer_yet": ("seconds",),
    "no_verdict": (),
    "stopping": (),
    "cancelled": (),
    "post_unknown": (),
    "post_not_waiting": (),
    "not_scored": (),
    "ended_worker": (),
    # what earlier or later versions wrote
    "worded": ("text",),
    "unknown": ("code",),
}
"""Every code with the names of its parameters. ``language`` is an ISO 639-1 code, ``kind`` one of a file
(:mod:`workers.client.images`); ``first`` and ``second`` of ``unsure`` are emotions.

To add one: an entry here, and a sentence ``reason-<code, with hyphens>`` in each file of ``answer/locales``.
"""


class Reason:
    """A code and its parameters, frozen. In JSON the parameters stand beside the code.

    >>> Reason("unsure", {"first": "joy", "second": "fear"}).json()
    {'code': 'unsure', 'first': 'joy', 'second': 'fear'}
    """

    __slots__ = ("code", "parameters")

    code: str
    parameters: Mapping[str, Parameter]

    def __init__(self, code: str, parameters: Mapping[str, Parameter] | None = None) -> None:
        given = dict(parameters or {})
        if code not in REASONS:
            raise ValueError(f"“{code}” is no reason's code; domain/reasons.py lists them")
        if set(given) != set(REASONS[code]):
            raise ValueError(f"the reason “{code}” takes {REASONS[code]}, not {tuple(given)}")
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "parameters", given)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a reason does not change")

    def __repr__(self) -> str:
        return f"Reason({self.code!r}, {self.parameters!r})" if self.parameters else f"Reason({self.code!r})"

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value}" for name, value in self.parameters.items())
        return f"{self.code} ({values})" if values else self.code

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reason) and (self.code, self.parameters) == (other.code, other.parameters)

    def __hash__(self) -> int:
        return hash((self.code, tuple(self.parameters.items())))

    def json(self) -> dict[str, Any]:
        """``{"code", …parameters}``."""
        return {"code": self.code} | {k: v.json() if isinstance(v, Reason) else v for k, v in self.parameters.items()}

    @classmethod
    def read(cls, stored: str | Mapping[str, Any]) -> Reason:
        """The reason that :meth:`json` wrote; a sentence of an earlier version is kept as its words."""
        if isinstance(stored, str):
            return cls("worded", {"text": stored.strip().rstrip(".")})
        given = {k: cls.read(v) if isinstance(v, Mapping) else v for k, v in stored.items() if k != "code"}
        try:
            return cls(stored["code"], given)
        except ValueError:
            return cls("unknown", {"code": str(stored["code"])})
