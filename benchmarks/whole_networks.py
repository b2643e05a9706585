"""Whole small networks of one architecture trained as a stack, beside the same networks one after the other.

    python -m benchmarks.whole_networks [--networks small_resnet resnet10t] [--members 4 8] [--device cuda]

Whether trials that differ only in numbers should share their steps, as heads on features do: sweeper does not, since
the stack loses on a CPU. Weights are stacked and the step of one network is vectorised over them (torch.func).
Batch normalisation takes its statistics from the batch alone in both.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.ceiling import wait_for
from benchmarks.measurements import Measurement, Result, Section, ratios
from benchmarks.program import REPOSITORY
from sweeper.modeling.registry import load_model_files
from sweeper.training.device import autocast

CLASSES = 10
Parameters = dict[str, Tensor]


def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    load_model_files([str(REPOSITORY / "models" / "small_resnet.py")])
    result = Result("whole_networks", "random images")
    for network in options.networks:
        rows = [row for members in options.members for row in measure(network, members, options)]
        title = f"{network}, {options.size} pixels, batch {options.batch_size}, {options.device}"
        result.add(Section(title, rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["small_resnet", "resnet10t"])
    parser.add_argument("--members", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def measure(network: str, members: int, options: argparse.Namespace) -> list[Measurement]:
    """Time a step of all members, one by one and as a stack, in turns; the first turn warms up."""
    device = torch.device(options.device)
    networks = [without_running_statistics(timm.create_model(network, num_classes=CLASSES)) for _ in range(members)]
    networks = [one.to(device).to(memory_format=torch.channels_last).train() for one in networks]
    images = torch.randn(members, options.batch_size, 3, options.size, options.size, device=device)
    labels = torch.randint(0, CLASSES, (members, options.batch_size), device=device)
    alone, together = one_by_one(networks, images, labels), as_stack(networks, images, labels)
    turns = [(timed(alone, device), timed(together, device)) for _ in range(options.repeats + 1)][1:]
    one, other = [before for before, _ in turns], [after for _, after in turns]
    return [
        Measurement(f"{members} networks, one by one", "s", one),
        Measurement(f"{members} networks, together", "s", other),
        Measurement(f"{members} networks, one by one / together", "", ratios(one, other)),
    ]


def without_running_statistics(network: nn.Module) -> nn.Module:
    """Return a network whose batch normalisation keeps nothing, which vectorised code may not write to."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return network


def one_by_one(networks: list[nn.Module], images: Tensor, labels: Tensor) -> Callable[[], None]:
    optimizers = [torch.optim.AdamW(network.parameters(), 1e-3, fused=True) for network in networks]
    batches = [one.contiguous(memory_format=torch.channels_last) for one in images]

    def step() -> None:
        for network, batch, answer, optimizer in zip(networks, batches, labels, optimizers, strict=True):
            optimizer.zero_grad(set_to_none=True)
            with autocast(batch.device):
                scores = network(batch)
            functional.cross_entropy(scores.float(), answer).backward()
            optimizer.step()

    return step


def as_stack(networks: list[nn.Module], images: Tensor, labels: Tensor) -> Callable[[], None]:
    stacked, buffers = stack_module_state(networks)
    weights = {name: nn.Parameter(value.detach().clone()) for name, value in stacked.items()}
    optimizer = torch.optim.AdamW(weights.values(), 1e-3, fused=True)
    skeleton = copy.deepcopy(networks[0]).to("meta")
    precision = torch.bfloat16 if images.is_cuda else torch.float32

    def loss(own: Parameters, kept: Parameters, batch: Tensor, answer: Tensor) -> Tensor:
        low = {name: value.to(precision) for name, value in own.items()}  # autocast's own casts break under vmap
        scores = functional_call(skeleton, (low, kept), (batch.to(precision),))
        return functional.cross_entropy(scores.float(), answer)

    gradients_of = vmap(grad(loss))

    def step() -> None:
        values = {name: weight.detach() for name, weight in weights.items()}
        for name, gradient in gradients_of(values, buffers, images, labels).items():
            weights[name].grad = gradient
        optimizer.step()

    return step


def timed(step: Callable[[], None], device: torch.device) -> float:
    started = time.perf_counter()
    step()
    wait_for(device)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
