"""What a user names to be written never takes the place of anything but an earlier file of the same kind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer
from PIL import Image
from typer.models import OptionInfo

from sweeper.cli import app
from sweeper.curation.clean import SUSPECTS, Suspect, suspects_csv, suspects_sheet
from sweeper.curation.image_list import ImageList
from sweeper.safeguards.outputs import PICTURE
from tests.functional.answer import Ask, ask, everything_in
from tests.functional.program import sweeper
from tests.functional.test_using_models import SPACE, SPLITS, write_blots

__all__ = ["ask"]  # a fixture

FILES = {
    "report --to": ["report", "blots", "--no-log"],
    "diff --page": ["diff", "blots", "exports/blots"],
    "predict --csv": ["predict", "blots", "images/val", "images/labels.csv"],
    "data check --html": ["data", "check", "images/labels.csv"],
    "data clean --csv": ["data", "clean", "images/labels.csv", "--backbone", "test_resnet", "--weights", "w"],
    "data clean --sheet": ["data", "clean", "images/labels.csv", "--backbone", "test_resnet", "--weights", "w"],
    "data label-errors --csv": ["data", "label-errors", "blots"],
    "data label-errors --sheet": ["data", "label-errors", "blots"],
}
"""Options that name a file to be written, with a command that is whole but for them."""

FOLDERS = {
    "evaluate --to": ["evaluate", "blots", "--split", "val"],
    "best --to": ["best", "blots", "--export", "--no-register"],
    "data split --to": ["data", "split", "images/train", "--force"],
    "predict --sort-into": ["predict", "blots", "images/val"],
}
READ = {"data split --class-codes", "data clean --weights", "evaluate --data", "diff --data"}


def options_with_a_path(program: typer.Typer, before: str = "") -> Iterator[str]:
    """Yield every option of every command that takes a path."""
    for group in program.registered_groups:
        assert group.typer_instance is not None
        yield from options_with_a_path(group.typer_instance, f"{group.name or group.typer_instance.info.name} ")
    for command in program.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        for parameter, hint in get_type_hints(command.callback, include_extras=True).items():
            kind, *extras = get_args(hint) or (hint,)
            named = any(isinstance(extra, OptionInfo) for extra in extras)
            if named and Path in (kind, *get_args(kind)):
                yield f"{before}{name} --{parameter.replace('_', '-')}"


def test_every_option_that_names_a_file_is_known_to_these_tests() -> None:
    assert set(options_with_a_path(app)) == {*FILES, *FOLDERS, *READ}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study, its export, and files that are dear to someone."""
    folder = tmp_path_factory.mktemp("work")
    write_blots(folder / "images", {f"{split}/{side}": n for split, n in SPLITS.items() for side in ("left", "right")})
    rows = [f"{path.relative_to(folder / 'images')},{path.parent.name}" for path in (folder / "images").rglob("*.png")]
    (folder / "images/labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    (folder / "space.yaml").write_text(SPACE)
    (folder / "w").write_text("")
    for command in (["run", "space.yaml", "--no-report"], ["best", "blots", "--export", "--no-register"]):
        done = sweeper(*command, folder=folder)
        assert done.returncode == 0, done.stderr + done.stdout
    return folder


@pytest.fixture
def work(made: Path, ask: Ask, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (tmp_path / "empty").write_text("")
    (tmp_path / "notes.html").write_text("<!doctype html>\nmine")
    (tmp_path / "notes.csv").write_text("path,class,score\nmine\n")
    (tmp_path / "a link").symlink_to("images/labels.csv")
    (tmp_path / "a link to nothing").symlink_to("nothing")
    os.mkfifo(tmp_path / "a pipe")
    return tmp_path


DEAR = [
    "optuna.db", "images/labels.csv", "space.yaml", "images/val/left/0000.png", "exports/blots/config.json", "empty",
    "notes.html", "notes.csv", "a link", "a link to nothing", "a pipe", "images", "/dev/null",
]  # fmt: skip


@pytest.mark.parametrize("option", FILES)
def test_no_file_takes_the_place_of_anothers(option: str, ask: Ask, work: Path) -> None:
    before = contents(work)
    for target in DEAR:
        answer = ask(*FILES[option], option.split()[-1], target)
        assert answer.code == 2, (target, answer)
        assert answer.err.startswith(f"error: {option.split()[-1]}: {target} is ")
        assert answer.err.count("\n") == 1
    assert contents(work) == before
    assert Path("/dev/null").is_char_device()


def contents(folder: Path) -> dict[str, bytes]:
    names = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if ".sweeper" not in name and "-shm" not in name}


@pytest.mark.parametrize("option", ["report --to", "diff --page", "predict --csv", "data check --html"])
def test_an_earlier_file_of_the_same_kind_is_replaced(option: str, ask: Ask, work: Path) -> None:
    for _ in range(2):
        assert ask(*FILES[option], option.split()[-1], "new").code in (0, 1)
    assert (work / "new").stat().st_size > 100


def test_a_file_of_another_kind_of_ours_is_not_replaced(ask: Ask, work: Path) -> None:
    assert ask(*FILES["predict --csv"], "--csv", "seen").code == 0
    before = (work / "seen").read_bytes()
    others = [option for option in FILES if option != "predict --csv"]
    assert {ask(*FILES[option], option.split()[-1], "seen").code for option in others} == {2}
    assert (work / "seen").read_bytes() == before


def test_what_a_command_reads_is_not_replaced_by_it_even_if_it_is_of_the_kind(ask: Ask, work: Path) -> None:
    assert ask("predict", "blots", "images/val", "--csv", "seen.csv").code == 0
    before = (work / "seen.csv").read_bytes()
    answer = ask("predict", "blots", "seen.csv", "--csv", "seen.csv")
    assert answer.code == 2
    assert "is read by this command" in answer.err
    (work / "outliers.csv").write_text("path,class,score,method,suggested_label\nleft/0000.png,left,1,knn,\n")
    (work / "again.yaml").write_text(SPACE.replace("path: images", "path: images, exclude: outliers.csv"))
    again = ask("data", "clean", "again.yaml", "--backbone", "test_resnet", "--weights", "w")
    assert again.code == 2
    assert "outliers.csv is read by this command" in again.err
    assert (work / "seen.csv").read_bytes() == before


def test_a_file_that_stands_beside_the_output_is_not_used_for_it(ask: Ask, work: Path) -> None:
    (work / "new.csv.part").write_text("mine")
    answer = ask("predict", "blots", "images/val", "--csv", "new.csv")
    assert answer.code == 2
    assert (work / "new.csv.part").read_text() == "mine"


@pytest.mark.parametrize("name", ["confusion.csv", "confusion.png", "classes.csv", "scores.json"])
def test_a_folder_of_an_evaluation_keeps_what_is_not_ours(name: str, ask: Ask, work: Path) -> None:
    assert ask(*FOLDERS["evaluate --to"], "--to", "seen").code == 0
    assert ask(*FOLDERS["evaluate --to"], "--to", "seen").code == 0
    (work / "seen" / name).write_text("mine")
    answer = ask(*FOLDERS["evaluate --to"], "--to", "seen")
    assert answer.code == 2
    assert f"seen/{name} is no" in answer.err
    assert (work / "seen" / name).read_text() == "mine"


def test_an_export_keeps_what_is_not_ours(ask: Ask, work: Path) -> None:
    ask(*FOLDERS["best --to"], "--to", "images")  # the folder is a copy: MLflow's database is changed first
    before = contents(work)
    for target in ("images", "space.yaml", "."):
        assert ask(*FOLDERS["best --to"], "--to", target).code == 6
        assert contents(work) == before


def test_lists_of_a_split_take_the_place_of_lists_of_a_split_alone(ask: Ask, work: Path) -> None:
    command = FOLDERS["data split --to"]
    (work / "mine").mkdir()
    (work / "mine/train.csv").write_text("path,label\na.png,cat\n")
    refused = ask(*command, "--to", "mine")
    assert refused.code == 3
    assert "no list that sweeper data split wrote" in refused.err
    assert everything_in(work / "mine") == {str(work / "mine/train.csv")}
    assert ask(*command, "--to", "lists").code == 0
    assert ask(*command, "--to", "lists", "--seed", "1").code == 0
    own = ask("data", "split", "lists/train.csv", "--csv-images", "../images/train", "--to", "lists", "--force")
    assert own.code == 3
    assert "what is split here" in own.err
    with (work / "lists/train.csv").open("a") as file:
        file.write("by hand,left\n")
    assert ask(*command, "--to", "lists").code == 3
    assert (work / "lists/train.csv").read_text().endswith("by hand,left\n")


def test_sorted_copies_replace_nothing(ask: Ask, work: Path) -> None:
    for side in ("left", "right"):
        (work / "sorted" / side).mkdir(parents=True)
        (work / "sorted" / side / "0000.png").write_text("mine")
    assert ask(*FOLDERS["predict --sort-into"], "--sort-into", "sorted").code == 0
    assert [(work / "sorted" / side / "0000.png").read_text() for side in ("left", "right")] == ["mine", "mine"]


def test_the_list_and_the_picture_of_candidates_are_known_again(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    source = ImageList(tmp_path, ["a.png"], ["cat"], ["train"], ("cat",))
    candidates = [Suspect(0, "a.png", "cat", 1.0, "knn", "")]
    (tmp_path / "list.csv").write_text(suspects_csv(candidates))
    (tmp_path / "sheet.png").write_bytes(suspects_sheet(source, candidates))
    assert SUSPECTS.is_of(tmp_path / "list.csv")
    assert PICTURE.is_of(tmp_path / "sheet.png")
    assert not PICTURE.is_of(tmp_path / "a.png")
