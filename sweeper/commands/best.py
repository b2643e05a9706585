"""`sweeper best`: the winner of a study, and its export."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.commands import exporting
from sweeper.commands.options import JsonOption, RecordedOption, StorageOption, TrialArgument, finite
from sweeper.commands.ranked import show_ranked
from sweeper.commands.studies import open_trial, this_workspace, winner_of
from sweeper.commands.terminal import beside_json, say, show, write_json
from sweeper.safeguards.printable import one_line

if TYPE_CHECKING:
    from sweeper.paths import Workspace
    from sweeper.results import TrialRow
    from sweeper.scores.expected_accuracy import ExpectedAccuracy
    from sweeper.search.study_store import StudyStore


TO_HELP = "Export into this folder, by default exports/STUDY, or exports/STUDY@NUMBER; implies --export."


def best(
    trial: TrialArgument = None,
    number: Annotated[int | None, typer.Option("--trial", min=0, help="Number of the trial: as STUDY/NUMBER.")] = None,
    export: Annotated[bool, typer.Option("--export", help="Export the trial and check every format.")] = False,
    to: Annotated[Path | None, typer.Option(help=TO_HELP)] = None,
    prefer: Annotated[
        str | None, typer.Option(metavar="METRIC", help="Take the best in this metric or cost, such as parameters.")
    ] = None,
    within: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="With --prefer: how much worse the objective may be.")
    ] = None,
    register: exporting.RegisterOption = True,
    fp16: exporting.Fp16Option = False,
    int8: exporting.Int8Option = False,
    tolerance: exporting.ToleranceOption = exporting.TOLERANCE,
    soup: exporting.SoupOption = False,
    ensemble: exporting.EnsembleOption = False,
    leaders: exporting.LeadersOption = exporting.LEADERS,
    as_json: JsonOption = False,
    storage: StorageOption = None,
    tracking_uri: RecordedOption = None,
) -> None:
    """Print the best trial of a study, or the one you name, with its parameters; export and register it.

    The best is the trial that `sweeper confirm` chose, else the one with the best objective. With several objectives
    it is the trial on the Pareto front that is best by the first metric of the model (costs do not count), or by the
    one that --prefer names.
    """
    from sweeper.display.tables import params_table
    from sweeper.standings.trial_names import require_weights
    from sweeper.standings.winner import study_winner
    from sweeper.study.trained import require_trained

    asked = exporting.Asked(fp16=fp16, int8=int8, soup=soup, ensemble=ensemble, leaders=leaders, tolerance=tolerance)
    asked.require_use(exports=export or to is not None)
    workspace = this_workspace()
    trial = _named(trial, number)
    store, row = open_trial(workspace, storage, trial, tracking_uri)
    require_weights(store, row)
    winner = study_winner(store)
    _require_a_choice(prefer, within, _that_names_one(trial))
    if prefer:
        row = winner_of(store, prefer, within)
    another = not _is_same(row, winner) and not (prefer and store.sweep.objectives)  # any of the Pareto front is best
    if export or to:
        require_trained(store)
    with beside_json(as_json):
        _say_which(store, row, winner, best=not another, preferred=bool(prefer))
        expected = _say_what_to_expect(workspace, store, tracking_uri) if _is_same(row, winner) else None
        show(params_table(row, store.rows()))
        show_ranked(store.rows(), store.sweep, limit=5)
        folder = (to or workspace.export(store.sweep.study, row.number if another else None)) if export or to else None
        if folder is not None:
            exporting.export(workspace, store, row, asked, folder, tracking_uri, register=register and not another)
            if register and another:
                _say_not_registered(store, winner, folder)
    if as_json:
        write_json(_answer(store, row, folder, expected, winner=not another))


def _that_names_one(trial: str | None) -> str | None:
    """Return a name that stands for one trial whatever is preferred; None for that of a study, or of its best."""
    from sweeper.config.trial_name import parse_trial_name

    found = parse_trial_name(trial) if trial is not None else None
    return trial if found is not None and (found.run or found.number is not None) else None


def _is_same(row: TrialRow, winner: TrialRow | None) -> bool:
    """Return whether a trial is the winner of its study, if that has one."""
    return winner is not None and row.number == winner.number


def _named(trial: str | None, number: int | None) -> str | None:
    """Return the name of a trial whose number is given by itself. Raises ConfigError without a study, or with two."""
    from sweeper.errors import ConfigError, Problem

    if number is None:
        return trial
    if trial is None or "/" in trial:
        rule = (
            f"is a number in a study, so give only the name of the study with it: sweeper best STUDY --trial {number}"
        )
        raise ConfigError([Problem("--trial", "", f"{rule}; got {trial or 'no study'}")])
    return f"{trial}/{number}"


def _say_what_to_expect(workspace: Workspace, store: StudyStore, tracking_uri: str | None) -> ExpectedAccuracy | None:
    """Say what the winner reaches on new images, where that can be known."""
    from sweeper.errors import TrackingError
    from sweeper.study.expected import expected_of_study
    from sweeper.study.recorded import records_of
    from sweeper.study.trained import is_simulated

    if is_simulated(store):
        return None
    try:
        found = expected_of_study(workspace, store, records_of(workspace, store, tracking_uri))
    except TrackingError as error:
        say(f"the accuracy on new images cannot be estimated: {one_line(str(error))}")
        return None
    if found is not None:
        say(str(found))
    return found


def _say_not_registered(store: StudyStore, winner: TrialRow | None, folder: Path) -> None:
    from sweeper.finished.tasks import finished_task

    if finished_task(store.sweep).registered:
        command = f"sweeper register {shlex.quote(str(folder))}"
        why = "it is not the best trial" if winner else "no trial has finished"
        say(f"not registered, since {why}; to register it anyway: {command}")


def _answer(
    store: StudyStore, row: TrialRow, folder: Path | None, expected: ExpectedAccuracy | None, *, winner: bool
) -> dict[str, Any]:
    from sweeper.display.answers import BestAnswer, TrialAnswer

    answer = BestAnswer(
        study=store.sweep.study,
        objective=store.sweep.objective.metric,
        direction=store.sweep.objective.direction,
        winner=winner,
        export=str(folder) if folder else None,
        expected=expected,
        trial=TrialAnswer.of(row),
        config=row.config.model_dump(mode="json") if row.config else {},
    )
    return answer.model_dump(mode="json")


def _require_a_choice(prefer: str | None, within: float | None, named: str | None) -> None:
    """Raise ConfigError where --prefer and --within have nothing to choose from."""
    from sweeper.errors import ConfigError, Problem

    if prefer and named:
        raise ConfigError([Problem("--prefer", "", f"chooses among the trials of a study, and {named} names one")])
    if within is not None and not prefer:
        raise ConfigError([Problem("--within", "", "limits what --prefer may choose; give --prefer METRIC too")])


def _say_which(store: StudyStore, row: TrialRow, winner: TrialRow | None, *, best: bool, preferred: bool) -> None:
    """Say which trial it is, and where it is not the winner, which one that is."""
    from sweeper.display.confirmation import confirmed_lines
    from sweeper.display.tables import score
    from sweeper.standings.winner import confirmed
    from sweeper.study.trained import is_simulated

    metric, found = store.sweep.objective.metric, None if preferred or not best else confirmed(store)
    which = f"study {store.sweep.study}: trial {row.number}{' is best' if best else ''}"
    simulated = " (simulated: nothing was trained)" if is_simulated(store) else ""
    say(f"{which}, {metric} {score(row.value)} {row.reached_in}{simulated}")
    if winner and not best:
        say(f"the best is trial {winner.number}, {metric} {score(winner.value)}")
    for line in confirmed_lines(found, sum(row.ended_ms is not None for row in store.rows())) if found else ():
        say(line)
