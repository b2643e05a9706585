"""The head of a Ray cluster: how it is reached, and what is done when it no longer is."""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path

from sweeper.errors import StudyError
from sweeper.safeguards.extras import how_to_install

CONNECT_S = 5.0
LONGEST_ABSENCE_S = 45.0
"""Ray itself ends a program without a word whose head is gone for 60 s."""


class Head:
    """Looks whether the head of the cluster is there.

    Args:
        address: HOST:PORT.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._heard = time.monotonic()

    def answers(self) -> bool:
        """Return whether the head is there. Raises StudyError when it has been gone for too long."""
        try:
            require_answer(self._address)
        except OSError as error:
            absent_s = time.monotonic() - self._heard
            if absent_s > LONGEST_ABSENCE_S:
                raise StudyError(
                    f"the head of the Ray cluster, {self._address}, has not answered for {absent_s:.0f} s ({error}). "
                    "Start the cluster again and run the same command to go on: nothing that was reported is lost"
                ) from error
            return False
        self._heard = time.monotonic()
        return True


def connect(address: str) -> bool:
    """Connect this process to a cluster; return whether it was not connected before. Raises StudyError."""
    try:
        import ray
    except ImportError:
        raise StudyError(f"the engine ray needs Ray: {how_to_install('ray')}") from None
    if ray.is_initialized():
        return False
    package = Path(__file__).parents[2]
    try:
        if address != "local" and (found := _found(address)) is not None:
            require_answer(found)
        ray.init(
            address=address,
            runtime_env={"py_modules": [str(package)]},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise StudyError(
            f"no Ray cluster at the address {address!r}: {line}. Start one with `ray start --head`, or name its head "
            "with --ray-address HOST:PORT"
        ) from error
    return True


def _found(address: str) -> str | None:
    """Return HOST:PORT for `auto`: Ray keeps it in a file, of a cluster that is gone too; None where there is none."""
    from ray._private.services import canonicalize_bootstrap_address

    found: str | None = canonicalize_bootstrap_address(address) if address == "auto" else address
    return found


def require_answer(address: str) -> None:
    """Raise OSError where nothing listens at HOST:PORT, or ValueError; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError("an address is written HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


def head_address() -> str:
    """Return HOST:PORT of the head that this process is connected to."""
    import ray

    return str(ray.get_runtime_context().gcs_address)
