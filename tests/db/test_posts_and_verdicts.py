"""Posts are stored once; verdicts are idempotent, whole on reading, and vanish with their post."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from msgspec import structs
from sqlalchemy import Engine, text

from db.queries.posts import forget_author, insert_posts, load_images, load_posts, store_image
from db.queries.telegram import forget
from db.queries.trajectories import insert_library
from db.queries.verdicts import answer, complete, typical_post, upsert_verdicts
from domain.answer import Coverage, Emotions, Explanation, Hype, HypeForecast, Match, Trajectories, Verdict, to_answer
from domain.reasons import Reason
from domain.types import EMOTIONS, ImageRef, LibraryRows, Post

pytestmark = pytest.mark.stack

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
IMAGE = ImageRef("ab" * 32, "image/jpeg", 4, 4)


def post(number: int, **changes: object) -> Post:
    return replace(Post(f"t:{number}", "t", "gm", "en", NOW, ("BTC/USDT",), author_hash=f"a{number % 2}"), **changes)  # type: ignore[arg-type]


def verdict(post_id: str, revision: str = "r1", label: str = "joy") -> Verdict:
    steps = np.linspace(0, 1, 256, dtype=np.float32)
    match = Match("starter:1", "starter", NOW, "BTC/USDT", 0.9, steps)
    return Verdict(
        post_id,
        revision,
        NOW,
        Emotions(label, dict.fromkeys(EMOTIONS, 1 / 7), None, None, 0),
        Hype(HypeForecast(None, None, 256, None, False, Reason("no_market_history"))),
        Trajectories(
            "BTC/USDT",
            steps,
            steps - 1,
            steps + 1,
            Coverage(0.8),
            steps * 0,
            False,
            Reason("signal_untested"),
            1,
            (match,),
            steps,
            steps * 0,
        ),
    )


def library_row(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                """
                insert into trajectories
                    (post_id, source, symbol, posted_at, starts_at, revision, embedding, change, volatility)
                select 'starter:1', 'starter', 'BTC/USDT', :t, :t, 'e', array_fill(0.1, array[384])::halfvec,
                       (select array_agg(i / 255.0) from generate_series(0, 255) i)::halfvec, 0.1
                """
            ),
            {"t": NOW},
        )


@pytest.mark.parametrize("count", [2, 50])
def test_posts_are_stored_once(engine: Engine, count: int) -> None:
    """Both ways of writing (few by values, many by COPY) report only what is new; reading gives the same posts back."""
    posts = [post(i, likes=i) for i in range(count)]
    with engine.begin() as connection:
        store_image(connection, IMAGE, b"jpeg")
        posts[0] = replace(posts[0], image=IMAGE)
        assert sorted(insert_posts(connection, posts)) == sorted(p.id for p in posts)
        assert insert_posts(connection, posts) == []
        assert load_posts(connection, [p.id for p in posts]) == {p.id: p for p in posts}
        assert load_images(connection, [IMAGE.sha256, "none"]) == {IMAGE.sha256: b"jpeg"}


def test_verdicts_are_idempotent_and_whole(engine: Engine) -> None:
    """A replay overwrites itself, a revision stands beside another, and the answer has its matches' 256 steps again."""
    library_row(engine)
    with engine.begin() as connection:
        insert_posts(connection, [post(1)])
        assert upsert_verdicts(connection, [verdict("t:1"), verdict("t:gone")]) == ["t:1"]
        assert upsert_verdicts(connection, [verdict("t:1", label="fear")]) == ["t:1"]
        upsert_verdicts(connection, [verdict("t:1", revision="r2")])
        assert connection.execute(text("select count(*) from verdicts")).scalar() == 2
        got = answer(connection, "t:1", "r1")
        expected = to_answer(verdict("t:1", label="fear"))
        assert got is not None
        np.testing.assert_allclose(
            got["trajectories"]["matches"][0].pop("change"),
            expected["trajectories"]["matches"][0].pop("change"),
            atol=1e-3,
        )
        assert got == expected
        assert answer(connection, "t:unknown") is None
        stored = connection.execute(text("select answer::text from verdicts limit 1")).scalar_one()
        assert '"change": []' in stored


def test_the_champions_verdict_comes_first(engine: Engine) -> None:
    """Without a revision asked for, people see the champion's verdict even when a shadow's is newer."""
    with engine.begin() as connection:
        insert_posts(connection, [post(1)])
        upsert_verdicts(connection, [verdict("t:1", "champion", "joy")])
        upsert_verdicts(connection, [verdict("t:1", "shadow", "anger")])
        connection.execute(
            text("insert into model_revisions (revision, manifest, state) values ('champion', '{}', 'champion')")
        )
        got = answer(connection, "t:1")
        assert got is not None
        assert got["emotions"]["label"] == "joy"


def test_forgetting_an_author_leaves_nothing(engine: Engine) -> None:
    """Posts, verdicts, feedback and pictures that only they posted are gone; others' rows stay."""
    with engine.begin() as connection:
        store_image(connection, IMAGE, b"jpeg")
        insert_posts(connection, [post(1, image=IMAGE), post(3), post(2)])
        upsert_verdicts(connection, [verdict("t:1"), verdict("t:2")])
        assert forget_author(connection, "a1") == 2
        left = connection.execute(
            text("select (select count(*) from posts), (select count(*) from verdicts), (select count(*) from images)")
        ).one()
        assert tuple(left) == (1, 1, 0)


def matched(engine: Engine, angles: Mapping[str, float], revision: str = "e") -> Verdict:
    """Library rows whose vectors stand in a fan, by post id in degrees, and a verdict that they match, without words."""
    radians, n = np.radians(list(angles.values())), len(angles)
    vectors, times = np.zeros((n, 384), np.float16), np.full(n, int(NOW.timestamp()) * 1_000_000, np.int64)
    vectors[:, 0], vectors[:, 1] = np.cos(radians), np.sin(radians)
    steps = np.zeros((n, 256), np.float16)
    rows = LibraryRows(
        tuple(angles), ("t",) * n, ("BTC/USDT",) * n, times, times, vectors, steps, np.ones(n, np.float32)
    )
    with engine.begin() as connection:
        insert_library(connection, rows, revision)
    bare = verdict("t:asking")
    assert bare.trajectories is not None
    found = tuple(Match(key, "t", NOW, "BTC/USDT", 0.9, np.zeros(256, np.float32)) for key in angles)
    paths = structs.replace(bare.trajectories, matches=found)
    return structs.replace(bare, trajectories=paths, explanation_reason=Reason("no_explanation"))


def said(number: str, text: str, **changes: object) -> Post:
    return replace(post(0), id=number, text=text, **changes)  # type: ignore[arg-type]


def test_the_typical_post_is_the_medoid_whose_words_may_be_quoted(engine: Engine) -> None:
    """Private posts, the asking post's own words and rows without a text are left out; quoted without names and links."""
    unexplained = matched(engine, {"t:0": 0, "door:1": 40, "t:asked": 42, "starter:9": 38, "t:2": 50, "t:3": 80})
    with engine.begin() as connection:
        insert_posts(connection, [
            said("t:asking", "gm again"), said("t:asked", "gm again"), said("t:0", "far away"), said("t:3", "far too"),
            said("door:1", "a secret", source="door"), said("t:2", "RT @bob: @ann sells, see https://x.y/z"),
        ])  # fmt: skip
        upsert_verdicts(connection, [unexplained])
        got = answer(connection, "t:asking")
    assert got is not None
    assert (got["explanation"]["text"], got["explanation"]["kind"]) == ("@… sells, see", "typical")
    assert got["explanation"]["round_trip"] == pytest.approx(np.cos(np.radians(50 - 41.67)), abs=2e-3)
    assert got["explanation_reason"] is None


def test_a_forgotten_post_is_quoted_no_more(engine: Engine) -> None:
    """After /forget_me the next one stands in, and when none is left the reason says so, also in an old answer."""
    unexplained = matched(engine, {"t:0": 0, "t:1": 10, "t:2": 25})
    with engine.begin() as connection:
        insert_posts(connection, [said("t:asking", "gm"), said("t:1", "mine", author_hash="me"), said("t:0", "theirs")])
        upsert_verdicts(connection, [unexplained])
        before = complete(connection, unexplained)
        forget(connection, "me", None)
        after = answer(connection, "t:asking")
        forget(connection, "a0", None)
        gone = complete(connection, unexplained)
        assert typical_post(connection, [("t:2", "BTC/USDT")]) is None
        stored = connection.execute(text("select string_agg(answer::text, ' ') from verdicts")).scalar()
    assert before.explanation is not None
    assert before.explanation.text == "mine"
    assert after is not None
    assert after["explanation"]["text"] == "theirs"
    assert (gone.explanation, gone.explanation_reason) == (None, Reason("explanation_no_text"))
    assert "mine" not in (stored or "")


def test_words_that_were_found_are_kept_and_vectors_of_two_encoders_are_not_mixed(engine: Engine) -> None:
    """A decoded explanation stays; after a change of encoder only the newest vectors choose."""
    unexplained = matched(engine, {"t:0": 0, "t:1": 1, "t:2": 90}, "old")
    matched(engine, {"t:0": 0, "t:1": 89, "t:2": 90}, "new")
    decoded = Explanation("people wait", 0.8)
    with engine.begin() as connection:
        insert_posts(connection, [said("t:asking", "gm"), said("t:0", "first"), said("t:2", "last")])
        assert complete(connection, structs.replace(unexplained, explanation=decoded)).explanation == decoded
        quoted = complete(connection, unexplained).explanation
    assert quoted is not None
    assert quoted.text == "last"
