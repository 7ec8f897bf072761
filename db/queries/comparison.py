"""Two revisions side by side, over the posts that both have scored."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

_PAIRS = """
create temporary table pairs on commit drop as
select a.post_id, x.emotions -> 'probabilities' as emotions_a, y.emotions -> 'probabilities' as emotions_b,
       x.emotions ->> 'label' as label_a, y.emotions ->> 'label' as label_b,
       (x.hype ->> 'probability')::float8 as hype_a, (y.hype ->> 'probability')::float8 as hype_b,
       (x.trajectories #>> '{low,255}')::float8 as low_a, (x.trajectories #>> '{high,255}')::float8 as high_a,
       (y.trajectories #>> '{low,255}')::float8 as low_b, (y.trajectories #>> '{high,255}')::float8 as high_b,
       s.end_change, s.hype as came
from verdicts a join verdicts b on b.post_id = a.post_id and b.revision = :b,
     lateral jsonb_to_record(a.answer) as x(emotions jsonb, hype jsonb, trajectories jsonb),
     lateral jsonb_to_record(b.answer) as y(emotions jsonb, hype jsonb, trajectories jsonb)
left join lateral (select end_change, hype from prediction_scores s where s.post_id = a.post_id limit 1) s on true
where a.revision = :a
"""
"""Each answer is unpacked once: it holds four times 256 steps, and PostgreSQL keeps it compressed."""

_SUMS = """
select count(*) as posts,
       avg((label_a is not distinct from label_b)::int)::float8 as label_agreement,
       avg((label_a is null)::int)::float8 as abstained_a, avg((label_b is null)::int)::float8 as abstained_b,
       avg(abs(hype_a - hype_b)) as hype_difference,
       avg(high_a - low_a) as band_width_a, avg(high_b - low_b) as band_width_b,
       count(end_change) as outcomes,
       avg((end_change between low_a and high_a)::int)::float8 as coverage_a,
       avg((end_change between low_b and high_b)::int)::float8 as coverage_b,
       avg((hype_a - came::int) ^ 2) as brier_a, avg((hype_b - came::int) ^ 2) as brier_b
from pairs
"""

_CHANGES = """
select coalesce(label_a, 'abstained') as before, coalesce(label_b, 'abstained') as after, count(*) as posts from pairs
where label_a is distinct from label_b group by 1, 2 order by 3 desc, 1, 2 limit 10
"""

_EMOTIONS = """
select e.key as emotion, count(*) as posts,
       count(*) filter (where label_a = e.key) as labelled_a, count(*) filter (where label_b = e.key) as labelled_b,
       count(*) filter (where label_a = e.key and label_b = e.key) as labelled_both,
       avg(e.value::float8) as probability_a, avg((emotions_b ->> e.key)::float8) as probability_b,
       avg(abs(e.value::float8 - (emotions_b ->> e.key)::float8)) as difference
from pairs, jsonb_each_text(emotions_a) e group by 1 order by 3 desc, 1
"""

_DIFFERING = """
select pairs.post_id, left(p.text, 80) as text, label_a as before, label_b as after,
       (emotions_a ->> label_a)::float8 as certainty_before, (emotions_b ->> label_b)::float8 as certainty_after, apart
from pairs join posts p on p.id = pairs.post_id, lateral (
    select sum(abs(e.value::float8 - (emotions_b ->> e.key)::float8)) / 2 as apart from jsonb_each_text(emotions_a) e) d
where label_a is distinct from label_b order by apart desc nulls last, 1 limit :differing
"""


def compare(connection: Connection, champion: str, challenger: str, differing: int = 20) -> dict[str, Any]:
    """Agreement over the posts that both revisions scored, per emotion, and against outcomes where they are known.

    Suffix ``_a`` is the champion, ``_b`` the challenger; shares and probabilities lie in 0…1, widths are percent. The
    ``differing`` posts with other labels come furthest apart first, by total variation of the seven probabilities.
    """
    connection.execute(text("set local statement_timeout = '10min'"))
    values = {"a": champion, "b": challenger}
    connection.execute(text("drop table if exists pairs"))
    connection.execute(text(_PAIRS), values)

    def rows(query: str) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in connection.execute(text(query), {"differing": differing})]

    return {
        "champion": champion,
        "challenger": challenger,
        **rows(_SUMS)[0],
        "changed_labels": rows(_CHANGES),
        "emotions": rows(_EMOTIONS),
        "differing": rows(_DIFFERING),
    }
