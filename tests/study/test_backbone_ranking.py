"""The search space that ranks backbones, and what the ranking leaves of another one."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from sweeper.config.contradictions import contradictions
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.searched import options
from sweeper.config.sweep import BackboneRankingConfig, SweepConfig
from sweeper.errors import ConfigError, StudyChanged, StudyError
from sweeper.results import TrialRow, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.study.backbone_ranking import in_rank_order, left_out, narrowed, rank_backbones, ranking_sweep
from sweeper.study.chosen_backbones import begun_with, note_ranking
from sweeper.study.result import ASKED_TO_STOP, SweepResult
from sweeper.study.run import _put_in_queue
from tests.standings.test_ranking import row
from tests.study.test_driver import Silent

NAMES = ["resnet18", "resnet34", "resnet50", "vit_tiny_patch16_224"]


def sweep_of(**changes: Any) -> SweepConfig:
    content: dict[str, Any] = {
        "study": "birds",
        "dataset": {"builtin": "digits", "val_fraction": 0.3},
        "budget": {"trials": 9, "epochs": 30, "timeout": "8h"},
        "backbone_ranking": {"keep": 2},
        "seed": 3,
        "device": "cpu",
        "search": {
            "backbone": {"choice": NAMES},
            "pretrained": True,
            "image_size": {"choice": [32, 64]},
            "optimizer": {"name": "sgd", "lr": {"float": [0.01, 0.1]}},
        },
    }
    return SweepConfig.model_validate({**content, **changes})


def judged(number: int, backbone: str, value: float | None) -> TrialRow:
    state = TrialState.FAILED if value is None else TrialState.COMPLETE
    config = TrialConfig(backbone=backbone).model_dump_json()
    return row(number, value, state).model_copy(update={"config_json": config})


def possible(_: SweepConfig) -> None:
    """Refuse nothing."""


def test_a_moment_by_which_all_is_to_be_done_leaves_the_ranking_its_part_of_all_the_time() -> None:
    """Of four hours 50 minutes are used, so that the file says 190 minutes when it goes on; five are lost."""
    sweep = sweep_of(budget={"trials": 9, "epochs": 30, "for": 185 * 60})
    ranked = ranking_sweep(sweep, BackboneRankingConfig(), beside_s=50 * 60)
    assert ranked.budget.timeout == (185 + 50) / 4 * 60


def test_every_backbone_gets_one_head_on_its_frozen_features() -> None:
    sweep = sweep_of()
    first = ranking_sweep(sweep, BackboneRankingConfig(epochs=7, train_images=500))
    assert (first.study, first.budget.trials, first.budget.epochs) == ("birds-backbones", 4, 7)
    assert first.budget.timeout == 2 * 3600
    assert (first.search.trainable, first.search.pretrained, first.search.image_size) == ("head", True, 64)
    assert list(options(first.search.backbone)) == NAMES
    assert first.dataset.limit.train_images == 500
    assert (first.dataset.val_fraction, first.seed, first.device) == (0.3, 3, "cpu")
    assert first.features.cache
    assert first.sampler.name == "grid"


def test_the_ranking_has_a_name_of_its_own_on_a_server_too() -> None:
    named = sweep_of(tracking={"name": "anna-birds", "tensorboard": True})
    ranking = ranking_sweep(named, BackboneRankingConfig())
    assert (ranking.tracking.name, ranking.tracking.tensorboard) == ("anna-birds-backbones", True)
    assert ranking_sweep(sweep_of(), BackboneRankingConfig()).tracking.name is None
    assert [place for place, _ in contradictions(sweep_of(tracking={"name": "b" * 95}))] == [("tracking", "name")]


def test_the_smaller_limit_of_the_two_counts() -> None:
    limited = sweep_of(dataset={"builtin": "digits", "limit": {"train_images": 300}})
    for given, expected in ((500, 300), (100, 100), (None, 300)):
        assert ranking_sweep(limited, BackboneRankingConfig(train_images=given)).dataset.limit.train_images == expected
    assert ranking_sweep(sweep_of(), BackboneRankingConfig(train_images=None)).dataset.limit.train_images is None


def test_the_best_are_searched_in_the_order_of_the_file() -> None:
    values = (0.3, 0.9, None, 0.5)
    rows = [judged(number, name, value) for number, (name, value) in enumerate(zip(NAMES, values, strict=True))]
    order = in_rank_order(rows, "maximize")
    assert order == [("resnet34", 0.9), ("vit_tiny_patch16_224", 0.5), ("resnet18", 0.3)]
    assert in_rank_order(rows, "minimize")[0] == ("resnet18", 0.3)
    names = [name for name, _ in order]
    assert list(options(narrowed(sweep_of(), names, 2).search.backbone)) == ["resnet34", "vit_tiny_patch16_224"]
    assert narrowed(sweep_of(), names, 1).search.backbone == "resnet34"
    assert narrowed(sweep_of(), names, 2).backbone_ranking is None


def test_what_is_enqueued_stays_in_the_search_space() -> None:
    sweep = sweep_of(enqueue={"mine": {"backbone": "resnet18"}, "other": {"seed": 1}})
    kept = options(narrowed(sweep, ["resnet34", "resnet50", "resnet18"], 1).search.backbone)
    assert list(kept) == ["resnet18", "resnet34"]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (TrialState.FAILED, "`sweeper status birds-backbones` says why"),
        (
            TrialState.WAITING,
            "the ranking ended before one was judged: time is up; no backbone begins after a quarter of the time",
        ),
    ],
)
def test_where_no_backbone_could_be_judged_it_says_why(tmp_path: Path, state: TrialState, why: str) -> None:
    rows = [row(0, None, state)]
    result = SweepResult(rows, interrupted=False, stopped_because="time is up", undelivered=0, experiment=None)
    with pytest.raises(StudyError, match=why):
        rank_backbones(sweep_of(), f"sqlite:///{tmp_path / 'studies.db'}", lambda *_, **__: result, possible)


@pytest.mark.parametrize(("interrupted", "why"), [(True, None), (False, ASKED_TO_STOP)])
def test_a_ranking_that_is_cut_chooses_nothing_and_can_go_on(
    tmp_path: Path, interrupted: bool, why: str | None
) -> None:
    rows = [judged(number, name, 0.5) for number, name in enumerate(NAMES)]
    cut = SweepResult(rows[:3], interrupted=interrupted, stopped_because=why, undelivered=0, experiment=None)
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    ranked = rank_backbones(sweep_of(), url, lambda *_, **__: cut, possible)
    assert ranked.undecided
    assert (ranked.order, ranked.sweep, left_out(ranked)) == ((), sweep_of(), [])
    whole = SweepResult(rows, interrupted=False, stopped_because=None, undelivered=0, experiment=None)
    ranked = rank_backbones(sweep_of(), url, lambda *_, **__: whole, possible)
    assert (ranked.undecided, len(ranked.order)) == (False, 4)


def test_a_study_goes_on_with_the_backbones_that_it_was_begun_with(tmp_path: Path) -> None:
    url, sweep = f"sqlite:///{tmp_path / 'studies.db'}", sweep_of()
    other = StudyStore.create_or_load(url, sweep_of(study="other"))
    assert begun_with(url, sweep) is None
    store = StudyStore.create_or_load(url, narrowed(sweep, ["resnet50", "resnet18"], 2))
    note_ranking(store, [("resnet50", 0.9), ("resnet18", 0.8)], ["resnet34", "vit_tiny_patch16_224"])
    begun = begun_with(url, sweep)
    assert begun is not None
    assert list(options(begun.search.backbone)) == ["resnet18", "resnet50"]
    StudyStore.create_or_load(url, begun).close()
    store.close()
    other.close()


def test_a_study_that_goes_on_refuses_to_queue_a_backbone_that_its_ranking_has_left_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    StudyStore.create_or_load(url, ranking_sweep(sweep_of(), BackboneRankingConfig())).close()
    StudyStore.create_or_load(url, narrowed(sweep_of(), ["resnet50", "resnet18"], 2)).close()
    for backbone, refused in (("resnet34", True), ("resnet50", False)):
        begun = begun_with(url, sweep_of(enqueue={"again": {"backbone": backbone}}))
        assert begun is not None
        store = StudyStore.create_or_load(url, begun)
        told = pytest.raises(ConfigError, match=r"enqueue\.again\.backbone: 'resnet34' is not among")
        with told if refused else nullcontext():
            _put_in_queue(store, {}, Silent(), retry_failed=False)
        assert len(store.rows()) == (0 if refused else 1)
        store.close()


def test_what_could_not_be_judged_is_named_with_its_reason(tmp_path: Path) -> None:
    failed = judged(1, "resnet34", None).model_copy(update={"reason": "no weights"})
    rows = [judged(0, "resnet18", 0.5), failed, judged(2, "resnet50", 0.6)]
    result = SweepResult(rows, interrupted=False, stopped_because=None, undelivered=0, experiment=None)
    ranked = rank_backbones(sweep_of(), f"sqlite:///{tmp_path / 'studies.db'}", lambda *_, **__: result, possible)
    assert list(options(ranked.sweep.search.backbone)) == ["resnet18", "resnet50"]
    assert left_out(ranked) == [
        ("resnet34", "no weights"),
        ("vit_tiny_patch16_224", "the ranking ended before"),
    ]


def test_the_time_of_the_ranking_is_told_to_the_search(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"

    def run(first: SweepConfig, **_: object) -> SweepResult:
        store = StudyStore.create_or_load(url, first)
        store.add_seconds_used(100.0)
        store.close()
        rows = [judged(0, "resnet18", 0.5)]
        return SweepResult(rows, interrupted=False, stopped_because=None, undelivered=0, experiment=None)

    first = rank_backbones(sweep_of(), url, run, possible)
    assert (first.seconds, first.earlier_s) == (100.0, 0.0)
    again = rank_backbones(sweep_of(), url, run, possible)
    assert (again.seconds, again.earlier_s) == (200.0, 100.0)
    StudyStore.create_or_load(url, again.sweep).close()
    later = rank_backbones(sweep_of(), url, run, possible)
    assert (later.seconds, later.earlier_s) == (200.0, 200.0)


def test_a_ranking_made_otherwise_says_how_to_make_it_again(tmp_path: Path) -> None:
    def changed(first: SweepConfig, **_: object) -> SweepResult:
        raise StudyChanged(f"the study {first.study} was started with other settings of: epochs. Something else")

    rule = "other settings of: epochs; to rank the backbones again: sweeper delete birds-backbones, then"
    with pytest.raises(StudyChanged, match=rule):
        rank_backbones(sweep_of(), f"sqlite:///{tmp_path / 'studies.db'}", changed, possible)
