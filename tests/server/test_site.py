"""The chat page as a server serves it: whole, of one version, never stale, at any place."""

import re

import pytest
from aiohttp import web
from support import asking, missing

from chatlab.page import BROWSER_CLIENT, PAGE
from chatlab.server import create_app

LINKED = re.compile(r'(?:href|src)="([^"]*page/[^"]*)"')


@pytest.fixture
async def ask(tmp_path):
    async with asking(create_app(db=tmp_path / "chat.db")) as ask:
        yield ask


async def linked(ask):
    """The addresses of the parts that the page names."""
    return [f"/{path}" for path in LINKED.findall(await (await ask("/")).text())]


async def test_page_and_its_parts_are_served(ask):
    """All that the page names, and what its scripts import, each as what it is; nothing else."""
    parts = await linked(ask)
    assert [path.rpartition("/")[2] for path in parts] == ["style.css", "loading.js", "page.js"]
    folder = parts[0].rpartition("/")[0]
    for path in ("/", *parts, f"{folder}/outbox.js"):
        answer = await ask(path)
        assert answer.status == 200
        kind = {"css": "text/css", "js": "text/javascript"}.get(path.rpartition(".")[2])
        assert answer.content_type == (kind or "text/html")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("%2e%2e/__init__.py", "../__init__.py", "vendor/fetched.txt", "x" * 4000, "%ff"):
        assert (await ask(f"{folder}/{name}")).status == 404


async def test_browser_asks_each_time_whether_what_it_has_is_right(ask):
    """It may keep a part, and asks before it uses it: then the answer is short."""
    for path in ("/", *await linked(ask)):
        answer = await ask(path)
        assert answer.headers["Cache-Control"] == "no-cache"
        for tag in (answer.headers["ETag"], f'W/"x", {answer.headers["ETag"]}', "*"):
            again = await ask(path, **{"If-None-Match": tag})
            assert (again.status, again.content_length) == (304, None)
            assert again.headers["Cache-Control"] == "no-cache"
            assert again.headers["ETag"] == answer.headers["ETag"]
        for tag in ('"another"', "no tag", '"' * 900):
            assert (await ask(path, **{"If-None-Match": tag})).status == 200


async def test_part_of_another_version_is_not_there(ask, tmp_path, monkeypatch):
    """The addresses of a page are those of its own version, of the smallest change."""
    old = await linked(ask)
    (folder := tmp_path / "static").mkdir()
    for file in PAGE.glob("*.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "store.js").write_text((PAGE / "store.js").read_text() + "\n")
    monkeypatch.setattr("chatlab.server.site.PAGE", folder)
    async with asking(create_app(db=tmp_path / "new.db")) as updated:
        new = await linked(updated)
        assert not set(old) & set(new)
        assert {path: (await updated(path)).status for path in new} == dict.fromkeys(new, 200)
        statuses = {path.rpartition("/")[2]: (await updated(path)).status for path in old}
    assert statuses == {"style.css": 404, "page.js": 404, "loading.js": 200}


async def test_frames_of_other_pages_are_named_where_the_names_are_known(ask, tmp_path):
    """The server of a notebook does not know them, and leaves the frames open."""
    made = {"db": tmp_path / "known.db", "hosts": (), "origins": ["https://chat.example/"]}
    async with asking(create_app(**made)) as known:
        policy = (await known("/")).headers["Content-Security-Policy"]
    assert policy.endswith("; frame-ancestors 'self' https://chat.example")
    assert "frame-ancestors" not in (await ask("/")).headers["Content-Security-Policy"]


@pytest.mark.parametrize("mount", ["/chat", "/", "/x:y"])
@pytest.mark.parametrize("outer", ["", "/deeper"])
async def test_mounted_page_is_found_without_the_slash(tmp_path, mount, outer):
    """Wherever it is mounted: the browser is sent to the page, with its query."""
    inner = app = create_app(db=tmp_path / "chat.db")
    for prefix in (mount, outer):
        if prefix.strip("/"):
            app = web.Application()
            app.add_subapp(f"{prefix}/", inner)
            inner = app
    place = f"{outer}{mount}".rstrip("/")
    async with asking(app) as ask:
        assert (await ask(f"{place}/?a=b")).status == 200
        if place:
            answer = await ask(f"{place}?a=b%26c&d")
            assert answer.status == 302
            name = place.rpartition("/")[2]
            assert answer.headers["Location"] == f"./{name}/?a=b%26c&d"
            assert (await ask(place)).headers["Location"] == f"./{name}/"


async def test_official_client_is_served_where_the_tutorials_page_loads_it(ask):
    """And where our page does."""
    if not BROWSER_CLIENT.exists():
        missing("the Socket.IO browser client was not fetched")
    folder = (await linked(ask))[0].rpartition("/")[0]
    for path in ("/socket.io/socket.io.js", f"{folder}/vendor/socket.io.min.js"):
        assert "Socket.IO" in await (await ask(path)).text()


async def test_missing_official_client_is_explained(tmp_path, monkeypatch):
    """A sentence, and not a page of Engine.IO's."""
    monkeypatch.setattr("chatlab.server.site.CLIENT", "vendor/missing.js")
    async with asking(create_app(db=tmp_path / "chat.db")) as ask:
        answer = await ask("/socket.io/socket.io.js")
        assert answer.status == 404
        assert "not installed" in await answer.text()
