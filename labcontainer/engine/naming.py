"""Names for containers that got none: an adjective and a person of computing, as Docker gives."""

from __future__ import annotations

import random

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ADJECTIVES = """
    able bold brave bright brisk calm candid careful clear clever cosy curious daring eager earnest
    fair fearless fine fond frank free fresh gentle glad graceful grand happy hardy honest hopeful
    jolly keen kind lively loyal lucid merry mild modest neat nimble noble patient peaceful placid
    plucky polite proud quick quiet ready serene sharp silent sincere smart snug sober steady sunny
    swift tender thrifty tidy upbeat vivid warm wary wise witty
""".split()
PEOPLE = """
    ada allen babbage backus bardeen bartik bell berners boole borg brattain cerf chomsky church
    clarke codd conway cray dijkstra eckert engelbart euler feinler fourier franklin frege gauss
    germain goedel goldberg goldwasser hamilton hamming hoare hollerith holberton hopper jacquard
    johnson kahn karp kay keller kernighan kilby kleene knuth lamarr lamport leibniz liskov lovelace
    mauchly mccarthy metcalfe meitner milner minsky moore naur neumann newell noether noyce nygaard
    pascal perlis perlman postel rabin ritchie rivest shannon shockley simon spence stallman
    stroustrup tarjan thompson torvalds turing wilkes wilkinson wirth yao zuse
""".split()


def choose(taken: Callable[[str], bool]) -> str:
    """A name that is free; after a hundred clashes it gets a number."""
    for attempt in range(1000):
        name = f"{random.choice(ADJECTIVES)}_{random.choice(PEOPLE)}"
        name += str(attempt) if attempt > 100 else ""
        if not taken(name):
            return name
    raise AssertionError("unreachable: a million names are taken")
