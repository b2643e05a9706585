"""What a team runs: PostgreSQL, an MLflow server with log-in and TLS, and an object store; all on 127.0.0.1."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import ACCOUNT, Cluster, is_installed, postgres
from tests.services.certificate import Authority, Certificate
from tests.tracking.server import PATIENCE_S, MlflowServer, free_port

ADMIN, ADMIN_PASSWORD = "admin", "the-admins-passw0rd"
USER, PASSWORD = "ada", "s3cret-of-ada"  # who records
DATABASE_PASSWORD = "s3cret-of-the-database"  # noqa: S105
STORE_KEY = "s3cret-of-the-store"  # known to the MLflow server alone
BUCKET = "records"


def moto_server() -> Path | None:
    """Return the program of an object store: of an environment of its own, since MLflow needs other packages."""
    own = Path(sys.prefix) / "moto" / "bin" / "moto_server"
    found = shutil.which("moto_server")
    return own if own.exists() else Path(found) if found else None


def missing() -> str | None:
    """Return what has to be installed before the services can be started."""
    for package in ("psycopg", "boto3", "flask_wtf"):
        try:
            __import__(package)
        except ImportError:
            return f"the package {package} is not installed: make test-services"
    if not is_installed():
        return "no PostgreSQL is installed"
    if not shutil.which("openssl"):
        return "no openssl is installed"
    return None if moto_server() else "no moto server is installed: make test-services"


class ObjectStore:
    """An S3 endpoint that keeps its objects in memory."""

    def __init__(self, root: Path):
        program = moto_server()
        assert program is not None
        self.port = free_port()
        with (root / "store.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [str(program), "-H", "127.0.0.1", "-p", str(self.port)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert time.monotonic() < deadline, (root / "store.txt").read_text()
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/moto-api/data.json", timeout=5):  # noqa: S310
                return True
        except OSError:
            return False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What tells a client of S3 where to ask and by which key."""
        keys = {"AWS_ACCESS_KEY_ID": "mlflow", "AWS_SECRET_ACCESS_KEY": STORE_KEY, "AWS_DEFAULT_REGION": "us-east-1"}
        return {"MLFLOW_S3_ENDPOINT_URL": self.address, **keys}

    def client(self) -> Any:
        import boto3

        keys = {"aws_access_key_id": "mlflow", "aws_secret_access_key": STORE_KEY, "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.address, **keys)

    def objects(self) -> list[str]:
        found = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [entry["Key"] for page in found for entry in page.get("Contents", [])]

    def make_bucket(self) -> None:
        self.client().create_bucket(Bucket=BUCKET)

    def drop_bucket(self) -> None:
        """Remove the bucket with all that is in it."""
        client = self.client()
        for key in self.objects():
            client.delete_object(Bucket=BUCKET, Key=key)
        client.delete_bucket(Bucket=BUCKET)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class SecuredServer(MlflowServer):
    """An MLflow server with records in PostgreSQL, files in the object store, log-in and TLS."""

    def __init__(self, root: Path, database: Cluster, store: ObjectStore, certificate: Certificate):
        super().__init__(root)
        self._database = database
        self._store = store
        self.certificate = certificate

    def options(self) -> list[str]:
        tls = f"--ssl-keyfile={self.certificate.key} --ssl-certfile={self.certificate.certificate}"
        files = ["--artifacts-destination", f"s3://{BUCKET}", "--serve-artifacts"]
        return [*files, "--app-name", "basic-auth", "--uvicorn-opts", tls]

    def environment(self) -> dict[str, str]:
        users = self.root / "users.ini"
        accounts = self._database.url_of(ACCOUNT, "accounts", DATABASE_PASSWORD)
        settings = {"default_permission": "READ", "database_uri": accounts, "auth_cache_ttl_seconds": "60"}
        users.write_text("[mlflow]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
        admin = {"MLFLOW_AUTH_ADMIN_USERNAME": ADMIN, "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD}
        records = self._database.url_of(ACCOUNT, "mlflow", DATABASE_PASSWORD)
        own = {"MLFLOW_BACKEND_STORE_URI": records, "MLFLOW_AUTH_CONFIG_PATH": str(users)}
        own["MLFLOW_FLASK_SERVER_SECRET_KEY"] = "of-this-run"  # noqa: S105
        return {**admin, **own, **self._store.variables}

    def trust(self) -> ssl.SSLContext:
        """Believe any: an expired one is served too."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    @property
    def uri(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@dataclass
class Stack:
    """The three services, and what a user is told of them."""

    database: Cluster
    store: ObjectStore
    server: SecuredServer
    authority: Authority
    certificate: Certificate
    expired: Certificate

    def storage(self, database: str, password: str = DATABASE_PASSWORD) -> str:
        """Return the address of a database, with the authority whose certificates are believed."""
        url = self.database.url_of(ACCOUNT, database, password)
        return f"{url}?sslmode=verify-full&sslrootcert={self.authority.certificate}"

    def variables(self, database: str) -> dict[str, str]:
        """What a user sets in the environment."""
        return {
            "OPTUNA_STORAGE": self.storage(database),
            "MLFLOW_TRACKING_URI": self.server.uri,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": PASSWORD,
            "MLFLOW_TRACKING_SERVER_CERT_PATH": str(self.authority.certificate),
        }

    def serve_with(self, certificate: Certificate) -> None:
        """Start the MLflow server anew, with another certificate."""
        self.server.kill()
        self.server.certificate = certificate
        self.server.start()

    def sign_up(self, user: str, password: str) -> None:
        self._as_admin("POST", "users/create", user, password)

    def change_password(self, user: str, password: str) -> None:
        self._as_admin("PATCH", "users/update-password", user, password)

    def _as_admin(self, method: str, what: str, user: str, password: str) -> None:
        import requests

        answer = requests.request(
            method,
            f"{self.server.uri}/api/2.0/mlflow/{what}",
            json={"username": user, "password": password},
            auth=(ADMIN, ADMIN_PASSWORD),
            verify=str(self.authority.certificate),
            timeout=60,
        )
        assert answer.ok, answer.text


@contextlib.contextmanager
def services(root: Path) -> Iterator[Stack]:
    """Start all of them. Skips the test where one cannot be had."""
    lacking = missing()
    if lacking:
        pytest.skip(lacking)
    authority = Authority(root / "tls")
    certificate, expired = authority.certify("valid"), authority.certify("expired", days=-1)
    with contextlib.ExitStack() as held:
        database = held.enter_context(postgres(DATABASE_PASSWORD))
        database.encrypt(certificate.certificate, certificate.key)
        make_databases(database, "mlflow", "accounts")
        store = ObjectStore(root)
        held.callback(store.close)
        store.make_bucket()
        server = SecuredServer(root / "mlflow", database, store, certificate)
        held.callback(server.kill)
        server.start()
        stack = Stack(database, store, server, authority, certificate, expired)
        stack.sign_up(USER, PASSWORD)
        yield stack


def make_databases(cluster: Cluster, *names: str) -> None:
    import psycopg

    address = f"host=127.0.0.1 port={cluster.port} user={ACCOUNT} password={DATABASE_PASSWORD} dbname=postgres"
    with psycopg.connect(address, autocommit=True) as connection:
        for name in names:
            connection.execute(f'CREATE DATABASE "{name}"')
