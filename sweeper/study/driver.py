"""The driver: owns the study, hands out trials, decides on pruning and records what happens.

It is the only writer of the study's storage and of MLflow. Whatever kills it, the same command
goes on from what is on disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby

from sweeper.config.sweep import SweepConfig
from sweeper.engines.protocol import (
    AtWork,
    DiskTrouble,
    Engine,
    EpochFinished,
    Event,
    ImagesChanged,
    SlotRetired,
    TrialEnded,
    WorkerDied,
    WorkerReady,
)
from sweeper.errors import DiskError, StudyChanged, StudyError, StudyTakenOver
from sweeper.files import write_sealed
from sweeper.paths import StudyFolder
from sweeper.results import TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.standings.failure_streak import FailureStreak
from sweeper.study.beginning import WITHOUT_FILES, Beginning
from sweeper.study.cuts import Cuts
from sweeper.study.ending import FAILED, FINISHED, KILLED, RUNNING, note_ending
from sweeper.study.folds_ahead import FoldsAhead
from sweeper.study.ledger import Ledger, as_counted, given_up, kept_outcome
from sweeper.study.losses import Losses
from sweeper.study.observer import Observer
from sweeper.study.replays import Replays
from sweeper.study.result import ASKED_TO_STOP, SweepResult
from sweeper.study.silence import Silence
from sweeper.study.steering import Reach, Steering
from sweeper.study.stopping import StopRequest
from sweeper.study.summary import SummaryClock, write_summary
from sweeper.study.time_limit import Clock, TimeLimit, Timeout, TimeUsed
from sweeper.tracking.outbox import DeliveryPhase, Outbox
from sweeper.tracking.tensorboard import EventFiles

logger = logging.getLogger(__name__)

DELIVERY_PATIENCE_S = 120.0  # for one folder to arrive in MLflow after the last trial
LEAVING_S = 5.0  # for all of them after SIGTERM, after which a scheduler waits for seconds only
GIVE_UP_TIMEOUT_S = 20.0  # for telling MLflow that a sweep has ended with an error
POLL_S = 0.5
COUNT_S = 10.0  # between two notes of how long the study has run; a kill loses no more

NOBODY_TRAINS = (TrialState.WAITING, TrialState.PAUSED)

EngineFactory = Callable[[], Engine]
Summary = Callable[[StudyFolder, SweepConfig, list[TrialRow]], None]
"""Writes what the parent run holds: history and artifacts, into the folder of the study."""


class Driver:
    """Runs one study, or a confirmation of one; holds its lock for as long as it lives.

    Trials get the files of `beginning`. What is recorded in `events` stands there before the study counts a trial as
    finished. `summary` writes what the parent run holds. `before_trials` refuses what must not be compared, before any
    is begun. `clock` counts the time of the budget and of silent workers, by default that of this process. `limit` says
    what the time allows, by default as the budget's timeout does; `enough` why no more trials are worth their time.
    """

    def __init__(
        self,
        store: Ledger,
        folder: StudyFolder,
        outbox: Outbox,
        observer: Observer,
        *,
        beginning: Beginning = WITHOUT_FILES,
        events: EventFiles | None = None,
        summary: Summary = write_summary,
        before_trials: Callable[[], object] = lambda: None,
        clock: Clock | None = None,
        limit: TimeLimit | None = None,
        enough: Callable[[], str | None] = lambda: None,
    ):
        self._store = store
        self._summary = summary
        self._before_trials = before_trials
        self._folder = folder
        self._outbox = outbox
        self._observer = observer
        self._beginning = beginning
        self._events = events
        self._live: dict[int, TrialSpec] = {}
        self._stop_request = StopRequest()
        self._stop_reason: str | None = None
        self._finishes_begun = False
        self._clock = clock or time.monotonic
        self._limit = limit or Timeout(store.sweep.budget.timeout, store.seconds_used, self._clock)
        self._enough = enough
        self._replays = Replays(folder, store)
        self._silence = Silence(store.sweep.budget.stuck_after, clock)
        self._losses = Losses(store)
        self._failures = FailureStreak(store.sweep.budget.max_consecutive_failures)
        self._summary_clock = SummaryClock()
        self._steering = Steering(folder, store)
        self._cuts = Cuts(store, observer, self._steering, self._limit, self._replays)
        self._folds_ahead = FoldsAhead(store.sweep.dataset.folds, folder)

    def run(self, engine_factory: EngineFactory) -> SweepResult:
        note_ending(self._folder, RUNNING)
        self._store.requeue_interrupted()
        rows = self._store.rows()
        self._failures.recall(rows)
        self._observer.study_opened(self._store.sweep, rows, self._store.budget)
        self._outbox.start()
        self._send_leftovers(rows)
        try:
            with self._stop_request.heard():
                if self._store.remaining():
                    self._run_trials(engine_factory)
                if self._stop_request.to_leave:
                    return self._finish()
            return self._finish()  # which Ctrl-C ends
        except StudyTakenOver:  # the trials and their runs are another driver's now
            self._outbox.abandon()
            raise
        except BaseException as error:
            if isinstance(error, Exception) or not self._stop_request:  # a second Ctrl-C ends it at once
                self._abandon(FAILED if isinstance(error, Exception) else KILLED)
            raise

    def _send_leftovers(self, rows: list[TrialRow]) -> None:
        """Deliver the folders of trials that ended in an earlier run, and of others that nobody trains now."""
        states = {row.number: row.state for row in rows}
        for number in (folder.number for folder in self._folder.trials()):
            if number in states and states[number].ended:
                self._outbox.notify(number, DeliveryPhase.ENDED)
            elif states.get(number) in NOBODY_TRAINS:  # a dead driver may have left its run open
                self._outbox.notify(number, DeliveryPhase.INTERRUPTED)

    def _run_trials(self, engine_factory: EngineFactory) -> None:
        time_is_up = False
        used = TimeUsed(self._store.add_seconds_used, self._limit.clock or self._clock)
        engine = engine_factory()
        self._stop_request.hear()
        try:
            self._end_paused(lambda number: self._folder.trial(number).outcome.exists())  # which a dead driver began
            while True:
                self._heed_requests(engine)
                if why := self._limit.used_up() or self._enough():
                    self._stop(why, finishes_begun=self._limit.finishes_begun)
                    time_is_up = True
                self._fill(engine)
                if self._stop_request or self._limit.over():
                    break
                if not (self._live or self._more_to_start()):
                    wanted = time_is_up or (self._limit.needs_model and self._stop_reason == ASKED_TO_STOP)
                    number = self._store.paused_to_finish() if wanted else None
                    if number is None:
                        break
                    if engine.idle:
                        self._begin(engine, [self._store.go_on(number)])
                self._summarize()  # when the workers are busy again
                used.count(COUNT_S)
                for reports, events in groupby(engine.events(POLL_S), lambda event: isinstance(event, EpochFinished)):
                    if reports:
                        self._take_reports(engine, [event for event in events if isinstance(event, EpochFinished)])
                    else:
                        for event in events:
                            self._handle(event)
                self._look_after_silent_trials(engine)
                self._observer.tracking_trouble(self._outbox.trouble)
            if time_is_up and not self._stop_request:
                self._end_paused()
            used.count()
        except BaseException:
            with suppress(StudyError):  # the first error is the one to raise
                used.count()
            raise
        finally:
            engine.close()
            if self._events is not None:
                self._events.close()

    def _heed_requests(self, engine: Engine) -> None:
        """Do what commands have asked for, and give the answers that waited if the study goes on."""
        reach = Reach(self._live.__contains__, self._stop, engine.resize, lambda: self._stop_reason)
        self._steering.heed(reach, lambda what: self._observer.steered(what, self._store.budget))
        if answers := self._steering.answers():
            self._silence.begin_again()
            self._limit.waited(answers)
            for number, prune in answers.items():
                engine.answer(number, prune=prune)

    def _look_after_silent_trials(self, engine: Engine) -> None:
        """Tell of trials from which nothing has come for long, and give up those for which it has been too long."""
        if self._steering.paused:
            return
        for number, seconds in self._silence.news():
            self._observer.trial_silent(number, seconds)
        for number in self._silence.overdue():
            engine.give_up(number, f"no epoch came from its worker for {self._store.sweep.budget.stuck_after:g} s")

    def _more_to_start(self) -> bool:
        if self._stop_reason is not None:
            return self._finishes_begun and self._store.has_interrupted()
        return self._store.remaining() > 0

    def _fill(self, engine: Engine) -> None:
        """Give every idle slot a group of trials, as long as there are any to start; mostly a group is one trial."""
        while engine.idle and not (self._stop_request or self._steering.paused):
            begun = self._stop_reason is not None
            if begun and not self._more_to_start():
                break
            self._before_trials()
            asked = self._store.next_group(self._store.sweep.features.fuse, interrupted=begun)
            if not asked:
                if not (self._live or begun):
                    self._end_paused()
                break
            self._begin(engine, asked)
        if not (self._stop_request or self._steering.paused):
            self._folds_ahead.fill(engine, self._live.values())

    def _begin(self, engine: Engine, asked: Sequence[TrialSpec]) -> None:
        """Give a group of trials to an idle slot."""
        group = [self._beginning.of(spec) for spec in asked]
        self._live |= {spec.number: spec for spec in group}
        self._limit.group_started(group)
        self._silence.group_started([spec.number for spec in group])
        for spec in group:
            self._replays.trial_started(spec.number)
            self._steering.trial_started(spec.number)
            write_sealed(self._folder.trial(spec.number).spec, spec.model_dump_json())
            self._observer.trial_started(spec)
            if self._events is not None:
                self._events.trial_started(spec)
        engine.submit(group)
        for spec in group:
            self._outbox.notify(spec.number, DeliveryPhase.RUNNING)

    def _take_reports(self, engine: Engine, reports: Sequence[EpochFinished]) -> None:
        """Report epochs of several trials, which are stored together, and answer once they are."""
        metric, told = self._store.sweep.objective.metric, [(report.number, report.metrics) for report in reports]
        with self._store.together():
            prunes = [
                self._store.report(number, metrics.epoch, metrics.values[metric], metrics.values.get("lr"))
                for number, metrics in told
            ]
        for (number, metrics), pruned in zip(told, prunes, strict=True):
            prune = self._cuts.ends(self._live[number], metrics, prune=pruned)
            if self._steering.paused and not self._replays.was_judged(number, metrics):
                self._steering.hold(number, metrics.epoch, prune=prune)
            else:
                engine.answer(number, prune=prune)
            if self._replays.was_trained(number, metrics):
                self._silence.at_work(number)
            else:
                self._silence.epoch_finished(number)
                self._losses.epoch_finished(number)
            self._outbox.notify(number, DeliveryPhase.RUNNING)
            if self._events is not None:
                self._events.epoch_finished(number, metrics)
            self._observer.epoch_finished(number, metrics)

    def _handle(self, event: Event) -> None:
        match event:
            case TrialEnded(number, outcome) if outcome.state is TrialState.PAUSED:
                self._pause(number, outcome)
            case TrialEnded(number, outcome):
                self._end_trial(number, as_counted(self._store, number, outcome, self._folder.trial(number)))
            case AtWork(number):
                self._silence.at_work(number)
            case WorkerReady(room):
                self._observer.worker_ready(room.device)
            case WorkerDied():
                self._lose_worker(event)
            case SlotRetired(reason, left):
                self._lose_slot(reason, left)
            case DiskTrouble(_, message):
                raise DiskError(message)
            case ImagesChanged(_, message):
                raise StudyChanged(message)

    def _end_trial(self, number: int, outcome: TrialOutcome) -> None:
        if self._events is not None:  # before the study counts it as finished: nobody would write it later
            self._events.trial_ended(number, outcome)
        self._store.finish(number, outcome, self._outbox.run_of(number))
        self._off_worker(number, complete=outcome.state is TrialState.COMPLETE)
        self._outbox.notify(number, DeliveryPhase.ENDED)
        self._summary_clock.trial_ended()
        self._observer.trial_ended(number, outcome)
        if self._failures.count(outcome):
            self._stop(f"{self._failures.limit} trials in a row failed for the same reason: {outcome.reason}")

    def _pause(self, number: int, outcome: TrialOutcome) -> None:
        self._store.pause(number, outcome)
        self._off_worker(number)
        self._outbox.notify(number, DeliveryPhase.INTERRUPTED)
        self._observer.trial_paused(number, outcome)

    def _off_worker(self, number: int, *, complete: bool = False) -> None:
        """Note that a trial is no longer on a worker, and whether it is complete."""
        self._live.pop(number, None)
        self._steering.trial_ended(number)
        self._limit.trial_ended(number, complete=complete)
        self._silence.trial_ended(number)

    def _end_paused(self, which: Callable[[int], bool] = lambda _: True) -> None:
        """End the trials that are paused, since none of them goes on: their workers have left all that is kept."""
        for number, outcome in self._store.end_paused(which, self._stop_reason):
            folder = self._folder.trial(number)
            outcome = kept_outcome(folder, outcome)
            folder.remove_to_go_on()
            self._end_trial(number, outcome)

    def _summarize(self) -> None:
        """Bring the parent run up to date, if that is due."""
        if self._summary_clock.due():
            self._summary_clock.write(lambda: self._summary(self._folder, self._store.sweep, self._store.rows()))
            self._outbox.notify_sweep("RUNNING")

    def _lose_worker(self, died: WorkerDied) -> None:
        """Put the trial of a dead worker or a lost machine back in the queue, or end it, which nobody lived to do."""
        number = died.number
        self._observer.worker_died(number, died.reason)
        if number is None:
            return
        outcome = self._losses.of(number, died)
        if outcome is None:
            self._put_back(number)
            return
        folder = self._folder.trial(number)
        outcome = given_up(self._store, self._live[number], outcome, folder)
        write_sealed(folder.outcome, outcome.model_dump_json())
        folder.remove_to_go_on()
        self._end_trial(number, outcome)

    def _put_back(self, number: int) -> None:
        self._store.requeue(number)
        self._folds_ahead.forget(number)
        self._off_worker(number)

    def _lose_slot(self, reason: str, left: int) -> None:
        """Go on with the slots that are left. Raises StudyError where there is none."""
        if not left:
            raise StudyError(
                f"no worker can start: {reason}. What they printed is in {self._folder.worker_logs}; "
                "when that is repaired, run the same command again to go on"
            )
        self._observer.slot_retired(reason, left)

    def _stop(self, reason: str, *, finishes_begun: bool = False) -> None:
        """Start no more trials; those that run are finished, `finishes_begun`: and those that were interrupted."""
        first = self._stop_reason is None
        self._finishes_begun = finishes_begun and (first or self._finishes_begun)
        if first:
            self._stop_reason = reason
            self._observer.stopping(reason)

    def _finish(self) -> SweepResult:
        """Leave nothing marked as running, and deliver what is left."""
        for number in sorted(self._live):
            self._put_back(number)
            self._outbox.notify(number, DeliveryPhase.INTERRUPTED)
        rows = self._store.rows()
        self._summary(self._folder, self._store.sweep, rows)
        interrupted, to_leave = bool(self._stop_request), self._stop_request.to_leave
        self._tell_ending(KILLED if interrupted else FINISHED)
        self._store.close()
        at_most_s = LEAVING_S if to_leave else DELIVERY_PATIENCE_S if interrupted else self._limit.delivery_s()
        try:
            undelivered = self._outbox.close(DELIVERY_PATIENCE_S, at_most_s, self._observer.delivering)
        except KeyboardInterrupt:  # it stays on disk
            interrupted, undelivered = True, self._outbox.left
        refused, trouble = (self._outbox.refused, self._outbox.trouble) if undelivered else (None, None)
        ended = rows, interrupted, self._stop_reason
        return SweepResult(*ended, undelivered, self._outbox.experiment, refused, trouble, told_to_leave=to_leave)

    def _tell_ending(self, status: str) -> None:
        """Note how the study ends and tell MLflow, to which `sync` may have to say it later."""
        with suppress(StudyError):  # a full disk, which is told already
            note_ending(self._folder, status)
        self._outbox.notify_sweep(status)

    def _abandon(self, status: str) -> None:
        """Put what ran back in the queue, as far as the storage lets us, and let MLflow know that nothing runs."""
        for number in sorted(self._live):
            with suppress(StudyError):
                self._store.requeue(number)
            self._outbox.notify(number, DeliveryPhase.INTERRUPTED)
        with suppress(StudyError):
            self._store.close()
        self._tell_ending(status)
        self._outbox.close(GIVE_UP_TIMEOUT_S, GIVE_UP_TIMEOUT_S)
