"""Every mistake in a search space or on the command line: exit 2, where it is, what to do, nothing created."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from sweeper.cli import app
from tests.functional.answer import Ask, ask, everything_in

__all__ = ["ask"]  # a fixture

MINIMAL = "study: s\ndataset: {builtin: digits}\nsearch: {backbone: resnet18}\n"
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
MERGED_LAUGHS = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30)
)

TEXTS = {
    "empty": ("", ["the file is empty"]),
    "a list": ("[1, 2]", [":1", "keys and values"]),
    "words": ("just words", [":1", "keys and values"]),
    "unclosed": (MINIMAL + "budget: {trials: 3", [":4", "not valid YAML"]),
    "tab": (MINIMAL + "budget:\n\ttrials: 3\n", [":5", "'\\t'"]),
    "two documents": (MINIMAL + "---\n" + MINIMAL, [":4", "another document"]),
    "control character": (MINIMAL + "seed: \x01", [":4", "unacceptable character"]),
    "zero byte": ("study: \0", [":1", "unacceptable character"]),
    "billion laughs": (LAUGHS + MINIMAL, ["aliases stand for more than 20,000 values"]),
    "billion merged laughs": (MERGED_LAUGHS + MINIMAL, ["aliases stand for more than 20,000 values"]),
    "alias of itself": (MINIMAL + "budget: &a {x: *a}\n", [":4", "alias is inside"]),
    "alias merged into itself": (MINIMAL + "budget: &a {<<: *a}\n", [":4", "alias is inside"]),
    "unknown alias": (MINIMAL + "budget: *nothing\n", [":4", "undefined alias"]),
    "deeply nested": (MINIMAL + "budget: " + "[" * 3000, [":4", "more than 50 levels deep; flatten it"]),
    "deeply indented": (
        "".join(f"{' ' * n}a:\n" for n in range(200)),
        ["more than 50 levels deep; flatten it"],
    ),
    "python object": (MINIMAL + "seed: !!python/object/apply:os.mkdir [pwned]\n", [":4", "refused", "remove it"]),
    "python name": (MINIMAL + "seed: !!python/name:os.system\n", [":4", "refused", "remove it"]),
    "foreign tag": (MINIMAL + "seed: !secret x\n", [":4", "!secret", "remove it"]),
    "tag on the wrong value": (MINIMAL + "seed: !!bool perhaps\n", [":4", "'perhaps' is not a valid bool; quote it"]),
    "date tag": (MINIMAL + "seed: !!timestamp soon\n", [":4", "'soon' is not a valid timestamp"]),
    "half a binary number": (MINIMAL + "seed: 0b_\n", [":4", "should be a whole number, got '0b_'"]),
    "impossible date": (MINIMAL + "seed: 2001-99-99\n", [":4", "seed", "should be a whole number, got '2001-99-99'"]),
    "thousands of digits": (MINIMAL + f"seed: {'9' * 5000}\n", [":4", "5,002 characters"]),
    "thousands of hexadecimal digits": (MINIMAL + f"seed: 0x{'f' * 50000}\n", [":4", "at most 63 bits"]),
    "duplicate key": (MINIMAL + "study: t\n", [":4", "first in line 1", "keep one"]),
    "number as key": (MINIMAL + "7: x\n", ["a key that is not text, got 7"]),
    "nothing as key": (MINIMAL + "null: x\n", ["a key that is not text, got None"]),
    "list as key": (MINIMAL + "? [1]\n: x\n", [":4", "unhashable"]),
    "unknown key": (MINIMAL + "budjet: {trials: 3}\n", [":4", "did you mean budget?"]),
    "study with a slash": (MINIMAL.replace("study: s", "study: a/b"), [":1", "study", "names folders"]),
    "study that climbs": (MINIMAL.replace("study: s", "study: ../../x"), [":1", "study", "names folders"]),
    "study that is a number": (MINIMAL.replace("study: s", "study: 7"), [":1", "study", "should be text, got 7"]),
    "no data set": ("study: s\nsearch: {backbone: resnet18}\n", ["dataset", "missing"]),
    "two data sets": (MINIMAL.replace("digits", "digits, path: x"), [":2", "exactly one source"]),
    "empty path": (MINIMAL.replace("builtin: digits", "path: ''"), [":2", "dataset.path", "should not be empty"]),
    "image size beyond reason": (
        MINIMAL.replace("resnet18", "resnet18, image_size: 1000000000000"),
        [":3", "image_size", "at most 4,096"],
    ),
    "range of image sizes beyond reason": (
        MINIMAL.replace("resnet18", "resnet18, image_size: {int: [8, 100000000000]}"),
        [":3", "image_size", "at most 4,096"],
    ),
    "too many image sizes": (
        MINIMAL.replace("resnet18", "resnet18, image_size: {int: [8, 200]}"),
        [":3", "search.image_size", "at most 8", "dataset.stored_size"],
    ),
    "infinite rate": (MINIMAL.replace("resnet18", "resnet18, optimizer: {name: adam, lr: .inf}"), [":3", "finite"]),
    "range to infinity": (MINIMAL.replace("resnet18", "resnet18, weight_decay: {float: [0, .inf]}"), [":3", "finite"]),
    "range of no numbers": (MINIMAL.replace("resnet18", "resnet18, weight_decay: {float: [.nan, 1]}"), ["finite"]),
    "range without bounds": (MINIMAL.replace("resnet18", "resnet18, batch_size: {int: []}"), [":3", "batch_size"]),
    "empty choice": (MINIMAL.replace("resnet18", "resnet18, batch_size: {choice: []}"), [":3", "batch_size"]),
    "grid over a continuous range": (
        MINIMAL.replace("resnet18", "resnet18, weight_decay: {float: [0, 1]}") + "sampler: grid\n",
        [":3", "search.weight_decay", "give this range a `step`"],
    ),
    "grid over an endless range": (
        MINIMAL.replace("resnet18", "resnet18, batch_size: {int: [1, 1000000]}") + "sampler: grid\n",
        [":3", "more than 100,000 combinations", "another sampler"],
    ),
    "grid over minute steps": (
        MINIMAL.replace("resnet18", "resnet18, weight_decay: {float: [0, 1], step: 1.0e-15}") + "sampler: grid\n",
        [":3", "more than 100,000 combinations", "another sampler"],
    ),
    "unknown backbone": (MINIMAL.replace("resnet18", "resnet81"), [":3", "search.backbone", "did you mean"]),
    "unknown optimizer": (MINIMAL.replace("resnet18", "resnet18, optimizer: {name: sgdd}"), [":3", "did you mean"]),
    "missing model file": (MINIMAL + "model_files: [nets/none.py]\n", [":4", "model_files[0]", "nets/none.py"]),
    "nameless model file": (MINIMAL + "model_files: ['']\n", [":4", "model_files[0]", "no such file"]),
    "folder as model file": (MINIMAL + "model_files: [/]\n", [":4", "model_files[0]", "no such file"]),
    "endless model file name": (MINIMAL + f"model_files: [{'x' * 300}]\n", [":4", "model_files[0]", "no such file"]),
    "missing pretrained file": (MINIMAL.replace("resnet18", "resnet18, pretrained: w.pt"), [":3", "search.pretrained"]),
    "nameless pretrained file": (MINIMAL.replace("resnet18", "resnet18, pretrained: ''"), [":3", "search.pretrained"]),
}

OVERRIDES = {
    "without a value": ("search.batch_size", "KEY=VALUE"),
    "without a key": ("=3", "KEY=VALUE"),
    "of nothing": ("", "KEY=VALUE"),
    "of an unknown key": ("search.bach_size=3", "did you mean batch_size?"),
    "below a value": ("study.name=x", "study"),
    "of the wrong type": ("search.batch_size=many", "search.batch_size"),
    "no YAML": ("search.batch_size=[", "not valid YAML"),
    "that is a bad date": ("search.batch_size=2001-99-99", "search.batch_size"),
    "with a bad tag": ("study=!!bool x", "'x' is not a valid bool"),
    "with a python tag": ("study=!!python/object/apply:os.mkdir [pwned]", "refused"),
    "that looks like a line": ("a=b:²", "unknown key"),
    "too deep": ("study=" + "[" * 3000, "50 levels deep"),
    "with a duplicate": ("budget={trials: 1, trials: 2}", "appears twice"),
}


def refused(ask: Ask, tmp_path: Path, *arguments: str) -> str:
    """Return the message of a command that is refused with exit 2 and leaves no trace."""
    before = everything_in(tmp_path)
    started = time.monotonic()
    answer = ask(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert "Traceback" not in answer.err
    assert everything_in(tmp_path) == before
    assert len(answer.err) < 12_000
    assert time.monotonic() - started < 60  # not for ever; the first one imports timm
    return answer.err


@pytest.mark.parametrize("case", TEXTS)
def test_a_bad_search_space_is_refused_with_place_and_remedy_and_creates_nothing(
    ask: Ask, tmp_path: Path, case: str
) -> None:
    text, expected = TEXTS[case]
    (tmp_path / "space.yaml").write_text(text, encoding="utf-8")
    message = refused(ask, tmp_path, "run", "space.yaml")
    missing = [part for part in expected if part not in message]
    assert not missing, message


@pytest.mark.parametrize("case", OVERRIDES)
def test_a_bad_override_is_refused_with_its_text_and_creates_nothing(ask: Ask, tmp_path: Path, case: str) -> None:
    override, expected = OVERRIDES[case]
    (tmp_path / "space.yaml").write_text(MINIMAL)
    message = refused(ask, tmp_path, "run", "space.yaml", "--set", override)
    assert f"--set {override}" in message
    assert expected in message


@pytest.mark.parametrize("name", ["nowhere.yaml", "space.yaml/x", "x" * 300, "latin.yaml"])
def test_a_search_space_that_cannot_be_read_is_named(ask: Ask, tmp_path: Path, name: str) -> None:
    (tmp_path / "space.yaml").write_text(MINIMAL)
    (tmp_path / "latin.yaml").write_bytes("study: größe\n".encode("latin-1"))
    assert name in refused(ask, tmp_path, "run", name)


def test_a_folder_that_is_no_data_set_is_named(ask: Ask, tmp_path: Path) -> None:
    before = everything_in(tmp_path)
    answer = ask("run", ".")
    assert answer.code == 3
    assert "no class folders: it holds neither folders nor images" in answer.err
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("1 / 0\n", "ZeroDivisionError"),
        ("def broken(:\n", "SyntaxError"),
        ("import sys\nsys.exit(3)\n", "SystemExit"),
        ("import no_such_module_anywhere\n", "no_such_module_anywhere"),
        ("x = '\0'\n", "null bytes"),
        (
            "from timm.models import register_model\n\n@register_model\ndef resnet18(pretrained=False, **kwargs):\n"
            "    return None\n",
            "'resnet18' is taken",
        ),
    ],
)
def test_a_model_file_that_cannot_be_used_is_reported_with_its_key(
    ask: Ask, tmp_path: Path, code: str, expected: str
) -> None:
    (tmp_path / "net.py").write_text(code)
    (tmp_path / "space.yaml").write_text(MINIMAL + "model_files: [net.py]\n")
    message = refused(ask, tmp_path, "run", "space.yaml")
    assert "space.yaml:4: model_files[0]: net.py" in message
    assert expected in message


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_a_pretrained_file_with_a_live_payload_is_refused_before_anything_runs(ask: Ask, tmp_path: Path) -> None:
    marker = tmp_path / "pwned"
    torch.save({"state_dict": {"weight": torch.ones(1)}, "payload": Payload(marker)}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload(marker)))
    text = MINIMAL.replace("resnet18", "resnet18, pretrained: {choice: [zip.pt, plain.pt]}")
    (tmp_path / "space.yaml").write_text(text)
    message = refused(ask, tmp_path, "run", "space.yaml")
    assert "search.pretrained.choice[0]: zip.pt is damaged or holds more than tensors" in message
    assert "search.pretrained.choice[1]: plain.pt is damaged or holds more than tensors" in message
    assert "save the model's state_dict() alone" in message
    assert not marker.exists()
    pickle.loads((tmp_path / "plain.pt").read_bytes())  # noqa: S301 - the payload is live
    assert marker.exists()


@pytest.mark.parametrize("content", [b"", b"this is text\n", b"PK\x03\x04" + b"\0" * 99])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_pretrained_file_that_holds_no_weights_is_refused(
    ask: Ask, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "space.yaml").write_text(MINIMAL.replace("resnet18", f"resnet18, pretrained: {name}"))
    assert f"space.yaml:3: search.pretrained: {name}" in refused(ask, tmp_path, "run", "space.yaml")


def test_a_pretrained_list_instead_of_names_is_refused(ask: Ask, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save([torch.ones(1)], buffer)
    (tmp_path / "w.pt").write_bytes(buffer.getvalue())
    (tmp_path / "space.yaml").write_text(MINIMAL.replace("resnet18", "resnet18, pretrained: w.pt"))
    assert "save the model's state_dict()" in refused(ask, tmp_path, "run", "space.yaml")


@pytest.mark.parametrize("arguments", [("status",), ("best",), ("sync",), ("status", "nothing"), ("best", "../x")])
@pytest.mark.parametrize("storage", [(), ("--storage", "sqlite:///none.db"), ("--storage", "no address")])
def test_reading_where_no_study_is_answered_and_creates_nothing(
    ask: Ask, tmp_path: Path, arguments: tuple[str, ...], storage: tuple[str, ...]
) -> None:
    answer = ask(*arguments, *storage)
    assert answer.code == 4
    assert "optuna.db" in answer.err or "--storage" in answer.err or "a trial is named" in answer.err
    assert everything_in(tmp_path) == set()


def test_the_program_itself_answers_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(LAUGHS + "study: \x1b[2Jx\n")
    for arguments in (["run", "space.yaml"], ["run", "no\x1b[2J.yaml"]):
        done = subprocess.run(
            [sys.executable, "-m", "sweeper", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stderr  # a name must not steer the terminal


@pytest.mark.parametrize("workers", ["0", "-1", "1.5", "many"])
def test_workers_are_a_number_or_auto(workers: str) -> None:
    told = CliRunner().invoke(app, ["run", "space.yaml", "--workers", workers])
    assert told.exit_code == 2
    assert f"at least 1, or auto, got {workers}" in " ".join(told.stderr.replace("│", "").split())
