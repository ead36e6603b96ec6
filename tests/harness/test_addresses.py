"""Where a server is found: an address that a browser opens, here and on other machines."""

import socket

import pytest

from chatlab.harness import addresses
from chatlab.harness.addresses import network_address, shown_host, url, where


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("class.example", "class.example"),
        ("127.0.0.1", "localhost"),
        ("::1", "localhost"),
        ("2001:db8::7", "[2001:db8::7]"),
        ("0.0.0.0", "192.0.2.99"),
        ("::", "[2001:db8::99]"),
    ],
)
def test_address_is_the_one_that_was_given_or_is_found(monkeypatch, host, shown):
    """A host that is named is shown as it is; one that means all of them is looked up."""
    found = {"0.0.0.0": "192.0.2.99", "::": "2001:db8::99"}
    monkeypatch.setattr(addresses, "network_address", found.__getitem__)
    assert shown_host(host) == shown


def test_machine_without_a_network_is_called_localhost(monkeypatch):
    """There is no address to show to others."""
    monkeypatch.setattr(addresses, "network_address", lambda host: None)
    assert shown_host("0.0.0.0") == "localhost"


class Probe:
    """A UDP socket of a machine whose way to the network is known, or is not there."""

    def __init__(self, address):
        self.address, self.sent = address, []

    def __call__(self, family, kind):
        assert kind == socket.SOCK_DGRAM  # connecting one sends nothing
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def connect(self, place):
        if self.address is None:
            raise OSError("Network is unreachable")

    def getsockname(self):
        return (self.address, 50000)


@pytest.mark.parametrize("address", ["192.0.2.7", None])
def test_address_in_the_network_is_looked_up_without_traffic(monkeypatch, address):
    """The system says which of its addresses it would use; without a network there is none."""
    monkeypatch.setattr(addresses.socket, "socket", Probe(address))
    assert network_address() == address


def test_ipv6_is_the_way_where_there_is_no_other(monkeypatch):
    """A server on every address is reached by it; one on every address of IPv4 is not."""

    class OnlyIPv6(Probe):
        def __call__(self, family, kind):
            return Probe("2001:db8::99" if family == socket.AF_INET6 else None)

    monkeypatch.setattr(addresses.socket, "socket", OnlyIPv6(None))
    assert network_address() == network_address("::") == "2001:db8::99"
    assert network_address("0.0.0.0") is None


@pytest.mark.parametrize(
    ("host", "shown", "opened"),
    [
        ("127.0.0.1", "http://localhost:3000", "http://127.0.0.1:3000"),
        ("localhost", "http://localhost:3000", "http://localhost:3000"),
        ("::1", "http://[::1]:3000", "http://[::1]:3000"),
        ("192.0.2.7", "http://192.0.2.7:3000", "http://192.0.2.7:3000"),
        ("class.example", "http://class.example:3000", "http://class.example:3000"),
        ("0.0.0.0", "http://localhost:3000", "http://127.0.0.1:3000"),
        ("", "http://localhost:3000", "http://127.0.0.1:3000"),
        ("::", "http://localhost:3000", "http://[::1]:3000"),
    ],
)
def test_address_that_is_said_can_be_opened(monkeypatch, host, shown, opened):
    """By a browser here, and by a client; every address of this machine is none to open."""
    monkeypatch.setattr(addresses, "network_address", lambda host: None)
    assert where(host, 3000) == shown
    assert url(host, 3000) == opened


@pytest.mark.parametrize("found", ["192.0.2.99", "2001:db8::99"])
def test_address_for_other_machines_is_said_too(monkeypatch, found):
    """Where other machines reach the server, and only there."""
    monkeypatch.setattr(addresses, "network_address", lambda host: found)
    others = {"192.0.2.99": "192.0.2.99", "2001:db8::99": "[2001:db8::99]"}[found]
    said = f"http://localhost:3000, for other machines on http://{others}:3000"
    assert where("0.0.0.0", 3000) == where("::", 3000) == said
    assert others not in where("127.0.0.1", 3000)
