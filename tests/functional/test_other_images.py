"""`evaluate --data`: scores on images that are not the study's own are told apart from those that are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import pytest

from tests.functional.answer import Ask, ask
from tests.functional.program import run_and_export
from tests.functional.test_using_models import SPACE, SPLITS, write_blots

pytestmark = pytest.mark.sweeps

__all__ = ["ask"]  # a fixture

NOT_LOGGED = "not logged to MLflow: these are not the study's own test images"
TRAINED_ON = "the model was trained on some of these images"
NOT_CHECKED = "not checked whether the model was trained on images of"
SIDES = ("left", "right")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study and its export, and other images of its kind: as folders, and as a list with labels of other spelling."""
    folder = tmp_path_factory.mktemp("made")
    write_blots(folder / "images", {f"{split}/{side}": count for split, count in SPLITS.items() for side in SIDES})
    write_blots(folder / "ward", dict.fromkeys(SIDES, 5), seed=1)
    write_blots(folder / "elsewhere/ward", dict.fromkeys(SIDES, 4), seed=2)
    rows = [
        f"{side}/{number:04d}.png,{name}"
        for side, name in (("left", "Left"), ("right", "right"))
        for number in range(5)
    ]
    (folder / "ward/list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    (folder / "space.yaml").write_text(SPACE)
    run_and_export(folder, "blots")
    return folder


@pytest.fixture
def work(made: Path, ask: Ask, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def scores_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "scores.json").read_text())
    return found


def logged(folder: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Return the test metrics of the winner's run, and the tags of its looks."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("blots")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'trial-0000'")
    metrics = {name: value for name, value in run.data.metrics.items() if name.startswith("test/")}
    return metrics, {name: value for name, value in run.data.tags.items() if name.startswith("sweeper.test_")}


def test_other_images_leave_the_study_s_test_result_in_mlflow_and_on_disk_as_it_is(ask: Ask, work: Path) -> None:
    assert ask("evaluate", "blots").code == 0
    before, own = logged(work), (work / "evaluations/blots/test/scores.json").read_bytes()
    assert before[1]["sweeper.test_looks"] == "1"
    answer = ask("evaluate", "blots", "--data", "ward")
    assert answer.code == 0, answer.err
    assert NOT_LOGGED in answer.err
    assert "looks at a test split" not in answer.err
    assert TRAINED_ON not in answer.err
    assert logged(work) == before
    assert (work / "evaluations/blots/test/scores.json").read_bytes() == own
    assert scores_of(work / "evaluations/blots/ward-test")["images"] == 10


def test_an_export_on_other_images_leaves_the_study_s_own_scores_as_they_are(ask: Ask, work: Path) -> None:
    assert ask("evaluate", "blots").code == 0
    own = (work / "evaluations/blots/test/scores.json").read_bytes()
    answer = ask("evaluate", "exports/blots", "--data", "ward")
    assert answer.code == 0, answer.err
    assert NOT_CHECKED not in answer.err, "its study is here"
    assert (work / "evaluations/blots/test/scores.json").read_bytes() == own
    assert scores_of(work / "evaluations/blots/ward-test")["data"] == "ward"


def test_the_study_s_own_test_images_count_as_such_however_they_are_named(ask: Ask, work: Path) -> None:
    shutil.copytree(work / "images/test", work / "a copy")
    for number, name in enumerate(("images", "images/test", "a copy"), 1):
        answer = ask("evaluate", "blots", "--data", name)
        assert answer.code == 0, answer.err
        assert f"looks at a test split so far: {number}" in answer.err
        assert NOT_LOGGED not in answer.err
    assert logged(work)[0]["test/accuracy"] >= 0
    assert [path.name for path in (work / "evaluations/blots").iterdir()] == ["test"]


def test_scores_on_other_images_are_replaced_by_force_alone(ask: Ask, work: Path) -> None:
    first = work / "evaluations/blots/ward-test"
    for model in ("blots", "exports/blots"):
        assert ask("evaluate", model, "--data", "ward").code == 0, "of the same images"
        refused = ask("evaluate", model, "--data", "elsewhere/ward")
        assert refused.code == 2
        assert (
            f"{first.relative_to(work)}/scores.json has scores on other images: test images of ward"
            in refused.err.replace(f"{work}/", "")
        )
        assert "--force" in refused.err
        assert scores_of(first)["images"] == 10
        assert ask("evaluate", model, "--data", "elsewhere/ward", "--force").code == 0
        assert scores_of(first)["images"] == 8
        assert ask("evaluate", model, "--data", "ward", "--force").code == 0
    assert ask("evaluate", "blots", "--data", "ward", "--to", "seen").code == 0
    for other in (["--data", "elsewhere/ward"], ["--split", "val"], []):
        assert ask("evaluate", "blots", *other, "--to", "seen").code == 2
    assert scores_of(work / "seen")["images"] == 10
    assert not logged(work)[0], "what is refused is no look"


def test_scores_of_another_export_of_the_same_name_are_replaced_by_force_alone(ask: Ask, work: Path) -> None:
    shutil.copytree(work / "exports/blots", work / "second/blots")
    assert ask("evaluate", "exports/blots", "--data", "ward").code == 0
    refused = ask("evaluate", "second/blots", "--data", "ward")
    assert refused.code == 2
    assert "scores.json has scores of exports/blots, and not of second/blots" in refused.err
    assert ask("evaluate", f"{work}/exports/blots", "--data", "ward").code == 0, "the same export"
    assert ask("evaluate", "second/blots", "--data", "ward", "--force").code == 0


@pytest.mark.parametrize("model", ["blots", "exports/blots"])
def test_images_that_the_model_was_trained_on_are_told(model: str, ask: Ask, work: Path) -> None:
    for number in range(3):
        shutil.copyfile(work / f"images/train/left/{number:04d}.png", work / f"ward/left/{number + 5:04d}.png")
    answer = ask("evaluate", model, "--data", "ward")
    assert answer.code == 0, answer.err
    assert f"{TRAINED_ON}, so that its scores are too high: 3 of 13 test images are copies" in answer.err
    assert "left/0005.png and train/left/0000.png" in answer.err


def test_other_images_are_judged_where_the_study_s_own_are_gone(ask: Ask, work: Path) -> None:
    answer = ask("evaluate", "blots", "--data", "ward")
    there = scores_of(work / "evaluations/blots/ward-test")
    (work / "images").rename(work / "moved")
    assert ask("evaluate", "blots").code == 3
    answer = ask("evaluate", "blots", "--data", "ward")
    assert answer.code == 0, answer.err
    assert f"{NOT_CHECKED} ward: {work}/images: no such file or folder" in answer.err
    assert NOT_LOGGED in answer.err
    assert scores_of(work / "evaluations/blots/ward-test") == there


def test_other_images_are_judged_by_the_classes_of_the_training_where_the_study_s_own_have_changed(
    ask: Ask, work: Path
) -> None:
    shutil.copytree(work / "images/train/left", work / "images/train/above")
    answer = ask("evaluate", "blots", "--data", "ward")
    assert answer.code == 0, answer.err
    assert f"{NOT_CHECKED} ward: the images of images have changed" in answer.err
    found = json.loads((work / "evaluations/blots/ward-test/scores.json").read_text())
    assert [row["class"] for row in found["classes"]] == ["left", "right"]


def test_an_export_whose_study_is_elsewhere_says_what_is_not_known(ask: Ask, work: Path) -> None:
    (work / "optuna.db").rename(work / "optuna-elsewhere.db")
    answer = ask("evaluate", "exports/blots", "--data", "ward")
    assert answer.code == 0, answer.err
    assert f"{NOT_CHECKED} ward: the study blots is not in this folder" in answer.err


@pytest.mark.parametrize("model", ["blots", "exports/blots"])
def test_labels_that_look_like_classes_of_the_model_are_named_and_count_as_these_where_asked(
    model: str, ask: Ask, work: Path
) -> None:
    refused = ask("evaluate", model, "--data", "ward/list.csv")
    assert refused.code == 3
    assert "'Left' = 'left'" in refused.err
    assert "--labels normalize" in refused.err
    answer = ask("evaluate", model, "--data", "ward/list.csv", "--labels", "normalize")
    assert answer.code == 0, answer.err
    assert scores_of(work / "evaluations/blots/list.csv-test")["images"] == 10


def test_a_way_to_read_labels_without_other_images_is_refused(ask: Ask, work: Path) -> None:
    answer = ask("evaluate", "blots", "--labels", "normalize")
    assert answer.code == 2
    assert "--labels" in answer.err
    assert "--data" in answer.err


def test_scores_on_the_images_that_chose_the_model_are_told_to_flatter_it(ask: Ask, work: Path) -> None:
    answer = ask("evaluate", "blots", "--split", "val")
    assert answer.code == 0, answer.err
    assert "these images chose trials and their epochs, which flatters them" in answer.out
    assert "sweeper best blots" in answer.out


def test_the_interval_of_accuracy_and_f1_is_shown_and_written(ask: Ask, work: Path) -> None:
    answer = ask("evaluate", "blots", "--data", "ward")
    assert "95% interval by the 10 images: accuracy 0." in answer.out
    assert "flatters them" not in answer.out
    found = json.loads((work / "evaluations/blots/ward-test/scores.json").read_text())
    for name in ("accuracy", "f1"):
        low, high = found["intervals"][name]
        assert 0 <= low <= found["metrics"][name] <= high <= 1


@pytest.mark.parametrize("model", ["blots", "exports/blots"])
def test_the_columns_of_a_list_can_be_named(model: str, ask: Ask, work: Path) -> None:
    rows = (work / "ward/list.csv").read_text().splitlines()[1:]
    plain = [row.lower().replace(".png", "").split(",") for row in rows]
    (work / "seen.csv").write_text("\n".join(["Ort;Seite", *(f"{path};{side}" for path, side in plain)]) + "\n")
    refused = ask("evaluate", model, "--data", "seen.csv")
    assert refused.code == 3
    assert "no column path/image/file" in refused.err
    assert "--path-column" in refused.err
    assert "--label-column" in refused.err
    named = ["--path-column", "Ort", "--label-column", "Seite", "--csv-images", "ward", "--extension", ".png"]
    answer = ask("evaluate", model, "--data", "seen.csv", *named)
    assert answer.code == 0, answer.err
    assert "seen.csv: columns: image = Ort, label = Seite" in answer.err
    (scores,) = (work / "evaluations").rglob("scores.json")
    assert json.loads(scores.read_text())["images"] == 10
    compared = ask("diff", "blots/0", "exports/blots", "--data", "seen.csv", *named, "--page", "page.html")
    assert compared.code == 0, compared.err
    folder = ask("evaluate", model, "--data", "ward", *named[:2])
    assert folder.code == 2
    assert "--path-column: describes a CSV file, and ward is none" in folder.err
    without = ask("evaluate", "blots", *named[:2])
    assert without.code == 2
    assert "--path-column: describes --data, which is missing" in without.err
