"""Password schemes against independent values."""

from __future__ import annotations

import base64
import hashlib

import pytest

from meshcentral_control.accounts import passwords
from meshcentral_control.accounts.passwords import StoredPassword


@pytest.mark.parametrize("scheme", sorted(passwords.SCHEMES))
@pytest.mark.parametrize("password", ["correct horse battery", "", "päßwörd ✓ 日本", "x" * 256])
def test_round_trip(scheme, password):
    stored = passwords.hash_password(password, scheme)
    assert stored.scheme == scheme
    assert passwords.verify_password(password, stored)
    assert not passwords.verify_password(password + " ", stored)
    assert passwords.hash_password(password, scheme).hash != stored.hash
    assert not passwords.needs_rehash(stored, scheme)


def test_the_peers_form_takes_the_salts_text():
    """Control-protocol reference, 2.5: the base64 text itself is the salt input."""
    salt = base64.b64encode(bytes(range(128))).decode()
    derived = hashlib.pbkdf2_hmac("sha384", b"Test-Password-1", salt.encode("ascii"), 12_000, 128)
    stored = StoredPassword("pbkdf2-sha384", base64.b64encode(derived).decode(), salt)
    assert len(stored.hash) == 172
    assert passwords.verify_password("Test-Password-1", stored)
    assert not passwords.verify_password("test-password-1", stored)
    assert passwords.needs_rehash(stored, "argon2id")


def test_argon2_hash_made_elsewhere():
    import argon2.low_level

    made = argon2.low_level.hash_secret(b"secret words here", b"0123456789abcdef", 3, 8192, 2, 32, argon2.Type.ID)
    stored = StoredPassword("argon2id", made.decode())
    assert passwords.verify_password("secret words here", stored)
    assert passwords.needs_rehash(stored, "argon2id"), "other parameters than ours"


@pytest.mark.parametrize(
    "stored",
    [
        StoredPassword("argon2id", "nonsense"),
        StoredPassword("argon2id", ""),
        StoredPassword("pbkdf2-sha384", "", ""),
        StoredPassword("pbkdf2-sha384", "nö", "sält"),
        StoredPassword("clear", "secret"),
        StoredPassword("", ""),
    ],
)
def test_what_cannot_be_read_verifies_nothing(stored):
    assert not passwords.verify_password("secret", stored)
    assert not passwords.verify_password("", stored)


def test_random_passwords_keep_our_own_rules():
    from meshcentral_control.accounts.rules import weakness_of

    made = {passwords.random_password() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        assert len(password) >= 18
        assert weakness_of(password, "admin") is None
