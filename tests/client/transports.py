"""The transports with which a tab is tested."""

import pytest

EVERY_TRANSPORT = [("websocket",), ("polling",), ("polling", "websocket")]
every_transport = pytest.mark.parametrize("transports", EVERY_TRANSPORT, ids="+".join)
