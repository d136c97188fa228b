"""Vectors in, integer codes out.

Maximum inner product search by sign random projections: append to every row of weights the
coordinate sqrt(M^2 - |row|^2) and to every query a zero, and the angle between the two falls
as their inner product rises (Neyshabur and Srebro 2015, "Simple-LSH"). A code is K signs of
such projections; there is one code for each of L tables.

Both families first take a linear *sketch* of the vector with its intercept appended. Inner
products of sketches estimate activations, which ranks candidates; signs of the sketch's
projections are the codes. Being linear, a row's sketch moves by ``a`` times the input's when
the row moves by ``a`` times the input.
"""

from itertools import combinations

import numpy as np

from libc.math cimport fabsf, sqrtf

from .kernels cimport kernels
from .subspace import principal_subspace
from .types cimport (
    SparseVec, int32_t, ints, real, reals, rng_below, uint64_t,
)
from .weights cimport ByNode

# Probes of a table that "auto" may come to.
MOST_PROBES = 256


cdef class HashFamily:
    """Base of the hash families: a linear sketch, then signs.

    Parameters
    ----------
    arrays : dict of ndarray
        What ``draw`` returned or an earlier fit left; owned by the caller, renewed in place.
    n_bits, n_tables : int
        K and L of the paper.
    """

    def __init__(self, arrays, n_bits, n_tables):
        self.arrays = arrays
        self.n_in, self.dim = arrays["matrix"].shape
        self.n_bits = n_bits
        self.n_tables = n_tables
        self.matrix = reals(arrays["matrix"])
        self.intercept_row = reals(arrays["intercept_row"])
        self.query_gain = reals(arrays["query_gain"])
        self.query_offset = reals(arrays["query_offset"])
        self.planes = reals(arrays["planes"]) if "planes" in arrays else NULL
        self.norm_plane = reals(arrays["norm_plane"])
        self.centre = reals(arrays["centre"])
        self.norm_bound = reals(arrays["norm_bound"])
        # The row's norm, its projections on the planes, and the norm coordinate's.
        norm_cost = self.n_in if self.planes == NULL else self.dim * (1 + n_bits * n_tables)
        self.code_cost = norm_cost + n_bits * n_tables

    @staticmethod
    def draw(n_in, n_bits, n_tables, rng):
        """Random arrays for a new layer: all that the family needs before its first renewal."""
        raise NotImplementedError

    @staticmethod
    def shapes(n_in, dim, n_bits, n_tables):
        """Names and shapes of the arrays, with sketches of length ``dim``."""
        n_planes = n_bits * n_tables
        return {
            "matrix": (n_in, dim), "intercept_row": (dim,), "query_gain": (dim,),
            "query_offset": (dim,), "norm_plane": (n_planes,), "centre": (dim,),
            "norm_bound": (1,),
        }

    #: Arrays with an axis of inputs, the first.
    by_input = ("matrix",)
    #: Whether the sketch is adapted to the layer's inputs, by ``basis`` and ``spanned``.
    adaptive = False

    def renew_norms(self, sketches, norms2, centred):
        """Set the centre of the rows and the bound M from their current values."""
        raise NotImplementedError

    cdef void sketch(self, SparseVec *x, real intercept, real *out) noexcept nogil:
        cdef int32_t t
        for t in range(self.dim):
            out[t] = intercept * self.intercept_row[t]
        kernels.row_sums(self.matrix, self.dim, self.dim, x.idx, x.val, x.n, out)

    cdef void query(self, const real *sketch, real *q) noexcept nogil:
        cdef int32_t t
        for t in range(self.dim):
            q[t] = self.query_gain[t] * sketch[t] + self.query_offset[t]

    cdef void margins(self, const real *q, real *margin) noexcept nogil:
        """Signed distances of a query (or centred row) to the hyperplanes, up to scale."""
        cdef int32_t t
        if self.planes == NULL:
            for t in range(self.dim):
                margin[t] = q[t]
        else:
            kernels.row_dots(
                self.planes, NULL, self.n_tables * self.n_bits, self.dim, q, margin
            )

    cdef real row_norm2(self, ByNode store, int32_t j, const real *centred) noexcept nogil:
        return kernels.sum_squares(centred, self.dim)

    cdef void row_codes(
        self, ByNode store, int32_t j, const real *sketch, real *margin, int32_t *codes
    ) noexcept nogil:
        """The codes of row j, one a table. margin is scratch for all planes and a sketch."""
        cdef int32_t m = self.n_tables * self.n_bits, t, k
        cdef real *centred = margin + m
        cdef real slack
        for t in range(self.dim):
            centred[t] = sketch[t] - self.centre[t]
        # A row that outgrew the bound since it was set is clamped to it.
        slack = self.norm_bound[0] * self.norm_bound[0] - self.row_norm2(store, j, centred)
        slack = sqrtf(max(<real> 0, slack))
        self.margins(centred, margin)
        for t in range(self.n_tables):
            codes[t] = 0
            for k in range(self.n_bits):
                if margin[t * self.n_bits + k] + slack * self.norm_plane[t * self.n_bits + k] > 0:
                    codes[t] |= <int32_t> 1 << k


cdef class SimpleLSH(HashFamily):
    """The paper's hashing: sign random projections of the raw, norm-augmented vectors."""

    @staticmethod
    def draw(n_in, n_bits, n_tables, rng):
        dim = n_bits * n_tables
        gauss = rng.standard_normal((n_in + 2, dim), dtype=np.float32)
        return {
            "matrix": gauss[:n_in].copy(),
            "intercept_row": gauss[n_in].copy(),
            "norm_plane": gauss[n_in + 1].copy(),
            "query_gain": np.ones(dim, np.float32),
            "query_offset": np.zeros(dim, np.float32),
            "centre": np.zeros(dim, np.float32),
            "norm_bound": np.ones(1, np.float32),
        }

    @staticmethod
    def shapes(n_in, dim, n_bits, n_tables):
        # The sketch is the projections themselves.
        return HashFamily.shapes(n_in, n_bits * n_tables, n_bits, n_tables)

    def renew_norms(self, sketches, norms2, centred):
        self.arrays["norm_bound"][0] = np.sqrt(norms2.max())

    cdef real row_norm2(self, ByNode store, int32_t j, const real *centred) noexcept nogil:
        cdef real b = store.intercepts[j]
        return kernels.sum_squares(store.row(j), self.n_in) + b * b


cdef class Subspace(HashFamily):
    """Centred queries, the intercept as a coordinate, hashed where the queries live.

    With mu the mean input, ``w.x + b = w.(x - mu) + (b + w.mu)``. The sketch of a row is
    ``[R'w, (b + w.mu) / c]``, R the leading principal directions of the layer's inputs and c
    the root mean square norm of the queries ``[R'(x - mu), c]``.
    """

    by_input = ("matrix", "mean_input")
    adaptive = True
    #: Sketch lengths to choose from. The shortest, 15 directions and the intercept, fills one
    #: 512-bit register.
    lengths = (16, 32, 48, 64)
    #: Norm bound: this quantile of the rows, lest one huge row flatten everyone's code.
    norm_quantile = 0.95

    @staticmethod
    def draw(n_in, n_bits, n_tables, rng):
        n_directions = min(Subspace.lengths[0] - 1, n_in)
        nothing = (
            np.zeros(n_in), np.zeros((n_in, n_directions)), np.zeros(n_directions), 0
        )
        return Subspace.spanned(nothing, n_directions + 1, n_bits, n_tables, rng)

    @staticmethod
    def shapes(n_in, dim, n_bits, n_tables):
        return HashFamily.shapes(n_in, dim, n_bits, n_tables) | {
            "planes": (n_bits * n_tables, dim), "mean_input": (n_in,), "variances": (dim - 1,),
            "n_sampled": (1,),
        }

    @property
    def next_length(self):
        """The next longer sketch than the present, if there is one."""
        longest = max(self.lengths)
        return min([n for n in self.lengths if n > self.dim], default=longest)

    def basis(self, sample, longest, rng):
        """Principal directions of the layer's inputs, merged with those known.

        Parameters
        ----------
        sample : CSR matrix of shape (n_rows, n_in)
        longest : int
            The length of sketches that the directions shall do for.
        rng : numpy.random.Generator

        Returns
        -------
        basis : tuple of (mean, directions, variances, n_sampled)
        multiplications : int
        """
        a = self.arrays
        prior = (a["mean_input"], a["matrix"][:, :-1], a["variances"], int(a["n_sampled"][0]))
        found = principal_subspace(sample, longest - 1, rng, prior)
        return found[:4], found[4]

    @staticmethod
    def spanned(basis, dim, n_bits, n_tables, rng):
        """The family's arrays for sketches of length dim in a basis."""
        mean, directions, variances, n_sampled = basis
        directions, variances = directions[:, : dim - 1], variances[: dim - 1]
        # The scale of the intercept's coordinate: that of a typical query, within float32.
        c = max(np.sqrt(variances.sum()), 1e-6 * np.linalg.norm(mean), 1e-30)
        last = np.eye(1, dim, dim - 1)[0]
        n_planes = n_bits * n_tables
        return {
            "matrix": np.column_stack([directions, mean / c]).astype(np.float32),
            "intercept_row": (last / c).astype(np.float32),
            "query_gain": (1 - last).astype(np.float32),
            "query_offset": np.append(-(mean @ directions), c).astype(np.float32),
            "planes": rng.standard_normal((n_planes, dim), dtype=np.float32),
            "norm_plane": rng.standard_normal(n_planes, dtype=np.float32),
            "centre": np.zeros(dim, np.float32),
            "norm_bound": np.ones(1, np.float32),
            "mean_input": mean,
            "variances": variances,
            "n_sampled": np.array([n_sampled], np.int64),
        }

    def renew_norms(self, sketches, norms2, centred):
        # The mean row adds the same amount to every activation, so the ranking does not
        # need it (the ranking by magnitude does).
        if centred:
            self.arrays["centre"][:] = sketches.mean(axis=0, dtype=np.float64)
        centred_rows = np.subtract(sketches, self.arrays["centre"], dtype=np.float64)
        norms = np.linalg.norm(centred_rows, axis=1)
        self.arrays["norm_bound"][0] = np.quantile(norms, self.norm_quantile)


cdef class Probing:
    """Turns a query's margins into the codes to look up: n_probes for each table.

    directed : bits nearest to their hyperplane flip first, in the order of the expected
        squared distance of the flipped set (Lv et al. 2007, section 4.4-4.5).
        Otherwise bits flip at random: each bit once, then pairs (the paper).
    both_signs : also look up the negated query, for ranking by magnitude. The negated
        query's code is the complement, since its norm coordinate is zero.
    """

    def __init__(self, n_bits, n_tables, n_probes, directed, both_signs):
        self.n_bits = n_bits
        self.n_tables = n_tables
        self.directed = directed
        self.both_signs = both_signs
        self.templates = probe_templates(n_bits, min(n_probes, 2 ** n_bits), directed)
        self.n_probes = len(self.templates)  # fewer than asked for, of many bits
        self.n_codes = self.n_probes * (2 if both_signs else 1)
        self.template = ints(self.templates)

    cdef void codes(
        self, const real *margin, int32_t *order, uint64_t *rng, int32_t *codes
    ) noexcept nogil:
        cdef int32_t t, p, k, code, flip, mask = (<int32_t> 1 << self.n_bits) - 1
        cdef const real *m
        for t in range(self.n_tables):
            m = margin + t * self.n_bits
            code = 0
            for k in range(self.n_bits):
                code |= <int32_t> (m[k] > 0) << k
            if self.n_probes > 1:
                order_bits(m, self.n_bits, self.directed, rng, order)
            for p in range(self.n_probes):
                flip = 0
                for k in range(self.n_bits):
                    if self.template[p] >> k & 1:
                        flip |= <int32_t> 1 << order[k]
                codes[t * self.n_codes + p] = code ^ flip
                if self.both_signs:
                    codes[t * self.n_codes + self.n_probes + p] = (code ^ flip) ^ mask


cdef void order_bits(
    const real *m, int32_t n_bits, bint directed, uint64_t *rng, int32_t *order
) noexcept nogil:
    """Bits by ascending |margin| (insertion sort: n_bits is small), or in random order."""
    cdef int32_t k, i, other
    for k in range(n_bits):
        i = k
        if directed:
            while i > 0 and fabsf(m[order[i - 1]]) > fabsf(m[k]):
                order[i] = order[i - 1]
                i -= 1
        else:
            other = rng_below(rng, k + 1)
            order[k] = order[other] if other < k else k
            i = other
        order[i] = k


def probe_templates(n_bits, n_probes, directed):
    """The sets of positions to flip in a query's order of bits, as bit masks.

    Directed: the margin at sorted position j (from 1) has expected square proportional to
    j (j + 1), so a set costs the sum of these and the cheapest come first (Lv et al. 2007,
    section 4.5). Otherwise small sets come first. The empty set leads either way.
    """
    reach = min(n_bits, 12)
    sets = [()]
    for size in range(1, reach + 1):
        if len(sets) > 4 * n_probes + 64:
            break
        sets += combinations(range(reach), size)
    if directed:
        sets.sort(key=lambda s: (sum((j + 1) * (j + 2) for j in s), s))
    return np.array([sum(1 << j for j in s) for s in sets[:n_probes]], dtype=np.int32)


HASH_FAMILIES = {"subspace": Subspace, "simple_lsh": SimpleLSH}
