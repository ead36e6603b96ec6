"""The join code of a class, a limit for wrong codes, and what other limits are made of.

It must not know the students. It has no socket, and gets the time, in seconds, from its caller.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable
from math import ceil
from typing import Any

from chatlab.messages import Refused

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""The characters of a join code, without those that look alike, such as 0 and O."""
CODE_LENGTH = 6
WRONG_CODES, WRONG_CODES_A_SECOND = 10, 0.1
"""How many wrong codes one address may try at once, and how many a second in the long run."""
MAX_ADDRESSES = 1000
"""The number of addresses that a limit counts one by one."""


class Bucket:
    """A token bucket: it allows `size` actions at once, and `rate` a second in the long run."""

    def __init__(self, size: int, rate: float, now: float) -> None:
        self._size, self._rate = size, rate
        self._level, self._filled_at = float(size), now

    def take(self, now: float) -> bool:
        """Take one token. Return False if there is none."""
        if self.wait(now):
            return False
        self._level -= 1
        return True

    def give_back(self) -> None:
        """Put a token back that was taken in vain."""
        self._level = min(self._size, self._level + 1)

    def wait(self, now: float, tokens: int = 1) -> float:
        """Return the seconds until there are so many tokens: 0 if there are."""
        self._level = min(self._size, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return max(0.0, (tokens - self._level) / self._rate)


class Buckets:
    """A token bucket for each network address, for MAX_ADDRESSES of them at most.

    An address is forgotten only when its bucket is full again. While there is no room, all other
    addresses share one bucket. So nobody gets around the limit with many addresses: all of them
    together may do at most MAX_ADDRESSES + 1 times what one may.
    """

    def __init__(self, size: int, rate: float, clock: Callable[[], float]) -> None:
        self._size, self._rate, self._clock = size, rate, clock
        self._buckets: dict[str, Bucket] = {}
        self._shared = self._new()

    def __len__(self) -> int:
        return len(self._buckets)

    def of(self, address: str | None) -> Bucket:
        """Return the bucket of an address."""
        network = network_of(address)
        bucket = self._buckets.pop(network, None)
        if bucket is None and not self._make_room():
            return self._shared
        self._buckets[network] = bucket or self._new()  # now the last one in the order of the dict
        return self._buckets[network]

    def _make_room(self) -> bool:
        """Forget the oldest address if it takes the last place and may go; say if there is room."""
        if len(self._buckets) >= MAX_ADDRESSES:
            oldest = next(iter(self._buckets))
            if self._buckets[oldest].wait(self._clock(), self._size):
                return False
            del self._buckets[oldest]
        return True

    def _new(self) -> Bucket:
        return Bucket(self._size, self._rate, self._clock())


class Door:
    """Checks join codes, and counts the wrong ones of each address.

    So nobody can try enough codes to find the right one. A person who tries blocks only new
    students at the same address, or, with more than MAX_ADDRESSES of them, all new ones. Even 1,000
    addresses try only 100 codes a second; there are 887 million.
    """

    def __init__(self, code: str, clock: Callable[[], float]) -> None:
        self.code, self._clock = code, clock
        self._wrong = Buckets(WRONG_CODES, WRONG_CODES_A_SECOND, clock)

    def check(self, code: Any, address: str | None, *, known: bool = False) -> None:
        """Return if the code is right. Raises Refused otherwise.

        After too many wrong codes from an address, it refuses the next code without checking it.
        This limit does not hold for a `known` student, whose badge belongs to the name.
        """
        if code is None or code == "":
            raise Refused("no code", "a join code is needed")
        now, bucket = self._clock(), self._wrong.of(address)
        if not known and (wait := bucket.wait(now)):
            raise Refused(
                "too many codes", f"too many wrong codes: try again in {ceil(wait)} seconds"
            )
        if not secrets.compare_digest(_normalized(code).encode(), self.code.encode()):
            bucket.take(now)
            raise Refused("wrong code", "this is not the join code of this class")


def new_code() -> str:
    """Return a new random join code."""
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))


def check_code(text: str) -> str:
    """Return a join code in capital letters. Raises ValueError if it is not valid."""
    code = _normalized(text)
    if len(code) != CODE_LENGTH or not set(code) <= set(ALPHABET):
        raise ValueError(f"a join code has {CODE_LENGTH} characters of {ALPHABET}")
    return code


def _normalized(code: Any) -> str:
    """Return a code without spaces, in capital letters; "" if it cannot be a code."""
    if isinstance(code, str) and code.isascii() and len(code) <= 10 * CODE_LENGTH:
        return "".join(code.split()).upper()
    return ""


def network_of(address: str | None) -> str:
    """Return the network that counts as one address: with IPv6, one machine has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
