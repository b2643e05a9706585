"""The study's storage: Optuna's in memory or on SQLite, with places to die at before and after each write."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from sweeper.search.bulk_storage import Drawn, Reported
from sweeper.search.storage import open_storage
from tests.simulation.world import World

WRITES = (
    "create_new_study",
    "create_new_trial",
    "_create_new_trial",
    "set_study_user_attr",
    "set_study_system_attr",
    "set_trial_param",
    "_set_trial_param",
    "add_params",
    "put_intermediate_values",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
)


class MemoryStorage(InMemoryStorage):
    """Optuna's storage in memory, with what the store of a study asks of one in a database."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = create_engine("sqlite://")

    @property
    def _backend(self) -> MemoryStorage:
        return self

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return trials; Optuna's own way to find waiting ones misses those that are put back in the queue."""
        chosen = None if states is None else [state for state in TrialState if state in states]
        return super().get_all_trials(study_id, deepcopy, chosen)

    def get_heartbeat_interval(self) -> None:
        """Nobody sends heartbeats: Optuna asks because the cache above could."""

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        return self.get_trial(self.create_new_trial(study_id, template_trial))

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        return self.get_all_trials(study_id, deepcopy=False)

    def add_params(self, trial_id: int, drawn: Sequence[Drawn]) -> None:
        for name, value, distribution in drawn:
            self.set_trial_param(trial_id, name, value, distribution)

    def put_intermediate_values(self, reported: Sequence[Reported]) -> None:
        for trial_id, step, value in reported:
            self.set_trial_intermediate_value(trial_id, step, value)

    def brief_trials(self, study_id: int, above: int, ended_by: str) -> Iterator[FrozenTrial]:
        return (trial for trial in self.get_all_trials(study_id, deepcopy=False) if trial._trial_id > above)


def storages(world: World, file: Path | None) -> Callable[[str], Any]:
    """Return what opens the storage for each new driver: what is in memory stays, what is on SQLite is read anew."""
    if file is not None:
        return lambda _: with_places(open_storage(f"sqlite:///{file}"), world)
    memory = with_places(MemoryStorage(), world)
    return lambda _: memory


def with_places(storage: Any, world: World) -> Any:
    depth = 0

    def faulty(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            if depth:  # a part of a write is none of its own
                return method(*args, **kwargs)
            told = f"{name} {_told(args, kwargs)}"
            world.place(f"before {told}")
            if world.chance(world.rates.storage):
                world.note("the storage fails")
                raise OperationalError(name, None, Exception("database or disk is full"))
            depth += 1
            try:
                done = method(*args, **kwargs)
            finally:
                depth -= 1
            world.note(f"wrote {told}")
            world.place(f"after {name}")
            return done

        return write

    for name in WRITES:
        if hasattr(storage, name):
            setattr(storage, name, faulty(name, getattr(storage, name)))
    return storage


def _told(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Say what is written of: the trial or study, then the state it gets or the name of what is set."""
    named = [str(arg)[:40] for arg in args[:2] if not isinstance(arg, TrialState)]
    return " ".join([*named, *(value.name for value in (*args, *kwargs.values()) if isinstance(value, TrialState))])
