"""`ImageClassifierSweep`: a study in the manner of a scikit-learn classifier."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sweeper.config.document import read_document
from sweeper.config.loading import validated
from sweeper.config.sweep import AS_MANY_AS_FIT, SweepConfig
from sweeper.errors import ConfigError, DatasetError, Problem, StudyError, StudyNotFound
from sweeper.library.events import Callback
from sweeper.library.exported import Export, Picture
from sweeper.library.run import Workers, run
from sweeper.library.space import Space, load_space
from sweeper.library.study import Study
from sweeper.paths import Workspace
from sweeper.proposal.text import study_name
from sweeper.search.stored_studies import open_study
from sweeper.search.stored_sweep import as_written


class ImageClassifierSweep:
    """Searches for the best classifier of the images in a folder, and labels images by it.

    It keeps scikit-learn's manners: the constructor only takes note of its arguments, `get_params` and `set_params`
    know them by name, `fit` returns the object, and what it has found ends in an underscore.

    Args:
        space: A search space, as `load_space` takes it; a dictionary may leave out `study` and `dataset`. Without one
            it is proposed from the images and this machine, as `sweeper init` does.
        hours: How long it may take; without it as the search space says, and 2 hours without one.
        trials: Trials in all, in place of what the search space says and, without `hours`, of its time too.
        epochs: Epochs of a trial, likewise.
        workers: Trials at the same time, as of `run`.
        device: auto, cpu, cuda, cuda:1, mps; without it as the search space says.
        callbacks: As of `run`.

    Attributes:
        study_: The study.
        export_: The export of its best trial.
        classes_: Names of the C classes, an array.
        best_params_: What was searched, of the best trial.
        best_score_: Its objective on the validation images.
    """

    study_: Study
    export_: Export
    classes_: npt.NDArray[np.str_]
    best_params_: dict[str, Any]
    best_score_: float

    def __init__(
        self,
        space: Space | None = None,
        *,
        hours: float | None = None,
        trials: int | None = None,
        epochs: int | None = None,
        workers: Workers = None,
        device: str | None = None,
        callbacks: Sequence[Callback] = (),
    ):
        self.space = space
        self.hours = hours
        self.trials = trials
        self.epochs = epochs
        self.workers = workers
        self.device = device
        self.callbacks = callbacks

    def fit(self, folder: str | os.PathLike[str], y: None = None) -> Self:  # noqa: ARG002
        """Search in a folder of class folders, or another layout that a search space may name, and export the best.

        The same call again goes on with the study, or finds it done. `y` is not used: folders are the labels.

        Raises:
            ConfigError, DatasetError, StudyError: as of `run`.
            NoWinner: no trial has finished.
        """
        if not isinstance(folder, str | os.PathLike):
            raise DatasetError(
                "fit takes one path, of a folder with a folder for each class or of a CSV file with the columns image "
                f"and label, got a {type(folder).__name__}; write lists of files and labels into such a CSV file"
            )
        study = run(self._space_for(Path(folder)), callbacks=self.callbacks, workers=self.workers, device=self.device)
        best, destination = study.best, Workspace(Path.cwd()).export(study.name)
        exported = best.export(destination)
        self.study_, self.export_ = study, exported
        self.classes_ = np.array(exported.classes)
        self.best_params_, self.best_score_ = best.params, float(best.value or 0.0)
        return self

    def predict(self, images: Picture | Sequence[Picture]) -> npt.NDArray[np.str_]:
        """Return the class of each image, text [N]. Images as of `Export.predict`; one that cannot be read is refused.

        Raises DatasetError, and StudyError before `fit`.
        """
        found: npt.NDArray[np.str_] = self.classes_of(self.predict_proba(images))
        return found

    def predict_proba(self, images: Picture | Sequence[Picture]) -> npt.NDArray[np.float32]:
        """Return the calibrated probability of each class, float32 [N, C], in the order of `classes_`.

        Raises DatasetError, and StudyError before `fit`.
        """
        if not hasattr(self, "export_"):
            raise StudyError("this ImageClassifierSweep has no model yet; call fit(folder) first")
        return self.export_.predict_proba(images, device=self.device or self.study_.space.device)

    def classes_of(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.str_]:
        """Return the most probable class of each row, text [N], of probabilities [N, C]."""
        found: npt.NDArray[np.str_] = self.classes_[probabilities.argmax(axis=1)]
        return found

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """Return the arguments of the constructor by name; `deep` changes nothing, since none is an estimator."""
        return {name: getattr(self, name) for name in _names()}

    def set_params(self, **params: Any) -> Self:
        """Set arguments of the constructor anew. Raises ConfigError for a name that it does not have."""
        for name, value in params.items():
            if name not in _names():
                raise ConfigError([Problem("set_params", name, f"unknown argument; there are {', '.join(_names())}")])
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}" for name, default in _defaults().items() if getattr(self, name) != default
        ]
        return f"ImageClassifierSweep({', '.join(changed)})"

    def _space_for(self, folder: Path) -> SweepConfig:
        """Return the search space for a folder: the one that was given, or a proposal, within the limits given."""
        if self.space is None:
            from sweeper.proposal.proposing import proposed

            workspace = Workspace(Path.cwd())
            if (begun := _begun(workspace, folder)) is not None:
                return load_space(begun.model_dump(mode="json", by_alias=True), self._limits())
            taken = workspace.studies_run()
            text = proposed(str(folder), workspace, self.hours or 2.0, self.device or "auto", self.trials, taken)
            return validated(read_document(text, "proposal"), self._limits(), None)
        given = self.space
        if isinstance(given, Mapping) and isinstance(given.get("dataset", {}), Mapping):
            dataset = {key: value for key, value in given.get("dataset", {}).items() if key != "builtin"}
            given = {"study": study_name(str(folder)), **given, "dataset": {**dataset, "path": folder}}
            return load_space(given, self._limits())
        own_images = ["dataset.builtin=null", f"dataset.path={_quoted(folder)}"]
        return load_space(given, [*own_images, *self._limits()])

    def _limits(self) -> list[str]:
        """Return the overrides that limit the search."""
        found = [f"budget.for={self.hours}h", f"budget.trials={AS_MANY_AS_FIT}"] if self.hours is not None else []
        if self.trials is not None:
            found += [f"budget.trials={self.trials}", *(["budget.for=null"] if self.hours is None else [])]
        return found + ([f"budget.epochs={self.epochs}"] if self.epochs is not None else [])


def _begun(workspace: Workspace, folder: Path) -> SweepConfig | None:
    """Return the search space of an earlier call on a folder: another proposal could differ, as timings do."""
    name = study_name(str(folder))
    for study in workspace.studies_run():
        if study == name or re.fullmatch(rf"{re.escape(name)}-\d+", study):
            with suppress(StudyNotFound):
                found = as_written(open_study(workspace, None, study))
                if found.dataset.path and (workspace.root / found.dataset.path).resolve() == folder.resolve():
                    return found
    return None


def _quoted(folder: Path) -> str:
    import json

    return json.dumps(os.fspath(folder), ensure_ascii=False)


def _defaults() -> dict[str, Any]:
    parameters = inspect.signature(ImageClassifierSweep.__init__).parameters
    return {name: one.default for name, one in parameters.items() if name != "self"}


def _names() -> list[str]:
    return list(_defaults())
