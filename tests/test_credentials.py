"""Passwords are not shown."""

from __future__ import annotations

import pytest

from sweeper.credentials import hide_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:pw@host:5000/x failed", "at http://***@host:5000/x failed"),
        ("postgresql+psycopg://me:p@w@host/db", "postgresql+psycopg://***@host/db"),
        ("'http://token@host' and http://a:b@c", "'http://***@host' and http://***@c"),
        ("sqlite:///mlflow.db, me@host", "sqlite:///mlflow.db, me@host"),
    ],
)
def test_user_names_and_passwords_of_addresses_are_hidden(text: str, shown: str) -> None:
    assert hide_credentials(text) == shown
