"""Trains networks for two steps in processes of their own, as a trial would and with plain memory, and compares.

    python -m tests.training.families NAME...

Prints for each name what went wrong, or nothing: it crashed, became infinite, or differs between the two.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
from multiprocessing.connection import Connection

import torch
from torch import nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.batches import Batch
from sweeper.errors import ModelError
from sweeper.modeling.classifier import Classifier, build_classifier
from sweeper.training.forward import Forward
from sweeper.training.gradients import StepStart, compute_gradients
from sweeper.training.loss import Loss
from sweeper.training.micro_batch import MicroBatches

CPU = torch.device("cpu")
SIZES = (64, 128, 224, 240, 256)
"""Pixels to try: some networks take no small images."""
RATE, BATCH, CLASSES, TOLERANCE = 0.01, 4, 2, 0.02


def main() -> None:
    print(json.dumps({name: outcome(name) for name in sys.argv[1:]}))


def outcome(name: str) -> str:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=work, args=(theirs, name))
    process.start()
    theirs.close()
    try:
        return str(ours.recv())
    except EOFError:
        process.join()
        return f"crashed with {process.exitcode}"
    finally:
        process.join()


def work(connection: Connection, name: str) -> None:
    torch.set_num_threads(1)
    try:
        connection.send(compare(name))
    except Exception as error:  # whatever a network does
        connection.send(f"{type(error).__name__}: {error}")


def compare(name: str) -> str:
    network, size = build(name)
    start = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    images = torch.randn(BATCH, 3, size, size, generator=torch.Generator().manual_seed(0))
    plain = losses(network, images, torch.contiguous_format)
    network.load_state_dict(start)
    ours = losses(network, images, torch.channels_last)
    if not all(map(math.isfinite, ours)):
        return f"became {ours}"
    # The third loss multiplies what rounds otherwise, through batch statistics of a few pixels.
    if any(abs(own - other) > TOLERANCE * max(1.0, abs(other)) for own, other in zip(ours[:2], plain[:2], strict=True)):
        return f"{ours} instead of {plain}"
    return ""


def build(name: str) -> tuple[Classifier, int]:
    for size in SIZES:
        try:
            torch.manual_seed(0)
            network = build_classifier(TrialConfig(backbone=name, image_size=size), CLASSES)
            network.eval()(torch.zeros(1, 3, size, size))
        except (ModelError, RuntimeError, AssertionError, ValueError) as error:
            refused = error
            continue
        return network.train(), size
    raise refused


def losses(network: Classifier, images: torch.Tensor, layout: torch.memory_format) -> list[float]:
    """Return the losses before each of two steps and after them."""
    network.to(memory_format=layout)
    batch = Batch(images.contiguous(memory_format=layout), torch.arange(BATCH) % CLASSES)
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    forward, start = Forward(network, CPU), StepStart(network, CPU)
    found = []
    torch.manual_seed(1)
    for _ in range(3):
        scored = compute_gradients(forward, batch, Loss(), MicroBatches(CPU), start)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        found.append(float(scored.losses.mean()))
    return found


if __name__ == "__main__":
    main()
