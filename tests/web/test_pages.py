"""The page: works offline, accessible at its roots, and honest about a synthetic feed."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from answer.catalogue import texts
from db.engine import transaction
from db.queries import streams
from tests.web.conftest import NOON
from web.app import STATIC

PAGES = ("index.html", "docs.html")
FILES = sorted(path for path in STATIC.iterdir() if path.suffix in (".html", ".js", ".css", ".svg"))


class Tags(HTMLParser):
    """All start tags with their attributes."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    """No address of another host in any file but the SVG namespace."""
    addresses = set(re.findall(r"https?://[^\s\"'`]+", path.read_text()))
    assert addresses <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", PAGES)
def test_no_page_needs_inline_code(name: str) -> None:
    """The content security policy forbids inline script and style; no page has any."""
    for tag, attributes in Tags((STATIC / name).read_text()).found:
        assert "style" not in attributes
        assert not [attribute for attribute in attributes if attribute.startswith("on")]
        assert tag != "style"
        assert tag != "script" or attributes.get("src")


def test_markup_is_never_made_from_text() -> None:
    """Posts of strangers are shown; no script of ours writes markup or evaluates text."""
    for path in STATIC.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text()
        )


@pytest.mark.parametrize("name", PAGES)
def test_every_control_has_a_name(name: str) -> None:
    """Each field has a label, each picture a text, the page a language; what scripts ask for by id exists."""
    tags = Tags((STATIC / name).read_text()).found
    labelled = {attributes.get("for") for tag, attributes in tags if tag == "label"}
    for tag, attributes in tags:
        if tag in ("input", "textarea"):
            assert attributes["id"] in labelled
        if tag == "img":
            assert "alt" in attributes
    assert next(attributes["lang"] for tag, attributes in tags if tag == "html")


@pytest.mark.parametrize(("accepts", "lang"), [("de-AT,en;q=0.5", "de"), ("fr", "en"), ("", "en")])
def test_the_page_speaks_its_readers_language(lone_door: TestClient, accepts: str, lang: str) -> None:
    """By what the browser accepts, or by the choice in the address; every word comes from the catalogue."""
    wished = lone_door.get("/", headers={"Accept-Language": accepts})
    chosen = lone_door.get(f"/?lang={lang}", headers={"Accept-Language": "xx"})
    assert wished.text == chosen.text
    assert wished.headers["content-language"] == lang
    assert ("html", {"lang": lang}) in Tags(wished.text).found
    assert "{{" not in wished.text
    assert texts().say(lang, "page-send") in wished.text


def test_scripts_ask_only_for_words_that_the_page_has() -> None:
    """Every key that a script names is among those given to it, with the values that it fills in."""
    given = texts().patterns("en", "page-js-", "emotion-", "state-", "steer-")
    for path in STATIC.glob("*.js"):
        for key, rest in re.findall(r'say\("([\w-]+)"(.*)', path.read_text()):
            holes = set(re.findall(r"\{(\w+)\}", given[key]))
            named = set(re.findall(r"\w+", rest)) | ({"median", "low", "high"} if "...ends(paths" in rest else set())
            assert holes <= named, key


def test_scripts_word_nothing_themselves() -> None:
    """No script of the page holds a sentence: at most the example post, which is English as posts are."""
    for path in STATIC.glob("*.js"):
        if path.name != "docs.js":
            code = re.sub(r"//.*", "", path.read_text())
            prose = re.findall(r"[\"`]([A-Z][a-z]+ [a-z]+ [^\"`]*)[\"`]", code)
            assert [text for text in prose if not text.startswith("So happy")] == []


def test_what_the_scripts_look_up_is_there() -> None:
    """Every id that the page's scripts ask for stands in the page."""
    ids = {attributes["id"] for _, attributes in Tags((STATIC / "index.html").read_text()).found if "id" in attributes}
    for name in ("app.js", "feed.js"):
        assert set(re.findall(r'place\("([\w-]+)"\)', (STATIC / name).read_text())) <= ids


@pytest.mark.parametrize("path", ["/", "/docs", *(f"/static/{path.name}" for path in FILES)])
def test_everything_is_served(lone_door: TestClient, path: str) -> None:
    """By this process, with a type that browsers run under nosniff."""
    response = lone_door.get(path)
    assert response.status_code == 200
    if path.endswith(".js"):
        assert "javascript" in response.headers["content-type"]


@pytest.mark.parametrize("kind", ["synthetic", "live", None])
def test_the_feed_says_what_it_is(engine: Engine, door: TestClient, kind: str | None) -> None:
    """What the feed noted of itself is passed on to the page."""
    if kind is not None:
        with transaction(engine) as connection:
            streams.note_feed(connection, "replay", NOON)
            streams.note_feed(connection, kind, NOON)
    feed = door.get("/v1/latest").json()["feed"]
    assert feed == (kind and {"kind": kind, "since": "2025-01-01T12:00:00Z"})
    assert "synthetic demo feed" in door.get("/").text
    assert json.dumps(feed)
