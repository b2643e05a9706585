"""The ensemble of a study as a teacher: which trials it is, that it answers as they do, and when there is none."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import softmax

from sweeper.commands.best import best
from sweeper.config.sweep import SweepConfig
from sweeper.data.card import DatasetCard
from sweeper.errors import ConfigError, StudyError
from sweeper.files import write_whole
from sweeper.modeling.classifier import build_classifier
from sweeper.paths import Workspace
from sweeper.results import PinnedTeacher, TrialOutcome, TrialSpec, TrialState
from sweeper.scores.confusion import write_confusion
from sweeper.scores.predictions import Predictions, write_predictions
from sweeper.search.study_store import StudyStore
from sweeper.standings.ranking import LEADERS
from sweeper.study.beginning import beginning_of
from sweeper.study.card import study_card
from sweeper.study.teachers import Teachers, pin_teachers, told
from sweeper.training import distillation
from sweeper.training.checkpoint import save_weights
from tests.training.learnable import CPU

DIGITS = tuple(map(str, range(10)))
IMAGES = 40
LABELS = np.arange(IMAGES) % 10
CARD = DatasetCard("digits", "d1", 8, DIGITS, {"train": 2}, {"train": (1, 1)})
TEAM = "study:big/ensemble"


def sweep_of(study: str, **search: Any) -> SweepConfig:
    content = {"backbone": "test_resnet", "image_size": 16, **search}
    return SweepConfig.model_validate({"study": study, "dataset": {"builtin": "digits"}, "search": content})


def said(*wrong: range, sure: float = 0.6, first: int = 0) -> Predictions:
    """Return predictions that are wrong, and less sure, for some of the images."""
    images = np.arange(IMAGES)
    mistaken = np.isin(images, [number for numbers in wrong for number in numbers])
    other = (LABELS + 1) % 10
    top, rest = np.where(mistaken, 0.4, sure), np.where(mistaken, 0.35, 0.1)
    classes = np.stack([np.where(mistaken, other, LABELS), np.where(mistaken, LABELS, other)], axis=1)
    shares = np.stack([top, rest], axis=1).astype(np.float32)
    true = np.where(mistaken, rest, top).astype(np.float32)
    return Predictions((images + first).astype(np.uint64), LABELS, classes, shares, true)


class Team:
    """A study whose trials have ended: real weights, and predictions that the test chooses."""

    def __init__(self, root: Path, **search: Any):
        self.workspace = Workspace(root)
        self.url = f"sqlite:///{self.workspace.optuna_database}"
        self.store = StudyStore.create_or_load(self.url, sweep_of("big", **search))

    def end(self, value: float, predictions: Predictions | None, **config: Any) -> Path:
        """End one more trial and return the file of its weights."""
        self.store.enqueue({f"of {value}": config} if config else {})
        (spec,) = self.store.next_group(1)
        outcome = TrialOutcome(state=TrialState.COMPLETE, epochs=1, best_epoch=1, best_value=value)
        folder = self.workspace.study("big").trial(spec.number)
        torch.manual_seed(spec.number)
        network = build_classifier(spec.config, len(DIGITS), load_weights=False)
        save_weights(folder.weights_of(1), network.state_dict())
        if predictions is not None:
            write_predictions(folder.predictions_of(1), predictions)
        write_confusion(folder.confusion / "best.csv", np.eye(10, dtype=np.int64), DIGITS)
        write_whole(folder.outcome, outcome.model_dump_json())
        self.store.finish(spec.number, outcome)
        return folder.weights_of(1)

    def pin(self, known: Teachers | None = None, teacher: str = TEAM) -> PinnedTeacher:
        mlflow = f"sqlite:///{self.workspace.mlflow_database}"
        sweep = sweep_of("small", teacher=teacher)
        return pin_teachers(sweep, known or {}, self.workspace, self.url, mlflow)[teacher]


@pytest.fixture
def team(tmp_path: Path) -> Team:
    """Trial 0 errs where trial 2 is right; trial 1 has a better value and adds nothing to either."""
    team = Team(tmp_path)
    team.end(0.9, said(range(8)))
    team.end(0.8, said(range(12)))
    team.end(0.7, said(range(20, 40), sure=0.9))
    return team


def test_the_members_are_the_leaders_that_answer_better_together(team: Team) -> None:
    found = team.pin()
    assert [member.trial for member in found.members] == [0, 2]
    assert (found.study, found.trial, found.classes, len(found.networks)) == ("big", None, DIGITS, 2)
    assert {member.digest for member in found.members}.isdisjoint({found.digest})
    (_, line), *_ = told({TEAM: found}, sweep_of("small", teacher=TEAM))
    assert line.startswith(
        f"{TEAM} = trial 0 (MLflow run not delivered yet) and trial 2 (MLflow run not delivered yet)"
    )


def test_it_answers_with_the_mean_of_what_its_members_answer_alone(team: Team) -> None:
    sweep, folder = sweep_of("small", teacher=TEAM), team.workspace.study("small")
    card = study_card(sweep, CARD, folder, "sqlite:///a.db", teachers={TEAM: team.pin()})
    assert card.tags["sweeper.teacher"].startswith(f"{TEAM} = trial 0 (")
    config = sweep.search.model_dump() | {"teacher": {"name": TEAM}}
    spec = TrialSpec.model_validate({"number": 0, "seed": 0, "epochs": 1, "config": config})
    loaded = distillation.Teachers(CPU).of(beginning_of(card, folder, team.workspace).of(spec))
    assert loaded is not None
    images = torch.randn(5, 3, 16, 16)
    alone = []
    for trial in (0, 2):
        network = build_classifier(spec.config, len(DIGITS), load_weights=False).eval()
        network.load_state_dict(load_file(team.workspace.study("big").trial(trial).weights_of(1)))
        alone.append(softmax(network(images).detach().numpy().astype(np.float64), axis=1))
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    together = loaded.network(images).softmax(1).numpy()
    assert np.allclose(together, np.mean(alone, axis=0), atol=1e-6)


def test_it_stays_what_it_was_whatever_wins_later(team: Team) -> None:
    found = team.pin()
    team.end(0.95, said(range(2)))
    known = {TEAM: found}
    assert team.pin(known) == found
    team.workspace.weights(found.digest).unlink()
    assert team.pin(known) == found  # made again of the same members
    assert team.pin().members[0].trial == 3  # what a new study would begin with


def test_a_network_of_another_image_size_or_normalisation_takes_no_part(tmp_path: Path) -> None:
    team = Team(tmp_path, image_size={"choice": [16, 24]}, backbone={"choice": ["test_resnet", "test_efficientnet"]})
    team.end(0.9, said(range(8)), image_size=16, backbone="test_resnet")
    for value, image_size, backbone in ((0.8, 24, "test_resnet"), (0.7, 16, "test_efficientnet")):
        team.end(value, said(range(20, 40), sure=0.9), image_size=image_size, backbone=backbone)
    reasons = "trial 1 takes images of 24 pixels, and not of 16, trial 2 normalises images otherwise, as test_efficient"
    with pytest.raises(StudyError, match=reasons):
        team.pin()
    team.end(0.6, said(range(20, 40), sure=0.9), image_size=16, backbone="test_resnet")
    assert [member.trial for member in team.pin().members] == [0, 3]


def test_a_study_without_an_ensemble_is_refused_with_the_reason_for_each_trial(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team.end(0.9, said(range(8)))
    with pytest.raises(StudyError, match=r"big has no ensemble: no other trial than 0 has finished; name study:big/be"):
        team.pin()
    team.end(0.8, said(range(12)))
    team.end(0.7, said(range(20, 40), sure=0.9, first=100))
    team.end(0.6, None)
    wanted = (
        r"search\.teacher is study:big/ensemble, which cannot be used: big has no ensemble: beside its best, trial 0, "
        r"trial 1 does not raise the accuracy on the 20 validation images by which members are chosen, trial 2 was "
        r"validated on other images, trial 3 cannot take part \(trial 3 has kept no predictions, .*\); "
        r"name study:big/best"
    )
    with pytest.raises(StudyError, match=wanted):
        team.pin()


def test_a_cross_validated_study_has_no_ensemble_even_for_other_images(tmp_path: Path) -> None:
    team = Team(tmp_path)
    crossed = {**sweep_of("big").model_dump(by_alias=True), "study": "folded", "dataset": {"path": "x", "folds": 3}}
    StudyStore.create_or_load(team.url, SweepConfig.model_validate(crossed))
    with pytest.raises(
        StudyError, match=r"folded is cross-validated, and its networks have seen all .* study:folded/best"
    ):
        team.pin(teacher="study:folded/ensemble")


def test_a_trial_cannot_begin_from_an_ensemble() -> None:
    with pytest.raises(ValueError, match=r"should be one network, and an ensemble is several.*name study:big/best"):
        sweep_of("small", pretrained=TEAM)


def test_as_many_leaders_take_part_as_in_an_export() -> None:
    assert inspect.signature(best).parameters["leaders"].default == LEADERS


def test_an_ensemble_that_has_seen_the_images_that_judge_is_refused(team: Team) -> None:
    folded = {**sweep_of("small", teacher=TEAM).model_dump(by_alias=True), "dataset": {"builtin": "digits", "folds": 3}}
    folded["search"]["teacher"] = "none"
    sweep = SweepConfig.model_validate(folded)
    sweep = sweep.model_copy(update={"search": sweep_of("small", teacher=TEAM).search})
    with pytest.raises(ConfigError, match=r"search\.teacher: big was trained on these images"):
        pin_teachers(sweep, {}, team.workspace, team.url, "sqlite:///a.db")
