# A mark that one thread has at a time, and that no one waits for.

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <intrin.h>
    #define LSH_SET(mark) _InterlockedExchange8((volatile char *) (mark), 1)
    #define LSH_CLEAR(mark) ((void) _InterlockedExchange8((volatile char *) (mark), 0))
    #else
    #define LSH_SET(mark) __atomic_exchange_n(mark, 1, __ATOMIC_ACQUIRE)
    #define LSH_CLEAR(mark) __atomic_store_n(mark, 0, __ATOMIC_RELEASE)
    #endif
    """
    unsigned char LSH_SET(unsigned char *mark) noexcept nogil
    void release "LSH_CLEAR"(unsigned char *mark) noexcept nogil


cdef inline bint claim(unsigned char *mark) noexcept nogil:
    """Whether nobody had the mark: then the caller does, until ``release``."""
    return LSH_SET(mark) == 0
