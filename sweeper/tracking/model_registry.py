"""MLflow's model registry: an export becomes a version that `mlflow models serve` can serve."""

from __future__ import annotations

import io
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from sweeper.errors import TrackingError, TrackingRefused
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.request_settings import time_for_file
from sweeper.tracking.tags import EXPORT_DIGEST_TAG, ID_TAG, STUDY_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import Model, ModelSignature

ALIAS = "best"
PACKAGES = ("mlflow", "numpy", "onnxruntime", "pandas", "pillow")
"""All that a served model imports."""

SERVED_MODEL = "served_model.py"
"""The program beside this one that MLflow stores with a model and runs."""

TOP = 5
"""How many classes an answer lists unless the request says otherwise."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model; `new` unless the very same content was registered before."""

    name: str
    version: str
    new: bool

    @property
    def uri(self) -> str:
        """What `mlflow models serve -m` takes."""
        return f"models:/{self.name}@{ALIAS}"


@dataclass(frozen=True)
class ServableExport:
    """What the registry takes from an export.

    `files` are what a served model reads, `config.json` and `model.onnx` among them, and `picture` is the folder
    of the programs that prepare an image for it; `digest` names their content; `image_size` is that of the input
    example; `description` is Markdown.
    """

    files: Sequence[Path]
    picture: Path
    digest: str
    classes: int
    image_size: int
    description: str
    tags: Mapping[str, str]


class ModelRegistry:
    """The registry that belongs to a tracking store."""

    def __init__(self, store: MlflowStore):
        self._store = store

    def register(self, name: str, run: str, export: ServableExport, study: str | None = None) -> RegisteredVersion:
        """Store an export as a model of its run, register it under `name` and let the alias `best` point to it.

        An export that has a version already gets no other one; the alias points to that. `study` is the id of the
        study that it is of.

        Raises:
            TrackingError: the store has no registry, cannot be reached, or refuses the model.
            TrackingRefused: the model of this name is another study's, whose alias stays where it is.
        """
        with self._store.client() as client:
            self._require_registry(client)
            self._require_own_model(client, name, study)
            there = _version_of(client, name, export.digest)
            if there is not None:
                client.set_registered_model_alias(name, ALIAS, there.version)
                return RegisteredVersion(name, str(there.version), new=False)
            model = _log_model(client, run, export)
            _ensure_model(client, name, study)
            made = client.create_model_version(
                name,
                source=model.artifact_location,
                run_id=run,
                model_id=model.model_id,
                tags={**export.tags, EXPORT_DIGEST_TAG: export.digest},
                description=export.description,
            )
            client.set_registered_model_alias(name, ALIAS, made.version)
            return RegisteredVersion(name, str(made.version), new=True)

    def _require_own_model(self, client: MlflowClient, name: str, study: str | None) -> None:
        """Raise TrackingRefused where a model of this name has versions of another study."""
        model = _registered(client, name)
        if model is None:
            return
        versions = client.search_model_versions(f"name = '{name}'")
        owners = {model.tags.get(ID_TAG), *(version.tags.get(ID_TAG) for version in versions)} - {None}
        unmarked = [version for version in versions if ID_TAG not in version.tags and ID_TAG not in model.tags]
        if owners <= {study} and all(_is_of(client, version, study) for version in unmarked):
            return
        whose = ", ".join(f"id {owner}" for owner in sorted(map(str, owners))) or "of an earlier version of sweeper"
        raise TrackingRefused(
            f"the model {name} in the registry of {self._store.shown_uri} belongs to another study ({whose}), and its "
            f"alias {ALIAS} is not moved: register yours under another name with --tracking-name NAME"
        )

    def _require_registry(self, client: MlflowClient) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.search_registered_models(max_results=1)
        except MlflowException as error:
            raise TrackingError(
                f"the tracking store {self._store.shown_uri} has no model registry that answers "
                f"({str(error).splitlines()[0]}); use a database or a tracking server"
            ) from error


def models_of(client: MlflowClient, study: str | None) -> tuple[str, ...]:
    """Return the names of the registered models of a study, by its id; none where there is no registry."""
    from mlflow.exceptions import MlflowException

    if study is None:
        return ()
    try:
        found = client.search_registered_models(filter_string=f"tags.`{ID_TAG}` = '{study}'")
    except MlflowException:
        return ()
    return tuple(str(model.name) for model in found)


def _version_of(client: MlflowClient, name: str, digest: str) -> Any:
    """Return the newest version that holds an export, by the export's digest, or None."""
    found = client.search_model_versions(f"name = '{name}'") if _registered(client, name) is not None else []
    mine = [version for version in found if version.tags.get(EXPORT_DIGEST_TAG) == digest]
    return max(mine, key=lambda version: int(version.version), default=None)


def _registered(client: MlflowClient, name: str) -> Any:
    """Return the model of this name, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _is_of(client: MlflowClient, version: Any, study: str | None) -> bool:
    """Return whether a version that bears no id is of a study: its run says so, or both are of earlier versions."""
    from mlflow.exceptions import MlflowException

    try:
        tags = client.get_run(version.run_id).data.tags if version.run_id else {}
    except MlflowException:  # the run is gone
        tags = {}
    return tags.get(ID_TAG) == study and STUDY_TAG in tags


def _ensure_model(client: MlflowClient, name: str, study: str | None) -> None:
    """Make the model, or let one that is there bear the study's id."""
    from mlflow.exceptions import MlflowException

    tags = {ID_TAG: study} if study else {}
    try:
        client.create_registered_model(name, tags=tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        for key, value in tags.items():
            client.set_registered_model_tag(name, key, value)


def _log_model(client: MlflowClient, run: str, export: ServableExport) -> Any:
    """Store an export as a model of a finished run, without opening the run again: it keeps its end."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    experiment = client.get_run(run).info.experiment_id
    logged = client.create_logged_model(experiment, name="classifier", source_run_id=run, tags=dict(export.tags))
    with tempfile.TemporaryDirectory(prefix="sweeper-register-") as temporary:
        folder = Path(temporary) / "model"
        try:
            card = Model(logged.artifact_location, run, model_uuid=logged.model_id, model_id=logged.model_id)
            save_served(export, folder, card)
            with time_for_file(sum(path.stat().st_size for path in folder.rglob("*"))):
                client.log_model_artifacts(logged.model_id, str(folder))
            client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
    client.finalize_logged_model(logged.model_id, "READY")
    return logged


def save_served(export: ServableExport, folder: Path, model: Model | None = None) -> None:
    """Write an export as an MLflow model: its files, the program that serves it, signature and input example."""
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="sweeper-served-") as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's of its own types, and pandas' of how MLflow uses it
        import mlflow.pyfunc

        staged = Path(temporary) / "export"  # its name is that of the folder in the model
        staged.mkdir()
        for file in export.files:
            shutil.copyfile(file, staged / file.name)
        shutil.copytree(export.picture, staged / "picture", ignore=shutil.ignore_patterns("__pycache__"))
        mlflow.pyfunc.save_model(
            path=str(folder),
            mlflow_model=model,
            python_model=str(Path(__file__).with_name(SERVED_MODEL)),
            artifacts={"export": str(staged)},
            signature=_signature(min(TOP, export.classes)),
            input_example=pd.DataFrame({"image": [example_image(export.image_size)]}),
            pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES],
            metadata=dict(export.tags),
        )


def example_image(side: int) -> bytes:
    """Return a PNG of a grey ramp: an example of the input that gives away no image of the data set."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(file, "PNG")
    return file.getvalue()


def _signature(top: int) -> ModelSignature:
    """Say what a request holds, files of images as base64, and what the answer to it."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "class"),
                ColSpec(DataType.double, "probability"),
                ColSpec(Array(DataType.string), "classes"),
                ColSpec(Array(DataType.double), "probabilities"),
            ]
        ),
        params=ParamSchema([ParamSpec("top", DataType.long, top)]),
    )
