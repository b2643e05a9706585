"""What becomes of the backbones that a ranking has chosen, where their file is edited."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sweeper.config.searched import options
from sweeper.config.sweep import SweepConfig
from sweeper.errors import ConfigError, StudyChanged
from sweeper.library.run import run
from sweeper.paths import Workspace
from sweeper.search.study_store import StudyStore
from sweeper.study.backbone_ranking import narrowed, rank_backbones
from sweeper.study.chosen_backbones import begun_with, extended_to, note_ranking, noted_order
from sweeper.study.extending import extend_study
from sweeper.study.result import SweepResult
from tests.report.test_backbones import SPACE
from tests.study.test_backbone_ranking import judged, possible, sweep_of

LETTERS = ["resnet18", "resnet26", "resnet34", "resnet50", "resnet101"]
KEPT = ["resnet18", "resnet34"]


def naming(names: Sequence[str]) -> SweepConfig:
    search = {**sweep_of().search.model_dump(mode="json", by_alias=True), "backbone": {"choice": list(names)}}
    return sweep_of(search=search, backbone_ranking={"keep": 1})


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return a storage with a study that was begun with two of the five."""
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    rows = [judged(number, name, value) for number, (name, value) in enumerate(zip(KEPT, (0.9, 0.8), strict=True))]
    result = SweepResult(rows, interrupted=False, stopped_because=None, undelivered=0, experiment=None)
    sweep = naming(LETTERS).model_copy(update={"backbone_ranking": sweep_of().backbone_ranking})
    ranked = rank_backbones(sweep, url, lambda *_, **__: result, possible)
    store = StudyStore.create_or_load(url, ranked.sweep)
    note_ranking(store, ranked.order, ranked.dropped)
    store.close()
    return url


def test_a_study_notes_how_its_backbones_were_ranked(url: str) -> None:
    assert noted_order(StudyStore.load(url, "birds")) == [("resnet18", 0.9), ("resnet34", 0.8)]


@pytest.mark.parametrize(
    ("written", "searched", "new"),
    [
        (LETTERS, KEPT, ()),
        (LETTERS[1:], ["resnet34"], ()),  # without one of the best, and none that was dropped comes in its place
        (
            [*LETTERS[:2], "vit_tiny_patch16_224", *LETTERS[2:]],
            ["resnet18", "vit_tiny_patch16_224", "resnet34"],
            ("vit_tiny_patch16_224",),
        ),
        (["resnet18", "resnet34", "resnet50"], KEPT, ()),
    ],
)
def test_an_extended_study_has_its_backbones_that_are_still_written_and_new_ones(
    url: str, written: list[str], searched: list[str], new: tuple[str, ...], tmp_path: Path
) -> None:
    sweep = naming(written)
    extended, found = extended_to(url, sweep)
    assert (list(options(extended.search.backbone)), found) == (searched, new)
    if searched != KEPT:
        with pytest.raises(StudyChanged, match=r"with other backbones.* sweeper extend birds FILE"):
            rank_backbones(sweep, url, lambda *_, **__: pytest.fail("ranks again"), possible)
    outcome = extend_study(Workspace(tmp_path), url, extended)
    assert (outcome.aside is None) == (searched == KEPT)
    ranked = rank_backbones(sweep, url, lambda *_, **__: pytest.fail("ranks again"), possible)
    assert list(options(ranked.sweep.search.backbone)) == searched
    StudyStore.create_or_load(url, ranked.sweep).close()


def test_what_has_changed_is_named(url: str) -> None:
    with pytest.raises(
        StudyChanged, match="no longer names resnet18 and now names resnet14t, which the study does not search; undo"
    ):
        begun_with(url, naming([*LETTERS[1:], "resnet14t"]))


def test_a_backbone_that_was_taken_out_comes_back(url: str, tmp_path: Path) -> None:
    extend_study(Workspace(tmp_path), url, extended_to(url, naming(LETTERS[1:]))[0])
    extended, new = extended_to(url, naming(LETTERS))
    assert (list(options(extended.search.backbone)), new) == (KEPT, ("resnet18",))


def test_only_backbones_that_were_dropped_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"search\.backbone: names none that birds searches \(resnet18, resnet34\)"):
        extended_to(url, naming(["resnet26", "resnet50"]))


def test_a_study_that_was_not_ranked_takes_in_all_that_is_new(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    assert extended_to(url, naming(LETTERS)) == (naming(LETTERS), ())
    StudyStore.create_or_load(url, narrowed(naming(KEPT), KEPT, 2)).close()
    extended, new = extended_to(url, naming(LETTERS))
    assert (list(options(extended.search.backbone)), len(new)) == (LETTERS, 3)


@pytest.mark.sweeps
def test_a_run_notes_what_its_ranking_has_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = {**SPACE, "backbone_ranking": {"keep": 1, "epochs": 2}}
    study = run(space)
    (kept,) = options(study.store.sweep.search.backbone)
    names = [name for name in SPACE["search"]["backbone"]["choice"] if name != kept]
    changed = {**space, "search": {**SPACE["search"], "backbone": {"choice": names}}}
    with pytest.raises(StudyChanged, match="no longer names " + kept):
        run(changed)
    added = {**space, "search": {**SPACE["search"], "backbone": {"choice": [kept, *names, "resnet26"]}}}
    with pytest.raises(StudyChanged, match="now names resnet26, which"):
        run(added)
