"""Images that do not belong to their class are ranked first, and only listed: nothing is touched."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import get_args
from unittest.mock import patch

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from sweeper.curation.clean import find_suspects
from sweeper.curation.contact_sheet import COLUMNS, contact_sheet
from sweeper.curation.features import image_features
from sweeper.curation.image_list import ImageList
from sweeper.curation.outliers import Method, compact, outlier_scores, suggested_labels
from sweeper.data.decode import Depth
from sweeper.data.decoded_batches import decoded_batches
from sweeper.errors import DatasetError
from tests.functional.answer import Ask, ask, everything_in
from tests.pictures import write_class_folders, write_picture

__all__ = ["ask"]  # a fixture

METHODS: tuple[Method, ...] = get_args(Method)
CPU = torch.device("cpu")


def clusters(seed: int = 0, classes: int = 4, each: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Features of classes around centres of their own, and labels."""
    random = np.random.default_rng(seed)
    centres = random.normal(0, 1, (classes, 16))
    labels = np.repeat(np.arange(classes), each)
    return (centres[labels] + random.normal(0, 0.15, (len(labels), 16))).astype(np.float32), labels


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_label_and_a_foreign_image_stand_at_the_top(method: Method) -> None:
    features, labels = clusters()
    labels[3] = 2
    if method != "out_of_fold":  # which knows nothing of images that belong to no class
        features[50] = -features.mean(0) * 9
    scores = outlier_scores(compact(features), labels, method)
    assert set(np.argsort(-scores)[:2].tolist()) >= ({3} if method == "out_of_fold" else {3, 50})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("each", [1, 2, 3])
def test_tiny_classes_and_equal_images_have_finite_scores(method: Method, each: int) -> None:
    features, labels = clusters(each=each)
    features = np.concatenate([features, np.repeat(features[:1], 5, axis=0)])
    labels = np.concatenate([labels, np.zeros(5, labels.dtype)])
    assert np.isfinite(outlier_scores(compact(features), labels, method)).all()
    assert np.isfinite(outlier_scores(compact(features), np.zeros_like(labels), method)).all()


def test_the_label_of_most_neighbours_is_suggested_and_none_to_images_that_are_right() -> None:
    features, labels = clusters()
    labels[3] = 2
    assert suggested_labels(compact(features), labels, np.array([3, 4, 50])).tolist() == [0, -1, -1]


def test_candidates_are_the_wanted_share_worst_first() -> None:
    features, labels = clusters()
    labels[3] = 2
    names = ("a", "b", "c", "d")
    paths = [f"{row}.png" for row in range(len(labels))]
    source = ImageList(Path("d"), paths, [names[label] for label in labels], ["train"] * len(paths), names)
    found = find_suspects(source, range(len(paths)), features, "knn", share=0.05)
    assert len(found) == 8
    assert (found[0].path, found[0].label, found[0].suggested) == ("3.png", "c", "a")
    assert [candidate.score for candidate in found] == sorted((c.score for c in found), reverse=True)
    with pytest.raises(DatasetError, match="no class has two"):
        find_suspects(source, [0, 40], features[:2], "knn", share=0.05)


def test_features_are_those_of_the_backbone_and_bad_files_are_reported(tmp_path: Path) -> None:
    files = [str(write_picture(tmp_path / f"{seed}.png", seed, 16, 16)) for seed in range(5)]
    (tmp_path / "bad.png").write_bytes(b"no image")
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), tmp_path / "w.safetensors")
    listed = [*files[:2], str(tmp_path / "bad.png"), *files[2:]]
    options = {"backbone": "test_resnet", "pretrained": str(tmp_path / "w.safetensors"), "image_size": 16}
    found = image_features(listed, batch_size=2, device=CPU, **options)  # type: ignore[arg-type]
    whole = image_features(files, batch_size=5, device=CPU, **options)  # type: ignore[arg-type]
    assert found.rows.tolist() == [0, 1, 3, 4, 5]
    assert found.bad == {2: "not an image in a known format"}
    np.testing.assert_allclose(found.values, whole.values, rtol=1e-4, atol=1e-6)


def test_files_of_many_megabytes_are_decoded_by_processes_in_their_order(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(6):
        pixels = random.integers(0, 256, (560, 560, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png", compress_level=0)
    files = [str(tmp_path / f"{number}.png") for number in (4, 1, 5, 0, 3, 2)]
    batches = list(decoded_batches(files, 8, "crop", 2))
    assert [batch.rows for batch in batches] == [(0, 1), (2, 3), (4, 5)]
    alone = next(iter(decoded_batches(files[3:4], 8, "crop", 1)))
    np.testing.assert_array_equal(batches[1].pixels[1], alone.pixels[0])


def test_a_contact_sheet_has_a_tile_for_each_even_for_a_lost_file(tmp_path: Path) -> None:
    file = str(write_picture(tmp_path / "0.png", 0))
    entries = [(file, "class ölü", "-> \x1b[31m猫" * 9)] * COLUMNS + [(str(tmp_path / "lost.png"), "a", "b")]
    one, two = contact_sheet(entries[:COLUMNS]), contact_sheet(entries)
    assert two.height > one.height
    assert two.width == one.width


@pytest.mark.parametrize("method", METHODS)
def test_the_command_lists_and_draws_and_leaves_the_data_as_it_was(ask: Ask, tmp_path: Path, method: Method) -> None:
    root = write_class_folders(tmp_path / "d", {"train/cat": 12, "train/dog": 12, "val/cat": 2, "test/dog": 2})
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), tmp_path / "w.safetensors")
    before = everything_in(root)
    answer = ask(
        *("data", "clean", "d", "--backbone", "test_resnet", "--weights", "w.safetensors", "--image-size", "16"),
        *("--method", method, "--share", "0.25", "--csv", "look.csv", "--sheet", "look.png"),
    )
    assert answer.code == 0, answer.err
    rows = list(csv.DictReader((tmp_path / "look.csv").read_text().splitlines()))
    assert list(rows[0]) == ["path", "class", "score", "method", "suggested_label"]
    assert len(rows) == 6
    assert all(row["path"].startswith("train/") and row["method"] == method for row in rows)
    with Image.open(tmp_path / "look.png") as sheet:
        assert sheet.width > 500
    assert everything_in(root) == before
    assert "exclude: look.csv" in answer.out


def test_rows_without_a_label_are_counted_and_a_search_space_says_how_images_are_read(ask: Ask, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "d", {"cat": 6, "dog": 6})
    rows = [f"{name}/{number:04d}.png,{name}" for name in ("cat", "dog") for number in range(6)]
    rows[0], rows[7] = rows[0].replace(",cat", ","), rows[7].replace(",dog", ",NA")
    (tmp_path / "d" / "list.csv").write_text("\n".join(["path,class", *rows]) + "\n")
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), tmp_path / "w.safetensors")
    options = ("--backbone", "test_resnet", "--weights", "w.safetensors", "--image-size", "16")
    answer = ask("data", "clean", "d/list.csv", *options)
    assert answer.code == 0, answer.err
    assert "rows without a label left out: 1 NA, 1 empty" in answer.err
    dataset = "study: s\ndataset: {path: d, resize: pad, bits: 12}"
    (tmp_path / "space.yaml").write_text(f"{dataset}\nbudget: {{trials: 1}}\nsearch: {{backbone: test_resnet}}\n")
    with patch("sweeper.curation.features.decoded_batches", wraps=decoded_batches) as reading:
        answer = ask("data", "clean", "space.yaml", *options, "--force")
    assert answer.code == 0, answer.err
    assert reading.call_args.args[2:] == ("pad", 64, Depth(12, tags_first=False))


def test_a_list_that_was_edited_by_hand_is_replaced_by_force_alone(ask: Ask, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "d", {"cat": 12, "dog": 12})
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), tmp_path / "w.safetensors")
    command = ("data", "clean", "d", "--backbone", "test_resnet", "--weights", "w.safetensors", "--image-size", "16")
    assert ask(*command).code == 0
    assert ask(*command).code == 0, "a list as it was written is replaced"
    written = (tmp_path / "outliers.csv").read_text()
    edited = "".join(written.splitlines(keepends=True)[:1])
    (tmp_path / "outliers.csv").write_text(edited)
    refused = ask(*command)
    assert refused.code == 2
    assert "error: --csv: outliers.csv is not as it was written" in refused.err
    assert (tmp_path / "outliers.csv").read_text() == edited
    assert ask(*command, "--force").code == 0
    assert (tmp_path / "outliers.csv").read_text() == written
    with (tmp_path / "outliers.png").open("ab") as sheet:
        sheet.write(b"drawn on by hand")
    assert "--sheet: outliers.png is not as it was written" in ask(*command).err
    assert ask(*command, "--force").code == 0
    (tmp_path / "outliers.csv").write_text("mine")
    assert ask(*command, "--force").code == 2, "what is not a list of ours is never replaced"


def test_features_without_weights_are_refused(ask: Ask, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "d", {"cat": 2, "dog": 2})
    refused = ask("data", "clean", "d", "--backbone", "test_resnet")
    assert refused.code == 2
    assert "--weights" in refused.err
    assert ask("data", "clean", "d", "--backbone", "resnet5O", "--pretrained").code == 2
