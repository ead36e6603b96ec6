"""The message log: it stores the messages and gives them their order.

It promises that a message is on the disk when `append` returns, and that offsets are dense (1, 2,
3, ...) and become visible in their order. It must not know Socket.IO, clients or servers.
"""

from chatlab.log.contract import Log
from chatlab.log.database import Batches, Writer, make_durable, transaction
from chatlab.log.sqlite import KEY_USED, MessageLog, head_of, messages_in
