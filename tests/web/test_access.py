"""Who asks: addresses behind proxies, wrong tokens that shut out no right one, and headers that are none."""

import pytest
from aiohttp.test_utils import make_mocked_request

from latentloom.engine.errors import SettingsError
from latentloom.engine.settings import load_settings
from latentloom.web.access import ADDRESS_ATTEMPTS, ATTEMPTS, Access
from latentloom.web.http_errors import TooManyAttempts, response_of

SECRET = "a-long-enough-secret"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def access(home, clock=None, **flags):
    settings = load_settings({"tokens": (f"ann:{SECRET}",), **flags}, {"LATENTLOOM_HOME": str(home)})
    return Access(settings, clock or Clock())


def asked(peer, **headers):
    """A request from an address."""
    named = [(name.replace("_", "-"), value) for name, values in headers.items() for value in values]

    class Transport:
        def get_extra_info(self, name, default=None):
            return (peer, 1) if name == "peername" else default

    return make_mocked_request("GET", "/", headers=named, transport=Transport())


def refused(made, token, address="10.0.0.1"):
    try:
        return made.owner_of(token, address)
    except TooManyAttempts as error:
        return response_of(error).headers["Retry-After"]


# Wrong tokens


def test_a_right_token_is_never_shut_out(tmp_path):
    made = access(tmp_path)
    found = [refused(made, f"{SECRET[:4]} wrong {n}") for n in range(ATTEMPTS + 5)]

    assert found == [None] * ATTEMPTS + ["60"] * 5
    assert refused(made, SECRET) == "ann"


def test_wrong_tokens_are_counted_for_their_beginning_and_their_address(tmp_path):
    made = access(tmp_path)
    for n in range(ATTEMPTS):
        refused(made, f"aaaa{n}")

    assert refused(made, "aaaax") == "60"
    assert refused(made, "bbbbx") is None
    assert refused(made, "aaaax", "10.0.0.2") is None


def test_wrong_tokens_of_every_kind_are_counted_for_their_address(tmp_path):
    made = access(tmp_path)
    found = [refused(made, f"{n:04}") for n in range(ADDRESS_ATTEMPTS + 1)]

    assert found == [None] * ADDRESS_ATTEMPTS + ["60"]


def test_after_a_minute_they_are_forgotten(tmp_path):
    clock = Clock()
    made = access(tmp_path, clock)
    for n in range(ATTEMPTS):
        refused(made, f"aaaa{n}")
    clock.now += 61

    assert refused(made, "aaaax") is None


def test_what_is_remembered_of_wrong_tokens_is_bounded(tmp_path):
    made = access(tmp_path)
    for n in range(20_000):
        refused(made, f"{n:05}", f"10.0.{n // 250}.{n % 250}")

    assert len(made._failures) == 10_000


# Proxies

PROXIES = ("10.0.0.0/8", "2001:db8::/32", "127.0.0.1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "wanted"),
    [
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("203.0.113.9", ["203.0.113.5"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.5, 10.9.9.9"], "203.0.113.5"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["nobody"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5, nobody"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5,"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("2001:db8::1", ["2001:0:0:7::9"], "2001:0:0:7::/64"),
        ("127.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("", ["203.0.113.5"], ""),
        ("10.0.0.1", ["1.1.1.1," * 100_000 + "203.0.113.5"], "203.0.113.5"),
    ],
)
def test_a_forwarded_address_counts_from_trusted_proxies_only(tmp_path, peer, forwarded, wanted):
    made = access(tmp_path, trusted_proxies=PROXIES)

    assert made.address_of(asked(peer, X_Forwarded_For=forwarded)) == wanted
    assert access(tmp_path).address_of(asked(peer, X_Forwarded_For=forwarded)) != "203.0.113.5"


def test_a_trusted_proxy_tells_that_the_client_speaks_tls(tmp_path):
    made = access(tmp_path, trusted_proxies=PROXIES)

    assert made.is_secure(asked("10.0.0.1", X_Forwarded_Proto=["https"])) is True
    assert made.is_secure(asked("10.0.0.1", X_Forwarded_Proto=["http"])) is False
    assert made.is_secure(asked("203.0.113.9", X_Forwarded_Proto=["https"])) is False


@pytest.mark.parametrize(
    ("address", "many"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.1.1", True),
        ("2001:db8:1:2::/64", True),
        ("203.0.113.5", False),
        ("", False),
    ],
)
def test_this_machine_and_proxies_have_no_share_of_connections(tmp_path, address, many):
    assert access(tmp_path, trusted_proxies=PROXIES).trusts(address) is many


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.0/99", ""])
def test_a_proxy_is_an_address_or_a_network(tmp_path, text):
    with pytest.raises(SettingsError, match="the setting 'trusted_proxies' cannot be used"):
        access(tmp_path, trusted_proxies=(text,))


def test_a_tokens_name_has_an_end(tmp_path):
    with pytest.raises(SettingsError, match="a token cannot be used") as caught:
        access(tmp_path, tokens=(f"{'a' * 101}:{SECRET}",))

    assert SECRET not in str(caught.value)
