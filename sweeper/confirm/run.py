"""Train the leaders of a study again with fresh seeds, and judge them by that."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sweeper.config.engine import RayConfig
from sweeper.config.sweep import SweepConfig
from sweeper.confirm.repetitions import Repetitions, leaders_to_confirm
from sweeper.files import write_whole
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import EpochMetrics, TrialRow, write_history
from sweeper.safeguards.spreadsheet import Cell, table
from sweeper.search.stored_trial import CARD, CONFIRMATION
from sweeper.search.study_store import StudyStore
from sweeper.standings.confirmation import FEWEST, Confirmation, confirmation
from sweeper.standings.no_winner import reasons_of, require_finished
from sweeper.study.beginning import beginning_of
from sweeper.study.card import bring_card, read_card, stored_form, study_card, tell_of_new_address, write_card
from sweeper.study.driver import Driver, EngineFactory
from sweeper.study.holding import held_study
from sweeper.study.lock import CONFIRMS
from sweeper.study.model_files import require_same_model_files
from sweeper.study.observer import Observer
from sweeper.study.preparation import dataset_card, images_guarded, prepare_dataset
from sweeper.study.requests import Inbox
from sweeper.study.result import ASKED_TO_STOP, SweepResult
from sweeper.study.summary import after, known_order
from sweeper.study.time_limit import TimeLimit
from sweeper.study.trained import require_trained
from sweeper.tracking.outbox import Outbox

COLUMNS = ("trial", "seed", "state", "value", "best_epoch", "epochs", "seconds", "reason")


NUMBER = "repetition/number"
"""The metric that says which repetition a point of the history is of."""


@dataclass(frozen=True)
class Confirmed:
    """How a run of the command ended; no judgement while repetitions are left.

    Attributes:
        run: How it ended.
        judged: What the repetitions say of the leaders.
        nothing: Where none ended well of all repetitions, or of those before the run stopped: that, and why.
    """

    run: SweepResult
    judged: Confirmation | None
    nothing: str | None = None


def confirm_leaders(
    store: StudyStore,
    *,
    top: int,
    seeds: int,
    workspace: Workspace,
    tracking_uri: str,
    engine: EngineFactory,
    observer: Observer,
    limit: TimeLimit | None = None,
) -> Confirmed:
    """Train the `top` leaders, and who was confirmed before, with `seeds` fresh seeds each, continuing an earlier run.

    They go through the driver, the engine and the trainer of the search, with the epochs and the patience of
    the budget: nothing is pruned. Where `limit` ends it early, the seeds count that all leaders have been trained with.
    Raises NoWinner when no trial has finished, StudyLocked while a driver runs the study
    and StudyChanged when its images or model files have changed.
    """
    sweep, study = store.sweep, workspace.study(store.sweep.study)
    asked_before = time.time_ns()
    with held_study(workspace, store, which=CONFIRMS) as identity:
        Inbox.of(study.confirmation).forget_old(asked_before)
        rows = store.rows()
        require_finished(sweep.study, rows)
        leaders = leaders_to_confirm(store, top)
        require_trained(store)
        require_same_model_files(store)
        prepared = prepare_dataset(sweep, workspace, observer.preparing)
        bring_card(study, store.noted(CARD))
        if (known := read_card(study)) is not None:
            tell_of_new_address(known, tracking_uri, workspace, study)
        card = study_card(sweep, dataset_card(sweep, prepared), study, tracking_uri, identity=identity)
        store.note(CARD, stored_form(card, workspace.root))
        ledger = Repetitions.begin(sweep, study.confirmation, leaders, seeds)
        card = card.model_copy(update={"stage": "confirmation", "params": {}})
        write_card(study.confirmation, card)
        enough = seeds if limit is None else FEWEST
        judge = _Judge(ledger, leaders, enough, sum(row.ended_ms is not None for row in rows))
        outbox = Outbox(workspace, study.confirmation, card, elsewhere=isinstance(sweep.engine, RayConfig))
        driver = Driver(
            ledger,
            study.confirmation,
            outbox,
            observer,
            beginning=beginning_of(card, study, workspace),
            summary=judge.write_summary,
            before_trials=partial(require_same_model_files, store),
            limit=limit,
        )
        with images_guarded(study.confirmation, prepared):
            result = driver.run(engine)
        judged = judge.judgement() if result.stopped_because or not ledger.remaining() else None
        if judged is not None:
            store.note(CONFIRMATION, judged.model_dump(mode="json"))
            ledger.give_up_unwanted()
    asked = result.interrupted or result.stopped_because in (None, ASKED_TO_STOP)
    nothing = ledger.all_failed() or (judged is None and not asked and ledger.none_ended_well())
    return Confirmed(result, judged, _nothing_confirmed(sweep.study, ledger) if nothing else None)


def _nothing_confirmed(study: str, ledger: Repetitions) -> str:
    reasons = [f"  {line}" for line in reasons_of(ledger.wanted_rows(), "repetition")]
    told = f"no repetition of {study} ended well, so nothing is confirmed"
    return "\n".join([told, *reasons, "next: remove the reason, and run the same command again to train them again"])


@dataclass(frozen=True)
class _Judge:
    """Judges the leaders once all have been trained with enough seeds, and writes what the confirmation's run holds."""

    ledger: Repetitions
    leaders: Sequence[TrialRow]
    enough: int
    known_trials: int

    def judgement(self) -> Confirmation | None:
        """Judge by the seeds that all leaders have been trained with; None where those are fewer than enough."""
        seeds = self.ledger.full_rounds()
        if seeds < self.enough or self.ledger.all_failed():
            return None
        outcomes = {row.number: self.ledger.outcomes(row.number) for row in self.leaders}
        return confirmation(self.leaders, outcomes, self.ledger.sweep.objective, seeds, self.known_trials)

    def write_summary(self, folder: StudyFolder, _: SweepConfig, rows: Sequence[TrialRow]) -> None:
        write_history(folder.history, _history(rows, known_order(folder, NUMBER)))
        write_whole(folder.repetitions_table, _repetitions_csv(rows))
        judged = self.judgement()
        if judged is not None:
            write_whole(folder.judgement, judged.model_dump_json(indent=2))


def _history(rows: Sequence[TrialRow], known: Sequence[int]) -> list[EpochMetrics]:
    """Return one point for each repetition that has ended with a value, in that order, those `known` first."""
    places = {number: place for place, number in enumerate(known)}
    ended = sorted(
        (places.get(row.number, len(places)), row.ended_ms, row.number, row.value)
        for row in rows
        if row.ended_ms and row.value is not None
    )
    points: list[EpochMetrics] = []
    for step, (_, ended_ms, number, value) in enumerate(ended, 1):
        values = {"repetition/value": value, NUMBER: float(number)}
        points.append(EpochMetrics(epoch=step, values=values, timestamp_ms=after(points, ended_ms)))
    return points


def _repetitions_csv(rows: Sequence[TrialRow]) -> str:
    return table([COLUMNS, *map(_cells, rows)])


def _cells(row: TrialRow) -> list[Cell]:
    about = [row.params["trial"], row.params["seed"], row.state.value, row.value, row.best_epoch]
    return [*about, row.epochs, row.seconds, row.reason]
