"""`ImageClassifierSweep`: its manners, and which study and device it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sweeper
from sweeper.library.run import run
from tests.library.test_library import SPACE, in_folder, write_photos

__all__ = ["in_folder"]  # a fixture


def test_a_classifier_has_scikit_learns_manners() -> None:
    from sklearn import base

    found = base.clone(sweeper.ImageClassifierSweep(SPACE, trials=2))
    assert found.get_params()["trials"] == 2
    assert found.set_params(epochs=5).epochs == 5
    with pytest.raises(sweeper.ConfigError, match="unknown argument"):
        found.set_params(epoch=5)
    with pytest.raises(sweeper.StudyError, match="call fit"):
        found.predict(["a.png"])


def test_the_same_fit_again_takes_the_search_space_of_its_study(in_folder: Path) -> None:
    """Another proposal could have other epochs, which a study may not change: they follow from measured speed."""
    write_photos(in_folder / "photos")
    classifier = sweeper.ImageClassifierSweep(trials=3, epochs=2)
    content = {**SPACE, "study": "photos", "dataset": {"path": str(in_folder / "photos")}}
    run({key: value for key, value in content.items() if key != "budget"} | {"budget": {"trials": 3, "epochs": 2}})
    again = classifier._space_for(Path("photos"))
    assert (again.study, again.search) == ("photos", sweeper.open_study("photos").space.search)
    sweeper.open_study("photos").store.plan_epochs(1)  # as a deadline does
    assert sweeper.open_study("photos").store.sweep.budget.epochs == 1
    assert sweeper.open_study("photos").space.budget.epochs == 2
    assert classifier._space_for(Path("photos")).budget.epochs == 2
    write_photos(in_folder / "other" / "photos")
    other = classifier._space_for(in_folder / "other" / "photos")
    assert other.study == "photos-2"


def test_a_ranking_and_another_study_of_a_folder_are_not_taken_for_its_own(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(in_folder / "photos")
    content = {**SPACE, "dataset": {"path": str(in_folder / "photos")}, "budget": {"trials": 1, "epochs": 1}}
    for study in ("photos-backbones", "photos-big"):
        run({**content, "study": study})
    classifier = sweeper.ImageClassifierSweep(trials=1, epochs=1)
    assert classifier._space_for(Path("photos")).study == "photos"


def test_a_classifier_trains_on_the_device_of_its_search_space(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def runs(*_: Any, device: str | None, **__: Any) -> None:
        asked.append(device)
        raise sweeper.StudyError("enough")

    monkeypatch.setattr("sweeper.library.estimator.run", runs)
    for device in (None, "cpu"):
        with pytest.raises(sweeper.StudyError, match="enough"):
            sweeper.ImageClassifierSweep({**SPACE, "device": "cpu"}, device=device).fit("photos")
    assert asked == [None, "cpu"]
