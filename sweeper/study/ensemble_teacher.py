"""The ensemble of an earlier study as a teacher: which of its best trials answer together.

They are chosen as `sweeper best STUDY --ensemble` chooses them, among as many leaders and on every second validation
image, but by what the trials have said of these images when they were trained. So no network runs, and no image is
needed. Whether an export would ship the ensemble in the winner's place is not asked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sweeper.config.hyperparameters import TrialConfig
from sweeper.errors import StudyError
from sweeper.modeling.name_check import normalizations_apart, save_together_apart
from sweeper.results import PinnedTeacher, PinnedWeights, TrialRow
from sweeper.scores.confusion import read_confusion
from sweeper.scores.predictions import Predictions, read_predictions
from sweeper.standings.ranking import LEADERS, finished_behind
from sweeper.standings.trial_names import require_weights, trial_of
from sweeper.standings.winner import winner_of
from sweeper.study.earlier_study import EarlierStudy
from sweeper.study.exported_teacher import network_of
from sweeper.study.pretrained import file_digest, keep

LEAST = 1e-8
"""In place of a probability that half precision has rounded to nothing."""


@dataclass(frozen=True)
class Leader:
    """A finished trial that may be a member, and what it has said of the validation images."""

    row: TrialRow
    network: TrialConfig
    said: Predictions


def ensemble_of(earlier: EarlierStudy, before: PinnedTeacher | None) -> PinnedTeacher:
    """Choose the members of a study's ensemble, or take those of `before`, and keep their weights in one file.

    Raises StudyError where a study has no ensemble, NoWinner, TrackingError; ModelError for a damaged file of weights.
    """
    store, study = earlier.store, earlier.store.sweep.study
    with tempfile.TemporaryDirectory(prefix="sweeper-teacher-") as temporary:
        folder = Path(temporary)
        if before is not None:
            rows: Sequence[TrialRow] = [trial_of(store, member.trial) for member in before.members]
        else:
            rows = _members(earlier, folder)
        networks = tuple(_network(earlier, row) for row in rows)
        found = [earlier.fetch(row, _place(folder, row), ("weights",)) for row in rows]
        whole = folder / "ensemble.safetensors"
        save_together_apart(tuple(artifacts.weights for artifacts in found), whole)
        members = (
            PinnedWeights(digest=file_digest(left.weights), study=study, trial=row.number, run_id=left.run_id)
            for row, left in zip(rows, found, strict=True)
        )
        return PinnedTeacher(
            digest=keep(earlier.workspace, whole),
            study=study,
            networks=networks,
            classes=_classes(earlier, rows[0], folder),
            members=tuple(members),
        )


def _members(earlier: EarlierStudy, folder: Path) -> list[TrialRow]:
    """Return the trials that answer best together, the winner first. Raises StudyError where it answers best alone."""
    from sweeper.scores.ensembling import greedy_ensemble

    store = earlier.store
    if store.sweep.dataset.folds:
        rule = "and its networks have seen all images by which the members of an ensemble would be chosen"
        raise StudyError(f"{store.sweep.study} is cross-validated, {rule}; {_instead(earlier)}")
    winner = winner_of(store)
    behind = finished_behind(store.rows(), store.sweep.objective.direction, winner)[: LEADERS - 1]
    first, others, left_out = _leaders(earlier, winner, behind, folder)
    leaders, classes = [first, *others], len(_classes(earlier, winner, folder))
    chosen = greedy_ensemble([_scores(leader, classes)[::2] for leader in leaders], first.said.labels[::2])
    if len(chosen) > 1:
        return [leaders[place].row for place in chosen]
    half = (len(first.said) + 1) // 2
    helpless = f"does not raise the accuracy on the {half:,} validation images by which members are chosen"
    reasons = {leader.row.number: helpless for leader in others} | left_out
    raise StudyError(f"{store.sweep.study} has no ensemble: {_alone(winner, behind, reasons)}; {_instead(earlier)}")


def _leaders(
    earlier: EarlierStudy, winner: TrialRow, behind: Sequence[TrialRow], folder: Path
) -> tuple[Leader, list[Leader], dict[int, str]]:
    """Return the winner, those behind it that may be members, and by the numbers of the others why they may not.

    Raises StudyError where the winner has left no weights or predictions.
    """
    try:
        first = _leader(earlier, winner, folder)
    except StudyError as error:
        raise StudyError(f"{earlier.store.sweep.study} has no ensemble: {error}; {_instead(earlier)}") from error
    others: list[Leader] = []
    left_out: dict[int, str] = {}
    for row in behind:
        try:
            leader = _leader(earlier, row, folder)
        except StudyError as error:
            left_out[row.number] = f"cannot take part ({error})"
            continue
        if why := _unlike(leader, first):
            left_out[row.number] = why
        else:
            others.append(leader)
    earlier.require_same_code([leader.network for leader in (first, *others)])
    alike = _alike(earlier, first.network, [leader.network for leader in others])
    for leader, same in zip(others, alike, strict=True):
        if not same:
            left_out[leader.row.number] = f"normalises images otherwise, as {leader.network.backbone} does"
    return first, [leader for leader in others if leader.row.number not in left_out], left_out


def _leader(earlier: EarlierStudy, row: TrialRow, folder: Path) -> Leader:
    """Return a trial with what it has said. Raises StudyError where it has left no weights or predictions."""
    network = _network(earlier, row)
    file = earlier.fetch(row, _place(folder, row), ("predictions",)).predictions
    if file is None:
        raise StudyError(f"trial {row.number} has kept no predictions, by which the members of an ensemble are chosen")
    return Leader(row, network, read_predictions(file))


def _classes(earlier: EarlierStudy, row: TrialRow, folder: Path) -> tuple[str, ...]:
    """Return the names of a study's classes, which any of its trials has left."""
    return tuple(read_confusion(earlier.fetch(row, _place(folder, row), ("confusion",)).confusion)[1])


def _network(earlier: EarlierStudy, row: TrialRow) -> TrialConfig:
    config, _ = require_weights(earlier.store, row)
    return network_of(config.backbone, config.head, config.image_size, config.test_time_augmentation)


def _unlike(leader: Leader, winner: Leader) -> str | None:
    """Say why a trial cannot answer together with the winner; None where it can."""
    if leader.network.image_size != winner.network.image_size:
        return f"takes images of {leader.network.image_size} pixels, and not of {winner.network.image_size}"
    if not np.array_equal(leader.said.images, winner.said.images):
        return "was validated on other images"
    return None


def _alike(earlier: EarlierStudy, first: TrialConfig, others: Sequence[TrialConfig]) -> list[bool]:
    """Return which networks normalise images as the first one does."""
    one_of_each = {network.backbone: network for network in (first, *others)}
    if len(one_of_each) == 1:
        return [True] * len(others)
    found = normalizations_apart(tuple(one_of_each.values()), tuple(earlier.sweep.model_files))
    by_name = dict(zip(one_of_each, found, strict=True))
    return [by_name[network.backbone] == by_name[first.backbone] for network in others]


def _scores(leader: Leader, classes: int) -> npt.NDArray[np.float32]:
    """Return the logarithms of the probabilities of C classes, float32 [N, C]."""
    return np.log(np.maximum(leader.said.shares(classes), LEAST)).astype(np.float32)


def _alone(winner: TrialRow, behind: Sequence[TrialRow], reasons: dict[int, str]) -> str:
    if not behind:
        return f"no other trial than {winner.number} has finished"
    told = ", ".join(f"trial {row.number} {reasons[row.number]}" for row in behind)
    return f"beside its best, trial {winner.number}, {told}"


def _instead(earlier: EarlierStudy) -> str:
    return f"name study:{earlier.store.sweep.study}/best"


def _place(folder: Path, row: TrialRow) -> Path:
    return folder / f"trial-{row.number}"
