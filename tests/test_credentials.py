"""Passwords, tokens and signatures are not shown, in the forms in which the common stores have them."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from sweeper.credentials import HidingFormatter, hide_credentials
from sweeper.results import TrialOutcome, TrialState


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:pw@host:5000/x failed", "at http://***@host:5000/x failed"),
        ("postgresql+psycopg://me:p@w@host/db", "postgresql+psycopg://***@host/db"),
        ("'http://token@host' and http://a:b@c", "'http://***@host' and http://***@c"),
        ("sqlite:///mlflow.db, me@host", "sqlite:///mlflow.db, me@host"),
        ("MLflow at http://127.0.0.1:5000: asked by me@host", "MLflow at http://127.0.0.1:5000: asked by me@host"),
        ("http://host: a word to me@host", "http://host: a word to me@host"),
        ("sqlite:////home/anna@example.org/mlflow.db", "sqlite:////home/anna@example.org/mlflow.db"),
        ("next: models:/mushrooms@best", "next: models:/mushrooms@best"),
        ("http://h/#/x?orderByKey=metrics.x&author=me", "http://h/#/x?orderByKey=metrics.x&author=me"),
    ],
)
def test_user_names_and_passwords_of_addresses_are_hidden(text: str, shown: str) -> None:
    assert hide_credentials(text) == shown


SECRETS = {
    "a blank": "postgresql://me:s3cr et s3cr@host:5432/db",
    "a blank, an at sign and a slash": "could not parse 'mysql://me:s3cr/t @ s3cr@host/db'",
    "quotes": "mysql://me:s3cr'\"et@host/db",
    "a hash and a question mark": "http://me:s3cr#s?cr3t=s3cr@host/",
    "no user": "redis://:s3cr@host",
    "encoded": "http://me:s3cr%40%2F@host",
    "within another address": "http://host/login?next=http%3A%2F%2Fme%3As3cr%40other%2F",
    "S3, signature 4": "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=AWS4&X-Amz-Credential=s3cr%2F2026&X-Amz-Date=1"
    "&X-Amz-Security-Token=s3cr&X-Amz-Signature=s3cr",
    "S3, signature 2": "https://b.s3.amazonaws.com/k?AWSAccessKeyId=s3cr&Expires=1&Signature=s3cr%2Bx%3D",
    "Azure SAS": "wasbs://c@a.blob.core.windows.net/x?sv=2024-11-04&ss=b&se=2026-01-01&sp=r&sig=s3cr%3D",
    "Azure SAS, first": "https://a.blob.core.windows.net/c/x?sig=s3cr%3D&sv=2024-11-04",
    "Azure connection string": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=s3cr==;EndpointSuffix=x",
    "Google": "https://storage.googleapis.com/b/k?X-Goog-Credential=s3cr%40p&X-Goog-Date=1&X-Goog-Signature=s3cr",
    "Google, signature 2": "https://storage.googleapis.com/b/k?GoogleAccessId=s3cr@p&Expires=1&Signature=s3cr",
    "CloudFront": "https://d.cloudfront.net/x?Policy=s3cr&Signature=s3cr&Key-Pair-Id=s3cr",
    "token": "http://host/?token=s3cr",
    "auth": "http://host/?a=1&auth=s3cr",
    "oauth": "http://host/#access_token=s3cr&expires=1",
    "credential": "http://host/?credential=s3cr;b=1",
    "password in the query": "postgresql://host/db?user=me&password=s3cr",
    "query within an address": "http://h/?next=http%3A%2F%2Fo%3Fsig%3Ds3cr%26a%3D1",
    "libpq": "connection to host=db user=me password='s3cr s3cr' failed",
    "header": "{'Authorization': 'Bearer s3cr.s3cr-s3cr'}",
    "bearer alone": "the server said: Bearer s3cr.s3cr-s3cr is too old",
    "basic header": "Authorization: Basic s3crs3cr==",
}


@pytest.mark.parametrize("address", SECRETS.values(), ids=SECRETS.keys())
def test_secrets_of_the_common_stores_are_hidden_and_the_rest_is_kept(address: str) -> None:
    shown = hide_credentials(f"at {address} failed")
    assert "s3cr" not in shown
    assert "***" in shown
    assert shown.startswith("at ")


def test_what_is_not_secret_is_kept() -> None:
    kept = "https://a.blob.core.windows.net/c/x?sv=2024-11-04&se=2026-01-01&sp=r"
    assert hide_credentials(f"{kept}&sig=x") == f"{kept}&sig=***"
    plain = "trial 3: optimizer.adamw.lr=0.01 search.batch_size=64 monkey=1 design=2"
    assert hide_credentials(plain) == plain
    assert hide_credentials("basic augmentation, bearer documents") == "basic augmentation, bearer documents"


def test_the_reason_of_a_trial_is_stored_without_them() -> None:
    outcome = TrialOutcome(state=TrialState.FAILED, reason="http://me:s3cr@host/?sig=s3cr is gone")
    assert "s3cr" not in outcome.model_dump_json()


def test_log_records_steer_no_terminal() -> None:
    record = logging.LogRecord("x", 40, "", 1, "at %s", ("\x1b[2Jfile\u202egpj\x9b.png",), None)
    assert HidingFormatter("%(message)s").format(record) == r"at \x1b[2Jfile\u202egpj\x9b.png"


def test_the_traceback_of_an_unexpected_error_hides_them_too() -> None:
    program = (
        "import logging; from sweeper.credentials import log_without_credentials;"
        "log_without_credentials(logging.WARNING, '%(message)s');"
        "raise RuntimeError('http://me:' + 's3' + 'cr@host \\x1b[2J')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError: http://***@host \\x1b[2J" in done.stderr
    assert "s3cr" not in done.stderr
