"""The panel: what it shows and when, who may press, and what a press does."""

import asyncio
import contextlib
import json
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from chatlab.harness import listening
from chatlab.panel import panel as panel_module
from chatlab.panel.panel import FILES, VIEWERS, Panel
from chatlab.panel.picture import Client, Drawing, Picture

PATIENCE = 10
QUICK = 0.01
"""Seconds between two looks, in these tests."""


class Stage:
    """Something to look at, with two buttons for everybody and two for Ann."""

    def __init__(self):
        ann = Client("ann", ["connected", 1], buttons=["drop", "fail"])
        self.picture = Picture("a lab", {"log": 1}, ["state", "offset"], [ann], ["kill"])
        self.looks, self.pressed, self.reports = 0, [], []
        self.looked = asyncio.Event()

    def look(self):
        self.looks += 1
        self.looked.set()
        if isinstance(self.picture, Exception):
            raise self.picture
        return self.picture

    async def press(self, *client):
        self.pressed.append(client)

    async def fail(self, client):
        raise ValueError(f"{client} cannot do this")

    async def next_looks(self, count=3):
        """Wait until the panel has looked a few times more."""
        for _ in range(count):
            self.looked.clear()
            await asyncio.wait_for(self.looked.wait(), PATIENCE)


@pytest.fixture
def stage(monkeypatch):
    monkeypatch.setattr(panel_module, "TICK", QUICK)
    return Stage()


def panel_of(stage, **options):
    buttons = {"drop": stage.press, "fail": stage.fail, "kill": stage.press, "thaw": stage.press}
    return Panel(
        stage.look, buttons, on_report=lambda *report: stage.reports.append(report), **options
    )


class Viewer:
    """Somebody who knows the address of a panel."""

    def __init__(self, session, url):
        self.session, self.url = session, url

    async def press(self, button, client=None, **headers):
        asked = {"button": button} | ({} if client is None else {"client": client})
        return await self.post(json.dumps(asked), **headers)

    async def post(self, body, content_type="application/json", **headers):
        """Return the status of the answer, and the answer."""
        headers = {"Content-Type": content_type} | headers
        async with self.session.post(f"{self.url}press", data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def get(self, file="", **headers):
        async with self.session.get(f"{self.url}{file}", headers=headers) as answer:
            return answer.status, await answer.text(), answer.headers

    def looks(self, **headers):
        """Open the stream of what there is to see."""
        return self.session.ws_connect(f"{self.url}state", headers=headers)


@contextlib.asynccontextmanager
async def shown(panel, app=None, prefix=""):
    """Serve a panel, and give somebody who looks at it."""
    async with (
        listening(app or panel.app(), "127.0.0.1", 0) as port,
        aiohttp.ClientSession() as session,
    ):
        yield Viewer(session, f"http://127.0.0.1:{port}/{prefix}{panel.path}")


@pytest.fixture
async def viewer(stage):
    async with shown(panel_of(stage)) as viewer:
        yield viewer


async def test_stream_begins_with_everything_and_goes_on_with_what_has_changed(stage, viewer):
    """What stays as it is, is not sent again, however often the panel looks."""
    async with viewer.looks() as stream:
        first = await stream.receive_json(timeout=PATIENCE)
        assert first["title"] == "a lab"
        assert first["clients"][0] == {
            "name": "ann", "values": ["connected", 1], "healthy": True, "buttons": ["drop", "fail"],
        }  # fmt: skip
        await stage.next_looks()
        stage.picture = replace(stage.picture, facts={"log": 2})
        assert await stream.receive_json(timeout=PATIENCE) == {"facts": {"log": 2}}
        drawing = Drawing("<svg/>", "nothing yet")
        stage.picture = replace(stage.picture, drawing=drawing, buttons=[])
        news = await stream.receive_json(timeout=PATIENCE)
        assert news.keys() == {"drawing", "buttons"}
        assert news["drawing"] == {"svg": "<svg/>", "alt": "nothing yet", "caption": ""}


async def test_every_viewer_sees_everything(stage, viewer):
    """Who comes later gets all of it too, and who leaves takes nothing away from the others."""
    async with viewer.looks() as one:
        first = await one.receive_json(timeout=PATIENCE)
        async with viewer.looks() as other:
            assert await other.receive_json(timeout=PATIENCE) == first
        stage.picture = replace(stage.picture, note="a note")
        assert await one.receive_json(timeout=PATIENCE) == {"note": "a note"}


async def test_button_does_what_it_says(stage, viewer):
    """One of a client is called with its name, one for all with nothing."""
    assert await viewer.press("drop", "ann") == (200, {"done": "drop ann"})
    assert await viewer.press("kill") == (200, {"done": "kill"})
    assert stage.pressed == [("ann",), ()]


async def test_button_that_fails_says_so_and_the_next_one_works(stage, viewer):
    """The error is the answer to this press; who looks goes on looking."""
    async with viewer.looks() as stream:
        await stream.receive_json(timeout=PATIENCE)
        status, answer = await viewer.press("fail", "ann")
        assert (status, answer) == (500, {"error": "fail ann: ValueError: ann cannot do this"})
        assert (await viewer.press("drop", "ann"))[0] == 200
        stage.picture = replace(stage.picture, note="still here")
        assert await stream.receive_json(timeout=PATIENCE) == {"note": "still here"}


@pytest.mark.parametrize(
    ("asked", "status", "sentence"),
    [
        ({"button": "explode"}, 404, "there is no button 'explode'"),
        ({"button": "drop", "client": "bob"}, 404, "there is no client 'bob'"),
        ({"button": "thaw", "client": "ann"}, 409, "'thaw' cannot be pressed for ann now"),
        ({"button": "drop"}, 409, "'drop' cannot be pressed now"),
        ({"button": "kill", "client": "ann"}, 409, "'kill' cannot be pressed for ann now"),
        ({"button": 1}, 400, "a press is"),
        ({"button": "drop", "client": ["ann"]}, 400, "a press is"),
        ({}, 400, "a press is"),
        (["drop"], 400, "a press is"),
        ("drop", 400, "a press is"),
    ],
)
async def test_bad_press_is_answered_with_a_sentence(stage, viewer, asked, status, sentence):
    """An error of the 400s, as JSON, and nothing is pressed."""
    got, answer = await viewer.post(json.dumps(asked))
    assert got == status
    assert answer["error"].startswith(sentence)
    assert stage.pressed == []


async def test_press_that_is_no_json_is_refused(stage, viewer):
    """What a form of another page could send, rubbish, and too much."""
    good = '{"button": "kill"}'
    assert (await viewer.post(good, "text/plain"))[0] == 415
    assert (await viewer.post("{", "application/json")) == (
        400, {"error": "a press is sent as JSON"},
    )  # fmt: skip
    assert (await viewer.post("\udcff".encode("utf-8", "surrogateescape")))[0] == 400
    status, answer = await viewer.post(" " * 5000 + good)
    assert status == 413 and answer["error"]
    assert stage.pressed == []
    assert (await viewer.post(good))[0] == 200


DEEP = "[" * 4000


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (DEEP, "application/json"),
        ('{"button":' + DEEP, "application/json"),
        ('{"button":' + "9" * 4000, "application/json"),
        ('{"button":"\x00"', "application/json"),
        ("", "application/json"),
        ("NaN", "application/json"),
        ("null", "application/json"),
        ('{"button":"kill"}', "application/json/x; charset=utf-8"),
        ('{"button":"\\ud800"}', "application/json"),
        ('{"button":"kill","client":"\\ud800"}', "application/json"),
        ('{"button":1}', "application/json; charset=no such charset"),
        ('{"button":1}', "application/json; charset=hex"),
        ('{"button":1}', "application/json; charset*=utf-8''%ff"),
    ],
)
async def test_press_that_cannot_be_read_is_an_error_of_the_400s(stage, viewer, body, content_type):
    """Also what aiohttp's own reader of JSON ends in a traceback for."""
    status, answer = await viewer.post(body, content_type)
    assert status in (400, 404, 415) and answer["error"]
    assert stage.pressed == []
    assert (await viewer.press("kill"))[0] == 200


@pytest.mark.parametrize("charset", ["no-such-charset", "hex", "utf-8", ""])
async def test_press_is_read_whatever_its_charset(stage, viewer, charset):
    """JSON is UTF-8 everywhere."""
    status, _ = await viewer.post('{"button":"kill"}', f"application/json; charset={charset}")
    assert (status, stage.pressed) == (200, [()])


@pytest.mark.parametrize("key", ["\xff" * 4, "short", "a b"])
async def test_stream_that_is_asked_for_wrongly_is_refused(viewer, key):
    """No error of the server."""
    asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    status, text, _ = await viewer.get("state", **asked, **{"Sec-WebSocket-Key": key})
    assert (status, bool(json.loads(text)["error"])) == (400, True)


PATHS = [*FILES, "state", "press"]


@pytest.mark.parametrize("file", PATHS)
@pytest.mark.parametrize("key", ["", "wrong/", "ä/"], ids=["no key", "wrong key", "strange key"])
async def test_who_does_not_know_the_key_finds_nothing(stage, viewer, key, file):
    """Neither the page nor the state, and nothing can be pressed."""
    right, viewer.url = viewer.url, viewer.url.rsplit("/", 2)[0] + f"/{key}"
    status, text, _ = await viewer.get(file)
    assert (status, json.loads(text)) == (404, {"error": "there is nothing here"})
    assert (await viewer.press("kill"))[0] == 404
    assert stage.pressed == []
    viewer.url = right
    assert (await viewer.press("kill"))[0] == 200


def test_every_panel_has_a_key_of_its_own():
    """And one that nobody guesses."""
    keys = {Panel(Stage.look, {}).key for _ in range(100)}
    assert len(keys) == 100
    assert min(map(len, keys)) >= 32


def origin_of(viewer):
    return viewer.url.rsplit("/", 2)[0]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", ""])
async def test_page_of_another_origin_can_neither_press_nor_look(stage, viewer, origin):
    """Even if it knows the address: a browser says where a request comes from."""
    status, answer = await viewer.press("kill", Origin=origin)
    assert (status, answer) == (403, {"error": "another page may not use the panel"})
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await viewer.looks(Origin=origin)
    assert refused.value.status == 403
    assert stage.pressed == []


async def test_page_of_the_panel_can_press_and_look(stage, viewer):
    """The control: its origin is the right one."""
    assert (await viewer.press("kill", Origin=origin_of(viewer)))[0] == 200
    async with viewer.looks(Origin=origin_of(viewer)) as stream:
        assert (await stream.receive_json(timeout=PATIENCE))["title"] == "a lab"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:80", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("192.168.1.7:80", 200),
        ("teacher.example:80", 200),
        ("evil.example:80", 403),
        ("localhost.evil.example", 403),
        ("a b", 403),
        ("[", 403),
        ("localhost:bad", 403),
    ],
)
async def test_name_that_somebody_else_has_given_is_refused(stage, host, status):
    """A page of evil.example, whose name leads here, has the right origin, and is not let in."""
    async with shown(panel_of(stage, hosts=["teacher.example"])) as viewer:
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert (await viewer.press("kill", **headers))[0] == status
        assert len(stage.pressed) == (status == 200)


async def test_jupyter_that_forwards_has_a_name_of_its_own(stage, viewer):
    """The panel is asked for by that name, also for its stream; another origin stays another."""
    headers = {"Host": "hub.example", "Origin": "https://hub.example"}
    forwarded = {"X-Forwarded-Context": "/user/ann/proxy/8123", "Host": "hub.example"}
    assert (await viewer.press("kill", **headers))[0] == 403
    assert (await viewer.get("../nokey/", **forwarded))[0] == 404
    assert (await viewer.press("kill", **headers))[0] == 403
    assert (await viewer.get(**forwarded))[0] == 200
    assert (await viewer.press("kill", **headers))[0] == 200
    async with viewer.looks(**headers) as stream:
        assert (await stream.receive_json(timeout=PATIENCE))["title"] == "a lab"
    assert (await viewer.press("kill", **headers | {"Origin": "https://evil.example"}))[0] == 403


async def test_picture_that_cannot_be_made_is_said_and_heals(stage, viewer):
    """An error in `look` ends no stream, and a press says it too."""
    good, stage.picture = stage.picture, KeyError("ann")
    async with viewer.looks() as stream:
        said = await stream.receive_json(timeout=PATIENCE)
        assert said == {"error": "the picture cannot be made: KeyError: 'ann'"}
        assert await viewer.press("kill") == (500, {"error": "kill: KeyError: 'ann'"})
        stage.picture = good
        healed = await stream.receive_json(timeout=PATIENCE)
        assert (healed["title"], healed["error"]) == ("a lab", "")
        assert (await viewer.press("kill"))[0] == 200


async def test_what_the_frame_says_is_told_until_its_viewer_leaves(stage, viewer):
    """Rubbish is not told; too much of it ends this stream, and no other."""
    async with viewer.looks() as other, viewer.looks() as stream:
        await stream.send_str("{")
        await stream.send_str("[" * 100_000)
        await stream.send_json(["a list"])
        await stream.send_bytes(b"{}")
        await stream.send_json({"offset": 3})
        await until(lambda: stage.reports)
        [(one, news)] = stage.reports
        assert news == {"offset": 3}
        await stream.send_str("x" * 200_000)
        await until(lambda: (one, None) in stage.reports)
        await other.send_json({"offset": 4})
        await until(lambda: len(stage.reports) == 3)
        assert stage.reports[2][0] is not one


async def test_panel_that_closes_says_goodbye_to_its_viewers(stage):
    """No task is left, neither of those who left before nor of those who stayed."""
    before = asyncio.all_tasks()
    panel = panel_of(stage)
    async with aiohttp.ClientSession() as session:
        async with listening(panel.app(), "127.0.0.1", 0) as port:
            viewer = Viewer(session, f"http://127.0.0.1:{port}/{panel.path}")
            async with viewer.looks() as stream:
                await stream.receive_json(timeout=PATIENCE)
            stream = await viewer.looks()
            await stream.receive_json(timeout=PATIENCE)
        assert (await stream.receive(timeout=PATIENCE)).type is WSMsgType.CLOSE
    await until(lambda: asyncio.all_tasks() <= before)


async def test_viewer_that_reads_no_more_does_not_hold_up_the_end(stage, monkeypatch):
    """It cannot be told that the panel closes, and so it is not waited for."""
    monkeypatch.setattr(panel_module, "CLOSING", 0.01)

    class Stuck:
        async def close(self):
            await asyncio.Event().wait()

    app = panel_of(stage).app()
    async with asyncio.timeout(PATIENCE), listening(app, "127.0.0.1", 0):
        app[VIEWERS].add(Stuck())


async def test_panel_is_a_part_of_another_application(stage):
    """Under a prefix; the rest of the application is not guarded, and the panel is."""
    app, panel = web.Application(), panel_of(stage)
    app.router.add_get("/", _hello)
    app.add_subapp("/panel/", panel.app())
    async with shown(panel, app, "panel/") as viewer:
        async with viewer.session.get(f"{viewer.url}../../") as answer:
            assert await answer.text() == "hello"
        assert (await viewer.press("drop", "ann"))[0] == 200
        async with viewer.looks() as stream:
            assert (await stream.receive_json(timeout=PATIENCE))["title"] == "a lab"
        viewer.url = viewer.url.replace(panel.key, "wrong")
        assert (await viewer.press("drop", "ann"))[0] == 404


async def _hello(request):
    return web.Response(text="hello")


@pytest.mark.parametrize("file", FILES)
async def test_every_file_of_the_page_is_there_and_keeps_the_key_secret(viewer, file):
    """With the headers that let nothing else run, and tell nobody the address."""
    status, text, headers = await viewer.get(file)
    assert (status, bool(text)) == (200, True)
    assert "default-src 'none'; script-src 'self';" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


async def until(condition):
    """Wait until a condition holds that nothing announces."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(QUICK)
