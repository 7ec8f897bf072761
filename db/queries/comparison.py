"""Two revisions side by side, over the posts that both have scored."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

_PAIRS = """
with pairs as (
    select a.answer #>> '{emotions,label}' as label_a, b.answer #>> '{emotions,label}' as label_b,
           (a.answer #>> '{hype,probability}')::float8 as hype_a, (b.answer #>> '{hype,probability}')::float8 as hype_b,
           (a.answer #>> '{trajectories,high,255}')::float8 - (a.answer #>> '{trajectories,low,255}')::float8 as width_a,
           (b.answer #>> '{trajectories,high,255}')::float8 - (b.answer #>> '{trajectories,low,255}')::float8 as width_b,
           s.end_change, s.hype as came,
           (a.answer #>> '{trajectories,low,255}')::float8 as low_a, (a.answer #>> '{trajectories,high,255}')::float8 as high_a,
           (b.answer #>> '{trajectories,low,255}')::float8 as low_b, (b.answer #>> '{trajectories,high,255}')::float8 as high_b
    from verdicts a join verdicts b on b.post_id = a.post_id and b.revision = :b
    left join lateral (select end_change, hype from prediction_scores s where s.post_id = a.post_id limit 1) s on true
    where a.revision = :a)
"""

_SUMS = """
select count(*) as posts,
       avg((label_a is not distinct from label_b)::int)::float8 as label_agreement,
       avg((label_a is null)::int)::float8 as abstained_a, avg((label_b is null)::int)::float8 as abstained_b,
       avg(abs(hype_a - hype_b)) as hype_difference,
       avg(width_a) as band_width_a, avg(width_b) as band_width_b,
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


def compare(connection: Connection, champion: str, challenger: str) -> dict[str, Any]:
    """Agreement over the posts that both revisions scored, and against outcomes where they are known.

    Suffix ``_a`` is the champion, ``_b`` the challenger; shares and probabilities lie in 0…1, widths are percent.
    """
    values = {"a": champion, "b": challenger}
    sums = dict(connection.execute(text(_PAIRS + _SUMS), values).one()._mapping)
    changes = [dict(row._mapping) for row in connection.execute(text(_PAIRS + _CHANGES), values)]
    return {"champion": champion, "challenger": challenger, **sums, "changed_labels": changes}
