from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file

from sweeper.data.batches import DeviceImages
from sweeper.errors import ExportError
from sweeper.export.export import ExportReport
from sweeper.export.export_config import ExportConfig, read_config, write_config
from sweeper.export.export_input import Training
from sweeper.export.load import load_export
from sweeper.export.verify import (
    Pass,
    WeightsCheck,
    changed_predictions,
    check_format,
    check_weights,
    evaluated,
    format_problems,
    full_precision,
    images_between,
    in_parts_that_fit,
    relative_difference,
    tolerance,
    verify_export,
    weights_problems,
)
from sweeper.modeling.formats import Predict, read_onnx, read_program
from sweeper.training.device import arithmetic

CPU = torch.device("cpu")


def scale_onnx(path: Path, scale: float) -> None:
    """Scale the last layer of an ONNX file."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("head.linear_out"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * scale, tensor.name))
    onnx.save(model, path)


def negate_weights(path: Path) -> None:
    tensors = load_file(path)
    tensors["head.linear_out.weight"] *= -1
    save_file(tensors, path)
    write_config(path.parent / "config.json", read_config(path.parent / "config.json"))  # as if it had been written so


@pytest.fixture(scope="module")
def reference(report: ExportReport, val: DeviceImages) -> Pass:
    return evaluated(load_export(report.folder).classifier, val, report.config)


def weights_check(config: ExportConfig, reference: Pass, training: Training, images_more: int) -> WeightsCheck:
    """Check weights that were logged with this many more images right."""
    logged = {"val/accuracy": config.metrics["val/accuracy"] + images_more / len(reference.logits)}
    lineage = config.lineage.model_copy(update={"training": training})
    changed = config.model_copy(update={"metrics": logged, "lineage": lineage})
    return check_weights("model.safetensors", reference, changed, CPU)


def test_tampered_onnx_fails_with_both_accuracies_and_the_tolerance(folder: Path, val: DeviceImages) -> None:
    scale_onnx(folder / "model.onnx", -1)
    told = r"^model\.onnx gives accuracy 0\.\d+ where the weights give 0\.\d+: \d+ of 60 predictions changed, 1 allowed"
    with pytest.raises(ExportError, match=told):
        verify_export(folder, val)


def test_tampered_weights_fail(folder: Path, val: DeviceImages) -> None:
    negate_weights(folder / "model.safetensors")
    told = r"model\.safetensors gives accuracy 0\.\d+ on 60 validation images where 0\.\d+ was logged: .* 0 allowed"
    with pytest.raises(ExportError, match=told):
        verify_export(folder, val)


def test_all_that_is_wrong_is_reported_at_once(folder: Path, val: DeviceImages) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.pt2").unlink()
    negate_weights(folder / "model.safetensors")
    with pytest.raises(ExportError) as caught:
        verify_export(folder, val)
    found = [line.split()[0] for line in str(caught.value).splitlines() if line.startswith("model.")]
    assert found == ["model.safetensors", "model.pt2", "model.onnx"]


def test_onnx_with_scaled_logits_fails_though_it_predicts_the_same(
    folder: Path, val: DeviceImages, report: ExportReport, reference: Pass
) -> None:
    scale_onnx(folder / "model.onnx", 1.1)
    check = check_format(folder / "model.onnx", read_onnx, reference, val, report.config)
    assert check.changed == 0
    assert "logits differ by 0.1 of the largest, 0.01 allowed" in format_problems(check, 0.7, len(val))[0]


@pytest.mark.parametrize(("name", "read"), [("model.onnx", read_onnx), ("model.pt2", read_program)])
def test_a_damaged_file_is_named(
    tmp_path: Path,
    val: DeviceImages,
    report: ExportReport,
    reference: Pass,
    name: str,
    read: Callable[[Path], Predict],
) -> None:
    (tmp_path / name).write_bytes(b"not a model")
    with pytest.raises(ExportError, match=f"^{name} does not run"):
        check_format(tmp_path / name, read, reference, val, report.config)


def test_one_image_off_is_too_much_where_device_and_precision_are_the_same(
    report: ExportReport, reference: Pass
) -> None:
    assert weights_problems(weights_check(report.config, reference, Training(), 0), 60) == []
    problems = weights_problems(weights_check(report.config, reference, Training(), 1), 60)
    assert "off by 1 image, 0 allowed (validated in float32 on cpu then and now)" in problems[0]


def test_half_a_percent_is_allowed_after_training_in_bfloat16(report: ExportReport, reference: Pass) -> None:
    training = Training(device="cuda", precision="bfloat16")
    check = weights_check(report.config, reference, training, 1)
    assert (check.off, check.allowed) == (1, 1)
    assert check.why == "validated in bfloat16 on cuda then, in float32 on cpu now"
    assert weights_problems(check, 60) == []
    assert weights_problems(weights_check(report.config, reference, training, 2), 60) != []


def test_tolerance_is_zero_only_for_the_same_arithmetic() -> None:
    assert tolerance(Training(), CPU, 10_000)[0] == 0
    assert tolerance(Training(on_features=True), CPU, 10_000)[0] == 10
    threads = torch.get_num_threads()
    assert tolerance(Training(threads=threads), CPU, 10_000)[0] == 0
    assert tolerance(Training(threads=threads + 1), CPU, 10_000) == (
        10,
        f"validated in float32 on cpu by {threads + 1} threads then, by {threads} now",
    )
    assert tolerance(Training(devices=2), CPU, 10_000)[0] == 10
    assert tolerance(Training(precision="bfloat16"), CPU, 10_000)[0] == 50
    assert tolerance(Training(device="cuda", precision="float32"), CPU, 10_000)[0] == 50
    assert tolerance(Training(device="cuda", precision="bfloat16"), torch.device("cuda"), 10_000)[0] == 50


def test_training_on_the_cpu_is_in_float32() -> None:
    assert arithmetic(CPU) == "float32"


def test_images_between_is_exact_for_large_splits() -> None:
    images = 49_999
    assert images_between(31_234 / images, 31_234 / images, images) == 0
    assert images_between(31_234 / images, 31_235 / images, images) == 1


def test_accuracy_over_another_number_of_images_is_never_off_by_zero() -> None:
    assert images_between(7 / 10, 69 / 99, 10) == 1


def test_logits_that_are_not_finite_count_as_changed() -> None:
    reference = torch.tensor([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0]])
    logits = torch.tensor([[float("nan"), float("nan")], [1.0, 2.0], [2.0, 1.0]])
    assert changed_predictions(logits, reference) == 2


def test_difference_is_relative_to_the_size_of_the_outputs() -> None:
    reference = torch.tensor([[1e9, -2e9]])
    assert relative_difference(reference + 2e3, reference) == pytest.approx(1e-6, rel=0.1)
    assert relative_difference(torch.zeros(1, 2), torch.zeros(1, 2)) == 0


def test_full_precision_is_given_back() -> None:
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = conv.fp32_precision
    with full_precision():
        assert conv.fp32_precision == "ieee"
    assert conv.fp32_precision == before


def test_a_batch_that_memory_does_not_hold_is_verified_in_parts() -> None:
    sizes: list[int] = []

    def small(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        if len(images) > 3:
            raise torch.OutOfMemoryError
        return images.flatten(1).sum(1, keepdim=True)

    images = torch.rand(8, 3, 2, 2)
    assert torch.equal(in_parts_that_fit(small, CPU)(images), images.flatten(1).sum(1, keepdim=True))
    assert sizes[0] == 8
    assert max(sizes[-3:]) <= 3
