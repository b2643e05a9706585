"""Files of a study that are no longer what was written: made anew from storage or MLflow, else reported as lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from sweeper.confirm.repetitions import Repetition, spec_of_repetition, stored_repetitions
from sweeper.confirm.test_split import looks
from sweeper.errors import DamagedFile, StudyError
from sweeper.files import read_parsed, write_sealed
from sweeper.finished.looks import kept_looks
from sweeper.paths import StudyFolder, TrialFolder, Workspace
from sweeper.results import HISTORY, TrialOutcome, TrialSpec, read_history
from sweeper.scores.confusion import read_confusion
from sweeper.search.stored_trial import CARD
from sweeper.search.study_store import StudyStore
from sweeper.study.card import read_card, write_card
from sweeper.study.lineage import read_lineage
from sweeper.study.place import read_identity
from sweeper.tracking.delivery import StudyCard
from sweeper.tracking.run_record import read_record
from sweeper.upkeep.finding import Finding
from sweeper.upkeep.restoring import card_from_mlflow

SUBJECT = "disk"
FOUND_BY_TAGS = "--fix removes it: the run is found by its tags"


def damaged_identity(folder: StudyFolder) -> Iterator[Finding]:
    """Yield the file that says which study the folder holds, if it cannot be read."""
    remedy = "--fix removes it: the study's storage says the same"
    yield from _if_damaged(partial(read_identity, folder), remedy, folder.identity.unlink)


def damaged_files(workspace: Workspace, store: StudyStore, tracking_uri: str | None) -> Iterator[Finding]:
    """Yield the files of a study that cannot be read, with what repairs them."""
    folder = workspace.study(store.sweep.study)
    yield from _if_damaged(
        partial(read_card, folder),
        "--fix makes it anew from the study's storage, or from MLflow",
        partial(_restore_card, workspace, store, tracking_uri),
    )
    yield from _if_damaged(partial(read_record, folder.parent_run), FOUND_BY_TAGS, folder.parent_run.unlink)
    yield from _if_damaged(
        partial(read_history, folder.history), "--fix removes it: `sweeper run` writes it anew", folder.history.unlink
    )
    yield from _if_damaged(
        partial(read_lineage, folder),
        "--fix removes it: `sweeper train --from` fetches it again",
        folder.start.source.unlink,
    )
    yield from _if_damaged(
        partial(read_history, folder.start.history),
        "--fix removes it: `sweeper train --from` fetches it again",
        partial(_remove_start, folder),
    )
    yield from _if_damaged(
        partial(kept_looks, folder),
        "--fix removes it: looks at the test split that MLflow has not counted are lost",
        folder.looks.unlink,
    )
    ended = {row.number for row in store.rows() if row.ended_ms is not None}
    for trial in folder.trials():
        yield from _of_trial(trial, ended=trial.number in ended)
    yield from _of_confirmation(folder, store)


def _remove_start(folder: StudyFolder) -> None:
    folder.start.source.unlink(missing_ok=True)  # which says that all of it is there
    folder.start.history.unlink()


def _if_damaged(read: Callable[[], Any], remedy: str, repair: Callable[[], Any] | None = None) -> Iterator[Finding]:
    try:
        read()
    except DamagedFile as error:
        yield Finding(SUBJECT, str(error), remedy, repair)


def _restore_card(workspace: Workspace, store: StudyStore, tracking_uri: str | None) -> None:
    """Write the card as the storage has it; for a study that was run before storages had it, as MLflow has it."""
    stored = store.noted(CARD)
    card = StudyCard.model_validate(stored) if stored else card_from_mlflow(workspace, store, tracking_uri)
    if card is None:
        raise StudyError(
            "neither the storage nor MLflow has a copy. Lost are the address and the tags of its runs, and "
            "the digest of its images. Remove the file, and `sweeper run` writes it anew, from the images as they are "
            "now"
        )
    write_card(workspace.study(store.sweep.study), card)


def _of_trial(trial: TrialFolder, *, ended: bool) -> Iterator[Finding]:
    """Yield what is damaged of a trial; what is removed of one that has ended is made anew when it is delivered."""
    stored = "--fix makes it anew from Optuna" if ended else "--fix removes it: `sweeper run` writes it anew"
    yield from _if_damaged(partial(_read, trial.spec, TrialSpec.model_validate_json), stored, trial.spec.unlink)
    yield from _if_damaged(
        partial(_read, trial.outcome, TrialOutcome.model_validate_json), stored, trial.outcome.unlink
    )
    lost = "; the metrics of its epochs are lost, but for the objective" if ended else ""
    kept = "" if ended else ": its checkpoint has the same"
    yield from _if_damaged(partial(read_history, trial.history), f"--fix removes it{kept}{lost}", trial.history.unlink)
    yield from _if_damaged(
        partial(read_record, trial.run), "--fix removes it: the run is found by its tags", trial.run.unlink
    )
    yield from _of_confusion(trial, ended=ended)
    yield from _of_folds(trial, ended=ended)


def _of_confusion(trial: TrialFolder, *, ended: bool) -> Iterator[Finding]:
    """Yield the confusion matrices that cannot be read; a fold of an unfinished trial is trained again for it."""
    gone = "--fix removes it: the confusion matrix is lost" if ended else "--fix removes it: it is made again"

    def remove(numbers: Path) -> None:
        numbers.unlink()
        if not ended:
            trial.outcome.unlink(missing_ok=True)

    for numbers in sorted(trial.confusion.glob("*.csv")):
        yield from _if_damaged(partial(_confusion, numbers), gone, partial(remove, numbers))


def _confusion(numbers: Path) -> None:
    """Raise DamagedFile for what is no confusion matrix."""
    try:
        read_confusion(numbers)
    except ValueError as error:
        raise DamagedFile(str(error)) from error


def _of_folds(trial: TrialFolder, *, ended: bool) -> Iterator[Finding]:
    """Yield what is damaged of the folds of a trial; of one that has ended nothing knows their files a second time."""
    for _, fold in trial.folds():
        if not ended:
            yield from _of_trial(fold, ended=False)
            continue
        for file, parse in (
            (fold.spec, TrialSpec.model_validate_json),
            (fold.outcome, TrialOutcome.model_validate_json),
            (fold.history, HISTORY.validate_json),
        ):
            lost = "--fix removes it; the run of the fold stays incomplete"
            yield from _if_damaged(partial(_read, file, parse), lost, file.unlink)
        yield from _of_confusion(fold, ended=True)


def _read(path: Path, parse: Callable[[bytes], Any]) -> Any:
    return read_parsed(path, parse) if path.exists() else None


def _of_repetition(trial: TrialFolder, store: StudyStore, repetition: Repetition) -> Iterator[Finding]:
    """Yield what is damaged of a repetition that has ended, and what is missing of what its run is made from."""
    remedy = "--fix makes it anew from the results of the repetitions"
    for file, parse, anew in (
        (trial.spec, TrialSpec.model_validate_json, partial(_spec_again, trial, store, repetition)),
        (trial.outcome, TrialOutcome.model_validate_json, partial(_outcome_again, trial, repetition)),
    ):
        if not file.exists():
            yield Finding(SUBJECT, f"{file} is missing", remedy, anew)
        yield from _if_damaged(partial(_read, file, parse), remedy, anew)
    lost = "--fix removes it; the metrics of its epochs are lost, but for the objective"
    yield from _if_damaged(partial(read_history, trial.history), lost, trial.history.unlink)
    yield from _if_damaged(partial(read_record, trial.run), FOUND_BY_TAGS, trial.run.unlink)
    yield from _of_confusion(trial, ended=True)
    yield from _of_folds(trial, ended=True)


def _spec_again(trial: TrialFolder, store: StudyStore, repetition: Repetition) -> None:
    spec = spec_of_repetition(store.sweep, store.rows()[repetition.repeats.trial], repetition)
    write_sealed(trial.spec, spec.model_dump_json())


def _outcome_again(trial: TrialFolder, repetition: Repetition) -> None:
    if repetition.outcome is not None:
        write_sealed(trial.outcome, repetition.outcome.model_dump_json())


def _of_confirmation(folder: StudyFolder, store: StudyStore) -> Iterator[Finding]:
    confirmation = folder.confirmation
    yield from _if_damaged(
        partial(stored_repetitions, confirmation),
        "the results of the repetitions are only in MLflow; to confirm again, delete their runs there and "
        f"remove {confirmation.path}",
    )
    yield from _if_damaged(
        partial(looks, folder),
        "--fix removes it: how often the test split was looked at is recorded in the winner's run",
        confirmation.test_looks.unlink,
    )
    written = "--fix removes it: `sweeper confirm` writes it anew"
    yield from _if_damaged(partial(read_card, confirmation), written, confirmation.card.unlink)
    yield from _if_damaged(partial(read_record, confirmation.parent_run), FOUND_BY_TAGS, confirmation.parent_run.unlink)
    yield from _if_damaged(partial(read_history, confirmation.history), written, confirmation.history.unlink)
    ended: dict[int, Repetition] = {}
    with suppress(DamagedFile):  # told above
        ended = {one.number: one for one in stored_repetitions(confirmation) if one.outcome is not None}
    for trial in confirmation.trials():
        if (repetition := ended.get(trial.number)) is not None:
            yield from _of_repetition(trial, store, repetition)
        else:
            yield from _of_trial(trial, ended=False)
