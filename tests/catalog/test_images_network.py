"""Which addresses may be dialled, and that exactly the checked ones are."""

import asyncio
import socket
from ipaddress import ip_address

import httpcore
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.catalog.images.network import Gate, build_client, is_never_allowed, is_private
from likewise.catalog.images.picture import PictureError

PUBLIC = "93.184.216.34"

NEVER = [
    "169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
    "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255",
    "::ffff:169.254.169.254", "::169.254.169.254", "2002:a9fe:a9fe::1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fe80::5efe:a9fe:a9fe",
]  # fmt: skip
PRIVATE = [
    "127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "192.0.2.1", "198.18.0.1",
    "fc00::1", "fd12:3456::1", "fec0::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:0a00:0001::1",
    "64:ff9b::7f00:1", "::127.0.0.1", "2606:4700::5efe:a00:1",
]  # fmt: skip
OPEN = [PUBLIC, "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", NEVER)
def test_addresses_that_are_never_dialled(address):
    assert is_never_allowed(ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_need_leave(address):
    assert is_private(ip_address(address))
    assert not is_never_allowed(ip_address(address))


@pytest.mark.parametrize("address", OPEN)
def test_addresses_that_are_open_to_all(address):
    assert not is_private(ip_address(address))
    assert not is_never_allowed(ip_address(address))


@given(st.ip_addresses(v=4))
@settings(deadline=None)
def test_an_ipv4_address_is_judged_alike_in_every_disguise(address):
    number = int(address)
    disguises = [0xFFFF << 32 | number, 0x0064FF9B << 96 | number, 0x2002 << 112 | number << 80]
    for disguise in map(ip_address, (value.to_bytes(16, "big") for value in disguises)):
        assert is_never_allowed(disguise) == is_never_allowed(address)
        assert is_private(disguise) == is_private(address)


class Dial(httpcore.AsyncNetworkBackend):
    """Answers every connection with the same bytes, and notes where it went."""

    def __init__(self, answer: bytes, dead: tuple[str, ...] = ()) -> None:
        self.answer = answer
        self.dead = dead
        self.dialled: list[str] = []
        self.tls_names: list[str | None] = []

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        self.dialled.append(host)
        if host in self.dead:
            raise httpcore.ConnectError("refused")
        return _Stream(self)

    async def sleep(self, seconds):
        await asyncio.sleep(0)


class _Stream(httpcore.AsyncMockStream):
    def __init__(self, dial):
        super().__init__([dial.answer])
        self.dial = dial

    async def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        self.dial.tls_names.append(server_hostname)
        assert ssl_context.check_hostname
        return self


def answers(*lookups):
    """A resolver that gives the next answer each time; the last one for ever."""
    asked = []

    async def resolve(host, port):
        asked.append(host)
        answer = lookups[min(len(asked), len(lookups)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    resolve.asked = asked
    return resolve


HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


def get(url, resolve, dial, allow_private=False, times=1):
    async def ask():
        async with build_client(Gate(allow_private, resolve), 4, dial) as client:
            return [await client.get(url) for _ in range(times)]

    return asyncio.run(ask())


def test_a_host_that_changes_its_address_is_looked_up_once():
    resolve, dial = answers([PUBLIC], ["127.0.0.1"]), Dial(HELLO)
    assert [answer.text for answer in get("http://rebind.example/a.jpg", resolve, dial, times=3)] == ["hello"] * 3
    assert resolve.asked == ["rebind.example"]
    assert dial.dialled == [PUBLIC] * 3


def test_one_bad_address_among_good_ones_is_enough():
    for bad in ("10.0.0.1", "169.254.169.254"):
        dial = Dial(HELLO)
        with pytest.raises(PictureError) as error:
            get("http://mixed.example/", answers([PUBLIC, bad]), dial)
        assert error.value.cause == "address-refused"
        assert dial.dialled == []


def test_metadata_addresses_are_refused_even_when_private_ones_are_allowed():
    assert get("http://in.example/", answers(["10.0.0.1"]), Dial(HELLO), allow_private=True)[0].text == "hello"
    with pytest.raises(PictureError, match=r"169\.254\.169\.254"):
        get("http://meta.example/", answers(["169.254.169.254"]), Dial(HELLO), allow_private=True)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "127.1", "localhost", "[::ffff:7f00:1]"]
)
def test_loopback_is_recognised_however_it_is_written(host):
    dial = Dial(HELLO)
    with pytest.raises(PictureError, match="may not come from"):
        get(f"http://{host}/", None, dial)
    assert dial.dialled == []


def test_tls_asks_for_the_name_while_the_checked_address_is_dialled():
    dial = Dial(HELLO)
    get("https://shop.example/a.jpg", answers([PUBLIC]), dial)
    assert dial.dialled == [PUBLIC]
    assert dial.tls_names == ["shop.example"]


def test_the_next_address_is_tried_when_one_is_dead():
    dial = Dial(HELLO, dead=("2606:4700::1", PUBLIC))
    get("http://two.example/", answers(["2606:4700::1", PUBLIC, "1.1.1.1"]), dial)
    assert dial.dialled == [PUBLIC, "1.1.1.1"]  # IPv4 first
    with pytest.raises(httpcore.ConnectError):
        get("http://dead.example/", answers([PUBLIC]), dial)


def test_ports_of_other_services_are_refused():
    for port, refused in ((22, True), (25, True), (80, False), (8080, False)):
        dial = Dial(HELLO)
        if refused:
            with pytest.raises(PictureError, match="port"):
                get(f"http://mail.example:{port}/", answers([PUBLIC]), dial)
        else:
            get(f"http://mail.example:{port}/", answers([PUBLIC]), dial)
        assert bool(dial.dialled) is not refused


def test_names_that_do_not_exist_have_a_cause_and_hesitant_resolvers_a_second_chance():
    unknown = socket.gaierror(socket.EAI_NONAME, "unknown")
    hesitant = socket.gaierror(socket.EAI_AGAIN, "try again")
    for resolver in (answers(unknown), answers([]), answers(UnicodeError("label too long"))):
        with pytest.raises(PictureError) as error:
            get("http://nowhere.example/", resolver, Dial(HELLO))
        assert error.value.cause == "host-not-found"
    assert get("http://late.example/", answers(hesitant, [PUBLIC]), Dial(HELLO))[0].text == "hello"


def test_nothing_of_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://10.9.9.9:3128")
    monkeypatch.setenv("ALL_PROXY", "http://10.9.9.9:3128")
    dial = Dial(b"HTTP/1.1 302 Found\r\nLocation: http://x.example/\r\nSet-Cookie: a=b\r\nConnection: close\r\n\r\n")

    async def ask():
        async with build_client(Gate(False, answers([PUBLIC])), 4, dial) as client:
            answer = await client.get("http://shop.example/")
            return answer, dict(client.cookies)

    answer, cookies = asyncio.run(ask())
    assert dial.dialled == [PUBLIC]
    assert cookies == {}
    assert answer.status_code == 302
    assert answer.request.headers["accept-encoding"] == "identity"
    assert httpx.URL("http://shop.example/") == answer.request.url
