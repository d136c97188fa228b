"""Which nodes of a layer to compute: selectors propose candidates and choose among them.

A selector is one class and one line of SELECTIONS. Those that need no hashing are here, the
one that does is in lsh.pyx.
"""

from libc.math cimport INFINITY, exp, expf, fabs, fabsf, log, sqrt

from .kernels cimport kernels
from .types cimport (
    ActiveSet, LayerBuffers, Scratch, SparseVec, int32_t, real, rng_below, rng_uniform,
)
from .weights cimport WeightStore


cdef class Selector:
    """Base: every node is active (``selection="all"``).

    Parameters
    ----------
    store : WeightStore
    n_active : int
        Nodes to choose for an example.
    by_magnitude : bool
        Rank nodes by |activation| instead of activation.
    """

    #: Whether all nodes are candidates, in training and at prediction.
    proposes_all = True

    def __init__(self, WeightStore store, n_active, by_magnitude):
        self.store = store
        self.n_nodes = self.n_busy = store.n_out
        self.n_active = self.n_judged = n_active
        self.by_magnitude = by_magnitude
        self.threshold = None

    def inference(self):
        """The selector that ``inference="auto"`` predicts with."""
        return self

    cdef void propose(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        """Put candidates for the input x into buf.active, in ascending order."""
        cdef int32_t j, n = self.n_busy if s.training else self.n_nodes
        cdef int32_t *idx = buf.active.idx
        for j in range(n):
            idx[j] = j
        buf.active.n = n

    cdef void choose(self, ActiveSet *out, Scratch *s) noexcept nogil:
        """Keep of the candidates those to be active, given the activations of all."""
        pass

    def heed(self, whitening):
        """Told before training that rows will move along the whitened input."""

    cdef void rows_moved(
        self, int32_t first, int32_t n, LayerBuffers *buf, Scratch *s
    ) noexcept nogil:
        """Told after every update how the rows of n nodes in buf.out, from the first on, moved."""
        pass

    cdef void keep_active(self, ActiveSet *out, Scratch *s) noexcept nogil:
        """Keep of the candidates those to be active, by their activations.

        Of a soft layer those above its threshold. Hard, a node speaks at full strength as it
        enters the active set: the network's output jumps there, and two inputs that differ by
        little may be told apart by a jump.
        """
        cdef int32_t t, k, n
        cdef real bar
        if self.threshold is None:
            self.keep_best(self.n_active, out, s)
            return
        bar = <real> self.threshold.state[0]
        n = kernels.exceeding(out.z, out.n, bar, s.chosen)
        k = self.threshold.within(n)
        if k == n and k < self.threshold.most:
            keep_chosen(n, out, s)
        else:
            self.keep_best(k, out, s)
            bar = INFINITY
            for t in range(out.n):
                bar = min(bar, out.z[t])
        out.threshold = max(<real> 0, bar)

    cdef int32_t n_exact(self, const real *rank, Scratch *s) noexcept nogil:
        """How many of all nodes selection is judged by, given what they are ranked by."""
        cdef int32_t n
        if self.threshold is None:
            return self.n_judged
        n = kernels.exceeding(rank, self.n_nodes, <real> self.threshold.state[0], s.chosen)
        return self.threshold.within(n)

    cdef void keep_best(self, int32_t k, ActiveSet *out, Scratch *s) noexcept nogil:
        """Keep the k best candidates by activation, those required among them.

        Those drawn are kept besides.
        """
        cdef int32_t t, r = 0, d = 0, n = out.n
        cdef real *rank = out.z
        k = max(k, out.n_required) + out.n_drawn
        if n <= k:
            return
        if self.by_magnitude or out.n_required > 0 or out.n_drawn > 0:
            rank = s.rank
            for t in range(n):
                rank[t] = fabsf(out.z[t]) if self.by_magnitude else out.z[t]
                if r < out.n_required and out.idx[t] == out.required[r]:
                    rank[t] = INFINITY
                    r += 1
                elif d < out.n_drawn and out.idx[t] == out.drawn[d]:
                    rank[t] = INFINITY
                    d += 1
        keep_chosen(kernels.top(rank, NULL, n, k, s.key, s.chosen), out, s)


cdef void keep_chosen(int32_t n, ActiveSet *out, Scratch *s) noexcept nogil:
    """Keep the candidates at the n places in s.chosen, which ascend."""
    cdef int32_t t
    for t in range(n):
        out.idx[t] = out.idx[s.chosen[t]]
        out.z[t] = out.z[s.chosen[t]]
    out.n = n


cdef class AllNodes(Selector):
    """The standard network; where the layer is soft, its threshold is one more intercept."""

    cdef void choose(self, ActiveSet *out, Scratch *s) noexcept nogil:
        if self.threshold is not None:
            out.threshold = <real> self.threshold.state[0]


cdef class WinnerTakeAll(Selector):
    """The exact top n_active nodes: what the other selectors are measured against."""

    cdef void choose(self, ActiveSet *out, Scratch *s) noexcept nogil:
        self.keep_active(out, s)


cdef class Dropout(Selector):
    """Vanilla dropout (Srivastava et al. 2014): n_active nodes drawn uniformly."""

    proposes_all = False

    def inference(self):
        return ScaledNodes(self.store, self.n_active, self.by_magnitude)

    cdef void propose(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        cdef int32_t j, n = 0
        for j in range(self.n_nodes):  # selection sampling, Knuth's algorithm S
            if rng_below(&s.rng, self.n_nodes - j) < self.n_active - n:
                buf.active.idx[n] = j
                n += 1
        buf.active.n = n


cdef class ScaledNodes(Selector):
    """Dropout at prediction: all nodes, activations scaled by the share that was kept."""

    cdef void choose(self, ActiveSet *out, Scratch *s) noexcept nogil:
        cdef int32_t j
        for j in range(self.n_nodes):
            out.gain[j] = <real> self.n_active / self.n_nodes
        out.has_gain = True


# Slope of adaptive dropout's sigmoid; Ba and Frey (2013) found 1 to do as well as any.
cdef real SLOPE = 1


cdef real calibrated_odds(const real *z, int32_t n, int32_t k, real *odds) noexcept nogil:
    """The factor t at which sum p_j = k, for p_j = t odds_j / (1 + t odds_j).

    odds_j = exp(SLOPE z_j), scaled to at most 1, so that p_j = sigmoid(SLOPE z_j + offset).
    Newton's method on log sum p_j, which is nearly linear in log t for small shares.
    """
    cdef real highest = z[0]
    cdef double t, low, high, p, total, slope
    cdef int32_t j, _
    for j in range(1, n):
        highest = max(highest, z[j])
    for j in range(n):
        odds[j] = expf(SLOPE * (z[j] - highest))
    low, high = 0.5 * k / n, 1e30
    t = low
    for _ in range(30):
        total = slope = 0
        for j in range(n):
            p = t * odds[j]
            p /= 1 + p
            total += p
            slope += p * (1 - p)
        if fabs(total - k) <= 1e-5 * k:
            break
        if total < k:
            low = t
        else:
            high = t
        t *= exp(log(k / total) * total / slope) if slope > 0 else 1
        if not low < t < high:
            t = sqrt(low * high)
    return <real> t


cdef class AdaptiveDropout(Selector):
    """Standout (Ba and Frey 2013): node j is kept with probability sigmoid(slope z_j + offset).

    The offset is solved for each example so that n_active nodes are kept on average.
    """

    def inference(self):
        return ExpectedNodes(self.store, self.n_active, self.by_magnitude)

    cdef void choose(self, ActiveSet *out, Scratch *s) noexcept nogil:
        cdef int32_t j, n = 0
        cdef real t
        if self.n_active < self.n_nodes:
            t = calibrated_odds(out.z, self.n_nodes, self.n_active, s.score)
            for j in range(self.n_nodes):
                if rng_uniform(&s.rng) * (1 + t * s.score[j]) < t * s.score[j]:
                    out.idx[n] = j
                    out.z[n] = out.z[j]
                    n += 1
            out.n = n


cdef class ExpectedNodes(Selector):
    """Standout at prediction: all nodes, each scaled by its probability of being kept."""

    cdef void choose(self, ActiveSet *out, Scratch *s) noexcept nogil:
        cdef int32_t j
        cdef real t
        if self.n_active < self.n_nodes:
            t = calibrated_odds(out.z, self.n_nodes, self.n_active, s.score)
            for j in range(self.n_nodes):
                out.gain[j] = t * s.score[j] / (1 + t * s.score[j])
            out.has_gain = True


SELECTIONS = {
    "all": AllNodes,
    "dropout": Dropout,
    "adaptive_dropout": AdaptiveDropout,
    "winner_take_all": WinnerTakeAll,
}
