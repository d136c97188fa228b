"""Active sets by hashing: the selector, and the ways to rank what the hash tables return.

A way of ranking candidates is one class and one line of RANKINGS.
"""

import numpy as np

from libc.math cimport fabsf

from .cells cimport Cells
from .hashing cimport HashFamily
from .kernels cimport kernels
from .selection cimport Selector
from .tables cimport CodeIndex
from .types cimport (
    ActiveSet, CHECK, LayerBuffers, Move, Scratch, SparseVec, borrow, int32_t, int64_t, ints,
    mix, real, reals, rng_below, rng_uniform, uint64_t,
)
from .weights cimport ByNode
from .whitening cimport Whitening

from .selection import SELECTIONS

# Marks in LSHSelector.dirty.
cdef unsigned char STALE_CODE = 1, STALE_SKETCH = 2


cdef class LSHSelector(Selector):
    """Nodes found by hashing the layer's input (the paper, section 4).

    Parameters
    ----------
    family : HashFamily
    index : CodeIndex or None
        Where candidates come from; None ranks every node's sketch (cascade only).
    probing : Probing
        Which of the index's buckets to look into.
    ranking : Ranking
    arrays : dict
        ``sketches`` (n_nodes, dim) float32, in slots where there are cells, and ``dirty``
        (n_nodes,) uint8, owned by the caller; ``short_list``, how many candidates the cascade
        ranks by exact activation.

    Attributes
    ----------
    most_listed : int
        What the short list may become at a renewal.
    training_list, training_visits : int, float
        To how many training cuts that list, and the share of the cells that it visits.
    n_explored : int
        Random nodes that are active in training besides.
    """

    proposes_all = False

    def __init__(
        self, ByNode store, n_active, by_magnitude,
        HashFamily family, CodeIndex index, Probing probing, Ranking ranking, arrays,
    ):
        Selector.__init__(self, store, n_active, by_magnitude)
        self.rows = store
        self.family = family
        self.index = index
        self.probing = probing
        self.cells, self.place = None, NULL
        if isinstance(index, Cells):
            self.cells = index
            self.place = self.cells.place
        self.ranking = ranking
        self.arrays = arrays
        self.sketches = reals(arrays["sketches"])
        self.dirty = <unsigned char *> borrow(arrays["dirty"], "u1")
        self.mean_sketch, self.n_along = NULL, 0
        if store.mean != NULL:
            self.learn_frame(store.mean, NULL, 0)
        self.short_list = arrays["short_list"]
        self.most_listed, self.training_list = self.n_nodes, self.short_list
        self.training_visits, self.n_explored = 1, 0
        covered = n_active if ranking.needs_codes else self.short_list
        self.exhaustive = covered >= self.n_nodes

    def heed(self, whitening):
        cdef Whitening w = whitening
        self.learn_frame(w.mean, w.directions, w.n_directions)

    cdef void learn_frame(self, real *mean, real *directions, int32_t n):
        """Sketch what updates subtract of the input: its mean, and n directions."""
        cdef SparseVec v
        cdef int32_t k, n_in = self.store.n_in, dim = self.family.dim
        self.frame = np.zeros((1 + n, dim), np.float32)
        self.mean_sketch = reals(self.frame)
        self.along_sketches, self.n_along = self.mean_sketch + dim, n
        v.idx, v.n = NULL, n_in
        for k in range(1 + n):
            v.val = mean if k == 0 else directions + <Py_ssize_t> (k - 1) * n_in
            self.family.sketch(&v, 0, self.mean_sketch + k * dim)

    @property
    def aims(self):
        """Whether selection aims for the exact top nodes, so that recall says how good it is."""
        return not self.ranking.needs_codes

    def retrieve(self, x):
        """The candidates of one query before any budget or ranking, for theory and tests.

        Parameters
        ----------
        x : ndarray of shape (n_in,), float32

        Returns
        -------
        ids : ndarray of int32
            Nodes that share a probed bucket with x in at least one table, ascending.
        hits : ndarray of int32
            In how many of the probed buckets each was met.

        Raises
        ------
        ValueError
            If x has another length, or nodes have no codes here (a cascade that scans).
        """
        if self.index is None or len(x) != self.store.n_in:
            raise ValueError(
                f"retrieve needs tables or codes, and {self.store.n_in} values; got {len(x)}"
            )
        cdef Scratch s
        cdef SparseVec query
        cdef LayerBuffers buf
        planes = max(self.family.dim, self.family.n_bits * self.family.n_tables)
        floats = [np.zeros(n, np.float32) for n in (self.family.dim, self.family.dim, planes)]
        n_codes = 0 if self.probing is None else self.family.n_tables * self.probing.n_codes
        sizes = (n_codes, 32, *[self.n_nodes] * 5)
        integers = [np.zeros(n, np.int32) for n in sizes]
        buf.sketch, s.query, s.margin = reals(floats[0]), reals(floats[1]), reals(floats[2])
        s.codes, s.order = ints(integers[0]), ints(integers[1])
        s.ids, s.hits, s.chosen = ints(integers[2]), ints(integers[3]), ints(integers[4])
        s.score, s.key = <real *> ints(integers[5]), ints(integers[6])
        s.training = False
        s.rng = s.multiplications = 0
        query.idx, query.val, query.n = NULL, reals(x), len(x)
        self.family.sketch(&query, 1, buf.sketch)
        ids = np.sort(integers[2][:self.candidates(&buf, &s)])
        return ids, integers[3][ids]

    cdef void propose(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        cdef int32_t t
        cdef uint64_t bits = 0
        if self.exhaustive:
            Selector.propose(self, x, buf, s)
            return
        self.family.sketch(x, 1, buf.sketch)
        s.multiplications += <int64_t> self.family.dim * x.n
        if not s.training:
            # Chance at prediction depends on the row alone, not on the batch around it.
            for t in range(self.family.dim):
                bits = mix(bits ^ (<unsigned int *> buf.sketch)[t])
            s.rng = bits
        self.ranking.propose(self, buf, s)
        if self.index is not None:
            self.complete(&buf.active, s)
            kernels.sort(buf.active.idx, buf.active.n, self.n_nodes, s.bits)
        merge(&buf.active, buf.active.required, buf.active.n_required)
        if s.training and self.n_explored > 0:
            self.explore(&buf.active, s)

    cdef void choose(self, ActiveSet *out, Scratch *s) noexcept nogil:
        self.keep_active(out, s)

    cdef real* sketch_of(self, int32_t j) noexcept nogil:
        if self.place != NULL:
            j = self.place[j]
        return self.sketches + <Py_ssize_t> j * self.family.dim

    cdef int32_t search_cells(self, Scratch *s) noexcept nogil:
        """The nodes of as many cells as the query s.query visits to s.ids, products to s.score."""
        cdef int32_t n_visits = self.cells.n_probes
        if s.training:
            n_visits = max(1, <int32_t> (self.training_visits * n_visits))
        return self.cells.search(s.query, self.by_magnitude, n_visits, s)

    cdef int32_t candidates(self, LayerBuffers *buf, Scratch *s) noexcept nogil:
        """Probe the index: ids to s.ids, counts to s.hits, how many is returned."""
        cdef int32_t t, n
        self.family.query(buf.sketch, s.query)
        if self.cells is not None:
            n = self.search_cells(s)
            for t in range(n):
                s.hits[s.ids[t]] = 1
            return n
        self.family.margins(s.query, s.margin)
        if self.family.planes != NULL:
            s.multiplications += (
                <int64_t> self.family.dim * self.family.n_bits * self.family.n_tables
            )
        self.probing.codes(s.margin, s.order, &s.rng, s.codes)
        return self.index.collect(s.codes, self.probing.n_codes, s)

    cdef void rows_moved(
        self, int32_t first, int32_t n, LayerBuffers *buf, Scratch *s
    ) noexcept nogil:
        cdef int32_t t, i, dim = self.family.dim
        cdef const Move *move = &buf.move
        cdef const int32_t *ids = buf.out_idx
        cdef real *sketch
        cdef real *direction = buf.sketch
        if self.exhaustive:
            return
        if move.linear and move.centred:
            direction = s.query
            for i in range(dim):
                direction[i] = move.gain * (buf.sketch[i] - self.mean_sketch[i]) + (
                    (move.intercept_input - move.gain) * self.family.intercept_row[i]
                )
            for t in range(self.n_along):
                kernels.axpy(
                    -move.gain * buf.input.along[t], NULL,
                    self.along_sketches + <Py_ssize_t> t * dim, dim, direction,
                )
            if first == 0:  # whoever else shares the update: counts are the same for any threads
                s.multiplications += self.n_along * dim
        for t in range(first, first + n):
            CHECK(0 <= ids[t] < self.n_nodes, "node index")
            # A row that was refused did not decay either.
            if not move.linear or (move.applied[t] == 0 and move.decay != 1):
                self.dirty[ids[t]] |= STALE_SKETCH
                continue
            # The sketch is linear in [weights, intercept]: repeat the update on it. What
            # the mean has added lazily is part of the sketch at once.
            sketch = self.sketch_of(ids[t])
            if move.decay != 1:
                for i in range(dim):
                    sketch[i] = move.decay * sketch[i] + (
                        (1 - move.decay) * move.intercept[t] * self.family.intercept_row[i]
                    )
            kernels.axpy(-move.applied[t], NULL, direction, dim, sketch)
            s.multiplications += dim
            if self.cells is not None:
                s.multiplications += dim
                if not self.cells.has_left(ids[t], sketch):
                    continue
            if not self.dirty[ids[t]] & STALE_CODE:  # a line that is only read is all threads'
                self.dirty[ids[t]] |= STALE_CODE

    cdef void refresh_sketch(self, int32_t j, Scratch *s) noexcept nogil:
        """Compute the sketch of node j from its weights, if it is stale."""
        cdef SparseVec row
        cdef real *sketch = self.sketch_of(j)
        if self.dirty[j] & STALE_SKETCH:
            self.store.fold(j)
            row.idx, row.val, row.n = NULL, self.rows.row(j), self.store.n_in
            self.family.sketch(&row, self.store.intercepts[j], sketch)
            s.multiplications += <int64_t> self.family.dim * row.n
            self.dirty[j] = STALE_CODE

    cdef void encode(self, int32_t j, Scratch *s, int32_t *codes) noexcept nogil:
        """The codes of node j, one a table, from its weights as they are now."""
        cdef real *sketch = self.sketch_of(j)
        self.refresh_sketch(j, s)
        if self.cells is not None:
            codes[0] = self.cells.home(sketch, s)
        else:
            self.store.fold(j)
            self.family.row_codes(self.rows, j, sketch, s.margin, codes)
            s.multiplications += self.family.code_cost
        self.dirty[j] = 0

    cdef void explore(self, ActiveSet *out, Scratch *s) noexcept nogil:
        """Add random nodes among those that are no candidates yet."""
        cdef int32_t t, n = self.n_explored, at = 0, kept = 0
        for t in range(n):
            out.drawn[t] = rng_below(&s.rng, self.n_nodes)
        n = kernels.sort(out.drawn, n, self.n_nodes, s.bits)
        for t in range(n):
            while at < out.n and out.idx[at] < out.drawn[t]:
                at += 1
            if at == out.n or out.idx[at] != out.drawn[t]:
                out.drawn[kept] = out.drawn[t]
                kept += 1
        out.n_drawn = kept
        merge(out, out.drawn, kept)

    cdef void complete(self, ActiveSet *out, Scratch *s) noexcept nogil:
        """Top up too few candidates with random nodes: n_active is obeyed exactly."""
        cdef int32_t t, j
        if out.n >= self.n_active:
            return
        for t in range(out.n):
            s.hits[out.idx[t]] = 1
        while out.n < self.n_active:
            j = rng_below(&s.rng, self.n_nodes)
            while s.hits[j]:
                j = j + 1 if j + 1 < self.n_nodes else 0
            s.hits[j] = 1
            out.idx[out.n] = j
            out.n += 1
        for t in range(out.n):
            s.hits[out.idx[t]] = 0


cdef void merge(ActiveSet *out, const int32_t *ids, int32_t n) noexcept nogil:
    """Merge some ascending nodes into the ascending candidates."""
    cdef int32_t t = 0, r, missing = 0
    for r in range(n):
        while t < out.n and out.idx[t] < ids[r]:
            t += 1
        missing += t == out.n or out.idx[t] != ids[r]
    # From the back and in place.
    t, r = out.n - 1, n - 1
    out.n += missing
    while missing > 0:
        if t >= 0 and out.idx[t] >= ids[r]:
            r -= out.idx[t] == ids[r]
            out.idx[t + missing] = out.idx[t]
            t -= 1
        else:
            out.idx[t + missing] = ids[r]
            r -= 1
            missing -= 1


cdef class Ranking:
    """Base: turns the candidates of a query into the active set."""

    #: Whether nodes need codes even where no tables are kept.
    needs_codes = True
    #: Whether probes go where they are most likely to hit, or at random.
    directed = False

    cdef void propose(self, LSHSelector lsh, LayerBuffers *buf, Scratch *s) noexcept nogil:
        pass


cdef class Cascade(Ranking):
    """Candidates, re-ranked by sketch; the best of these, re-ranked by exact activation."""

    needs_codes = False
    directed = True

    cdef void propose(self, LSHSelector lsh, LayerBuffers *buf, Scratch *s) noexcept nogil:
        cdef int32_t n, t, dim = lsh.family.dim
        cdef int32_t wanted = lsh.training_list if s.training else lsh.short_list
        cdef int32_t *ids = NULL
        if lsh.cells is not None:
            lsh.family.query(buf.sketch, s.query)
            n, ids = lsh.search_cells(s), s.ids
        elif lsh.index is None:
            n = lsh.n_busy if s.training else lsh.n_nodes
            lsh.family.query(buf.sketch, s.query)
        else:
            n, ids = lsh.candidates(buf, s), s.ids
            for t in range(n):
                s.hits[ids[t]] = 0
        if n > wanted and lsh.cells is None:
            kernels.row_dots(lsh.sketches, ids, n, dim, s.query, s.score)
            s.multiplications += <int64_t> n * dim
        if n > wanted and lsh.by_magnitude:
            for t in range(n):
                s.score[t] = fabsf(s.score[t])
        buf.active.n = kernels.top(s.score, ids, n, wanted, s.key, buf.active.idx)


cdef class Collisions(Ranking):
    """The paper's released code: the nodes met in most buckets, ties at random."""

    cdef bint count(self) noexcept nogil:
        return True

    cdef void propose(self, LSHSelector lsh, LayerBuffers *buf, Scratch *s) noexcept nogil:
        cdef int32_t t, n = lsh.candidates(buf, s)
        for t in range(n):
            s.score[t] = rng_uniform(&s.rng)
            if self.count():
                s.score[t] += s.hits[s.ids[t]]
            s.hits[s.ids[t]] = 0
        buf.active.n = kernels.top(s.score, s.ids, n, lsh.n_active, s.key, buf.active.idx)


cdef class Union(Collisions):
    """The paper's text: the union of the buckets in random order, cut at the budget."""

    cdef bint count(self) noexcept nogil:
        return False

SELECTIONS["lsh"] = LSHSelector
RANKINGS = {"cascade": Cascade, "collisions": Collisions, "union": Union}
