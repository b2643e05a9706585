"""A study's experiment and runs in MLflow: found by the study's id, whatever they are called, and by nothing else.

An experiment belongs to one study, and to one folder. Where another has the name, or the folder, nothing is written.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from sweeper.config.sweep import ObjectiveConfig
from sweeper.errors import TrackingRefused
from sweeper.identity import Identity
from sweeper.paths import MLFLOW_ARTIFACTS
from sweeper.tracking.mlflow_store import EXPERIMENT_TAGS, MlflowStore
from sweeper.tracking.relocation import other_folder
from sweeper.tracking.run_listing import ListedRun, list_runs
from sweeper.tracking.runs import RunSummary
from sweeper.tracking.tags import (
    HOST_TAG,
    ID_TAG,
    PARENT_TAG,
    PLACE_TAG,
    SINCE_TAG,
    STUDY_TAG,
    USER_TAG,
)
from sweeper.tracking.trial_runs import runs_of_trials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


@dataclass(frozen=True)
class Recorded:
    """Which records are a study's.

    Without an `id` it was begun by a version of sweeper that gave none, and its name must do; `adopted`: it has got one
    since, which its records may not bear yet. `name` is what its experiment and its model are called where they are
    made, `run` a run that is known to be its parent run. `identity` is that of who writes.
    """

    study: str
    id: str | None = None
    name: str | None = None
    run: str | None = None
    adopted: bool = False
    identity: Identity | None = None

    @classmethod
    def to_write(cls, study: str, identity: Identity | None, name: str | None, run: str | None = None) -> Self:
        """Return the records of a study for the folder that records there."""
        known = identity.id if identity else None
        return cls(study, known, name, run, identity is not None and identity.adopted, identity)

    @property
    def called(self) -> str:
        return self.name or self.study

    def tags(self, kind: str, number: str) -> dict[str, str]:
        """Return what distinguishes one of its runs from all others."""
        return {**({STUDY_TAG: self.study} if self.id is None else {ID_TAG: self.id}), kind: number}

    def without_id(self) -> Recorded:
        """Return the same records as an earlier version of sweeper wrote them."""
        return replace(self, id=None)


class StudyRecords:
    """The records of one study at one address."""

    def __init__(self, store: MlflowStore, recorded: Recorded):
        self.store = store
        self.recorded = recorded

    def find(self) -> str | None:
        """Return the id of the study's experiment, to read it; None where there is none."""
        with self.store.client() as client:
            found = self._by_id(client) or self._by_name(client)
        return None if found is None else str(found.experiment_id)

    def find_run(self, kind: str, number: str) -> str | None:
        """Return the id of a run, by what counts it: TRIAL_TAG or REPETITION_TAG."""
        with self.store.client() as client:
            mine = self._by_id(client)
            found = mine or self._by_name(client)
        if found is None:
            return None
        recorded = self.recorded if mine is not None else self.recorded.without_id()
        return self.store.find_run(str(found.experiment_id), recorded.tags(kind, number))

    def require_not_deleted(self) -> None:
        """Raise TrackingRefused where runs are not found since their experiment has been deleted."""
        with self.store.client() as client:
            found = self._by_id(client) or self._by_name(client)
        if found is not None and found.lifecycle_stage == "deleted":
            raise TrackingRefused(
                f"the experiment {found.name} on this server, which holds the runs of {self.recorded.study}, has been "
                f"deleted: {_restored(found)}"
            )

    def listing(self, *tags: str) -> list[ListedRun]:
        """Return all runs of the study's experiment with these tags, oldest first; none without an experiment."""
        experiment = self.find()
        if experiment is None:
            return []
        with self.store.client() as client:
            return list_runs(client, experiment, tags)

    def of_trials(self, trials: Collection[int], objective: ObjectiveConfig) -> dict[int, RunSummary]:
        """Return the run of each of these trials that has one, the later of two."""
        experiment = self.find()
        if experiment is None:
            return {}
        order = "ASC" if objective.direction == "minimize" else "DESC"
        with self.store.client() as client:
            return runs_of_trials(client, experiment, trials, f"metrics.`best/{objective.metric}` {order}")

    def examine(self) -> None:
        """Raise TrackingRefused where `begin` would; nothing is written."""
        with self.store.client() as client:
            self._examined(client)

    def require_own_place(self) -> None:
        """Raise TrackingRefused where the study's experiment belongs to another folder than that of who writes."""
        with self.store.client() as client:
            found = self._by_id(client)
            if found is not None:
                self._require_same_place(found)

    def own_experiment(self, client: MlflowClient) -> Experiment | None:
        """Return the study's experiment, deleted or not; None where there is none.

        Raises TrackingRefused where it belongs to another folder than that of who writes.
        """
        found = self._by_id(client) or self._by_name(client)
        if found is not None:
            self._require_same_place(found)
        return found

    def begin(self) -> str:
        """Return the id of the experiment to write to, which is made, or made the study's, where need be.

        Raises TrackingRefused where it is another study's, another folder's, or deleted.
        """
        with self.store.client() as client:
            found = self._examined(client)
            if found is None:
                made = self._made(client)
                if made is not None:
                    return made
                found = self._examined(client)  # another process was faster; perhaps it was one of ours
            if found is None:
                raise TrackingRefused(f"the experiment {self.recorded.called} appears and disappears; try again")
            self._mark(client, found)
            return str(found.experiment_id)

    def _by_id(self, client: MlflowClient) -> Experiment | None:
        from mlflow.entities import ViewType

        if self.recorded.id is None:
            return None
        wanted = f"tags.`{ID_TAG}` = '{self.recorded.id}'"
        found = client.search_experiments(view_type=ViewType.ALL, filter_string=wanted)
        return min(found, key=lambda one: (one.lifecycle_stage == "deleted", int(one.creation_time or 0)), default=None)

    def _by_name(self, client: MlflowClient) -> Experiment | None:
        """Return the experiment of a study that has no id, or whose records have got none yet."""
        if self.recorded.id is not None and not self.recorded.adopted:
            return None
        found = client.get_experiment_by_name(self.recorded.called)
        return found if found is not None and ID_TAG not in found.tags else None

    def _examined(self, client: MlflowClient) -> Experiment | None:
        """Return the experiment that the study writes to, None where it is still to be made. Raises TrackingRefused."""
        mine = self._by_id(client)
        found = mine or client.get_experiment_by_name(self.recorded.called)
        if found is None:
            return None
        if mine is None:
            self._require_free(client, found)
        self._require_same_place(found)
        if found.lifecycle_stage == "deleted":
            raise TrackingRefused(
                f"the experiment {found.name} on this server, in which {self.recorded.study} would be recorded, has "
                f"been deleted: {_restored(found)}, or record the study under another name with --tracking-name NAME"
            )
        return found

    def _require_free(self, client: MlflowClient, found: Experiment) -> None:
        """Raise TrackingRefused where an experiment of the study's name is another study's."""
        study, name = self.recorded.study, self.recorded.called
        what = f"study {study}" if name == study else f"experiment {name}"
        advice = "give yours another `study:` name, or record it under another one with --tracking-name NAME"
        if ID_TAG in found.tags:
            raise TrackingRefused(
                f"the {what} on this server belongs to {self._whose(found)} ({_owner(found)}), and records of both "
                f"would mix: {advice}"
            )
        if self.recorded.identity is None or self._is_ours(client, found):
            return
        raise TrackingRefused(
            f"the {what} on this server was recorded from another folder, by an earlier version of sweeper, and "
            f"records of both would mix: {advice}"
        )

    def _whose(self, found: Experiment) -> str:
        """Say to whom an experiment of another study belongs."""
        identity, place = self.recorded.identity, found.tags.get(PLACE_TAG, "")
        here = self.store.is_ours or (identity is not None and identity.stands_for(place))
        return "an earlier study of this folder" if here else "another folder"

    def _is_ours(self, client: MlflowClient, found: Experiment) -> bool:
        """Return whether an experiment without an id holds nothing of sweeper's, or the parent run of this study."""
        if self.store.is_ours:  # of this folder alone, so that no other can have written there
            return True
        runs = client.search_runs([found.experiment_id], f"tags.`{STUDY_TAG}` LIKE '%'", max_results=1)
        if not runs:
            return True
        known = self.recorded.run
        return known is not None and str(client.get_run(known).info.experiment_id) == str(found.experiment_id)

    def _require_same_place(self, found: Experiment) -> None:
        if self.store.is_ours:
            self._require_files_here(found)
        identity, place = self.recorded.identity, found.tags.get(PLACE_TAG)
        if identity is None or place is None or identity.stands_for(place) or self.store.is_ours:
            return
        raise TrackingRefused(
            f"the study {self.recorded.study} on this server is recorded from another folder ({_owner(found)}): this "
            "folder is a copy of that one, or that one has taken the study over. Records of both would mix: go on with "
            "it there, or give yours another `study:` name. If that folder is no longer used, let the study belong to "
            f"this one: sweeper doctor {self.recorded.study} --adopt"
        )

    def _require_files_here(self, found: Experiment) -> None:
        database = self.store.database
        elsewhere = other_folder(str(found.artifact_location), database)
        if elsewhere is not None:
            files = elsewhere / MLFLOW_ARTIFACTS
            raise TrackingRefused(
                f"the files of the runs of {self.recorded.study} lie in {files}: this folder is a copy of {elsewhere} "
                "without them, and new files would go into the original. Copy them too: "
                f"cp -r {shlex.quote(str(files))} {shlex.quote(str(database.parent))}"
            )

    def _made(self, client: MlflowClient) -> str | None:
        """Make the experiment; None where another process has made it meanwhile."""
        from mlflow.exceptions import MlflowException

        tags = {**EXPERIMENT_TAGS, **self._tags()}
        where = self.store.artifacts_of(self.recorded.called)
        try:
            return str(client.create_experiment(self.recorded.called, artifact_location=where, tags=tags))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return None

    def _tags(self) -> dict[str, str]:
        """Return what an experiment says of the study and the folder that it belongs to."""
        identity = self.recorded.identity
        if identity is None:
            return {}
        place = identity.place
        return {
            ID_TAG: identity.id,
            PLACE_TAG: place.id,
            USER_TAG: place.user,
            HOST_TAG: place.host,
            SINCE_TAG: place.since,
        }

    def _mark(self, client: MlflowClient, found: Experiment) -> None:
        """Let an experiment say that it is this study's, and the runs in it that have no id yet."""
        tags = self._tags()
        if any(found.tags.get(key) != tags[key] for key in (ID_TAG, PLACE_TAG) if key in tags):
            if ID_TAG not in found.tags:
                self._mark_runs(client, str(found.experiment_id))
            for key, value in tags.items():
                client.set_experiment_tag(found.experiment_id, key, value)
            self._require_free_after_marking(client, found)

    def _require_free_after_marking(self, client: MlflowClient, found: Experiment) -> None:
        """Two may mark an experiment at the same time; the one that came last has it."""
        now = client.get_experiment(found.experiment_id)
        if now.tags.get(ID_TAG) != self._tags()[ID_TAG]:
            self._require_free(client, now)

    def _mark_runs(self, client: MlflowClient, experiment: str) -> None:
        """Give the study's id to the runs that an earlier version of sweeper made: the parent run and what is below."""
        identity = self.recorded.identity
        if identity is None:
            return
        listed = list_runs(client, experiment, (STUDY_TAG, ID_TAG, PARENT_TAG))
        runs = [run for run in listed if _is_unmarked(run, self.recorded.study)]
        ours = {self.recorded.run} if self.recorded.run else {run.id for run in runs}
        for _ in range(2):  # a confirmation's runs stand two below the study's
            ours |= {run.id for run in runs if run.tags.get(PARENT_TAG) in ours}
        for run in runs:
            if run.id in ours:
                client.set_tag(run.id, ID_TAG, identity.id)


def _is_unmarked(run: ListedRun, study: str) -> bool:
    return run.tags.get(STUDY_TAG) == study and ID_TAG not in run.tags


def _owner(found: Experiment) -> str:
    """Say to whom an experiment belongs."""
    tags: Mapping[str, str] = found.tags
    user, host, since = (tags.get(key, "unknown") for key in (USER_TAG, HOST_TAG, SINCE_TAG))
    return f"id {tags.get(ID_TAG)}, {user} on {host}, since {since}"


def _restored(found: Experiment) -> str:
    return f"bring it back (`mlflow experiments restore --experiment-id {found.experiment_id}`)"


def named(store: MlflowStore, study: str) -> Recorded:
    """Return the records of whatever study has this name there; its folder and its storage are elsewhere."""
    with store.client() as client:
        found = client.get_experiment_by_name(study)
    return Recorded(study, found.tags.get(ID_TAG) if found is not None else None)
