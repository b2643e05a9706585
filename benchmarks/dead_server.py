"""Wall time of a sweep with a healthy MLflow server, one that refuses and one that never answers.

    python -m benchmarks.dead_server [--repeats 3]

The three are interleaved, since other work on the machine changes all of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measurements import Measurement, Result, Section, ratios
from tests.functional.chaos import Sandbox
from tests.tracking.fault_proxy import proxied
from tests.tracking.server import mlflow_server

FAULTS = {"healthy": None, "refuses": "refuse", "hangs": "hang"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    seconds: dict[str, list[float]] = {name: [] for name in FAULTS}
    with tempfile.TemporaryDirectory() as folder, mlflow_server(Path(folder) / "server") as server:
        for repeat in range(repeats):
            for name, fault in FAULTS.items():
                with proxied(server.port) as proxy:
                    proxy.fault = fault
                    seconds[name].append(measure(Path(folder) / f"{name}-{repeat}", proxy.uri))
    rows = [
        Measurement(f"a server that {name}" if FAULTS[name] else name, "s", found) for name, found in seconds.items()
    ]
    rows += [
        Measurement(f"{name} against healthy", "", ratios(seconds[name], seconds["healthy"]))
        for name, fault in FAULTS.items()
        if fault
    ]
    Result("dead_server", "small generated PNGs").add(Section("A sweep with MLflow servers alive and dead", rows))


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
