"""The images are built and run for real where buildah is; elsewhere it is said why not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/images/containers"


def test_the_images_answer() -> None:
    """Both images are small enough, every service gets healthy and answers, wrong secrets are a sentence, all stop."""
    if not os.environ.get("MOODTAPE_TEST_IMAGES"):
        pytest.skip("MOODTAPE_TEST_IMAGES is not set; building both images takes minutes and 3 GB")
    if shutil.which("buildah") is None or os.geteuid() != 0:
        pytest.skip("buildah is not installed, or this is not root")
    what = os.environ["MOODTAPE_TEST_IMAGES"]
    done = subprocess.run([str(SCRIPT), what], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^built door: \d+ MB", done.stdout, re.M)
    assert "bot: answered with a picture" in done.stdout


def test_the_script_runs_what_compose_runs() -> None:
    """Every command of compose.yaml's own services stands in the script, so that neither changes alone."""
    import yaml

    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    script = SCRIPT.read_text()
    for name in ("migrate", "web", "bot", "worker"):
        assert " ".join(services[name]["command"]) in script, name
    assert "python -m streaming" in script
    assert SCRIPT.stat().st_mode & 0o111


@pytest.mark.parametrize("file", ["containers", "base.sh"])
def test_the_script_is_sound(file: str) -> None:
    """Bash parses it."""
    done = subprocess.run(["bash", "-n", str(SCRIPT.with_name(file))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
