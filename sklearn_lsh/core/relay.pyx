"""Training in relay: each thread has some of the layers, and hands examples on to the next.

What threads exchange is then activations and gradients of few nodes, not rows of weights that
another has just written; and a core's cache holds the weights of its own layers only. It is a
pipeline (Huang et al. 2019, "GPipe") whose stages do not wait for each other at the end of a
batch: one that has applied its updates goes on to the next batch, while those above it apply
theirs. No example meets other weights than it would with one thread, so no bit of the result
is another.

Where there is a thread more than hidden layers, it selects nodes of the first layer. That needs
no weights, if hash functions find them, but sketches; of updates it is told which multiple of the
input each row fell by.
"""

from libc.stdlib cimport calloc, free

from .counter cimport Counter, raise_to, wait_for
from .layer cimport Layer
from .lsh cimport LSHSelector
from .workspace cimport Example

# Examples that are handed on together: few, lest the next stage waits long for the first; but
# those that pass through a layer together share the rows that are in the cache.
cdef int32_t LARGEST_PORTION = 8
# Portions of a batch at least, where it has as many examples.
cdef int32_t PORTIONS = 4


cdef int most_stages(Steps steps):
    """Into how many stages training can be divided."""
    cdef Layer first = steps.layers[0]
    return steps.n_hidden + isinstance(first.selector, LSHSelector)


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
        if stage <= self.lowest:
            return 0
        return (stage - self.lowest) * self.steps.n_hidden // (self.n_stages - self.lowest)

    cdef void run(self, int stage) noexcept nogil:
        """All batches of the pass."""
        cdef Batch batch
        cdef Py_ssize_t t = self.work.start, n_batches = 0
        if stage < self.lowest:
            self.run_selection()
            return
        while t < self.work.stop:
            batch = self.batch_at(t, n_batches)
            if stage == 0:
                self.await_room(n_batches)
            self.forward(stage, &batch, t)
            if stage == self.lowest or stage + 1 < self.n_stages:
                self.backward(stage, &batch, t)
            self.update(stage, &batch)
            n_batches += 1
            raise_to(self.done + stage, n_batches)
            t += batch.stop

    cdef Batch batch_at(self, Py_ssize_t t, Py_ssize_t n_batches) noexcept nogil:
        """The batch whose first example has place t. Two are under way, each in a space."""
        cdef Batch batch
        batch.spaces, batch.n_spaces = self.spaces + n_batches % 2, 1
        batch.start, batch.stop = 0, <int32_t> min(self.work.batch, self.work.stop - t)
        return batch

    cdef void await_room(self, Py_ssize_t n_batches) noexcept nogil:
        """Until all other stages are done with the batch before the last."""
        cdef int stage
        for stage in range(1, self.n_stages):
            wait_for(self.done + stage, n_batches - 1)

    cdef bint next_portion(self, const Batch *batch, Batch *portion) noexcept nogil:
        """Step to the next portion of a batch; False after the last."""
        portion.start = portion.stop
        portion.stop = min(batch.stop, portion.start + self.portion)
        return portion.start < portion.stop

    cdef void take(self, Py_ssize_t t, const Batch *portion) noexcept nogil:
        """Examples of the batch at t, by the first stage."""
        cdef int32_t b
        for b in range(portion.start, portion.stop):
            self.steps.take(
                self.rows, self.targets, self.work, t + b, portion.spaces[0].examples + b,
                self.spaces[0],
            )

    cdef void forward(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil:
        """A batch up through a stage, and if it is the last, down."""
        cdef Space *space = self.spaces[stage]
        cdef int low = self.low(stage), high = self.low(stage + 1)
        cdef Batch portion = batch[0]
        cdef Example *examples
        cdef int32_t n
        portion.stop = 0
        while self.next_portion(batch, &portion):
            examples, n = batch.spaces[0].examples + portion.start, portion.stop - portion.start
            if stage == 0:
                self.take(t, &portion)
            else:
                wait_for(self.up + stage - 1, t + portion.stop)
            if stage > 0 and stage == self.lowest:
                self.steps.compute(0, False, examples, n, space)  # what is proposed
                self.steps.ascend(1, high, examples, n, space)
            else:
                self.steps.ascend(low, high, examples, n, space)
            if stage + 1 < self.n_stages:
                raise_to(self.up + stage, t + portion.stop)
            else:
                self.steps.finish(self.targets, examples, n, space)
                self.steps.descend(low, high, examples, n, space)
                if stage > self.lowest:
                    raise_to(self.down + stage, t + portion.stop)

    cdef void backward(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil:
        """The batch down through a stage that is not the last, or has the first layer.

        No gradients are computed from the first layer's weights: their updates need not wait for
        those of the whole batch.
        """
        cdef Space *space = self.spaces[stage]
        cdef int low = self.low(stage), high = self.low(stage + 1)
        cdef Batch portion = batch[0]
        portion.stop = 0
        while self.next_portion(batch, &portion):
            if stage + 1 < self.n_stages:
                wait_for(self.down + stage + 1, t + portion.stop)
                self.steps.descend(
                    low, high, batch.spaces[0].examples + portion.start,
                    portion.stop - portion.start, space,
                )
            if stage == self.lowest:
                self.steps.update(0, &portion, 0, 1, self.lowest == 0, space)
            if stage > 0:
                raise_to(self.down + stage, t + portion.stop)

    cdef void update(self, int stage, const Batch *batch) noexcept nogil:
        """What is left to be done when a stage has computed all gradients of a batch."""
        cdef int l
        for l in range(self.low(stage + 1) - 1, self.low(stage) - 1, -1):
            if l > 0:
                self.steps.update(l, batch, 0, 1, True, self.spaces[stage])
            self.steps.follow(l, batch)
        if stage == 0:
            self.steps.tally(batch, self.spaces[0])

    # ---- a stage that selects nodes for the first layer --------------------------------

    cdef void run_selection(self) noexcept nogil:
        """Proposals for all batches, each as soon as the updates of the one before are known."""
        cdef Batch batch, portion
        cdef Py_ssize_t t = self.work.start, n_batches = 0
        while t < self.work.stop:
            self.await_room(n_batches)
            portion = self.batch_at(t, n_batches)
            self.take(t, &portion)
            if n_batches > 0:
                self.tell_selector(&batch, t - batch.stop)
            batch = portion
            portion.stop = 0
            while self.next_portion(&batch, &portion):
                self.steps.propose(
                    0, False, batch.spaces[0].examples + portion.start,
                    portion.stop - portion.start, self.spaces[0],
                )
                raise_to(self.up, t + portion.stop)
            n_batches += 1
            t += batch.stop
        if n_batches > 0:
            self.tell_selector(&batch, t - batch.stop)

    cdef void tell_selector(self, const Batch *batch, Py_ssize_t t) noexcept nogil:
        """How the updates of the batch at t moved rows, portion by portion."""
        cdef Batch portion = batch[0]
        portion.stop = 0
        while self.next_portion(batch, &portion):
            wait_for(self.down + self.lowest, t + portion.stop)
            self.steps.tell_selector(0, &portion, self.spaces[0])
        self.update(0, batch)


cdef Relay relay_of(
    Steps steps, Rows rows, Targets targets, const Pass *work, Space **spaces, int n_stages
):
    """A relay of at least two stages over n_stages spaces, the first two with room for a batch.

    The caller keeps ``work`` and ``spaces`` alive.
    """
    cdef Relay relay = Relay(n_stages)
    relay.steps, relay.rows, relay.targets = steps, rows, targets
    relay.work, relay.spaces = work, spaces
    relay.lowest = 1 if n_stages > steps.n_hidden else 0
    relay.portion = <int32_t> max(1, min(LARGEST_PORTION, work.batch // PORTIONS))
    return relay
