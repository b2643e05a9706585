"""The average of a trial's best epochs, where it is at least as good as the best of them.

Epochs of one training lie in one basin, and their mean nearer to its bottom than any of them. They are taken in the
greedy order of Wortsman et al. (arXiv 2203.05482); AutoGluon's MultiModalPredictor ends a training in this way unless
told otherwise, with three checkpoints.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sweeper.data.out_of_memory import is_memory
from sweeper.errors import DoesNotFit, RankLost, TrialError, first_line
from sweeper.files import Damaged
from sweeper.paths import TrialFolder
from sweeper.results import EpochSoup, TrialOutcome
from sweeper.scores.predictions import write_predictions
from sweeper.training.checkpoint import read_leading
from sweeper.training.conditions import Conditions
from sweeper.training.learner import Learner
from sweeper.training.progress import Progress
from sweeper.training.ranks import Ranks
from sweeper.training.soup import averaged, greedy_soup
from sweeper.training.task import Validation

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochMerger:
    """Averages the leading epochs of a trial that trains no further, and judges the averages.

    An average depends on its epochs and the seed alone, so that a trial which is killed here makes the same one again.
    Of several ranks all make it together.

    Attributes:
        learner, conditions: Of the trial.
        epoch: The last one, on whose images batch statistics are measured.
        best: The objective in the best epoch.
        states: The weights of the leading epochs, best first.
        seed: Of what is random while batch statistics are measured.
    """

    learner: Learner
    conditions: Conditions
    epoch: int
    best: float
    states: list[dict[str, Tensor]]
    seed: int
    _judged: dict[tuple[int, ...], Validation] = field(default_factory=dict)

    def merge(self) -> tuple[tuple[int, ...], Validation | None]:
        """Return the places of the epochs that are averaged and what their average is worth; None of one alone.

        The learner then has its weights as those of the average. Raises DoesNotFit, RankLost.
        """
        chosen = greedy_soup(len(self.states), self._score)
        if len(chosen) > 1:
            network = self._average(chosen)
            self.learner.average_of_best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        return chosen, self._judged.get(chosen)

    def _score(self, members: tuple[int, ...]) -> float:
        """Return the objective of an average of epochs, turned so that more is better."""
        objective, value = self.conditions.objective, self.best
        if len(members) > 1:
            self._judged[members] = validated = self._judge(members)
            value = validated.metrics[objective.metric]
        return value if objective.direction == "maximize" else -value

    def _judge(self, members: tuple[int, ...]) -> Validation:
        learner, device, ranks = self.learner, self.conditions.device, self.conditions.ranks
        network, images = self._average(members), learner.inputs.val()
        self.conditions.at_work()
        found = learner.task.validate(network, images, device, learner.micro_batches, ranks)
        return Validation(ranks.agree(found.values), found.exhibit, found.top)

    def _average(self, members: tuple[int, ...]) -> torch.nn.Module:
        self.conditions.at_work()
        torch.manual_seed(self.seed)
        state = averaged([self.states[member] for member in members])
        return self.learner.take_up(state, self.epoch, self.conditions.device)


def with_average(
    outcome: TrialOutcome,
    learner: Learner,
    progress: Progress,
    folder: TrialFolder,
    conditions: Conditions,
    seed: int,
    *,
    fits: bool = True,
) -> TrialOutcome:
    """Average the leading epochs of a complete trial, and return its outcome with what came of it.

    Where the average is kept, the learner has its weights, `progress` what it shows and has right, and the first rank
    has written its predictions in place of the best epoch's. Where there is no memory for that, the best epoch is kept;
    without `fits` that is taken for known, since a worker was killed for memory after the last epoch. Raises RankLost,
    TrialError where the weights of an epoch are damaged.
    """
    if progress.best_epoch is None or progress.best_value is None:
        return outcome
    started = time.perf_counter()
    try:
        if not fits:
            raise DoesNotFit("a worker was killed for memory after the last epoch")
        states = _read_states(folder, progress.leading, conditions.ranks)
        chosen, found = EpochMerger(learner, conditions, progress.epochs, progress.best_value, states, seed).merge()
    except (DoesNotFit, RuntimeError, MemoryError) as error:
        if not (isinstance(error, DoesNotFit) or is_memory(error)):
            raise
        if conditions.ranks.several and fits:  # the others wait for what this one would send
            raise RankLost(first_line(error), for_memory=True) from error
        logger.warning(
            "the best epochs are not averaged because memory ran out (%s); the trial keeps its best one, epoch %d",
            first_line(error),
            progress.best_epoch,
        )
        chosen, found = (0,), None
    soup = EpochSoup(epochs=tuple(progress.leading[place] for place in chosen), best_epoch_value=progress.best_value)
    changed = {"soup": soup, "seconds": outcome.seconds + time.perf_counter() - started}
    if found is None:
        return outcome.model_copy(update=changed)
    progress.exhibits["best"] = found.exhibit
    if found.top is not None:
        progress.right.append(found.top.right(conditions.data.val))
        predictions = found.top.named(conditions.data.val)
        if conditions.ranks.first and predictions is not None:
            write_predictions(folder.predictions_of(progress.best_epoch), predictions)
    changed |= {"best_value": found.metrics[conditions.objective.metric]}
    changed |= {"best_metrics": outcome.best_metrics | found.metrics}
    return outcome.model_copy(update=changed)


def _read_states(folder: TrialFolder, epochs: Sequence[int], ranks: Ranks) -> list[dict[str, Tensor]]:
    """Return the weights of epochs, which the first rank has written, on every rank. Raises TrialError, RankLost."""
    found: list[dict[str, Tensor]] | str = []
    if ranks.first:
        try:
            found = [read_leading(folder.leading_of(epoch)) for epoch in epochs]
        except Damaged as error:
            found = str(error)
    found = ranks.agree(found)
    if isinstance(found, str):
        raise TrialError(f"{found}; check the disk, and train the configuration again")
    return found
