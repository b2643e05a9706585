"""A plan: what a search space would do on these images and this machine, before any of it is done."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch

from sweeper.allowance import usable_cores
from sweeper.config.engine import LocalConfig
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.searched import largest, options, smallest
from sweeper.config.sweep import SweepConfig
from sweeper.data.fetch import is_address, refresh
from sweeper.data.index import ImageIndex, build_index
from sweeper.data.progress import Progress
from sweeper.engines.local import share_of_cores
from sweeper.engines.resources import places
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem, first_line
from sweeper.modeling.registry import load_model_files
from sweeper.paths import Workspace
from sweeper.planning.branches import Taken, branches
from sweeper.planning.costs import Costs, Images, costs_of
from sweeper.planning.step import Measured, measure
from sweeper.planning.weights import weights_problem
from sweeper.safeguards.quantity import quantity
from sweeper.study.opening import Opening, opening_before_decoding
from sweeper.study.preparation import refuse_constant_metrics, refuse_impossible
from sweeper.training.device import described, devices_like, open_device
from sweeper.training.features import stored

TRIED = 4  # images of the step by which an option is tried


@dataclass(frozen=True)
class Failure:
    """A part of the search space that cannot work, and why."""

    where: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What a search space would do.

    Attributes:
        opening: What `run` would say before the first trial, as far as it is known before decoding.
        branches: How many ways through the search space were tried.
        failures: Those that cannot work.
        measured: Every network at the bounds of its batch size.
        costs: None where no network could be trained.
    """

    study: str
    device: str
    workers: int
    opening: Opening
    branches: int
    failures: tuple[Failure, ...]
    measured: tuple[Measured, ...]
    costs: Costs | None


def make_plan(sweep: SweepConfig, workspace: Workspace, workers: str | None, progress: Progress) -> Plan:
    """Look at the images' names, try every branch and foretell the costs; nothing is decoded.

    Raises ConfigError for what cannot be, DatasetError where the images cannot be used.
    """
    if not isinstance(sweep.engine, LocalConfig):
        rule = f"a plan is made on this machine and needs the engine local, got {sweep.engine.name}; add --engine local"
        raise ConfigError([Problem(IN_SEARCH_SPACE, "engine", rule)])
    refuse_impossible(sweep)
    if sweep.dataset.path and is_address(sweep.dataset.path):
        refresh(sweep.dataset.path, workspace)
    index = build_index(sweep.dataset, workspace)
    refuse_constant_metrics(sweep, len(index.classes))
    load_model_files(sweep.model_files)
    device = open_device(sweep.device, 0, sweep.precision)
    trial = _Trial(sweep, index, device)
    ways, networks = branches(sweep.search), list(_networks(sweep, len(index.splits["train"])))
    failures, measured = list[Failure](), list[Measured]()
    devices = devices_like(sweep.device)
    number = int(workers) if workers and workers.isdecimal() else places(sweep)
    for done, (taken, config) in enumerate(ways):
        progress(done, len(ways) + len(networks))
        failures += trial.try_branch(taken, config)
    with _threads(share_of_cores(number)):
        for done, config in enumerate(networks, len(ways)):
            progress(done, len(ways) + len(networks))
            found = trial.measure(config)
            if isinstance(found, Measured):
                measured.append(found)
            else:
                failures.append(found)
    at_speed = min(number, usable_cores() if device.type == "cpu" else places(sweep))
    counts = Images(len(index.paths), len(index.splits["train"]), len(index.splits["val"]))
    free = shutil.disk_usage(workspace.root).free
    return Plan(
        study=sweep.study,
        device=described(device),
        workers=number,
        opening=_with_notes(opening_before_decoding(sweep, index, workers), sweep, workers, number),
        branches=len(ways),
        failures=tuple(dict.fromkeys(failures)),
        measured=tuple(measured),
        costs=costs_of(sweep, measured, counts, number, free, gpus=devices, at_speed=at_speed) if measured else None,
    )


def _with_notes(found: Opening, sweep: SweepConfig, workers: str | None, number: int) -> Opening:
    """Say what the figures are for, where they are not for all that will run."""
    notes = list(found.warnings)
    if workers == "auto":
        each = f"times are for {quantity(number, 'worker')}: how many `--workers auto` starts is known when they run"
        notes.append(each)
    if sweep.devices_per_trial > 1:
        many = sweep.devices_per_trial
        notes.append(f"times and memory are those of a trial on one device, and each has {many} (devices_per_trial)")
    if (ranking := sweep.backbone_ranking) is not None:
        named = quantity(len(options(sweep.search.backbone)), "backbone")
        kept = f"backbone_ranking chooses {ranking.keep} of them, and its own time is not counted"
        notes.append(f"times are the mean over {named}: {kept}")
    return replace(found, warnings=tuple(notes))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with this number of threads, as a worker does; with 0 the number is torch's own choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Trial:
    """What every try has in common."""

    sweep: SweepConfig
    index: ImageIndex
    device: torch.device

    def try_branch(self, taken: Taken, config: TrialConfig) -> Iterator[Failure]:
        """Make a step with a few images; yield what fails."""
        where = ", ".join(f"{name}={option}" for name, option in taken.items()) or "the only branch"
        if why := weights_problem(config):
            yield Failure(f"backbone={config.backbone}", why)
        found = self.measure(config.model_copy(update={"batch_size": TRIED}))
        if isinstance(found, Failure):
            yield Failure(where, found.why)

    def measure(self, config: TrialConfig) -> Measured | Failure:
        try:
            return measure(config, self.sweep, len(self.index.classes), self.device)
        except (
            Exception
        ) as error:  # any architecture's code may raise anything; the other branches are tried all the same
            where = f"{config.backbone} at {config.image_size} pixels, batch size {config.batch_size}"
            return Failure(where, first_line(error))


def _networks(sweep: SweepConfig, images: int) -> Iterator[TrialConfig]:
    """Yield every network at both bounds of its batch size, in the largest image size."""
    search: Any = sweep.search
    sizes = dict.fromkeys(min(size, images) for size in (smallest(search.batch_size), largest(search.batch_size)))
    first = branches(sweep.search)[0][1]
    weights = next((option for option in options(search.pretrained) if option is not False), False)
    for backbone, trainable, size in product(options(search.backbone), options(search.trainable), sizes):
        changed = {"backbone": backbone, "trainable": trainable, "batch_size": size}
        changed |= {"pretrained": weights if stored(trainable, sweep.features) else first.pretrained}
        yield first.model_copy(update={**changed, "image_size": largest(search.image_size)})
