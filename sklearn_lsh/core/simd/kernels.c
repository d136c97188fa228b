/* One C unit, one copy of kernels_impl.h per instruction set, chosen at run time.
 *
 * "baseline" is what the compiler builds without further flags (SSE2 on x86-64, NEON on
 * 64-bit Arm). Compilers without target pragmas build the baseline alone. */
#include "kernels.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define ADAGRAD_EPSILON 1e-6f /* as the paper's released code */

#if defined(__GNUC__) || defined(__clang__)
#define PRAGMA(x) _Pragma(#x)
#define SIMD PRAGMA(omp simd)
#define SIMD_SUM(s) PRAGMA(omp simd reduction(+ : s))
#define SIMD_MAX(m) PRAGMA(omp simd reduction(max : m))
#else
#define SIMD
#define SIMD_SUM(s)
#define SIMD_MAX(m)
#endif

/* Floats as integers in the same order: flip all bits of negatives, the sign of the rest.
 * NaN becomes 0, the lowest, and -0 is 0. */
static inline uint32_t ordered(float x)
{
    uint32_t u;
    x += 0.0f;
    memcpy(&u, &x, 4);
    u ^= (uint32_t) ((int32_t) u >> 31) | 0x80000000u;
    return x == x ? u : 0;
}

/* The m-th largest of keys[0..n), 1 <= m <= n; keys is destroyed. A radix select, a byte a
 * round: a histogram finds the byte of the m-th largest, the keys that share it move to the
 * front and go on to the next byte. Linear for every input. */
static uint32_t kth_largest(uint32_t *keys, int32_t n, int32_t m)
{
    int32_t live = n, rank = m;
    for (int shift = 24; shift >= 0 && live > 1; shift -= 8) {
        /* Two histograms: neighbours often share a byte, and would wait for each other. */
        int32_t count[2][256] = {{0}}, kept = 0, i;
        uint32_t digit = 255;
        for (i = 0; i + 2 <= live; i += 2) {
            count[0][(keys[i] >> shift) & 255]++;
            count[1][(keys[i + 1] >> shift) & 255]++;
        }
        if (i < live) count[0][(keys[i] >> shift) & 255]++;
        while (rank > count[0][digit] + count[1][digit]) {
            rank -= count[0][digit] + count[1][digit];
            digit--;
        }
        if (count[0][digit] + count[1][digit] == live) continue;
        for (i = 0; i < live; i++) {
            const uint32_t x = keys[i];
            keys[kept] = x;
            kept += ((x >> shift) & 255) == digit;
        }
        live = kept;
    }
    return keys[0];
}

#define LEVEL(name) name##_baseline
#define LEVEL_NAME "baseline"
#define ROW_DOTS row_dots_baseline
#include "kernels_impl.h"
#undef LEVEL
#undef LEVEL_NAME
#undef ROW_DOTS

#if (defined(__GNUC__) || defined(__clang__)) && (defined(__x86_64__) || defined(_M_X64))
#define HAVE_X86_LEVELS 1

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define LEVEL(name) name##_avx2
#define LEVEL_NAME "avx2"
#define ROW_DOTS row_dots_avx2
#include "kernels_impl.h"
#undef LEVEL
#undef LEVEL_NAME
#undef ROW_DOTS
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,fma,prefer-vector-width=512")
#endif
#define LEVEL(name) name##_avx512
#define LEVEL_NAME "avx512"
/* Short rows: adding up the lanes of a 512-bit register took twice as long. */
#define ROW_DOTS row_dots_avx2
#include "kernels_impl.h"
#undef LEVEL
#undef LEVEL_NAME
#undef ROW_DOTS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

lsh_kernels lsh_active;

static int available(const lsh_kernels **tables)
{
    int n = 0;
    tables[n++] = &table_baseline;
#ifdef HAVE_X86_LEVELS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        tables[n++] = &table_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
        tables[n++] = &table_avx512;
#endif
    return n;
}

int lsh_levels(const char **names)
{
    const lsh_kernels *tables[4];
    const int n = available(tables);
    for (int i = 0; i < n; i++) names[i] = tables[i]->level;
    return n;
}

int lsh_set_level(const char *name)
{
    const lsh_kernels *tables[4];
    const int n = available(tables);
    for (int i = 0; i < n; i++)
        if (strcmp(tables[i]->level, name) == 0) {
            lsh_active = *tables[i];
            return 0;
        }
    return -1;
}
