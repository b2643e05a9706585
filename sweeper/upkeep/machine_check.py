"""Whether this machine can run a sweep: versions, device, disk, memory, storage and tracking."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as installed_version
from pathlib import Path

from packaging.requirements import Requirement

from sweeper.addresses import sqlite_file
from sweeper.allowance import available_bytes, usable_cores
from sweeper.credentials import hide_credentials
from sweeper.errors import DeviceError, SweeperError, TrackingRefused
from sweeper.paths import Workspace
from sweeper.processor import computes_bfloat16
from sweeper.safeguards.quantity import quantity
from sweeper.search.stored_studies import study_names
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.upkeep.disk import disk_use
from sweeper.upkeep.finding import Finding
from sweeper.upkeep.nvidia import NvidiaCards, nvidia_cards
from sweeper.upkeep.torch_devices import may_have_a_card, torch_devices

LEAST_FREE_DISK_GB = 2.0
LEAST_FREE_MEMORY_GB = 1.0


def examine_machine(workspace: Workspace, storage_url: str, tracking_uri: str) -> list[Finding]:
    """Return one finding for each thing a sweep needs."""
    return [
        _versions(),
        _device(),
        _disk(workspace),
        _memory(),
        _storage(workspace, storage_url),
        _tracking(workspace, tracking_uri),
    ]


def _versions() -> Finding:
    wrong = list(_unmet_requirements())
    if wrong:
        return Finding(
            "versions",
            "; ".join(wrong),
            "pip install -c constraints.txt -e . in the folder of sweeper, or install its wheel again",
        )
    return Finding("versions", f"sweeper {installed_version('sweeper')} has every package it requires")


def _unmet_requirements() -> Iterator[str]:
    for line in requires("sweeper") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = installed_version(requirement.name)
        except PackageNotFoundError:
            yield f"{requirement.name} is missing"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield f"{requirement.name} {found} is installed, {requirement.specifier} is required"


def _device() -> Finding:
    cards = nvidia_cards()
    if cards.count or may_have_a_card():
        try:
            found = torch_devices()
        except DeviceError as error:
            return Finding("device", str(error), "install torch anew: pip install --force-reinstall torch")
        if found.names:
            return Finding("device", ", ".join(found.names))
        if cards.count:
            return Finding("device", *unused_cards(cards, found.cuda))
    usable, there = usable_cores(), os.cpu_count() or 1
    of_all = f" of {there}, as this job or container allows" if usable < there else ""
    bfloat16 = "; it computes bfloat16: train faster with `precision: bfloat16`" if computes_bfloat16() else ""
    return Finding("device", f"the CPU, {quantity(usable, 'core')}{of_all}{bfloat16}")


def unused_cards(cards: NvidiaCards, cuda_of_torch: str | None) -> tuple[str, str]:
    """Say why torch cannot use the NVIDIA cards that are there, and what to do."""
    what = ", ".join(cards.names) or f"{cards.count} NVIDIA cards"
    if cards.cuda is None:
        return f"{what}, and their driver does not answer", "install NVIDIA's driver, or restart after its update"
    driver = f"{cards.cuda // 1000}.{cards.cuda % 1000 // 10}"
    if cuda_of_torch is None:
        return f"{what}, and this torch is a build for the CPU", "install a build of torch for CUDA: pip install torch"
    if int(cuda_of_torch.partition(".")[0]) > cards.cuda // 1000:
        why = f"{what}, and their driver runs CUDA up to {driver}, while this torch needs CUDA {cuda_of_torch}"
        return why, "update NVIDIA's driver, or install a build of torch for an older CUDA"
    return f"{what}, and torch cannot use them", "run `nvidia-smi`, and look whether CUDA_VISIBLE_DEVICES hides them"


def _disk(workspace: Workspace) -> Finding:
    free = shutil.disk_usage(workspace.root).free / 1e9
    what = f"{free:.1f} GB free; {workspace.state.name} holds {disk_use(workspace).total / 1e9:.2f} GB"
    remedy = f"keep {LEAST_FREE_DISK_GB:g} GB free; decoded images in {workspace.cache} and features in "
    remedy += f"{workspace.features} can be removed at any time while no study runs"
    return Finding("disk", what, remedy if free < LEAST_FREE_DISK_GB else None)


def _memory() -> Finding:
    free = available_bytes() / 1e9
    remedy = f"keep {LEAST_FREE_MEMORY_GB:g} GB free for each worker" if free < LEAST_FREE_MEMORY_GB else None
    return Finding("memory", f"{free:.1f} GB free", remedy)


def _is_to_be_made(address: str, database: Path, workspace: Workspace) -> bool:
    return not database.exists() and sqlite_file(address, workspace.root) == database


def _storage(workspace: Workspace, url: str) -> Finding:
    where = hide_credentials(url)
    if _is_to_be_made(url, workspace.optuna_database, workspace):
        if known := workspace.studies_run():
            lost = f"{where} is gone, which held the trials of {', '.join(known)}"
            return Finding("storage", lost, "bring the file back, or name their storage with --storage")
        return Finding("storage", f"{where}: does not exist yet; `sweeper run` creates it")
    try:
        count = len(study_names(url))
    except SweeperError as error:
        return Finding("storage", str(error), "repair that or name another with --storage")
    return Finding("storage", f"{where}: {quantity(count, 'study', 'studies')}")


def _tracking(workspace: Workspace, uri: str) -> Finding:
    where = hide_credentials(uri)
    if _is_to_be_made(uri, workspace.mlflow_database, workspace):
        return Finding("tracking", f"{where}: does not exist yet; `sweeper run` creates it")
    try:
        MlflowStore(uri, workspace, relocates=False).require_answer()
    except TrackingRefused as error:
        return Finding("tracking", str(error), "do what it says, or name another with --tracking-uri")
    except SweeperError as error:
        return Finding("tracking", str(error), "start the server, or name another with --tracking-uri")
    return Finding("tracking", f"{where} answers")
