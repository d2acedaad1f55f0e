"""The table of password hashes: beside the accounts, never in them, so that no list of accounts can leak one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, Text, delete, insert, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.sql.dml import Delete, Insert
from sqlalchemy.sql.selectable import Select
from sqlmodel import Field, SQLModel

from meshcentral_control.accounts.passwords import StoredPassword


class AccountCredentials(SQLModel, table=True):
    """One password hash."""

    __tablename__ = "account_credentials"

    user_id: str = Field(primary_key=True, max_length=255)
    scheme: str = Field(max_length=32)
    hash: str = Field(sa_type=Text)
    salt: str = Field(sa_type=Text)
    parameters: str = Field(max_length=255)
    changed: int = Field(description="seconds since 1970")


CREDENTIALS: Table = SQLModel.metadata.tables["account_credentials"]


def select_password(user_id: str) -> Select[Any]:
    """The row of one account."""
    return select(CREDENTIALS).where(CREDENTIALS.c.user_id == user_id)


def replace_password(user_id: str, stored: StoredPassword, changed: int) -> tuple[Delete, Insert]:
    """Statements that set the hash of one account; `changed` in seconds since 1970."""
    new = insert(CREDENTIALS).values(
        user_id=user_id,
        scheme=stored.scheme,
        hash=stored.hash,
        salt=stored.salt,
        parameters=stored.parameters,
        changed=changed,
    )
    return delete_password(user_id), new


def delete_password(user_id: str) -> Delete:
    """The statement that forgets the hash of one account."""
    return delete(CREDENTIALS).where(CREDENTIALS.c.user_id == user_id)


def read_password(row: RowMapping) -> StoredPassword:
    """The hash in a row of `select_password`."""
    return StoredPassword(row["scheme"], row["hash"], row["salt"], row["parameters"])
