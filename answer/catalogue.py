"""What people read, in every language: one Fluent catalogue per file of ``answer/locales``, for every door."""

from __future__ import annotations

import re
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

from fluent.runtime import FluentBundle, FluentResource

FOLDER = Path(__file__).parent / "locales"
FALLBACK = "en"


class Say(Protocol):
    """The words for a key, in one language."""

    def __call__(self, key: str, /, **values: Any) -> str: ...


class Texts:
    """All catalogues; a language is its file's name, as in ``en.ftl``."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._bundles: dict[str, FluentBundle] = {}
        self._keys: dict[str, list[str]] = {}
        self._names: set[str] = set()
        for file in sorted(folder.glob("*.ftl")):
            bundle = FluentBundle([file.stem], use_isolating=False)
            source = file.read_text(encoding="utf-8")
            bundle.add_resource(FluentResource(source))
            self._bundles[file.stem] = bundle
            self._keys[file.stem] = re.findall(r"^([\w-]+) =", source, re.M)
            self._names |= set(re.findall(r"\$(\w+)", source))

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages there are."""
        return tuple(self._bundles)

    def choose(self, *wishes: str | None) -> str:
        """The first wish there is a catalogue for, else English; ``de-AT`` and ``de_DE.UTF-8`` find ``de``."""
        return next(filter(None, map(self.find, wishes)), FALLBACK)

    def find(self, wish: str | None) -> str | None:
        """The catalogue for a wish, or None."""
        code = (wish or "").lower().replace("_", "-").split("-")[0]
        return code if code in self._bundles else None

    def accepted(self, header: str | None) -> str:
        """The best language for an HTTP Accept-Language header, as in ``de-AT,de;q=0.9,en;q=0.8``."""
        wishes = [part.strip().partition(";") for part in (header or "").split(",")]
        return self.choose(*(code for code, _, weight in sorted(wishes, key=_weight)))

    def known(self, language: str, key: str) -> bool:
        """Whether a language has words for a key."""
        return language in self._bundles and self._bundles[language].has_message(key)

    def say(self, language: str, key: str, /, **values: Any) -> str:
        """The words for a key; English where the language lacks it.

        Raises:
            KeyError: no catalogue has the key.
            ValueError: the words need a value that was not given, or are written wrongly.
        """
        code = language if self.known(language, key) else FALLBACK
        bundle = self._bundles[code]
        if not bundle.has_message(key):
            raise KeyError(f"no catalogue says “{key}”")
        pattern = bundle.get_message(key).value
        if pattern is None:
            raise ValueError(f"“{key}” in {code}.ftl has no words")
        words, errors = bundle.format_pattern(pattern, values)
        if errors:
            raise ValueError(f"“{key}” in {code}.ftl: {errors[0]}")
        return str(words)

    def patterns(self, language: str, *beginnings: str) -> dict[str, str]:
        """The words for all keys that begin so, with ``{name}`` where a value goes in: for a program that fills them in."""
        holes = {name: f"{{{name}}}" for name in self._names}
        return {key: self.say(language, key, **holes) for key in self._keys[FALLBACK] if key.startswith(beginnings)}

    def speaker(self, language: str) -> Say:
        """:meth:`say` in one language."""
        return partial(self.say, language)


def _weight(wish: tuple[str, str, str]) -> float:
    """Least first; a wish without a number, or with a broken one, counts fully."""
    try:
        return -float(wish[2].strip().removeprefix("q="))
    except ValueError:
        return -1.0


@cache
def texts() -> Texts:
    """The catalogues that ship with moodtape, read once."""
    return Texts()
