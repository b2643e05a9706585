"""What MLflow's errors mean: a server that is away and may come back, or a refusal that no repetition changes."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from sweeper.credentials import hide_credentials
from sweeper.errors import TrackingError, TrackingRefused, first_line

LOG_IN = "log in with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
DELETED = "what the study was recorded in has been deleted: restore it, or record it anew with sweeper doctor --fix"
REMEDIES = {
    "CUSTOMER_UNAUTHORIZED": LOG_IN,
    "UNAUTHENTICATED": LOG_IN,
    "PERMISSION_DENIED": f"ask for the right to write there, or {LOG_IN} as somebody who has it",
    "RESOURCE_DOES_NOT_EXIST": DELETED,
    "NOT_FOUND": DELETED,
    "ENDPOINT_NOT_FOUND": "no MLflow answers there: correct --tracking-uri, or bring the server to version 3",
    "RESOURCE_LIMIT_EXCEEDED": "its quota is used up: make room there, or name another address with --tracking-uri",
    "FEATURE_DISABLED": "name another address with --tracking-uri",
    "NOT_IMPLEMENTED": "name another address with --tracking-uri",
    "INVALID_PARAMETER_VALUE": "see what it says; sweeper doctor shows how study and records differ",
    "BAD_REQUEST": "see what it says; sweeper doctor shows how study and records differ",
    "MALFORMED_REQUEST": "see what it says; the server may be of another version",
    "INVALID_STATE": "see what it says; sweeper doctor shows how study and records differ",
    "RESOURCE_ALREADY_EXISTS": "see what it says; sweeper doctor shows how study and records differ",
}
"""By MLflow's code of the errors that stay, however often a request is repeated: what changes that."""

PLAIN_FILES = "it no longer keeps records in plain files"
NO_FILE_STORE = (
    "leave --tracking-uri out, or name a database, sqlite:///mlflow.db, or a server; `mlflow migrate-filestore` moves "
    "what is there, and MLFLOW_ALLOW_FILE_STORE=true lets MLflow write files all the same"
)
NO_SUCH_STORE = "correct --tracking-uri; a database of an older MLflow is brought up to date by `mlflow db upgrade`"
NO_CERTIFICATE = "name the certificate with MLFLOW_TRACKING_SERVER_CERT_PATH"
NOT_OURS_TO_WRITE = (
    "the files of runs go there, and this user may not write there: change that, or start the server with "
    "--serve-artifacts and --artifacts-destination"
)
PASSING = (408, 425, 429)  # of the HTTP status codes from 400 to 499, those that a repetition may change


MISSING = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")


def tracking_error(error: Exception, uri: str, *, connecting: bool = False, reading: bool = False) -> TrackingError:
    """Return what a foreign error means to a study.

    `connecting`: nothing had been asked of a server yet. `reading`: of something by its name, which may be wrong.
    """
    said = first_line(error)
    missing = reading and getattr(error, "error_code", None) in MISSING
    remedy = None if missing else _remedy(error, uri, connecting=connecting)
    if remedy is None:
        return TrackingError(hide_credentials(f"MLflow at {uri}: {said}"))
    said = PLAIN_FILES if remedy is NO_FILE_STORE else said.rstrip(".")
    return TrackingRefused(hide_credentials(f"MLflow at {uri}: {said}. This stays so: {remedy}"))


def damaged_database(uri: str, error: Exception) -> TrackingError:
    """Return what to say of a database that holds something else than MLflow wrote."""
    said = first_line(error)
    return TrackingError(
        f"MLflow's database {uri} holds something else than was written there ({said}): it is damaged, or another "
        "program has changed it; bring back a copy from before, or move it away and run `sweeper doctor STUDY --fix`, "
        "which makes runs of what the study's storage knows"
    )


def _remedy(error: Exception, uri: str, *, connecting: bool) -> str | None:
    """Return what to change where a repetition changes nothing, else None."""
    from mlflow.exceptions import InvalidUrlException, MlflowException
    from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
    from requests.exceptions import HTTPError

    chain = list(_chain(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain):
        return NO_CERTIFICATE
    if isinstance(error, PermissionError):
        return NOT_OURS_TO_WRITE
    if isinstance(error, HTTPError) and error.response is not None:
        return _remedy_of_status(error.response.status_code)
    if not isinstance(error, MlflowException):
        return None
    if connecting and ("://" not in uri or uri.partition(":")[0] == "file"):
        return NO_FILE_STORE
    nonsense = isinstance(error, InvalidUrlException | UnsupportedModelRegistryStoreURIException)
    if nonsense or (connecting and len(chain) == 1):
        return NO_SUCH_STORE
    return REMEDIES.get(str(error.error_code))


def _remedy_of_status(status: int) -> str | None:
    if status in (401, 403):
        return REMEDIES["PERMISSION_DENIED"]
    if status == 507:  # insufficient storage
        return REMEDIES["RESOURCE_LIMIT_EXCEEDED"]
    return REMEDIES["BAD_REQUEST"] if 400 <= status < 500 and status not in PASSING else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
