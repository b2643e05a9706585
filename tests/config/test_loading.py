"""A search-space file becomes a SweepConfig, or every mistake in it is reported at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.config.bounds import duration
from sweeper.config.loading import load_sweep
from sweeper.config.names_to_check import NamesUsed
from sweeper.config.sweep import SweepConfig
from sweeper.errors import ConfigError, Problem

MINIMAL = "study: s\ndataset: {builtin: digits}\nsearch: {backbone: resnet18}\n"


def problems_of(tmp_path: Path, text: str, overrides: list[str] | None = None) -> list[Problem]:
    file = tmp_path / "space.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_sweep(file, overrides or [])
    return list(caught.value.problems)


def load(tmp_path: Path, text: str, overrides: list[str] | None = None) -> SweepConfig:
    file = tmp_path / "space.yaml"
    file.write_text(text, encoding="utf-8")
    return load_sweep(file, overrides or [])


def test_a_minimal_space_gets_defaults(tmp_path: Path) -> None:
    sweep = load(tmp_path, MINIMAL)
    assert sweep.sampler.name == "tpe"
    assert sweep.search.optimizer.name == "adamw"


def test_every_mistake_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    text = """study: a/b
dataset: {builtin: digits, layuot: csv}
budget: {trials: 0}
sampler: {name: tpee}
search:
  backbone: resnet18
  head: {hidden: [-1], nrom: batch}
  optimizer:
    choice:
      - {name: adam, lr: -1}
      - {name: sgd, momentun: 0.9}
  scheduler: {name: cosin}
  weight_decay: {float: [1, 0.1]}
"""
    told = {(problem.where.rpartition(":")[2], problem.key) for problem in problems_of(tmp_path, text)}
    assert told == {
        ("1", "study"),
        ("2", "dataset.layuot"),
        ("3", "budget.trials"),
        ("4", "sampler"),
        ("7", "search.head.hidden[0]"),
        ("7", "search.head.nrom"),
        ("10", "search.optimizer.choice[0].lr"),
        ("11", "search.optimizer.choice[1].momentun"),
        ("12", "search.scheduler"),
        ("13", "search.weight_decay.float"),
    }


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("budjet: {trials: 3}", "did you mean budget?"),
        ("sampler: tpee", "did you mean tpe?"),
        ("pruner: {name: patient, pruner: {name: medan}}", "did you mean median?"),
        ("objective: {metric: val/acuracy}", "did you mean val/accuracy?"),
        ("dataset: {builtin: digits, layot: csv}", "did you mean layout?"),
        ("search: {backbone: r, epochs: 10}", "did you mean budget.epochs?"),
        ("search: {backbone: r, augmentation: {flip: true}}", "did you mean augment?"),
        ("search: {backbone: r, decay: 0.1}", "did you mean weight_decay?"),
        ("name: mine", "did you mean study?"),
        ("workers: 4", "it is an option of the command, --workers"),
        ("dataset: {folder: photos}", "did you mean path?"),
        ("dataset: {path: d, images: photos}", "did you mean dataset.csv.images?"),
        ("dataset: {path: d, train_images: 100}", "did you mean dataset.limit.train_images?"),
        ("search: {backbone: r, scheduler: {name: step, gamma: 0.5}}", "did you mean factor?"),
    ],
)
def test_the_nearest_valid_name_is_offered(tmp_path: Path, line: str, hint: str) -> None:
    key = line.split(":")[0]
    kept = "".join(f"{other}\n" for other in MINIMAL.splitlines() if not other.startswith(key))
    (problem,) = problems_of(tmp_path, f"{kept}{line}\n")
    assert hint in problem.message


def test_a_key_of_what_is_written_by_its_name_alone_is_set_beside_the_name(tmp_path: Path) -> None:
    text = "study: s\ndataset: {builtin: digits}\nsearch: {backbone: resnet18, scheduler: cosine, optimizer: sgd}\n"
    search: Any = load(tmp_path, text, ["search.scheduler.min_lr=0.001", "search.optimizer.momentum=0.5"]).search
    assert (search.scheduler.name, search.scheduler.min_lr) == ("cosine", 0.001)
    assert (search.optimizer.name, search.optimizer.momentum) == ("sgd", 0.5)
    drawn: Any = load(tmp_path, text, ["search.backbone.choice=[resnet18, resnet50]"]).search
    assert drawn.backbone.choice == ("resnet18", "resnet50")


def test_another_engine_takes_none_of_the_settings_of_the_one_in_the_file(tmp_path: Path) -> None:
    text = f"{MINIMAL}engine: {{name: ray, address: auto, cpus_per_trial: 4}}\n"
    kept: Any = load(tmp_path, text, ["engine.name=ray", "engine.shared=there"]).engine
    assert (kept.cpus_per_trial, kept.shared) == (4, "there")
    assert load(tmp_path, text, ["engine.name=local"]).engine.name == "local"
    assert load(tmp_path, text, ["engine.name=simulate", "engine.seed=3"]).engine.name == "simulate"


def test_a_key_inside_a_choice_cannot_be_set_alone_and_the_answer_says_what_can(tmp_path: Path) -> None:
    text = MINIMAL.replace("resnet18", "r, optimizer: {choice: [{name: sgd, momentum: 0.9}, {name: adamw, lr: 0.1}]}")
    (problem,) = problems_of(tmp_path, text, ["search.optimizer.lr=0.01"])
    assert (problem.where, problem.key) == ("--set search.optimizer.lr=0.01", "search.optimizer.lr")
    rule, _, remedy = problem.message.partition("--set ")
    assert "cannot be set alone" in rule
    assert remedy == "'search.optimizer={name: adamw, lr: 0.01}'"
    assert load(tmp_path, text, [remedy.strip("'")]).search.optimizer.lr == 0.01


@pytest.mark.parametrize(
    ("line", "key", "written"),
    [
        ("budget.trials: 3", "budget.trials", "budget: {trials: ...}"),
        ("enqueue: {first: {head.dropout: 0.1}}", "enqueue.first.head.dropout", "head: {dropout: ...}"),
        ("enqueue: {first: {head.a.b: 1}}", "enqueue.first.head.a.b", "head: {a: {b: ...}}"),
    ],
)
def test_a_key_with_dots_is_shown_in_levels(tmp_path: Path, line: str, key: str, written: str) -> None:
    (problem,) = problems_of(tmp_path, f"{MINIMAL}{line}\n")
    assert problem.key == key
    assert problem.message == f"unknown key: write it in levels, {written}"


def test_a_key_that_ends_in_a_dot_is_an_unknown_one(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, f"{MINIMAL}budget.: 3\n")
    assert "levels" not in problem.message
    assert problem.message.startswith("unknown key")


def test_an_unknown_key_of_an_enqueued_configuration_is_told_as_one_of_the_search(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, f"{MINIMAL}enqueue: {{first: {{optimiser: adamw}}}}\n")
    assert problem.message == "unknown key: did you mean optimizer?"
    (problem,) = problems_of(tmp_path, f"{MINIMAL}enqueue: {{first: {{weight_decay: 0.5}}}}\n")
    assert problem.message.endswith("; change it here, or widen it under `search`")


@pytest.mark.parametrize(
    ("search", "key", "hint"),
    [
        ("weight_decay: {float: [0.1, 0.2], lg: true}", "search.weight_decay.lg", "did you mean log?"),
        ("batch_size: {choice: [4, 8], log: true}", "search.batch_size.log", "unknown key beside `choice`; remove it"),
        ("head: {choice: [{hidden: []}], nrom: batch}", "search.head.nrom", "write it into its options"),
    ],
)
def test_a_key_beside_those_of_a_distribution_is_named(tmp_path: Path, search: str, key: str, hint: str) -> None:
    (problem,) = problems_of(tmp_path, MINIMAL.replace("resnet18", f"r, {search}"))
    assert problem.key == key
    assert hint in problem.message


def test_bounds_of_a_field_hold_for_both_ends_of_a_range_and_for_choices(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "{backbone: resnet18}", "{backbone: r, drop_rate: {float: [0, 2]}, batch_size: {choice: [8, 0]}}"
    )
    told = {problem.key: problem.message for problem in problems_of(tmp_path, text)}
    assert "should be less than 1, got 2" in told["search.drop_rate.float"]
    assert "should be at least 1, got 0" in told["search.batch_size.choice[1]"]


def test_a_logarithmic_range_from_zero_is_refused(tmp_path: Path) -> None:
    text = MINIMAL.replace("resnet18", "r, weight_decay: {float: [0, 1], log: true}")
    (problem,) = problems_of(tmp_path, text)
    assert "above 0" in problem.message


def test_scientific_notation_without_a_dot_is_a_number(tmp_path: Path) -> None:
    sweep = load(tmp_path, MINIMAL.replace("resnet18", "r, optimizer: {name: adam, lr: 1e-4}"))
    assert sweep.search.optimizer.lr == 1e-4


@pytest.mark.parametrize(
    "override", ["search.batch_size=1:30", "budget.timeout=1:30", "budget.for=2:00", "seed=0b11", "seed=1_0:30"]
)
def test_what_only_old_yaml_takes_for_a_number_is_refused(tmp_path: Path, override: str) -> None:
    (problem,) = problems_of(tmp_path, MINIMAL, [override])
    assert f"got '{override.partition('=')[2]}'" in problem.message


def test_a_leading_zero_means_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL, ["search.batch_size=020"]).search.batch_size == 20


def test_an_override_changes_one_of_two_values_that_were_written_as_one(tmp_path: Path) -> None:
    text = "search:\n  backbone: r\n  weight_decay: &range {float: [0.001, 0.1]}\n  label_smoothing: *range\n"
    text = f"study: s\ndataset: {{path: d}}\n{text}"
    search = load(tmp_path, text, ["search.weight_decay.float=[0.5, 0.9]"]).search
    assert search.weight_decay.bounds == (0.5, 0.9)
    assert search.label_smoothing.bounds == (0.001, 0.1)


def test_a_time_is_a_number_of_seconds_in_text_too() -> None:
    assert duration("90") == duration(90) == duration("90s") == duration("1.5m") == 90


def test_duplicate_keys_are_reported_with_both_lines(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, MINIMAL + "study: t\n")
    assert "first in line 1" in problem.message


def test_an_override_replaces_any_key_and_is_blamed_for_its_mistakes(tmp_path: Path) -> None:
    sweep = load(
        tmp_path, MINIMAL, ["search.batch_size=64", "search.head.hidden=[8, {int: [4, 16]}]", "budget.timeout=2h"]
    )
    assert sweep.search.batch_size == 64
    assert sweep.budget.timeout == 7200
    (problem,) = problems_of(tmp_path, MINIMAL, ["search.batch_size=many"])
    assert problem.where == "--set search.batch_size=many"


def test_an_override_without_a_value_is_explained(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, MINIMAL, ["search.batch_size"])
    assert "KEY=VALUE" in problem.message


def test_names_are_checked_where_they_stand_once_all_else_is_right(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    right = "study: s\ndataset: {builtin: digits}\nsearch:\n  backbone:\n    choice:\n    - resnet5O\n"
    asked: list[str] = []

    def check(used: NamesUsed) -> list[tuple[str, str]]:
        asked.append("")
        return [(key, f"unknown {name}") for key, name in used.backbones]

    for text, told in (
        (right, f"{file}:6: search.backbone.choice[0]: unknown resnet5O"),
        (f"{right}  batch_size: x\n", f"{file}:7: search.batch_size: should be"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_sweep(file, check_names=check)
        (problem,) = caught.value.problems
        assert str(problem).startswith(told)
    assert len(asked) == 1, "loading torch for it takes seconds"


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "just words", "a: [", "&a [*a]", "a: !!python/object:os.system {}", "\0"]
)
def test_what_is_not_a_search_space_is_reported_with_the_file(tmp_path: Path, text: str) -> None:
    for problem in problems_of(tmp_path, text):
        assert "space.yaml" in problem.where


def test_a_missing_file_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(MINIMAL)
    with pytest.raises(ConfigError, match=r"did you mean .*quickstart\.yaml"):
        load_sweep(tmp_path / "quikstart.yaml")


def test_bytes_that_are_not_text_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_sweep(file)


scalars = st.none() | st.booleans() | st.integers(-10, 10**6) | st.floats(allow_nan=False) | st.text(max_size=8)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "choice", "float", "int", "lr", "adam", "hidden", "log"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
keys = st.sampled_from(
    [
        "search.optimizer",
        "search.head",
        "search.batch_size",
        "search.scheduler",
        "sampler",
        "pruner",
        "budget",
        "dataset",
    ]
)


@given(key=keys, tree=trees)
def test_any_value_anywhere_is_taken_or_answered_with_a_place_and_a_rule(
    tmp_path_factory: pytest.TempPathFactory, key: str, tree: object
) -> None:
    file = tmp_path_factory.mktemp("any") / "space.yaml"
    content = yaml.safe_load(MINIMAL)
    owner = content
    *parents, last = key.split(".")
    for parent in parents:
        owner = owner[parent]
    owner[last] = tree
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        load_sweep(file)
    except ConfigError as error:
        for problem in error.problems:
            assert problem.where.startswith(str(file))
            assert problem.message


SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
PIECES = st.sampled_from(
    ["", "\t", "\n", " ", ":", "- ", "{", "}", "[", "]", "&a ", "*a", "<<: *a", "!!bool ", "!x ", "'", '"']
)
EDITS = st.lists(
    st.tuples(
        st.integers(0, 4000), st.integers(0, 12), PIECES | st.text(max_size=4) | st.sampled_from(["0b_", "1e999"])
    ),
    min_size=1,
    max_size=5,
)


YAML_LINE = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what ends a line in YAML 1.1


@settings(max_examples=100, deadline=None)
@given(space=st.sampled_from(SPACES), edits=EDITS)
def test_any_edit_of_a_real_search_space_is_taken_or_answered_with_a_line_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, space: Path, edits: list[tuple[int, int, str]]
) -> None:
    text = space.read_text(encoding="utf-8")
    for place, removed, inserted in edits:
        text = text[:place] + inserted + text[place + removed :]
    file = tmp_path_factory.mktemp("edit") / "space.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    problems: tuple[Problem, ...] = ()
    try:
        load_sweep(file)
    except ConfigError as error:
        problems = error.problems
    lines = len(YAML_LINE.split(file.read_text(encoding="utf-8")))
    for problem in problems:
        line = problem.where.removeprefix(str(file)).removeprefix(":")
        assert line == "" or 1 <= int(line) <= lines
        assert problem.message


@settings(max_examples=100, deadline=None)
@given(assignment=st.text(max_size=12) | st.tuples(keys, st.text(max_size=12)).map("=".join))
def test_any_override_is_taken_or_answered_with_its_text(
    tmp_path_factory: pytest.TempPathFactory, assignment: str
) -> None:
    file = tmp_path_factory.mktemp("set") / "space.yaml"
    file.write_text(MINIMAL)
    problems: tuple[Problem, ...] = ()
    try:
        load_sweep(file, [assignment])
    except ConfigError as error:
        problems = error.problems
    assert all(assignment in problem.where for problem in problems)


def test_an_enqueued_configuration_outside_the_space_is_reported_with_line_and_both_remedies(
    tmp_path: Path,
) -> None:
    text = """study: s
dataset: {builtin: digits}
search: {backbone: {choice: [a, b]}, weight_decay: {float: [0, 0.1]}}
enqueue:
  mine:
    backbone: c
    weight_decay: 0.05
  other: {weight_decay: 0.5, drop: 1}
"""
    told = [(problem.where.rpartition(":")[2], problem.key) for problem in problems_of(tmp_path, text)]
    assert told == [
        ("6", "enqueue.mine.backbone"),
        ("8", "enqueue.other.weight_decay"),
        ("8", "enqueue.other.drop"),
    ]
    message = problems_of(tmp_path, text)[0].message
    assert message == "'c' is not among the options a, b; change it here, or widen it under `search`"


def test_objectives_that_exclude_something_are_reported_at_their_line(tmp_path: Path) -> None:
    text = MINIMAL + "pruner: median\nobjectives: [val/accuracy, parameters]\n"
    (problem,) = problems_of(tmp_path, text)
    assert (problem.where.rpartition(":")[2], problem.key) == ("4", "pruner")
    assert "use promote, which compares them by several, in place of median" in problem.message
    (problem,) = problems_of(tmp_path, MINIMAL + "objectives: [val/accuracy, speed]\n")
    assert problem.key == "objectives[1].metric"
    assert "parameters" in problem.message
