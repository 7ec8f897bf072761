"""The commands for rescore runs, reports and promotions: what they print, and what they refuse in a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from db.engine import transaction
from db.queries import revisions
from domain.errors import InputError
from tests.workers.test_rescore import R, begin, work
from workers import cli
from workers.runner import Runner


def call(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.fixture
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)


@pytest.mark.usefixtures("_environment")
def test_the_report_names_what_differs(engine: Engine, runner: Runner, stored: list[str]) -> None:
    """Counts with their n, agreement per emotion, and the posts furthest apart with their words, whatever stands in them."""
    work(engine, runner, begin(engine))
    with transaction(engine) as connection:
        connection.execute(text("update posts set text = 'so [/b] angry' where id = 'p:03'"))
        revisions.register(connection, "new", {}, shadow=True)
        connection.execute(
            text(
                """
                insert into verdicts (post_id, revision, answer) select post_id, 'new', case when post_id > 'p:03' then answer
                else jsonb_set(jsonb_set(jsonb_set(answer, '{emotions,probabilities,anger}', to_jsonb(prior)),
                               '{emotions,probabilities,joy}', to_jsonb(1 - prior)), '{emotions,label}', '"anger"') end
                from verdicts, lateral (select case when post_id = 'p:03' then 0.9 else 0.6 end as prior) p
                """
            )
        )
    body = json.loads(call("revisions", "--compare", "new", "--json").stdout)
    assert (body["posts"], body["outcomes"]) == (12, 0)
    assert body["label_agreement"] == pytest.approx(8 / 12)
    assert body["changed_labels"] == [{"before": "joy", "after": "anger", "posts": 4}]
    assert body["differing"][0] == {
        "post_id": "p:03", "text": "so [/b] angry", "before": "joy", "after": "anger",
        "certainty_before": 1.0, "certainty_after": 0.9, "apart": pytest.approx(0.9),
    }  # fmt: skip
    assert [row["post_id"] for row in body["differing"][1:]] == ["p:00", "p:01", "p:02"]
    shown = call("revisions", "--compare", "new").stdout
    assert "66.7%" in shown
    assert "so [/b] angry" in shown


@pytest.mark.usefixtures("_environment", "stored")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rescore", "--revision", "nobody"], "No model revision nobody is known here, but fake;"),
        (["rescore", "--shadow"], "There are 0 challengers"),
        (["rescore", "--shadow", "--revision", R], "is the champion"),
        (["rescore", "--since", "2025-01-02", "--until", "2025-01-01"], "no post can match"),
        (["rescore", "--since", "yesterday"], "not_a_time"),
        (["rescore", "status", "7"], "There is no rescore run 7"),
        (["rescore", "pause"], "There is no rescore run yet"),
        (["revisions", "--compare", "nobody"], "No model revision nobody"),
        (["promote", R, "--why", "again"], "is the champion already"),
        (["promote", "nobody", "--why", "x"], "No model revision nobody"),
        (["promote", R, "--why", " "], "Say why"),
        (["rollback", "--why", "x"], "there is nothing to go back to"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], sentence: str) -> None:
    """One sentence, exit status 2, nothing begun."""
    refused = call(*arguments)
    assert isinstance(refused.exception, InputError)
    assert sentence in str(refused.exception)
    assert call("rescore", "status").exception is not None


@pytest.mark.usefixtures("_environment", "stored")
def test_the_commands_begin_show_and_end_a_run() -> None:
    """Counting only, starting, status as JSON, pausing and cancelling, each with its words or JSON."""
    counted = json.loads(call("rescore", "--dry-run", "--source", "even", "--json").stdout)
    assert counted == {"posts": 6, "revision": R, "dry_run": True}
    assert call("rescore", "--source", "nobody").stdout == "0 posts match; none was queued.\n"
    started = call("rescore", "--detach", "--limit", "5", "--json")
    body = json.loads(started.stdout)
    assert (body["total"], body["state"], body["done"]) == (5, "running", 0)
    assert "No worker scores with revision" in started.stderr
    assert "(paused)" in call("rescore", "pause").stdout
    assert "(running)" in call("rescore", "resume", str(body["id"])).stdout
    assert "(cancelled)" in call("rescore", "cancel").stdout
    refused = call("rescore", "resume")
    assert isinstance(refused.exception, InputError)
    assert str(refused.exception) == "Cannot resume: run 1 is cancelled."


@pytest.mark.usefixtures("_environment", "stored")
def test_promotion_and_roll_back_say_who_and_why(engine: Engine) -> None:
    """The champion changes by command, with a reason, and back again."""
    with transaction(engine) as connection:
        revisions.register(connection, "new", {}, shadow=True)
    assert "in place of fake" in call("promote", "new", "--why", "better", "--by", "ada").stdout
    back = json.loads(call("rollback", "--why", "worse after all", "--by", "ada", "--json").stdout)
    assert back == {
        "revision": R, "replaced": "new", "action": "rollback", "changed_by": "ada", "reason": "worse after all",
    }  # fmt: skip
    again = call("rollback", "--why", "once more")
    assert "nothing to go back to" in str(again.exception), "a roll-back does not lead forward again"
    history = json.loads(call("revisions", "--history", "--json").stdout)
    assert [(row["action"], row["revision"], row["replaced"]) for row in history] == [
        ("rollback", R, "new"),
        ("promote", "new", R),
        ("install", R, None),
    ]
    assert "  by ada: worse after all\n" in call("revisions", "--history").stdout
    listed = json.loads(call("revisions", "--json").stdout)
    assert {row["revision"]: row["state"] for row in listed} == {"fake": "champion", "new": "retired"}
    assert listed[0]["reason"] == "worse after all"
    with pytest.raises(InputError, match="No model revision"), transaction(engine) as connection:
        revisions.change_champion(connection, "nobody", "promote", "ada", "?")
