"""The confusion matrix of each trial where MLflow's page looks for images, to show those of several trials at once."""

from __future__ import annotations

import io

from sweeper.files import write_whole
from sweeper.paths import BEST_CONFUSION, TrialFolder
from sweeper.results import TrialOutcome
from sweeper.tracking.shared_view import GRID

IMAGES_TAG = "mlflow.loggedImages"
"""Says to the page that a run has such images."""

SMALL_PX = 256
"""Longest side of the small picture that a grid shows first."""


def add_to_grid(folder: TrialFolder, outcome: TrialOutcome) -> None:
    """Put the matrix of the best epoch among the images of a trial; nothing where there is none."""
    picture = (folder.confusion / BEST_CONFUSION).with_suffix(".png")
    whole, small = folder.grid_picture(GRID, outcome.timestamp_ms)
    if not picture.exists() or small.exists():
        return
    from PIL import Image  # no start of a sweep waits for it

    write_whole(whole, picture.read_bytes())
    with Image.open(picture) as image:
        image.thumbnail((SMALL_PX, SMALL_PX))
        file = io.BytesIO()
        image.save(file, "WEBP")
    write_whole(small, file.getvalue())
