"""Which pages may use the server, under which names it is asked, and what is logged of the rest."""

import itertools

import aiohttp
import pytest
import socketio
from aiohttp.test_utils import make_mocked_request
from engineio.async_drivers.aiohttp import translate_request
from support import asking

from chatlab.server import create_app
from chatlab.server.origins import MOST_LOGGED, Origins, check_origin, names_at

CHAT = "https://chat.example"
CONNECT = "/socket.io/?EIO=4&transport="
HEADERS = {
    "Host": ["chat.example", "127.0.0.1:3000", ""],
    "X-Forwarded-Proto": [None, "https", "https, http", ""],
    "X-Forwarded-Host": [None, "chat.example", "chat.example, 10.0.0.1", ""],
}
ORIGINS = [CHAT, "http://chat.example", "http://127.0.0.1:3000", "https://127.0.0.1:3000"]
ORIGINS += ["https://evil.example", "null", "http://", "https://", "://"]


@pytest.fixture
def asked(tmp_path):
    """A function that serves with options; in its block, a function asks and returns the answer."""
    return lambda **options: asking(create_app(db=tmp_path / "chat.db", **options))


def test_what_is_allowed_by_default_is_python_socketios_own_rule():
    """Of every combination of the headers that it looks at, no more and no less."""
    theirs = socketio.AsyncServer(async_mode="aiohttp").eio
    seen = set()
    for values in itertools.product(*HEADERS.values(), ORIGINS):
        names = [*HEADERS, "Origin"]
        headers = {
            name: value for name, value in zip(names, values, strict=True) if value is not None
        }
        request = make_mocked_request("GET", CONNECT, headers=headers)
        allowed = values[-1] in theirs._cors_allowed_origins(translate_request(request))
        assert Origins()._is_allowed(request) is allowed, headers
        seen.add(allowed)
    assert seen == {True, False}


async def test_origin_is_allowed_by_name(asked, caplog):
    """As the proxy of the page asks: by another address. It holds on every transport."""
    async with asked(origins=["http://other.example", f"{CHAT}:443/chat/"]) as ask:
        for origin in (CHAT, "http://other.example", ask.url):
            answer = await ask(CONNECT + "polling", Origin=origin)
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            answer = await ask("/origin", method="POST", Origin=origin)
            assert await answer.json() == {"allowed": True}
            async with ask.session.ws_connect(
                ask.url + CONNECT + "websocket", headers={"Origin": origin}
            ):
                pass
    assert caplog.records == []


async def test_other_origin_is_refused_and_logged_once(asked, caplog):
    """However often it comes, and by whatever way."""
    async with asked(origins=["http://chat.example"]) as ask:
        for _ in range(3):
            assert (await ask(CONNECT + "polling", Origin=CHAT)).status == 400
            answer = await ask("/origin", method="POST", Origin=CHAT)
            assert await answer.json() == {"allowed": False}
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await ask.session.ws_connect(
                    ask.url + CONNECT + "websocket", headers={"Origin": CHAT}
                )
    [said] = caplog.messages
    assert said.startswith(f"Refused a page at {CHAT}, ")
    assert said.endswith(f"--origin {CHAT}")


async def test_log_has_no_text_of_a_stranger_and_an_end(asked, caplog):
    """An origin that is none is not logged, and of the others not more than a few."""
    free = [
        "null",
        "buy at https://evil.example",
        "https://a b",
        "https://x/y",
        "https://" + "x" * 101,
    ]
    async with asked() as ask:
        for origin in [*free, *(f"https://{number}.example" for number in range(100))]:
            assert (await ask(CONNECT + "polling", Origin=origin)).status == 400
    assert len(caplog.messages) == MOST_LOGGED
    assert not any(origin in caplog.text for origin in free)


async def test_server_with_its_own_origins_keeps_them(asked):
    """What the program says that makes it goes first."""

    def server(**options):
        return socketio.AsyncServer(cors_allowed_origins="https://mine.example", **options)

    async with asked(server=server, origins=[CHAT]) as ask:
        assert (await ask("/origin", method="POST", Origin=CHAT)).status in (404, 405)
        assert (await ask(CONNECT + "polling", Origin="https://mine.example")).status == 200
        assert (await ask(CONNECT + "polling", Origin=CHAT)).status == 400


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "localhost.evil.example", "[", "a b", "x" * 5000, ":", "@"],
)
async def test_server_that_knows_its_names_takes_no_other(asked, caplog, host):
    """A foreign name may lead to this machine. The control: without names, it is answered."""
    own_page = {"Host": host, "Origin": f"http://{host}"}
    async with asked(hosts=(), origins=[CHAT]) as ask:
        for path in ("/", CONNECT + "polling", "/nothing"):
            answer = await ask(path, **own_page)
            assert answer.status in (400, 403)  # 400: it is no name at all
        for name in ("localhost", "localhost:3000", "127.0.0.1:1", "[::1]", "chat.example:443"):
            assert (await ask("/", Host=name)).status == 200
    name = host.removesuffix(":80")
    assert [name in said for said in caplog.messages] == [True] * (".example" in name)
    async with asked() as ask:
        assert (await ask("/", **own_page)).status in (200, 400)


def test_names_of_a_server_that_others_reach_are_not_known(monkeypatch):
    """Only what this machine alone reaches is asked under known names; a hub has its own."""
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    for host in ("127.0.0.1", "127.0.1.1", "::1", "localhost"):
        assert names_at(host) == ()
    for host in ("0.0.0.0", "::", "192.168.1.2", "my-machine"):
        assert names_at(host) is None
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ann/")
    assert names_at("127.0.0.1") is None


@pytest.mark.parametrize(
    "address", ["chat.example", "*", "null", "ftp://x", "", "https://a b", "https://"]
)
def test_what_is_no_address_is_no_origin(tmp_path, address):
    """It is said at once, not when a page is refused."""
    with pytest.raises(ValueError):
        create_app(db=tmp_path / "chat.db", origins=[address])


def test_address_has_an_origin():
    """As a browser sends it: in small letters, without the usual port, and without a path."""
    for address in ("https://Chat.Example:443/chat/?a#b", "https://chat.example"):
        assert check_origin(address) == CHAT
    assert check_origin("http://[::1]:3000") == "http://[::1]:3000"
    assert check_origin("https://bücher.example") == "https://xn--bcher-kva.example"
