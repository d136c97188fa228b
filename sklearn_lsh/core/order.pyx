"""Putting the nodes of a layer into another order, in place and at one stroke.

Nodes that are often active belong together: then what an example touches of the layer above
shares cache lines. All arrays that have an axis of nodes, or name nodes, change in one call that
no signal interrupts.
"""

import numpy as np

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from .types cimport CHECK, int32_t, ints


# n items of `size` bytes, `step` bytes apart; `repeats` times, `stride` bytes apart.
cdef struct Items:
    char *base
    Py_ssize_t repeats
    Py_ssize_t stride
    Py_ssize_t n
    Py_ssize_t step
    Py_ssize_t size


def reorder(order, arrays, names):
    """Let position t hold what was at position order[t].

    Parameters
    ----------
    order : ndarray of int32
        A permutation of the nodes.
    arrays : list of (ndarray, axis)
        With the nodes along their axis 0 or 1. Rows are contiguous, or columns if 2-D.
    names : list of ndarray of int32
        Arrays of node numbers, which are renamed; negative ones stay.

    Raises
    ------
    ValueError, TypeError
        If an array is of another shape or type. Nothing is changed then.
    """
    cdef Py_ssize_t n = len(order), i
    position = np.full(n, -1, np.int32)
    position[order] = np.arange(n, dtype=np.int32)
    if (position < 0).any():
        raise ValueError("order is not a permutation")
    cdef const int32_t *new = ints(position)
    cdef const int32_t *old = ints(order)
    cdef Py_ssize_t n_arrays = len(arrays), n_names = len(names), largest = 1
    jobs = np.zeros((n_arrays, 5), np.int64)
    renamed = np.zeros((n_names, 2), np.int64)
    for i, (array, axis) in enumerate(arrays):
        if array.shape[axis] != n or axis > 1:
            raise ValueError(f"shape {array.shape} has no axis {axis} of {n} nodes")
        if array.ndim == 2 and array.strides[0] < array.strides[1]:
            array, axis = array.T, 1 - axis
        if not (array[:1].flags.c_contiguous and array.flags.writeable):
            raise ValueError("an array is not writable, or its rows are not contiguous")
        repeats, stride = (array.shape[0], array.strides[0]) if axis else (1, 0)
        size = array.nbytes // max(1, repeats * n)
        jobs[i] = array.ctypes.data, repeats, stride, size if axis else array.strides[0], size
        largest = max(largest, size)
    for i, array in enumerate(names):
        renamed[i] = <Py_ssize_t> ints(array), array.size
    cdef const long long[:, ::1] job = jobs
    cdef const long long[:, ::1] name = renamed
    largest = max(largest, n * <Py_ssize_t> sizeof(int32_t))
    cdef char *spare = <char *> malloc(largest + n)
    cdef int32_t *node
    cdef Items items
    cdef Py_ssize_t t
    if spare == NULL:
        raise MemoryError()
    with nogil:
        for i in range(n_arrays):
            items.base, items.repeats = <char *> <size_t> job[i, 0], job[i, 1]
            items.stride, items.step, items.size = job[i, 2], job[i, 3], job[i, 4]
            items.n = n
            if items.size == items.step == sizeof(int32_t):
                permute_words(&items, old, <int32_t *> spare)
            else:
                permute(&items, old, spare, spare + largest)
        for i in range(n_names):
            node = <int32_t *> <size_t> name[i, 0]
            for t in range(name[i, 1]):
                CHECK(node[t] < n, "node name")
                if node[t] >= 0:
                    node[t] = new[node[t]]
    free(spare)


cdef void permute_words(Items *items, const int32_t *order, int32_t *copy) noexcept nogil:
    """Of single words side by side: the weights of the layer above, row by row."""
    cdef Py_ssize_t r, t
    cdef int32_t *row
    for r in range(items.repeats):
        row = <int32_t *> (items.base + r * items.stride)
        memcpy(copy, row, items.n * sizeof(int32_t))
        for t in range(items.n):
            row[t] = copy[order[t]]


cdef void permute(Items *items, const int32_t *order, char *item, char *done) noexcept nogil:
    """Walk along the cycles of the permutation, with one item in hand."""
    cdef Py_ssize_t r, t, here, step = items.step, size = items.size
    cdef char *base
    for r in range(items.repeats):
        base = items.base + r * items.stride
        for t in range(items.n):
            done[t] = 0
        for t in range(items.n):
            if done[t] or order[t] == t:
                continue
            memcpy(item, base + t * step, size)
            here = t
            while order[here] != t:
                memcpy(base + here * step, base + order[here] * step, size)
                done[here] = 1
                here = order[here]
            memcpy(base + here * step, item, size)
            done[here] = 1
