"""How many trials may share a device, and on which device the next worker starts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sweeper.engines.packing import FRAGMENTATION, SHARE, DeviceRoom, Packing

megabytes = st.floats(1, 1e6)


def filled(packing: Packing) -> list[int]:
    """Return the devices of the workers that are started, one after the other."""
    taken: list[int] = []
    while (device := packing.next_device(taken)) is not None:
        taken.append(device)
    return taken


def test_one_trial_runs_until_one_has_been_measured() -> None:
    packing = Packing(most=16)
    assert packing.trials == 1
    packing.worker_ready(0, DeviceRoom(free_mb=80_000, process_mb=600))
    assert packing.trials == 1
    packing.epoch_finished(1_000)
    assert packing.trials == 16
    packing.epoch_finished(20_000)
    assert packing.trials == 2
    packing.epoch_finished(1_000)
    assert packing.trials == 2  # the largest counts: another like it may come


def test_every_device_gets_a_trial_before_any_gets_two() -> None:
    packing = Packing(most=16)
    packing.devices_seen(4)
    packing.worker_ready(0, DeviceRoom(free_mb=10_000))
    assert filled(packing) == [0, 1, 2, 3]
    packing.epoch_finished(4_000)
    assert filled(packing) == [0, 1, 2, 3]  # of the other three nobody has said yet what they hold
    for device in (1, 2, 3):
        packing.worker_ready(device, DeviceRoom(free_mb=10_000))
    assert filled(packing) == [0, 1, 2, 3]
    packing = Packing(most=16)
    packing.devices_seen(2)
    for device in range(2):
        packing.worker_ready(device, DeviceRoom(free_mb=10_000))
    packing.epoch_finished(3_000)
    assert filled(packing) == [0, 1, 0, 1]


def test_no_more_trials_run_on_a_device_than_it_gains_from() -> None:
    packing = Packing(most=16)
    packing.devices_seen(2)
    packing.worker_ready(0, DeviceRoom(free_mb=80_000, useful=3))
    packing.worker_ready(1, DeviceRoom(free_mb=80_000))
    packing.epoch_finished(10_000)
    assert (packing.on(0), packing.on(1)) == (3, 6)


def test_each_device_takes_what_fits_its_own_memory() -> None:
    packing = Packing(most=16)
    packing.devices_seen(2)
    packing.worker_ready(0, DeviceRoom(free_mb=10_000))
    packing.worker_ready(1, DeviceRoom(free_mb=40_000))
    packing.epoch_finished(7_000)
    assert (packing.on(0), packing.on(1)) == (1, 4)
    assert filled(packing) == [0, 1, 1, 1, 1]


def test_one_worker_a_device_is_as_many_as_there_are_devices() -> None:
    packing = Packing(most=64, each=1)
    assert filled(packing) == [0]
    packing.devices_seen(8)
    packing.worker_ready(0, DeviceRoom(free_mb=80_000))
    packing.epoch_finished(100)
    assert filled(packing) == list(range(8))


def test_a_device_on_which_none_can_start_gets_no_worker_and_the_others_go_on() -> None:
    packing = Packing(most=64, each=1)
    packing.devices_seen(3)
    packing.at_most(1, 0)
    assert filled(packing) == [0, 2]


def test_what_later_workers_find_left_over_does_not_count() -> None:
    packing = Packing(most=16)
    packing.worker_ready(0, DeviceRoom(free_mb=10_000))
    packing.epoch_finished(1_000)
    packing.worker_ready(0, DeviceRoom(free_mb=1_000))
    assert packing.trials == 7


@given(
    rooms=st.lists(megabytes, min_size=1, max_size=8),
    process=st.floats(0, 1e4),
    most=st.integers(1, 64),
    each=st.none() | st.integers(1, 4),
    peaks=st.lists(megabytes, min_size=1),
)
def test_the_trials_of_a_device_fit_and_there_is_always_one(
    rooms: list[float], process: float, most: int, each: int | None, peaks: list[float]
) -> None:
    packing = Packing(most, each)
    packing.devices_seen(len(rooms))
    for device, free in enumerate(rooms):
        packing.worker_ready(device, DeviceRoom(free, process))
    for peak in peaks:
        packing.epoch_finished(peak)
    taken = filled(packing)
    assert 1 <= len(taken) <= most
    for device, free in enumerate(rooms):
        count = taken.count(device)
        assert count <= (each or count)
        assert count <= 1 or count * (FRAGMENTATION * max(peaks) + process) <= SHARE * free * (1 + 1e-9)
