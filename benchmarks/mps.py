"""NVIDIA's Multi-Process Service around a program: kernels of several processes share a GPU at the same time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

CONTROL = "nvidia-cuda-mps-control"
WAIT_S = 20


class MpsMissing(Exception):
    """The service cannot be started here; the text says why."""


@contextmanager
def multi_process_service() -> Iterator[None]:
    """Run what starts inside with the service, which has a folder of its own and ends with it. Raises MpsMissing."""
    if shutil.which(CONTROL) is None:
        raise MpsMissing(f"{CONTROL} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        names = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        os.environ.update(names)
        try:
            subprocess.run([CONTROL, "-d"], check=True, timeout=WAIT_S, capture_output=True, text=True)
            try:
                yield
            finally:
                subprocess.run([CONTROL], input="quit\n", check=False, timeout=WAIT_S, capture_output=True, text=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise MpsMissing(f"{CONTROL} did not start: {error!r}; {error.stderr!r}") from error
        finally:
            for name in names:
                os.environ.pop(name, None)
