"""Every file and folder that sweeper makes, by name.

All of it lies in the working directory: MLflow's and Optuna's databases beside each other, and everything of ours
under `.sweeper/`.
"""

from sweeper.paths.finished import EvaluationFolder, ExportFolder, folder_of_class
from sweeper.paths.study import SEARCH_SPACE, STATE, FoldsFolder, StartFolder, StudyFolder
from sweeper.paths.trial import BEST_CONFUSION, CONFIG, TrialFolder
from sweeper.paths.workspace import MLFLOW_ARTIFACTS, WRITTEN_LISTS, FetchedFolder, Workspace

__all__ = [
    "BEST_CONFUSION",
    "CONFIG",
    "MLFLOW_ARTIFACTS",
    "SEARCH_SPACE",
    "STATE",
    "WRITTEN_LISTS",
    "EvaluationFolder",
    "ExportFolder",
    "FetchedFolder",
    "FoldsFolder",
    "StartFolder",
    "StudyFolder",
    "TrialFolder",
    "Workspace",
    "folder_of_class",
]
