"""A connection over HTTP long-polling, by hand."""

import json


async def opened(session, url, auth=None):
    """Open a connection over polling; return its address."""
    async with session.get(f"{url}/socket.io/?EIO=4&transport=polling") as answer:
        sid = json.loads((await answer.text())[1:])["sid"]
    address = f"{url}/socket.io/?EIO=4&transport=polling&sid={sid}"
    connect = "40" + ("" if auth is None else json.dumps(auth))
    async with session.post(address, data=connect) as answer:
        assert answer.status == 200
    async with session.get(address) as answer:
        assert (await answer.text()).startswith("40{")
    return address


def packets(*texts):
    """The body of a request that sends these texts."""
    return "\x1e".join(f"42{json.dumps(['chat message', text])}" for text in texts)
