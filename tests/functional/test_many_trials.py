"""Commands on a study of many trials: they ask the databases no more often than on a small one, and say what they show.

How long they take is measured by `python -m benchmarks.many_trials`; here it is counted what they read and draw.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow.store.tracking.dbmodels.models import SqlRun
from optuna.storages._rdb.models import TrialModel
from optuna.trial import FrozenTrial
from rich.console import Console
from sqlalchemy import Engine, event
from typer.testing import CliRunner

from benchmarks.large_study import STUDY, write_large_study
from sweeper.cli import app
from sweeper.commands.status import LISTED_TRIALS
from sweeper.display.forecast import Forecast
from sweeper.display.live import SHOWN_ENDED, LiveTable
from sweeper.display.settings import told_apart_by
from sweeper.paths import Workspace
from sweeper.report.page import study_page
from sweeper.report.selection import MOST_OTHERS, MOST_RANKED, places, select, totals_payload
from sweeper.results import TrialState
from sweeper.search import bulk_storage
from sweeper.search.study_store import StudyStore
from sweeper.standings.pareto import in_order
from sweeper.study.expected import MOST_TRIALS
from sweeper.study.recorded import records_of
from sweeper.tracking.tags import TRIAL_TAG
from sweeper.upkeep.doctor import examine_study

pytestmark = pytest.mark.sweeps

FEW, MANY = 60, 900


@pytest.fixture(scope="module")
def places_of(tmp_path_factory: pytest.TempPathFactory, created: Path) -> dict[int, Workspace]:
    """A working directory with a small study, and one with a larger, each trial with a run in MLflow."""
    made = {}
    for trials in (FEW, MANY):
        folder = tmp_path_factory.mktemp(f"trials-{trials}")
        shutil.copy(created, folder / created.name)
        made[trials] = Workspace(folder)
        write_large_study(made[trials], trials, epochs=4)
    return made


@pytest.fixture
def many(places_of: dict[int, Workspace]) -> Workspace:
    return places_of[MANY]


@pytest.fixture
def store(many: Workspace) -> StudyStore:
    return StudyStore.load(f"sqlite:///{many.optuna_database}", STUDY)


@pytest.fixture
def queries() -> Iterator[list[str]]:
    """All queries that are sent to any database."""
    sent: list[str] = []

    def note(*told: object) -> None:
        sent.append(str(told[2]))

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)


def run(place: Workspace, monkeypatch: pytest.MonkeyPatch, *command: str) -> str:
    monkeypatch.chdir(place.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = CliRunner().invoke(app, list(command), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


# In brief, trials are read by hundreds; of the runs of a report 100 are read at a time, and all files of each.
@pytest.mark.parametrize(
    ("command", "more"), [("status", 0), ("best", 10), ("doctor", 10), ("diff large/0 large/1", 10), ("sync", 10)]
)
def test_a_command_sends_no_more_queries_for_many_trials(
    places_of: dict[int, Workspace], queries: list[str], monkeypatch: pytest.MonkeyPatch, command: str, more: int
) -> None:
    counts = {}
    for trials, place in places_of.items():
        run(place, monkeypatch, *command.split())  # the first of a process asks about tables as well
        queries.clear()
        run(place, monkeypatch, *command.split())
        counts[trials] = len(queries)
    assert counts[MANY] <= counts[FEW] + more


@pytest.fixture
def loaded() -> Iterator[Counter[str]]:
    """How many trials and runs Optuna and MLflow have made objects of, with all that belongs to each."""
    counts: Counter[str] = Counter()

    def note(kind: Any) -> Any:
        return lambda *_: counts.update([kind.__name__])

    noting = {kind: note(kind) for kind in (TrialModel, SqlRun)}
    for kind, listener in noting.items():
        event.listen(kind, "load", listener)
    yield counts
    for kind, listener in noting.items():
        event.remove(kind, "load", listener)


@pytest.mark.parametrize(
    ("command", "runs"),
    [
        ("status", 0),
        ("best", MOST_TRIALS),
        ("doctor", 10),
        ("diff large/0 large/1", 10),
        ("report --no-log --to page.html", MOST_RANKED + MOST_OTHERS + 10),
    ],
)
def test_only_the_runs_of_trials_that_are_shown_are_read_whole(
    many: Workspace, loaded: Counter[str], monkeypatch: pytest.MonkeyPatch, command: str, runs: int
) -> None:
    run(many, monkeypatch, *command.split())
    assert loaded["SqlRun"] <= runs
    assert loaded["TrialModel"] == 0


def test_status_makes_only_the_trials_that_it_lists(many: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def counted(**told: Any) -> FrozenTrial:
        made.append(told)
        return FrozenTrial(**told)

    monkeypatch.setattr(bulk_storage, "FrozenTrial", counted)
    run(many, monkeypatch, "status")
    assert len(made) == LISTED_TRIALS


def test_status_lists_the_latest_trials_and_says_so(many: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(many, monkeypatch, "status")
    assert f"{MANY} of {MANY} trials ended" in shown
    assert f"listed: {LISTED_TRIALS} of {MANY} trials" in shown
    numbers = [int(number) for number in re.findall(r"^ +(\d+) +(?:complete|pruned|failed)", shown, re.MULTILINE)]
    assert numbers == list(range(MANY - LISTED_TRIALS, MANY))


def test_status_lists_every_trial_when_asked_to(many: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(many, monkeypatch, "status", "--all")
    assert "listed:" not in shown
    assert len(re.findall(r"^ +\d+ +(?:complete|pruned|failed)", shown, re.MULTILINE)) == MANY


def test_status_of_a_small_study_lists_all(places_of: dict[int, Workspace], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(places_of[FEW], monkeypatch, "status")
    assert "listed:" not in shown
    assert len(re.findall(r"^ +\d+ +(?:complete|pruned|failed)", shown, re.MULTILINE)) == FEW


def test_a_reader_has_the_rows_of_the_driver(many: Workspace, store: StudyStore) -> None:
    driver = StudyStore.create_or_load(f"sqlite:///{many.optuna_database}", store.sweep)
    assert store.rows() == driver.rows()
    assert store.latest_rows(10) == driver.rows()[-10:]
    driver.close()


def test_a_reader_reads_no_ended_trial_twice(store: StudyStore, queries: list[str]) -> None:
    first = store.rows()
    queries.clear()
    assert store.rows() == first
    assert len(queries) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")  # of branches with few trials
def test_importances_are_those_that_optuna_finds_of_whole_trials(many: Workspace, store: StudyStore) -> None:
    study = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{many.optuna_database}")
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    assert store.importances() == optuna.importance.get_param_importances(study, evaluator=evaluator)


def test_the_page_shows_the_best_trials_and_says_so(many: Workspace, store: StudyStore) -> None:
    page = study_page(many, store)
    content = re.search(r'<script type="application/json" id="payload">(.*?)</script>', page, re.DOTALL)
    assert content is not None
    payload = json.loads(content[1])
    order = [row.number for row in in_order(store.rows(), store.sweep)]
    shown = [trial["number"] for trial in payload["trials"] if trial["rank"] is not None]
    others = [trial["number"] for trial in payload["trials"] if trial["rank"] is None]
    assert set(shown) == set(order[:MOST_RANKED])
    failed = [row.number for row in store.rows() if row.state is TrialState.FAILED]
    assert others == failed[-MOST_OTHERS:]
    assert f"Of {MANY} trials this page shows {len(shown) + len(others)}: the {MOST_RANKED} best" in page
    assert payload["all"]["trials"] == payload["all"]["ended"] == MANY


def test_the_page_of_a_small_study_shows_all_and_says_nothing(places_of: dict[int, Workspace]) -> None:
    place = places_of[FEW]
    store = StudyStore.load(f"sqlite:///{place.optuna_database}", STUDY)
    assert select(store.rows(), store.sweep).rows == store.rows()
    assert "this page shows" not in study_page(place, store)


def test_what_the_page_shows_of_all_trials_is_of_all(store: StudyStore) -> None:
    rows, told = store.rows(), totals_payload(store.rows(), store.sweep)
    assert told["states"] == {
        state.value: sum(row.state is state for row in rows) for state in TrialState if state.ended
    }
    assert told["seconds"] == pytest.approx(sum(row.seconds or 0 for row in rows))
    order = sorted(rows, key=lambda row: (row.ended_ms or 0, row.number))
    assert [places(rows)[row.number] for row in order] == list(range(1, MANY + 1))
    best_of_all = max(row.value for row in rows if row.state is TrialState.COMPLETE and row.value is not None)
    values = [value for _, value in told["steps"]]
    assert values == sorted(values)
    assert values[-1] == best_of_all
    for place, value in told["steps"]:
        before = [row.value for row in order[:place] if row.state is TrialState.COMPLETE and row.value is not None]
        assert max(before) == value


def test_every_run_is_listed_with_its_trial(many: Workspace, store: StudyStore) -> None:
    listed = records_of(many, store, None).listing(TRIAL_TAG)
    assert [run.tags[TRIAL_TAG] for run in listed] == ["sweep", *map(str, range(MANY))]
    assert [run.name for run in listed[1:3]] == ["trial-0000", "trial-0001"]
    assert {run.status for run in listed} == {"FINISHED"}


def test_curves_are_those_that_mlflow_gives_of_each_run(many: Workspace, store: StudyStore) -> None:
    logged = records_of(many, store, None)
    runs = [run.id for run in logged.listing(TRIAL_TAG)[1:4]]
    assert len(runs) == 3
    names = ("train/loss", "val/loss", "none")
    found = logged.store.curves(runs, names)
    with logged.store.client() as client:
        for run_id in runs:
            for name in names[:2]:
                points = client.get_metric_history(run_id, name)
                assert found[run_id][name] == {point.step: point.value for point in points}
            assert set(found[run_id]) == {"train/loss", "val/loss"}


def test_the_doctor_finds_the_one_run_of_many_that_is_missing(places_of: dict[int, Workspace]) -> None:
    place, url = places_of[FEW], f"sqlite:///{places_of[FEW].optuna_database}"
    logged = records_of(place, StudyStore.load(url, STUDY), None)
    lost = next(run.id for run in logged.listing(TRIAL_TAG) if run.tags.get(TRIAL_TAG) == "7")
    logged.store.delete_run(lost)
    found = examine_study(place, url, STUDY, None, fix=False)
    with logged.store.client() as client:
        client.restore_run(lost)
    assert [finding.what for finding in found] == ["trial 7 has no run"]


def test_the_hyperparameters_that_differ_are_found_wherever_they_stand(store: StudyStore) -> None:
    optimizer = ["optimizer.name", "optimizer.lr", "optimizer.momentum"]
    assert told_apart_by(store.rows()) == ["backbone", *optimizer, "weight_decay", "batch_size"]


def test_the_live_table_keeps_only_the_trials_that_it_shows(store: StudyStore) -> None:
    table = LiveTable(Console())
    table.study_opened(store.sweep, store.rows(), MANY)
    assert list(table._lines) == list(range(MANY - SHOWN_ENDED, MANY))


def test_the_time_left_follows_from_all_trials(store: StudyStore) -> None:
    rows = store.rows()
    forecast = Forecast(rows, MANY + 10, store.sweep)
    seconds = [row.seconds for row in rows if row.seconds]
    assert forecast.seconds_left == pytest.approx(10 * sum(seconds) / len(seconds))
