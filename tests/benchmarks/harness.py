"""What a benchmark needs: two cases, measured in turn in one run, and a table of the outcome.

Only ratios are judged. Seconds differ from machine to machine and from minute to minute; the two
cases of a round see the same machine in the same minute.
"""

import sys
from statistics import median, quantiles


async def ratio(title, cases, rounds):
    """Measure two cases round by round, print a table, and return how their medians compare.

    `cases` are a name and a coroutine function that returns seconds, twice: the result is the
    second's median in those of the first. The cases change places each round, and the round before
    the first does not count.
    """
    seconds = {name: [] for name in cases}
    for number in range(rounds + 1):
        print(f"\r{title}: round {number} of {rounds}", end="", file=sys.stderr, flush=True)
        for name in reversed(cases) if number % 2 else cases:
            seconds[name].append(await cases[name]())
    print(file=sys.stderr)
    first, second = (values[1:] for values in seconds.values())
    for name, values in zip(cases, (first, second), strict=True):
        print(line(name, [value * 1000 for value in values], "ms"))
    each = [two / one for one, two in zip(first, second, strict=True)]
    print(line("ratio in a round", each, ""))
    print(f"  ratio of the medians: {median(second) / median(first):.2f}\n")
    return median(second) / median(first)


def line(name, values, unit):
    """Return a line of the table: the median, and the quartiles, between which half of them lie."""
    low, middle, high = quantiles(values)
    return f"  {name:30} {middle:8.2f} {unit:2}   half of them {low:.2f} to {high:.2f}"
