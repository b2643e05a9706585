"""The trained classifiers that trials learn from: looked up once, kept, recorded, and required to stay what they were.

As with pretrained weights (`study/pretrained.py`), a reference to a study means the same trial, or the same members of
an ensemble, for as long as the study lives that names it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.searched import options
from sweeper.config.sweep import SweepConfig
from sweeper.config.weights import PREFIX, ensemble_reference, study_reference
from sweeper.data.class_titles import class_titles
from sweeper.data.index import ImageIndex
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem, StudyError
from sweeper.paths import ExportFolder, StudyFolder, Workspace
from sweeper.results import PinnedTeacher, Teacher
from sweeper.scores.confusion import read_confusion
from sweeper.search.study_store import StudyStore
from sweeper.standings.trial_names import require_weights, trial_of
from sweeper.study.card import read_card
from sweeper.study.earlier_study import KEY, EarlierStudy, require_same_code
from sweeper.study.ensemble_teacher import ensemble_of
from sweeper.study.exported_teacher import network_of, read_exported_teacher
from sweeper.study.pretrained import file_digest, is_kept, keep, naming, weights_changed

Teachers = dict[str, PinnedTeacher]
"""By the value of `search.teacher.name` that they stand for: a reference to a study or the folder of an export."""


def pin_teachers(
    sweep: SweepConfig,
    known: Mapping[str, PinnedTeacher],
    workspace: Workspace,
    storage_url: str,
    tracking_uri: str,
    *,
    source: str | None = None,
) -> Teachers:
    """Return what every teacher of a search space stands for, and see to it that its weights lie here.

    Args:
        sweep: The search space.
        known: What its study began with; empty for a new one, but for one that goes on from a trial what taught that.
        workspace: Where weights are kept.
        storage_url: Where the studies are that are referred to.
        tracking_uri: Where their weights are, if this machine has not run them.
        source: The study whose trial a new one goes on from.

    Raises:
        StudyError: the study, trial or export is missing, has no weights, no ensemble, or a network that is not known
            here. StudyChanged when the teacher is another than the study began with. TrackingError when MLflow cannot
            be reached.
    """
    pinned: Teachers = {}
    for value in _names(sweep):
        before = known.get(value)
        with naming(KEY, value):
            if not value.startswith(PREFIX):
                found = _of_export(Path(value), workspace, sweep.model_files, new=before is None)
            elif before is not None and is_kept(workspace, before):
                found = before
            else:
                found = _brought(value, before, sweep, workspace, storage_url, tracking_uri)
        if before is not None and _differ(before, found):
            remedy = "name another teacher, --set search.teacher.name=…" if source else None
            raise weights_changed(source or sweep.study, value, before, found, remedy)
        pinned[value] = found
    return pinned


def _brought(
    value: str,
    before: PinnedTeacher | None,
    sweep: SweepConfig,
    workspace: Workspace,
    storage_url: str,
    tracking_uri: str,
) -> PinnedTeacher:
    """Bring what a reference to a study means here: a trial, or its ensemble."""
    reference = study_reference(value) if (ensemble := ensemble_reference(value)) is None else None
    store = StudyStore.load(storage_url, reference.study if reference else str(ensemble))
    earlier = EarlierStudy(sweep, workspace, store, tracking_uri, new=before is None)
    return _of_study(earlier, reference.number, before) if reference else ensemble_of(earlier, before)


def _names(sweep: SweepConfig) -> Iterator[str]:
    """Yield the names of the teachers that a trial may have."""
    named = [name for option in options(sweep.search.teacher) for name in options(option.name)]
    yield from dict.fromkeys(name for name in named if name != "none")


def _differ(before: PinnedTeacher, found: PinnedTeacher) -> bool:
    return any(getattr(before, part) != getattr(found, part) for part in ("digest", "networks", "classes"))


def _of_export(folder: Path, workspace: Workspace, model_files: Sequence[str], *, new: bool) -> PinnedTeacher:
    export = read_exported_teacher(folder)
    if new:
        code = {file_digest(folder / name) for name in export.model_files}
        require_same_code(export.networks, code, model_files)
    digest = keep(workspace, ExportFolder(folder).weights)
    return PinnedTeacher(digest=digest, networks=export.networks, classes=export.classes, seen=export.seen)


def _of_study(earlier: EarlierStudy, number: int | None, before: PinnedTeacher | None) -> PinnedTeacher:
    """Bring the weights of a study's trial here; once it is known which trial that is, never another's."""
    row = trial_of(earlier.store, before.trial if before is not None else number)
    config, _ = require_weights(earlier.store, row)
    network = network_of(config.backbone, config.head, config.image_size, config.test_time_augmentation)
    earlier.require_same_code([network])
    with tempfile.TemporaryDirectory(prefix="sweeper-teacher-") as folder:
        artifacts = earlier.fetch(row, Path(folder), ("weights", "confusion"))
        return PinnedTeacher(
            digest=keep(earlier.workspace, artifacts.weights),
            study=earlier.store.sweep.study,
            trial=row.number,
            run_id=artifacts.run_id,
            networks=(network,),
            classes=tuple(read_confusion(artifacts.confusion)[1]),
        )


def require_same_classes(teachers: Mapping[str, PinnedTeacher], sweep: SweepConfig, index: ImageIndex) -> None:
    """Raise ConfigError where a teacher has other classes than the images, or the same in another order."""
    for value, teacher in teachers.items():
        own = index.classes if teacher.study is None else class_titles(index.root, index.classes)
        if tuple(teacher.classes) != own:
            rule = f"should know the classes of the images of {sweep.study}, in their order; {value} does not"
            raise ConfigError([Problem(IN_SEARCH_SPACE, KEY, f"{rule}: {_difference(teacher.classes, own)}")])


def _difference(known: Sequence[str], own: Sequence[str]) -> str:
    if len(known) != len(own):
        return f"it has {len(known):,} classes, and the images have {len(own):,}"
    place = next(place for place, pair in enumerate(zip(known, own, strict=True)) if pair[0] != pair[1])
    return f"its class {place + 1:,} is {known[place]}, and that of the images is {own[place]}"


def told(teachers: Mapping[str, PinnedTeacher], sweep: SweepConfig) -> Iterator[tuple[str, str]]:
    """Yield what is said of each teacher before the first trial, with its subject."""
    for value, teacher in teachers.items():
        names = " and ".join(network.backbone for network in teacher.networks)
        size = teacher.networks[0].image_size
        yield "teacher", f"{value}{teacher.origin}: {names} on images of {size} pixels, digest {teacher.digest}"
    stored = {"head", "last_stage"} if sweep.features.last_stage else {"head"}
    if teachers and sweep.features.cache and stored & set(options(sweep.search.trainable)):
        yield "", "what has a teacher is trained on images, not on stored features: its teacher must see them"


def kept_teachers(teachers: Mapping[str, PinnedTeacher], workspace: Workspace) -> dict[str, Teacher]:
    """Return what a worker needs of the teachers of a study, by their names."""
    return {
        value: Teacher(
            weights=str(workspace.weights(pinned.digest)),
            digest=pinned.digest,
            networks=pinned.networks,
            classes=len(pinned.classes),
        )
        for value, pinned in teachers.items()
    }


def kept_teacher(config: TrialConfig, folder: StudyFolder, workspace: Workspace) -> Teacher | None:
    """Return the teacher of a trial of a study, or None for one without. Raises StudyError when its file is gone."""
    name = config.teacher.name
    if name == "none":
        return None
    card = read_card(folder)
    found = kept_teachers(card.teachers if card else {}, workspace).get(name)
    if found is None or not Path(found.weights).exists():
        raise StudyError(f"the weights of the teacher {name} are gone; `sweeper run` brings them again")
    return found
