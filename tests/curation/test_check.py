"""What is planted in a data set is found, and what is not there is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from sweeper.config.dataset import CsvConfig
from sweeper.curation import duplicates
from sweeper.curation.check import CheckReport, check
from sweeper.curation.image_list import ImageList, read_image_list
from sweeper.curation.page import html_page
from sweeper.data.image_facts import MIRRORED, look_at, look_hash
from sweeper.paths import Workspace
from tests.functional.answer import Ask, ask
from tests.pictures import encoded

__all__ = ["ask"]  # a fixture


def scene(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """A smooth picture as photographs are: a few waves of random direction, phase and colour."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = np.zeros((height, width, 3))
    for _ in range(12):
        along, across, phase = random.normal(0, 8), random.normal(0, 8), random.uniform(0, 6.3)
        waves += random.uniform(-1, 1, 3) * np.cos(along * x + across * y + phase)[..., None]
    scaled = (waves - waves.min()) / (waves.max() - waves.min())
    return Image.fromarray((255 * scaled).astype(np.uint8))


def save(path: Path, image: Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes in two splits, every picture another."""
    for number in range(24):
        folder = f"{'train' if number < 18 else 'val'}/{'abc'[number % 3]}"
        save(tmp_path / "d" / folder / f"{number}.png", scene(number))
    return tmp_path / "d"


def checked(root: Path) -> CheckReport:
    return check(read_image_list(root, CsvConfig(), Workspace(root.parent)))


def paths_of(report: CheckReport) -> list[tuple[str, set[str]]]:
    return [(group.kind, {report.images.paths[row] for row in group.rows}) for group in report.groups]


def test_every_fold_of_a_cross_validated_study_is_looked_at_as_trained_on(root: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (root / split).rename(tmp_path / f"old-{split}")
    for number in range(12):
        save(root / "ab"[number % 2] / f"{number}.png", scene(number))
    space = tmp_path / "space.yaml"
    space.write_text("{study: s, dataset: {path: d, folds: 3, test_fraction: 0.25}, search: {backbone: r}}")
    images = read_image_list(space, CsvConfig(), Workspace(tmp_path))
    assert sorted(set(images.splits)) == ["test", "train"]
    assert len(images.of_splits(["train"])) > len(images) * 0.6


def test_nothing_is_found_in_a_clean_data_set(root: Path) -> None:
    report = checked(root)
    assert report.groups == []
    assert not report.serious


CHANGES = {
    "smaller": lambda image: image.resize((40, 30), Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "mirrored": ImageOps.mirror,
    "grey": ImageOps.grayscale,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_in_another_split_is_near(root: Path, change: str) -> None:
    save(root / "val/a/copy.jpg", CHANGES[change](scene(0)), quality=70)
    report = checked(root)
    assert paths_of(report) == [("near", {"train/a/0.png", "val/a/copy.jpg"})]
    assert report.groups[0].across_splits
    assert report.serious


def test_equal_bytes_and_equal_pixels_are_distinguished(root: Path) -> None:
    (root / "train/a/twin.png").write_bytes((root / "train/a/0.png").read_bytes())
    save(root / "train/b/again.bmp", scene(1))
    report = checked(root)
    assert paths_of(report) == [
        ("bytes", {"train/a/0.png", "train/a/twin.png"}),
        ("pixels", {"train/b/1.png", "train/b/again.bmp"}),
    ]
    assert not report.serious


def test_a_picture_with_two_labels_is_serious(root: Path) -> None:
    (root / "train/b/twin.png").write_bytes((root / "train/a/0.png").read_bytes())
    report = checked(root)
    assert report.groups[0].labels == ("a", "b")
    assert report.serious


def test_blank_pictures_are_copies_only_when_their_pixels_are_equal(root: Path) -> None:
    for shade in (10, 20, 20):
        name = f"{shade}{len(list(root.glob('train/a/blank*')))}"
        save(root / f"train/a/blank{name}.png", Image.new("RGB", (64, 48), (shade,) * 3))
    assert [sorted(paths) for _, paths in paths_of(checked(root))] == [["train/a/blank201.png", "train/a/blank202.png"]]


def test_damaged_files_odd_sizes_and_missing_classes_are_named(root: Path) -> None:
    (root / "train/a/short.png").write_bytes((root / "train/a/0.png").read_bytes()[:300])
    (root / "train/a/empty.jpg").write_bytes(b"")
    save(root / "train/b/wide.png", scene(90, 600, 20))
    for path in (root / "val/c").iterdir():
        path.unlink()
    found = checked(root).as_json()
    assert set(found["unreadable"]) == {"train/a/short.png", "train/a/empty.jpg"}
    assert found["odd_sizes"] == {"train/b/wide.png": "600 x 20"}
    assert found["missing_classes"] == {"val": ["c"]}
    assert found["serious"]


def test_the_mirrored_look_is_the_look_of_the_mirrored_picture() -> None:
    for seed in range(20):
        grey = scene(seed, 64, 64).convert("L")
        differing = look_hash(grey) ^ MIRRORED ^ look_hash(ImageOps.mirror(grey))
        assert differing.bit_count() <= 1  # a coefficient of nearly nothing may round either way


def test_looking_whole_shows_size_mode_and_format() -> None:
    seen = look_at(encoded(scene(3, 30, 20).convert("L"), "PNG"))
    assert (seen.width, seen.height, seen.mode, seen.format) == (30, 20, "L", "PNG")


def test_the_page_holds_its_pictures_and_escapes_names(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    for name in ("a.png", f"{evil.replace('/', '')}.png"):
        save(tmp_path / name, scene(0))
    paths = sorted(path.name for path in tmp_path.iterdir())
    report = check(ImageList(tmp_path, paths, [evil, "b"], ["train", "val"], (evil, "b")))
    page = html_page(report)
    assert "<script" not in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert "&lt;script&gt;" in page


def test_the_command_ends_with_1_for_what_is_serious_and_writes_its_page(ask: Ask, root: Path) -> None:
    assert ask("data", "check", "d").code == 0
    (root / "val/a/twin.png").write_bytes((root / "train/a/0.png").read_bytes())
    answer = ask("data", "check", "d", "--html", "page.html")
    assert answer.code == 1
    assert "train/a/0.png = val/a/twin.png" in answer.out
    assert (root.parent / "page.html").stat().st_size > 1000


def test_a_search_space_is_checked_in_the_splits_of_its_study(root: Path, tmp_path: Path) -> None:
    space = "study: s\ndataset: {path: %s, layout: folder, val_fraction: 0.5}\nsearch: {backbone: resnet18}\n"
    (tmp_path / "s.yaml").write_text(space % (root / "train"))
    source = read_image_list(tmp_path / "s.yaml", CsvConfig(), Workspace(tmp_path))
    assert {split: source.splits.count(split) for split in set(source.splits)} == {"train": 9, "val": 9}


def test_thousands_of_pictures_of_one_scene_are_one_group_without_comparing_each_with_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random, count, compared = np.random.default_rng(0), 2000, list[int]()
    same_look = duplicates._same_look
    picture = random.integers(0, 200, (16, 16))
    facts: Any = SimpleNamespace(
        pixel_digests=[number.to_bytes(2, "big") for number in range(count)],
        looks=np.uint64(random.integers(0, 2**62)) ^ (np.uint64(1) << random.integers(0, 62, count).astype(np.uint64)),
        thumbnails=(picture + random.integers(0, 9, (count, 16, 16))).astype(np.uint8),
    )

    def counted(thumbnails: Any, pairs: Any, *, mirror: bool) -> Any:
        compared.append(len(pairs))
        return same_look(thumbnails, pairs, mirror=mirror)

    monkeypatch.setattr(duplicates, "_same_look", counted)
    unions = duplicates.Unions(count)
    duplicates._join_near(unions, facts, duplicates.NEAR_BITS)
    assert [len(group) for group in unions.groups()] == [count]
    assert sum(compared) < count * (count - 1) / 2 / 4
