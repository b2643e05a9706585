"""The report in MLflow: an artifact of the parent run, and a note there that says where to look."""

from __future__ import annotations

from pathlib import Path

from sweeper.config.task import CLASSIFICATION
from sweeper.errors import StudyError
from sweeper.paths import Workspace
from sweeper.results import TrialState
from sweeper.safeguards.quantity import portion
from sweeper.search.study_store import StudyStore
from sweeper.standings.no_winner import without_winner
from sweeper.standings.winner import study_winner
from sweeper.study.recorded import records_of
from sweeper.tracking.tags import BEST_TRIAL_TAG, BEST_VALUE_TAG, NOTE_TAG, SWEEP, TRIAL_TAG, TRIALS_TAG

FOLDER = "report"


def log_page(workspace: Workspace, store: StudyStore, page: Path, tracking_uri: str | None) -> None:
    """Log a study's page, and describe the parent run. Raises StudyError where there is none, TrackingError."""
    study = store.sweep.study
    logged = records_of(workspace, store, tracking_uri)
    run = logged.find_run(TRIAL_TAG, SWEEP)
    if run is None:
        raise StudyError(
            f"the study {study} has no run at {logged.store.shown_uri}; name the right address with --tracking-uri, or "
            f"bring it there: sweeper sync {study}"
        )
    logged.store.log_artifact(run, page, FOLDER)
    logged.store.set_tags(run, {NOTE_TAG: note(store, page.name), **outcome_tags(store)})


def outcome_tags(store: StudyStore) -> dict[str, str]:
    """Return what distinguishes studies in MLflow's table of runs."""
    rows = store.rows()
    best = study_winner(store)
    ended = [state for state in TrialState if state.ended]
    tags = {f"{TRIALS_TAG}{state}": str(sum(row.state is state for row in rows)) for state in ended}
    if best is not None:
        tags |= {BEST_TRIAL_TAG: str(best.number), BEST_VALUE_TAG: f"{best.value:.6g}"}
    return tags


def note(store: StudyStore, page: str) -> str:
    """Return the description of the parent run, in Markdown."""
    sweep, rows = store.sweep, store.rows()
    best = study_winner(store)
    ended = sum(row.state.ended for row in rows)
    trials = portion(ended, None if sweep.budget.open_ended else store.budget, "trial")
    lines = [f"**{sweep.study}**: {trials} ended; objective `{sweep.objective.metric}`."]
    if best is not None:
        name = f"trial-{best.number:04d}"
        lines.append(f"Best: trial {best.number} (`{name}`), {best.value:.4f} {best.reached_in}.")
    elif ended:
        lines += ["", *without_winner(sweep.study, rows).splitlines()]
    of_classes = ", confusion matrices and mistakes" if sweep.task.name == CLASSIFICATION.name else ""
    lines += [
        "",
        f"- Artifacts, `{FOLDER}/{page}`: the report, with learning curves{of_classes}",
        "- Artifacts, `trials.csv`: the ranked table; `search_space.yaml`: what was searched",
        "- Chart view of this experiment: `val/...` and `train/...` by epoch; `best/...` for each trial's best epoch",
        f"- Compare: select trials, then parallel coordinates of parameters against `best/{sweep.objective.metric}`",
        f"- Two trials image by image: `sweeper diff {sweep.study}/A {sweep.study}/B`",
    ]
    return "\n".join(lines)
