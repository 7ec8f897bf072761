"""Who may come in."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from domain.errors import ConfigError
from tests.web.conftest import Doors
from web.settings import WebSettings, is_loopback

KEY = "a secret key"


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:1", "[::1]:8000", "localhost"])
def test_loopback_names_are_answered(lone_door: TestClient, host: str) -> None:
    """Whatever the port."""
    assert lone_door.get("/live", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "10.0.0.1"]
)
def test_other_names_are_refused(lone_door: TestClient, host: str) -> None:
    """A page that rebinds its name to 127.0.0.1 gets nothing."""
    response = lone_door.get("/v1/latest", headers={"Host": host})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "wrong_origin")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999"])
def test_other_pages_may_not_post(lone_door: TestClient, origin: str) -> None:
    """A foreign page cannot use the door through its visitor's browser."""
    response = lone_door.post("/v1/analyze", data={"caption": "x"}, headers={"Origin": origin})
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


def test_our_own_page_may(lone_door: TestClient) -> None:
    """The same origin passes the guard (and is then refused for its empty form)."""
    response = lone_door.post("/v1/analyze", data={"caption": " "}, headers={"Origin": "http://127.0.0.1"})
    assert response.json()["error"]["code"] == "empty_post"


def test_a_key_is_asked_for_where_one_is_set(lone_doors: Doors) -> None:
    """In either header; pages and probes stay open; any host name is then allowed."""
    door = lone_doors(api_key=KEY, base_url="http://moodtape.example")
    for wrong in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": "ä".encode()}, {"Authorization": "Bearer wrong"}):
        response = door.get("/v1/latest", headers=wrong)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "wrong_key")
        assert "WWW-Authenticate" in response.headers
    for right in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
        assert door.post("/v1/analyze", data={"caption": ""}, headers=right).status_code == 400
    assert door.get("/metrics").status_code == 401
    for path in ("/", "/docs", "/openapi.json", "/live", "/static/app.js"):
        assert door.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/latest", "/nothing", "/v1/posts/x", "/static/app.js"])
def test_every_response_carries_the_headers(lone_door: TestClient, path: str) -> None:
    """Also errors: no inline script, no framing, no sniffing, no referrer."""
    headers = lone_door.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert (headers.get("cache-control") == "no-store") is path.startswith("/v1/")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "moodtape.example"])
def test_an_open_address_needs_a_key(host: str) -> None:
    """Without one the door does not open; with one it does."""
    with pytest.raises(ConfigError, match="MOODTAPE_API_KEY"):
        WebSettings(host=host).check()
    with pytest.raises(ConfigError):
        WebSettings(host=host, api_key="").check()
    WebSettings(host=host, api_key=KEY).check()
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_the_loopback_needs_none(host: str) -> None:
    """The usual case."""
    WebSettings(host=host).check()
    assert is_loopback(host)
