from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.hyperparameters import AugmentConfig
from sweeper.data import placement
from sweeper.data.batches import Batch, DeviceImages
from sweeper.data.image_set import ImageSet
from sweeper.data.placement import MappedSamples, ResidentSamples, StreamedSamples, place_samples
from sweeper.data.sampling import training_bounds
from tests.cuda.waiting import never_waits

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EVERYTHING = AugmentConfig(
    crop_padding=2, random_resized_crop=0.4, flip=True, rotation=20, color_jitter=0.4, erasing=0.5, mixup=0.4, cutmix=1
)
FAST = AugmentConfig(crop_padding=2, flip=True)


def image_set(count: int = 37, size: int = 10) -> ImageSet:
    """Images whose first pixel is the number of their row."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    pixels[:, 0, 0, 0] = np.arange(count)
    rows = np.arange(count)
    return ImageSet(
        pixels, rows % 5, tuple("abcde"), {"train": rows[rows % 4 > 0], "val": rows[rows % 4 == 0]}, "0" * 32
    )


def train(images: DeviceImages, augment: AugmentConfig, seed: int = 1, epoch: int = 3, size: int = 10) -> list[Batch]:
    return list(images.train_batches(8, augment, size, MEAN, STD, seed, epoch))


def raw(batch: Batch) -> torch.Tensor:
    """Undo the normalisation: [B, S, S, 3] from 0 to 255."""
    return ((batch.inputs.permute(0, 2, 3, 1) * torch.tensor(STD) + torch.tensor(MEAN)) * 255).round()


def assert_same(one: list[Batch], two: list[Batch]) -> None:
    assert len(one) == len(two)
    for left, right in zip(one, two, strict=True):
        assert torch.equal(left.inputs, right.inputs)
        assert torch.equal(left.labels, right.labels)
        for name in ("mixed_labels", "mix_weight"):
            values = getattr(left, name), getattr(right, name)
            assert values == (None, None) or torch.equal(*values)


@pytest.mark.parametrize("augment", [AugmentConfig(), FAST, EVERYTHING])
@pytest.mark.parametrize("size", [10, 7])
def test_same_seed_and_epoch_give_the_same_batches(augment: AugmentConfig, size: int) -> None:
    images = DeviceImages(image_set(), "train", "cpu")
    first = train(images, augment, size=size)
    torch.rand(3), np.random.default_rng().random()
    train(images, augment, epoch=4)
    assert_same(first, train(DeviceImages(image_set(), "train", "cpu"), augment, size=size))


@pytest.mark.parametrize(("seed", "epoch"), [(1, 4), (2, 3), (3, 1)])
def test_other_seed_or_epoch_gives_another_order(seed: int, epoch: int) -> None:
    images = DeviceImages(image_set(), "train", "cpu")
    rows = [
        [int(raw(batch)[0, 0, 0, 0]) for batch in train(images, AugmentConfig(), *pair)]
        for pair in ((1, 3), (seed, epoch))
    ]
    assert rows[0] != rows[1]


@pytest.mark.parametrize("augment", [AugmentConfig(), FAST, EVERYTHING])
def test_streamed_batches_equal_resident_ones(augment: AugmentConfig) -> None:
    placed = [DeviceImages(image_set(), "train", "cpu", resident=resident) for resident in (True, False)]
    assert_same(train(placed[0], augment), train(placed[1], augment))
    assert_same(*(list(images.eval_batches(8, 10, MEAN, STD)) for images in placed))


def test_every_placement_hands_out_the_rows_asked_for() -> None:
    pixels, rows = image_set().images, np.arange(1, 37, 3)
    batches = [np.array([2, 0, 5]), np.array([11]), np.array([], dtype=np.int64)]
    for source in (
        MappedSamples(pixels, rows),
        ResidentSamples(pixels, rows, torch.device("cpu")),
        StreamedSamples(pixels, rows, torch.device("cpu")),
    ):
        for batch, taken in zip(batches, source.take(batches), strict=True):
            assert (taken.numpy() == pixels[rows[batch]]).all()


def test_images_that_do_not_fit_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    images = image_set()
    cpu = torch.device("cpu")
    assert isinstance(place_samples(images.images, images.splits["train"], cpu), MappedSamples)
    monkeypatch.setattr("sweeper.data.placement._free_bytes", lambda device: 1000.0)
    assert isinstance(place_samples(images.images, images.splits["train"], cpu), StreamedSamples)


def test_stream_that_is_left_early_ends_its_thread() -> None:
    import threading

    images = DeviceImages(image_set(), "train", "cpu", resident=False)
    stream = images.train_batches(4, FAST, 10, MEAN, STD, 0, 0)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_every_image_comes_once_an_epoch_with_its_label() -> None:
    images = image_set()
    batches = train(DeviceImages(images, "train", "cpu"), AugmentConfig())
    rows = torch.cat([raw(batch)[:, 0, 0, 0] for batch in batches]).long()
    assert sorted(rows.tolist()) == images.splits["train"].tolist()
    assert rows.tolist() != sorted(rows.tolist())
    assert torch.equal(torch.cat([batch.labels for batch in batches]), rows % 5)


def test_eval_keeps_the_order_of_the_split() -> None:
    images = image_set()
    batches = list(DeviceImages(images, "val", "cpu").eval_batches(4, 10, MEAN, STD))
    assert [len(batch.labels) for batch in batches] == [4, 4, 2]
    assert torch.cat([raw(batch)[:, 0, 0, 0] for batch in batches]).long().tolist() == images.splits["val"].tolist()


def test_pixels_are_normalised_as_torchvision_does() -> None:
    from torchvision.transforms.v2 import functional as tv

    images = image_set()
    (batch,) = DeviceImages(images, "val", "cpu").eval_batches(99, 10, MEAN, STD)
    pixels = torch.from_numpy(images.images[images.splits["val"]]).permute(0, 3, 1, 2)
    expected = tv.normalize(tv.to_dtype(pixels, torch.float32, scale=True), list(MEAN), list(STD))
    torch.testing.assert_close(batch.inputs, expected, rtol=1e-5, atol=2e-6, check_stride=False)


@pytest.mark.parametrize(
    "augment", [AugmentConfig(), FAST, EVERYTHING, AugmentConfig(mixup=1), AugmentConfig(cutmix=1)]
)
@pytest.mark.parametrize("size", [10, 6, 14])
def test_batches_are_float32_channels_last_of_the_size_asked_for(augment: AugmentConfig, size: int) -> None:
    for batch in train(DeviceImages(image_set(), "train", "cpu"), augment, size=size):
        assert batch.inputs.dtype == torch.float32
        assert batch.labels.dtype == torch.int64
        assert batch.inputs.shape[1:] == (3, size, size)
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
        assert bool(batch.inputs.isfinite().all())


def test_images_in_the_cache_are_never_changed() -> None:
    images = image_set()
    before = images.images.copy()
    train(DeviceImages(images, "train", "cpu"), EVERYTHING)
    train(DeviceImages(images, "train", "cpu"), AugmentConfig(erasing=1, color_jitter=1))
    assert (images.images == before).all()


@given(st.integers(1, 400), st.integers(1, 64))
def test_training_batches_cover_all_images_and_none_is_short(count: int, batch_size: int) -> None:
    bounds = training_bounds(count, batch_size)
    assert [place for start, end in bounds for place in range(start, end)] == list(range(count))
    sizes = [end - start for start, end in bounds]
    if batch_size != 2:
        assert max(sizes) <= batch_size
        assert len(sizes) == -(-count // batch_size)
    assert set(sizes[:-2]) <= {batch_size}
    if count >= batch_size:
        assert 2 * min(sizes) >= batch_size - 1
    if count > 1 and batch_size > 1:
        assert min(sizes) > 1


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [
        (258, 128, [128, 65, 65]),
        (319, 128, [128, 95, 96]),
        (320, 128, [128, 128, 64]),
        (129, 128, [64, 65]),
        (20, 128, [20]),
        (256, 128, [128, 128]),
        (5, 2, [2, 3]),
        (4, 3, [2, 2]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_a_few_images_left_over_share_with_the_batch_before(count: int, batch_size: int, sizes: list[int]) -> None:
    assert [end - start for start, end in training_bounds(count, batch_size)] == sizes


def test_steps_counts_the_training_batches() -> None:
    images = DeviceImages(image_set(), "train", "cpu")
    for batch_size in (1, 2, 8, 26, 27, 100):
        assert images.steps(batch_size) == len(list(images.train_batches(batch_size, FAST, 10, MEAN, STD, 0, 0)))


def test_mapped_cache_gives_the_same_batches(tmp_path: Path) -> None:
    images = image_set()
    np.save(tmp_path / "images.npy", images.images)
    mapped = ImageSet(np.load(tmp_path / "images.npy", mmap_mode="c"), images.labels, images.classes, images.splits, "")
    assert_same(train(DeviceImages(images, "train", "cpu"), FAST), train(DeviceImages(mapped, "train", "cpu"), FAST))


@pytest.mark.gpu
@pytest.mark.parametrize("augment", [AugmentConfig(), FAST, EVERYTHING])
def test_cuda_epoch_never_waits_for_the_device(augment: AugmentConfig) -> None:
    placed = [DeviceImages(image_set(), "train", "cuda", resident=resident) for resident in (True, False)]
    epochs = []
    for images in placed:
        train(images, augment)
        with never_waits():
            epochs.append(train(images, augment))
    assert_same(*epochs)


def test_images_that_do_not_fit_on_the_device_after_all_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(placement, "ResidentSamples", refused)
    images = image_set()
    placed = place_samples(images.images, images.splits["train"], torch.device("cuda", 0), resident=True)
    assert isinstance(placed, StreamedSamples)
