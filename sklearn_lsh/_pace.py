"""Cutting long work into calls short enough that Ctrl-C is heard between them, and learning from
these how many threads are worth their while."""

import time

# Seconds that a call into the engine should take: short for a person, long beside its cost.
CALL_SECONDS = 0.1
# Shorter calls say nothing about threads.
TELLING_SECONDS = 0.02
# Calls between two trials of another number of threads: doubled where a trial brought nothing.
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

    def call(self, work, start, stop):
        """``work(start, end)`` with an end that makes it short; returns end and the result."""
        end = min(stop, start + self.size)
        started = time.perf_counter()
        result = work(start, end)
        self.seconds = time.perf_counter() - started
        if self.seconds < CALL_SECONDS / 2 and end - start == self.size:
            self.size *= 2
        elif self.seconds > 2 * CALL_SECONDS:
            self.size = max(self.multiple, self.size // 2)
        return end, result


class Crew:
    """Learns how many threads help: as many as there are, or fewer.

    Memory that one core has written costs another more to read than a second thread brings, on
    some machines always, on virtual ones at times. Now and then a call is made with half or twice
    the threads; where it is faster, they stay. The engine's results do not depend on it.

    Parameters
    ----------
    most : int
        Threads at most, and at first.

    Attributes
    ----------
    size : int
        Threads for the next call.
    """

    def __init__(self, most):
        self.most = self.size = self.usual = most
        self.speed = 0.0  # of the last call with the usual number; unknown
        self.rest = self.left = SHORTEST_REST
        self.fewer = True  # what is tried next

    def note(self, n_examples, seconds):
        """Learn from a call with ``size`` threads."""
        if self.most == 1 or seconds < TELLING_SECONDS:
            return
        speed = n_examples / seconds
        if self.size != self.usual:
            self._end_trial(speed)
        else:
            if speed < SUSPICIOUS * self.speed:
                self.rest, self.left = SHORTEST_REST, 0
            self.speed = speed
            self.left -= 1
            if self.left < 0:
                self._try_another()

    def _try_another(self):
        half, double = max(1, self.usual // 2), min(self.most, 2 * self.usual)
        self.size = half if double == self.usual or (self.fewer and half < self.usual) else double
        self.fewer = not self.fewer

    def _end_trial(self, speed):
        if speed > WORTHWHILE * self.speed:
            self.usual, self.speed, self.rest = self.size, speed, SHORTEST_REST
        else:
            self.size, self.rest = self.usual, min(2 * self.rest, LONGEST_REST)
        self.left = self.rest
