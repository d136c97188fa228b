"""Which nodes of a layer to compute: selectors append node ids and their activations.

A selector is one class and one line of SELECTIONS. Those that need no hashing are here, the
one that does is in lsh.pyx.
"""

from libc.math cimport expf, fabsf

from .kernels cimport kernels
from .types cimport (
    ActiveSet, LayerBuffers, Move, Scratch, SparseVec, int32_t, int64_t, real, rng_below,
    rng_uniform,
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

    def __init__(self, WeightStore store, n_active, by_magnitude):
        self.store = store
        self.n_nodes = store.n_out
        self.n_active = n_active
        self.by_magnitude = by_magnitude

    def inference(self):
        """The selector that ``inference="auto"`` predicts with."""
        return self

    cdef void select(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        all_nodes(self, x, &buf.active, s)

    cdef void rows_moved(
        self, const int32_t *ids, int32_t n, Move *move, LayerBuffers *buf,
        Scratch *s,
    ) noexcept nogil:
        """Told after every update how the rows ids[0..n) moved."""
        pass

    cdef void best_of(
        self, SparseVec *x, const int32_t *ids, int32_t n, ActiveSet *out, Scratch *s
    ) noexcept nogil:
        """Append the n_active best of the given nodes (ids NULL: all) by exact activation.

        Activations are computed once: those of the chosen move to out.z.
        """
        cdef int32_t t, kept
        self.store.activations(x, ids, n, s.score)
        s.multiplications += <int64_t> n * x.n
        for t in range(n):
            s.rank[t] = fabsf(s.score[t]) if self.by_magnitude else s.score[t]
        kept = kernels.top(s.rank, NULL, n, self.n_active, s.key, s.chosen)
        for t in range(kept):
            out.idx[t] = s.chosen[t] if ids == NULL else ids[s.chosen[t]]
            out.z[t] = s.score[s.chosen[t]]
        out.n = kept


cdef void all_nodes(
    Selector self, SparseVec *x, ActiveSet *out, Scratch *s
) noexcept nogil:
    cdef int32_t j
    self.store.activations(x, NULL, self.n_nodes, out.z)
    s.multiplications += <int64_t> self.n_nodes * x.n
    for j in range(self.n_nodes):
        out.idx[j] = j
    out.n = self.n_nodes


cdef class AllNodes(Selector):
    """The standard network."""


cdef class WinnerTakeAll(Selector):
    """The exact top n_active nodes: what the other selectors are measured against."""

    cdef void select(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        self.best_of(x, NULL, self.n_nodes, &buf.active, s)


cdef class Dropout(Selector):
    """Vanilla dropout (Srivastava et al. 2014): n_active nodes drawn uniformly."""

    def inference(self):
        return ScaledNodes(self.store, self.n_active, self.by_magnitude)

    cdef void select(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        cdef int32_t j, n = 0
        for j in range(self.n_nodes):  # selection sampling, Knuth's algorithm S
            if rng_below(&s.rng, self.n_nodes - j) < self.n_active - n:
                buf.active.idx[n] = j
                n += 1
        buf.active.n = n
        self.store.activations(x, buf.active.idx, n, buf.active.z)
        s.multiplications += <int64_t> n * x.n


cdef class ScaledNodes(Selector):
    """Dropout at prediction: all nodes, activations scaled by the share that was kept."""

    cdef void select(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        cdef int32_t j
        all_nodes(self, x, &buf.active, s)
        for j in range(self.n_nodes):
            buf.active.gain[j] = <real> self.n_active / self.n_nodes
        buf.active.has_gain = True


# Slope of adaptive dropout's sigmoid; Ba and Frey (2013) found 1 to do as well as any.
cdef real SLOPE = 1


cdef real calibrated_offset(const real *z, int32_t n, int32_t k) noexcept nogil:
    """The offset at which sum sigmoid(SLOPE z + offset) = k, by bisection."""
    cdef real low = 0, high = 0, offset
    cdef double total
    cdef int32_t j, _
    for j in range(n):
        low = max(low, SLOPE * z[j])
        high = min(high, SLOPE * z[j])
    low, high = -low - 20, -high + 20
    for _ in range(30):
        offset = (low + high) / 2
        total = 0
        for j in range(n):
            total += 1 / (1 + expf(-(SLOPE * z[j] + offset)))
        if total < k:
            low = offset
        else:
            high = offset
    return (low + high) / 2


cdef class AdaptiveDropout(Selector):
    """Standout (Ba and Frey 2013): node j is kept with probability sigmoid(slope z_j + offset).

    The offset is solved for each example so that n_active nodes are kept on average.
    """

    def inference(self):
        return ExpectedNodes(self.store, self.n_active, self.by_magnitude)

    cdef void select(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        cdef int32_t j, n = 0
        cdef real offset
        cdef ActiveSet *out = &buf.active
        all_nodes(self, x, out, s)
        if self.n_active < self.n_nodes:
            offset = calibrated_offset(out.z, self.n_nodes, self.n_active)
            for j in range(self.n_nodes):
                if rng_uniform(&s.rng) * (1 + expf(-(SLOPE * out.z[j] + offset))) < 1:
                    out.idx[n] = j
                    out.z[n] = out.z[j]
                    n += 1
            out.n = n


cdef class ExpectedNodes(Selector):
    """Standout at prediction: all nodes, each scaled by its probability of being kept."""

    cdef void select(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        cdef int32_t j
        cdef real offset
        cdef ActiveSet *out = &buf.active
        all_nodes(self, x, out, s)
        if self.n_active < self.n_nodes:
            offset = calibrated_offset(out.z, self.n_nodes, self.n_active)
            for j in range(self.n_nodes):
                out.gain[j] = 1 / (1 + expf(-(SLOPE * out.z[j] + offset)))
            out.has_gain = True


SELECTIONS = {
    "all": AllNodes,
    "dropout": Dropout,
    "adaptive_dropout": AdaptiveDropout,
    "winner_take_all": WinnerTakeAll,
}
