"""Wall time of a sweep with a healthy MLflow server, one that refuses and one that never answers.

    python -m benchmarks.dead_server [REPEATS]

The three are interleaved, since other work on the machine changes all of them.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.functional.chaos import Sandbox
from tests.tracking.fault_proxy import proxied
from tests.tracking.server import mlflow_server

FAULTS = {"healthy": None, "refuses": "refuse", "hangs": "hang"}


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    seconds: dict[str, list[float]] = {name: [] for name in FAULTS}
    with tempfile.TemporaryDirectory() as folder, mlflow_server(Path(folder) / "server") as server:
        for repeat in range(repeats):
            for name, fault in FAULTS.items():
                with proxied(server.port) as proxy:
                    proxy.fault = fault
                    seconds[name].append(measure(Path(folder) / f"{name}-{repeat}", proxy.uri))
    for name, measured in seconds.items():
        share = statistics.median(measured) / statistics.median(seconds["healthy"])
        print(f"{name:8} {[round(value, 1) for value in measured]} s, median {share:.2f} of healthy")


def measure(root: Path, uri: str) -> float:
    sandbox = Sandbox.make(root, study=root.name, budget={"trials": 4, "epochs": 60}, pruner="none")
    sandbox.environment["MLFLOW_TRACKING_URI"] = uri
    started = time.perf_counter()
    code = sandbox.run()
    if code:
        sys.exit(sandbox.said())
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
