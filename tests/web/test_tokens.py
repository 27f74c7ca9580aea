"""Tokens and their roles, as the settings give them."""

import pytest

from latentloom.engine.errors import SettingsError
from latentloom.web.tokens import LOCAL, Caller, operators_own, tokens_of

LONG = "a-long-enough-secret"


@pytest.mark.parametrize(
    ("texts", "roles"),
    [
        ([LONG], {"token": "admin"}),
        ([f"ann:{LONG}", f"bob:{LONG}"], {"ann": "admin", "bob": "user"}),
        ([f"ann:user:{LONG}", f"bob:{LONG}"], {"ann": "user", "bob": "admin"}),
        ([f"ann:{LONG}", f"bob:admin:{LONG}"], {"ann": "user", "bob": "admin"}),
        ([f"vic:viewer:{LONG}", f"moe:monitor:{LONG}"], {"vic": "viewer", "moe": "monitor"}),
        ([f"ann:boss:{LONG}"], {"ann": "admin"}),
    ],
)
def test_a_token_has_the_role_that_it_names_and_the_first_without_one_is_an_admins(texts, roles):
    assert {token.name: token.role for token in tokens_of(texts)} == roles


def test_a_secret_may_hold_colons_and_only_a_role_is_taken_off_it():
    assert [token.secret for token in tokens_of([f"ann:boss:{LONG}", f"bob:user:{LONG}:x"])] == [
        f"boss:{LONG}",
        f"{LONG}:x",
    ]


@pytest.mark.parametrize("text", ["ann:user:short", "short", "a/b:" + LONG, "ü" * 51 + ":" + LONG, ":" + LONG])
def test_a_bad_token_is_refused_without_its_secret(text):
    with pytest.raises(SettingsError, match="a token cannot be used") as caught:
        tokens_of([text])
    assert LONG not in str(caught.value)


def test_two_tokens_of_one_name_are_refused():
    with pytest.raises(SettingsError, match="two tokens have the name 'ann'"):
        tokens_of([f"ann:{LONG}", f"Ann:user:{LONG}-too"])


def test_the_one_time_address_is_an_admins():
    assert operators_own(tokens_of([f"bob:user:{LONG}", f"ann:admin:{LONG}"])).name == "ann"
    assert operators_own(()) is None


def test_admins_and_viewers_see_everything_and_others_their_own():
    roles = ("admin", "viewer", "user", "monitor", None)

    assert [Caller("x", role).sees for role in roles] == [None, None, "x", "x", "x"]
    assert LOCAL.sees is None
