"""The doctor: every part is asked, a wrong one says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from domain.errors import ConfigError, Unavailable, WeightsError
from models import manifest
from moodtape import doctor
from moodtape.state import StackSettings


def settings(tmp_path: Path) -> StackSettings:
    return StackSettings.model_validate({"data_dir": tmp_path})


def test_a_working_stack_is_well(
    database_url: str, kafka_bootstrap: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With servers up, a migrated database and whole weights nothing is wrong, and the exit code is 0."""
    monkeypatch.setattr(doctor, "weights", lambda: "whole")
    known = {"DATABASE_URL": database_url, "KAFKA_BOOTSTRAP": kafka_bootstrap, "REDIS_URL": redis_url}
    findings = doctor.examine(settings(tmp_path), known)
    assert {finding.part: finding.state for finding in findings} == {
        "database": "ok",
        "clock": "ok",
        "broker": "ok",
        "queue": "ok",
        "weights": "ok",
        "GPU": findings[5].state,
        "token": "note",
        "disk": "ok",
    }
    assert "pgvector 0." in findings[0].said
    assert doctor.exit_code(findings) == 0
    assert doctor.report(findings)["ok"] is True


def test_nothing_running_is_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a stack and without variables every server is asked for by name, exit 75."""
    monkeypatch.setattr(doctor, "weights", lambda: "whole")
    findings = doctor.examine(settings(tmp_path), {})
    assert [finding.part for finding in findings if finding.state == "wrong"] == [
        "database",
        "clock",
        "broker",
        "queue",
    ]
    assert doctor.exit_code(findings) == 75


def test_an_empty_database_wants_migrating(postgres_url: str) -> None:
    """A database without our schema is told how to get it."""
    with pytest.raises(Unavailable, match="run `moodtape migrate`"):
        doctor.database(postgres_url)


def test_wrong_passwords_and_addresses_are_told_apart(redis_url: str) -> None:
    """A refused log-in is a wrong setting; a silent address is not answering; nonsense is neither."""
    wrong = "redis://:mistaken@" + redis_url.rpartition("@")[2]
    with pytest.raises(ConfigError, match="Redis refused the log-in"):
        doctor.queue(wrong)
    with pytest.raises(Unavailable, match="Redis does not answer"):
        doctor.queue("redis://127.0.0.1:1/0")
    with pytest.raises(ConfigError, match="REDIS_URL is not a URL"):
        doctor.queue("nonsense")
    with pytest.raises(Unavailable, match="broker does not answer"):
        doctor.broker("127.0.0.1:1")
    with pytest.raises(ConfigError, match="not host:port"):
        doctor.broker("nonsense")


def test_missing_or_altered_weights_break_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weights file that is gone or differs by one byte is named, exit 70."""
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "head.safetensors").write_bytes(b"weights")
    from datetime import UTC, datetime

    manifest.build(folder, [], datetime(2024, 1, 1, tzinfo=UTC))
    verify = manifest.verify
    monkeypatch.setattr(manifest, "verify", lambda: verify(folder))
    assert "2024-01-01" in doctor.weights()
    (folder / "head.safetensors").write_bytes(b"Weights")
    with pytest.raises(WeightsError, match=r"head\.safetensors is altered"):
        doctor.weights()
    (folder / "head.safetensors").unlink()
    finding = next(f for f in doctor.examine(settings(tmp_path), {}) if f.part == "weights")
    assert "head.safetensors is missing" in finding.said
    assert doctor.exit_code([finding]) == 70
    shutil.rmtree(folder)
    with pytest.raises(WeightsError, match=r"manifest\.json cannot be read"):
        doctor.weights()


def test_little_room_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than a gigabyte of room is told in megabytes."""
    monkeypatch.setattr(doctor, "ROOM", 1 << 62)
    with pytest.raises(Unavailable, match=r"Only \d+ MB are free"):
        doctor.disk(tmp_path / "not" / "yet")


def test_a_wrong_clock_is_measured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks that differ by hours are told by how much."""
    from datetime import UTC, datetime, timedelta

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) + timedelta(hours=2)

    monkeypatch.setattr(doctor, "datetime", Ahead)
    with pytest.raises(ConfigError, match=r"differ by 7\d{3} s"):
        doctor.clock(database_url)
