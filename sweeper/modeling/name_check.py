"""Asking timm and torch about a search space without having them in this process.

They take seconds to import and most of a gigabyte, which a driver would hold for as long as the study
runs. So a short-lived process imports them, while this one does what it must do in any case.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from sweeper.child_process import live_with_parent, prepare_processes, start_prepared
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.names_to_check import NamesUsed
from sweeper.config.weights import PREFIX
from sweeper.paths import ExportFolder

T = TypeVar("T")
A = TypeVar("A")
Problems = list[tuple[str, str]]
Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of every channel, on the scale 0 to 1."""


def check_apart(used: NamesUsed, meanwhile: Callable[[], object]) -> Problems:
    """Return a key and a message for every name that cannot be used; `meanwhile` is called in between."""
    return ask_apart(check, used, meanwhile)


def untrainable_on_one_apart(content: str) -> list[str]:
    """Return the branches of a search space, given as JSON, that cannot be trained on a single image."""
    return ask_apart(untrainable_on_one, content, lambda: None)


def backbones_out_of_reach_apart(content: str) -> list[str]:
    """Return the backbones of a search space, given as JSON, that cannot get their weights from the model hub now."""
    return ask_apart(backbones_out_of_reach, content, lambda: None)


def ask_apart(question: Callable[[A], T], about: A, meanwhile: Callable[[], object]) -> T:
    """Return the answer to a question that needs torch, from a process of its own."""
    if "torch" in sys.modules:  # there is nothing to be spared
        return question(about)
    prepare_processes()
    meanwhile()
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = start_prepared(_answer, (theirs, question, about), "sweeper-names")
    theirs.close()
    try:
        answer: T = ours.recv()
    except EOFError:  # it was killed, or failed as this process is to fail
        return question(about)
    finally:
        process.kill()
        process.join()
        ours.close()
    return answer


def defining_files_apart(names: tuple[str, ...], model_files: tuple[str, ...]) -> dict[str, str | None]:
    """Return the model file that defines each architecture, None where timm does; those that nobody knows are left out.

    Raises ConfigError for a model file that cannot be loaded.
    """
    return ask_apart(defining_files, (names, model_files), lambda: None)


def defining_files(asked: tuple[tuple[str, ...], tuple[str, ...]]) -> dict[str, str | None]:
    from sweeper.modeling.registry import backbone_problems, defined_in, load_model_files

    names, model_files = asked
    load_model_files(model_files)
    return {name: defined_in(name, model_files) for name in names if not backbone_problems(name)}


def normalizations_apart(networks: tuple[TrialConfig, ...], model_files: tuple[str, ...]) -> list[Normalization]:
    """Return the means and standard deviations that images are normalised with for each network.

    Raises ConfigError for a model file that cannot be loaded, ModelError for a network that cannot be built.
    """
    return ask_apart(normalizations, (networks, model_files), lambda: None)


def normalizations(asked: tuple[tuple[TrialConfig, ...], tuple[str, ...]]) -> list[Normalization]:
    from sweeper.modeling.backbones import build_backbone
    from sweeper.modeling.registry import load_model_files

    networks, model_files = asked
    load_model_files(model_files)
    return [build_backbone(each.backbone, False, each.image_size)[2:] for each in networks]


def save_together_apart(files: tuple[Path, ...], into: Path) -> None:
    """Write the weights of several classifiers as those of their ensemble. Raises ModelError."""
    ask_apart(save_together, (files, into), lambda: None)


def save_together(asked: tuple[tuple[Path, ...], Path]) -> None:
    from sweeper.modeling.ensemble import save_members

    save_members(*asked)


def check(used: NamesUsed) -> Problems:
    from sweeper.modeling.registry import check_names

    named = check_names(
        used.backbones,
        used.optimizers,
        used.model_files,
        used.pretrained,
        decoder=used.decoder,
        drop_path=used.drop_path,
    )
    return [*named, *_missing_exports(used), *_missing_devices(used)]


def _missing_exports(used: NamesUsed) -> Problems:
    """Return which teachers are no folders of exports; those of studies the study itself looks up."""
    from sweeper.modeling.registry import is_file

    folders = [(key, name) for key, name in used.teachers if name != "none" and not name.startswith(PREFIX)]
    rule = "is not the folder of an export, which has a config.json"
    advice = "name one, study:NAME/best or study:NAME/ensemble"
    return [(key, f"{name} {rule}; {advice}") for key, name in folders if not is_file(ExportFolder(Path(name)).config)]


def _missing_devices(used: NamesUsed) -> Problems:
    """Return what is wrong with a device that is named; a name of no device the search space's own rules refuse."""
    import torch

    gpus = torch.cuda.device_count()
    found: Problems = []
    for key, name in used.device:
        kind, _, index = name.partition(":")
        if kind == "cuda" and int(index if index.isdecimal() else 0) >= gpus:
            there = f"torch sees {gpus} CUDA devices on this machine" if gpus else "torch sees no CUDA device here"
            found.append((key, f"{name} was asked for and {there}; use auto or cpu, or look at `sweeper doctor`"))
        if kind == "mps" and not torch.backends.mps.is_available():
            found.append((key, "mps was asked for and torch sees none; use auto or cpu"))
    return found


def untrainable_on_one(content: str) -> list[str]:
    from sweeper.modeling import single_images

    return single_images.untrainable_on_one(content)


def backbones_out_of_reach(content: str) -> list[str]:
    from sweeper.modeling import hub_weights

    return hub_weights.backbones_out_of_reach(content)


def _answer(connection: Connection, question: Callable[[A], T], about: A) -> None:
    live_with_parent()
    connection.send(question(about))
