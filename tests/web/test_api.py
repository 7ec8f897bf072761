"""The HTTP API: one answer, every refusal with its status, lists and candles."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import jsonschema
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from db.engine import transaction
from db.queries import jobs, revisions
from db.queries.posts import insert_posts
from db.queries.verdicts import upsert_verdicts
from domain.answer import answer_schema, stamp
from domain.clock import ManualClock
from domain.types import Post
from tests.fakes.answers import REVISION, verdict, working
from tests.web.conftest import NOON, Doors
from tests.workers.test_images import bomb, encoded, photo
from web.upload import MAX_BODY
from workers.client.analyze import Request, analyze
from workers.client.queue import Priority, ScoringClient

JPEG = encoded(photo(), "JPEG")


def refused(response: object, status: int, code: str) -> str:
    """Check the one shape of errors; returns the message."""
    body = response.json()
    assert response.status_code == status, body
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "id"}
    assert body["error"]["code"] == code
    assert "Traceback" not in response.text
    return str(body["error"]["message"])


@pytest.mark.usefixtures("market", "worker")
@pytest.mark.parametrize(
    ("caption", "image"), [("so happy", JPEG), ("so happy", None), ("", JPEG)], ids=["both", "caption", "photo"]
)
def test_http_and_python_give_the_same_json(
    engine: Engine, queue_client: ScoringClient, clock: ManualClock, door: TestClient, caption: str, image: bytes | None
) -> None:
    """The use-case called directly, POST, and GET by id: equal to the last digit, and of the described shape."""
    files = {"image": ("a.jpg", image, "image/jpeg")} if image else None
    answer = door.post("/v1/analyze", data={"caption": caption, "symbol": "btc"}, files=files)
    assert answer.status_code == 200
    asked = Request(caption, image, symbol="BTC/USDT")
    assert answer.json() == analyze(engine, queue_client, asked, clock=clock, deadline=20)
    assert door.get(f"/v1/posts/{answer.json()['post_id']}").json() == answer.json()
    answer_, parts = answer_schema("#/$defs/{name}")
    jsonschema.validate(answer.json(), {**answer_, "$defs": parts})


@pytest.mark.usefixtures("market", "worker")
def test_text_and_an_empty_file_field_are_taken(door: TestClient) -> None:
    """`text` is another name of `caption`; the empty file part that browsers send is no picture; a plain form is a form."""
    first = door.post("/v1/analyze", data={"text": "so happy"}, files={"image": ("", b"", "application/octet-stream")})
    second = door.post("/v1/analyze", data={"caption": "so happy"})
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()


BAD_INPUT = [
    ({}, None, 422, "bad_input", "Send a form"),
    ({"caption": "  \u200b "}, None, 400, "empty_post", "text or a picture"),
    ({}, b"", 415, "unreadable_image", "0 bytes"),
    ({}, JPEG[:900], 415, "unreadable_image", "cut off"),
    ({}, b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unreadable_image", "an SVG drawing"),
    ({}, b"<!doctype html><html></html>", 415, "unreadable_image", "a web page"),
    ({}, bomb(9_400), 413, "too_large", "max 25 Mpx"),
    ({}, b"\xff\xd8" + b"\0" * MAX_BODY, 413, "too_large", "max 20 MB"),
    ({"caption": "x" * 20_001}, None, 413, "too_large", "20,001 characters"),
    ({"caption": "x" * 200_000}, JPEG, 422, "bad_input", "form cannot be read"),
    ({"caption": "x", "symbol": "FOO/BAR"}, None, 404, "unknown_symbol", "BTC/USDT"),
    ({"caption": "x", "symbol": "'; drop table posts"}, None, 404, "unknown_symbol", "write it like"),
    ({"caption": "x", "at": "2024-01-01T00:00Z"}, None, 404, "no_candles", "no candles of BTC/USDT"),
    ({"caption": "x", "at": "2030-01-01T00:00Z"}, None, 404, "no_candles", "in the future"),
    ({"caption": "x", "at": "noon"}, None, 422, "bad_input", "not a time"),
]


@pytest.mark.usefixtures("market")
def test_bad_input_has_its_status(door: TestClient, subtests: pytest.Subtests) -> None:
    """Each refusal: the status of the error tree, a stable code, one sentence."""
    for data, image, status, code, says in BAD_INPUT:
        files = {"image": ("photo.jpg", image, "image/jpeg")} if image is not None else None
        with subtests.test(says=says):
            assert says in refused(door.post("/v1/analyze", data=data, files=files), status, code)


def test_what_is_no_form_is_refused(lone_door: TestClient, subtests: pytest.Subtests) -> None:
    """JSON, broken multipart, a missing boundary and nothing at all are 4xx in the one shape."""
    for content, kind in (
        (b'{"caption": "x"}', "application/json"),
        (b"nonsense", "multipart/form-data; boundary=x"),
        (b"x", "multipart/form-data"),
        (b"", ""),
    ):
        with subtests.test(kind=kind):
            answer = lone_door.post("/v1/analyze", content=content, headers={"Content-Type": kind})
            refused(answer, 422, "bad_input")


def test_files_and_texts_in_each_others_fields_are_refused(lone_door: TestClient) -> None:
    """A text as the picture, a file as the caption."""
    as_text = lone_door.post("/v1/analyze", files={"image": (None, "no file")})
    as_file = lone_door.post("/v1/analyze", files={"caption": ("a.txt", b"words")})
    assert "must be a file" in refused(as_text, 422, "bad_input")
    assert "must be text" in refused(as_file, 422, "bad_input")


WRONG_CALLS = [
    ("GET", "/nothing", 404, "not_found"),
    ("GET", "/v1/posts/door:none", 404, "not_found"),
    ("GET", "/v1/posts/door:none/chart.png", 404, "not_found"),
    ("GET", "/static/../app.py", 404, "not_found"),
    ("GET", "/v1/analyze", 405, "bad_input"),
    ("GET", "/v1/latest?limit=0", 422, "bad_input"),
    ("GET", "/v1/latest?before=never", 422, "bad_input"),
    ("GET", "/v1/candles", 422, "bad_input"),
    ("GET", "/v1/candles?symbol=FOO/BAR", 404, "unknown_symbol"),
    ("GET", "/v1/candles?symbol=btc&minutes=9999", 422, "bad_input"),
]


def test_wrong_calls_have_the_same_shape(door: TestClient, subtests: pytest.Subtests) -> None:
    """Errors of the framework look like errors of ours."""
    for method, path, status, code in WRONG_CALLS:
        with subtests.test(path=path):
            refused(door.request(method, path), status, code)


def test_without_a_worker_the_caller_is_told_when_to_come_back(doors: Doors) -> None:
    """503 with Retry-After once the deadline has passed; the post is then known as waiting."""
    door = doors(web_deadline=0.05)
    response = door.post("/v1/analyze", data={"caption": "hello"})
    assert "ask again" in refused(response, 503, "unavailable")
    assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.usefixtures("market")
def test_a_full_queue_says_busy_and_for_about_how_long(engine: Engine, doors: Doors) -> None:
    """503 with Retry-After: what waits, at the rate that the workers report; when it has gone, the post is taken."""
    door = doors(web_deadline=0.05)
    with transaction(engine) as connection:
        revisions.beat(connection, "fake-1", REVISION, "cpu", 100.0)
        insert_posts(connection, [Post(f"p:{n}", "door", f"words {n}", "en", NOON) for n in range(500)])
        jobs.enqueue(connection, [f"p:{n}" for n in range(500)], REVISION, Priority.PEOPLE)
    response = door.post("/v1/analyze", data={"caption": "hello"})
    assert refused(response, 503, "busy") == "The queue has 500 posts waiting; try again in about 5 s."
    assert response.headers["Retry-After"] == "5"
    with transaction(engine) as connection:
        connection.execute(text("update jobs set state = 'done'"))
    assert refused(door.post("/v1/analyze", data={"caption": "hello"}), 503, "unavailable")


@pytest.mark.usefixtures("market")
def test_who_waits_is_told_of_a_cancellation(engine: Engine, doors: Doors, queue_client: ScoringClient) -> None:
    """409 at once; the post has no verdict then, nor once a worker comes, until it is sent again."""
    door = doors(web_deadline=20)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(door.post, "/v1/analyze", data={"caption": "hello", "at": stamp(NOON)})
        while not (waiting := posts_that_wait(engine)):
            assert not asked.done()
        assert queue_client.cancel(waiting) == 1
        assert "send it again" in refused(asked.result(timeout=10), 409, "cancelled")
    with working(engine) as runner:
        assert (runner.drain(), queue_client.cancel(waiting)) == (0, 0)
        with transaction(engine) as connection:
            assert connection.execute(text("select count(*) from verdicts")).scalar() == 0
        again = door.post("/v1/analyze", data={"caption": "hello", "at": stamp(NOON)})
        assert (again.status_code, [again.json()["post_id"]]) == (200, waiting)


@pytest.mark.usefixtures("market")
def test_a_post_is_cancelled_over_http(engine: Engine, doors: Doors) -> None:
    """DELETE while it waits: who waits for it is told; then, and when it has its answer, 409; an unknown id is 404."""
    door = doors(web_deadline=20)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(door.post, "/v1/analyze", data={"caption": "hello", "at": stamp(NOON)})
        while not (waiting := posts_that_wait(engine)):
            assert not asked.done()
        path = f"/v1/posts/{waiting[0]}"
        assert door.delete(path).json() == {"post_id": waiting[0], "cancelled": True}
        assert "send it again" in refused(asked.result(timeout=10), 409, "cancelled")
    assert "does not wait any more" in refused(door.delete(path), 409, "wrong_state")
    assert "no post of that id" in refused(door.delete("/v1/posts/nosuch"), 404, "not_found")
    with working(engine):
        assert door.post("/v1/analyze", data={"caption": "hello", "at": stamp(NOON)}).status_code == 200
    assert refused(door.delete(path), 409, "wrong_state")


def posts_that_wait(engine: Engine) -> list[str]:
    with transaction(engine) as connection:
        return list(connection.execute(text("select post_id from jobs where state = 'waiting'")).scalars())


def test_too_many_callers_are_turned_away(doors: Doors) -> None:
    """Nobody queues for a place to queue: 503 at once."""
    door = doors(web_max_waiting=1)
    waiters = door.app.state.door.waiters
    waiters.acquire_on_behalf_of_nowait("somebody")
    response = door.post("/v1/analyze", data={"caption": "hello"})
    refused(response, 503, "busy")
    assert response.headers["Retry-After"] == "5"


def test_a_defect_shows_no_traceback(door: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error nobody foresaw is a 500 in the one shape, behind the guard; the log has it under the same id."""
    monkeypatch.setattr("web.api.queries.markets", lambda _: 1 / 0)
    with capture_logs() as logged:
        response = door.get("/v1/markets")
    assert "division" not in refused(response, 500, "error")
    assert response.headers["x-content-type-options"] == "nosniff"
    (defect,) = [entry for entry in logged if entry["event"] == "a defect"]
    assert defect["id"] == response.json()["error"]["id"]
    assert isinstance(defect["exc_info"], ZeroDivisionError)


@pytest.mark.usefixtures("market", "worker")
def test_an_answer_comes_as_chart_and_words(door: TestClient) -> None:
    """The PNG of 900 × 600 and the plain text of the same answer."""
    path = f"/v1/posts/{door.post('/v1/analyze', data={'caption': 'so happy'}).json()['post_id']}"
    chart, words = door.get(f"{path}/chart.png"), door.get(f"{path}/words")
    assert chart.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(chart.content)).size == (900, 600)
    assert words.text.endswith("Not financial advice.")


def tell_posts(engine: Engine, *ids: str) -> None:
    """Posts with verdicts, scored a minute apart."""
    with transaction(engine) as connection:
        insert_posts(
            connection, [Post(i, i.partition(":")[0], f"words of {i}", "en", NOON, ("BTC/USDT",)) for i in ids]
        )
        upsert_verdicts(connection, [verdict(i, matches=1) for i in ids])
        for k, post_id in enumerate(ids):
            connection.execute(
                text("update verdicts set scored_at = :at where post_id = :id"),
                {"at": NOON + timedelta(minutes=k), "id": post_id},
            )


def test_the_latest_come_page_by_page_without_private_ones(engine: Engine, door: TestClient) -> None:
    """Newest first; what people sent by Telegram or a door is not listed; the pages join without overlap."""
    tell_posts(engine, "x:1", "telegram:2", "x:3", "door:4", "y:5")
    first = door.get("/v1/latest", params={"limit": 2}).json()
    second = door.get("/v1/latest", params={"limit": 2, "before": first["next"]}).json()
    assert [item["post_id"] for item in first["items"] + second["items"]] == ["y:5", "x:3", "x:1"]
    assert second["next"] is None
    item = first["items"][0]
    assert item["text"] == "words of y:5"
    assert item["end"] == pytest.approx(float(verdict(matches=1).trajectories.median[-1]), abs=1e-4)
    assert [i["source"] for i in door.get("/v1/latest?source=x").json()["items"]] == ["x", "x"]


@pytest.mark.usefixtures("market")
def test_markets_and_candles(door: TestClient) -> None:
    """The newest minute of each market; candles oldest first, those that had closed by the asked time."""
    (only,) = door.get("/v1/markets").json()["markets"]
    assert only == {"symbol": "BTC/USDT", "exchange": "binance", "market": "spot", "newest": "2025-01-01T11:59:00Z"}
    newest = door.get("/v1/candles", params={"symbol": "btc", "minutes": 3}).json()
    assert [bar["opened_at"][11:16] for bar in newest["candles"]] == ["11:57", "11:58", "11:59"]
    past = door.get("/v1/candles", params={"symbol": "btc", "minutes": 1, "until": "2025-01-01T11:45Z"}).json()
    assert [bar["opened_at"][11:16] for bar in past["candles"]] == ["11:44"]
    early = door.get("/v1/candles", params={"symbol": "btc", "until": "2024-01-01"})
    refused(early, 404, "no_candles")


@pytest.mark.usefixtures("market")
def test_the_series_of_a_market(door: TestClient) -> None:
    """Closed windows with their volume, oldest first, and the stretch without candles as a gap."""
    asked = {"symbol": "btc", "since": "2025-01-01T11:00:00Z", "until": "2025-01-01T12:50:00Z"}
    found = door.get("/v1/series", params=asked).json()
    assert [row["opened_at"][11:16] for row in found["rows"]] == ["11:30", "11:45"]
    assert all(row["minutes"] == 15 and row["volume"] > 0 for row in found["rows"])
    assert [(gap["from"][11:16], gap["to"][11:16]) for gap in found["gaps"]] == [("11:00", "11:30"), ("12:00", "12:45")]
    hours = door.get("/v1/series", params={**asked, "interval": "60m"}).json()["rows"]
    assert [row["minutes"] for row in hours] == [30]
    assert door.get("/v1/series", params={**asked, "interval": "7m"}).status_code == 422
    assert door.get("/v1/series", params={**asked, "since": "1990-01-01"}).status_code == 422


def test_the_description_names_every_route_and_the_form(lone_door: TestClient) -> None:
    """OpenAPI has the upload's fields, the answer and our error shape in place of the framework's."""
    described = lone_door.get("/openapi.json").json()
    analyze_ = described["paths"]["/v1/analyze"]["post"]
    fields = analyze_["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(fields) == {"image", "caption", "symbol", "at"}
    assert {"200", "400", "413", "415", "422", "503"} <= set(analyze_["responses"])
    assert "/v1/live" in described["paths"]
    assert "HTTPValidationError" not in json.dumps(described["paths"])


def test_the_scorecard_is_served(door: TestClient) -> None:
    """Before anything has closed there are no figures; replays have a card of their own; a wrong number of days is refused."""
    live = door.get("/v1/scorecard").json()
    assert (live["all"], live["replayed"], live["worst"]) == (None, False, [])
    assert door.get("/v1/scorecard", params={"replayed": True}).json()["replayed"] is True
    refused(door.get("/v1/scorecard", params={"days": 0}), 422, "bad_input")
