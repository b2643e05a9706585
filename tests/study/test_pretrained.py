"""A study that begins from another one's weights: which trial that is, and that it stays that one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.config.loading import load_sweep
from sweeper.config.sweep import SweepConfig
from sweeper.data.card import DatasetCard
from sweeper.errors import ConfigError, StudyChanged, StudyError, StudyNotFound
from sweeper.files import write_whole
from sweeper.paths import Workspace
from sweeper.results import PinnedWeights, TrialOutcome, TrialSpec, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.study.card import read_card, study_card
from sweeper.study.pretrained import Pinned, file_digest, kept_files, pin_weights, with_kept_weights

DIGITS = DatasetCard("digits", "d1", 8, ("0", "1"), {"train": 2}, {"train": (1, 1)})


def sweep_of(
    study: str = "heads",
    backbone: Any = "resnet18",
    pretrained: Any = "study:source/best",
    folds: int | None = None,
) -> SweepConfig:
    search = {"backbone": backbone, "pretrained": pretrained}
    dataset = {"builtin": "digits", "folds": folds}
    return SweepConfig.model_validate({"study": study, "dataset": dataset, "search": search})


class Source:
    """A study whose trials have ended, with their weights still in their folders."""

    def __init__(self, root: Path, folds: int | None = None):
        self.workspace = Workspace(root)
        self.url = f"sqlite:///{self.workspace.optuna_database}"
        self.store = StudyStore.create_or_load(self.url, sweep_of("source", "resnet18.a1_in1k", False, folds))

    def end(self, value: float | None) -> None:
        """End one more trial, as failed where it has no value."""
        (spec,) = self.store.next_group(1)
        state = TrialState.FAILED if value is None else TrialState.COMPLETE
        best = None if value is None else 1
        outcome = TrialOutcome(state=state, epochs=1, best_epoch=best, best_value=value, reason="no luck")
        folder = self.workspace.study("source").trial(spec.number)
        if best:
            write_whole(folder.weights_of(1), f"weights of trial {spec.number}")
        write_whole(folder.outcome, outcome.model_dump_json())
        self.store.finish(spec.number, outcome)

    def pin(self, sweep: SweepConfig, known: Pinned | None = None) -> Pinned:
        return pin_weights(sweep, known or {}, self.workspace, self.url, f"sqlite:///{self.workspace.mlflow_database}")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A study of three trials: the second is best, the third has failed."""
    source = Source(tmp_path)
    for value in (0.3, 0.9, None):
        source.end(value)
    return source


def kept(source: Source, pinned: Pinned) -> dict[str, str]:
    return {value: Path(file).read_text() for value, file in kept_files(pinned, source.workspace).items()}


def test_a_reference_means_a_trials_weights_which_are_kept(source: Source) -> None:
    pinned = source.pin(sweep_of(pretrained={"choice": ["study:source/best", "study:source/0", False]}))
    assert kept(source, pinned) == {
        "study:source/best": "weights of trial 1",
        "study:source/0": "weights of trial 0",
    }
    assert (pinned["study:source/best"].study, pinned["study:source/best"].trial) == ("source", 1)


def test_a_study_continues_with_the_trial_it_began_with_whatever_has_won_since(source: Source) -> None:
    began = source.pin(sweep_of())
    source.end(0.95)
    assert source.pin(sweep_of(), began) == began
    Path(kept_files(began, source.workspace)["study:source/best"]).unlink()
    assert source.pin(sweep_of(), began) == began  # fetched again
    assert kept(source, began) == {"study:source/best": "weights of trial 1"}
    assert source.pin(sweep_of())["study:source/best"].trial == 3  # what a new study would begin with


def test_a_study_is_not_continued_from_other_weights(source: Source, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_text("a")
    began = source.pin(sweep_of(pretrained={"choice": ["study:source/best", str(file)]}))
    file.write_text("b")
    with pytest.raises(StudyChanged, match=rf"the weights of {file} have changed since the study heads began"):
        source.pin(sweep_of(pretrained=str(file)), began)
    Path(kept_files(began, source.workspace)["study:source/best"]).write_text("damaged")
    write_whole(source.workspace.study("source").trial(1).weights_of(1), "others")
    with pytest.raises(StudyChanged, match="give the study another name"):
        source.pin(sweep_of(), began)


@pytest.mark.parametrize(
    ("sweep", "kind", "message"),
    [
        (
            {"pretrained": "study:elsewhere/best"},
            StudyNotFound,
            "search.pretrained is study:elsewhere/best, .*no study",
        ),
        ({"pretrained": "study:source/7"}, StudyError, "source has no trial 7"),
        ({"pretrained": "study:source/2"}, StudyError, "trial 2 of source is failed and has no weights"),
        ({"backbone": {"choice": ["resnet18", "resnet34"]}}, ConfigError, "backbone is resnet18.*got resnet34"),
    ],
    ids=["no study", "no trial", "no weights", "another architecture"],
)
def test_a_reference_that_cannot_be_used_says_why(source: Source, sweep: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        source.pin(sweep_of(**sweep))


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (5, None, "source was trained on these images, and with dataset.folds: 5 each of them judges trials"),
        (None, 5, "source is cross-validated, and its weights have seen all of these images"),
        (5, 3, "source is cross-validated"),
    ],
)
def test_images_whose_labels_the_weights_have_learned_may_not_judge(
    tmp_path: Path, ours: int | None, theirs: int | None, told: str
) -> None:
    source = Source(tmp_path, folds=theirs)
    source.end(0.5)
    with pytest.raises(ConfigError, match=told):
        source.pin(sweep_of(folds=ours))
    elsewhere = SweepConfig.model_validate({**sweep_of(folds=ours).model_dump(by_alias=True), "dataset": {"path": "x"}})
    assert source.pin(elsewhere)  # of other images they have seen none


def test_a_study_without_a_finished_trial_has_no_best(tmp_path: Path) -> None:
    source = Source(tmp_path)
    source.end(None)
    with pytest.raises(StudyError, match=r"no trial of source has finished; see sweeper status source"):
        source.pin(sweep_of())


@pytest.mark.parametrize("value", ["study:source", "study:/best", "study:source/first", "study:so urce/best"])
def test_half_a_reference_is_reported_with_its_line(tmp_path: Path, value: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(f"study: s\ndataset: {{builtin: digits}}\nsearch:\n  backbone: r\n  pretrained: '{value}'\n")
    with pytest.raises(ConfigError, match=r"space.yaml:5: search.pretrained: .*study:NAME/best or study:NAME/NUMBER"):
        load_sweep(file)


def test_every_run_says_what_its_study_began_from_and_the_worker_gets_the_file(source: Source) -> None:
    sweep, folder = sweep_of(), source.workspace.study("heads")
    pinned = source.pin(sweep)
    card = study_card(sweep, DIGITS, folder, "sqlite:///a.db", pinned)
    digest = file_digest(Path(kept_files(pinned, source.workspace)["study:source/best"]))
    assert card.tags["sweeper.pretrained"].startswith("study:source/best = trial 1 (MLflow run ")
    assert card.tags["sweeper.pretrained"].endswith(f"digest {digest}")
    assert read_card(folder) == card
    config = source.store.rows()[0].config
    assert config is not None
    config = config.model_copy(update={"pretrained": "study:source/best"})
    file = with_kept_weights(config, folder, source.workspace).pretrained
    assert Path(str(file)).read_text() == "weights of trial 1"
    spec = TrialSpec(number=0, seed=0, epochs=1, config=config, weights=str(file))
    assert spec.with_weights().config.pretrained == file
    assert PinnedWeights(digest="d").origin == ""
