"""A backbone cut in two where learning begins: what is frozen gives values that what learns goes on from.

The values are the same in every epoch, so that they need to be computed once. The cut is found in a record of what the
backbone's code does with images (torch.fx; Reed et al., arXiv 2112.08429). Modules that learn whole, or not at all,
stay whole in it, with all that they decide while they run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from sweeper.errors import ModelError, kind_and_message
from sweeper.modeling.classifier import Classifier, frozen_parts
from sweeper.modeling.stages import last_stage

TOLERANCE = 1e-2
"""Of the largest feature, by which the features of both halves may differ from those of the whole: more than a GPU
rounds, and much less than a wrong cut changes."""

REMEDY = "set features.last_stage to false"


@dataclass(frozen=True)
class Halves:
    """The two halves of a backbone, whose weights they share.

    Attributes:
        frozen: Takes images [B, 3, S, S], gives values [B, W].
        learning: Takes values, gives features [B, D].
        width: W.
        where: The step of the backbone's code after which it is cut, and the shape there.
    """

    frozen: nn.Module
    learning: nn.Module
    width: int
    where: str


class LearningHalf(nn.Module):
    """What learns of a classifier: takes the values [B, W] of its frozen half, scores the classes [B, C]."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, values: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(values))
        return scores

    def train(self, mode: bool = True) -> Self:
        """Switch to training, except for what the architecture itself keeps fixed."""
        super().train(mode)
        for part in frozen_parts(self):
            part.eval()
        return self


def learning_half(model: Classifier, image_size: int, where: str | None = None) -> LearningHalf:
    """Return the last stage and the head of a classifier, with its weights; `where` a cut was that must be the same.

    Raises ModelError.
    """
    halves = cut(model.backbone, image_size)
    if where not in (None, halves.where):
        raise ModelError(f"the last stage follows {where} without dropout, and here {halves.where}; {REMEDY}")
    return LearningHalf(halves.learning, model.head)


def cut(backbone: nn.Module, image_size: int) -> Halves:
    """Cut a backbone before its last stage.

    Args:
        backbone: Takes images [B, 3, S, S], gives features [B, D].
        image_size: S.

    Raises:
        ModelError: its code cannot be recorded, or the last stage needs more than one tensor from the stages before.
    """
    modes = {module: module.training for module in backbone.modules()}
    try:
        return _cut(backbone.eval(), last_stage(backbone), image_size)
    except Exception as error:  # any architecture's code may raise anything; it must fail this trial only
        told = kind_and_message(error)
        raise ModelError(f"the last stage cannot be trained on stored values: {told}; {REMEDY}") from error
    finally:
        for module, mode in modes.items():
            module.training = mode


def _cut(backbone: nn.Module, learning: frozenset[str], image_size: int) -> Halves:
    before, after, end = _graphs(_recorded(backbone, learning), learns_in(backbone, learning))
    frozen, rest = fx.GraphModule(backbone, before).eval(), fx.GraphModule(backbone, after).eval()
    drawn = torch.rand(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    images = drawn.to(next(backbone.parameters()).device)
    with torch.no_grad():
        whole, values = backbone(images), frozen(images)
        if not isinstance(values, Tensor) or len(values) != len(images):
            raise ModelError("it takes something else than one tensor [B, ...]")
        shape = tuple(values.shape[1:])
        first, second = nn.Sequential(frozen, nn.Flatten()), nn.Sequential(nn.Unflatten(1, shape), rest)
        difference = float((second(first(images)) - whole).abs().max() / whole.abs().max().clamp(min=1e-12))
    if not difference <= TOLERANCE:
        raise ModelError(f"its features would differ by {difference:.1e} of the largest")
    return Halves(first, second, prod(shape), f"{_name_of(end.target)} {shape}")


def _name_of(target: Any) -> str:
    """Return the name of a step of the recorded code; that of a function without its place in memory."""
    return target if isinstance(target, str) else f"{target.__module__}.{target.__name__}"


def _recorded(backbone: nn.Module, learning: frozenset[str]) -> fx.Graph:
    try:
        return Recorder(learning).trace(backbone.eval())
    except TraceError as error:
        raise ModelError("its code decides while it runs, by shapes or values, which cannot be recorded") from error
    finally:
        backbone.eval()  # instead of the question


class Recorder(fx.Tracer):
    """Records the code of a backbone down to modules that learn whole or not at all.

    Whether the network is in training is recorded as a question, to be asked in each run.
    """

    def __init__(self, learning: frozenset[str]) -> None:
        super().__init__()
        self._learning = learning
        self._inner: list[nn.Module] = []

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        self._inner = [module for name, module in root.named_modules() if not self.is_leaf_module(module, name)]
        return super().trace(root, concrete_args)

    def create_args_for_root(self, *given: Any, **named: Any) -> Any:
        made = super().create_args_for_root(*given, **named)
        asked: Any = self.create_proxy("get_attr", "training", (), {})
        for module in self._inner:
            module.training = asked
        return made

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        prefix = f"{module_qualified_name}." if module_qualified_name else ""
        learns = {f"{prefix}{name}" in self._learning for name, _ in m.named_parameters()}
        return module_qualified_name != "" and len(learns) <= 1


def learns_in(backbone: nn.Module, learning: frozenset[str]) -> Callable[[fx.Node], bool]:
    """Return what tells of a step of a record whether it has weights that learn."""

    def learns(node: fx.Node) -> bool:
        if node.op == "call_module":
            names = backbone.get_submodule(str(node.target)).named_parameters()
            return any(f"{node.target}.{name}" in learning for name, _ in names)
        return node.op == "get_attr" and str(node.target) in learning

    return learns


def _graphs(graph: fx.Graph, learns: Callable[[fx.Node], bool]) -> tuple[fx.Graph, fx.Graph, fx.Node]:
    """Return the record up to the one step from which all that learns goes on, the rest of it, and that step."""
    images, *options = [node for node in graph.nodes if node.op == "placeholder"]
    result: Any = next(node for node in graph.nodes if node.op == "output").args[0]
    of_images, late = _following(graph, lambda node: node is images), _following(graph, learns)
    ends = [node for node in of_images - late if any(user in late for user in node.users)]
    if len(ends) != 1:
        raise ModelError(f"it goes on from {len(ends)} tensors of the stages before, and one is needed")
    defaults = {node: node.args[0] if node.args else None for node in options}
    return _part(graph, images, ends[0], defaults), _part(graph, ends[0], result, defaults), ends[0]


def _following(graph: fx.Graph, begins: Callable[[fx.Node], bool]) -> set[fx.Node]:
    """Return the steps that begin something, and all that use what comes of them."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if begins(node) or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def _part(graph: fx.Graph, start: fx.Node, end: fx.Node, known: Mapping[fx.Node, Any]) -> fx.Graph:
    """Copy what leads from one step to another, which become the argument and the result."""
    given, needed = {start, *known}, {end}
    for node in reversed(graph.nodes):
        if node not in given and any(user in needed for user in node.users):
            needed.add(node)
    part = fx.Graph()
    made = {**known, start: part.placeholder("values")}
    for node in graph.nodes:
        if node in needed:
            made[node] = part.node_copy(node, made.__getitem__)
    part.output(made[end])
    return part
