"""What MLflow's errors mean: a server that is away and may come back, or a refusal that no repetition changes."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.credentials import hide_credentials
from sweeper.errors import TrackingError, TrackingRefused, chain_of, first_line
from sweeper.tracking.request_settings import TIMEOUT

if TYPE_CHECKING:
    from requests import Response

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
NO_CERTIFICATE = "name the certificate, or that of who signed it, with MLFLOW_TRACKING_SERVER_CERT_PATH"
NO_CERTIFICATE_THERE = "MLFLOW_TRACKING_SERVER_CERT_PATH names no file with a certificate: correct it"
OTHER_NAME = "name the server in --tracking-uri as its certificate does, or let it have a certificate for this name"
OF_CERTIFICATES = {
    9: "this machine's clock is slow, or the server took up its certificate too early",
    10: "the server needs a new certificate; if it has one, this machine's clock is fast",
    62: OTHER_NAME,
    64: OTHER_NAME,
}
"""What to change, by OpenSSL's number of what is wrong with a certificate; with any other it is not known here."""

WRONG_LOG_IN = "correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
NOT_LOGGED_IN = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
NO_PLACE = (
    "the files of runs go there: make that place again or give the server the right to it, or let the server use "
    "another with --artifacts-destination"
)
NO_CLIENT = "install that package here, or let the server pass files on, with --serve-artifacts"
CLIENTS_OF_STORES = ("boto3", "botocore", "s3transfer", "google", "azure")
"""Packages with which MLflow's client reaches a store of files itself, and which raise what they like."""

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
    remedy = _remedy(error, uri, connecting=connecting, reading=reading)
    if remedy is None:
        return TrackingError(hide_credentials(f"MLflow at {uri}: {_said(error)}"))
    return _refused(uri, _SAID.get(remedy) or _said(error), remedy)


def place_refused(error: Exception, uri: str) -> TrackingRefused | None:
    """Return what an error means that came of listing the files of a run: a refusal where their place is gone."""
    from mlflow.exceptions import MlflowException, RestException
    from requests.exceptions import HTTPError

    if isinstance(error, HTTPError) and error.response is not None:
        code, said = _answer(error.response)
    elif isinstance(error, MlflowException) and not isinstance(error, RestException):  # asked without a server between
        code, said = str(error.error_code), first_line(error)
    else:
        return None
    return _refused(uri, said, NO_PLACE) if code in (*MISSING, *NOT_LOGGED_IN, "PERMISSION_DENIED") else None


def client_missing(error: ImportError, uri: str) -> TrackingRefused:
    """Return what to say of a store of files for which MLflow lacks a package here."""
    return _refused(uri, f"its files are in a store for which a package is needed ({first_line(error)})", NO_CLIENT)


def is_of_a_store(error: Exception) -> bool:
    """Tell whether an error comes from a package that reaches a store of files."""
    return type(error).__module__.partition(".")[0] in CLIENTS_OF_STORES


def _refused(uri: str, said: str, remedy: str) -> TrackingRefused:
    return TrackingRefused(hide_credentials(f"MLflow at {uri}: {said.rstrip('.')}. This stays so: {remedy}"))


def damaged_database(uri: str, error: Exception) -> TrackingError:
    """Return what to say of a database that holds something else than MLflow wrote."""
    said = first_line(error)
    return TrackingError(
        f"MLflow's database {uri} holds something else than was written there ({said}): it is damaged, or another "
        "program has changed it; bring back a copy from before, or move it away and run `sweeper doctor STUDY --fix`, "
        "which makes runs of what the study's storage knows"
    )


def _remedy(error: Exception, uri: str, *, connecting: bool, reading: bool) -> str | None:
    """Return what to change where a repetition changes nothing, else None."""
    from mlflow.exceptions import InvalidUrlException, MlflowException
    from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
    from requests.exceptions import HTTPError

    chain = list(chain_of(error))
    certificate = next((cause for cause in chain if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return OF_CERTIFICATES.get(getattr(certificate, "verify_code", 0), NO_CERTIFICATE)
    if any(isinstance(cause, OSError) for cause in chain) and _names_no_certificate(chain):
        return NO_CERTIFICATE_THERE
    if isinstance(error, PermissionError):
        return NOT_OURS_TO_WRITE
    if isinstance(error, HTTPError) and error.response is not None:
        return _remedy_of_answer(error.response, uri, reading=reading)
    if not isinstance(error, MlflowException) or (reading and error.error_code in MISSING):
        return None
    if connecting and ("://" not in uri or uri.partition(":")[0] == "file"):
        return NO_FILE_STORE
    nonsense = isinstance(error, InvalidUrlException | UnsupportedModelRegistryStoreURIException)
    if nonsense or (connecting and len(chain) == 1):
        return NO_SUCH_STORE
    return _log_in(uri) if error.error_code in NOT_LOGGED_IN else REMEDIES.get(str(error.error_code))


def _names_no_certificate(chain: Sequence[BaseException]) -> bool:
    """Tell whether the file of certificates is missing, or holds none."""
    from mlflow.environment_variables import MLFLOW_TRACKING_SERVER_CERT_PATH

    named = MLFLOW_TRACKING_SERVER_CERT_PATH.get()
    reasons = [cause.reason for cause in chain if isinstance(cause, ssl.SSLError)]
    return bool(named) and (not Path(named).exists() or "NO_CERTIFICATE_OR_CRL_FOUND" in reasons)


def _log_in(uri: str) -> str:
    """Return what to change where the server wants to know who asks; another thing if it was told."""
    from mlflow.environment_variables import MLFLOW_TRACKING_TOKEN
    from mlflow.utils.credentials import read_mlflow_creds

    given = read_mlflow_creds()
    told = given.username or given.password or MLFLOW_TRACKING_TOKEN.get() or hide_credentials(uri) != uri
    return WRONG_LOG_IN if told else LOG_IN


def _remedy_of_answer(answer: Response, uri: str, *, reading: bool) -> str | None:
    """Return the same for what a server answered that hands on files."""
    code, _ = _answer(answer)
    if reading and code in MISSING:
        return None
    if code in (*NOT_LOGGED_IN, "PERMISSION_DENIED"):  # the server itself, at its store: to us it says so in no JSON
        return NO_PLACE
    return _log_in(uri) if answer.status_code == 401 else _remedy_of_status(answer.status_code)


def _remedy_of_status(status: int) -> str | None:
    if status == 403:
        return REMEDIES["PERMISSION_DENIED"]
    if status == 507:  # insufficient storage
        return REMEDIES["RESOURCE_LIMIT_EXCEEDED"]
    return REMEDIES["BAD_REQUEST"] if 400 <= status < 500 and status not in PASSING else None


def _answer(answer: Response) -> tuple[str | None, str]:
    """Return MLflow's code and message in an answer, or its status."""
    try:
        told = answer.json()
        return told["error_code"], told["message"]
    except (ValueError, LookupError, TypeError):
        return None, f"it answers with status {answer.status_code} {answer.reason or ''}".rstrip()


def _said(error: Exception) -> str:
    """Return what an error says in one line: of a request that failed its first cause, since each layer wraps it."""
    from requests.exceptions import RequestException
    from urllib3.exceptions import ResponseError

    chain = list(chain_of(error))
    answer = next((found for cause in chain if (found := getattr(cause, "response", None)) is not None), None)
    if answer is not None and isinstance(error, RequestException):
        return _answer(answer)[1]
    if not any(isinstance(cause, RequestException) for cause in chain):
        return first_line(error)
    said = first_line(chain[-1])
    if isinstance(chain[-1], TimeoutError):
        return f"{said}; {TIMEOUT} sets how many seconds to wait"
    return f"it answers with {said}; its log says why" if isinstance(chain[-1], ResponseError) else said


_SAID = {
    NO_FILE_STORE: PLAIN_FILES,
    LOG_IN: "it wants to know who asks",
    WRONG_LOG_IN: "it does not accept this user name and password",
}
"""In our words, where MLflow's are about what it asked and not about why it was refused."""
