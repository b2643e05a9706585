"""The leaders of a study trained again with fresh seeds: what is planned, and how each repetition ended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from pydantic import TypeAdapter

from sweeper.config.frozen import Frozen
from sweeper.config.pruner import NoPrunerConfig
from sweeper.config.sweep import SweepConfig
from sweeper.confirm.unsteered import Unsteered
from sweeper.errors import StudyError
from sweeper.files import read_parsed, write_sealed
from sweeper.paths import StudyFolder
from sweeper.results import Repeats, TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.standings.pareto import in_order
from sweeper.standings.winner import confirmed

COMPLETE = TrialState.COMPLETE


class Repetition(Frozen):
    """One training of a leader with a seed of its own; `number` names its folder and never changes."""

    number: int
    repeats: Repeats
    attempts: int = 0
    memory_kills: int = 0
    outcome: TrialOutcome | None = None
    ended_ms: int | None = None

    @property
    def failed(self) -> bool:
        """Whether it has ended without a value."""
        return self.outcome is not None and (self.outcome.state is not COMPLETE or self.outcome.best_value is None)


STORED = TypeAdapter(list[Repetition])


def repetition_seed(study_seed: int, repeats: Repeats) -> int:
    """Return the seed of a repetition: 32 bits, of no trial of the study and of no other repetition.

    Each leader has seeds of its own, so that the samples that are compared are independent.
    """
    return int(np.random.SeedSequence([study_seed, repeats.trial, repeats.seed_number, 1]).generate_state(1)[0])


class Repetitions(Unsteered):
    """A ledger of repetitions in one file, for the driver that holds the study's lock.

    More leaders or seeds add to what is there; what has been trained is not trained again, unless nothing of it ended
    well: a machine that had no room for any repetition may have it the next time.
    """

    def __init__(self, sweep: SweepConfig, folder: StudyFolder, leaders: Sequence[TrialRow], seeds: int):
        without_limits = sweep.budget.model_copy(update={"timeout": None})
        self._sweep = sweep.model_copy(update={"pruner": NoPrunerConfig(name="none"), "budget": without_limits})
        self._folder = folder
        self._leaders = {row.number: row for row in leaders}
        self._all = stored_repetitions(folder)
        self._live: set[int] = set()
        wanted = [Repeats(trial=row.number, seed_number=seed) for seed in range(1, seeds + 1) for row in leaders]
        known = {repetition.repeats: repetition for repetition in self._all}
        again = _failed_alone(known[repeats] for repeats in wanted if repeats in known)
        for repeats in wanted:
            if repeats not in known or repeats in again:
                self._all.append(Repetition(number=len(self._all), repeats=repeats))
        self._wanted = [repetition.number for repetition in latest(self._all) if repetition.repeats in wanted]

    @classmethod
    def begin(cls, sweep: SweepConfig, folder: StudyFolder, leaders: Sequence[TrialRow], seeds: int) -> Self:
        """Open the ledger and store what is planned."""
        ledger = cls(sweep, folder, leaders, seeds)
        ledger._store()
        return ledger

    @property
    def sweep(self) -> SweepConfig:
        return self._sweep

    @property
    def budget(self) -> int:
        """What is planned, and what has ended of earlier, larger plans."""
        wanted = set(self._wanted)
        return sum(one.number in wanted or one.outcome is not None for one in self._all)

    def requeue(self, number: int) -> None:
        self._live.discard(number)

    def next_group(self, size: int, *, interrupted: bool = False) -> list[TrialSpec]:
        if interrupted:
            return []
        group = [number for number in self._unfinished() if number not in self._live][:size]
        self._live.update(group)
        return [self._spec(self._all[number]) for number in group]

    def remaining(self) -> int:
        return len(self._unfinished())

    def count_attempt(self, number: int, *, for_memory: bool = False) -> int:
        kind = "memory_kills" if for_memory else "attempts"
        count = int(getattr(self._all[number], kind)) + 1
        self._change(number, {kind: count})
        return count

    def finish(self, number: int, outcome: TrialOutcome, run: str | None = None) -> None:  # noqa: ARG002
        self._live.discard(number)
        self._change(number, {"outcome": outcome, "ended_ms": int(time.time() * 1000)})

    def full_rounds(self) -> int:
        """Return with how many fresh seeds all leaders have been trained, counted from the first."""
        left = [self._all[number].repeats.seed_number for number in self._unfinished()]
        wanted = [self._all[number].repeats.seed_number for number in self._wanted]
        return min(left) - 1 if left else max(wanted, default=0)

    def all_failed(self) -> bool:
        """Return whether all that is wanted has ended, and nothing of it well."""
        return all(self._all[number].failed for number in self._wanted)

    def none_ended_well(self) -> bool:
        """Return whether something that is wanted has ended, and nothing of it well."""
        ended = [self._all[number] for number in self._wanted if self._all[number].outcome is not None]
        return bool(ended) and all(repetition.failed for repetition in ended)

    def wanted_rows(self) -> list[TrialRow]:
        return [self._row(self._all[number]) for number in self._wanted]

    def rows(self) -> list[TrialRow]:
        """Return what is planned and how it ended; folders of earlier, larger plans count too."""
        return [self._row(repetition) for repetition in self._all]

    def outcomes(self, trial: int) -> list[TrialOutcome]:
        """Return how the repetitions of a leader ended that are wanted, by their seeds."""
        mine = [
            self._all[number]
            for number in self._wanted
            if self._all[number].repeats.trial == trial and self._all[number].repeats.seed_number <= self.full_rounds()
        ]
        return [repetition.outcome for repetition in mine if repetition.outcome is not None]

    def give_up_unwanted(self) -> None:
        """Remove what unfinished repetitions of an earlier, larger plan would go on from; their records stay."""
        for repetition in self._all:
            if repetition.outcome is None and repetition.number not in self._wanted:
                trial = self._folder.trial(repetition.number)
                for folder in (trial, trial.refit, *(fold for _, fold in trial.folds())):
                    folder.remove_to_go_on()

    def _unfinished(self) -> list[int]:
        return [number for number in self._wanted if self._all[number].outcome is None]

    def _spec(self, repetition: Repetition) -> TrialSpec:
        return spec_of_repetition(self._sweep, self._leaders[repetition.repeats.trial], repetition)

    def _row(self, repetition: Repetition) -> TrialRow:
        outcome, leader = repetition.outcome, self._leaders.get(repetition.repeats.trial)
        waiting = TrialState.RUNNING if repetition.number in self._live else TrialState.WAITING
        return TrialRow(
            number=repetition.number,
            state=outcome.state if outcome else waiting,
            value=outcome.best_value if outcome else None,
            best_epoch=outcome.best_epoch if outcome else None,
            epochs=outcome.epochs if outcome else 0,
            seconds=outcome.seconds if outcome else None,
            ended_ms=repetition.ended_ms,
            params={"trial": repetition.repeats.trial, "seed": repetition.repeats.seed_number},
            config_json=leader.config_json if leader else None,
            reason=outcome.reason if outcome else None,
            outcome=outcome,
        )

    def _change(self, number: int, changes: dict[str, object]) -> None:
        self._all[number] = self._all[number].model_copy(update=changes)
        self._store()

    def _store(self) -> None:
        write_sealed(self._folder.repetitions, STORED.dump_json(self._all))


def spec_of_repetition(sweep: SweepConfig, leader: TrialRow, repetition: Repetition) -> TrialSpec:
    """Return a repetition as its worker gets it. Raises StudyError where its leader has no configuration."""
    if leader.config is None:
        raise StudyError(f"trial {leader.number} has no configuration and cannot be trained again")
    return TrialSpec(
        number=repetition.number,
        seed=repetition_seed(sweep.seed, repetition.repeats),
        epochs=sweep.budget.epochs,
        config=leader.config,
        task=sweep.task,
        memory_kills=repetition.memory_kills,
        repeats=repetition.repeats,
    )


def stored_repetitions(folder: StudyFolder) -> list[Repetition]:
    """Return all repetitions of a study's leaders, by number."""
    return read_parsed(folder.repetitions, STORED.validate_json) if folder.repetitions.exists() else []


def latest(repetitions: Iterable[Repetition]) -> list[Repetition]:
    """Return repetitions by number, of those that were trained again the last."""
    return list({one.repeats: one for one in repetitions}.values())


def _failed_alone(repetitions: Iterable[Repetition]) -> frozenset[Repeats]:
    """Return what has failed, where nothing has ended well."""
    ended = [one for one in repetitions if one.outcome is not None]
    return frozenset(one.repeats for one in ended) if all(one.failed for one in ended) else frozenset()


def leaders_of(rows: Iterable[TrialRow], top: int) -> list[TrialRow]:
    """Return the first `top` finished trials of ranked rows, each configuration once."""
    leaders: list[TrialRow] = []
    for row in rows:
        if len(leaders) == top:
            break
        new = row.config is not None and row.config not in [leader.config for leader in leaders]
        if row.state is TrialState.COMPLETE and new:
            leaders.append(row)
    return leaders


def leaders_to_confirm(store: StudyStore, top: int) -> list[TrialRow]:
    """Return the best `top` trials of the search, and the one that an earlier confirmation chose, if it is another.

    Without that one a new confirmation could replace it by a trial that was never compared with it.
    """
    ranked = in_order(store.rows(), store.sweep)
    leaders, earlier = leaders_of(ranked, top), confirmed(store)
    known = [row.config for row in leaders]
    chosen = [row for row in ranked if earlier and row.number == earlier.winner.trial and row.config not in known]
    return [*leaders, *leaders_of(chosen, 1)]
