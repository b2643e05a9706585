"""The tags by which a study's records are found and distinguished, and MLflow's names of how a run ended."""

from __future__ import annotations

from sweeper.results import TrialState

STUDY_TAG, TRIAL_TAG, STATE_TAG = "sweeper.study", "sweeper.trial", "sweeper.state"
ID_TAG = "sweeper.study_id"  # of experiments, runs, registered models and their versions
PLACE_TAG = "sweeper.place"  # of an experiment: the id of the folder that records there
USER_TAG, HOST_TAG, SINCE_TAG = "sweeper.user", "sweeper.host", "sweeper.since"
PARENT_TAG = "mlflow.parentRunId"
DIGEST_TAG, ENVIRONMENT_TAG = "sweeper.dataset_digest", "sweeper.environment"
PRETRAINED_TAG = "sweeper.pretrained"  # which weights the trials of a study begin from
TEACHER_TAG = "sweeper.teacher"  # which trained classifiers they learn from
SOURCE_TAGS = "sweeper.source_"  # how the tags begin that say which trial a continuation goes on from
MODEL_FILES_TAG = "sweeper.model_files"  # the digests of their content, as JSON
SIMULATED_TAG = "sweeper.simulated"  # that nothing was trained, and the seed of the curves
PRUNED_TAG, THREADS_TAG = "sweeper.pruned_at", "sweeper.threads"
REPETITION_TAG, REPEATED_TAG = (
    "sweeper.repetition",
    "sweeper.repeated_trial",
)  # of a leader's trainings with fresh seeds
FOLD_TAG = "sweeper.fold"  # of a run below that of a cross-validated trial: TRIAL/FOLD, or REPETITION/FOLD of a leader
AVERAGED_TAG = "sweeper.averaged_epochs"  # whose weights a trial was to average, as far as it has
WEIGHTS_TAG = "sweeper.weights"  # `lost` in a run that the doctor has made anew without them
DEVICE_TAG, REASON_TAG = "sweeper.device", "sweeper.reason"
LOOKS_TAG, LOOKED_AT_TAG, LOOK_DIGEST_TAG = "sweeper.test_looks", "sweeper.test_looked_at", "sweeper.test_digest"
LOOK_FORCED_TAG, CONFIRMED_TAG = "sweeper.test_look_forced", "sweeper.confirmed"
EXPORT_DIGEST_TAG, ACCURACY_TAG = "sweeper.export_digest", "sweeper.val_accuracy"  # of a version of a model
BEST_TRIAL_TAG, BEST_VALUE_TAG = "sweeper.best_trial", "sweeper.best_value"
TRIALS_TAG = "sweeper.trials."  # how the tags begin that count trials by state
NOTE_TAG = "mlflow.note.content"  # what MLflow shows as the description
SWEEP = "sweep"  # in place of a number, for the parent run
STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAILED: "FAILED"}
