"""The weights that a study begins from: looked up once, kept, recorded, and required to stay what they were."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.space import Choice
from sweeper.config.sweep import SweepConfig
from sweeper.config.trial_name import TrialName
from sweeper.config.weights import study_reference
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem, StudyChanged, StudyError, SweeperError
from sweeper.files import file_lock, whole_file
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import PinnedWeights, TrialRow
from sweeper.search.study_store import StudyStore
from sweeper.standings.trial_names import require_weights, trial_of
from sweeper.study.artifacts import fetch_artifacts
from sweeper.study.card import read_card
from sweeper.study.recorded import own_folder
from sweeper.study.trained import require_trained
from sweeper.study.unseen_images import require_unseen_images

Pinned = dict[str, PinnedWeights]
"""By the value of `search.pretrained` that they stand for: a path or a reference to a study."""

KEY = "search.pretrained"


def pin_weights(
    sweep: SweepConfig, known: Mapping[str, PinnedWeights], workspace: Workspace, storage_url: str, tracking_uri: str
) -> Pinned:
    """Return what every value of `pretrained` stands for, and see to it that the weights of studies lie here.

    A reference is looked up when a study begins; from then on it means the same trial, whatever has won since.

    Args:
        sweep: The search space.
        known: What its study began with; empty for a new one.
        workspace: Where weights are kept.
        storage_url: Where the studies are that are referred to.
        tracking_uri: Where their weights are, if this machine has not run them.

    Raises:
        StudyError: the study or trial is missing, or has no weights. StudyChanged when the weights
            are others than the study began with. TrackingError when MLflow cannot be reached.
        ConfigError: the search space names another architecture than that of the trial.
    """
    pinned: Pinned = {}
    for value in _values(sweep):
        reference, before = study_reference(value), known.get(value)
        with naming(KEY, value):
            if reference is None:
                pinned[value] = PinnedWeights(digest=file_digest(Path(value)))
            elif before is not None and is_kept(workspace, before):
                pinned[value] = before
            else:
                pinned[value] = _fetched(sweep, reference, before, workspace, storage_url, tracking_uri)
        if before is not None and before.digest != pinned[value].digest:
            raise weights_changed(sweep.study, value, before, pinned[value])
    return pinned


def require_sources(sweep: SweepConfig, storage_url: str) -> None:
    """Raise StudyError where a study or trial whose weights a search space begins from is missing, or has none.

    Whether a backbone is that of the trial is not asked.
    """
    for value in _values(sweep):
        if (reference := study_reference(value)) is not None:
            with naming(KEY, value):
                store = StudyStore.load(storage_url, reference.study)
                require_trained(store)
                require_weights(store, trial_of(store, reference.number))


@contextmanager
def naming(key: str, value: str) -> Iterator[None]:
    """Name the key and its value in every error that the block raises."""
    try:
        yield
    except ConfigError:
        raise
    except (SweeperError, OSError) as error:
        kind = type(error) if isinstance(error, SweeperError) else StudyError
        raise kind(f"{key} is {value}, which cannot be used: {error}") from error


def _values(sweep: SweepConfig) -> Iterator[str]:
    """Yield the paths and references that a trial's `pretrained` may be."""
    value = sweep.search.pretrained
    options = value.choice if isinstance(value, Choice) else (value,)
    yield from dict.fromkeys(option for option in options if isinstance(option, str))


def weights_changed(
    study: str, value: str, then: PinnedWeights, now: PinnedWeights, remedy: str | None = None
) -> StudyChanged:
    return StudyChanged(
        f"the weights of {value} have changed since the study {study} began (digest {now.digest}, then "
        f"{then.digest}), and trials from other weights cannot be compared; bring the old ones back, or "
        f"{remedy or 'give the study another name'}"
    )


def _fetched(
    sweep: SweepConfig,
    reference: TrialName,
    before: PinnedWeights | None,
    workspace: Workspace,
    storage_url: str,
    tracking_uri: str,
) -> PinnedWeights:
    """Bring the weights of a study's trial here; once it is known which trial that is, never another's."""
    number = before.trial if before is not None else reference.number
    store = StudyStore.load(storage_url, reference.study)
    row = trial_of(store, number)
    require_trained(store)
    require_weights(store, row)
    _require_same_architecture(sweep, reference.study, row)
    if before is None:
        require_unseen_images(KEY, sweep, store.sweep)
    elsewhere = None if read_card(own_folder(workspace, store)) else tracking_uri
    with tempfile.TemporaryDirectory(prefix="sweeper-weights-") as folder:
        artifacts = fetch_artifacts(workspace, store, row, Path(folder), elsewhere)
        digest = keep(workspace, artifacts.weights)
    return PinnedWeights(digest=digest, study=reference.study, trial=row.number, run_id=artifacts.run_id)


def _require_same_architecture(sweep: SweepConfig, study: str, row: TrialRow) -> None:
    """Refuse, before any trial fails by it, backbones that these weights do not fit."""
    value = sweep.search.backbone
    wanted = value.choice if isinstance(value, Choice) else (value,)
    saved = row.config.backbone if row.config else ""
    others = [str(name) for name in wanted if _architecture(name) != _architecture(saved)]
    if others:
        rule = f"{KEY} refers to trial {row.number} of {study}, whose backbone is {saved}; name that one here"
        raise ConfigError([Problem(IN_SEARCH_SPACE, "search.backbone", f"{rule}, got {', '.join(others)}")])


def _architecture(backbone: str) -> str:
    """Return a name without timm's tag of pretrained weights."""
    return backbone.partition(".")[0]


def is_kept(workspace: Workspace, pinned: PinnedWeights) -> bool:
    """Return whether the weights that a study began with lie here whole."""
    kept = workspace.weights(pinned.digest)
    return kept.exists() and file_digest(kept) == pinned.digest


def keep(workspace: Workspace, weights: Path) -> str:
    """Keep a copy of a file of weights and return its digest. Raises OSError."""
    digest = file_digest(weights)
    target = workspace.weights(digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(target.with_suffix(".lock"), blocking=True):  # another study may keep the same at this moment
        if not (target.exists() and file_digest(target) == digest):
            with weights.open("rb") as source, whole_file(target) as kept:
                shutil.copyfileobj(source, kept)
    return digest


def file_digest(path: Path) -> str:
    """Return 32 hexadecimal digits that change with any byte of a file. Raises OSError."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def kept_files(pinned: Mapping[str, PinnedWeights], workspace: Workspace) -> dict[str, str]:
    """Return the files in which the weights of other studies are kept, by their references."""
    return {value: str(workspace.weights(weights.digest)) for value, weights in pinned.items() if weights.study}


def with_kept_weights(config: TrialConfig, folder: StudyFolder, workspace: Workspace) -> TrialConfig:
    """Return the configuration of a trial of a study with the file in place of a reference to another study.

    Raises StudyError when the file is gone.
    """
    card = read_card(folder)
    file = kept_files(card.pretrained if card else {}, workspace).get(str(config.pretrained))
    if study_reference(config.pretrained) is None:
        return config
    if file is None or not Path(file).exists():
        raise StudyError(f"the weights of {config.pretrained} are gone; `sweeper run` fetches them again")
    return config.model_copy(update={"pretrained": file})
