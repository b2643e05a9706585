"""`sweeper data label-errors`: labels that the winner of a study doubts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.commands.data.suspects import suspect_outputs, write_suspects
from sweeper.commands.options import ForceOption, StorageOption, StudyArgument, device_for
from sweeper.commands.studies import open_study, this_workspace, winner_of
from sweeper.commands.terminal import progress_bar, say


def label_errors(
    study: StudyArgument = None,
    folds: Annotated[
        int,
        typer.Option(
            min=2,
            help="How often the winner is trained, each time without one part; a cross-validated study has its folds.",
        ),
    ] = 5,
    csv: Annotated[Path, typer.Option(help="The list to write.")] = Path("label_errors.csv"),
    sheet: Annotated[Path, typer.Option(help="The contact sheet of the first 200 to write.")] = Path(
        "label_errors.png"
    ),
    force: ForceOption = False,
    device: Annotated[str, typer.Option(help="auto (the study's device), cpu, cuda, cuda:1, mps.")] = "auto",
    storage: StorageOption = None,
) -> None:
    """List likely wrong labels of a study's training images, by its winner trained on folds without them.

    Takes as long as training that many trials; a cross-validated study takes no time. The test split is not touched,
    and nothing is deleted.
    """
    from sweeper.finished.label_errors import find_label_errors, kept_label_errors
    from sweeper.study.model_files import require_same_model_files
    from sweeper.study.trained import require_trained

    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    require_trained(store)
    require_same_model_files(store)
    outputs = suspect_outputs(csv, sheet, store.sweep.dataset, force=force)
    on = device_for(device, store.sweep)
    if store.sweep.dataset.folds:
        found = kept_label_errors(workspace, store, winner_of(store))
    else:
        with progress_bar("epochs") as progress:
            found = find_label_errors(
                workspace, store.sweep, winner_of(store), folds=folds, device=on, progress=progress
            )
    write_suspects(outputs, found.listed, found.candidates)
    say(f"{len(found.candidates):,} of {found.images:,} labels are likely wrong, listed in {csv}, shown in {sheet}")
    say(f"accuracy on images that were not trained on: {found.accuracy:.4f}; the lower, the less reliable the list")
