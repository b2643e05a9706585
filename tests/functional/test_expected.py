"""What to expect of a winner on new images is said by `best`, the report and the export alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.commands.exported_model import exported_model
from sweeper.display.answers import BestAnswer
from sweeper.errors import StudyError
from sweeper.export.export_config import read_config, write_config
from sweeper.paths import ExportFolder, Workspace
from sweeper.scores.expected_accuracy import ExpectedAccuracy
from sweeper.search.stored_trial import CONFIRMATION
from sweeper.search.study_store import StudyStore
from sweeper.standings.confirmation import Confirmation, Leader
from sweeper.standings.winner import study_winner
from tests.functional.program import sweeper

pytestmark = pytest.mark.sweeps

SPACE = {
    "study": "s",
    "dataset": {"builtin": "digits"},
    "budget": {"trials": 3, "epochs": 2},
    "pruner": "none",
    "device": "cpu",
    "search": {
        "backbone": "test_resnet",
        "image_size": 16,
        "optimizer": {"name": "adam", "lr": {"float": [1e-3, 1e-2]}},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "space.yaml").write_text(json.dumps(SPACE))
    done = sweeper("run", "space.yaml", folder=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> ExpectedAccuracy:
    answer = BestAnswer.model_validate_json(sweeper("best", "s", "--json", folder=folder).stdout)
    assert answer.expected is not None
    assert answer.trial.value == answer.expected.measured
    return answer.expected


def test_the_expected_accuracy_is_below_the_one_that_was_chosen_by_and_within_its_interval(
    expected: ExpectedAccuracy,
) -> None:
    assert expected.low < expected.accuracy < expected.measured < expected.high


def test_best_the_report_and_the_export_say_the_same(folder: Path, expected: ExpectedAccuracy) -> None:
    sentence = f"xpected accuracy on new images: {expected.accuracy:.4f} (95% interval {expected.low:.4f} to"
    shown = sweeper("best", "s", "--export", "--no-register", folder=folder)
    assert shown.returncode == 0, shown.stderr
    assert sentence in shown.stdout
    assert sentence in (folder / "reports" / "s.html").read_text()
    config = json.loads((folder / "exports" / "s" / "config.json").read_text())
    assert config["expected"]["accuracy"] == expected.accuracy
    assert (
        f"Expected accuracy on new images of the same kind: {expected.accuracy:.4f}"
        in (folder / "exports/s/README.md").read_text()
    )


def test_of_another_trial_nothing_is_expected(folder: Path) -> None:
    best = BestAnswer.model_validate_json(sweeper("best", "s", "--json", folder=folder).stdout)
    other = f"s/{(best.trial.number + 1) % 3}"
    named = BestAnswer.model_validate_json(sweeper("best", other, "--json", folder=folder).stdout)
    assert named.expected is None


def test_a_trial_that_is_preferred_is_not_the_best_and_nothing_is_expected_of_it(folder: Path) -> None:
    best = BestAnswer.model_validate_json(sweeper("best", "s", "--json", folder=folder).stdout)
    told = {best.trial.number}
    for metric in ("train/loss", "val/loss", "val/recall", "train/accuracy"):
        done = sweeper("best", "s", "--prefer", metric, "--within", "1", "--json", folder=folder)
        answer = BestAnswer.model_validate_json(done.stdout)
        told.add(answer.trial.number)
        assert answer.winner is (answer.trial.number == best.trial.number)
        assert (answer.expected is not None) is answer.winner
        assert ("is best" in done.stderr) is answer.winner
    assert len(told) > 1, "every metric has the same best trial: nothing was shown"


def test_the_winner_may_be_named_by_its_number_too(folder: Path, expected: ExpectedAccuracy) -> None:
    best = BestAnswer.model_validate_json(sweeper("best", "s", "--json", folder=folder).stdout)
    sweeper("best", "s", "--export", "--no-register", folder=folder)
    assert exported_model(Workspace(folder), None, f"s/{best.trial.number}") == folder / "exports" / "s"
    with pytest.raises(StudyError, match=r"has not been exported, .*exports/s@\d is missing"):
        exported_model(Workspace(folder), None, f"s/{(best.trial.number + 1) % 3}")
    assert best.expected == expected


def test_the_export_of_an_earlier_study_of_the_name_is_not_taken_for_this_one(folder: Path) -> None:
    number = BestAnswer.model_validate_json(sweeper("best", "s", "--json", folder=folder).stdout).trial.number
    sweeper("best", "s", "--export", "--no-register", folder=folder)
    file = ExportFolder(folder / "exports" / "s").config
    written = read_config(file)
    lineage = written.lineage.model_copy(update={"study_id": "0" * 32})
    write_config(file, written.model_copy(update={"lineage": lineage}))
    try:
        for name in ("s", f"s/{number}"):
            with pytest.raises(StudyError, match=f"of an earlier study called s: sweeper best {name} --export"):
                exported_model(Workspace(folder), None, name)
    finally:
        write_config(file, written)


def test_of_a_trial_that_a_confirmation_chose_instead_nothing_is_expected(folder: Path) -> None:
    store = StudyStore.load(f"sqlite:///{Workspace(folder).optuna_database}", "s")
    before = study_winner(store)
    assert before is not None
    other = next(row for row in store.rows() if row.number != before.number and row.value is not None)
    leader = Leader(trial=other.number, searched=other.value or 0.0, values=(0.5, 0.6))
    found = Confirmation(metric="val/accuracy", direction="maximize", seeds=2, known_trials=3, leaders=(leader,))
    store.note(CONFIRMATION, found.model_dump(mode="json"))
    try:
        done = sweeper("best", "s", "--json", folder=folder)
        answer = BestAnswer.model_validate_json(done.stdout)
        assert (answer.trial.number, answer.winner, answer.expected) == (other.number, True, None)
        assert "expected accuracy" not in done.stderr
    finally:
        store.note(CONFIRMATION, {})


def test_damaged_files_cost_what_they_say_and_nothing_else(folder: Path, expected: ExpectedAccuracy) -> None:
    files = sorted((folder / "mlruns").rglob("right_by_epoch.npz"))
    whole = [file.read_bytes() for file in files]
    assert len(files) == 3
    try:
        for file, content in zip(files, whole, strict=True):
            file.write_bytes(content[:-40])
        answered = sweeper("best", "s", "--json", folder=folder)
        assert answered.returncode == 0
        answer = BestAnswer.model_validate_json(answered.stdout)
        assert answer.expected is None
        assert answer.trial.value == expected.measured
        assert answered.stderr.count("does not say which images are right") == 3
    finally:
        for file, content in zip(files, whole, strict=True):
            file.write_bytes(content)


def test_without_mlflow_the_winner_is_named_all_the_same(folder: Path) -> None:
    done = sweeper("best", "s", "--tracking-uri", "http://127.0.0.1:9", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "is best, val/accuracy" in done.stdout
    assert "the accuracy on new images cannot be estimated: MLflow" in done.stdout
