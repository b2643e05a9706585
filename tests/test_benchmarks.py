"""What the benchmarks find is kept whole, and each has its place on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import measurements
from benchmarks.measurements import Measurement, Result, Section, figure, ratios
from benchmarks.page import PAGE, PLACE, markdown

SOURCES = Path(measurements.__file__).parent.glob("*.py")


def test_a_result_read_again_gives_the_same_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "RESULTS", tmp_path)
    written = Result("some", "generated")
    rows = [Measurement("ours", "s", [3.0, 1.0, 2.0]), Measurement("ratio", "", [0.5], at_most=0.65)]
    written.add(Section("A title", rows, "A note."))
    shown = markdown(Result.read(tmp_path / "some.json"))
    assert shown == markdown(written)
    assert "| ours, s | 2 | 1 | 3 | 3 |  |" in shown
    assert "| ratio | 0.5 | 0.5 | 0.5 | 1 | at most 0.65: met |" in shown


def test_a_demand_is_met_by_the_median() -> None:
    assert Measurement("", "", [0.9, 0.96, 0.97], at_least=0.95).met
    assert not Measurement("", "", [0.9, 0.94, 0.97], at_least=0.95).met
    assert not Measurement("", "", [1.1], at_most=1.0).met


def test_ratios_are_of_what_was_measured_together() -> None:
    assert ratios([1.0, 9.0], [2.0, 3.0]) == [0.5, 3.0]
    assert [figure(value) for value in (0.95812, 12.34, 4621.4)] == ["0.958", "12.3", "4,621"]


def test_every_benchmark_has_its_place_on_the_page() -> None:
    given = re.compile(r'(?:Result\(|"--name", default=)"(\w+)"')
    named = {name for source in SOURCES for name in given.findall(source.read_text())}
    assert {"ceiling", "sweep", "trial_cost"} <= named
    places = {name for _, name, _ in PLACE.findall(PAGE.read_text(encoding="utf-8"))}
    plain = {name.removeprefix("gpu/") for name in places}
    assert {re.sub(r"_\d+$", "", name) for name in plain} == named  # ceiling_64 is one of ceiling's


def test_what_was_measured_on_a_gpu_stands_beside_what_was_measured_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurements, "RESULTS", tmp_path)
    for gpu in (None, "a card"):
        result = Result("some", "generated")
        result.conditions["machine"]["gpu"] = gpu
        result.add(Section("", [Measurement("ours", "s", [1.0])]))
    assert Result.read(tmp_path / "some.json").conditions["machine"]["gpu"] is None
    assert ", a card, " in markdown(Result.read(tmp_path / "gpu/some.json"))
    page = "<!-- benchmark: some -->\n<!-- end -->\n<!-- benchmark: gpu/some -->\n<!-- end -->"
    assert [name for _, name, _ in PLACE.findall(page)] == ["some", "gpu/some"]
