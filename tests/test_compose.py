"""compose.yaml: validated by the client where there is one, and against the rules of this house everywhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import SecretStr

from db.engine import variable_of
from runtime import health
from streaming.settings import StreamingSettings

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS = ("migrate", "streaming", "worker", "worker-gpu", "nightly", "web", "bot")

SERVICE = {
    "type": "object",
    "properties": {
        "image": {"type": "string", "pattern": "^[a-z0-9./-]+:[a-z0-9.-]+$", "not": {"pattern": ":latest$"}},
        "build": {"type": "object", "required": ["context", "target"], "additionalProperties": False,
                  "properties": {"context": {"const": "."}, "target": {"enum": ["door", "worker", "nightly", "worker-gpu"]},
                                 "args": {"const": {"TORCH_INDEX": "${TORCH_INDEX:-}"}}}},
        "restart": {"enum": ["unless-stopped", "on-failure:5"]},
        "init": {"const": True},
        "entrypoint": {"type": "array", "items": {"type": "string"}},
        "command": {"type": "array", "items": {"type": "string"}},
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "secrets": {"type": "array", "items": {"type": "string"}},
        "volumes": {"type": "array", "items": {"type": "string", "pattern": "^[^:]+:[^:]+(:ro)?$"}},
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
        "depends_on": {"type": "object", "additionalProperties": {"type": "object", "properties": {
            "condition": {"enum": ["service_healthy", "service_completed_successfully"]}}, "required": ["condition"]}},
        "healthcheck": {"type": "object", "required": ["test", "interval", "timeout", "retries"]},
        "profiles": {"type": "array", "items": {"enum": ["gpu", "obs", "bot", "flower"]}},
        "deploy": {"type": "object"},
        "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
        "security_opt": {"type": "array"},
    },
    "required": ["restart"],
    "oneOf": [{"required": ["image"]}, {"required": ["build"]}],
    "additionalProperties": False,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_services_follow_the_schema(name: str) -> None:
    """Known keys only, pinned images, ports on the loopback, secrets by name."""
    assert list(jsonschema.Draft202012Validator(SERVICE).iter_errors(COMPOSE["services"][name])) == []


def test_the_graph_is_closed() -> None:
    """Every dependency, secret, volume and profile that is named exists; only the one-shot migration has no health check."""
    services = COMPOSE["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name
        named = {v.split(":")[0] for v in service.get("volumes", []) if not v.startswith(".")}
        assert named <= set(COMPOSE["volumes"]), name
        assert name == "migrate" or "healthcheck" in service, name
        for mount in (v for v in service.get("volumes", []) if v.startswith("./")):
            assert (ROOT / mount.split(":")[0]).exists(), mount
    assert services["migrate"]["restart"] == "on-failure:5"  # the database may still be starting (exit status 75)
    for name in OURS[1:]:
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_no_secret_is_written_down() -> None:
    """Passwords, keys and tokens come from files, never from the environment block."""
    text = (ROOT / "compose.yaml").read_text()
    assert not re.search(
        r"(PASSWORD|TOKEN|KEY)\w*:\s*[\"']?[^\s{/][^\n]*$", re.sub(r"_FILE:.*|__FILE:.*", "", text), re.M
    )
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())


def test_the_streams_settings_are_passed_through() -> None:
    """What the host's environment (or .env) names reaches the streams, with the settings' own defaults; secrets as files."""
    service = COMPOSE["services"]["streaming"]
    passed = service["environment"]
    default = StreamingSettings.model_construct()
    named = {variable_of(StreamingSettings, name): getattr(default, name) for name in StreamingSettings.model_fields}
    for name in ("EXCHANGES", "SYMBOLS", "POST_SOURCES"):
        assert passed[f"MOODTAPE_{name}"] == f"${{MOODTAPE_{name}:-{named[f'MOODTAPE_{name}']}}}"
    hidden = {name for name, value in named.items() if isinstance(value, SecretStr)}
    assert hidden <= set(service["secrets"])
    assert not hidden & set(passed)


def test_postgres_is_healthy_only_when_it_listens() -> None:
    """The image's first start runs a server without TCP, which a check over the socket would take for the real one."""
    assert COMPOSE["services"]["postgres"]["healthcheck"]["test"][:4] == ["CMD", "pg_isready", "-h", "127.0.0.1"]


def test_our_services_are_told_to_stop() -> None:
    """Something hands SIGTERM on from the first moment: a process that is the container's first would not get it."""
    assert all(COMPOSE["services"][name]["init"] for name in OURS)


def test_the_cpu_worker_is_told_where_cpu_torch_is() -> None:
    """The build gets TORCH_INDEX, and without it the Dockerfile refuses before it installs a CUDA build."""
    assert "TORCH_INDEX" in COMPOSE["services"]["worker"]["build"]["args"]
    stage = (ROOT / "Dockerfile").read_text().split("AS worker-packages")[1].split("\nFROM ")[0]
    assert stage.index('test -n "${TORCH_INDEX}"') < stage.index("pip install")


def test_grafana_refuses_an_empty_password(tmp_path: Path) -> None:
    """Its entry point reads the secret first: empty, blank or missing ends with 2 and a sentence."""
    entry = COMPOSE["services"]["grafana"]["entrypoint"]
    secret = tmp_path / "password"
    script = entry[2].replace("/run/secrets/GRAFANA_PASSWORD", str(secret)).replace("exec /run.sh", "exec true")
    for body, status in ((None, 2), ("", 2), ("\n", 2), ("a-password\n", 0)):
        if body is not None:
            secret.write_text(body)
        done = subprocess.run([*entry[:2], script], capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert ("GRAFANA_PASSWORD is empty" in done.stderr) == bool(status)


def test_prometheus_asks_with_the_key_and_finds_every_service() -> None:
    """The web door demands its key; streams and workers are looked up by name, so scaled ones are found too."""
    web, services = yaml.safe_load((ROOT / "compose/prometheus.yml").read_text())["scrape_configs"]
    assert web["authorization"]["credentials_file"] == "/run/secrets/MOODTAPE_API_KEY"
    assert COMPOSE["services"]["prometheus"]["secrets"] == ["MOODTAPE_API_KEY"]
    (lookup,) = services["dns_sd_configs"]
    assert set(lookup["names"]) == {"streaming", "worker", "worker-gpu"}
    for name in lookup["names"]:
        ports = {v for k, v in COMPOSE["services"][name]["environment"].items() if k.endswith("METRICS_PORT")}
        assert ports == {str(lookup["port"])}


def test_kafka_writes_where_its_volume_is() -> None:
    """The broker's own default lies outside every volume."""
    kafka = COMPOSE["services"]["kafka"]
    assert [v.split(":")[1] for v in kafka["volumes"]] == [kafka["environment"]["KAFKA_LOG_DIRS"]]


def test_build_targets_exist_and_modules_run() -> None:
    """Each build target is a stage of the Dockerfile, each `python -m` names a package of ours."""
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.M))
    for name in OURS:
        service = COMPOSE["services"][name]
        assert service["build"]["target"] in stages
        if service["command"][:2] == ["python", "-m"]:
            module = ROOT / service["command"][2].replace(".", "/")
            assert module.exists() or module.with_suffix(".py").exists()


@pytest.mark.parametrize("name", ["streaming", "worker", "worker-gpu", "nightly", "bot"])
def test_health_checks_can_fail_and_ask_for_the_right_service(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check names the heartbeat that its service writes: sick before the first beat, well after it, sick when it is old.

    Another container of the same service, which has another name, does not answer for it.
    """
    service = COMPOSE["services"][name]
    monkeypatch.setenv("MOODTAPE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("socket.gethostname", lambda: "other")
    health.Heartbeat(service["command"][2]).beat()
    monkeypatch.setattr("socket.gethostname", lambda: "one")
    assert service["healthcheck"]["test"][:4] == ["CMD", "python", "-m", "runtime.health"]
    asked = service["healthcheck"]["test"][4:]
    assert health.main(asked) == 1
    beat = health.Heartbeat(service["command"][2])
    beat.beat()
    assert health.main(asked) == 0
    assert beat.path is not None
    beat.path.write_text(json.dumps({"moved_at": "2026-01-01T00:00:00+00:00"}))
    assert health.main(asked) == 1


def test_docker_agrees() -> None:
    """`docker compose config` accepts the file, where the compose client is installed."""
    docker = shutil.which("docker")
    probe = docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False)
    if not probe or probe.returncode:
        pytest.skip("no docker compose client on this machine")
    run = subprocess.run(
        ["docker", "compose", "--profile", "*", "config", "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
    assert set(json.loads(run.stdout)["services"]) == set(COMPOSE["services"])
