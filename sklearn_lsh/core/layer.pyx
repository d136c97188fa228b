"""One layer: weights, a selector and an optimizer, joined by forward, backward and update."""

import numpy as np

from libc.math cimport expf, fabsf, tanhf

from .claims cimport claim, release
from .kernels cimport kernels, write_runs
from .optimizers cimport Optimizer
from .selection cimport AllNodes, Selector, WinnerTakeAll
from .types cimport Input, LayerBuffers, Scratch, SparseVec, borrow, int32_t, int64_t, ints, real
from .weights cimport WeightStore
from .whitening cimport Whitening

ACTIVATIONS = {
    "identity": Activation.IDENTITY,
    "relu": Activation.RELU,
    "tanh": Activation.TANH,
    "logistic": Activation.LOGISTIC,
}

# Bytes of weights that stay in the cache, by guess half of the second level's, while one example
# after the other visits them. No layer has more tiles than are worth the search for their rows.
cdef int64_t TILE_BYTES = 1 << 19
cdef int32_t MOST_TILES = 32
# Owners of rows get at least so many tiles each, or some would have more to do than others.
cdef int TILES_OF_OWNER = 6


cdef class Layer:
    """Nodes that are not selected output 0 and are not touched.

    Parameters
    ----------
    store : WeightStore
    selector : Selector
    optimizer : Optimizer
    activation : str
        A key of ACTIVATIONS.
    used : ndarray of shape (n_out,), uint8
        Set to 1 where a node was active in training.
    visits : ndarray of shape (n_out,), int32, or None
        Counts the updates of each node.
    whitening : Whitening or None
        Of the layer's input; the store has no mean then.
    """

    def __init__(
        self, WeightStore store, Selector selector, Optimizer optimizer, activation, used,
        visits=None, Whitening whitening=None,
    ):
        self.store = store
        self.selector = selector
        exact, every = (
            kind(store, selector.n_active, selector.by_magnitude)
            for kind in (WinnerTakeAll, AllNodes)
        )
        exact.threshold = every.threshold = selector.threshold
        # Nothing of a layer says how it predicts: threads may do it in several ways at once.
        self.by_mode = selector, selector.inference(), exact, every
        for mode, chosen in enumerate(self.by_mode):
            self.selectors[mode] = <void *> chosen
        self.optimizer = optimizer
        self.activation = ACTIVATIONS[activation]
        self.arrays = (used, visits)
        self.used = <unsigned char *> borrow(used, "u1")
        self.visits = NULL if visits is None else ints(visits)
        self.whitening = whitening
        self.claims = NULL
        if whitening is not None:
            selector.heed(whitening)

    def share(self, shared):
        """Told before a pass whether threads will update rows that they do not own.

        Weights and intercept of a centred layer move by much that cancels. Of two threads that
        write a row at once one may overwrite the weights that the other has moved, and not the
        intercept: so rows are claimed there. Elsewhere what is lost is part of a step.
        The optimizer is told, too.
        """
        centred = self.whitening is not None or self.store.mean != NULL
        self.claimed, self.claims = None, NULL
        if shared and centred:
            self.claimed = np.zeros(self.store.n_out, np.uint8)
            self.claims = <unsigned char *> borrow(self.claimed, "u1")
        self.optimizer.share(shared)

    cdef void enter(self, SparseVec *x, Scratch *s) noexcept nogil:
        """Complete an input with its product with the mean input, if the layer is centred."""
        x.mean_product = 0
        if self.store.mean != NULL:
            x.mean_product = kernels.dot(x.idx, x.val, x.n, self.store.mean)
            s.multiplications += x.n

    cdef int32_t exact_top(self, const real *z, Scratch *s, real *bar) noexcept nogil:
        """How many nodes are exactly to be selected, and the least of their activations to bar.

        z are the activations of all nodes.
        """
        cdef int32_t t, k, n = self.store.n_out
        for t in range(n):
            s.score[t] = fabsf(z[t]) if self.selector.by_magnitude else z[t]
        k = kernels.top(s.score, NULL, n, self.selector.n_exact(s.score, s), s.key, s.chosen)
        bar[0] = s.score[s.chosen[0]]
        for t in range(k):
            bar[0] = min(bar[0], s.score[s.chosen[t]])
        return k

    cdef int32_t hits(self, LayerBuffers *buf, real bar, int32_t wanted) noexcept nogil:
        """How many of the ``wanted`` nodes, whose activations reach the bar, buf selects."""
        cdef int32_t t, found = 0
        cdef bint by_magnitude = self.selector.by_magnitude
        for t in range(buf.active.n):
            found += (fabsf(buf.active.z[t]) if by_magnitude else buf.active.z[t]) >= bar
        return min(found, wanted)

    cdef int32_t rows_together(self, int n_owners) noexcept nogil:
        """Nodes to visit for one example after the other: as many as stay in the cache."""
        cdef int32_t n_out = self.store.n_out
        cdef int32_t n = <int32_t> min(n_out, TILE_BYTES // (4 * <int64_t> self.store.n_in))
        n = max(n, self.store.stretch)
        n = max(n, n_out // MOST_TILES)  # rows of wide layers are rarely visited twice
        if n_owners > 1:
            n = min(n, n_out // (TILES_OF_OWNER * n_owners))
        # What rows keep a number each of shares cache lines: neighbours have one owner.
        return (n // 16 + 1) * 16

    cdef void propose(
        self, Mode mode, SparseVec *x, LayerBuffers *buf, Scratch *s
    ) noexcept nogil:
        """Put the nodes whose activations are needed into buf.active."""
        buf.active.has_gain, buf.active.threshold, buf.active.n_drawn = False, 0, 0
        (<Selector> self.selectors[<int> mode]).propose(x, buf, s)

    cdef void activate(
        self, int32_t start, int32_t stop, SparseVec *x, LayerBuffers *buf, Scratch *s
    ) noexcept nogil:
        """Compute the pre-activations of the proposed nodes in [start, stop)."""
        cdef int32_t first = position(buf.active.idx, buf.active.n, start)
        cdef int32_t n = position(buf.active.idx, buf.active.n, stop) - first
        if n > 0:
            self.store.activations(x, buf.active.idx + first, n, buf.active.z + first)
            s.multiplications += <int64_t> n * x.n

    cdef void settle(self, Mode mode, LayerBuffers *buf, Scratch *s) noexcept nogil:
        """Choose the active nodes among the proposed, and compute what they output."""
        cdef int32_t t, n = 0
        cdef real z
        (<Selector> self.selectors[<int> mode]).choose(&buf.active, s)
        for t in range(buf.active.n):
            z = buf.active.z[t] - buf.active.threshold
            if self.activation == Activation.TANH:
                z = tanhf(z)
            elif self.activation == Activation.LOGISTIC:
                z = 1 / (1 + expf(-z))
            elif self.activation == Activation.RELU and z <= 0:
                continue  # outputs 0 and passes no gradient: as good as not active
            if buf.active.has_gain:
                z *= buf.active.gain[t]
            buf.out.val[n] = z
            buf.out_idx[n] = buf.active.idx[t]
            n += 1
        buf.out.n = n
        # All nodes, in order: the layer above may read its rows contiguously.
        buf.out.n_runs = 0
        buf.out.idx = NULL
        if n < self.store.n_out:
            buf.out.idx = buf.out_idx
            write_runs(&buf.out, &buf.out_runs, self.store.n_out)
        if mode == Mode.TRAINING and self.optimizer.sums != NULL and buf.seen != NULL:
            for t in range(n):
                buf.seen[t] = self.optimizer.sums[buf.out_idx[t]]
        if mode == Mode.TRAINING:
            for t in range(buf.active.n):
                if not self.used[buf.active.idx[t]]:  # a line that is only read is all threads'
                    self.used[buf.active.idx[t]] = 1

    cdef void pull_back(
        self, LayerBuffers *buf, SparseVec *x, LayerBuffers *below, Scratch *s
    ) noexcept nogil:
        """Gradient at the input x, the output of the layer below, into below.delta."""
        self.store.pull_back(buf.out_idx, buf.delta, buf.out.n, x, s, below.delta)
        s.multiplications += <int64_t> buf.out.n * x.n

    cdef void through_activation(self, LayerBuffers *buf) noexcept nogil:
        """Turn the gradient at the outputs into the one at the pre-activations."""
        cdef int32_t t
        cdef real a
        if self.activation == Activation.TANH:
            for t in range(buf.out.n):
                a = buf.out.val[t]
                buf.delta[t] *= 1 - a * a
        elif self.activation == Activation.LOGISTIC:
            for t in range(buf.out.n):
                a = buf.out.val[t]
                buf.delta[t] *= a * (1 - a)

    cdef void describe(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        """Prepare the updates of rows with the input x."""
        if self.whitening is not None:
            s.multiplications += self.whitening.whiten(x, &buf.input)
            buf.move.centred, buf.move.gain = True, self.whitening.gain
        else:
            self.optimizer.describe(x, &buf.input)
            buf.move.centred, buf.move.gain = self.store.mean != NULL, 1
        buf.move.linear = self.optimizer.is_linear()
        buf.move.decay = 1 - self.optimizer.learning_rate * self.optimizer.alpha
        buf.move.intercept_input = buf.input.intercept_input
        if self.optimizer.is_by_feature():
            self.optimizer.weigh(buf.delta, buf.out.n, &buf.input)

    cdef int32_t n_units(self) noexcept nogil:
        """How many there are of what updates are divided by: nodes, or the inputs' features."""
        return self.store.n_in if self.optimizer.is_by_feature() else self.store.n_out

    cdef int32_t units_together(self, int n_owners) noexcept nogil:
        """``rows_together`` of the update."""
        if not self.optimizer.is_by_feature():
            return self.rows_together(n_owners)
        return (
            self.store.n_in if n_owners == 1
            else self.store.n_in // (TILES_OF_OWNER * n_owners) + 1
        )

    cdef int32_t update(
        self, int32_t start, int32_t stop, bint tell, LayerBuffers *buf, Scratch *s
    ) noexcept nogil:
        """Apply the gradient buf.delta outer buf.input to the units in [start, stop).

        The selector is told of it, or has to be: ``tell_selector``. Returns how many rows were
        refused.
        """
        if self.optimizer.is_by_feature():
            return self.update_features(start, stop, buf, s)
        cdef int32_t refused, t, first = position(buf.out_idx, buf.out.n, start)
        cdef int32_t n = position(buf.out_idx, buf.out.n, stop) - first
        cdef int32_t *ids = buf.out_idx + first
        cdef real *delta = buf.delta + first
        cdef real *seen = NULL
        if self.optimizer.sums != NULL and buf.seen != NULL:
            seen = buf.seen + first
        if n == 0:
            return 0
        if self.visits != NULL:
            for t in range(n):
                self.visits[ids[t]] += 1
        if self.claims == NULL:
            refused = self.optimizer.step(ids, delta, seen, n, &buf.input, s)
        else:
            refused = self.step_claimed(ids, delta, seen, n, &buf.input, s)
        s.multiplications += <int64_t> n * buf.input.x.n
        if buf.move.applied != NULL:
            for t in range(n):
                buf.move.applied[first + t] = s.rank[t]
            if buf.move.decay != 1:
                for t in range(n):
                    buf.move.intercept[first + t] = (
                        self.store.intercepts[ids[t]] + s.rank[t] * buf.input.intercept_input
                    )
            if tell:
                self.selector.rows_moved(first, n, buf, s)
        return refused

    cdef int32_t step_claimed(
        self, const int32_t *ids, const real *delta, const real *seen, int32_t n, Input *u,
        Scratch *s
    ) noexcept nogil:
        """The optimizer's step, row by row, without those that another thread is writing.

        Left out, not waited for: half of all updates may be without harm (see doc/internals).
        """
        cdef int32_t t, refused = 0
        # Downwards: each step writes s.rank[0], which is the place of the last one.
        for t in range(n - 1, -1, -1):
            if claim(self.claims + ids[t]):
                refused += self.optimizer.step(
                    ids + t, delta + t, NULL if seen == NULL else seen + t, 1, u, s
                )
                release(self.claims + ids[t])
                s.rank[t] = s.rank[0]
            else:
                s.rank[t] = 0
        return refused

    cdef void tell_selector(self, LayerBuffers *buf, Scratch *s) noexcept nogil:
        """Of an update that it was not told of yet."""
        if buf.move.applied != NULL:
            self.selector.rows_moved(0, buf.out.n, buf, s)

    cdef int32_t update_features(
        self, int32_t start, int32_t stop, LayerBuffers *buf, Scratch *s
    ) noexcept nogil:
        """``update`` where its units are features; the intercepts go with the first."""
        cdef SparseVec x = buf.input.x[0]
        cdef int32_t t, first
        if buf.out.n == 0:
            return 0
        if x.idx == NULL:
            for t in range(stop - start):
                s.step_idx[t] = start + t
            x.idx, x.val, x.n = s.step_idx, x.val + start, stop - start
        else:
            first = position(x.idx, x.n, start)
            x.n = position(x.idx, x.n, stop) - first
            x.idx, x.val = x.idx + first, x.val + first
        if start == 0:
            if self.visits != NULL:
                for t in range(buf.out.n):
                    self.visits[buf.out_idx[t]] += 1
            self.optimizer.step_intercepts(buf.out_idx, buf.delta, buf.out.n)
        s.multiplications += <int64_t> buf.out.n * x.n
        return self.optimizer.step_features(
            &x, buf.out_idx, buf.delta, buf.out.n, &buf.input, s
        )


cdef int32_t position(const int32_t *ids, int32_t n, int32_t bound) noexcept nogil:
    """How many of the ascending ids are below the bound."""
    cdef int32_t low = 0, middle
    if n == 0 or ids[n - 1] < bound:
        return n
    while low < n:
        middle = (low + n) >> 1
        if ids[middle] < bound:
            low = middle + 1
        else:
            n = middle
    return low
