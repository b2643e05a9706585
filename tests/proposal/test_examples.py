"""The examples that come with sweeper: in the package, whole, and usable where they are copied to."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.config.loading import load_sweep
from sweeper.proposal.examples import examples

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (REPOSITORY / "search_spaces").glob("*.yaml"))


def told(*arguments: str) -> tuple[int, str]:
    ran = CliRunner().invoke(app, ["init", *arguments])
    return ran.exit_code, ran.output + str(ran.exception or "")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_built_package_holds_every_example_and_the_networks_that_it_names() -> None:
    described = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    patterns = described["tool"]["setuptools"]["package-data"]["sweeper"]
    packed = {path for pattern in patterns for path in (REPOSITORY / "sweeper").glob(pattern) if path.is_file()}
    wanted = [Path("search_spaces", f"{name}.yaml") for name in NAMES]
    wanted += [file for one in examples().values() for file in one.files]
    assert {REPOSITORY / "sweeper" / "examples" / file for file in wanted} <= packed


def test_the_examples_are_those_of_the_repository_and_each_says_in_a_line_what_it_is() -> None:
    assert sorted(examples()) == NAMES
    for one in examples().values():
        assert 20 < len(one.about) < 150
        assert "\n" not in one.about


@pytest.mark.parametrize("name", NAMES)
def test_a_copied_example_is_a_search_space_with_all_its_files(name: str) -> None:
    code, said = told("--example", name)
    assert code == 0, said
    assert f"next: sweeper run search_spaces/{name}.yaml" in said
    sweep = load_sweep(Path("search_spaces", f"{name}.yaml"))
    assert sweep.study == name
    assert all(Path(file).is_file() for file in sweep.model_files)


def test_without_a_name_or_with_a_wrong_one_the_names_are_listed() -> None:
    code, listed = told("--example")
    assert code == 0
    assert [line.split()[0] for line in listed.splitlines() if line and not line.startswith("next")] == NAMES
    code, said = told("--example", "quickstrat")
    assert code != 0
    assert "no example is called quickstrat: did you mean quickstart?" in said
    assert "tinyimagenet_frozen" in said


def test_a_copy_that_was_edited_is_replaced_only_by_force() -> None:
    assert told("--example", "quickstart", "--out", "mine.yaml")[0] == 0
    assert told("--example", "quickstart", "--out", "mine.yaml")[0] == 0
    path = Path("mine.yaml")
    whole = path.read_text()
    path.write_text(whole + "# mine\n")
    code, said = told("--example", "quickstart", "--out", "mine.yaml")
    assert code != 0
    assert "is not replaced" in said
    assert told("--example", "quickstart", "--out", "mine.yaml", "--force")[0] == 0
    assert path.read_text() == whole


def test_a_network_of_ones_own_is_never_replaced() -> None:
    own = Path("models", "small_resnet.py")
    own.parent.mkdir()
    own.write_text("my own")
    code, said = told("--example", "quickstart", "--force")
    assert code != 0
    assert "models/small_resnet.py is not a model file by sweeper" in said
    assert own.read_text() == "my own"
    assert not Path("search_spaces").exists()
