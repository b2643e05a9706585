"""What learns in a trial: a whole network, or on features of frozen stages only what comes after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import CudaGraphs
from sweeper.data.out_of_memory import is_memory
from sweeper.errors import ModelError
from sweeper.modeling.classifier import Classifier
from sweeper.modeling.halves import learning_half
from sweeper.paths import TrialFolder
from sweeper.results import TrialSpec
from sweeper.scores.predictions import Predictions
from sweeper.training.batch_statistics import measure_statistics
from sweeper.training.checkpoint import Record, read_leading, save_weights
from sweeper.training.compiling import PLAIN, Compilation, Compiling
from sweeper.training.device import place
from sweeper.training.distillation import TeacherNetwork, Teachers, taught
from sweeper.training.features import FeatureInputs, FrozenFeatures
from sweeper.training.forward import Forward
from sweeper.training.gradients import Losses
from sweeper.training.inputs import ImageInputs, Inputs, Network, TrialData, training_size
from sweeper.training.memory import drop_when_short
from sweeper.training.micro_batch import MicroBatches, recall_limits, remember_limits, smallest_part
from sweeper.training.optim import build_optimizer
from sweeper.training.progress import Progress
from sweeper.training.ranks import ALONE, Ranks
from sweeper.training.schedule import LearningRate
from sweeper.training.schedule_free import to_average, to_training
from sweeper.training.snapshot import HostMemory
from sweeper.training.start import load_head, load_optimizer
from sweeper.training.step import TrainingStep
from sweeper.training.step_graph import Steps, can_record
from sweeper.training.task import Task
from sweeper.training.tasks import build_task
from sweeper.training.unfreezing import all_learn, first_epochs, let_learn
from sweeper.training.weight_average import WeightAverage


@dataclass
class Learner:
    """Everything a checkpoint must bring back, and the inputs it learns from.

    `losses` are what training lowers: the task's, and perhaps a teacher's. `inputs.network` is what learns: `model`, or
    on features what comes after its frozen stages. The best weights of a whole model, those of `average` where there is
    one, are written as they come. On features they are kept in the checkpoint instead and written at the end, with
    those that are frozen, which may be a thousand times as many. Where the best epochs are averaged, theirs lie in
    files of their own until the end.
    """

    task: Task
    losses: Losses
    model: Network
    inputs: Inputs
    optimizer: torch.optim.Optimizer
    schedule: LearningRate
    micro_batches: MicroBatches
    compiling: Compiling
    limits_file: Path | None
    keep_optimizer: bool = False
    gradient_clip: float | None = None
    ranks: Ranks = ALONE
    average: WeightAverage | None = None
    unfreezing_after: int = 0
    best_head: dict[str, torch.Tensor] | None = None
    average_of_best: dict[str, torch.Tensor] | None = None
    _steps: Steps | None = None
    _memory: HostMemory = field(default_factory=HostMemory)

    @property
    def on_features(self) -> bool:
        return self.inputs.network is not self.model

    @property
    def recorded(self) -> bool:
        """Whether steps are CUDA graphs."""
        return self._steps is not None and self._steps.recorded

    @property
    def judged(self) -> nn.Module:
        """What is validated and kept: what learns, or the average of its weights."""
        return self.inputs.network if self.average is None else self.average.network

    def record(
        self, progress: Progress, predictions: Predictions | None, device: torch.device, *, best: bool
    ) -> Record:
        """Return what the epoch that `progress` ends with leaves on disk; learning may go on at once."""
        if best and self.on_features and not progress.leading:
            self.best_head = {name: tensor.clone() for name, tensor in self.judged.state_dict().items()}
        return Record(
            self._memory.snapshot(self.state_dict(), device),
            progress.copy(),
            weights=progress.epochs in progress.leading if progress.leading else best and not self.on_features,
            optimizer=best and self.keep_optimizer,
            predictions=predictions if best else None,
        )

    def take_up(self, state: Mapping[str, torch.Tensor], epoch: int, device: torch.device) -> nn.Module:
        """Let the network hold weights that no step has led to, with batch statistics that belong to them; return it.

        The statistics are measured on the training images of an epoch. The network does not train any more then.
        """
        network = self.inputs.network
        network.load_state_dict(state)
        let_learn(self.optimizer, epoch - self.unfreezing_after)  # no epoch has begun where an ended trial is resumed
        measure_statistics(network.train(), self.inputs.train(epoch), self.micro_batches, device, self.ranks)
        self.ranks.average_buffers(network)
        return network

    def write_best(self, folder: TrialFolder, progress: Progress) -> None:
        """Write the best weights, whole, of a trial that has ended or pauses, where that was left to the end."""
        best = self.average_of_best or self.best_head
        if best is None and progress.leading:
            best = read_leading(folder.leading_of(progress.leading[0]))
        if best is None or progress.best_epoch is None:
            return
        if self.on_features:
            self.inputs.network.load_state_dict(best)
            best = self.model.state_dict()
        save_weights(folder.weights_of(progress.best_epoch), best)

    def before_epoch(self, epoch: int) -> None:
        """Let those parts learn, by those weights, that an epoch begins with."""
        changed, size = let_learn(self.optimizer, epoch - self.unfreezing_after), self.inputs.training_size
        if self._steps is not None and (changed or size(epoch) != size(epoch - 1)):
            self._steps.restart()
        to_training(self.optimizer)
        self.inputs.network.train()

    def has_whole_work(self, epoch: int) -> bool:
        """Return whether the steps of an epoch cost as much as later ones: all of it learns, from whole images."""
        whole = self.inputs.training_size(epoch) == self.inputs.config.image_size
        return whole and all_learn(self.optimizer, epoch - self.unfreezing_after)

    def before_validation(self, epoch: int, device: torch.device) -> None:
        """Bring the network from the weights that it trains with to those that it is judged by."""
        network = self.inputs.network
        to_average(self.optimizer, network, self.inputs.train(epoch), self.micro_batches, device, self.ranks)
        for judged in dict.fromkeys((network, self.judged)):
            self.ranks.average_buffers(judged)

    def steps(self, device: torch.device) -> Steps:
        """Return what makes the training steps; a learner of a stack never needs it."""
        if self._steps is None:
            meter, forward = self.task.meter(device), self.compiling.forward
            step = TrainingStep(
                forward, self.losses, self.optimizer, self.micro_batches, meter, self.gradient_clip, self.ranks
            )
            self._steps = Steps(step)
            drop_when_short(self._steps.drop)
        return self._steps

    def close(self) -> None:
        """Give back what only training needs."""
        self.compiling.forward.close()
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def remember_limits(self) -> None:
        """Keep for later trials how many images fit in memory at once."""
        if self.limits_file is not None:
            remember_limits(self.limits_file, self.micro_batches.limits)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.inputs.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "micro_batches": self.micro_batches.state_dict(),
            "best_head": self.best_head,
            "average": self.average.state_dict() if self.average is not None else None,
        }

    def fits(self, state: Mapping[str, Any]) -> bool:
        """Return whether a state is that of such a network: what learns on features is a part of the whole one."""
        return bool(state["model"].keys() == self.inputs.network.state_dict().keys())

    def load_state_dict(self, state: Mapping[str, Any], batch_size: int) -> None:
        self.inputs.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.micro_batches.load_state_dict(state["micro_batches"], self.ranks.largest_share(batch_size))
        self.best_head = state["best_head"]
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def build_learner(
    spec: TrialSpec,
    data: TrialData,
    device: torch.device,
    limits_file: Path | None = None,
    features: FrozenFeatures | None = None,
    compilation: Compilation = PLAIN,
    graphs: CudaGraphs = "auto",
    ranks: Ranks = ALONE,
    teachers: Teachers | None = None,
) -> Learner:
    """Build model, optimizer and schedule; the same seed gives the same weights, on all ranks."""
    config, task = spec.config, build_task(spec, data, device)
    teacher: TeacherNetwork | None = None
    if features is not None and features.serve(config, data):
        model, inputs = _on_features(spec, task, data, device, limits_file, features, ranks)
        limits_file, compilation = _limits_on_features(config, limits_file), PLAIN
    else:
        torch.manual_seed(spec.seed)
        model = task.build(config)
        model = ranks.synchronized(place(model, device), device)
        resized = config.model_copy(update={"progressive_resizing": spec.first_size})
        inputs = ImageInputs(model, data, resized, spec.seed, spec.epochs, spec.epochs_before)
        require_sizes(model, resized, spec.epochs - spec.epochs_before, device)
        teacher = (teachers or Teachers(device)).of(spec)
    if spec.start is not None and isinstance(model, Classifier):  # an autoencoder is all backbone
        load_head(model.head, Path(spec.start.weights))
    optimizer = build_optimizer(
        model,
        config.optimizer,
        config.weight_decay,
        config.decay_norm_and_bias,
        device,
        config.layer_decay,
        first_epochs(model, config.unfreezing),
    )
    if spec.start is not None and spec.start.optimizer is not None:
        load_optimizer(optimizer, Path(spec.start.optimizer), device)
    epochs = spec.epochs - spec.epochs_before
    schedule = LearningRate(optimizer, config.scheduler, epochs=epochs, steps_per_epoch=data.steps(config.batch_size))
    networks = [inputs.network, *([teacher.network] if teacher else [])]
    forward = Forward(inputs.network, device, can_record(networks, optimizer, graphs))
    return Learner(
        task,
        taught(task.losses, config.teacher, teacher, model, device),
        model,
        inputs,
        optimizer,
        schedule,
        _micro_batches(inputs.network, spec, device, limits_file, ranks),
        Compiling(forward, compilation, config.batch_size),
        limits_file,
        spec.keep_optimizer,
        config.gradient_clip,
        ranks,
        WeightAverage(inputs.network, config.ema) if config.ema else None,
        spec.unfreezing_after,
    )


def _limits_on_features(config: TrialConfig, limits_file: Path | None) -> Path | None:
    """Return where limits of what learns on features are kept, beside those of the backbone; a head has none."""
    if config.trainable == "head" or limits_file is None:
        return None
    return limits_file.with_stem(f"{limits_file.stem}-on-features")


def _micro_batches(
    network: nn.Module, spec: TrialSpec, device: torch.device, limits_file: Path | None, ranks: Ranks
) -> MicroBatches:
    """Return how batches are cut, by what earlier trials and the deaths of workers have taught."""
    smallest = smallest_part(network.train())
    images = ranks.largest_share(spec.config.batch_size)
    limits = recall_limits(limits_file).quartered(images, smallest, spec.memory_kills)
    return MicroBatches(device, smallest, limits, spec.memory_kills, in_step=ranks.in_step(network))


def require_sizes(model: Network, config: TrialConfig, epochs: int, device: torch.device) -> None:
    """Raise ModelError where a network does not take the smaller training images that come first."""
    whole, first = config.image_size, config.progressive_resizing
    model.eval()
    for side in sorted({training_size(whole, first, epoch, epochs) for epoch in range(1, epochs + 1)} - {whole}):
        try:
            with torch.no_grad():
                model(torch.zeros(1, 3, side, side, device=device))
        except Exception as error:  # any architecture's code may raise anything; it must fail this trial only
            if is_memory(error):
                raise
            rule = f"{config.backbone} does not take images of {side} pixels, which progressive_resizing comes to"
            raise ModelError(f"{rule}: {error}; set progressive_resizing to 1") from error


def _on_features(
    spec: TrialSpec,
    task: Task,
    data: TrialData,
    device: torch.device,
    limits_file: Path | None,
    features: FrozenFeatures,
    ranks: Ranks,
) -> tuple[Network, Inputs]:
    """Build a classifier, on a backbone that is there already where none of it learns, and features for what learns."""
    config, frozen = spec.config, features.backbone(spec.config)
    alone = config.trainable == "head"
    torch.manual_seed(spec.seed)
    model = task.build(config, frozen.backbone if alone else None)
    if not isinstance(model, Classifier):
        raise TypeError("only classifiers have a head to be trained on features")
    if alone:  # the backbone belongs to others too
        network = model.head = ranks.synchronized(model.head, device)
    else:
        network = learning_half(ranks.synchronized(model, device), config.image_size, frozen.where)
    for placed in (model, network):
        place(placed, device)
    splits = features.splits(frozen, data, spec, limits_file)
    return model, FeatureInputs(network, splits, config, spec.seed, features)
