"""A PostgreSQL for the tests of this process, and a database in it for each test that asks."""

import itertools
from functools import cache

from chatlab.harness import shared_postgres

NUMBERS = itertools.count(1)


def postgres():
    """Start it, when the first test needs it. It ends with this process."""
    return shared_postgres().start()


@cache
def url_of(path):
    """Return the address of the database that has the place of a file."""
    return postgres().make_database(f"test{next(NUMBERS)}")
