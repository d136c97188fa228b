"""Cutting long work into calls short enough that Ctrl-C is heard between them."""

import time

# Seconds that a call into the engine should take: short for a person, long beside its cost.
CALL_SECONDS = 0.1


class Pace:
    """Learns how many examples fit into a call; where the cuts fall changes no result.

    Calls are cut after a multiple of so many examples.
    """

    def __init__(self, multiple=1):
        self.size = self.multiple = multiple

    def call(self, work, start, stop):
        """``work(start, end)`` with an end that makes it short; returns end and the result."""
        end = min(stop, start + self.size)
        started = time.perf_counter()
        result = work(start, end)
        seconds = time.perf_counter() - started
        if seconds < CALL_SECONDS / 2 and end - start == self.size:
            self.size *= 2
        elif seconds > 2 * CALL_SECONDS:
            self.size = max(self.multiple, self.size // 2)
        return end, result
