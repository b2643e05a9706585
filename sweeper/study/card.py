"""The study card: what every run of a study records; on disk without the credentials of any address."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from sweeper.addresses import portable, sqlite_address, sqlite_file
from sweeper.config.engine import SimulateConfig
from sweeper.config.searched import varied_fields
from sweeper.config.sweep import SweepConfig
from sweeper.credentials import hide_credentials
from sweeper.data.card import DatasetCard
from sweeper.errors import StudyChanged, TrackingError
from sweeper.files import read_parsed, write_sealed, write_whole
from sweeper.identity import Identity
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import SIMULATED, PinnedTeacher, PinnedWeights
from sweeper.study.place import read_identity
from sweeper.study.same_images import require_same_images
from sweeper.tracking.delivery import StudyCard
from sweeper.tracking.mlflow_store import default_tracking_uri, own_address
from sweeper.tracking.relocation import holds_run
from sweeper.tracking.run_record import read_record
from sweeper.tracking.shared_view import experiment_tags
from sweeper.tracking.tags import DIGEST_TAG, ENVIRONMENT_TAG, MODEL_FILES_TAG, PRETRAINED_TAG, TEACHER_TAG

logger = logging.getLogger(__name__)

COMMIT_TAG = "mlflow.source.git.commit"


def require_images_of_card(stored: StudyCard | None, dataset: DatasetCard, study: str) -> None:
    """Raise StudyChanged where a study has begun on other images: trials on them could not be compared."""
    if stored is not None:
        require_same_images(dataset.name, f"the study {study}", now=dataset.digest, then=str(stored.dataset["digest"]))


def study_card(
    sweep: SweepConfig,
    dataset: DatasetCard,
    folder: StudyFolder,
    tracking_uri: str,
    pretrained: Mapping[str, PinnedWeights] = MappingProxyType({}),
    teachers: Mapping[str, PinnedTeacher] = MappingProxyType({}),
    lineage: Mapping[str, str] = MappingProxyType({}),
    identity: Identity | None = None,
) -> StudyCard:
    """Return what all runs of the study record, as it was when the study began, but for the tags of what may change.

    `lineage` are tags of its source and its model files. Raises StudyChanged when the images are others than then.
    """
    stored = read_card(folder)
    require_images_of_card(stored, dataset, sweep.study)
    if stored is not None:
        weights, known = {**stored.pretrained, **pretrained}, {**stored.teachers, **teachers}
        now = {
            "identity": identity,
            **_tags_anew(stored, {**_of_this_start(weights, known, identity), **_of_model_files(lineage)}),
            "experiment": sweep.tracking.name or stored.experiment,
            "tracking_uri": tracking_uri,
            "pretrained": weights,
            "teachers": known,
            "experiment_tags": experiment_tags(sweep.objective, varied_fields(sweep.search)),
        }
        write_card(folder, card := stored.model_copy(update=now))
        return card
    card = StudyCard(
        study=sweep.study,
        identity=identity,
        experiment=sweep.tracking.name,
        tracking_uri=tracking_uri,
        start_ms=int(time.time() * 1000),
        params=_sweep_params(sweep),
        tags={
            DIGEST_TAG: dataset.digest,
            **_of_this_start(pretrained, teachers, identity),
            **lineage,
        },
        dataset=_dataset_input(sweep, dataset),
        pretrained=dict(pretrained),
        teachers=dict(teachers),
        experiment_tags=experiment_tags(sweep.objective, varied_fields(sweep.search)),
    )
    write_search_space(sweep, folder)
    write_card(folder, card)
    return card


def _of_this_start(
    weights: Mapping[str, PinnedWeights], teachers: Mapping[str, PinnedTeacher], identity: Identity | None
) -> dict[str, str]:
    """Return the tags of who runs it, what trials are trained on and begin with, which each start may change."""
    return {
        ENVIRONMENT_TAG: environment(),
        **_source(identity),
        **_origin(PRETRAINED_TAG, weights),
        **_origin(TEACHER_TAG, teachers),
    }


def _of_model_files(tags: Mapping[str, str]) -> dict[str, str]:
    return {MODEL_FILES_TAG: tags[MODEL_FILES_TAG]} if MODEL_FILES_TAG in tags else {}


def _tags_anew(stored: StudyCard, changed: Mapping[str, str]) -> dict[str, Any]:
    """Return the tags of runs that begin from now on; those that began before keep theirs, also if delivered later."""
    tags = {**{name: value for name, value in stored.tags.items() if name != COMMIT_TAG}, **changed}
    if tags == stored.tags:
        return {}
    return {"tags": tags, "earlier_tags": {**stored.earlier_tags, int(time.time() * 1000): stored.tags}}


def write_search_space(sweep: SweepConfig, folder: StudyFolder) -> None:
    """Put the search space among the artifacts of the parent run, unless it is there."""
    content = sweep.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text = yaml.safe_dump(content, sort_keys=False).encode()
    if not folder.search_space.exists() or folder.search_space.read_bytes() != text:
        write_whole(folder.search_space, text)


def require_same_kind(sweep: SweepConfig, stored: StudyCard | None) -> None:
    """Raise StudyChanged where trained trials would mix with simulated ones."""
    simulates = isinstance(sweep.engine, SimulateConfig)
    if stored is None or simulates == (stored.dataset["digest"] == SIMULATED):
        return
    then, now = ("trained", "simulated") if simulates else ("simulated", "trained")
    raise StudyChanged(
        f"the trials of {sweep.study} were {then}, and others that are {now} cannot be compared with them; "
        f"give this search space another `study:` name, or leave the engine as it was"
    )


def _sweep_params(sweep: SweepConfig) -> dict[str, Any]:
    parts = sweep.model_dump(mode="json", include={"objective", "budget", "sampler", "pruner", "seed"})
    parts |= {"objectives": {goal.metric: goal.direction for goal in sweep.objectives}}
    return {
        f"{name}.{key}": value for name, part in parts.items() if isinstance(part, dict) for key, value in part.items()
    }


def _dataset_input(sweep: SweepConfig, dataset: DatasetCard) -> dict[str, Any]:
    """Return the data set as MLflow's page shows it."""
    profile = {"images": dataset.images, "classes": len(dataset.classes)}
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "source": sweep.dataset.builtin or str(sweep.dataset.path),
        "profile": profile,
    }


def _origin(tag: str, pinned: Mapping[str, PinnedWeights]) -> dict[str, str]:
    """Return the tag that names the weights with which the trials of a study begin, or from which they learn."""
    lines = [f"{value}{weights.origin}, digest {weights.digest}" for value, weights in pinned.items()]
    return {tag: "; ".join(lines)} if lines else {}


def _source(identity: Identity | None) -> dict[str, str]:
    """Return what MLflow shows of who ran it, by what, and at which commit."""
    user = {"mlflow.user": identity.place.user} if identity else {}
    return {**user, "mlflow.source.name": "sweeper", "mlflow.source.type": "LOCAL", **_git_commit()}


def _git_commit() -> dict[str, str]:
    """Return the tag with the commit of the working directory, where it is a git repository."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return {COMMIT_TAG: done.stdout.strip()}


def environment() -> str:
    """Return what the last digits of a training on a CPU depend on: the processor, Python and torch."""
    return f"{_processor()}, Python {platform.python_version()}, torch {version('torch')}"


def _processor() -> str:
    """Return the processor's name; where the system does not say, its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def read_card(folder: StudyFolder) -> StudyCard | None:
    """Return what the runs of a study record, or None where this machine has not run it. Raises DamagedFile."""
    if not folder.card.exists():
        return None
    card = read_parsed(folder.card, StudyCard.model_validate_json)
    of_study = folder if card.stage == "search" else folder.of_study
    return card.model_copy(update={"identity": read_identity(of_study)})


def bring_card(folder: StudyFolder, copy: Mapping[str, Any] | None) -> None:
    """Write a study's card from its copy in the storage, into a folder that has none."""
    if copy is not None and not folder.card.exists():
        write_card(folder, StudyCard.model_validate(copy))


def write_card(folder: StudyFolder, card: StudyCard) -> None:
    """Store the card; of the MLflow address all but the user name and the password, and nothing of where it lies."""
    write_sealed(folder.card, json.dumps(stored_form(card, folder.root)))


def stored_form(card: StudyCard, root: Path) -> dict[str, Any]:
    """Return what is kept of a card of the working directory `root`."""
    shown = hide_credentials(portable(card.tracking_uri, root))
    return card.model_copy(update={"tracking_uri": shown}).model_dump(mode="json")


def tracking_uri_of(workspace: Workspace, study: str, named: str | None, folder: StudyFolder | None = None) -> str:
    """Return the MLflow address to use: the one named, or else the one the study was last run with.

    `folder` is where the study is, if it was put aside. Raises TrackingError when that one had credentials, which are
    not stored, and the environment does not name it again.
    """
    folder = folder or workspace.study(study)
    return address_of(read_card(folder), workspace, named, folder)


def address_of(card: StudyCard | None, workspace: Workspace, named: str | None, folder: StudyFolder) -> str:
    """Return the MLflow address of a study by its card, None of a new one; as `tracking_uri_of`."""
    if named or card is None:
        return named or default_tracking_uri(workspace)
    file = sqlite_file(card.tracking_uri, workspace.root)
    if file is not None and not file.exists() and not folder.card.exists():  # that of the folder it was taken from
        return default_tracking_uri(workspace)
    study = card.study
    stored, again = card.tracking_uri, os.environ.get("MLFLOW_TRACKING_URI", "")
    if hide_credentials(again).rstrip("/") == stored.rstrip("/"):
        return again
    if again and hide_credentials(portable(again, workspace.root)) != stored:
        _tell_of_another(study, stored, hide_credentials(again))
    if "***" in stored:
        raise TrackingError(
            f"the study {study} is recorded at {stored}, and the credentials of an address are never stored; "
            "name the whole address again with --tracking-uri or MLFLOW_TRACKING_URI"
        )
    return _looked_up(stored, workspace, folder)


def tell_of_new_address(card: StudyCard, uri: str, workspace: Workspace, folder: StudyFolder) -> None:
    """Say where the runs of a study go from now on, if that is another address than before."""
    addresses = (_looked_up(card.tracking_uri, workspace, folder), uri)
    before, now = (hide_credentials(portable(address, workspace.root)).rstrip("/") for address in addresses)
    if before != now:
        told = "the study %s was recorded at %s until now: its further runs go to %s, and the earlier ones stay there"
        logger.warning(told, card.study, before, now)


@cache  # a command may ask several times
def _tell_of_another(study: str, stored: str, named: str) -> None:
    logger.warning(
        "the study %s is recorded at %s: that is used, not MLFLOW_TRACKING_URI (%s); --tracking-uri names another",
        study,
        stored,
        named,
    )


def _looked_up(stored: str, workspace: Workspace, folder: StudyFolder) -> str:
    """Return an address as it is in this folder.

    Earlier versions of sweeper wrote that of the folder's own database with the path of the folder, which may have
    been moved or copied since.
    """
    file, ours = sqlite_file(stored, workspace.root), workspace.mlflow_database
    if file is None:
        return stored
    if file != ours and file.name == ours.name and ours.exists():
        run = read_record(folder.parent_run)
        file = ours if not file.exists() or (run is not None and holds_run(ours, run.run_id)) else file
    return own_address(workspace) if file == ours else sqlite_address(file)
