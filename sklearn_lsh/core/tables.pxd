from .types cimport Scratch, int32_t


cdef class CodeIndex:
    cdef readonly int32_t n_nodes, n_tables, n_bits
    cdef readonly object arrays
    cdef int32_t *node_codes        # (n_nodes, n_tables), -1 where not inserted

    cdef void move(self, int32_t j, const int32_t *codes) noexcept nogil
    cdef int32_t collect(
        self, const int32_t *codes, int32_t n_codes, Scratch *s
    ) noexcept nogil


cdef class HashTables(CodeIndex):
    cdef int32_t *head              # (n_tables, 2**n_bits): first node of a bucket, -1 if empty
    cdef int32_t *count             # (n_tables, 2**n_bits)
    cdef int32_t *after             # (n_tables, n_nodes): the bucket as a doubly linked list
    cdef int32_t *before            # (n_tables, n_nodes)
    cdef int32_t crowd              # most nodes taken from one bucket


cdef class CodeScan(CodeIndex):
    pass
