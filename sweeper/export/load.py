"""An exported classifier, back from its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.errors import ConfigError, ExportError, ModelError
from sweeper.export.export_config import ExportConfig, read_config
from sweeper.export.seal import require_as_written
from sweeper.modeling.autoencoder import Autoencoder, build_autoencoder
from sweeper.modeling.classifier import Classifier, build_classifier
from sweeper.modeling.ensemble import AnyClassifier, Ensemble
from sweeper.modeling.registry import backbone_problems, load_model_files
from sweeper.paths import ExportFolder
from sweeper.safeguards.printable import one_line

T = TypeVar("T", bound=nn.Module)


@dataclass(frozen=True)
class LoadedExport:
    """A classifier in inference mode, on the CPU, and what config.json says of it."""

    classifier: AnyClassifier
    config: ExportConfig


def load_export(folder: Path) -> LoadedExport:
    """Build the network of an export and load its weights.

    The model files of the export are code and are run; its weights are safetensors, which are not.

    Raises:
        ExportError: the folder is not an export, or its parts do not fit each other.
    """
    files = ExportFolder(folder)
    config = read_config(files.config)
    try:
        load_model_files([files.inside(name) for name in config.model_files])
    except (ConfigError, OSError) as error:
        raise ExportError(f"the model files of {folder} cannot be loaded: {error}") from error
    _require_known([network.backbone for network in config.networks()], files)
    _require_sizes(config, files)
    classifier = load_network(config.networks(), len(config.classes), files.weights)
    require_as_written(files.weights, config.digests.get(files.weights.name))
    return LoadedExport(classifier, config)


def _require_known(architectures: Sequence[str], files: ExportFolder) -> None:
    """Raise ExportError for architectures that are not known here: none is asked for on the network."""
    problems = [problem for name in architectures for problem in backbone_problems(name)]
    if problems:
        raise ExportError(
            f"{files.config}: {one_line(problems[0][:200])}; an export brings architectures of its own as model files"
        )


def _require_sizes(config: ExportConfig, files: ExportFolder) -> None:
    """Raise ExportError, before memory is taken for them, for sizes of layers that the weights do not have."""
    try:
        files.weights.open("rb").close()  # whose error says why, which that of safetensors does not
        with safe_open(files.weights, framework="np") as tensors:
            sizes = {size for name in tensors.keys() for size in tensors.get_slice(name).get_shape()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{files.weights} cannot be read: {error}; check that the file is there and whole") from error
    wanted = {len(config.classes), *(size for network in config.networks() for size in network.head.hidden)}
    if wanted - sizes:
        raise ExportError(
            f"{files.weights} does not fit {config.architecture} with this head: no layer in it has the size "
            f"{max(wanted - sizes):,}; check that it belongs to this config.json"
        )


def load_classifier(network: TrialConfig, classes: int, weights: Path) -> Classifier:
    """Build a network and load all of its weights from a safetensors file; inference mode, on the CPU.

    Raises:
        ExportError: the network cannot be built, or the file is not its weights.
    """
    return _filled(lambda: build_classifier(network, classes, load_weights=False), network.backbone, weights)


def load_network(networks: Sequence[TrialConfig], classes: int, weights: Path) -> AnyClassifier:
    """Load one network, or an ensemble of several, whose weights are in one file. Raises ExportError as above."""
    if len(networks) == 1:
        return load_classifier(networks[0], classes, weights)
    names = ", ".join(network.backbone for network in networks)

    def build() -> Ensemble:
        return Ensemble([build_classifier(network, classes, load_weights=False) for network in networks])

    return _filled(build, names, weights)


def load_autoencoder(network: TrialConfig, weights: Path) -> Autoencoder:
    """Build an autoencoder likewise. Raises ExportError as above."""
    return _filled(lambda: build_autoencoder(network, load_weights=False), network.backbone, weights)


def _filled(build: Callable[[], T], name: str, weights: Path) -> T:
    """Build a network and fill it with the weights in a file; messages call it `name`."""
    try:
        network = build()
        network.load_state_dict(load_file(weights))
    except ModelError as error:
        raise ExportError(f"the network of {weights} cannot be built: {error}") from error
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{weights} cannot be read: {error}; check that the file is there and whole") from error
    except RuntimeError as error:  # torch's word for keys or shapes that differ
        raise ExportError(
            f"{weights} does not fit {name} with this head: {error}; "
            "check that the model file is the one the trial was trained with"
        ) from error
    return network.eval()
