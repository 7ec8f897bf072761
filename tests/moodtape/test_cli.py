"""The command line: one sentence, the right exit code, nothing else on standard output with --json."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from domain.errors import ConfigError
from moodtape.cli import of_what_is_stored, settings

ROOT = Path(__file__).parents[2]


def moodtape(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MOODTAPE_")}
    env = {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **variables}
    argv = [sys.executable, "-m", "moodtape", *arguments]
    return subprocess.run(argv, env=env, cwd="/", check=False, capture_output=True, text=True, timeout=120)


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The error as a user sees it: one line with an id, no traceback, nothing on standard output."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("moodtape: ")
    assert " (id " in lines[0]
    return lines[0]


@pytest.mark.parametrize(
    ("command", "stored"),
    [
        ("nightly --once", True),
        ("events --author a", True),
        ("events --posts=p --candles c --text x", False),
        ("events --posts p --candles c --study --save", True),
        ("events", False),
        ("evaluate trajectories --candles c", False),
    ],
)
def test_what_is_stored_is_asked_where_no_files_are_named(command: str, stored: bool) -> None:
    """Only such commands of training need the running stack, or a DATABASE_URL."""
    name, *arguments = command.split()
    assert of_what_is_stored(name, arguments) is stored


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "told"),
    [
        (("up", "--host", "0.0.0.0"), {}, 2, "MOODTAPE_API_KEY must be set"),
        (("up", "--host", "192.0.2.1"), {"MOODTAPE_API_KEY": "k" * 32}, 2, "is no address of this machine"),
        (("up", "--replay", "/nowhere"), {}, 2, "--replay /nowhere is not a directory"),
        (("up", "--replay", "/tmp", "--live"), {}, 2, "exclude each other"),
        (("up",), {"MOODTAPE_WORKERS": "many"}, 2, "MOODTAPE_WORKERS cannot be used"),
        (("up", "--speed", "-1"), {}, 2, "MOODTAPE_SPEED cannot be used"),
        (("up", "--data-dir", "/proc/moodtape"), {}, 2, "/proc/moodtape cannot be"),
        (("analyze", "--caption", "x"), {}, 75, "moodtape is not running; start it with `make run`"),
        (("migrate",), {"DATABASE_URL": "nonsense"}, 2, "DATABASE_URL is not a URL"),
        (("migrate",), {"DATABASE_URL": "mysql://a@b/c"}, 2, "moodtape keeps its data in PostgreSQL only"),
        (("migrate",), {"DATABASE_URL": "postgresql://a@127.0.0.1:1/c"}, 75, "PostgreSQL does not answer"),
    ],
)
def test_wrong_input_is_one_sentence(
    arguments: tuple[str, ...], variables: dict[str, str], code: int, told: str, tmp_path: Path
) -> None:
    """A wrong option, address or URL gives one clear sentence and its exit code."""
    done = moodtape(*arguments, **{"MOODTAPE_DATA_DIR": str(tmp_path), **variables})
    assert told in one_sentence(done)
    assert done.returncode == code
    assert done.stdout in ("", "moodtape is starting; Ctrl-C ends it\n")


def test_an_unknown_option_is_explained() -> None:
    """A misspelt option is named and the exit code is 2."""
    done = moodtape("up", "--wrokers", "2")
    assert done.returncode == 2
    assert "--wrokers" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """A port that was asked for and is taken is refused before anything starts."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = moodtape("up", "--data-dir", str(tmp_path), "--web-port", str(port))
    assert f"Port {port} of 127.0.0.1 is taken" in one_sentence(done)
    assert done.returncode == 2
    assert not (tmp_path / "postgres").exists()


def test_a_wrong_password_is_told_apart(postgres_url: str, tmp_path: Path) -> None:
    """A refused log-in is a wrong setting (2), and the password is not repeated."""
    head, _, tail = postgres_url.rpartition("@")
    wrong = head.rpartition(":")[0] + ":mistaken-word@" + tail
    done = moodtape("up", DATABASE_URL=wrong, MOODTAPE_DATA_DIR=str(tmp_path))
    assert "PostgreSQL refused the log-in" in one_sentence(done)
    assert "mistaken-word" not in done.stderr
    assert done.returncode == 2


def test_status_speaks_json_alone(tmp_path: Path) -> None:
    """`status --json` is one JSON object, also when nothing runs."""
    done = moodtape("status", "--json", "--data-dir", str(tmp_path))
    body = json.loads(done.stdout)
    assert (done.returncode, body["running"], body["ready"]) == (75, False, False)
    assert done.stderr == ""


@pytest.mark.parametrize("url", [None, "postgresql://a@127.0.0.1:1/c"])
def test_a_dry_run_needs_no_stack(tmp_path: Path, url: str | None) -> None:
    """`import --dry-run` reads, checks and tells without a running stack, with no DATABASE_URL or one that is away."""
    (tmp_path / "BTCUSD-1d.csv").write_text("time,open,high,low,close,volume\n2024-01-01,1,2,0.5,1.5,7\n")
    (tmp_path / "odd.csv").write_text("when,what\n1,2\n")
    named = {"DATABASE_URL": url} if url else {}
    done = moodtape("import", str(tmp_path), "--dry-run", "--json", MOODTAPE_DATA_DIR=str(tmp_path / "none"), **named)
    told = json.loads(done.stdout)
    assert (done.returncode, told["files"][0]["stored"], told["complete"]) == (0, 1, False), done.stderr
    assert "fits no layout" in told["files"][1]["error"]
    assert "no database answers" in done.stderr
    assert moodtape("import", str(tmp_path), MOODTAPE_DATA_DIR=str(tmp_path / "none")).returncode == 75


def test_down_without_a_stack_is_fine(tmp_path: Path) -> None:
    """Stopping what does not run is no error."""
    done = moodtape("down", "--data-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "moodtape was not running\n")


def test_a_missing_picture_is_named(tmp_path: Path, postgres_url: str) -> None:
    """A picture file that is not there is the caller's mistake (2)."""
    servers = {"DATABASE_URL": postgres_url, "REDIS_URL": "redis://127.0.0.1:1/0"}
    done = moodtape("analyze", "--image", "/nowhere/cat.jpg", MOODTAPE_DATA_DIR=str(tmp_path), **servers)
    assert "/nowhere/cat.jpg cannot be read" in one_sentence(done)
    assert done.returncode == 2


def test_a_defect_leaves_its_traceback_in_a_file(tmp_path: Path) -> None:
    """An unexpected exception shows an id and a path; the traceback stands in the log only; exit 70."""
    code = """
import sys
from unittest import mock
sys.argv = ["moodtape", "status"]
import moodtape.state
from moodtape.cli import main
with mock.patch.object(moodtape.state, "current", side_effect=RuntimeError("kaboom")):
    main()
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MOODTAPE_DATA_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, check=False, capture_output=True, text=True)
    sentence = one_sentence(done)
    assert done.returncode == 70
    assert "kaboom" not in sentence
    text = (tmp_path / "logs" / "moodtape.log").read_text()
    assert "kaboom" in text
    assert sentence.split("(id ")[1].rstrip(")") in text


def test_help_is_quick_because_nothing_heavy_is_loaded() -> None:
    """`moodtape --help` names every command and imports neither torch nor the database's libraries."""
    code = """
import sys
sys.argv = ["moodtape", "--help"]
import atexit
atexit.register(lambda: print(sorted({"torch", "sqlalchemy", "celery", "aiogram", "numpy"} & set(sys.modules))))
from moodtape.cli import main
main()
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    assert done.stdout.endswith("[]\n")
    for command in (
        "up",
        "status",
        "down",
        "doctor",
        "analyze",
        "migrate",
        "evaluate",
        "train",
        "import",
        "dlq",
        "rescore",
    ):
        assert f"\n  {command} " in done.stdout


def test_speed_nought_is_a_speed() -> None:
    """`--speed 0` means as fast as it goes; it is not the same as no `--speed`, and a negative one is refused."""
    assert settings(speed=0.0).speed == 0.0
    assert settings().speed is None
    with pytest.raises(ConfigError, match="MOODTAPE_SPEED"):
        settings(speed=-1.0)


def test_an_explained_chart_is_told_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Words with their round trip, or the reason in a sentence; real posts below; with --json one object alone."""
    from moodtape.matching import show_explanation

    post = {
        "post_id": "x:1",
        "source": "x",
        "posted_at": "2025-01-01T11:00:00Z",
        "text": "banks wait",
        "similarity": 0.5,
    }
    found = {
        "symbol": "BTC/USDT", "at": "2025-01-01T12:00:00Z", "direction": "up", "matches": 9, "posts": [post],
        "explanation": {"text": "Traders wait", "round_trip": 0.8, "kind": "decoded"}, "explanation_reason": None,
    }  # fmt: skip
    show_explanation(found, as_json=False)
    told = capsys.readouterr().out
    assert "going up; 9 past paths" in told
    assert "such paths say: Traders wait (round trip 0.80)" in told
    assert "banks wait" in told
    typical = {"text": "Traders wait", "round_trip": 0.8, "kind": "typical"}
    show_explanation(found | {"explanation": typical}, as_json=False)
    assert "A typical post before such paths: Traders wait" in capsys.readouterr().out
    show_explanation(found | {"explanation": None, "explanation_reason": {"code": "explanation_far"}}, as_json=False)
    assert "No words: the words found" in capsys.readouterr().out
    show_explanation(found, as_json=True)
    assert json.loads(capsys.readouterr().out) == found
