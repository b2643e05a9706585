"""Sweeper as a library: what docs/library.md says is true, and what a program may rely on beside it."""

from __future__ import annotations

import copy
import inspect
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image

import sweeper
from sweeper.library import figures
from sweeper.library.run import run
from tests.functional.program import REPOSITORY

PAGE = (REPOSITORY / "docs" / "library.md").read_text()
SPACE: dict[str, Any] = {
    "study": "s",
    "dataset": {"path": "nowhere"},
    "budget": {"trials": 4, "epochs": 3},
    "search": {"backbone": "test_resnet", "weight_decay": {"float": [0.1, 1]}, "batch_size": {"choice": [16, 32]}},
    "engine": "simulate",
}


def write_photos(folder: Path) -> None:
    """Write images of two classes that differ in brightness, in train/ and val/."""
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 8)):
        for place, name in enumerate(("dark", "light")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 60, (32, 32, 3)) + 180 * place
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{number}.png")


def program(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, as `python -` does."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.run(
        [sys.executable, "-c", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=500
    )


def test_the_public_names_are_those_of_the_page_and_each_explains_itself() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(documented) == sorted(sweeper.__all__)
    for name in documented:
        assert (inspect.getdoc(getattr(sweeper, name)) or "").strip(), name


@pytest.mark.parametrize("kind", [sweeper.Study, sweeper.Trial, sweeper.Export, sweeper.ImageClassifierSweep])
def test_everything_that_a_public_class_offers_explains_itself(kind: type) -> None:
    offered = [name for name in list(vars(kind)) if not name.startswith("_")]
    assert [name for name in offered if not inspect.getdoc(inspect.getattr_static(kind, name))] == []


def test_importing_sweeper_is_quick_and_imports_no_library() -> None:
    code = "import sys, time; t = time.perf_counter(); import sweeper; print(time.perf_counter() - t, *sys.modules)"
    seconds, *modules = program(code, REPOSITORY).stdout.split()
    assert float(seconds) < 0.1
    assert not {"torch", "mlflow", "optuna", "pandas", "pydantic"} & set(modules)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sweeper.nothing  # type: ignore[attr-defined] # noqa: B018


@pytest.mark.slow
def test_the_blocks_of_the_page_run_one_after_the_other(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    write_photos(tmp_path / "more_photos")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    done = program("\n".join(blocks), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "search space: budget.trails: unknown key: did you mean trials?" in done.stdout
    assert "Error" not in done.stderr


@pytest.mark.slow
def test_the_cells_of_the_notebook_run(tmp_path: Path) -> None:
    cells = json.loads((REPOSITORY / "docs" / "notebook.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    done = program("\n".join(code), tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.slow
def test_the_notebook_runs_in_a_kernel_and_shows_its_trials(tmp_path: Path) -> None:
    notebook = nbformat.read(REPOSITORY / "docs" / "notebook.ipynb", 4)
    nbclient.NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = json.dumps(notebook)
    assert "4 of 4 trials" in shown
    assert "application/vnd.plotly" in shown


@pytest.fixture
def in_folder(tmp_path: Path, workspace: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_of_a_dictionary_is_run_read_and_shown(in_folder: Path) -> None:
    told: list[sweeper.EpochFinished | sweeper.TrialFinished] = []
    study = run(SPACE, callbacks=[told.append], workers=2)
    ended = [event for event in told if isinstance(event, sweeper.TrialFinished)]
    assert sorted(event.trial for event in ended) == [0, 1, 2, 3]
    assert len(told) > len(ended)
    table = study.trials
    assert list(table["number"]) == [0, 1, 2, 3]
    assert list(table.columns) == ["number", "state", "value", "epoch", "duration", "weight_decay", "batch_size"]
    assert table["value"].max() == study.best.value
    assert set(study.best.params) == {"weight_decay", "batch_size"}
    assert repr(study) == "<Study s: 4 of 4 trials ended>"
    assert study.trial(2).number == 2


def test_the_same_call_finds_a_study_that_is_done(in_folder: Path) -> None:
    first = run(SPACE)
    again = run(SPACE)
    assert first.trials.equals(again.trials)


def test_the_storage_that_the_environment_names_counts_as_for_the_commands(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{in_folder}/shared.db")
    assert len(run(SPACE).trials) == 4
    assert len(sweeper.open_study("s").trials) == 4
    assert (in_folder / "shared.db").exists()
    assert not (in_folder / "optuna.db").exists()


def test_a_study_runs_in_a_thread_and_leaves_the_signals_alone(in_folder: Path) -> None:
    before = [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)]
    found: list[sweeper.Study] = []
    thread = threading.Thread(target=lambda: found.append(run(SPACE)))
    thread.start()
    thread.join()
    assert len(found[0].trials) == 4
    assert [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt])
def test_what_a_callback_raises_ends_the_run_and_the_same_call_goes_on(
    in_folder: Path, raised: type[BaseException]
) -> None:
    def fail(event: object) -> None:
        if isinstance(event, sweeper.EpochFinished):
            raise raised("enough")

    with pytest.raises(raised, match="enough"):
        run(SPACE, callbacks=[fail])
    assert "running" not in set(sweeper.open_study(SPACE["study"]).trials["state"])
    assert set(run(SPACE).trials["state"]) <= {"complete", "pruned"}


def test_a_run_prints_nothing(in_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(SPACE)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({**SPACE, "budget": {"trails": 2}}, "budget.trails: unknown key: did you mean trials"),
        (7, "should be a path or a dictionary, got int"),
        ("missing.yaml", "search space not found"),
        ({**SPACE, "study": None}, "study"),
    ],
)
def test_a_wrong_search_space_is_a_config_error_that_names_the_key(space: Any, message: str) -> None:
    with pytest.raises(sweeper.ConfigError, match=message):
        sweeper.load_space(space)


def test_a_space_takes_paths_and_tuples_and_is_not_changed(tmp_path: Path) -> None:
    given = {**SPACE, "dataset": {"path": tmp_path}, "search": {"backbone": "test_resnet", "batch_size": 8}}
    loaded = sweeper.load_space(given, ["search.batch_size=16"])
    assert (loaded.dataset.path, loaded.search.batch_size) == (str(tmp_path), 16)
    assert given["search"]["batch_size"] == 8
    assert sweeper.load_space(loaded, ["device=cpu"]).device == "cpu"


@pytest.mark.parametrize(
    ("override", "more"),
    [
        ("budget.for=2h", {}),
        ("objective.metric=val/loss", {}),
        ("search.optimizer.name=sgd", {}),
        ("search.batch_size=16", {}),
        ("objective.metric=val/loss", {"objective": {"metric": "val/accuracy"}}),
        ("budget.for=null", {"budget": {"for": "2h"}}),
        ("objectives=[val/loss, parameters]", {"objectives": ["val/accuracy", "parameters"]}),
        ("objectives=[]", {"objectives": ["val/loss", "parameters"], "objective": None}),
    ],
)
def test_a_loaded_space_takes_an_override_as_the_dictionary_does(override: str, more: dict[str, Any]) -> None:
    given = {**SPACE, "budget": {"epochs": 3}, "notify": {"command": "true"}, **more}
    given = {key: value for key, value in given.items() if value is not None}
    given["search"] = {"backbone": "test_resnet", "optimizer": {"name": "adamw"}}
    changed = sweeper.load_space(sweeper.load_space(given), [override])
    assert changed == sweeper.load_space(given, [override])
    assert changed.notify.command == "true"


def test_a_loaded_space_of_another_task_takes_an_override() -> None:
    loaded = sweeper.load_space(REPOSITORY / "search_spaces" / "cifar10_autoencoder.yaml")
    assert sweeper.load_space(loaded, ["device=cpu"]).device == "cpu"


@pytest.mark.parametrize("names", [np.array(["test_resnet", "nope123"]), {"test_resnet", "nope123"}])
def test_names_in_an_array_or_a_set_are_checked_too(names: Any) -> None:
    with pytest.raises(sweeper.ConfigError, match="nope123"):
        sweeper.load_space({**SPACE, "search": {"backbone": {"choice": names}}})


def test_images_of_the_data_are_replaced_by_the_folder_that_is_given(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("study: s\ndataset: {builtin: digits}\nsearch: {backbone: test_resnet}\n")
    for space in (file, sweeper.load_space(file)):
        found = sweeper.ImageClassifierSweep(space)._space_for(tmp_path / "photos")
        assert (found.dataset.builtin, found.dataset.path) == (None, str(tmp_path / "photos"))


@pytest.mark.parametrize("workers", [0, -1, "many", 1.5, True])
def test_a_number_of_workers_that_cannot_be_is_refused(workers: Any, in_folder: Path) -> None:
    with pytest.raises(sweeper.ConfigError, match="workers"):
        run(SPACE, workers=workers)


def test_a_study_that_is_not_there_is_not_found(in_folder: Path) -> None:
    with pytest.raises(sweeper.StudyNotFound):
        sweeper.open_study("nothing")


def test_the_figures_are_of_the_trials(in_folder: Path) -> None:
    study = run({**SPACE, "pruner": "none"})
    assert len(study.plot_curves().data) == 4
    assert [trace.name for trace in study.plot_history().data] == ["complete", "best so far"]
    slices = study.plot_slices()
    assert slices.layout.xaxis2.type == "category"
    assert list(slices.layout.xaxis2.categoryarray) == ["16", "32"]
    assert [axis.label for axis in study.plot_parallel().data[0].dimensions] == [
        "weight_decay",
        "batch_size",
        "val/accuracy",
    ]
    assert not study.plot_importances().data[0].x
    assert [trace.name for trace in study.plot_pareto().data] == ["complete", "Pareto front"]
    best = max(row.value for row in study.store.rows() if row.value is not None)
    assert study.plot_pareto().data[1].y[-1] == best
    assert list(study.plot_times().data[0].x) == [0, 1, 2, 3]
    with pytest.raises(sweeper.ConfigError, match=r"no trial has the cost 'price'; they have .*train_seconds"):
        study.plot_pareto("price")


def test_options_that_end_alike_stay_apart_in_figures() -> None:
    names = [f"runs/{name}/checkpoints/best_model.safetensors" for name in "ab"]
    told = figures._told_apart(["none", *names])
    assert len(set(told)) == 3
    axis = figures._axis({"kind": "category", "values": names})
    assert list(axis["categoryarray"]) == names
    assert list(axis["ticktext"]) == told[1:]


def test_a_trial_is_asked_for_by_a_whole_number(in_folder: Path) -> None:
    study = run({**SPACE, "budget": {"trials": 1, "epochs": 1}})
    assert study.trial(np.int64(0)).number == 0  # type: ignore[arg-type]
    with pytest.raises(sweeper.ConfigError, match="whole number"):
        study.trial("0")  # type: ignore[arg-type]


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301  # its own


def test_a_study_its_trials_and_its_space_are_pickled_and_found_again(in_folder: Path) -> None:
    space = {**SPACE, "notify": {"command": "true"}}
    study = run(space, workers=2)
    for again in (through_pickle(study), copy.deepcopy(study)):
        assert again.trials.equals(study.trials)
    trial = through_pickle(study.best)
    assert (trial.number, trial.value) == (study.best.number, study.best.value)
    loaded = sweeper.load_space(space)
    assert through_pickle(loaded) == loaded
    assert loaded.notify.command == "true"
    estimator = sweeper.ImageClassifierSweep(loaded)
    estimator.study_ = study
    assert through_pickle(estimator).study_.name == "s"


def test_errors_of_a_search_space_come_whole_from_another_process() -> None:
    with pytest.raises(sweeper.ConfigError) as found:
        sweeper.load_space({**SPACE, "budget": {"trails": 2}})
    again = through_pickle(found.value)
    assert (str(again), again.problems) == (str(found.value), found.value.problems)


@pytest.mark.parametrize("callbacks", [print, [3], "x"])
def test_callbacks_that_cannot_be_called_are_refused_before_anything_runs(in_folder: Path, callbacks: Any) -> None:
    with pytest.raises(sweeper.ConfigError, match="callbacks: should be a list of functions, got"):
        run(SPACE, callbacks=callbacks)
    assert not (in_folder / "optuna.db").exists()


def test_one_override_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(sweeper.ConfigError, match=r"overrides: should be a list of texts such as .*, got 'seed=1'"):
        sweeper.load_space(SPACE, "seed=1")


def test_a_file_name_in_place_of_a_storage_is_told_how_to_write_it(in_folder: Path) -> None:
    with pytest.raises(sweeper.StudyError, match=r"named by an address: sqlite:///NAME\.db for a file"):
        sweeper.open_study(storage="other.db")


def test_a_study_shows_itself_in_a_notebook_with_names_escaped(in_folder: Path) -> None:
    space = {**SPACE, "search": {**SPACE["search"], "backbone": {"choice": ["test_resnet", "test_vit"]}}}
    shown = run(space)._repr_html_()
    assert "4 of 4 trials ended" in shown
    assert "<td>complete</td>" in shown
    assert "best: trial" in shown


@pytest.mark.slow
def test_lists_of_files_and_labels_are_refused_with_what_to_pass() -> None:
    with pytest.raises(
        sweeper.SweeperError, match=r"fit takes one path, .* got a list; write lists of files and labels into"
    ):
        sweeper.ImageClassifierSweep(trials=1).fit(["a.png"], ["x"])  # type: ignore[arg-type]


@pytest.mark.sweeps
def test_a_script_runs_once_though_its_processes_are_started_from_its_top_level(tmp_path: Path) -> None:
    space = {**SPACE, "engine": "local", "dataset": {"builtin": "digits"}, "budget": {"trials": 1, "epochs": 1}}
    lines = ["import sweeper", "print('begins')", f"sweeper.run(sweeper.load_space({space!r}), workers=1)"]
    (tmp_path / "program.py").write_text("\n".join([*lines, "print('ends')", ""]))
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, "begins\nends\n"), done.stderr
