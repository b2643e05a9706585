"""The tutorial can be followed: its commands, one after the other, lead from a folder of pictures to labels."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.functional.program import REPOSITORY, environment, sweeper
from tests.pictures import write_picture
from tests.tracking.server import free_port

PAGE = (REPOSITORY / "docs" / "tutorial.md").read_text()
PATIENCE_S = 120.0
SHORTER = {"--hours 0.1": "--hours 0.02", "--for 10m": "--for 3m"}
"""Less time than the tutorial takes, for a few pictures."""


def test_the_tutorial_names_the_time_that_the_test_shortens() -> None:
    assert all(PAGE.count(given) for given in SHORTER)


@pytest.mark.slow  # it searches for three minutes
def test_the_commands_of_the_tutorial_lead_from_a_folder_to_labels(tmp_path: Path) -> None:
    for number, name in enumerate(("airplane", "automobile", "frog", "horse")):
        for picture in range(20):
            write_picture(tmp_path / "photos" / name / f"{picture}.png", 60 * number + picture)
        write_picture(tmp_path / "new" / f"{name}.png", 60 * number)
    for command in re.findall(r"^    (sweeper .*)$", PAGE, re.MULTILINE):
        for given, shorter in SHORTER.items():
            command = command.replace(given, shorter)
        done = sweeper(*shlex.split(command)[1:], folder=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 5
    assert (tmp_path / "reports" / "photos.html").exists()
    (shown,) = re.findall(r"^    (\{\"predictions\".*\n.*)$", PAGE, re.MULTILINE)
    (answer,) = json.loads(served_answer(tmp_path))["predictions"]
    assert answer.keys() == json.loads(shown)["predictions"][0].keys()
    assert answer["class"] == answer["classes"][0]


def served_answer(folder: Path) -> str:
    """Serve the model as the page does, on a port of its own, and return what its request is answered with."""
    (serve,) = re.findall(r"^    (export MLFLOW_TRACKING_URI.*\n    mlflow models serve .*)$", PAGE, re.MULTILINE)
    (ask,) = re.findall(r"^    (echo .*\n.*curl .*)$", PAGE, re.MULTILINE)
    port = free_port()
    found = {**environment(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    serve, ask = serve.replace("5001", str(port)), ask.replace("5001", str(port)).replace("curl -s", "curl -sf")
    ask = ask.replace("frog.jpg", "frog.png")  # as the pictures of this test are
    with subprocess.Popen(["bash", "-c", serve], cwd=folder, env=found, start_new_session=True) as server:
        try:
            until = time.monotonic() + PATIENCE_S
            while (done := subprocess.run(["bash", "-c", ask], cwd=folder, capture_output=True, text=True)).returncode:
                assert time.monotonic() < until, done.stderr
                time.sleep(1)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
    return done.stdout
