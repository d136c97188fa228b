"""Training in relay: each thread has some of the layers, and hands examples on to the next.

What threads exchange is then activations and gradients of few nodes, not rows of weights that
another has just written; and a core's cache holds the weights of its own layers only. It is a
pipeline (Huang et al. 2019, "GPipe") whose stages do not wait for each other at the end of a
batch: one that has applied its updates goes on to the next batch, while those above it apply
theirs. No example meets other weights than it would with one thread, so no bit of the result
is another.
"""

from libc.stdlib cimport calloc, free

from .counter cimport Counter, raise_to, wait_for
from .workspace cimport Example

# Examples that are handed on together: few, lest the next stage waits long for the first; but
# those that pass through a layer together share the rows that are in the cache.
cdef int32_t LARGEST_PORTION = 8
# Portions of a batch at least, where it has as many examples.
cdef int32_t PORTIONS = 4


cdef class Relay:
    """A pass over examples in stages: each is to be run by a thread of its own, all at once.

    Stage and thread have the same number; the first takes the examples.
    """

    def __cinit__(self, int n_stages):
        self.n_stages = n_stages
        self.up = <Counter *> calloc(3 * n_stages, sizeof(Counter))
        if self.up == NULL:
            raise MemoryError()
        self.down = self.up + n_stages
        self.done = self.down + n_stages

    def __dealloc__(self):
        free(self.up)

    cdef int low(self, int stage) noexcept nogil:
        """The lowest layer of a stage; the output layer belongs to the last one."""
        if stage == self.n_stages:
            return self.steps.n_hidden + 1
        return stage * self.steps.n_hidden // self.n_stages

    cdef void run(self, int stage) noexcept nogil:
        """All batches of the pass."""
        cdef Batch batch
        cdef Py_ssize_t t = self.work.start, n_batches = 0
        cdef int other
        batch.n_spaces, batch.start = 1, 0
        while t < self.work.stop:
            # Two batches are under way at most, each in a space of its own.
            if stage == 0:
                for other in range(1, self.n_stages):
                    wait_for(self.done + other, n_batches - 1)
            batch.spaces = self.spaces + n_batches % 2
            batch.stop = <int32_t> min(self.work.batch, self.work.stop - t)
            self.forward(stage, &batch, t)
            if stage + 1 < self.n_stages:
                self.backward(stage, &batch, t)
            self.update(stage, &batch)
            n_batches += 1
            raise_to(self.done + stage, n_batches)
            t += batch.stop

    cdef void forward(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil:
        """A batch, whose first example has place t, up through a stage; at the last, and down."""
        cdef Space *space = self.spaces[stage]
        cdef int low = self.low(stage), high = self.low(stage + 1)
        cdef Example *examples
        cdef int32_t b, n, start = 0
        while start < batch.stop:
            n = min(self.portion, batch.stop - start)
            examples = batch.spaces[0].examples + start
            if stage == 0:
                for b in range(n):
                    self.steps.take(
                        self.rows, self.targets, self.work, t + start + b, examples + b, space
                    )
            else:
                wait_for(self.up + stage - 1, t + start + n)
            self.steps.ascend(low, high, examples, n, space)
            start += n
            if stage + 1 < self.n_stages:
                raise_to(self.up + stage, t + start)
            else:
                self.steps.finish(self.targets, examples, n, space)
                self.steps.descend(low, high, examples, n, space)
                raise_to(self.down + stage, t + start)

    cdef void backward(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil:
        """The batch down through a stage that is not the last."""
        cdef Space *space = self.spaces[stage]
        cdef int low = self.low(stage), high = self.low(stage + 1)
        cdef Batch portion = batch[0]
        portion.stop = 0
        while portion.stop < batch.stop:
            portion.start = portion.stop
            portion.stop = min(batch.stop, portion.start + self.portion)
            wait_for(self.down + stage + 1, t + portion.stop)
            self.steps.descend(
                low, high, batch.spaces[0].examples + portion.start,
                portion.stop - portion.start, space,
            )
            if stage > 0:
                raise_to(self.down + stage, t + portion.stop)
            else:
                # No gradients are computed from the first layer's weights: their updates need not
                # wait for those of the whole batch.
                self.steps.update(0, &portion, 0, 1, space)

    cdef void update(self, int stage, const Batch *batch) noexcept nogil:
        """What is left to be done when a stage has computed all gradients of a batch."""
        cdef int l
        for l in range(self.low(stage + 1) - 1, self.low(stage) - 1, -1):
            if l > 0:
                self.steps.update(l, batch, 0, 1, self.spaces[stage])
            self.steps.follow(l, batch)
        if stage == 0:
            self.steps.tally(batch, self.spaces[0])


cdef Relay relay_of(
    Steps steps, Rows rows, Targets targets, const Pass *work, Space **spaces, int n_stages
):
    """A relay of at least two stages over n_stages spaces, the first two with room for a batch.

    The caller keeps ``work`` and ``spaces`` alive.
    """
    cdef Relay relay = Relay(n_stages)
    relay.steps, relay.rows, relay.targets = steps, rows, targets
    relay.work, relay.spaces = work, spaces
    relay.portion = <int32_t> max(1, min(LARGEST_PORTION, work.batch // PORTIONS))
    return relay
