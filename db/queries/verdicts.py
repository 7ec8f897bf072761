"""Verdicts: stored without the 256 steps of their matches, which the library already holds, and put together on reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import structs
from pgvector import HalfVector
from sqlalchemy import Connection, RowMapping, select, text

from db.copy import know_halfvec, stage
from db.engine import raw
from db.tables import ModelRevision, VerdictRow
from domain.answer import Explanation, Json, Verdict, read_answer, stamp, to_answer
from domain.reasons import Reason
from domain.text import excerpt

CHANNEL = "verdicts"
"""NOTIFY channel; the payload is the post id."""


def upsert_verdicts(
    connection: Connection, verdicts: Sequence[Verdict], known: Mapping[str, Json] | None = None
) -> list[str]:
    """Write verdicts by (post, revision); one whose post has been deleted meanwhile is dropped. Returns the ids written.

    ``known``: post id → what went into its verdict, so that it can be made again.

    Listeners on :data:`CHANNEL` are told when the transaction commits.
    """
    given = known or {}
    rows = [(v.post_id, v.revision, _text(to_answer(_bare(v))), _text(given.get(v.post_id))) for v in verdicts]
    if not rows:
        return []
    columns = tuple((name, "text") for name in ("post_id", "revision", "answer", "known"))
    stage(connection, "stage_verdicts", columns, rows)
    return list(
        connection.execute(
            text(
                """
                with written as (
                    insert into verdicts (post_id, revision, answer, known)
                    select s.post_id, s.revision, s.answer::jsonb, s.known::jsonb
                    from stage_verdicts s join posts p on p.id = s.post_id
                    on conflict (post_id, revision) do update
                    set answer = excluded.answer, known = excluded.known, scored_at = now()
                    returning post_id
                )
                select post_id from written, lateral (select pg_notify('verdicts', post_id)) n
                """
            )
        ).scalars()
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored answer with what went into it; ``known`` is empty for answers of older versions."""

    post_id: str
    revision: str
    answer: Json
    scored_at: datetime
    known: Json


def stored(connection: Connection, post_ids: Sequence[str], revision: str) -> dict[str, Stored]:
    """The answers of a revision to these posts, whole, by post id; those there are."""
    query = select(VerdictRow.__table__).where(VerdictRow.post_id.in_(post_ids), VerdictRow.revision == revision)
    return {row["post_id"]: _stored(connection, row) for row in connection.execute(query).mappings()}


def stored_at(connection: Connection, moment: datetime, revision: str) -> list[Stored]:
    """The answers of one batch, which were written at one moment, in its order."""
    query = select(VerdictRow.__table__).where(VerdictRow.scored_at == moment, VerdictRow.revision == revision)
    found = [_stored(connection, row) for row in connection.execute(query).mappings()]
    return sorted(found, key=lambda one: (one.known.get("place", 0), one.post_id))


def _stored(connection: Connection, row: RowMapping) -> Stored:
    answer = to_answer(complete(connection, read_answer(row["answer"])))
    return Stored(row["post_id"], row["revision"], answer, row["scored_at"], row["known"] or {})


def newest_ids(connection: Connection, revision: str, limit: int) -> list[str]:
    """Posts with the newest answers of a revision of which it is known what went in."""
    query = select(VerdictRow.post_id).where(VerdictRow.revision == revision, VerdictRow.known.is_not(None))
    return list(connection.execute(query.order_by(VerdictRow.scored_at.desc()).limit(limit)).scalars())


def answer(connection: Connection, post_id: str, revision: str | None = None) -> Json | None:
    """The whole answer for a post: of that revision, else of the champion, else the newest. None when there is none."""
    champion = select(ModelRevision.revision).where(ModelRevision.state == "champion").scalar_subquery()
    query = select(VerdictRow.answer).where(VerdictRow.post_id == post_id)
    if revision is not None:
        query = query.where(VerdictRow.revision == revision)
    query = query.order_by((VerdictRow.revision == champion).desc().nulls_last(), VerdictRow.scored_at.desc()).limit(1)
    value = connection.execute(query).scalar()
    return None if value is None else to_answer(complete(connection, read_answer(value)))


def _bare(verdict: Verdict) -> Verdict:
    """Without the steps of the matches, which the library holds: most of a verdict's size."""
    paths = verdict.trajectories
    if paths is None:
        return verdict
    matches = tuple(structs.replace(match, change=_NO_STEPS) for match in paths.matches)
    return structs.replace(verdict, trajectories=structs.replace(paths, matches=matches))


def _text(value: Json | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


_NO_STEPS = np.zeros(0, dtype=np.float32)


PRIVATE = ("telegram", "door")
"""Sources whose posts somebody sent to us, not to the world: never listed."""

UNEXPLAINED = ("no_explanation", "explanation_not_asked")
"""Codes of verdicts that no words were sought for: a typical post stands in, or there is none whose words are kept."""


def complete(connection: Connection, verdict: Verdict) -> Verdict:
    """With the steps of the matches, and the words of a typical one where no better explanation was found.

    Both are looked up at each reading: matches whose library row is gone stay without steps, and a post that was deleted
    meanwhile is never quoted.
    """
    paths = verdict.trajectories
    if paths is None or not paths.matches:
        return verdict
    rows = _matched(connection, [(m.post_id, m.symbol) for m in paths.matches], verdict.post_id)
    steps = {(row.post_id, row.symbol): row.change.to_numpy().astype(np.float32) for row in rows}
    matches = tuple(
        structs.replace(match, change=steps.get((match.post_id, match.symbol), _NO_STEPS)) for match in paths.matches
    )
    verdict = structs.replace(verdict, trajectories=structs.replace(paths, matches=matches))
    if verdict.explanation is not None:
        return verdict
    if (quoted := _typical(rows)) is not None:
        return structs.replace(verdict, explanation=quoted, explanation_reason=None)
    if verdict.explanation_reason is not None and verdict.explanation_reason.code in UNEXPLAINED:
        return structs.replace(verdict, explanation_reason=Reason("explanation_no_text"))
    return verdict


def typical_post(connection: Connection, keys: Sequence[tuple[str, str]]) -> Explanation | None:
    """The words of the typical one among library rows (post id, symbol); None where no words of them may be quoted."""
    return _typical(_matched(connection, keys, "")) if keys else None


class _Row(NamedTuple):
    post_id: str
    symbol: str
    revision: str
    change: HalfVector
    embedding: HalfVector
    text: str | None


def _matched(connection: Connection, keys: Sequence[tuple[str, str]], asking: str) -> list[_Row]:
    """Library rows, oldest encoder first, with the post's text where it is stored, public and not that of ``asking``."""
    know_halfvec(raw(connection))
    posts, symbols = zip(*keys, strict=True)
    with raw(connection).cursor(binary=True) as cursor:
        cursor.execute(
            """
            select t.post_id, t.symbol, t.revision, t.change, t.embedding, p.text
            from trajectories t left join posts p on p.id = t.post_id and p.source <> all(%s)
              and p.text is distinct from (select text from posts where id = %s)
            where (t.post_id, t.symbol) in (select * from unnest(%s::text[], %s::text[])) order by t.id
            """,
            (list(PRIVATE), asking, list(posts), list(symbols)),
        )
        return [_Row(*row) for row in cursor.fetchall()]


def _typical(rows: Sequence[_Row]) -> Explanation | None:
    """The medoid: of the rows whose words may be quoted, the one whose vector is nearest to the mean of all."""
    rows = [row for row in rows if row.revision == rows[-1].revision]
    quotes = [excerpt(row.text or "") for row in rows]
    if not any(quotes):
        return None
    vectors = np.stack([row.embedding.to_numpy().astype(np.float32) for row in rows])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    mean = vectors.mean(axis=0)
    near = vectors @ (mean / max(float(np.linalg.norm(mean)), 1e-9))
    best = max((n for n, quote in enumerate(quotes) if quote), key=lambda n: (near[n], -n))
    return Explanation(quotes[best], round(float(near[best]), 4), "typical")


def public_texts(connection: Connection, since: datetime, until: datetime, most: int = 200) -> list[Json]:
    """The newest English posts of that time, ``until`` included, that were published to the world."""
    rows = connection.execute(
        text(
            """
            select id as post_id, source, posted_at, text from posts
            where posted_at > :since and posted_at <= :until and language = 'en' and text <> ''
              and source <> all(:private) order by posted_at desc, id limit :most
            """
        ),
        {"since": since, "until": until, "private": list(PRIVATE), "most": most},
    )
    return [{**row._mapping, "posted_at": stamp(row.posted_at)} for row in rows]


@dataclass(frozen=True, slots=True)
class MarketInfo:
    """A series of candles and its newest minute; None before the first candle."""

    symbol: str
    exchange: str
    market: str
    newest: datetime | None


_VERDICT = """
select p.id, p.source, left(p.text, 500) as text, p.posted_at, p.symbols, p.image_sha256 is not null as has_image,
       v.scored_at, v.answer -> 'emotions' as emotions,
       coalesce(v.answer #> '{hype,symbol}', v.answer -> 'hype') as hype,
       v.answer #> '{trajectories,symbol}' as symbol, v.answer #> '{trajectories,median,-1}' as "end",
       v.answer #> '{trajectories,low,-1}' as low, v.answer #> '{trajectories,high,-1}' as high
from verdicts v join posts p on p.id = v.post_id
where p.source <> all(:private)
  and not exists (select from model_revisions r where r.revision = v.revision and r.state = 'shadow')
  and not exists (select from jobs j where j.post_id = v.post_id and j.revision = v.revision and j.priority = 2)
"""
"""What a challenger says is not shown, nor is an old post news because it has been rescored.

Verdicts of version 0.1 have a flat ``hype`` and no median.
"""


def newest_verdicts(
    connection: Connection, limit: int, before: datetime | None = None, source: str | None = None
) -> list[dict[str, Any]]:
    """Public posts and what was said of them, newest verdict first, scored before ``before``."""
    rows = connection.execute(
        text(
            _VERDICT
            + """
            and (cast(:before as timestamptz) is null or v.scored_at < :before)
              and (cast(:source as text) is null or p.source = :source)
            order by v.scored_at desc, p.id limit :limit
            """
        ),
        {"private": list(PRIVATE), "before": before, "source": source, "limit": limit},
    )
    return [dict(row._mapping) for row in rows]


def verdicts_of(connection: Connection, post_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The same rows for given posts, oldest verdict first; private and unknown ones are left out."""
    rows = connection.execute(
        text(_VERDICT + "and p.id = any(:ids) order by v.scored_at"),
        {"ids": list(post_ids), "private": list(PRIVATE)},
    )
    return [dict(row._mapping) for row in rows]


def markets(connection: Connection) -> list[MarketInfo]:
    """Every one-minute market with its newest candle, oldest market first."""
    rows = connection.execute(
        text(
            """
            select m.symbol, m.exchange, m.market,
                   (select c.opened_at from candles c where c.market_id = m.id order by c.opened_at desc limit 1)
            from markets m where m.timeframe = '1m' order by m.id
            """
        )
    )
    return [MarketInfo(*row) for row in rows]


def newest_minute(connection: Connection, symbol: str) -> datetime | None:
    """When the newest candle of a pair opened, over all its markets."""
    return connection.execute(
        text(
            """
            select max((select c.opened_at from candles c where c.market_id = m.id order by c.opened_at desc limit 1))
            from markets m where m.symbol = :symbol and m.timeframe = '1m'
            """
        ),
        {"symbol": symbol},
    ).scalar()


def feed_moved_at(connection: Connection) -> datetime | None:
    """When a consumer last stored something."""
    return connection.execute(text("select max(moved_at) from stream_offsets")).scalar()


def migrated(connection: Connection) -> bool:
    """Whether the tables are there."""
    return connection.execute(text("select to_regclass('verdicts') is not null")).scalar_one() is True
