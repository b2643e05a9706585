"""What deleting a study means, as lines."""

from __future__ import annotations

import shlex

from sweeper.display.tables import size
from sweeper.safeguards.quantity import quantity
from sweeper.tracking.deletion import RecordedRuns
from sweeper.upkeep.deletion import Deletion, Part

MOST_IDS = 3000
"""In a command: Linux takes no argument of more than 128 KiB."""


def deletion_lines(deletion: Deletion, database: str) -> list[str]:
    """Return what goes and what stays; `database` is where the study is stored."""
    states = ", ".join(f"{count} {state.value}" for state, count in deletion.trials.items())
    trials = f"{quantity(sum(deletion.trials.values()), 'trial')} ({states})" if states else "no trials"
    goes = [f"{trials} in {database}", *map(_part, deletion.files)]
    if deletion.runs is not None and deletion.runs.runs:
        goes.append(_runs(deletion.runs, deletion.run_bytes))
    stays = [*map(_part, deletion.kept), *(f"{_part(part)}, shared by all studies" for part in deletion.shared)]
    if deletion.ranking is not None:
        stays.append(f"the study {deletion.ranking}, which ranked its backbones: sweeper delete {deletion.ranking}")
    if deletion.runs is not None:
        stays += [f"the model {name} in MLflow's registry" for name in deletion.runs.models]
        stays += _of_others(deletion.runs)
    return [
        f"study {deletion.study}: this is deleted",
        *(f"  {line}" for line in goes),
        *(["this stays", *(f"  {line}" for line in stays)] if stays else []),
    ]


def trash_lines(deletion: Deletion) -> list[str]:
    """Return how the space of the deleted runs is freed, and what goes with them; nothing where there are none.

    `mlflow gc` removes the runs, experiments and models that are named; where it is given no run, no experiment or no
    model, it removes all of that kind that are in the trash. The runs of a named experiment go with it.
    """
    runs = deletion.runs
    if runs is None or not runs.runs:
        return []
    ids = [run.id for run in runs.runs]
    if runs.others:
        also = "all deleted experiments and models, whoever's they are"
        parts = (ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS))
        chosen = [f"--run-ids {','.join(part)}" for part in parts]
    else:
        also = "all deleted models, whoever's they are"
        chosen = [f"--experiment-ids {runs.experiment} --run-ids {ids[0]}"]
    address = shlex.quote(deletion.tracking_uri)
    of_server = deletion.tracking_uri.startswith("http")
    where = "" if of_server else f" --backend-store-uri {address} --tracking-uri {address}"
    beside = ", on the machine of the server and with its --backend-store-uri" if of_server else ""
    return [
        f"its runs are in MLflow's trash. This removes them for good{beside}, and with them {also}:",
        *(f"  mlflow gc{where} {some}" for some in chosen),
    ]


def _part(part: Part) -> str:
    return f"{part.path}, {size(part.bytes)}"


def _runs(runs: RecordedRuns, held: int) -> str:
    files = f", {size(held)} of files" if held else ""
    return f"{_counted(len(runs.runs))} of the experiment {runs.name} in MLflow{files}: they move to MLflow's trash"


def _of_others(runs: RecordedRuns) -> list[str]:
    told = f"{_counted(runs.others)} in the experiment {runs.name} that are not this study's"
    return [told] if runs.others else []


def _counted(runs: int) -> str:
    return quantity(runs, "run")
