"""What predictions are written to: the probabilities of all outputs, or the best of them."""

from .kernels cimport kernels
from .losses cimport Loss
from .outputs cimport all_finite
from .types cimport LayerBuffers, Scratch, borrow, int32_t, ints, real


cdef class Answers:
    """Base. Borrows arrays whose first row belongs to row ``start`` of the data.

    Parameters
    ----------
    p : ndarray of shape (n_rows, width), float64
        Receives probabilities.
    start : int
    """

    def __init__(self, p, start=0):
        self.arrays = (p,)
        self.n_rows, self.width = p.shape
        self.start = start
        self.p = <double *> borrow(p, "f8")

    def check(self, start, stop, n_outputs):
        """The last guard of the arrays: they have room for rows [start, stop)."""
        if not self.start <= start <= stop <= self.start + self.n_rows:
            raise ValueError(
                f"rows {start} to {stop} into {self.n_rows} from {self.start} on"
            )

    cdef bint write(self, Py_ssize_t i, LayerBuffers *out, Loss loss, Scratch *s) noexcept nogil:
        """The answer for row i; False, and nothing is written, if a logit is not finite."""
        if not all_finite(out.out.val, out.out.n):
            return False
        i -= self.start
        self.fill(self.p + i * self.width, i, out, loss, s)
        return True

    cdef void fill(
        self, double *p, Py_ssize_t i, LayerBuffers *out, Loss loss, Scratch *s
    ) noexcept nogil:
        """Write the i-th answer, whose probabilities go to p."""
        pass


cdef class Probabilities(Answers):
    """Of all outputs; 0 where a hashed output layer has not found one."""

    def check(self, start, stop, n_outputs):
        """The arrays have room for all outputs, too."""
        Answers.check(self, start, stop, n_outputs)
        if self.width != n_outputs:
            raise ValueError(f"{self.width} columns for {n_outputs} outputs")

    cdef void fill(
        self, double *p, Py_ssize_t i, LayerBuffers *out, Loss loss, Scratch *s
    ) noexcept nogil:
        loss.probabilities(out.out.val, out.out.n, NULL, out.out.n, p)
        if out.out.idx != NULL:
            spread(p, <int32_t> self.width, out.out_idx, out.out.n)


cdef class Best(Answers):
    """Those of highest probability, best first; equal ones in ascending order.

    Parameters
    ----------
    ids : ndarray of shape (n_rows, k), int32
        Receives the outputs. -1 where a hashed output layer has found fewer.
    p : ndarray of shape (n_rows, k), float64
    start : int
    """

    def __init__(self, ids, p, start=0):
        if ids.shape != p.shape:
            raise ValueError(f"ids of shape {ids.shape}, probabilities of {p.shape}")
        Answers.__init__(self, p, start)
        self.arrays = (ids, p)
        self.ids = ints(ids)

    cdef void fill(
        self, double *p, Py_ssize_t i, LayerBuffers *out, Loss loss, Scratch *s
    ) noexcept nogil:
        cdef int32_t *ids = self.ids + i * self.width
        cdef int32_t t, k = <int32_t> self.width
        cdef int32_t n = kernels.top(out.out.val, NULL, out.out.n, k, s.key, s.chosen)
        descend(s.chosen, n, out.out.val)
        loss.probabilities(out.out.val, out.out.n, s.chosen, n, p)
        for t in range(n):
            ids[t] = s.chosen[t] if out.out.idx == NULL else out.out_idx[s.chosen[t]]
        for t in range(n, k):
            ids[t], p[t] = -1, 0


cdef void spread(double *p, int32_t width, const int32_t *ids, int32_t n) noexcept nogil:
    """Move the n numbers in front to the ascending places ids, and fill up with zeros."""
    cdef int32_t t = width - 1, source = n - 1
    # From the back and in place: no number moves to the left.
    while t >= 0:
        if source >= 0 and ids[source] == t:
            p[t] = p[source]
            source -= 1
        else:
            p[t] = 0
        t -= 1


cdef void descend(int32_t *ids, int32_t n, const real *score) noexcept nogil:
    """Sort ascending ids by falling score, equal ones as they are (by insertion: n is small)."""
    cdef int32_t t, i, j
    for t in range(1, n):
        j, i = ids[t], t
        while i > 0 and score[ids[i - 1]] < score[j]:
            ids[i] = ids[i - 1]
            i -= 1
        ids[i] = j
