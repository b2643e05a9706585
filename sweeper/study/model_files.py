"""The content of a study's model files: part of the study, as its search space is.

An edited file is another network under the same name. Trials of both cannot be compared, and one of them cannot go on
with the other's weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeper.errors import StudyChanged, StudyError
from sweeper.search.stored_trial import MODEL_FILES
from sweeper.search.study_store import StudyStore
from sweeper.study.pretrained import file_digest
from sweeper.tracking.tags import MODEL_FILES_TAG


def require_same_model_files(store: StudyStore, folder: Path | None = None) -> None:
    """Raise StudyChanged where a model file is no longer what the study has been run with.

    `folder` is where relative paths begin, by default the current one.
    """
    now = model_file_digests(store.sweep.model_files, folder or Path())
    _require_same(store.sweep.study, store.noted(MODEL_FILES) or {}, now)


def pin_model_files(store: StudyStore) -> dict[str, str]:
    """Note the content of a study's model files, those that are new to it, and return it. Raises StudyChanged."""
    known, now = store.noted(MODEL_FILES) or {}, model_file_digests(store.sweep.model_files)
    _require_same(store.sweep.study, known, now)
    if known | now != known:
        store.note(MODEL_FILES, known | now)
    return now


def model_file_digests(files: Sequence[str], folder: Path = Path()) -> dict[str, str]:
    """Return a digest of the content of each file that is there. Raises StudyError where one cannot be read."""
    try:
        return {file: file_digest(folder / file) for file in files if (folder / file).is_file()}
    except OSError as error:
        raise StudyError(f"a model file of the study cannot be read: {error}; bring it back") from error


def tags_of(digests: Mapping[str, str]) -> dict[str, str]:
    """Return what MLflow's runs say of the model files."""
    return {MODEL_FILES_TAG: json.dumps(digests)} if digests else {}


def require_logged(study: str, tags: Mapping[str, str], files: Sequence[str]) -> None:
    """Raise StudyChanged where a model file is no longer what a run was trained with."""
    _require_same(study, json.loads(tags.get(MODEL_FILES_TAG, "{}")), model_file_digests(files))


def _require_same(study: str, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    changed = [file for file in now if file in then and then[file] != now[file]]
    if changed:
        told = "; ".join(f"{file} (digest {now[file]}, then {then[file]})" for file in changed)
        raise StudyChanged(
            f"model files have changed since the study {study} began: {told}. Trials of another network cannot be "
            "compared or continued: bring the old content back, or put the new one in another file and give the "
            "search space another `study:` name"
        )
