"""Smaller ONNX files of the shared export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from sweeper.data.batches import DeviceImages
from sweeper.export import variants
from sweeper.export.export import ExportReport
from sweeper.export.export_config import Variant
from sweeper.export.model_card import model_card
from sweeper.export.quantize import Images
from sweeper.export.variants import Judge, VariantRequest, write_variants
from sweeper.modeling.formats import read_onnx
from sweeper.paths import ExportFolder


@pytest.fixture(scope="module")
def made(
    report: ExportReport, val: DeviceImages, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[Variant, ...]]:
    """A folder with both variants, and what was reported of them; the images are those of the validation split."""
    files = ExportFolder(tmp_path_factory.mktemp("variants"))
    files.onnx.write_bytes((report.folder / "model.onnx").read_bytes())
    judge = Judge(report.config, val, report.verification.reference)
    return files.path, write_variants(files, judge, VariantRequest(("fp16", "int8"), val, tolerance=0.1))


def test_both_variants_are_smaller_and_cost_what_is_said(
    made: tuple[Path, tuple[Variant, ...]], val: DeviceImages, report: ExportReport
) -> None:
    folder, found = made
    assert [variant.file for variant in found if variant.kept] == ["model.fp16.onnx", "model.int8.onnx"]
    (batch,) = val.eval_batches(len(val), 16, report.config.mean, report.config.std)
    for variant in found:
        classes = read_onnx(folder / variant.file)(batch.inputs).argmax(1)
        accuracy = float((classes == batch.labels).double().mean())
        assert variant.best.accuracy == pytest.approx(accuracy)
        assert variant.best.lost == pytest.approx(report.verification.weights.accuracy - accuracy)
        assert variant.bytes == (folder / variant.file).stat().st_size < variant.full_bytes
        assert variant.milliseconds > 0


def test_the_numbers_in_a_variant_are_of_the_kind_it_is_named_for(made: tuple[Path, tuple[Variant, ...]]) -> None:
    half = onnx.load(made[0] / "model.fp16.onnx").graph
    assert {tensor.data_type for tensor in half.initializer} & {onnx.TensorProto.FLOAT16}
    assert half.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    whole = onnx.load(made[0] / "model.int8.onnx").graph
    assert {tensor.data_type for tensor in whole.initializer} & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}


def test_every_method_is_tried_and_the_most_accurate_taken(made: tuple[Path, tuple[Variant, ...]]) -> None:
    whole = made[1][1]
    assert len(whole.tried) == 3
    assert [item.failure for item in whole.tried] == [None] * 3
    assert whole.best.accuracy == max(item.accuracy for item in whole.tried)


def ruined(source: Path, target: Path, _: list[Images]) -> None:
    """A network whose weights are all zero."""
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(tuple(tensor.dims), np.float32), tensor.name))
    onnx.save(model, target)


def broken(source: Path, target: Path, _: list[Images]) -> None:
    raise RuntimeError("no such operator\nand a page of details")


def test_a_variant_that_loses_too_much_or_cannot_be_made_is_left_out_and_said_so(
    report: ExportReport, val: DeviceImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "METHODS", {"fp16": {"ruin": ruined, "break": broken}, "int8": {"break": broken}})
    files = ExportFolder(tmp_path)
    files.onnx.write_bytes((report.folder / "model.onnx").read_bytes())
    judge = Judge(report.config, val, report.verification.reference)
    found = write_variants(files, judge, VariantRequest(("fp16", "int8"), val))
    assert [variant.kept for variant in found] == [False, False]
    assert list(tmp_path.iterdir()) == [files.onnx]
    assert found[0].best.lost > 0.01
    assert found[1].best.failure == "RuntimeError: no such operator"
    card = model_card(report.config.model_copy(update={"variants": found}), report.verification)
    assert "model.fp16.onnx: LEFT OUT, may lose 1.00%" in card


def wordless(source: Path, target: Path, _: list[Images]) -> None:
    raise NotImplementedError


def test_a_tool_that_fails_without_a_word_costs_the_variant_and_not_the_export(
    report: ExportReport, val: DeviceImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "METHODS", {"int8": {"break": wordless}})
    files = ExportFolder(tmp_path)
    files.onnx.write_bytes((report.folder / "model.onnx").read_bytes())
    judge = Judge(report.config, val, report.verification.reference)
    (found,) = write_variants(files, judge, VariantRequest(("int8",), val))
    assert not found.kept
    assert "NotImplementedError" in (found.best.failure or "")


def test_infinite_logits_are_never_right(
    report: ExportReport, val: DeviceImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Judge(report.config, val, report.verification.reference)
    monkeypatch.setattr(variants, "read_onnx", lambda _: lambda images: torch.full((len(images), 5), float("nan")))
    assert judge.measure("overflow", Path("model.onnx")).accuracy == 0.0
