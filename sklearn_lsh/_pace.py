"""Cutting long work into calls short enough that Ctrl-C is heard between them, and learning from
these how threads are worth their while."""

import time
from typing import NamedTuple

# Seconds that a call into the engine should take: short for a person, long beside its cost.
CALL_SECONDS = 0.1
# Shorter calls say nothing about threads: half of a usual one, in a better way, does.
TELLING_SECONDS = 0.01
# Calls between two trials of another way: doubled where a trial brought nothing.
SHORTEST_REST, LONGEST_REST = 4, 64
# What a trial must gain, and a loss of speed that calls for one.
WORTHWHILE, SUSPICIOUS = 1.1, 0.75


class Pace:
    """Learns how many examples fit into a call; where the cuts fall changes no result.

    Calls are cut after a multiple of so many examples.

    Attributes
    ----------
    seconds : float
        That the last call took.
    """

    def __init__(self, multiple=1):
        self.size = self.multiple = multiple
        self.seconds = 0.0

    def call(self, work, start, stop, brief=False):
        """``work(start, end)`` with an end that makes it short; returns end and the result.

        Brief is half of what is usual.
        """
        size = max(self.multiple, self.size // 2) if brief else self.size
        end = min(stop, start + size)
        started = time.perf_counter()
        result = work(start, end)
        self.seconds = time.perf_counter() - started
        if self.seconds < CALL_SECONDS / 2 and end - start == self.size:
            self.size *= 2
        elif self.seconds > 2 * CALL_SECONDS:
            self.size = max(self.multiple, self.size // 2)
        return end, result


class Way(NamedTuple):
    """How many threads make a call, and whether they divide layers among them."""

    n_threads: int
    by_layer: bool = False


class Crew:
    """Learns in which way threads help: as many as there are, or fewer, or in relay.

    Memory that one core has written costs another more to read than a second thread brings, on
    some machines always, on virtual ones at times; threads that divide layers exchange least, but
    cannot be many more than there are layers. Now and then a call is made in another way; where
    it is faster, it stays. The engine's results do not depend on it.

    Parameters
    ----------
    most : int
        Threads at most, and at first.
    n_stages : int
        Threads that can divide layers, and do at first where these are all; 1 where that is not to
        be tried.

    Attributes
    ----------
    way : Way
        For the next call.
    """

    def __init__(self, most, n_stages=1):
        self.most = most
        self.relay = Way(n_stages, by_layer=n_stages > 1)
        self.way = self.usual = self.relay if n_stages == most else Way(most)
        self.speed = 0.0  # of the last call in the usual way; unknown
        self.rest = self.left = SHORTEST_REST
        self.n_trials = 0

    @property
    def tries(self):
        """Whether the next call is made in an unusual way."""
        return self.way != self.usual

    def note(self, n_examples, seconds):
        """Learn from a call made in this ``way``."""
        if self.most == 1:
            return
        if seconds < TELLING_SECONDS:
            if self.tries:  # too short to tell, and over all the same
                self.way, self.left = self.usual, self.rest
            return
        speed = n_examples / seconds
        if self.tries:
            self._end_trial(speed)
        else:
            if speed < SUSPICIOUS * self.speed:
                self.rest, self.left = SHORTEST_REST, 0
            self.speed = speed
            self.left -= 1
            if self.left < 0:
                others = self._others()
                self.way = others[self.n_trials % len(others)]
                self.n_trials += 1

    def _others(self):
        """Ways not far from the usual one: of many threads, a call of one takes long."""
        n = self.usual.n_threads
        more = self.most if self.usual.by_layer else min(self.most, 2 * n)
        near = [Way(max(1, n // 2)), Way(more)]
        if self.relay.by_layer:
            near.append(self.relay)
        return [way for way in dict.fromkeys(near) if way != self.usual]

    def _end_trial(self, speed):
        if speed > WORTHWHILE * self.speed:
            self.usual, self.speed, self.rest = self.way, speed, SHORTEST_REST
        else:
            self.way, self.rest = self.usual, min(2 * self.rest, LONGEST_REST)
        self.left = self.rest
