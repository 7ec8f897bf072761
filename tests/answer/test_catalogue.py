"""The catalogues: every language says the same things, with the same values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fluent.syntax import FluentParser, ast
from fluent.syntax.visitor import Visitor

import answer
import bot
import web
from answer.catalogue import FOLDER, Texts
from answer.words import sentence
from domain.reasons import REASONS
from domain.types import EMOTIONS
from models.language import NAMES
from web.app import STATIC
from workers.client import images

LANGUAGES = sorted(file.stem for file in FOLDER.glob("*.ftl"))
SOURCE = "\n".join(file.read_text() for box in (answer, bot, web) for file in Path(box.__file__).parent.glob("*.py"))
COLUMNS = ("source", "posted", "market", "similarity", "price-then")
"""Headings of the table of matches, whose keys view.js puts together."""

PAGE = SOURCE + "".join(file.read_text() for file in STATIC.iterdir() if file.suffix in (".html", ".js"))


class Variables(Visitor):
    """Names of the values that a message needs."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_VariableReference(self, node: ast.VariableReference) -> None:
        self.names.add(node.id.name)


def catalogue(language: str) -> dict[str, set[str]]:
    """Key → names of its values; a file with errors fails."""
    tree = FluentParser().parse((FOLDER / f"{language}.ftl").read_text())
    assert not [entry for entry in tree.body if isinstance(entry, ast.Junk)]
    found = {}
    for entry in tree.body:
        if isinstance(entry, ast.Message):
            assert entry.id.name not in found, f"{entry.id.name} stands twice"
            seen = Variables()
            seen.visit(entry)
            found[entry.id.name] = seen.names
    return found


def test_there_are_languages() -> None:
    """English, and at least one more."""
    assert "en" in LANGUAGES
    assert len(LANGUAGES) >= 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_keys_and_values_are_those_of_english(language: str) -> None:
    """No key is missing or left over, and each needs the values that the English one needs."""
    english, other = catalogue("en"), catalogue(language)
    assert set(other) == set(english)
    for key, names in other.items():
        assert names == english[key], key


@pytest.mark.parametrize("key", sorted(catalogue("en")))
def test_every_key_is_used(key: str) -> None:
    """A key that nothing asks for is a left-over; families of keys are asked for by their beginning."""
    family = re.match(r"(emotion|command|state|steer|chart)-", key)
    if key.startswith("reason-"):
        assert key.removeprefix("reason-").replace("-", "_") in REASONS
        return
    if code := re.fullmatch(r"language-(\w\w)", key):
        assert code[1] in NAMES
        return
    if key.startswith("kind-"):
        assert f'"{key.removeprefix("kind-")}"' in Path(images.__file__).read_text()
        return
    if key.startswith("page-"):
        assert re.search(rf"[\"{{`]{key}[\"}}`]", PAGE) or key.removeprefix("page-js-") in COLUMNS
        return
    asked = f'"{key}"' in SOURCE or (family and f'f"{family[0]}{{' in SOURCE)
    assert asked


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", REASONS)
def test_every_reason_has_a_sentence_with_its_parameters(language: str, code: str) -> None:
    """In every language: a clause without a full stop that names what it was given."""
    needs = catalogue(language)[f"reason-{code.replace('_', '-')}"]
    assert needs == set(REASONS[code])
    known = {"language": "es", "first": "joy", "second": "fear", "kind": "svg", "picture": {"code": "no_face"}}
    values = {name: known.get(name, "some") for name in REASONS[code]}
    words = sentence({"code": code, **values}, Texts().speaker(language))
    assert not words.endswith((".", ":"))
    assert all(str(value) in words for value in values.values() if value == "some")
    assert language == "en" or not re.search(r"\b(the|is|are|of the)\b", words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_that_is_told_apart_has_a_name(language: str) -> None:
    """In every language."""
    assert all(Texts().known(language, f"language-{code}") for code in NAMES)


def test_every_emotion_has_a_name() -> None:
    """In every language, and all different."""
    texts = Texts()
    for language in texts.languages:
        assert len({texts.say(language, f"emotion-{label}") for label in EMOTIONS}) == len(EMOTIONS)


def test_a_browsers_languages_are_weighed() -> None:
    """The heaviest known one; a broken header is English."""
    texts = Texts()
    assert texts.accepted("fr-FR,en;q=0.3,de-AT;q=0.8") == "de"
    assert texts.accepted("en-GB,de;q=0.9") == "en"
    assert [texts.accepted(header) for header in (None, "", ";;q=x,,", "*")] == ["en"] * 4


def test_language_is_chosen_by_the_first_known_wish() -> None:
    """A region is no hindrance; English where nothing fits."""
    texts = Texts()
    assert texts.choose("de-AT", "en") == "de"
    assert texts.choose(None, "xx", "de") == "de"
    assert texts.choose("xx") == "en"


def test_defects_in_words_are_not_shown_to_people() -> None:
    """A missing value or an unknown key raises instead of printing {$braces}."""
    texts = Texts()
    with pytest.raises(ValueError, match="help"):
        texts.say("en", "help")
    with pytest.raises(KeyError):
        texts.say("en", "no-such-key")
