"""Two models compared: McNemar's test, the pairing of images, and what the command says about them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.config.dataset import DatasetConfig
from sweeper.display.difference import verdict
from sweeper.errors import StudyError
from sweeper.paths import Workspace
from sweeper.report import compared_model
from sweeper.report.compared_model import Side, SideFinder, _folder_of_images
from sweeper.report.difference import difference, pair
from sweeper.scores.calibration_error import BINS, reliability
from sweeper.scores.mcnemar import mcnemar
from sweeper.scores.predictions import Predictions, image_ids, read_predictions
from sweeper.search.study_store import StudyStore


@given(gained=st.integers(0, 25), lost=st.integers(0, 25))
def test_mcnemars_p_is_the_share_of_coin_tosses_at_least_as_uneven(gained: int, lost: int) -> None:
    tosses = gained + lost
    uneven = [k for k in range(tosses + 1) if abs(2 * k - tosses) >= abs(gained - lost)]
    expected = sum(math.comb(tosses, k) for k in uneven) / 2**tosses
    assert mcnemar(gained, lost) == pytest.approx(expected)
    assert mcnemar(gained, lost) == pytest.approx(mcnemar(lost, gained))


def predictions(seed: int, names: list[str], classes: int = 4) -> Predictions:
    random = np.random.default_rng(seed)
    order = random.permuted(np.tile(np.arange(classes), (len(names), 1)), axis=1)
    shares = np.sort(random.dirichlet(np.ones(classes), len(names)), axis=1)[:, ::-1].astype(np.float32)
    labels = np.array([len(name) % classes for name in names])
    return Predictions(image_ids(names), labels, order, shares, shares[:, 0])


@given(seed=st.integers(0, 99), left=st.sets(st.integers(0, 40)), right=st.sets(st.integers(0, 40)))
def test_images_are_paired_by_name_whatever_their_order(seed: int, left: set[int], right: set[int]) -> None:
    names = ["x" * (number + 1) for number in range(41)]
    everyone = predictions(seed, names)
    order = np.random.default_rng(seed).permutation(sorted(right)).astype(int)

    def rows(chosen: object) -> Predictions:
        return Predictions(**{name: value[np.array(chosen, dtype=int)] for name, value in vars(everyone).items()})

    paired = pair(rows(sorted(left)), rows(order))
    assert paired.a.images.tolist() == everyone.images[sorted(left & right)].tolist()
    assert np.array_equal(paired.a.images, paired.b.images)
    assert np.array_equal(paired.a.predicted, paired.b.predicted)
    assert paired.p_value == 1.0


def test_an_image_that_was_relabelled_in_between_is_left_out_and_counted() -> None:
    names = ["x" * (number + 1) for number in range(40)]
    before, other = predictions(1, names), predictions(2, names)
    labels = other.labels.copy()
    labels[[3, 7]] = (labels[[3, 7]] + 1) % 4
    paired = pair(before, replace(other, labels=labels))
    assert (len(paired.a), paired.relabelled) == (38, 2)
    assert np.array_equal(paired.a.labels, paired.b.labels)
    assert "2 images have another class in B and are left out" in verdict(paired)


def test_the_four_groups_of_images_make_up_all_and_explain_the_matrices() -> None:
    names = ["x" * (number + 1) for number in range(60)]
    paired = pair(predictions(1, names), predictions(2, names))
    parts = (len(paired.newly_right), len(paired.newly_wrong), paired.both_right, paired.both_wrong)
    assert sum(parts) == 60
    change = paired.confusion_change(4)
    assert change.sum() == 0
    assert np.trace(change) == parts[0] - parts[1]


@given(seed=st.integers(0, 99), count=st.integers(1, 200))
def test_the_bins_hold_every_image_and_the_error_is_their_weighted_distance(seed: int, count: int) -> None:
    told = predictions(seed, [str(number) for number in range(count)])
    found = reliability(told.probabilities[:, 0], told.right)
    confidence = told.probabilities[:, 0].astype(float)
    steps = np.minimum((confidence * BINS).astype(int), BINS - 1)
    expected = sum(abs(confidence[steps == step].sum() - told.right[steps == step].sum()) for step in range(BINS))
    assert found.counts.sum() == count
    assert found.error == pytest.approx(expected / count, abs=1e-6)


def test_a_model_that_is_always_right_and_sure_is_calibrated() -> None:
    told = predictions(0, ["x"] * 9)
    sure = replace(told, labels=told.predicted, probabilities=np.ones_like(told.probabilities))
    assert reliability(sure.probabilities[:, 0], sure.right).error == 0


@pytest.fixture
def ran(place: Workspace, store: StudyStore, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(place.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return CliRunner()


def test_the_command_shows_parameters_and_counts_images_that_changed(ran: CliRunner, place: Workspace) -> None:
    a, b = (read_predictions(next(place.study("s").trial(number).predictions.iterdir())) for number in (0, 1))
    done = ran.invoke(app, ["diff", "s/0", "s/1", "--page", "d.html"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "optimizer.name" in done.output
    gained, lost = int((~a.right & b.right).sum()), int((a.right & ~b.right).sum())
    assert f"{gained} are newly right in B, {lost} newly wrong" in done.output
    assert f"p = {mcnemar(gained, lost):.3g}" in done.output
    assert "default-src 'none'" in (place.root / "d.html").read_text()


def test_a_study_stands_for_its_winner_and_a_model_differs_not_from_itself(ran: CliRunner) -> None:
    done = ran.invoke(app, ["diff", "s", "s"], catch_exceptions=False)
    assert "parameters that differ" not in done.output
    assert "0 are newly right in B, 0 newly wrong" in done.output


def test_a_trial_that_is_not_there_is_refused_with_where_to_look(ran: CliRunner) -> None:
    done = ran.invoke(app, ["diff", "s/0", "s/99"])
    assert "s has no trial 99; see sweeper status s" in str(done.exception)


def side(told: Predictions, path: str, digest: str) -> Side:
    classes = ("a", "b", "c", "d")
    return Side("s/0", {}, {}, {}, classes, told, None, judged_on=digest, judged_at=Path(path))


@pytest.mark.parametrize(
    ("path", "digest", "compared"),
    [
        ("here", "x", True),
        ("there", "x", True),
        ("here", "y", True),
        ("there", "", True),
        ("there", "y", False),
    ],
    ids=["itself", "a copy", "grown since", "not known", "another"],
)
def test_images_of_another_data_set_are_not_taken_for_those_of_the_same_name(
    path: str, digest: str, compared: bool
) -> None:
    told = predictions(1, [f"val/{number}" for number in range(9)])
    found = difference(side(told, "here", "x"), side(told, path, digest))
    assert (found.paired is not None) is compared
    assert ("where one name may be two images; name images for both with --data" in found.why_not) is not compared


@pytest.mark.parametrize("path", ["images", "./images", "{root}/images", "images/a.csv", "images/b.csv"])
def test_a_folder_of_images_is_the_same_however_it_is_written(tmp_path: Path, path: str) -> None:
    data = DatasetConfig.model_validate({"path": path.format(root=tmp_path)})
    assert _folder_of_images(Workspace(tmp_path), data) == (tmp_path / "images").resolve()


@pytest.mark.parametrize(
    ("form", "study_id", "said"),
    [
        ("soup", None, "an average of the weights of several trials, and no single trial has its scores"),
        ("ensemble", None, "an ensemble of several trials, and no single trial has its scores"),
        ("single", "another", "is of another study that was called s"),
    ],
)
def test_an_export_that_is_no_trial_of_the_study_is_not_shown_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, study_id: str | None, said: str
) -> None:
    lineage = SimpleNamespace(study="s", trial=0, study_id=study_id)
    monkeypatch.setattr(compared_model, "read_config", lambda _: SimpleNamespace(form=form, lineage=lineage))
    store: Any = SimpleNamespace(identity=SimpleNamespace(id="mine"))
    with pytest.raises(StudyError, match=rf"{said}; name images to evaluate it on with --data"):
        SideFinder(Workspace(tmp_path), lambda _: store)._export(tmp_path)
