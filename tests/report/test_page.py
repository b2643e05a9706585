"""The report's file: whole, closed to the network, and true to the study; its script and its markup fit each other."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from sweeper.paths import Workspace
from sweeper.report import difference_page
from sweeper.report import page as report_page
from sweeper.report.page import study_page
from sweeper.scores.predictions import read_predictions
from sweeper.search.study_store import StudyStore
from sweeper.standings.ranking import ranked


class Reader(HTMLParser):
    """Collects what a browser would find: nodes by id, scripts, and addresses that would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.scripts: dict[str, str] = {}
        self.fetched: list[str] = []
        self.texts: list[str] = []
        self._script: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [str(given["id"])] if "id" in given else []
        address = given.get("src") or (given.get("href") if tag == "link" else None)
        self.fetched += [address] if address and not address.startswith("data:") else []
        if tag == "script":
            self._script = given.get("id") or f"script {len(self.scripts)}"

    def handle_endtag(self, tag: str) -> None:
        self._script = None if tag == "script" else self._script

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.texts.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def payload(page: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(read(page).scripts["payload"])
    return content


def inflated(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def test_the_page_fetches_nothing_and_forbids_itself_to(page: str) -> None:
    assert read(page).fetched == []
    assert "default-src 'none'" in page


def test_every_node_that_the_script_asks_for_is_there_once(page: str) -> None:
    reader = read(page)
    asked = set(re.findall(r'byId\("([\w-]+)"\)', "".join(reader.scripts.values())))
    assert len(asked) > 25
    assert asked <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    links = set(re.findall(r'href="#([\w-]+)"', page))
    assert links <= set(reader.ids)


@pytest.mark.parametrize(("template", "module"), [("report.html", report_page), ("difference.html", difference_page)])
def test_every_script_that_a_page_names_is_there_and_every_file_is_used(template: str, module: Any) -> None:
    folder = files("sweeper.report")
    assert folder.joinpath(template).is_file()
    assert all(folder.joinpath(name).is_file() for name in module.SCRIPTS)
    known = {*report_page.SCRIPTS, *difference_page.SCRIPTS}
    assert known == {entry.name for entry in folder.iterdir() if entry.name.endswith(".js")}


def test_names_that_are_markup_stay_text(page: str) -> None:
    reader = read(page)
    assert "<img src=x" not in page
    assert any("<img src=x" in name for name in payload(page)["classes"])
    assert set(reader.scripts) >= {"payload", "plotly"}


def test_the_page_carries_plotly_whole(page: str) -> None:
    assert b"Plotly" in inflated(read(page).scripts["plotly"])


def test_the_trials_on_the_page_are_those_of_the_study(page: str, store: StudyStore) -> None:
    shown = payload(page)["trials"]
    rows = store.rows()
    best = ranked(rows, "maximize")[0]
    assert [trial["number"] for trial in shown] == [row.number for row in rows]
    assert next(trial["number"] for trial in shown if trial["rank"] == 1) == best.number
    assert [trial["value"] for trial in shown] == [row.value for row in rows]
    assert {trial["state"]: len(trial["curves"]["objective"]) for trial in shown} == {"complete": 5, "pruned": 2}


def test_the_matrix_of_every_trial_can_be_drawn_from_the_page(page: str, place: Workspace) -> None:
    images, count = payload(page)["images"], 4
    labels = np.frombuffer(inflated(images["labels"]), np.uint8)
    assert len(inflated(images["names"]).decode().split("\n")) == images["count"] == len(labels)
    for folder in place.study("s").trials():
        kept = read_predictions(next(folder.predictions.iterdir()))
        off = np.frombuffer(inflated(images["trials"][str(folder.number)]["off"]), np.uint8)
        assert np.array_equal((labels + off) % count, kept.predicted)


def test_the_worst_mistakes_are_wrong_sorted_by_confidence_and_pictured(page: str) -> None:
    images = payload(page)["images"]
    for trial in images["trials"].values():
        sure = [confidence for _, confidence, _ in trial["worst"]]
        assert sure == sorted(sure, reverse=True)
        assert {str(image) for image, *_ in trial["worst"]} <= set(images["pictures"])


def test_without_its_images_the_page_is_made_without_pictures(
    place: Workspace, store: StudyStore, caplog: pytest.LogCaptureFixture
) -> None:
    images = place.root / "images"
    images.rename(place.root / "elsewhere")
    try:
        made = payload(study_page(place, store, f"sqlite:///{place.mlflow_database}"))
    finally:
        (place.root / "elsewhere").rename(images)
    assert made["images"]["pictures"] == {}
    assert len(made["images"]["trials"]) == 12
    assert "no pictures" in caplog.text


def test_without_predictions_the_matrices_that_older_trials_kept_are_shown(place: Workspace, store: StudyStore) -> None:
    folder = place.study("s").trial(0)
    kept = next(folder.predictions.iterdir())
    content = kept.read_bytes()
    confusion = read_predictions(kept).confusion(4)
    kept.unlink()
    try:
        made = payload(study_page(place, store, f"sqlite:///{place.mlflow_database}"))
    finally:
        kept.write_bytes(content)
    cells = np.zeros((4, 4), int)
    for true, predicted, images in made["confusions"]["0"]:
        cells[true, predicted] = images
    assert np.array_equal(cells, confusion)
    assert "0" not in made["images"]["trials"]
