"""Names in a search space: what is taken, what is unknown, what a model file did wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
from timm.models import model_entrypoint

from sweeper.errors import ConfigError
from sweeper.modeling.registry import check_names, load_model_files, module_name

NETWORK = """
import torch
from timm.models import register_model

@register_model
def {name}(pretrained=False, **options):
    return torch.nn.Flatten()
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write_file(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return path

    return write_file


def problem_of(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        load_model_files([path])
    return str(error.value)


def test_an_architecture_of_a_file_is_known_by_name(write):
    load_model_files([write("first", NETWORK.format(name="net_of_first"))])
    assert timm.is_model("net_of_first")


def test_loading_a_file_again_does_nothing(write):
    path = write("again", NETWORK.format(name="net_of_again"))
    load_model_files([path])
    before = model_entrypoint("net_of_again")
    load_model_files([path, str(path)])
    assert model_entrypoint("net_of_again") is before


def test_files_of_the_same_name_in_different_folders_are_different_modules(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(NETWORK.format(name=f"net_in_{folder}"))
    load_model_files([tmp_path / "one" / "net.py", tmp_path / "two" / "net.py"])
    assert timm.is_model("net_in_one")
    assert timm.is_model("net_in_two")


def test_a_name_of_timm_is_refused_and_stays_timms(write):
    timms = model_entrypoint("resnet18")
    path = write("thief", NETWORK.format(name="resnet18"))
    message = problem_of(path)
    assert f"{path}:5: the architecture name 'resnet18' is taken by" in message
    assert model_entrypoint("resnet18") is timms
    assert "resnet18.a1_in1k" in timm.list_models("resnet18", include_tags=True)


def test_a_name_of_another_file_is_refused(write):
    owner = write("owner", NETWORK.format(name="wanted_twice"))
    load_model_files([owner])
    assert f"is taken by {owner}" in problem_of(write("second", NETWORK.format(name="wanted_twice") + "# another\n"))


def test_an_edited_file_takes_the_place_of_what_it_was_and_may_be_brought_back(write):
    first, second = NETWORK.format(name="edited_net"), NETWORK.format(name="edited_net") + "# edited\n"
    for content in (first, second, first):
        path = write("edited", content)
        load_model_files([path])
        assert model_entrypoint("edited_net").__module__ == module_name(path)


@pytest.mark.parametrize("mistake", ["raise RuntimeError\n", NETWORK.format(name="resnet18")])
def test_a_mistake_that_is_taken_back_leaves_what_was_before(write, mistake):
    first = NETWORK.format(name="kept_net")
    load_model_files([write("kept", first)])
    owner = model_entrypoint("kept_net")
    problem_of(write("kept", first + mistake))
    assert model_entrypoint("kept_net") is owner
    load_model_files([write("kept", first)])
    assert model_entrypoint("kept_net") is owner


def test_an_edited_file_is_known_again_by_a_relative_path(write, monkeypatch):
    path = write("moved", NETWORK.format(name="moved_net"))
    load_model_files([path])
    write("moved", NETWORK.format(name="moved_net") + "# edited\n")
    monkeypatch.chdir(path.parent)
    load_model_files([path.name])
    assert model_entrypoint("moved_net").__module__ == module_name(path)


def test_a_copy_of_a_file_under_another_name_is_the_same_module(write):
    content = NETWORK.format(name="copied_net")
    load_model_files([write("original", content), write("1_original", content)])
    assert timm.is_model("copied_net")


def test_an_error_in_a_file_is_reported_with_its_line(write):
    path = write("failing", "import torch\n\ndef build():\n    return 1 / 0\n\nbuild()\n")
    assert problem_of(path) == f"{path}:4: ZeroDivisionError: division by zero"


def test_a_syntax_error_is_reported_with_its_line(write):
    path = write("syntax", "x = 1\ndef broken(:\n    pass\n")
    assert problem_of(path) == f"{path}:2: SyntaxError: invalid syntax"


def test_a_file_that_ends_the_program_does_not(write):
    assert "SystemExit" in problem_of(write("leaving", "import sys\nsys.exit(3)\n"))


def test_a_file_can_be_loaded_after_its_mistake_is_repaired(write):
    path = write("repaired", NETWORK.format(name="net_repaired") + "\nraise RuntimeError('not yet')\n")
    assert f"{path}:9: RuntimeError: not yet" in problem_of(path)
    path.write_text(NETWORK.format(name="net_repaired"))
    load_model_files([path])
    assert timm.create_model("net_repaired") is not None


def test_all_mistakes_of_all_files_are_reported_at_once(write, tmp_path):
    with pytest.raises(ConfigError) as error:
        load_model_files([write("bad", "1 / 0"), tmp_path / "absent.py"])
    assert len(error.value.problems) == 2


def test_every_unknown_name_is_reported_with_the_nearest_valid_one(tmp_path, write):
    write("small_net", NETWORK.format(name="small_net_here"))
    (tmp_path / "weights.safetensors").touch()
    problems = check_names(
        [("search.backbone", "resnet5O"), ("search.backbone", "resnet50"), ("search.backbone", "small_net_her")],
        [("search.optimizer.name", "liom"), ("search.optimizer.name", "lion")],
        [("model_files.0", str(tmp_path / "small_net.py")), ("model_files.1", str(tmp_path / "smal_net.py"))],
        [("search.pretrained", True), ("search.pretrained", str(tmp_path / "weight.safetensors"))],
    )
    assert problems == [
        ("model_files.1", f"no such file: {tmp_path}/smal_net.py: did you mean {tmp_path}/small_net.py?"),
        ("search.backbone", "unknown architecture resnet5O: did you mean resnet50?"),
        ("search.backbone", "unknown architecture small_net_her: did you mean small_net_here?"),
        ("search.optimizer.name", "unknown optimizer liom: did you mean lion?"),
        (
            "search.pretrained",
            f"no such file: {tmp_path}/weight.safetensors: did you mean {tmp_path}/weights.safetensors?",
        ),
    ]


def test_right_names_give_no_problem():
    names = ["resnet18", "resnet50.a1_in1k", "vit_tiny_patch16_224.augreg_in21k"]
    assert check_names([("b", name) for name in names], [("o", "lamb"), ("o", "sgd")], [], [("p", False)]) == []


def test_a_wrong_pretrained_tag_is_reported():
    assert check_names([("b", "resnet50.a1_in2k")], [], [], []) == [
        ("b", "unknown architecture resnet50.a1_in2k: did you mean resnet50.a1_in1k?")
    ]


def test_a_name_that_timm_has_changed_is_reported_with_the_new_one():
    assert "timm calls it convnext_tiny.fb_in22k_ft_in1k now" in check_names(
        [("b", "convnext_tiny_in22ft1k")], [], [], []
    )[0][1]  # fmt: skip


def test_an_optimizer_that_needs_second_derivatives_is_refused():
    assert "second derivatives" in check_names([], [("o", "adahessian")], [], [])[0][1]


def test_an_error_inside_a_model_file_is_reported_under_its_key(write):
    path = write("broken", "\n1 / 0\n")
    assert check_names([], [], [("model_files.0", str(path))], []) == [
        ("model_files.0", f"{path}:2: ZeroDivisionError: division by zero")
    ]


def test_backbones_whose_blocks_are_to_be_left_out_need_such_blocks() -> None:
    named = [("search.backbone.choice[0]", "test_resnet"), ("search.backbone.choice[1]", "vgg11")]
    ((key, message),) = check_names(named, [], [], [], drop_path=True)
    assert key == "search.backbone.choice[1]"
    assert message.startswith("vgg11 has no blocks that can be left out; set drop_path_rate to 0")
    assert check_names(named, [], [], []) == []
