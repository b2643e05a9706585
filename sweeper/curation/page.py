"""The findings of a check as one HTML file with the pictures in it. Names are escaped: they may hold anything."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from sweeper.curation.check import CheckReport, lines
from sweeper.curation.duplicates import Group
from sweeper.curation.image_list import ImageList
from sweeper.data.decode import BadImage, decode
from sweeper.data.image_file import read_image_file
from sweeper.errors import DatasetError
from sweeper.safeguards.printable import one_line

PICTURE_SIDE = 128
MOST_GROUPS = 200
MOST_PICTURES = 8  # of a group
MOST_BAD = 500

WORDS = {"bytes": "equal bytes", "pixels": "equal pixels", "near": "nearly the same look"}


def html_page(report: CheckReport) -> str:
    """Return the page; of many groups the first, which are the worst."""
    pages = Environment(
        loader=PackageLoader("sweeper.curation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: one_line(value) if isinstance(value, str) else value,
    )
    images = report.images
    return pages.get_template("page.html").render(
        title=f"{images.root.name}: what was found",
        root=str(images.root),
        images=f"{len(images):,}",
        lines=lines(report),
        bad=[(images.paths[row], reason) for row, reason in sorted(report.facts.bad.items())[:MOST_BAD]],
        groups=[_group(images, group) for group in report.groups[:MOST_GROUPS]],
        all_groups=f"{len(report.groups):,}",
        balances=[_balance(report, split) for split in report.splits],
    )


def _group(images: ImageList, group: Group) -> dict[str, Any]:
    places = ", ".join([*group.splits, *group.labels])
    return {
        "title": f"{len(group.rows)} images, {WORDS[group.kind]}: {places}",
        "serious": group.across_splits or group.across_classes,
        "pictures": [_picture(images, row) for row in _chosen(images, group.rows)],
    }


def _chosen(images: ImageList, rows: Sequence[int]) -> list[int]:
    """Choose a few rows, one of each split and class before others of the same."""
    first = {(images.splits[row], images.labels[row]): row for row in reversed(rows)}
    others = [row for row in rows if row not in first.values()]
    return [*sorted(first.values()), *others][:MOST_PICTURES]


def _picture(images: ImageList, row: int) -> dict[str, str]:
    data = ""
    try:
        pixels = decode(read_image_file(images.file(row)), PICTURE_SIDE, "pad")
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=80)
        data = base64.b64encode(stream.getvalue()).decode()
    except (BadImage, DatasetError):
        pass  # gone since it was looked at; the names are still worth showing
    return {"path": images.paths[row], "split": images.splits[row], "label": images.labels[row], "data": data}


def _balance(report: CheckReport, split: str) -> dict[str, Any]:
    counts = report.counts[split]
    largest = max(counts.values(), default=0) or 1
    ordered = sorted(((counts[name], name) for name in report.images.classes), reverse=True)
    rows = [{"label": name, "count": count, "percent": round(100 * count / largest, 1)} for count, name in ordered]
    return {"split": split, "rows": rows}
