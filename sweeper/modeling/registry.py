"""Which names a search space may use: architectures, optimizers, and the files behind them.

A model file is plain Python that registers architectures with timm. It is code and runs with the
rights of whoever starts the sweep.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import timm
import timm.optim
import torch
from timm.models import get_deprecated_models, model_entrypoint, register_model

from sweeper.config.nearest_name import meant
from sweeper.config.optimizer import OWN_OPTIMIZERS
from sweeper.config.weights import PREFIX
from sweeper.errors import ConfigError, ModelError, Problem
from sweeper.modeling.backbones import create
from sweeper.modeling.weights import read_weights

Named = Sequence[tuple[str, str]]
"""Pairs of a key in the search space and the value that stands there."""

Entrypoint = Callable[..., Any]


def load_model_files(paths: Sequence[str | Path]) -> None:
    """Import model files, so that the architectures they register can be built by name.

    A file that this process has loaded already, or a copy of it, is left alone.

    Raises:
        ConfigError: with one problem for every file that is missing, fails or registers a taken name.
    """
    problems = [problem for path in paths for problem in load_model_file(Path(path))]
    if problems:
        raise ConfigError(problems)


def load_model_file(path: Path) -> list[Problem]:
    """Import one model file and return what is wrong with it."""
    if not is_file(path):
        return [Problem(str(path), "", missing_file(path))]
    name = module_name(path)
    if name in sys.modules:
        return []
    before = entrypoints()
    problems = execute(name, path) or taken_names(name, path, before)
    if problems:
        give_back(before)
        del sys.modules[name]
    return problems


def module_name(path: Path) -> str:
    """Return a module name that is the same in every process and for every copy of the file, whatever it is called."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return f"sweeper_model_file_{digest}"


def defined_in(name: str, model_files: Sequence[str]) -> str | None:
    """Return which of these files, which are loaded, defines an architecture that is known; None where none does."""
    module = model_entrypoint(name.partition(".")[0]).__module__
    return next((file for file in model_files if module_name(Path(file)) == module), None)


def execute(name: str, path: Path) -> list[Problem]:
    module = new_module(name, path)
    # timm's register_model looks the module up while the file is still being executed.
    sys.modules[name] = module
    try:
        with warnings.catch_warnings():
            # timm only warns of a taken name, in the file's name; `taken_names` refuses it.
            warnings.filterwarnings("ignore", category=UserWarning, module=name)
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 (it is what the user asks for)
    except (Exception, SystemExit) as error:  # whatever the user's code raises is the user's to see
        return [Problem(f"{path}:{line_of(error, path)}", "", f"{type(error).__name__}: {message_of(error)}")]
    return []


def new_module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    if spec is None:
        raise ImportError(f"cannot make a module of {path}")
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path.resolve())
    return module


def message_of(error: BaseException) -> str:
    """Return an error's text; a syntax error's without the place, which is shown already."""
    return str(error.msg) if isinstance(error, SyntaxError) else str(error)


def line_of(error: BaseException, path: Path) -> int:
    """Return the line of `path` in which an error arose."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    own_syntax = isinstance(error, SyntaxError) and error.filename == str(path)
    return (error.lineno if own_syntax else lines[-1] if lines else None) or 1  # type: ignore[attr-defined]


def entrypoints() -> dict[str, Entrypoint]:
    """Return every architecture that timm knows now, with the function that builds it."""
    return {name: model_entrypoint(name) for name in timm.list_models()}


def taken_names(name: str, path: Path, before: dict[str, Entrypoint]) -> list[Problem]:
    """Refuse names that others had registered before.

    A file that was edited since this process loaded it takes the place of what it was.
    """
    after = entrypoints()
    owned = {key: old for key, old in before.items() if old.__module__ in sys.modules}  # not by a file that failed
    changed = {key: old for key, old in owned.items() if after[key] is not old and old.__module__ != name}
    former = {old.__module__ for old in changed.values() if _file_of(old) == str(path.resolve())}
    taken = [key for key, old in changed.items() if old.__module__ not in former]
    for module in former if not taken else ():
        del sys.modules[module]
    return [Problem(f"{path}:{first_line(after[key])}", "", taken_message(key, before[key])) for key in taken]


def give_back(before: dict[str, Entrypoint]) -> None:
    """Give every name that a refused file has registered back to its owner."""
    after = entrypoints()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the one that `execute` silences too
        for key, owner in before.items():
            if after[key] is not owner and owner.__module__ in sys.modules:
                register_model(owner)


def first_line(function: Entrypoint) -> int:
    code = getattr(function, "__code__", None)
    return code.co_firstlineno if code else 1


def taken_message(name: str, owner: Entrypoint) -> str:
    file = _file_of(owner) or owner.__module__
    return f"the architecture name {name!r} is taken by {file}; rename the function"


def _file_of(owner: Entrypoint) -> str | None:
    file: str | None = getattr(sys.modules.get(owner.__module__), "__file__", None)
    return file


def check_names(
    backbones: Named,
    optimizers: Named,
    model_files: Named,
    pretrained: Sequence[tuple[str, bool | str]],
    *,
    decoder: bool = False,
    drop_path: bool = False,
) -> list[tuple[str, str]]:
    """Load the model files and return a (key, message) pair for every name that stands for nothing.

    Args:
        backbones: Architecture names, with or without a pretrained tag (`resnet50.a1_in1k`).
        optimizers: Optimizer names; those with settings of their own are torch's, the others timm's.
        model_files: Files to load first, since they define further architectures.
        pretrained: Booleans, which are always right, references to studies, which the study itself looks up,
            and paths of files, which must hold weights.
        decoder: Architectures must be able to give images back.
        drop_path: They must have blocks that can be left out.
    """
    problems = [(key, message) for key, file in model_files for message in model_file_problems(Path(file))]
    problems += [(key, message) for key, name in backbones for message in backbone_problems(name)]
    problems += [(key, message) for key, name in optimizers for message in optimizer_problems(name)]
    if decoder and not problems:
        problems += [(key, message) for key, name in backbones for message in decoder_problems(name)]
    if drop_path and not problems:
        problems += [(key, message) for key, name in backbones for message in drop_path_problems(name)]
    weights = [
        (key, Path(value)) for key, value in pretrained if isinstance(value, str) and not value.startswith(PREFIX)
    ]
    return problems + [(key, message) for key, path in weights for message in weights_problems(path)]


def model_file_problems(path: Path) -> list[str]:
    if not is_file(path):
        return [missing_file(path)]
    return [str(problem) for problem in load_model_file(path)]


def backbone_problems(name: str) -> list[str]:
    renamed = get_deprecated_models()
    if name in renamed:
        return [f"{name}: timm calls it {renamed[name]} now" if renamed[name] else f"{name}: timm has removed it"]
    architectures = timm.list_models()
    tagged = timm.list_models(include_tags=True)
    if name in architectures or name in tagged:
        return []
    return [f"unknown architecture {suggestion(name, tagged if '.' in name else architectures)}"]


def decoder_problems(name: str) -> list[str]:
    advice = "name one that reconstructs, such as those of models/cifar10_autoencoder.py"
    try:
        module = timm.create_model(name, num_classes=0, decoder=True)
    except Exception as error:  # mostly a TypeError, of whatever the architecture does with arguments it has not
        return [f"{name} cannot be built with a decoder ({error}); {advice}"]
    return [] if callable(getattr(module, "decode", None)) else [f"{name} has no decoder; {advice}"]


def drop_path_problems(name: str) -> list[str]:
    try:
        create(name, False, {"drop_path_rate": 0.1})
    except ModelError as error:
        return [str(error)]
    return []


def optimizer_problems(name: str) -> list[str]:
    if name in OWN_OPTIMIZERS:
        return []
    known = [str(known) for known in timm.optim.list_optimizers()]  # type: ignore[attr-defined]
    if name not in known:
        return [f"unknown optimizer {suggestion(name, [*OWN_OPTIMIZERS, *known])}"]
    if timm.optim.get_optimizer_info(name).second_order:  # type: ignore[attr-defined]
        return [f"optimizer {name} needs second derivatives, which the trainer does not make; choose another"]
    try:
        weight = torch.nn.Parameter(torch.ones(2, 2))
        timm.optim.create_optimizer_v2([weight], opt=name, lr=0.1)  # type: ignore[attr-defined]
    except Exception as error:  # third-party code says in many ways that a package or a device is missing
        return [f"optimizer {name} cannot be used here: {error}"]
    return []


def weights_problems(path: Path) -> list[str]:
    if not is_file(path):
        return [missing_file(path)]
    try:
        read_weights(path)
    except ModelError as error:
        return [str(error)]
    return []


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that must not be read
        return False


def missing_file(path: Path) -> str:
    try:
        beside = [str(path.parent / file.name) for file in path.parent.iterdir() if file.is_file()]
    except OSError:
        beside = []
    return f"no such file: {suggestion(str(path), beside)}"


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return `name`, and the valid one that was meant where that can be guessed."""
    return f"{name}{meant(name, valid)}"
