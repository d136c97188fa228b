"""Integer codes in, candidate ids out; this room knows no floats.

Two indexes behind one interface: ``HashTables`` (buckets) and ``CodeScan``, which compares
every node's codes and is the oracle of the first.
"""

import numpy as np

from .types cimport CHECK, Scratch, int32_t, ints, rng_below


cdef class CodeIndex:
    """Nodes by their codes, one code for each of n_tables tables.

    Parameters
    ----------
    arrays : dict of ndarray
        From ``empty``; owned by the caller.
    """

    def __init__(self, arrays, n_bits):
        self.arrays = arrays
        self.n_nodes, self.n_tables = arrays["node_codes"].shape
        self.n_bits = n_bits
        self.node_codes = ints(arrays["node_codes"])

    def fill(self, codes):
        """Give every node its codes, int32 of shape (n_nodes,) + the number of tables."""
        cdef const int32_t *code = ints(codes)
        cdef int32_t j
        for j in range(self.n_nodes):
            self.move(j, code + <Py_ssize_t> j * self.n_tables)

    @staticmethod
    def empty(n_nodes, n_tables, n_bits):
        """Arrays of an index without nodes."""
        return {"node_codes": np.full((n_nodes, n_tables), -1, np.int32)}

    cdef void move(self, int32_t j, const int32_t *codes) noexcept nogil:
        """Give node j new codes; the first time inserts it."""
        cdef int32_t t
        for t in range(self.n_tables):
            self.node_codes[<Py_ssize_t> j * self.n_tables + t] = codes[t]

    cdef int32_t collect(
        self, const int32_t *codes, int32_t n_codes, Scratch *s
    ) noexcept nogil:
        """Find the nodes that share one of the n_codes codes of a table, in any table.

        Their ids go to s.ids, the number of buckets each was met in to s.hits (which the
        caller zeroes again). Returns how many there are.
        """
        return 0


cdef class CodeScan(CodeIndex):
    """Compares the codes of every node: no buckets, nothing to maintain."""

    cdef int32_t collect(
        self, const int32_t *codes, int32_t n_codes, Scratch *s
    ) noexcept nogil:
        cdef int32_t j, t, p, n = 0
        cdef const int32_t *own
        for j in range(self.n_nodes):
            own = self.node_codes + <Py_ssize_t> j * self.n_tables
            for t in range(self.n_tables):
                for p in range(n_codes):
                    s.hits[j] += own[t] == codes[t * n_codes + p]
            if s.hits[j] > 0:
                s.ids[n] = j
                n += 1
        return n


cdef class HashTables(CodeIndex):
    """Buckets as doubly linked lists through the nodes: moving a node costs O(1) a table.

    A bucket with more than ``crowd`` nodes is sub-sampled, uniformly and anew each time.
    """

    def __init__(self, arrays, n_bits, crowd=None):
        CodeIndex.__init__(self, arrays, n_bits)
        self.head = ints(arrays["head"])
        self.count = ints(arrays["count"])
        self.after = ints(arrays["after"])
        self.before = ints(arrays["before"])
        self.crowd = self.n_nodes if crowd is None else crowd

    @staticmethod
    def empty(n_nodes, n_tables, n_bits):
        arrays = CodeIndex.empty(n_nodes, n_tables, n_bits)
        arrays["head"] = np.full((n_tables, 2 ** n_bits), -1, np.int32)
        arrays["count"] = np.zeros((n_tables, 2 ** n_bits), np.int32)
        arrays["after"] = np.full((n_tables, n_nodes), -1, np.int32)
        arrays["before"] = np.full((n_tables, n_nodes), -1, np.int32)
        return arrays

    cdef void move(self, int32_t j, const int32_t *codes) noexcept nogil:
        cdef int32_t t, old, new, prev, succ
        cdef int32_t *own = self.node_codes + <Py_ssize_t> j * self.n_tables
        cdef int32_t *head
        cdef int32_t *count
        cdef int32_t *after
        cdef int32_t *before
        CHECK(0 <= j < self.n_nodes, "node index")
        for t in range(self.n_tables):
            old, new = own[t], codes[t]
            if old == new:
                continue
            CHECK(0 <= new < (<int32_t> 1 << self.n_bits), "bucket code")
            head = self.head + (<Py_ssize_t> t << self.n_bits)
            count = self.count + (<Py_ssize_t> t << self.n_bits)
            after = self.after + <Py_ssize_t> t * self.n_nodes
            before = self.before + <Py_ssize_t> t * self.n_nodes
            if old >= 0:
                prev, succ = before[j], after[j]
                if prev >= 0:
                    after[prev] = succ
                else:
                    head[old] = succ
                if succ >= 0:
                    before[succ] = prev
                count[old] -= 1
            succ = head[new]
            before[j] = -1
            after[j] = succ
            if succ >= 0:
                before[succ] = j
            head[new] = j
            count[new] += 1
            own[t] = new

    cdef int32_t collect(
        self, const int32_t *codes, int32_t n_codes, Scratch *s
    ) noexcept nogil:
        cdef int32_t t, p, j, code, left, wanted, n = 0
        cdef const int32_t *after
        for t in range(self.n_tables):
            after = self.after + <Py_ssize_t> t * self.n_nodes
            for p in range(n_codes):
                code = codes[t * n_codes + p]
                j = self.head[(<Py_ssize_t> t << self.n_bits) + code]
                left = self.count[(<Py_ssize_t> t << self.n_bits) + code]
                wanted = min(left, self.crowd)
                # Selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S); all if uncrowded.
                while wanted > 0:
                    if wanted == left or rng_below(&s.rng, left) < wanted:
                        wanted -= 1
                        if s.hits[j] == 0:
                            s.ids[n] = j
                            n += 1
                        s.hits[j] += 1
                    left -= 1
                    j = after[j]
        return n
