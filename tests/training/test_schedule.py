"""Learning rates over a trial."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from sweeper.config.hyperparameters import OneCycleConfig, SchedulerConfig
from sweeper.training.schedule import LearningRate, rate_at, warmup

ADAPTER = TypeAdapter(SchedulerConfig)
STEPS = 4

losses = st.lists(st.floats(0, 10), min_size=1, max_size=25)
rate = st.floats(1e-6, 1.0)
configs = st.one_of(
    st.builds(
        lambda metric, factor, patience, cooldown, threshold, min_lr: {
            "name": "reduce_on_plateau",
            "metric": metric,
            "factor": factor,
            "patience": patience,
            "cooldown": cooldown,
            "threshold": threshold,
            "min_lr": min_lr,
        },
        st.sampled_from(["val/loss", "val/accuracy"]),
        st.floats(0.05, 0.9),
        st.integers(0, 3),
        st.integers(0, 3),
        st.floats(0, 0.2),
        st.floats(0, 0.1),
    ),
    st.builds(lambda every, factor: {"name": "step", "every": every, "factor": factor}, st.integers(1, 5), rate),
    st.builds(lambda factor: {"name": "exponential", "factor": factor}, rate),
    st.builds(lambda min_lr: {"name": "cosine", "min_lr": min_lr}, st.floats(0, 0.2)),
    st.builds(lambda rise: {"name": "one_cycle", "rise": rise}, st.floats(0.05, 0.95)),
    st.just({"name": "constant"}),
)
warmups = st.sampled_from([0.0, 0.3, 1.0, 2.5])


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in rates or (0.1,)])


def schedule(config, epochs=5, rates=(0.1,), steps=STEPS) -> LearningRate:
    return LearningRate(optimizer(*rates), ADAPTER.validate_python(config), steps_per_epoch=steps, epochs=epochs)


def rates_of(subject: LearningRate) -> list[float]:
    return [group["lr"] for group in subject._optimizer.param_groups]


def run(subject: LearningRate, values: list[float], first_epoch: int = 0) -> list[list[float]]:
    """Go through epochs whose every metric has the given value; return all rates at every step."""
    seen = []
    for epoch, value in enumerate(values, start=first_epoch):
        for step in range(epoch * STEPS, (epoch + 1) * STEPS):
            subject.before_step(step)
            seen.append(rates_of(subject))
        subject.after_epoch({"val/loss": value, "val/accuracy": value})
    return seen


@given(config=configs, warmup_epochs=warmups, values=losses, data=st.data())
def test_continuing_in_the_middle_equals_going_through(config, warmup_epochs, values, data):
    config = {**config, "warmup_epochs": warmup_epochs}
    cut = data.draw(st.integers(0, len(values)))
    through = run(schedule(config, len(values), (0.1, 1.0)), values)
    first = schedule(config, len(values), (0.1, 1.0))
    before = run(first, values[:cut])
    second = schedule(config, len(values), (0.1, 1.0))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.lr == first.lr
    assert before + run(second, values[cut:], cut) == through


@given(values=losses, config=configs.filter(lambda config: config["name"] == "reduce_on_plateau"))
def test_a_plateau_is_torchs_own(values, config):
    torchs = optimizer(0.1, 1.0)
    options = {key: config[key] for key in ("factor", "patience", "threshold", "cooldown", "min_lr")}
    reference = ReduceLROnPlateau(torchs, mode="min" if config["metric"] == "val/loss" else "max", eps=0.0, **options)
    expected = []
    for value in values:
        expected += [[group["lr"] for group in torchs.param_groups]] * STEPS
        reference.step(value)
    assert run(schedule(config, len(values), (0.1, 1.0)), values) == expected


def test_a_plateau_takes_no_lower_value_for_a_better_one_where_values_are_negative():
    for value, reduced in ((-0.504, True), (-0.498, True), (-0.49, False), (0.1, False)):
        subject = schedule({"name": "reduce_on_plateau", "metric": "val/accuracy", "patience": 0, "threshold": 0.01})
        run(subject, [-0.5, value])
        assert (subject.lr < 0.1) == reduced


def test_a_plateau_reduces_rates_however_small_they_are():
    subject = schedule({"name": "reduce_on_plateau", "patience": 0, "factor": 0.5}, rates=(1e-8, 1e-12))
    run(subject, [1.0, 1.0, 1.0])
    assert rates_of(subject) == pytest.approx([2.5e-9, 2.5e-13], rel=1e-9)


def test_a_plateau_of_a_loss_is_minimised_and_of_an_accuracy_maximised():
    falling = [1.0, 0.8, 0.6, 0.4]
    for metric, reduced in (("val/loss", False), ("train/accuracy", True)):
        subject = schedule({"name": "reduce_on_plateau", "metric": metric, "patience": 1})
        for value in falling:
            subject.after_epoch({metric: value})
        assert (subject.lr < 0.1) == reduced


@given(rise=st.floats(0.05, 0.95), epochs=st.integers(2, 10))
def test_one_cycle_is_torchs_own(rise, epochs):
    assume(abs(rise * epochs * STEPS - 1) > 1e-6)  # where torch divides by zero
    torchs = optimizer(0.1)
    reference = OneCycleLR(torchs, 0.1, total_steps=epochs * STEPS, pct_start=rise, cycle_momentum=False)
    expected = []
    for _ in range(epochs * STEPS):
        expected.append(torchs.param_groups[0]["lr"])
        torchs.step()
        if len(expected) < epochs * STEPS:
            reference.step()
    found = run(schedule({"name": "one_cycle", "rise": rise}, epochs), [0.0] * epochs)
    assert [lr for (lr,) in found] == pytest.approx(expected, rel=1e-9)


def test_one_cycle_of_a_single_step_has_the_rate():
    """Torch's own makes that step with one part in 250,000 of it."""
    assert rate_at(OneCycleConfig(name="one_cycle"), 0.1, 0, 1, 1) == 0.1


def test_one_cycle_that_peaks_at_its_first_step_begins_at_the_rate():
    assert run(schedule({"name": "one_cycle", "rise": 0.25}, 1), [0.0])[0] == [0.1]


def test_cosine_is_torchs_own():
    torchs = optimizer(0.1)
    reference = CosineAnnealingLR(torchs, T_max=20, eta_min=0.01)
    expected = []
    for _ in range(20):
        expected.append(torchs.param_groups[0]["lr"])
        torchs.step()
        reference.step()
    found = run(schedule({"name": "cosine", "min_lr": 0.01}), [0.0] * 5)
    assert [lr for (lr,) in found] == pytest.approx(expected)


def test_step_and_exponential_change_between_epochs_only():
    step = run(schedule({"name": "step", "every": 2, "factor": 0.5}), [0.0] * 5)
    assert [lr for (lr,) in step] == [0.1] * 8 + [0.05] * 8 + [0.025] * 4
    exponential = run(schedule({"name": "exponential", "factor": 0.5}, 3), [0.0] * 3)
    assert [lr for (lr,) in exponential] == [0.1] * 4 + [0.05] * 4 + [0.025] * 4


@given(config=configs, values=losses)
def test_warm_up_multiplies_every_policy(config, values):
    plain = run(schedule(config, len(values)), values)
    warmed = run(schedule({**config, "warmup_epochs": 1.5}, len(values)), values)
    factors = [min(1.0, (step + 1) / 6) for step in range(len(plain))]
    assert warmed == [[lr * factor for lr in rates] for rates, factor in zip(plain, factors, strict=True)]


def test_warm_up_never_begins_at_zero():
    assert [warmup(step, 4) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert warmup(0, 0) == 1.0


def test_the_rate_is_known_before_the_first_step_and_right_after_an_epoch():
    subject = schedule({"name": "step", "every": 1, "factor": 0.5, "warmup_epochs": 0.5})
    assert subject.lr == 0.05
    run(subject, [0.0])
    assert subject.lr == 0.05
    plateau = schedule({"name": "reduce_on_plateau", "patience": 0})
    run(plateau, [1.0, 2.0])
    assert plateau.lr == pytest.approx(0.01)


@given(config=configs, epochs=st.integers(1, 6), steps=st.integers(1, 3))
def test_every_rate_is_finite_and_at_most_the_base_rate(config, epochs, steps):
    subject = schedule(config, epochs, (0.1, 1e-3), steps)
    for step in range(epochs * steps):
        subject.before_step(step)
        assert all(
            math.isfinite(lr) and 0 <= lr <= base for lr, base in zip(rates_of(subject), (0.1, 1e-3), strict=True)
        )


def test_a_state_wins_over_the_rates_of_a_restored_optimizer():
    first = schedule({"name": "cosine"})
    run(first, [0.0] * 3)
    late = LearningRate(optimizer(first.lr), ADAPTER.validate_python("cosine"), steps_per_epoch=STEPS, epochs=5)
    late.load_state_dict(first.state_dict())
    assert late.lr == first.lr


@pytest.mark.parametrize("config", [{"name": "cosine", "min_lr": 1e-4}, {"name": "reduce_on_plateau", "patience": 0}])
def test_of_layers_with_rates_of_their_own_the_rate_is_never_above_what_any_has_at_full_scale(config):
    scales = (1.0, 0.5, 0.25)
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1e-3 * scale, "part": "backbone", "layer_scale": scale}
        for scale in scales
    ]
    layered = LearningRate(torch.optim.SGD(groups), ADAPTER.validate_python(config), steps_per_epoch=1, epochs=50)
    plain = LearningRate(optimizer(1e-3), ADAPTER.validate_python(config), steps_per_epoch=1, epochs=50)
    for _ in range(50):
        for one in (layered, plain):
            one.after_epoch({"val/loss": 1.0})
        assert layered.lr == pytest.approx(plain.lr)
