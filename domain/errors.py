"""Every error that moodtape raises on purpose, drawn once.

    MoodtapeError                      exit  HTTP
    ├── InputError                      2    422   what the caller sent cannot be used
    │   ├── EmptyPost                   2    400   neither words nor a picture
    │   ├── TooLarge                    2    413   too many bytes or pixels
    │   ├── UnreadableImage             2    415   not a picture that can be decoded
    │   ├── UnknownSymbol               2    404   no such market here
    │   ├── NoCandles                   2    404   the market is known, the time is not covered
    │   ├── NotFound                    2    404   no such post, run or address
    │   └── WrongState                  2    409   what is asked for does not fit the state of things
    ├── Cancelled                       75   409   taken off the queue before it was read
    ├── ConfigError                     2    503   a setting is wrong: URL, password, port, option
    ├── Unavailable                     75   503   a service does not answer now; try again
    │   └── Busy                        75   503   the queue is full; says for how long
    └── BrokenInstall                   70   503   weights missing or altered, a defect of ours
        └── WeightsError                70   503   names the file

What a reader of an answer may meet carries a :class:`~domain.reasons.Reason`, which the doors put into words
(:func:`answer.words.complain`). Errors for operators carry a message: what happened and what to do, never a secret.
"""

from __future__ import annotations

import secrets
from typing import ClassVar

from domain.reasons import Reason

EX_USAGE = 2
EX_SOFTWARE = 70
EX_TEMPFAIL = 75


class MoodtapeError(Exception):
    """Base of all deliberate errors. ``message`` is for logs and operators, ``reason`` is what the doors put into words.

    ``exit_code`` is the process exit status, ``http_status`` the status of a response, ``code`` a stable word for
    programs, ``id`` a short random id that stands both in the log and in what the user sees.
    """

    exit_code: ClassVar[int] = EX_SOFTWARE
    http_status: ClassVar[int] = 500
    code: ClassVar[str] = "error"

    def __init__(self, message: str | Reason) -> None:
        super().__init__(str(message))
        self.message = str(message)
        self.reason = message if isinstance(message, Reason) else None
        self.id = secrets.token_hex(3)


class InputError(MoodtapeError):
    """What the caller sent cannot be used."""

    exit_code = EX_USAGE
    http_status = 422
    code = "bad_input"


class EmptyPost(InputError):
    """A post without words and without a picture."""

    http_status = 400
    code = "empty_post"


class TooLarge(InputError):
    """More bytes, characters or pixels than are taken."""

    http_status = 413
    code = "too_large"


class UnreadableImage(InputError):
    """Bytes that are not a picture this system decodes."""

    http_status = 415
    code = "unreadable_image"


class UnknownSymbol(InputError):
    """No market of that name is known here."""

    http_status = 404
    code = "unknown_symbol"


class NoCandles(InputError):
    """The market is known, but the asked-for time is not covered."""

    http_status = 404
    code = "no_candles"


class NotFound(InputError):
    """There is no such post, run or address."""

    http_status = 404
    code = "not_found"


class WrongState(InputError):
    """What is asked for does not fit the state of things, as pausing a run that has ended."""

    http_status = 409
    code = "wrong_state"


class Cancelled(MoodtapeError):
    """The post was taken off the queue before it was read; it may be sent again."""

    exit_code = EX_TEMPFAIL
    http_status = 409
    code = "cancelled"


class ConfigError(MoodtapeError):
    """A setting is wrong: a URL, a password, a port, an option."""

    exit_code = EX_USAGE
    http_status = 503
    code = "bad_setting"


class Unavailable(MoodtapeError):
    """A service does not answer now; the same call may succeed later."""

    exit_code = EX_TEMPFAIL
    http_status = 503
    code = "unavailable"


class Busy(Unavailable):
    """The queue is full. ``retry_after`` is the expected wait in seconds."""

    code = "busy"

    def __init__(self, message: str | Reason, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BrokenInstall(MoodtapeError):
    """Something that ships with moodtape is missing or altered."""

    http_status = 503
    code = "broken_install"


class WeightsError(BrokenInstall):
    """A weights file is missing, truncated, altered or of a refused format; the message names it."""

    code = "weights"
