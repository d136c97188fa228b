# A number that one thread raises and others wait for: what was written before it was raised can
# be read after the wait.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(_MSC_VER)
    #define WIN32_LEAN_AND_MEAN
    #include <windows.h>
    #define LSH_LOAD(place) _InterlockedCompareExchange64(place, 0, 0)
    #define LSH_STORE(place, number) _InterlockedExchange64(place, number)
    #define LSH_PAUSE() YieldProcessor()
    #define LSH_LET_OTHERS_RUN() SwitchToThread()
    #else
    #define LSH_LOAD(place) __atomic_load_n(place, __ATOMIC_ACQUIRE)
    #define LSH_STORE(place, number) __atomic_store_n(place, number, __ATOMIC_RELEASE)
    #if defined(__x86_64__) || defined(__i386__)
    #define LSH_PAUSE() __builtin_ia32_pause()
    #elif defined(__aarch64__)
    #define LSH_PAUSE() __asm__ __volatile__("yield")
    #else
    #define LSH_PAUSE() ((void) 0)
    #endif
    #if defined(_WIN32)
    #define WIN32_LEAN_AND_MEAN
    #include <windows.h>
    #define LSH_LET_OTHERS_RUN() SwitchToThread()
    #else
    #include <sched.h>
    #define LSH_LET_OTHERS_RUN() sched_yield()
    #endif
    #endif

    /* The distance keeps two of them out of one cache line, and out of the pair that some
       processors fetch together. */
    typedef struct { int64_t number; char distance[120]; } lsh_counter;

    static void lsh_raise(lsh_counter *counter, int64_t number)
    {
        LSH_STORE(&counter->number, number);
    }

    /* A wait is short where every thread has a processor; where not, the other one may need
       this one's. */
    static void lsh_wait_for(lsh_counter *counter, int64_t number)
    {
        int tries = 0;
        while (LSH_LOAD(&counter->number) < number) {
            LSH_PAUSE();
            if (++tries == 4096) {
                LSH_LET_OTHERS_RUN();
                tries = 0;
            }
        }
    }
    """
    ctypedef struct Counter "lsh_counter":
        int64_t number
    void raise_to "lsh_raise"(Counter *counter, int64_t number) noexcept nogil
    void wait_for "lsh_wait_for"(Counter *counter, int64_t number) noexcept nogil
