"""The message log: it stores the messages and gives them their order.

It promises that a message is on the disk when `append` returns, and that offsets are dense (1, 2,
3, ...) and become visible in their order. It must not know Socket.IO, clients or servers.
"""

from chatlab.log.addresses import head_at, is_address, log_at, messages_at
from chatlab.log.batched import KEY_USED
from chatlab.log.contract import Log, LogError
from chatlab.log.database import Writer, make_durable, transaction
from chatlab.log.follower import NOTIFY
from chatlab.log.group_commit import Batches
from chatlab.log.postgres import PostgresLog
from chatlab.log.sqlite import MessageLog
