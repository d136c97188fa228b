# A monotonic clock that can be read without the GIL: where a pass spends its time.

cdef extern from *:
    """
    #ifdef _WIN32
    #define WIN32_LEAN_AND_MEAN
    #include <windows.h>
    static double lsh_seconds(void)
    {
        LARGE_INTEGER count, per_second;
        QueryPerformanceCounter(&count);
        QueryPerformanceFrequency(&per_second);
        return (double) count.QuadPart / (double) per_second.QuadPart;
    }
    #else
    #include <time.h>
    static double lsh_seconds(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
    }
    #endif
    """
    double seconds_now "lsh_seconds"() noexcept nogil
