"""Training in relay: each thread has some of the layers, and hands examples on to the next.

What threads exchange is then activations and gradients of few nodes, not rows of weights that
another has just written; and a core's cache holds the weights of its own layers only. It is a
pipeline (Huang et al. 2019, "GPipe") whose stages do not wait for each other at the end of a
batch: one that has applied its updates goes on to the next batch, while those above it apply
theirs. No example meets other weights than it would with one thread, so no bit of the result
is another.

Selecting nodes of a layer needs no weights, if hash functions find them, but sketches. So a stage
may select for the lowest layer of the one above; of updates there it is told which multiple of
the input each row fell by. The first stage may be nothing but that.
"""

from libc.stdlib cimport calloc, free

from .counter cimport Counter, raise_to, wait_for
from .layer cimport Mode
from .lsh cimport LSHSelector
from .workspace cimport Example

# Examples that are handed on together: few, lest the next stage waits long for the first; but
# those that pass through a layer together share the rows that are in the cache.
cdef int32_t LARGEST_PORTION = 8
# Portions of a batch at least, where it has as many examples.
cdef int32_t PORTIONS = 4


cdef list hashed_layers(Steps steps):
    """Of each hidden layer, whether hash functions find its nodes."""
    return [isinstance(layer.selector, LSHSelector) for layer in steps.layers[: steps.n_hidden]]


cdef int most_stages(Steps steps):
    """Into how many stages training can be divided; 0 where no layer is hidden."""
    cdef list hashed = hashed_layers(steps)
    return len(hashed) + sum(hashed[:1])


def shares(hashed, n_stages):
    """Hidden layers to the stages: as many to each, or one more to the later ones.

    Where a stage has fewer than the next, it also selects for the lowest of that one's layers.

    Parameters
    ----------
    hashed : list of bool
        Of each hidden layer, whether hash functions find its nodes.
    n_stages : int
        As many as layers, or one more: then the first has none.

    Returns
    -------
    list of (low, high, told)
        The layers of each stage, from low on and before high, and whether the stage below selects
        nodes of the first of them, and is told how they move.
    """
    found, n, before = [], n_stages, len(hashed)  # the first stage has none below it
    if n_stages > len(hashed):
        found, n, before = [(0, 0, False)], n - 1, 0
    for stage in range(n):
        low, high = stage * len(hashed) // n, (stage + 1) * len(hashed) // n
        found.append((low, high, hashed[low] and before < high - low))
        before = high - low
    return found


cdef class Relay:
    """A pass over examples in stages: each is to be run by a thread of its own, all at once.

    Stage and thread have the same number; the first takes the examples.
    """

    def __cinit__(self, Steps steps, int n_stages):
        self.steps, self.n_stages = steps, n_stages
        self.up = <Counter *> calloc(4 * n_stages, sizeof(Counter))
        self.shares = <Share *> calloc(n_stages, sizeof(Share))
        if self.up == NULL or self.shares == NULL:
            raise MemoryError()
        self.down = self.up + n_stages
        self.moved = self.down + n_stages
        self.done = self.moved + n_stages
        for stage, (low, high, told) in enumerate(shares(hashed_layers(steps), n_stages)):
            self.shares[stage].low, self.shares[stage].high = low, high
            self.shares[stage].told = told
            if told:
                self.shares[stage - 1].selects_above = True
        self.shares[n_stages - 1].high += 1  # the output layer

    def __dealloc__(self):
        free(self.up)
        free(self.shares)

    cdef void run(self, int stage) noexcept nogil:
        """All batches of the pass."""
        cdef Share *share = &self.shares[stage]
        cdef Batch batch, before
        cdef Py_ssize_t t = self.work.start
        before.stop, batch.start, batch.n_spaces = 0, 0, 1
        while t < self.work.stop:
            # Two are under way, each in a space.
            batch.spaces = self.spaces + (t - self.work.start) // self.work.batch % 2
            batch.stop = <int32_t> min(self.work.batch, self.work.stop - t)
            if stage == 0 and t >= self.work.start + 2 * self.work.batch:
                self.await_room(t - self.work.batch)
            self.forward(stage, &batch, &before, t)
            if share.low < share.high and (share.low == 0 or stage + 1 < self.n_stages):
                self.backward(stage, &batch, t)
            self.update(stage, &batch, t)
            before = batch
            t += batch.stop
            if not share.selects_above:
                raise_to(self.done + stage, t)
        if share.selects_above:
            self.tell_selector(stage, &before, t)

    cdef void await_room(self, Py_ssize_t t) noexcept nogil:
        """Until all other stages are done with the examples before t."""
        cdef int stage
        for stage in range(1, self.n_stages):
            wait_for(self.done + stage, t)

    cdef bint next_portion(self, const Batch *batch, Batch *portion) noexcept nogil:
        """Step to the next portion of a batch; False after the last."""
        portion.start = portion.stop
        portion.stop = min(batch.stop, portion.start + self.portion)
        return portion.start < portion.stop

    cdef void forward(
        self, int stage, const Batch *batch, const Batch *before, Py_ssize_t t
    ) noexcept nogil:
        """A batch, whose first example has place t, up through a stage; at the last, and down."""
        cdef Share *share = &self.shares[stage]
        cdef Space *space = self.spaces[stage]
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
            if share.told:
                self.steps.compute(share.low, Mode.TRAINING, examples, n, space)
            self.steps.ascend(share.low + share.told, share.high, examples, n, space)
            if share.selects_above:
                if portion.start == 0:
                    self.tell_selector(stage, before, t)
                self.steps.propose(share.high, Mode.TRAINING, examples, n, space)
            if stage + 1 < self.n_stages:
                raise_to(self.up + stage, t + portion.stop)
            else:
                self.steps.finish(self.targets, examples, n, space)
                self.steps.descend(share.low, share.high, examples, n, space)
                raise_to(self.down + stage, t + portion.stop)

    cdef void take(self, Py_ssize_t t, const Batch *portion) noexcept nogil:
        """Examples of the batch at t, by the first stage."""
        cdef int32_t b
        for b in range(portion.start, portion.stop):
            self.steps.take(
                self.rows, self.targets, self.work, t + b, portion.spaces[0].examples + b,
                self.spaces[0],
            )

    cdef void tell_selector(self, int stage, const Batch *before, Py_ssize_t t) noexcept nogil:
        """How the batch that ended before t moved the rows that a stage selects among."""
        cdef Batch portion = before[0]
        portion.stop = 0
        while self.next_portion(before, &portion):
            wait_for(self.moved + stage + 1, t - before.stop + portion.stop)
            self.steps.tell_selector(self.shares[stage].high, &portion, self.spaces[stage])
        raise_to(self.done + stage, t)

    cdef void backward(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil:
        """The batch down through a stage that is not the last, or has the first layer.

        No gradients are computed from the first layer's weights: their updates need not wait for
        those of the whole batch.
        """
        cdef Share *share = &self.shares[stage]
        cdef Space *space = self.spaces[stage]
        cdef Batch portion = batch[0]
        portion.stop = 0
        while self.next_portion(batch, &portion):
            if stage + 1 < self.n_stages:
                wait_for(self.down + stage + 1, t + portion.stop)
                self.steps.descend(
                    share.low, share.high, batch.spaces[0].examples + portion.start,
                    portion.stop - portion.start, space,
                )
                raise_to(self.down + stage, t + portion.stop)
            if share.low == 0:
                self.steps.update(0, &portion, 0, 1, not share.told, space)
                raise_to(self.moved + stage, t + portion.stop)

    cdef void update(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil:
        """What is left to be done when a stage has computed all gradients of the batch at t."""
        cdef Share *share = &self.shares[stage]
        cdef int l
        for l in range(share.low, share.high):
            if l > 0:
                self.steps.update(
                    l, batch, 0, 1, l > share.low or not share.told, self.spaces[stage]
                )
            if l == share.low:
                raise_to(self.moved + stage, t + batch.stop)
            self.steps.follow(l, batch)
        if stage + 1 == self.n_stages:
            self.steps.tally(batch, self.spaces[0])


cdef Relay relay_of(
    Steps steps, Rows rows, Targets targets, const Pass *work, Space **spaces, int n_stages
):
    """A relay of at least two stages over n_stages spaces, the first two with room for a batch.

    The caller keeps ``work`` and ``spaces`` alive.
    """
    cdef Relay relay = Relay(steps, n_stages)
    relay.rows, relay.targets = rows, targets
    relay.work, relay.spaces = work, spaces
    relay.portion = <int32_t> max(1, min(LARGEST_PORTION, work.batch // PORTIONS))
    return relay
