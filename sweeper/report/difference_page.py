"""The difference of two models as one HTML file, made of the same parts as a study's report."""

from __future__ import annotations

from itertools import chain
from typing import Any

from sweeper.paths import Workspace
from sweeper.report.compared_model import Side
from sweeper.report.difference import Difference, PairedPredictions
from sweeper.report.page import render
from sweeper.report.payload import blob, curve_payload, packed
from sweeper.report.pictures import find_files, pictures
from sweeper.safeguards.printable import one_line

SCRIPTS = ("core.js", "charts.js", "table.js", "matrix.js", "images.js", "difference.js")
MOST_SHOWN = 120  # pictures of images newly right, and of those newly wrong


def difference_page(workspace: Workspace, found: Difference) -> str:
    """Return the page."""
    a, b = found.a, found.b
    paired = found.paired
    payload = {
        "names": [a.name, b.name],
        "params": [[name, *both] for name, both in found.params.items()],
        "scores": [[name, a.scores.get(name), b.scores.get(name)] for name in dict.fromkeys([*a.scores, *b.scores])],
        "curves": [_curves(side) for side in (a, b)],
        "classes": a.classes,
        "images": _images(workspace, a, paired) if paired else None,
        "test": _test(paired) if paired else None,
        "whyNot": found.why_not,
    }
    return render("difference.html", SCRIPTS, title=f"{a.name} and {b.name}", payload=payload, a=a.name, b=b.name)


def _curves(side: Side) -> dict[str, list[float | None]]:
    return {name: curve_payload(curve) for name, curve in side.curves.items() if curve}


def _images(workspace: Workspace, side: Side, paired: PairedPredictions) -> dict[str, Any]:
    count = len(side.classes)
    files = find_files(side.dataset, workspace, paired.a.images) if side.dataset else None
    shown = chain(paired.newly_right[:MOST_SHOWN].tolist(), paired.newly_wrong[:MOST_SHOWN].tolist())
    paths = files.paths if files else ("",) * len(paired.a)
    return {
        "count": len(paired.a),
        "wide": count > 256,
        "labels": blob(packed(paired.a.labels, count)),
        "names": blob("\n".join(map(one_line, paths)).encode()),
        "off": [blob(packed((s.predicted - s.labels) % count, count)) for s in (paired.a, paired.b)],
        "pictures": pictures(files, shown) if files else {},
    }


def _test(paired: PairedPredictions) -> dict[str, Any]:
    return {
        "p": paired.p_value,
        "gained": len(paired.newly_right),
        "lost": len(paired.newly_wrong),
        "bothRight": paired.both_right,
        "bothWrong": paired.both_wrong,
        "relabelled": paired.relabelled,
    }
