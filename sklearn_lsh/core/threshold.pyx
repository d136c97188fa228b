"""A layer's soft threshold: the activation above which its nodes are active.

Training follows it, so that the wanted number of nodes is active on average. Examples differ in
how many they activate, which tells the layers above something; where each had its own threshold,
and the same number of active nodes, that was lost.
"""

from libc.math cimport fmax, fmin, isfinite, log

from .types cimport borrow, int32_t, int64_t

# Active nodes of an example at least and at most, relative to the number wanted on average.
# Beyond, its own least active node is the threshold: so outputs are continuous all the same.
FEWEST, MOST = 2.0 / 3, 1.5
# The threshold is an average over about so many examples, fewer while there are fewer.
cdef double MEMORY = 256


def bounds(n_active, n_nodes):
    """How many nodes an example activates at least and at most, given the number wanted.

    Two at least, where there are two: the least active one outputs 0.
    """
    fewest = min(n_nodes, max(2, round(FEWEST * n_active)))
    return fewest, min(n_nodes, max(fewest, round(MOST * n_active)))


cdef class Threshold:
    """Borrows its state, a double each for the threshold and for the examples seen.

    Parameters
    ----------
    array : ndarray of shape (2,), float64
    n_active : int
        Nodes to be active on average.
    n_nodes : int
    """

    def __init__(self, array, n_active, n_nodes):
        self.array = array
        self.state = <double *> borrow(array, "f8")
        self.n_active = n_active
        self.fewest, self.most = bounds(n_active, n_nodes)

    @property
    def value(self):
        """The threshold as it is."""
        return self.state[0]

    cpdef int32_t within(self, int32_t n_above) noexcept nogil:
        """How many nodes are active where so many activations exceed the threshold."""
        return min(max(n_above, self.fewest), self.most)

    cdef void learn(
        self, int32_t n_examples, int64_t n_active, double outputs, double thresholds
    ) noexcept nogil:
        """Follow a batch, given sums over it: of active nodes, of their outputs, of thresholds.

        The first one's mean is where to start. From there on, the mean output of an active node
        is the scale on which the number of nodes above a threshold falls to its e-th part, were
        activations exponentially distributed beyond it.
        """
        cdef double moved, rate
        if n_examples == 0:
            return
        if self.state[1] == 0:
            moved = thresholds / n_examples
        else:
            rate = fmin(1, n_examples / fmin(MEMORY, self.state[1] + n_examples))
            moved = self.state[0]
            if n_active > 0:
                moved += rate * outputs / n_active * log(
                    <double> n_active / n_examples / self.n_active
                )
        if isfinite(moved):
            self.state[0] = fmax(0, moved)
        self.state[1] += n_examples
