"""What only a real GPU can show: numbers, waits, graphs, memory. Run by `make gpu-check` and `pytest -m gpu`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from sweeper.config.sweep import FeaturesConfig, ObjectiveConfig
from sweeper.data.feature_cache import FeatureCache
from sweeper.data.out_of_memory import is_memory
from sweeper.modeling.classifier import Classifier
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialSpec, TrialState
from sweeper.training.compiling import Compilation
from sweeper.training.features import FrozenFeatures
from sweeper.training.inputs import TrialData
from sweeper.training.learner import Learner, build_learner
from sweeper.training.memory import free_memory, still_works
from sweeper.training.stack.fused import Together, train_together
from tests.cuda.waiting import never_waits
from tests.training.learnable import colored, comparable, run, spec_of

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda", 0)
EVERYTHING = {
    "crop_padding": 2,
    "flip": True,
    "random_resized_crop": 0.5,
    "rotation": 10,
    "color_jitter": 0.2,
    "erasing": 0.25,
    "vertical_flip": True,
    "blur": 0.5,
    "policy": "trivial_augment",
    "mixup": 0.2,
    "cutmix": 1.0,
}
OPTIMIZERS = (
    {"name": "adamw", "lr": 0.003},
    {"name": "adam", "lr": 0.003, "amsgrad": True},
    {"name": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": True},
    {"name": "sgd", "lr": 0.02, "momentum": 0.0},
)


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """Let cuDNN choose only among algorithms that add up in one order."""
    torch.cuda.set_device(GPU)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield


@pytest.fixture(scope="module")
def data() -> TrialData:
    return colored(train=330, val=90, size=32, noise=100, device=GPU)


def trial(**changes: Any) -> TrialSpec:
    return spec_of(**{"backbone": "resnet10t", "image_size": 32, "batch_size": 32, "epochs": 3, **changes})


def on_gpu(spec: TrialSpec, folder: Path, data: TrialData, **options: Any) -> list[dict[str, float]]:
    outcome, history = run(spec, folder, data, device=GPU, **options)
    assert outcome.state is TrialState.COMPLETE, outcome.reason
    return comparable(history)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: "-".join(map(str, optimizer.values())))
def test_a_trial_whose_steps_are_recorded_is_the_same_to_the_last_digit(
    tmp_path: Path, data: TrialData, optimizer: dict[str, Any]
) -> None:
    spec = trial(optimizer=optimizer, scheduler="one_cycle", gradient_clip=1.0, augment=EVERYTHING, drop_rate=0.2)
    recorded = on_gpu(spec, tmp_path / "recorded", data, graphs=True)
    assert recorded == on_gpu(spec, tmp_path / "plain", data, graphs=False)


def test_steps_are_recorded_after_a_few_and_the_last_batch_of_an_epoch_is_another_shape(data: TrialData) -> None:
    learner = build_learner(trial(), data, GPU)
    steps = learner.steps(GPU)
    for batch in learner.inputs.train(1):
        steps(batch)
    assert steps.recorded
    learner.close()


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("resident", [True, False])
def test_no_training_step_waits_for_the_device(graphs: bool, resident: bool) -> None:
    data = colored(train=330, val=90, size=32, device=GPU, resident=resident)
    learner = build_learner(trial(augment=EVERYTHING, gradient_clip=1.0), data, GPU, graphs=graphs)
    pass_over(learner, 1)
    with never_waits():
        pass_over(learner, 2)
    learner.close()


def pass_over(learner: Learner, epoch: int) -> None:
    steps = learner.steps(GPU)
    for number, batch in enumerate(learner.inputs.train(epoch)):
        learner.schedule.before_step(number)
        steps(batch)


@pytest.mark.parametrize("graphs", [False, True])
def test_a_trial_killed_after_an_epoch_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, data: TrialData, graphs: bool
) -> None:
    spec = trial(augment=EVERYTHING, drop_rate=0.2, scheduler="cosine")
    whole = on_gpu(spec, tmp_path / "whole", data, graphs=graphs)

    class Killed(Exception):
        pass

    def die(metrics: EpochMetrics) -> bool:
        raise Killed

    with pytest.raises(Killed):
        run(spec, tmp_path / "broken", data, device=GPU, on_epoch=die, graphs=graphs)
    assert on_gpu(spec, tmp_path / "broken", data, graphs=graphs) == whole


def test_a_checkpoint_holds_the_state_of_its_epoch_though_training_goes_on(tmp_path: Path, data: TrialData) -> None:
    def first_checkpoint(folder: Path, epochs: int) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def read(metrics: EpochMetrics) -> bool:
            found.append(torch.load(TrialFolder(folder).checkpoint, weights_only=True))
            return False

        run(trial(epochs=epochs), folder, data, device=GPU, on_epoch=read)
        return found[0]

    going_on, alone = first_checkpoint(tmp_path / "three", 3), first_checkpoint(tmp_path / "one", 1)
    for name, tensor in alone["model"].items():
        assert not tensor.is_cuda
        assert torch.equal(going_on["model"][name], tensor)
    for number, state in alone["optimizer"]["state"].items():
        for name, tensor in state.items():
            assert torch.equal(going_on["optimizer"]["state"][number][name], tensor)


def test_memory_that_runs_out_cuts_batches_and_a_network_that_never_fits_is_not_feasible(tmp_path: Path) -> None:
    data = colored(train=600, val=60, size=64, device=GPU)
    spec = trial(image_size=64, batch_size=512, epochs=2, backbone="resnet18")
    free_memory(GPU)
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(GPU) + (700 << 20)) / total, GPU)
    try:
        outcome, history = run(spec, tmp_path / "cut", data, device=GPU)
        assert outcome.state is TrialState.COMPLETE
        assert history[-1].values["micro_batch_size"] < 512
        free_memory(GPU)
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(GPU) + (30 << 20)) / total, GPU)
        outcome, _ = run(spec, tmp_path / "never", data, device=GPU)
        assert outcome.state is TrialState.PRUNED
        assert not outcome.feasible
        assert "does not fit in memory" in (outcome.reason or "")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    assert still_works(GPU)


def test_what_cuda_refuses_is_distinguished_from_other_errors_by_its_code() -> None:
    with pytest.raises(torch.AcceleratorError) as error:
        torch.cuda.set_device(99)
    assert not is_memory(error.value)


def test_trials_agree_with_those_of_a_cpu(tmp_path: Path, data: TrialData) -> None:
    spec = trial(epochs=4)
    gpu = on_gpu(spec, tmp_path / "gpu", data)
    _, history = run(spec, tmp_path / "cpu", colored(train=330, val=90, size=32, noise=100))
    cpu = comparable(history)
    assert gpu[0]["train/loss"] == pytest.approx(cpu[0]["train/loss"], rel=0.1)
    assert gpu[-1]["val/accuracy"] == pytest.approx(cpu[-1]["val/accuracy"], abs=0.15)


def test_a_network_that_waits_in_its_forward_pass_is_trained_without_a_graph(
    tmp_path: Path, data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = trial(drop_rate=0.3, augment=EVERYTHING)
    without = on_gpu(spec, tmp_path / "without", data, graphs=False)
    forward = Classifier.forward

    def waits(network: Classifier, images: torch.Tensor) -> torch.Tensor:
        float(images.sum())
        return forward(network, images)

    monkeypatch.setattr(Classifier, "forward", waits)
    assert on_gpu(spec, tmp_path / "waits", data, graphs=True) == without
    assert still_works(GPU)
    torch.randn(3, device=GPU)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_heads_that_are_trained_at_once_end_as_each_does_alone(tmp_path: Path, optimizer: str) -> None:
    torch.manual_seed(3)
    weights = tmp_path / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    data = colored(train=640, val=90, noise=120, device=GPU)
    features = FrozenFeatures(FeatureCache(tmp_path / "features"), FeaturesConfig(views=2), GPU)
    heads: dict[str, Any] = {
        "trainable": "head",
        "pretrained": str(weights),
        "epochs": 3,
        "scheduler": "cosine",
        "gradient_clip": 1.0,
    }
    specs = [
        spec_of(number=number, seed=number, optimizer={"name": optimizer, "lr": 0.01 * (number + 1)}, **heads)
        for number in range(4)
    ]
    seen: dict[int, list[EpochMetrics]] = {spec.number: [] for spec in specs}

    def note(number: int, metrics: EpochMetrics) -> bool:
        seen[number].append(metrics)
        return False

    together = Together(
        data=data, objective=ObjectiveConfig(), patience=None, device=GPU, features=features, report=note
    )
    trials = [(spec, TrialFolder(tmp_path / f"together-{spec.number}")) for spec in specs]
    assert all(outcome.state is TrialState.COMPLETE for _, outcome in train_together(trials, together))
    for spec in specs:
        alone = on_gpu(spec, tmp_path / f"alone-{spec.number}", data, features=features)
        for own, other in zip(comparable(seen[spec.number]), alone, strict=True):
            assert own["train/loss"] == pytest.approx(other["train/loss"], rel=0.02)
            assert own["val/loss"] == pytest.approx(other["val/loss"], rel=0.02)


def test_a_last_stage_on_features_learns_as_behind_the_stages_before(tmp_path: Path, data: TrialData) -> None:
    torch.manual_seed(3)
    weights = tmp_path / "resnet10t.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=0).state_dict(), weights)
    spec = trial(pretrained=str(weights), trainable="last_stage")
    kept = FeaturesConfig(views=1, last_stage=True)
    features = FrozenFeatures(FeatureCache(tmp_path / "features"), kept, GPU)
    through = on_gpu(spec, tmp_path / "through", data)
    stored = on_gpu(spec, tmp_path / "stored", data, features=features)
    assert len(list((tmp_path / "features").glob("*.npy"))) == 2
    for own, other in zip(stored, through, strict=True):
        assert own["train/loss"] == pytest.approx(other["train/loss"], rel=0.05)
        assert own["val/loss"] == pytest.approx(other["val/loss"], rel=0.05)


def test_the_steps_of_a_compiled_network_are_recorded_too(data: TrialData) -> None:
    learner = build_learner(trial(), data, GPU, compilation=Compilation(wish=True))
    learner.compiling.before_epoch(100)
    pass_over(learner, 1)
    pass_over(learner, 2)
    assert learner.steps(GPU).recorded
    assert not learner.compiling.forward.cannot_compile
    learner.close()
