"""What a driver does about the requests that reach it while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from sweeper.config.space_membership import fit
from sweeper.errors import StudyError
from sweeper.paths import StudyFolder
from sweeper.results import Cut
from sweeper.safeguards.quantity import quantity
from sweeper.study.ledger import Ledger
from sweeper.study.requests import Enqueue, Inbox, Pause, Request, Resume, SetTrials, SetWorkers, Skip, Stop
from sweeper.study.result import ASKED_TO_STOP

SHOWN = {"workers": "set"}
"""The command by which something is asked for, where it is called otherwise than the request."""

SKIPPED = Cut(why="skipped on request")


@dataclass(frozen=True)
class Reach:
    """What of a running driver requests can change.

    Attributes:
        live: Whether a trial runs.
        stop: Ends the search for a reason.
        resize: Changes how many workers the engine has. Raises StudyError where it cannot.
        stopped: Why no more trials are started, if that is so.
    """

    live: Callable[[int], bool]
    stop: Callable[[str], None]
    resize: Callable[[int], None]
    stopped: Callable[[], str | None] = lambda: None


class Steering:
    """Carries requests out as far as they concern what comes next; the driver asks what has become of them.

    Attributes:
        paused: Whether trials wait at the end of their epoch and none is started.
    """

    def __init__(self, folder: StudyFolder, store: Ledger):
        self._inbox = Inbox.of(folder)
        self._store = store
        self._skipped: set[int] = set()
        self._held: dict[int, tuple[int, bool]] = {}  # of each trial that waits: its epoch, and whether it is pruned
        self.paused = False

    def trial_started(self, number: int) -> None:
        """Take in that a worker gets a trial, which an earlier driver may have been asked to skip."""
        if self._store.to_skip(number):
            self._skipped.add(number)

    def heed(self, reach: Reach, tell: Callable[[str], None]) -> None:
        """Carry out what has been asked for, and tell what was done."""
        for path, request in self._inbox.take():
            try:
                done = self._do(request, reach)
            except (StudyError, OverflowError) as error:  # of a number that nobody has room for
                self._inbox.refuse(path, str(error))
            else:
                tell(f"{SHOWN.get(request.kind, request.kind)}: {done}")
                self._inbox.done(path, done)

    def _do(self, request: Request, reach: Reach) -> str:
        """Carry a request out, and say what it means. Raises StudyError where that cannot be."""
        match request:
            case Stop():
                self._pause(paused=False)
                reach.stop(ASKED_TO_STOP)
                return "no more trials are started; those that run are finished"
            case Pause():
                self._pause(paused=True)
                return "each trial waits at the end of its epoch; `sweeper resume` lets them go on"
            case Resume():
                was_paused = self.paused
                self._pause(paused=False)
                return "the trials go on" if was_paused else "it was not paused, and goes on as before"
            case Skip(number=number):
                self._skip(number, reach.live)
                return f"trial {number} ends with the epoch that it is in"
            case Enqueue(name=name, settings=settings):
                self._enqueue(name, settings)
                return f"{name} is queued"
            case SetTrials(trials=trials):
                self._require_going_on(reach)
                self._store.set_trials(trials)
                planned = self._store.budget
                why = "; the search space holds no more combinations" if planned < trials else ""
                return f"{quantity(planned, 'trial')} in all{why}"
            case SetWorkers(workers=workers):
                self._require_going_on(reach)
                reach.resize(workers)
                return request.meaning
            case _:
                assert_never(request)

    def _pause(self, *, paused: bool) -> None:
        self.paused = paused
        self._inbox.note_paused(paused)

    def _require_going_on(self, reach: Reach) -> None:
        """Raise StudyError for what would change nothing, since no more trials are started."""
        if why := reach.stopped():
            study = self._store.sweep.study
            raise StudyError(f"{study} starts no more trials ({why}); `sweeper run` goes on with it later")

    def _skip(self, number: int, live: Callable[[int], bool]) -> None:
        if self._store.to_skip(number):  # asked for again by a driver that went on, before it has begun the trial
            return
        if not live(number):
            study = self._store.sweep.study
            raise StudyError(f"trial {number} of {study} does not run now; `sweeper status {study}` shows which do")
        self._store.skip(number)
        self._skipped.add(number)

    def _enqueue(self, name: str, settings: dict[str, object]) -> None:
        sweep = self._store.sweep
        if sweep.sampler.name == "grid":
            raise StudyError(f"the sampler grid of {sweep.study} tries every combination anyway")
        misfits = fit(sweep.search, settings).misfits
        if misfits:
            raise StudyError(f"not in the search space of {sweep.study}: {'; '.join(map(str, misfits))}")
        if not (self._store.enqueue({name: settings}) or self._store.is_queued(name, settings)):
            raise StudyError(self._why_not_queued(name))

    def _why_not_queued(self, name: str) -> str:
        sweep, budget = self._store.sweep, self._store.budget
        if len(self._store.rows()) < budget:
            return f"{name} was queued before; choose another --name"
        if budget < sweep.budget.trials:
            return f"all {budget} combinations that the search space of {sweep.study} holds are tried or queued"
        return f"no trial is left of the {budget} of {sweep.study}; first: sweeper set {sweep.study} trials=N"

    def hold(self, number: int, epoch: int, *, prune: bool) -> None:
        """Keep the answer to an epoch until the study goes on."""
        self._held[number] = epoch, prune

    def answers(self) -> dict[int, bool]:
        """Return what waiting trials are answered now, whether each is pruned; nothing while the study is paused."""
        if self.paused:
            return {}
        held, self._held = self._held, {}
        return {number: prune or self._is_cut(number, epoch) for number, (epoch, prune) in held.items()}

    def _is_cut(self, number: int, epoch: int) -> bool:
        """Return whether a trial was to be skipped while its answer waited, and note that it ends."""
        cut = self.cut(number)
        if cut is not None:
            self._store.cut(number, epoch, cut)
        return cut is not None

    def trial_ended(self, number: int) -> None:
        """Take in that a trial is no longer on its worker."""
        self._held.pop(number, None)

    def cut(self, number: int) -> Cut | None:
        """Return why a trial ends with the epoch that it has finished, if it was asked to."""
        if number not in self._skipped:
            return None
        self._skipped.discard(number)
        return SKIPPED
