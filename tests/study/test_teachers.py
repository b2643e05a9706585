"""The teachers of a study: which trial or export each is, that it stays that one, and that it knows the classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.data.card import DatasetCard
from sweeper.data.index import build_index
from sweeper.errors import ConfigError, StudyChanged, StudyError, StudyNotFound
from sweeper.files import write_whole
from sweeper.paths import ExportFolder, Workspace
from sweeper.results import TrialOutcome, TrialSpec, TrialState
from sweeper.scores.confusion import write_confusion
from sweeper.search.study_store import StudyStore
from sweeper.study.beginning import beginning_of
from sweeper.study.card import read_card, study_card
from sweeper.study.teachers import Teachers, kept_teacher, pin_teachers, require_same_classes, told
from sweeper.study.unseen_images import require_unseen_by_exports

MODELS = Path(__file__).parents[2] / "models"
DIGITS = tuple(map(str, range(10)))
CARD = DatasetCard("digits", "d1", 8, DIGITS, {"train": 2}, {"train": (1, 1)})


def sweep_of(study: str = "small", teacher: Any = "none", backbone: str = "resnet10t", **more: Any) -> SweepConfig:
    search = {"backbone": backbone, "image_size": 16, "teacher": teacher}
    return SweepConfig.model_validate({"study": study, "dataset": {"builtin": "digits"}, "search": search, **more})


class Source:
    """A study whose trials have ended, with weights and confusion matrices still in their folders."""

    def __init__(self, root: Path, **settings: Any):
        self.workspace = Workspace(root)
        self.url = f"sqlite:///{self.workspace.optuna_database}"
        self.store = StudyStore.create_or_load(self.url, sweep_of("big", **settings))
        for value in (0.3, 0.9):
            self.end(value)

    def end(self, value: float) -> None:
        """End one more trial."""
        (spec,) = self.store.next_group(1)
        outcome = TrialOutcome(state=TrialState.COMPLETE, epochs=1, best_epoch=1, best_value=value)
        folder = self.workspace.study("big").trial(spec.number)
        write_whole(folder.weights_of(1), f"weights of trial {spec.number}")
        write_confusion(folder.confusion / "best.csv", np.eye(10, dtype=np.int64), DIGITS)
        write_whole(folder.outcome, outcome.model_dump_json())
        self.store.finish(spec.number, outcome)

    def pin(self, teacher: Any, known: Teachers | None = None, **settings: Any) -> Teachers:
        mlflow = f"sqlite:///{self.workspace.mlflow_database}"
        return pin_teachers(sweep_of(teacher=teacher, **settings), known or {}, self.workspace, self.url, mlflow)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def exported(folder: Path, **changes: Any) -> Path:
    """Write the part of an export that a teacher needs."""
    content = {
        **{"format": "sweeper-export", "architecture": "resnet10t", "head": {}, "image_size": 24},
        **{"classes": DIGITS, "test_time_augmentation": "flip", "model_files": [], **changes},
    }
    write_whole(ExportFolder(folder).config, json.dumps(content))
    write_whole(ExportFolder(folder).weights, "exported weights")
    return folder


def test_a_reference_means_a_trial_whatever_wins_later_and_its_weights_are_kept(source: Source) -> None:
    began = source.pin({"choice": ["none", "study:big/best", {"name": "study:big/0", "weight": 1.0}]})
    assert [pinned.trial for pinned in began.values()] == [1, 0]
    found = began["study:big/best"]
    assert source.workspace.weights(found.digest).read_text() == "weights of trial 1"
    assert (found.classes, [network.image_size for network in found.networks]) == (DIGITS, [16])
    source.end(0.95)
    assert source.pin("study:big/best", began) == {"study:big/best": found}
    source.workspace.weights(found.digest).unlink()
    assert source.pin("study:big/best", began) == {"study:big/best": found}  # fetched again
    assert source.pin("study:big/best")["study:big/best"].trial == 2  # what a new study would begin with


def test_a_teacher_that_has_seen_the_validation_images_is_refused(tmp_path: Path) -> None:
    source = Source(tmp_path, dataset={"builtin": "digits", "folds": 3})
    with pytest.raises(ConfigError, match=r"search\.teacher: big is cross-validated, and its weights have seen all"):
        source.pin({"name": "study:big/best"})


def test_an_export_teaches_as_it_is_described(source: Source, tmp_path: Path) -> None:
    export = exported(tmp_path / "model")
    found = source.pin(str(export))[str(export)]
    assert [(network.image_size, network.test_time_augmentation) for network in found.networks] == [(24, "flip")]
    assert source.workspace.weights(found.digest).read_text() == "exported weights"
    member = {"architecture": "resnet10t", "head": {"hidden": [8]}}
    several = exported(tmp_path / "several", form="ensemble", members=[member, {**member, "architecture": "resnet18"}])
    pinned = source.pin(str(several))[str(several)]
    assert [network.backbone for network in pinned.networks] == ["resnet10t", "resnet18"]


@pytest.mark.parametrize("change", ["weights", "classes", "network"])
def test_a_study_is_not_continued_with_another_teacher(source: Source, tmp_path: Path, change: str) -> None:
    export = exported(tmp_path / "model")
    began = source.pin(str(export))
    changes: dict[str, dict[str, Any]] = {"classes": {"classes": DIGITS[::-1]}, "network": {"head": {"hidden": [8]}}}
    exported(tmp_path / "model", **changes.get(change, {}))
    if change == "weights":
        write_whole(ExportFolder(export).weights, "others")
    with pytest.raises(StudyChanged, match=r"model have changed since the study small began"):
        source.pin(str(export), began)


@pytest.mark.parametrize(
    ("teacher", "kind", "message"),
    [
        (
            "study:elsewhere/best",
            StudyNotFound,
            "search.teacher is study:elsewhere/best, which cannot be used: no study",
        ),
        ("study:big/7", StudyError, "big has no trial 7"),
        ("nothing", StudyError, "nothing is not the folder of an export: config.json cannot be read"),
    ],
    ids=["no study", "no trial", "no export"],
)
def test_a_teacher_that_cannot_be_used_says_why(source: Source, teacher: str, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        source.pin(teacher)


@pytest.mark.parametrize(
    "content", ["[1]", "{}", '{"format": "sweeper-export", "seal": "x"}'], ids=["list", "empty", "edited"]
)
def test_a_folder_that_is_no_classifiers_export_is_refused(source: Source, tmp_path: Path, content: str) -> None:
    write_whole(tmp_path / "model" / "config.json", content)
    with pytest.raises(StudyError, match=r"config.json (does not describe the export of a classifier|is damaged)"):
        source.pin(str(tmp_path / "model"))


def test_an_architecture_of_its_own_needs_the_model_file_that_it_was_trained_with(tmp_path: Path) -> None:
    own = tmp_path / "small_resnet.py"
    shutil.copy(MODELS / "small_resnet.py", own)
    export = exported(tmp_path / "model", architecture="small_resnet", model_files=["small_resnet.py"])
    shutil.copy(own, export)
    source = Source(tmp_path)
    with pytest.raises(StudyError, match="architecture nobodys_net is not known here; name its file under model_files"):
        source.pin(str(exported(tmp_path / "other", architecture="nobodys_net")))
    assert source.pin(str(export), model_files=[str(own)])
    write_whole(export / "small_resnet.py", own.read_text() + "# another one\n")
    with pytest.raises(StudyError, match=r"small_resnet.py, which defines its architecture small_resnet, has changed"):
        source.pin(str(export), model_files=[str(own)])


def test_a_teacher_of_other_classes_is_refused_by_both_names(source: Source, tmp_path: Path) -> None:
    sweep = sweep_of()
    index = build_index(sweep.dataset, source.workspace)
    require_same_classes(source.pin("study:big/best"), sweep, index)
    for classes, difference in (
        (DIGITS[::-1], "its class 1 is 9, and that of the images is 0"),
        (DIGITS[:9], "it has 9 classes, and the images have 10"),
    ):
        export = exported(tmp_path / "model", classes=classes)
        with pytest.raises(ConfigError, match=rf"images of small, in their order; {export} does not: {difference}"):
            require_same_classes(source.pin(str(export)), sweep, index)


def test_trials_get_their_teacher_and_every_run_names_it(source: Source) -> None:
    sweep, folder = sweep_of(), source.workspace.study("small")
    pinned = source.pin("study:big/best")
    card = study_card(sweep, CARD, folder, "sqlite:///a.db", teachers=pinned)
    found = pinned["study:big/best"]
    assert read_card(folder) == card
    assert card.tags["sweeper.teacher"] == f"study:big/best{found.origin}, digest {found.digest}"
    assert study_card(sweep, CARD, folder, "sqlite:///a.db").teachers == pinned  # of a confirmation
    config = TrialConfig.model_validate({"backbone": "resnet10t", "teacher": "study:big/best"})
    spec = beginning_of(card, folder, source.workspace).of(TrialSpec(number=0, seed=0, epochs=1, config=config))
    assert spec.teacher is not None
    assert (Path(spec.teacher.weights).read_text(), spec.teacher.classes) == ("weights of trial 1", 10)
    assert kept_teacher(config, folder, source.workspace) == spec.teacher
    assert kept_teacher(TrialConfig(backbone="resnet10t"), folder, source.workspace) is None
    Path(spec.teacher.weights).unlink()
    with pytest.raises(StudyError, match="the weights of the teacher study:big/best are gone"):
        kept_teacher(config, folder, source.workspace)


def test_what_teaches_is_said_and_that_what_has_features_then_trains_on_images(source: Source) -> None:
    pinned = source.pin("study:big/best")
    (line,) = told(pinned, sweep_of())
    assert line == (
        "teacher",
        f"study:big/best{pinned['study:big/best'].origin}: resnet10t on images of 16 pixels, digest "
        f"{pinned['study:big/best'].digest}",
    )

    def subjects(trainable: str, *, last_stage: bool) -> list[str]:
        search = {"backbone": "r", "trainable": trainable}
        known = {**sweep_of().model_dump(by_alias=True), "search": search, "features": {"last_stage": last_stage}}
        return [subject for subject, _ in told(pinned, SweepConfig.model_validate(known))]

    assert subjects("head", last_stage=False) == ["teacher", ""]
    assert subjects("last_stage", last_stage=True) == ["teacher", ""]
    assert subjects("last_stage", last_stage=False) == ["teacher"]


def test_an_export_that_has_seen_all_images_does_not_teach_on_these(source: Source, tmp_path: Path) -> None:
    crossed: dict[str, Any] = {"dataset": {"digest": "d1"}, "cross_validation": {"folds": 3}}
    folded, plain = exported(tmp_path / "folded", **crossed), exported(tmp_path / "plain", dataset={"digest": "d1"})
    seen = {str(folder): source.pin(str(folder))[str(folder)].seen for folder in (folded, plain)}
    assert list(seen.values()) == ["d1", None]
    require_unseen_by_exports("search.teacher", seen, "d2")
    with pytest.raises(ConfigError, match=r"folded is the export of a cross-validated study and has seen all of these"):
        require_unseen_by_exports("search.teacher", seen, "d1")
