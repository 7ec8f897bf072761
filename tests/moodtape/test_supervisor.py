"""The supervisor with tiny children: they come up, come back, give up and go, and nothing outlives a stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from domain.errors import BrokenInstall, ConfigError, Unavailable
from moodtape import state as control
from moodtape.state import MARK, State
from moodtape.supervisor import Supervisor
from runtime import processes
from runtime.supervised import Health, Phase, Probe, Service, Spec, heartbeat_probe, http_probe

WELL = """
import time, sys
from runtime.health import Heartbeat
with Heartbeat("x").beating():
    time.sleep(600)
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """A data directory; whatever a test leaves alive is ended."""
    state = State(tmp_path / "data")
    state.prepare()
    yield state
    processes.end_all(processes.marked(MARK, state.token), patience=0.0)


def make(state: State, name: str, code: str, probe: Probe | None = None, **more: object) -> Service:
    """A service that runs a line of Python."""
    env = {**os.environ, MARK: state.token, "MOODTAPE_DATA_DIR": str(state.data_dir), "MOODTAPE_SERVICE": name}
    env["PYTHONPATH"] = str(ROOT)
    spec = Spec(
        name=name,
        argv=(sys.executable, "-c", code),
        env=env,
        probe=probe or heartbeat_probe(state.run / f"{name}.ready"),
        **more,  # type: ignore[arg-type]
    )
    return Service(spec, state.logs / f"{name}.log")


def until(condition: Callable[[], bool], act: Callable[[], object] = lambda: None, patience: float = 20.0) -> None:
    """Act again and again until the condition holds."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        act()
        time.sleep(0.01)


def supervisor_of(state: State, *services: Service) -> Supervisor:
    supervisor = Supervisor(state, (), lambda _addresses: services)
    supervisor.start_services()
    return supervisor


def step(supervisor: Supervisor) -> Callable[[], None]:
    return lambda: supervisor.step(time.monotonic())


def test_a_killed_service_is_back_at_once(state: State) -> None:
    """After kill -9 a service is ready again with another pid, and its restart is counted."""
    service = make(state, "one", WELL)
    supervisor = supervisor_of(state, service)
    until(lambda: supervisor.ready, step(supervisor))
    before = service.pid
    os.kill(before or 0, signal.SIGKILL)
    until(lambda: service.restarts == 1, step(supervisor))
    began = time.monotonic()
    until(lambda: supervisor.ready and service.pid != before, step(supervisor))
    assert time.monotonic() - began < 10.0
    supervisor.shut_down()
    assert not processes.marked(MARK, state.token)


def test_each_failure_waits_longer_up_to_a_bound(state: State) -> None:
    """A service that dies at once is started after 0.5, 1, 2 … seconds, never more than 30 apart."""
    service = make(state, "dying", "raise SystemExit(1)")
    pauses = []
    now = 1000.0
    for _ in range(8):
        until(lambda: service.pid is not None, lambda: service.tick(now))  # noqa: B023 - called at once
        until(lambda: service.pid is None, lambda: service.tick(now))  # noqa: B023
        pauses.append(service._next - now)
        now = service._next
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_refused_setting_is_not_tried_again(state: State) -> None:
    """Exit 2 before the stack was ready ends `up` with the service's own last sentence."""
    service = make(state, "web", "import sys; print('moodtape: the key is too short', file=sys.stderr); sys.exit(2)")
    supervisor = supervisor_of(state, service)
    with pytest.raises(ConfigError, match="web refuses its settings: moodtape: the key is too short"):
        supervisor.loop()
    assert service.phase is Phase.REFUSED
    assert service.restarts == 0
    supervisor.shut_down()


def test_a_refusing_bot_leaves_the_rest_running(state: State) -> None:
    """An optional service that refuses its settings is named, and the stack gets ready without it."""
    told: list[str] = []
    services = (make(state, "one", WELL), make(state, "bot", "import sys; sys.exit(2)", optional=True))
    supervisor = Supervisor(state, (), lambda _addresses: services, tell=told.append)
    supervisor.start_services()
    supervisor_loop_until_ready(supervisor)
    until(lambda: services[1].given_up, step(supervisor))
    assert supervisor.ready
    assert told == ["bot refuses its settings and is not started again: it said nothing"]
    supervisor.shut_down()


def supervisor_loop_until_ready(supervisor: Supervisor) -> None:
    supervisor.loop(on_ready=supervisor.request_stop)


def test_a_broken_service_gives_up_after_five_tries(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 70 again and again ends `up` with what the service said."""
    monkeypatch.setattr("runtime.supervised.FIRST_PAUSE", 0.0)
    service = make(state, "worker", 'import sys; print(\'{"event": "weights are altered"}\'); sys.exit(70)')
    supervisor = supervisor_of(state, service)
    with pytest.raises(BrokenInstall, match="worker does not start: weights are altered"):
        supervisor.loop()
    assert service.failures == 5
    supervisor.shut_down()


def test_a_silent_service_is_replaced(state: State) -> None:
    """A process that lives but stopped beating is ended and started again."""
    healths = iter([Health.READY])
    service = make(
        state, "stuck", "import time; time.sleep(600)", lambda _at: next(healths, Health.SILENT), silence=0.5
    )
    until(lambda: service.phase is Phase.READY, lambda: service.tick(time.monotonic()))
    before = service.pid
    until(lambda: service.pid not in (before, None), lambda: service.tick(time.monotonic()))
    assert service.restarts == 1
    assert processes.birth(before or 0) is None
    service.end(0.0)


def test_a_stop_ends_grandchildren_too(state: State) -> None:
    """Ending a service kills what it started, even a child in a session of its own that ignores SIGTERM."""
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    parent = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {stubborn!r}], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
{WELL}
"""
    supervisor = supervisor_of(state, make(state, "family", parent))
    until(lambda: supervisor.ready, step(supervisor))
    assert len(processes.marked(MARK, state.token)) == 2
    supervisor.shut_down()
    assert not processes.marked(MARK, state.token)
    assert state.read()["ready"] is False


def test_what_a_killed_supervisor_left_is_cleared(state: State) -> None:
    """Marked processes and old heartbeats of an earlier run are gone before new ones start."""
    stray = make(state, "stray", WELL)
    stray.tick(time.monotonic())
    until((state.run / "stray.ready").exists)
    supervisor_of(state).clear_the_past()
    until(lambda: processes.birth(stray.pid or 0) is None)
    assert not (state.run / "stray.ready").exists()
    stray.end(0.0)


def test_children_end_with_a_killed_supervisor(state: State) -> None:
    """When the process that started a service is killed, the kernel asks the service to end."""
    code = f"""
import signal, sys, time
from pathlib import Path
from runtime import processes
child = processes.start([sys.executable, "-c", "import time; time.sleep(600)"], log=Path({str(state.logs / "c.log")!r}),
                        tied=signal.SIGTERM)
print(child.pid, flush=True)
time.sleep(600)
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT), MARK: state.token}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    until(lambda: processes.birth(child) is None)
    assert parent.returncode == -signal.SIGKILL


def test_two_supervisors_on_one_directory(state: State) -> None:
    """The second is refused with a sentence that says how to go on; afterwards the directory is free again."""
    with state.held():
        with pytest.raises(Unavailable, match=r"already runs on .*moodtape down"), State(state.data_dir).held():
            pass
        assert not state.free()
    assert state.free()


def test_status_knows_the_dead(state: State) -> None:
    """A state file whose supervisor is gone, or whose pid is another process now, means "not running"."""
    assert control.current(state)["running"] is False
    state.write({"supervisor": {"pid": os.getpid(), "born": "boot:1"}, "ready": True, "servers": [], "services": []})
    assert control.current(state) == {
        "running": False,
        "ready": False,
        "data_dir": str(state.data_dir),
        "supervisor": None,
        "servers": [],
        "services": [],
    }
    with pytest.raises(Unavailable, match="moodtape is not running"):
        control.addresses(state)


def test_status_hides_passwords(state: State) -> None:
    """What `status` prints has no server addresses, since these hold passwords."""
    me = {"pid": os.getpid(), "born": processes.birth(os.getpid())}
    seen = {
        "supervisor": me,
        "ready": True,
        "servers": [],
        "services": [],
        "addresses": {"REDIS_URL": "redis://:word@h"},
    }
    state.write(seen)
    assert control.current(state)["running"] is True
    assert "word" not in str(control.public(control.current(state)))


def test_environment_goes_to_children_and_the_new_one_after_a_move(state: State) -> None:
    """When a server comes back elsewhere, services start again with the new address."""

    def build(addresses: Mapping[str, str]) -> tuple[Service, ...]:
        service = make(state, "one", WELL)
        service.spec.env["REDIS_URL"] = addresses["REDIS_URL"]  # type: ignore[index]
        return (service,)

    supervisor = Supervisor(state, (), build, external={"REDIS_URL": "redis://old"})
    supervisor.start_services()
    until(lambda: supervisor.ready, step(supervisor))
    supervisor.addresses["REDIS_URL"] = "redis://new"
    supervisor._move_services()
    until(lambda: supervisor.ready, step(supervisor))
    assert psutil.Process(supervisor.services[0].pid).environ()["REDIS_URL"] == "redis://new"
    supervisor.shut_down()


def test_a_page_that_answers_503_is_alive_but_not_ready() -> None:
    """Only 200 is ready, another status alive, no listener silent."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    statuses = iter([200, 503])

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(statuses))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    from datetime import UTC, datetime

    now = datetime.now(UTC)
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        probe = http_probe("127.0.0.1", server.server_port)
        assert [probe(now), probe(now)] == [Health.READY, Health.UNREADY]
        server.shutdown()
    assert probe(now) is Health.SILENT
