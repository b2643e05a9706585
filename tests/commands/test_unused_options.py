"""Options that would change nothing are refused, and say with what they go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.answer import Ask, ask
from tests.pictures import write_class_folders

__all__ = ["ask"]  # a fixture


CLEANED = ("--backbone", "resnet18", "--pretrained", "--csv", "x", "--sheet", "x")


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("best", "s", "--int8"), "--int8: changes an export; add --export"),
        (("best", "s", "--fp16", "--soup"), "--soup: changes an export"),
        (("data", "check", ".", "--label-column", "x"), "--extension: describe a CSV file, and . is none"),
        (("data", "check", "s.yaml", "--csv-images", "x"), "--extension: describe a CSV file, and s.yaml is none"),
        (("run", "s.yaml", "--for", ""), "--for: should be a duration such as 45m or 2h, and is empty"),
        (("init", "photos", "--example", "quickstart"), "--example: copies a search space as it is; leave out IMAGES"),
        (("init", "--hours", "1", "--example"), "leave out --hours, and change the copy"),
        (("best", "s", "--export", "--leaders", "3"), "--leaders: is for --soup or --ensemble"),
        (("best", "s", "--to", "there", "--tolerance", "0.1"), "--tolerance: is for --fp16 or --int8"),
        (("predict", "m", "photos", "--path-column", "x"), "--extension: describe a CSV file, and photos is none"),
        (("diff", "s/0", "s/1", "--device", "cpu"), "--device: evaluates on --data, which is missing"),
        (("diff", "s/0", "s/1", "--split", "test"), "--split: chooses a split of --data, which is missing"),
    ],
)
def test_an_option_without_what_it_is_for_is_refused(words: tuple[str, ...], rule: str, ask: Ask) -> None:
    answer = ask(*words)
    assert answer.code == 2
    assert rule in answer.err


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("init", ""), "IMAGES: is empty; the current folder is named by a dot"),
        (("init", "https://me:secret@host/photos.zip"), "IMAGES: should hold no password and no signature"),
        (("data", "clean", ".", *CLEANED), "--csv and --sheet: should be two files, got x"),
        (("data", "split", ".", "--seed", "5000000000"), "--seed: should be"),
        (("data", "split", ".", "--group-column", "a", "--group-from", "b"), "--group-column and --group-from: "),
        (("run", ".", "--for", "0s"), "--for: should be from 0.01 to 10,000 hours, got 0s"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work_under_the_name_of_its_option(
    words: tuple[str, ...], rule: str, ask: Ask
) -> None:
    answer = ask(*words)
    assert answer.code == 2
    assert rule in answer.err
    assert "secret" not in answer.err


@pytest.mark.parametrize(("named", "folder"), [(".", "photos-splits"), ("../photos", "photos-splits")])
def test_the_lists_of_a_folder_named_by_dots_lie_beside_it(
    named: str, folder: str, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_class_folders(tmp_path / "photos", {"cat": 5, "dog": 5}))
    answer = ask("data", "split", named)
    assert answer.code == 0, answer.err
    assert (tmp_path / folder / "train.csv").is_file()


def test_the_lists_of_the_root_have_no_name(ask: Ask) -> None:
    answer = ask("data", "split", "/")
    assert answer.code == 2
    assert "--to: is missing" in answer.err


def test_a_pipe_is_no_terminal_whatever_colours_are_asked_for() -> None:
    program = "from sweeper.commands.terminal import err, out; print(out.is_terminal, err.is_terminal)"
    asked = {**os.environ, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1"}
    ran = subprocess.run([sys.executable, "-c", program], env=asked, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]
