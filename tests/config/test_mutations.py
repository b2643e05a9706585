"""Search spaces with a mistake put in: every place of real files and of one that names every key, by fixed seeds."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.loading import load_sweep
from sweeper.config.wording import UNKNOWN
from sweeper.errors import ConfigError, Problem

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
ACCEPTED = Path(__file__).with_name("accepted_mutations.txt")
FILES = 900
ODD: dict[str, Any] = {
    "nothing": None,
    "true": True,
    "no": "no",
    "negative": -1,
    "zero": 0,
    "1e-300": 1e-300,
    "half": 0.5,
    "1e4": 10_000,
    "1e7": 10_000_000,
    "2^62": 2**62,
    "1e12": 1e12,
    "1e300": 1e300,
    "infinity": float("inf"),
    "not a number": float("nan"),
    "empty text": "",
    "long text": "9" * 5000,
    "a list": [0.9, False],
    "a mapping": {"name": "x"},
    "equal options": {"choice": [1, 1]},
    "a range backwards": {"float": [2, 1]},
    "a huge range": {"int": [0, 2**62]},
}
WHOLE: dict[str, Any] = {
    "study": "s",
    "dataset": {"path": "d", "val_fraction": 0.2, "test_fraction": 0.1, "split_seed": 1, "stored_size": 32, "bits": 12}
    | {"folds": None}
    | {"limit": {"classes": 3, "train_images": 9, "val_images": 9, "test_images": 9}},
    "budget": {"trials": 90, "epochs": 9, "timeout": "8h", "patience": 3, "stuck_after": 60}
    | {"stop_when": {"gain": 0.01, "trials": 30}}
    | {"max_consecutive_failures": 5},
    "features": {"cache": True, "views": 4, "fuse": 8},
    "sampler": {"name": "tpe"},
    "pruner": {"name": "patient", "patience": 2, "min_delta": 0.1}
    | {"pruner": {"name": "hyperband", "min_epochs": 1, "reduction_factor": 3}},
    "notify": {"command": "notify-send sweeper", "webhook": None},
    "seed": 1,
    "device": "cpu",
    "devices_per_trial": 1,
    "search": {
        "backbone": "resnet10t",
        **TrialConfig(backbone="resnet10t").model_dump(mode="json", exclude={"backbone"}),
    }
    | {"gradient_clip": 1.0}
    | {"teacher": {"name": "study:big/best", "temperature": 2.0, "weight": 0.5}}
    | {"head": {"hidden": [64], "activation": "relu", "dropout": 0.1, "norm": "none"}},
}

Place = tuple[str | int, ...]


def places(node: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the place of every value of a document, and of the parts that hold others."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield (*place, key)
        yield from places(value, (*place, key))


def put(document: Any, place: Place, value: Any) -> Any:
    """Return a copy with another value in a place."""
    changed = copy.deepcopy(document)
    owner = changed
    for part in place[:-1]:
        owner = owner[part]
    owner[place[-1]] = value
    return changed


def answer(file: Path, text: str) -> tuple[Problem, ...]:
    """Return all that is said about a search space."""
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        load_sweep(file)
    except ConfigError as error:
        return error.problems
    return ()


def require_plain_words(problem: Problem, file: Path, what: str) -> None:
    """A problem has a line, one line of words, and none of a library's."""
    line = problem.where.removeprefix(f"{file}:")
    assert line.isdecimal(), (what, problem)
    assert problem.message, what
    foreign = (
        *("Input", "Value error", "pydantic", "valid integer", "valid string", "valid boolean", UNKNOWN, "\n"),
        *("regex", "regular expression:", "(?", "\\d", "[a-z]", "should match", "NoneType", "<class"),
    )
    assert not [word for word in foreign if word in problem.message], (what, problem)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Problem, ...]]:
    """Every odd value in every place of the space that names every key."""
    file = tmp_path_factory.mktemp("mutated") / "space.yaml"
    found = {}
    for place in places(WHOLE):
        for name, value in ODD.items():
            what = f"{'.'.join(map(str, place))} = {name}"
            found[what] = answer(file, yaml.safe_dump(put(WHOLE, place, value), sort_keys=False))
            for problem in found[what]:
                require_plain_words(problem, file, what)
    return found


def test_the_space_that_names_every_key_is_a_search_space(tmp_path: Path) -> None:
    assert answer(tmp_path / "space.yaml", yaml.safe_dump(WHOLE)) == ()
    assert set(WHOLE["search"]) == set(TrialConfig.model_fields)


def test_an_odd_value_is_refused_wherever_it_makes_no_sense(answers: dict[str, tuple[Problem, ...]]) -> None:
    """What is taken was read through line by line; a change of the list has to be read likewise."""
    accepted = [what for what, problems in answers.items() if not problems]
    assert accepted == ACCEPTED.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.stem)
def test_a_changed_search_space_is_taken_or_answered_with_a_line_and_plain_words(space: Path, tmp_path: Path) -> None:
    text, document = space.read_text(encoding="utf-8"), yaml.safe_load(space.read_text(encoding="utf-8"))
    all_places = list(places(document))
    for seed in range(FILES // len(SPACES)):
        drawn = random.Random(f"{space.stem} {seed}")
        changed = mutated(drawn, text, document, all_places)
        for problem in answer(tmp_path / "space.yaml", changed):
            require_plain_words(problem, tmp_path / "space.yaml", f"seed {seed}")


def mutated(drawn: random.Random, text: str, document: Any, all_places: list[Place]) -> str:
    """Change a search space in one of the ways in which a hand slips, or a disk."""
    place = drawn.choice(all_places)
    match drawn.randrange(6):
        case 0:
            return yaml.safe_dump(put(document, place, drawn.choice(list(ODD.values()))), sort_keys=False)
        case 1:
            return yaml.safe_dump(put(document, place, at(document, drawn.choice(all_places))), sort_keys=False)
        case 2:
            return yaml.safe_dump(put(document, (*place[:-1], _misspelt(place[-1])), 1), sort_keys=False)
        case 3:
            return text[: drawn.randrange(len(text))]
        case 4:
            where = drawn.randrange(len(text))
            return text[:where] + drawn.choice("\0\t:{}[]*&!'\"#\x85-,é") + text[where + drawn.randrange(3) :]
        case _:
            lines = text.splitlines(keepends=True)
            first, second = drawn.randrange(len(lines)), drawn.randrange(len(lines))
            lines[first], lines[second] = lines[second], lines[first]
            return "".join(lines)


def at(document: Any, place: Place) -> Any:
    for part in place:
        document = document[part]
    return document


def _misspelt(key: str | int) -> str | int:
    return f"{key}s" if isinstance(key, str) else key
