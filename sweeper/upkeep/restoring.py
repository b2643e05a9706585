"""A study's card from what its parent run in MLflow says."""

from __future__ import annotations

from sweeper.config.searched import varied_fields
from sweeper.paths import Workspace
from sweeper.search.study_store import StudyStore
from sweeper.tracking.delivery import StudyCard
from sweeper.tracking.mlflow_store import MlflowStore, default_tracking_uri
from sweeper.tracking.shared_view import experiment_tags
from sweeper.tracking.study_records import Recorded, StudyRecords
from sweeper.tracking.tags import (
    DIGEST_TAG,
    ENVIRONMENT_TAG,
    MODEL_FILES_TAG,
    PRETRAINED_TAG,
    SIMULATED_TAG,
    SOURCE_TAGS,
    SWEEP,
    TEACHER_TAG,
    TRIAL_TAG,
)

OF_THE_CARD = (
    DIGEST_TAG,
    ENVIRONMENT_TAG,
    MODEL_FILES_TAG,
    SIMULATED_TAG,
    "mlflow.user",
    "mlflow.source.name",
    "mlflow.source.type",
    "mlflow.source.git.commit",
)


def card_from_mlflow(workspace: Workspace, store: StudyStore, tracking_uri: str | None) -> StudyCard | None:
    """Return the card of a study as its parent run has it, or None where that does not say enough.

    Which trial a reference to another study stood for is not there. Raises TrackingError.
    """
    study, identity, name = store.sweep.study, store.identity, store.sweep.tracking.name
    recorded = Recorded.to_write(study, identity, name)
    mlflow = MlflowStore(tracking_uri or default_tracking_uri(workspace), workspace)
    run = StudyRecords(mlflow, recorded).find_run(TRIAL_TAG, SWEEP)
    if run is None:
        return None
    logged, dataset = mlflow.run(run), mlflow.dataset(run)
    if dataset is None or {PRETRAINED_TAG, TEACHER_TAG} & logged.tags.keys():
        return None
    return StudyCard(
        study=study,
        identity=identity,
        experiment=name,
        tracking_uri=mlflow.uri,
        start_ms=logged.start_ms,
        params=dict(logged.params),
        tags={key: value for key, value in logged.tags.items() if key in OF_THE_CARD or key.startswith(SOURCE_TAGS)},
        dataset=dataset,
        experiment_tags=experiment_tags(store.sweep.objective, varied_fields(store.sweep.search)),
    )
