"""How many trials may share a device."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sweeper.engines.packing import FRAGMENTATION, SHARE, DeviceRoom, Packing

megabytes = st.floats(1, 1e6)


def test_one_trial_runs_until_one_has_been_measured() -> None:
    packing = Packing(most=16)
    assert packing.trials == 1
    packing.worker_ready(DeviceRoom(free_mb=80_000, process_mb=600))
    assert packing.trials == 1
    packing.epoch_finished(1_000)
    assert packing.trials == 16
    packing.epoch_finished(20_000)
    assert packing.trials == 2
    packing.epoch_finished(1_000)
    assert packing.trials == 2  # the largest counts: another like it may come


def test_every_device_gets_a_trial_before_any_gets_two() -> None:
    packing = Packing(most=16)
    packing.worker_ready(DeviceRoom(free_mb=10_000, devices=4))
    assert packing.trials == 4


def test_what_later_workers_find_left_over_does_not_count() -> None:
    packing = Packing(most=16)
    packing.worker_ready(DeviceRoom(free_mb=10_000))
    packing.epoch_finished(1_000)
    packing.worker_ready(DeviceRoom(free_mb=1_000))
    assert packing.trials == 7


@given(free=megabytes, process=st.floats(0, 1e4), devices=st.integers(1, 8), peaks=st.lists(megabytes, min_size=1))
def test_the_trials_of_a_device_fit_and_there_is_always_one(
    free: float, process: float, devices: int, peaks: list[float]
) -> None:
    packing = Packing(most=64)
    packing.worker_ready(DeviceRoom(free, process, devices))
    for peak in peaks:
        packing.epoch_finished(peak)
    assert 1 <= packing.trials <= 64
    each = -(-packing.trials // devices)
    assert each == 1 or each * (FRAGMENTATION * max(peaks) + process) <= SHARE * free * (1 + 1e-9)
