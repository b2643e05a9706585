"""Names that timm does not know are found without importing it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import timm
import timm.optim
from timm.models import model_entrypoint

from sweeper.config.names_to_check import NamesUsed
from sweeper.modeling.timm_names import surely_unknown


def unknown(**search: Any) -> list[str]:
    return [message for _, message in surely_unknown(NamesUsed({"search": search}))]


def test_every_name_of_timm_is_left_to_timm() -> None:
    names = [*timm.list_models(), *timm.list_models(include_tags=True)]
    of_timm = [name for name in names if model_entrypoint(name.partition(".")[0]).__module__.startswith("timm.")]
    backbones = [*of_timm, *timm.models.get_deprecated_models()]
    assert unknown(backbone={"choice": backbones}) == []
    optimizers = [{"name": str(name)} for name in timm.optim.list_optimizers()]  # type: ignore[attr-defined]
    assert unknown(optimizer={"choice": optimizers}) == []


@pytest.mark.parametrize(
    ("backbone", "told"),
    [
        ("resnet19", "unknown architecture resnet19: did you mean resnet18?"),
        ("ResNet18", "unknown architecture ResNet18: did you mean resnet18?"),
        ("resnet10tt.c3_in1k", "unknown architecture resnet10tt.c3_in1k: did you mean resnet10t?"),
    ],
)
def test_a_mistake_is_answered_with_the_nearest_name(backbone: str, told: str) -> None:
    assert unknown(backbone=backbone) == [told]
    assert unknown(backbone={"choice": ["resnet18", backbone]}) == [told]


def test_an_optimizer_may_be_ours_or_one_of_timm() -> None:
    assert unknown(optimizer={"name": "schedule_free_adamw"}) == []
    assert unknown(optimizer={"name": "admaw"}) == ["unknown optimizer admaw: did you mean adamw?"]


def test_a_model_file_may_register_any_name() -> None:
    data = {"search": {"backbone": "mine"}, "model_files": ["mine.py"]}
    assert surely_unknown(NamesUsed(data)) == []


def test_nothing_heavy_is_imported() -> None:
    program = (
        "import sys\n"
        "from sweeper.config.names_to_check import NamesUsed\n"
        "from sweeper.modeling.timm_names import surely_unknown\n"
        "assert surely_unknown(NamesUsed({'search': {'backbone': 'resnet19'}}))\n"
        "print({'torch', 'timm', 'numpy'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "set()"
