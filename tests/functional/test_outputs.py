"""What a user names to be written never takes the place of anything but an earlier file of the same kind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from sweeper.safeguards.written_files import RECORD, WrittenFiles
from tests.functional.answer import Ask, ask, everything_in
from tests.functional.program import run_and_export
from tests.functional.test_using_models import SPACE, SPLITS, write_blots

pytestmark = pytest.mark.sweeps

__all__ = ["ask"]  # a fixture

FILES = {
    "report --to": ["report", "blots", "--no-log"],
    "diff --page": ["diff", "blots", "exports/blots"],
    "predict --csv": ["predict", "blots", "images/val", "images/labels.csv"],
    "data check --html": ["data", "check", "images/labels.csv"],
    "data clean --csv": ["data", "clean", "images/labels.csv", "--backbone", "test_resnet", "--weights", "w"],
    "data clean --sheet": ["data", "clean", "images/labels.csv", "--backbone", "test_resnet", "--weights", "w"],
    "init --out": ["init", "images/train"],
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
    run_and_export(folder, "blots")
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


def test_an_export_whose_card_was_edited_is_left_alone_and_a_damaged_network_is_exported_again(
    ask: Ask, work: Path
) -> None:
    card, network = work / "exports/blots/README.md", work / "exports/blots/model.onnx"
    written = card.read_text()
    card.write_text(written + "for internal use\n")
    answer = ask("best", "blots", "--export", "--no-register")
    assert answer.code == 6
    assert "files that were edited since they were exported and are not replaced: README.md" in answer.err
    assert card.read_text() == written + "for internal use\n"
    card.write_text(written)
    network.write_bytes(b"damaged")
    assert ask("best", "blots", "--export", "--no-register").code == 0
    assert network.stat().st_size > 1000


SUSPECTS_OF = ("data clean", "data label-errors")
EDITED = {option: command for option, command in FILES.items() if not option.startswith(SUSPECTS_OF)}
EDITED |= {"evaluate --to": FOLDERS["evaluate --to"]}
"""Options whose files are replaced only as they were written, or with --force; tests/curation has the other ones."""


@pytest.mark.parametrize("option", sorted(EDITED))
def test_a_file_that_was_edited_since_is_replaced_by_force_alone(option: str, ask: Ask, work: Path) -> None:
    command = [*EDITED[option], option.split()[-1], "new"]
    assert ask(*command).code in (0, 1)
    file = work / "new/classes.csv" if (work / "new").is_dir() else work / "new"
    written = file.read_bytes()
    file.write_bytes(written + b"seen by me\n")
    answer = ask(*command)
    assert answer.code == 2
    assert answer.err.startswith(f"error: {option.split()[-1]}: {file.relative_to(work)} is not as it was written")
    assert "--force" in answer.err
    assert file.read_bytes() == written + b"seen by me\n"
    assert ask(*command, "--force").code in (0, 1)
    assert b"seen by me" not in file.read_bytes()
    assert ask(*command).code in (0, 1), "as it was written, it is replaced"
    file.write_bytes(b"mine")
    assert ask(*command, "--force").code == 2, "what is not ours is never replaced"
    assert file.read_bytes() == b"mine"


def test_a_confirmation_begins_only_if_its_evaluation_replaces_nothing(ask: Ask, work: Path) -> None:
    folder = work / "evaluations/blots/test"
    assert ask("evaluate", "blots").code == 0
    (folder / "classes.csv").write_text("class,precision,recall,f1,images\nmine\n")
    answer = ask("confirm", "blots", "--top", "1", "--seeds", "2")
    assert answer.code == 2
    assert "evaluation: evaluations/blots/test/classes.csv is not as it was written" in answer.err.replace(
        f"{work}/", ""
    )
    assert "move it away" in answer.err
    assert "--force" not in answer.err


def test_two_commands_that_write_into_one_folder_at_once_both_know_their_files_again(tmp_path: Path) -> None:
    names = [str(number) for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: WrittenFiles(tmp_path).write(tmp_path / name, name), names))
    assert [name for name in names if not WrittenFiles(tmp_path).holds(tmp_path / name)] == []


def test_a_file_is_written_where_nothing_can_be_noted_and_then_counts_as_edited(tmp_path: Path) -> None:
    (tmp_path / RECORD).mkdir()
    WrittenFiles(tmp_path).write(tmp_path / "a.csv", "path,class\n")
    assert (tmp_path / "a.csv").read_text() == "path,class\n"
    assert not WrittenFiles(tmp_path).holds(tmp_path / "a.csv")


def test_a_report_that_was_edited_is_left_alone_at_the_end_of_a_sweep(ask: Ask, work: Path) -> None:
    page = work / "reports/blots.html"
    assert ask("report", "blots", "--no-log").code == 0
    page.write_text(page.read_text() + "<!-- mine -->")
    again = ask("run", "space.yaml")
    assert again.code == 0
    assert "no report yet: --to: reports/blots.html is not as it was written" in again.err.replace(f"{work}/", "")
    assert page.read_text().endswith("<!-- mine -->")


def test_lists_of_a_split_take_the_place_of_lists_of_a_split_alone(ask: Ask, work: Path) -> None:
    command = FOLDERS["data split --to"]
    (work / "mine").mkdir()
    (work / "mine/train.csv").write_text("path,label\na.png,cat\n")
    refused = ask(*command, "--to", "mine")
    assert refused.code == 3
    assert "sweeper data split did not write this" in refused.err
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
