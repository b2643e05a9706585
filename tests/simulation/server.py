"""An MLflow server in memory, as far as a delivery asks one: it may be out of reach, or its answer be lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sweeper.errors import TrackingError
from sweeper.results import EpochMetrics
from tests.simulation.world import World

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Run:
    """What the server holds of a run; two points of a metric are one where step, value and time are the same."""

    tags: dict[str, str]
    status: str = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    points: dict[str, set[tuple[int, float, int]]] = field(default_factory=lambda: defaultdict(set))
    artifacts: dict[str, bytes] = field(default_factory=dict)


def _asked(method: Callable[Concatenate[Server, P], R]) -> Callable[Concatenate[Server, P], R]:
    """Let a request fail before it arrives, or its answer be lost after it was carried out."""

    @wraps(method)
    def ask(server: Server, /, *args: P.args, **kwargs: P.kwargs) -> R:
        world = server.world
        world.place(f"ask {method.__name__} {args[0] if args else ''}")
        if world.chance(world.rates.server):
            raise TrackingError("MLflow cannot be reached")
        answer = method(server, *args, **kwargs)
        if world.chance(world.rates.server):
            raise TrackingError("MLflow did not answer")
        world.place(f"answered {method.__name__}")
        return answer

    return ask


@dataclass
class Server:
    """Stands for `MlflowStore` and the server behind it, over all lives of the driver."""

    world: World
    runs: dict[str, Run] = field(default_factory=dict)
    made: int = 0

    def tagged(self, tags: Mapping[str, str]) -> list[str]:
        return [name for name, run in self.runs.items() if tags.items() <= run.tags.items()]

    @_asked
    def find_run(self, experiment: str, tags: Mapping[str, str]) -> str | None:
        return next(iter(self.tagged(tags)), None)

    @_asked
    def find_runs(self, experiment: str, tags: Mapping[str, str]) -> list[str]:
        return self.tagged(tags)

    @_asked
    def status(self, run: str) -> str | None:
        return self.runs[run].status if run in self.runs else None

    @_asked
    def create_run(self, experiment: str, name: str, tags: Mapping[str, str], start_ms: int) -> str:
        self.made += 1
        self.runs[f"run-{self.made}"] = Run(dict(tags))
        return f"run-{self.made}"

    @_asked
    def delete_run(self, run: str) -> None:
        del self.runs[run]

    @_asked
    def log_params(self, run: str, params: Mapping[str, Any]) -> None:
        for name, value in params.items():
            if self.runs[run].params.setdefault(name, str(value)) != str(value):
                raise AssertionError(f"{run} has another value of the parameter {name}")

    @_asked
    def log_metrics(self, run: str, values: Mapping[str, float], step: int, timestamp_ms: int) -> None:
        for name, value in values.items():
            self.runs[run].points[name].add((step, value, timestamp_ms))

    def log_epochs(self, run: str, history: Iterable[EpochMetrics]) -> None:
        for metrics in history:
            self.log_metrics(run, metrics.values, metrics.epoch, metrics.timestamp_ms)

    @_asked
    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        self.runs[run].tags |= tags

    @_asked
    def set_experiment_tags(self, experiment: str, tags: Mapping[str, str]) -> None: ...

    @_asked
    def log_dataset(self, run: str, card: Mapping[str, Any]) -> None: ...

    @_asked
    def log_artifact(self, run: str, file: Path, folder: str) -> None:
        self.runs[run].artifacts[f"{folder}/{file.name}".lstrip("/")] = file.read_bytes()

    @_asked
    def sizes_of(self, run: str, folder: str) -> dict[str, int]:
        held = self.runs[run].artifacts
        return {name: len(content) for name, content in held.items() if name.startswith(f"{folder}/")}

    @_asked
    def set_running(self, run: str) -> None:
        self.runs[run].status = "RUNNING"

    @_asked
    def end(self, run: str, status: str, end_ms: int) -> None:
        self.runs[run].status = status
