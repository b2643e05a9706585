"""What a study keeps of itself, with bytes flipped, cut, added or replaced: as it was written, or refused on one line.

The mutations and their seeds are those of `test_mutated_files.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from sweeper.config.hyperparameters import TrialConfig
from sweeper.confirm.repetitions import STORED, Repetition, stored_repetitions
from sweeper.confirm.test_split import Look, keep_look, looks
from sweeper.errors import DamagedFile
from sweeper.files import read_parsed, write_sealed
from sweeper.identity import Identity, Place
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import (
    EpochMetrics,
    Repeats,
    TrialOutcome,
    TrialSpec,
    TrialState,
    read_history,
    read_outcome,
    read_spec,
)
from sweeper.study.card import read_card, write_card
from sweeper.study.ending import FINISHED, note_ending, read_ending
from sweeper.study.lineage import Lineage, read_lineage
from sweeper.study.place import read_identity, write_identity
from sweeper.tracking.delivery import StudyCard
from sweeper.tracking.run_record import RunRecord, read_record
from sweeper.training.checkpoint import Record, load_checkpoint
from sweeper.training.progress import Progress
from tests.field.test_mutated_files import FEW, SEEDS, mutated, require_sound

Use = Callable[[], Any]

OUTCOME = TrialOutcome(
    state=TrialState.COMPLETE, epochs=3, best_epoch=2, best_value=0.8125, best_metrics={"val/accuracy": 0.8125}
)
CONFIG = TrialConfig(backbone="resnet18", image_size=32)
PLACE = Place(id="0123456789abcdef", user="u", host="h", folder="/f", inode=77, since_ms=1_700_000_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return Workspace(tmp_path).study("s")


def write_identity_of(folder: StudyFolder) -> tuple[Path, Use]:
    write_identity(folder, Identity(id="fedcba9876543210", place=PLACE, formerly=("00112233",)))
    return folder.identity, lambda: read_identity(folder)


def write_card_of(folder: StudyFolder) -> tuple[Path, Use]:
    dataset = {"name": "images", "digest": "abc123", "source": "images", "profile": {"images": 12}}
    card = StudyCard(
        study="s", tracking_uri="sqlite:///mlflow.db", start_ms=17, params={"seed": 3}, tags={"a": "b"}, dataset=dataset
    )
    write_card(folder, card)
    return folder.card, lambda: read_card(folder)


def write_spec_of(folder: StudyFolder) -> tuple[Path, Use]:
    spec = folder.trial(0).spec
    write_sealed(spec, TrialSpec(number=0, seed=123456, epochs=9, config=CONFIG).model_dump_json())
    return spec, lambda: read_spec(spec)


def write_outcome_of(folder: StudyFolder) -> tuple[Path, Use]:
    outcome = folder.trial(0).outcome
    write_sealed(outcome, OUTCOME.model_dump_json())
    return outcome, lambda: read_outcome(outcome)


def write_history_of(folder: StudyFolder) -> tuple[Path, Use]:
    history = folder.trial(0).history
    values = {"val/accuracy": 0.5, "train/loss": float("nan")}
    points = [EpochMetrics(epoch=epoch, values=values, timestamp_ms=epoch) for epoch in range(1, 6)]
    write_sealed(history, json.dumps([point.model_dump() for point in points]))
    return history, lambda: repr(read_history(history))


def write_run_of(folder: StudyFolder) -> tuple[Path, Use]:
    run = folder.trial(0).run
    write_sealed(
        run, RunRecord(run_id="0a1b2c3d4e5f", described=True, epochs=4, artifacts=("a", "b")).model_dump_json()
    )
    return run, lambda: read_record(run)


def write_repetitions_of(folder: StudyFolder) -> tuple[Path, Use]:
    file = folder.confirmation.repetitions
    repetitions = [
        Repetition(number=number, repeats=Repeats(trial=4, seed_number=number + 1), outcome=OUTCOME)
        for number in range(3)
    ]
    write_sealed(file, STORED.dump_json(repetitions))
    return file, lambda: stored_repetitions(folder.confirmation)


def write_looks_of(folder: StudyFolder) -> tuple[Path, Use]:
    look = Look(trial=3, metrics={"accuracy": 0.875}, images=40, digest="d", when_ms=5, forced=False)
    keep_look(folder, look)
    return folder.confirmation.test_looks, lambda: looks(folder)


def write_start_of(folder: StudyFolder) -> tuple[Path, Use]:
    start = Lineage(study="a", trial=1, run_id="r", experiment="1", weights_epoch=2, epochs=3, with_optimizer=False)
    write_sealed(folder.start.source, start.model_dump_json())
    return folder.start.source, lambda: read_lineage(folder)


def write_ending_of(folder: StudyFolder) -> tuple[Path, Use]:
    note_ending(folder, FINISHED)
    return folder.ending, lambda: read_ending(folder)


RECORDS = {
    "identity": write_identity_of,
    "card": write_card_of,
    "spec": write_spec_of,
    "outcome": write_outcome_of,
    "history": write_history_of,
    "run": write_run_of,
    "repetitions": write_repetitions_of,
    "looks at the test split": write_looks_of,
    "start": write_start_of,
    "ending": write_ending_of,
}


@pytest.mark.parametrize("seeds", [FEW, pytest.param(SEEDS, marks=pytest.mark.slow)], ids=["few", "many"])
@pytest.mark.parametrize("write", RECORDS.values(), ids=RECORDS.keys())
def test_a_record_is_what_was_written_or_refused(
    write: Callable[[StudyFolder], tuple[Path, Use]], folder: StudyFolder, seeds: range
) -> None:
    file, read = write(folder)
    assert require_sound(file, read, read(), seeds, DamagedFile) > len(seeds) / 2


@pytest.mark.parametrize("seeds", [FEW, pytest.param(SEEDS, marks=pytest.mark.slow)], ids=["few", "many"])
def test_a_checkpoint_is_what_was_written_or_the_one_before(folder: StudyFolder, seeds: range) -> None:
    trial = folder.trial(0)
    trial.path.mkdir(parents=True)
    for epoch in (1, 2):
        state = {"model": {"weight": torch.full((4, 4), float(epoch))}}
        Record(lambda state=state: state, Progress()).write(trial)  # type: ignore[misc]
    before = trial.checkpoint_before.read_bytes()

    def use() -> float:
        found = load_checkpoint(trial)
        trial.checkpoint_before.write_bytes(before)
        assert found is not None
        return float(found["model"]["weight"].sum())

    content, seen = trial.checkpoint.read_bytes(), set()
    for seed in seeds:
        trial.checkpoint.write_bytes(mutated(content, seed))
        seen.add(use())
    assert seen <= {16.0, 32.0}
    assert 16.0 in seen


def test_records_of_earlier_versions_without_a_seal_are_read(tmp_path: Path) -> None:
    numbers, file = TypeAdapter(list[int]), tmp_path / "file"
    file.write_bytes(b"[1, 2]")
    assert read_parsed(file, numbers.validate_json) == [1, 2]


def test_an_empty_list_without_a_seal_is_not_a_list_that_was_written(tmp_path: Path) -> None:
    numbers, file = TypeAdapter(list[int]), tmp_path / "file"
    write_sealed(file, "[]")
    assert read_parsed(file, numbers.validate_json) == []
    file.write_bytes(b"[]")
    with pytest.raises(DamagedFile, match="damaged"):
        read_parsed(file, numbers.validate_json)
