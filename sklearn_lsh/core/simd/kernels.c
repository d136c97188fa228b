/* One C unit, one copy of kernels_impl.h per instruction set, chosen at run time.
 *
 * "baseline" is what the compiler builds without further flags (SSE2 on x86-64, NEON on
 * 64-bit Arm). Compilers without target pragmas build the baseline alone. */
#include "kernels.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define ADAGRAD_START 1e-3f /* see Adagrad in optimizers.pyx */

#if defined(__GNUC__) || defined(__clang__)
#define PRAGMA(x) _Pragma(#x)
#define SIMD PRAGMA(omp simd)
#define SIMD_SUM(s) PRAGMA(omp simd reduction(+ : s))
#define SIMD_MAX(m) PRAGMA(omp simd reduction(max : m))
#define SIMD_RANGE(low, high) PRAGMA(omp simd reduction(min : low) reduction(max : high))
/* Fetch a line to be written. Processors that have AVX2 have the instruction, or take it for none. */
#define PREFETCH_TO_WRITE(p) __builtin_prefetch(p, 1)
/* Eight floats, and what is done with them: as one vector, which may lie at any address. */
typedef float lanes8 __attribute__((vector_size(32)));
typedef float lanes8_anywhere __attribute__((vector_size(32), aligned(4), may_alias));
#define LANES lanes8
#define LANES_ZERO {0}
#define LANES_FILLED(x) ((x) - (lanes8) {0})
#define LANES_AT(p) ((lanes8) *(const lanes8_anywhere *) (p))
#define LANES_MORE(s, v, p) s += (v) * LANES_AT(p)
#define LANES_ADD(s, v, p, i)                                                              \
    s += (v) * (lanes8) {p[0][i], p[1][i], p[2][i], p[3][i], p[4][i], p[5][i], p[6][i], p[7][i]}
#define LANE(s, k) (s)[k]
#else
#define SIMD
#define SIMD_SUM(s)
#define SIMD_MAX(m)
#define SIMD_RANGE(low, high)
#define PREFETCH_TO_WRITE(p)
typedef struct { float lane[8]; } lanes8;
static lanes8 lanes8_filled(float x)
{
    const lanes8 v = {{x, x, x, x, x, x, x, x}};
    return v;
}
static lanes8 lanes8_at(const float *p)
{
    lanes8 v;
    memcpy(&v, p, sizeof v);
    return v;
}
static void lanes8_more(lanes8 *s, lanes8 v, const float *p)
{
    for (int k = 0; k < 8; k++) s->lane[k] += v.lane[k] * p[k];
}
static void lanes8_add(lanes8 *s, lanes8 v, const float **p, int32_t i)
{
    for (int k = 0; k < 8; k++) s->lane[k] += v.lane[k] * p[k][i];
}
#define LANES lanes8
#define LANES_ZERO {{0}}
#define LANES_FILLED(x) lanes8_filled(x)
#define LANES_AT(p) lanes8_at(p)
#define LANES_MORE(s, v, p) lanes8_more(&(s), v, p)
#define LANES_ADD(s, v, p, i) lanes8_add(&(s), v, p, i)
#define LANE(s, k) (s).lane[k]
#endif
/* LANES_SUMS(v): the sums of eight vectors' lanes, as one vector. */
#if defined(__clang__) || defined(__GNUC__) && __GNUC__ >= 12
#define SHUFFLE __builtin_shufflevector
#define PAIR_SUMS(a, b)                                                                    \
    (SHUFFLE(a, b, 0, 8, 2, 10, 4, 12, 6, 14) + SHUFFLE(a, b, 1, 9, 3, 11, 5, 13, 7, 15))
#define QUAD_SUMS(a, b)                                                                    \
    (SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15))
#define HALF_SUMS(a, b)                                                                    \
    (SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15))
#define LANES_SUMS(v)                                                                      \
    HALF_SUMS(QUAD_SUMS(PAIR_SUMS(v[0], v[1]), PAIR_SUMS(v[2], v[3])),                     \
              QUAD_SUMS(PAIR_SUMS(v[4], v[5]), PAIR_SUMS(v[6], v[7])))
#else
/* Inlined always: functions of different instruction sets pass vectors in different ways. */
#if defined(__GNUC__)
__attribute__((always_inline))
#endif
static inline lanes8 lanes8_sums(const lanes8 *v)
{
    lanes8 sums = LANES_ZERO;
    for (int k = 0; k < 8; k++)
        LANE(sums, k) = ((LANE(v[k], 0) + LANE(v[k], 1)) + (LANE(v[k], 2) + LANE(v[k], 3))) +
                        ((LANE(v[k], 4) + LANE(v[k], 5)) + (LANE(v[k], 6) + LANE(v[k], 7)));
    return sums;
}
#define LANES_SUMS(v) lanes8_sums(v)
#endif

/* Eight sums of lanes, side by side: each has a name of its own, since arrays of vectors end up in
 * memory. EIGHT_MORE adds v times what lies at p[k] + i to the k-th; EIGHT_SUMS writes the sum of
 * each one's lanes. */
#define EIGHT_LANES(s)                                                                     \
    LANES s##0 = LANES_ZERO, s##1 = LANES_ZERO, s##2 = LANES_ZERO, s##3 = LANES_ZERO,      \
          s##4 = LANES_ZERO, s##5 = LANES_ZERO, s##6 = LANES_ZERO, s##7 = LANES_ZERO
#define EIGHT_MORE(s, v, p, i)                                                             \
    do {                                                                                   \
        const LANES more = (v);                                                            \
        LANES_MORE(s##0, more, (p)[0] + (i)), LANES_MORE(s##1, more, (p)[1] + (i));        \
        LANES_MORE(s##2, more, (p)[2] + (i)), LANES_MORE(s##3, more, (p)[3] + (i));        \
        LANES_MORE(s##4, more, (p)[4] + (i)), LANES_MORE(s##5, more, (p)[5] + (i));        \
        LANES_MORE(s##6, more, (p)[6] + (i)), LANES_MORE(s##7, more, (p)[7] + (i));        \
    } while (0)
#define EIGHT_SUMS(s, out)                                                                 \
    do {                                                                                   \
        const LANES all[8] = {s##0, s##1, s##2, s##3, s##4, s##5, s##6, s##7};             \
        const LANES sums = LANES_SUMS(all);                                                \
        for (int lane = 0; lane < 8; lane++) (out)[lane] = LANE(sums, lane);               \
    } while (0)

/* Where the rows from the r-th of m on start: eight, the last one again where they are fewer.
 * Returns how many there are. */
static inline int32_t eight_rows(const float *w, int32_t stride, const int32_t *ids, int32_t r,
                                 int32_t m, const float **p)
{
    const int32_t rows = m - r < 8 ? m - r : 8;
    for (int32_t k = 0; k < 8; k++) {
        const int32_t j = r + (k < rows ? k : rows - 1);
        p[k] = w + (int64_t) stride * (ids == NULL ? j : ids[j]);
    }
    return rows;
}

static inline int32_t trailing_zeros(uint64_t x)
{
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_ctzll(x);
#else
    int32_t n = 0;
    for (; !(x & 255); x >>= 8) n += 8;
    for (; !(x & 1); x >>= 1) n++;
    return n;
#endif
}

/* exp(x) for x <= 88, to 2 units in the last place; 0 is 1e-38. With x = n log 2 + r, |r| at most
 * half of log 2, it is 2^n times a polynomial in r: the one of Cephes (S. Moshier), expf. */
static inline float exponential(float x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: what is added to it loses its fraction */
    float n, r, p, power;
    int32_t bits;
    x = x > -87.0f ? x : -87.0f;
    n = (x * 1.44269504f + round) - round;
    r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * r) * r + r + 1.0f;
    bits = ((int32_t) n + 127) << 23;
    memcpy(&power, &bits, 4);
    return p * power;
}

/* Floats as integers in the same order; NaN becomes the lowest, and -0 is 0. */
static inline int32_t ordered(float x)
{
    int32_t u;
    x += 0.0f;
    memcpy(&u, &x, 4);
    u ^= (int32_t) ((uint32_t) (u >> 31) >> 1);
    return x == x ? u : INT32_MIN;
}

/* Which of 16 keys are above the bar, a bit each. */
static inline uint32_t above_baseline(const int32_t *key, int32_t bar)
{
    uint32_t mask = 0;
    for (int i = 0; i < 16; i++) mask |= (uint32_t) (key[i] > bar) << i;
    return mask;
}

/* The same of 16 floats, of which NaN is not above. */
static inline uint32_t over_baseline(const float *x, float bar)
{
    uint32_t mask = 0;
    for (int i = 0; i < 16; i++) mask |= (uint32_t) (x[i] > bar) << i;
    return mask;
}

/* Of 16 ids from t on, or of their positions if ids is NULL, those whose bits are set; returns how
 * many. */
static inline int32_t listed_baseline(uint32_t mask, const int32_t *ids, int32_t t, int32_t *out)
{
    int32_t found = 0;
    for (; mask; mask &= mask - 1) {
        const int32_t i = t + trailing_zeros(mask);
        out[found++] = ids == NULL ? i : ids[i];
    }
    return found;
}

/* Of 16 floats those that are not 0, with their positions from t on; returns how many. There is
 * room for 16 of each. */
static inline int32_t filled_baseline(const float *x, int32_t t, int32_t *idx, float *val)
{
    int32_t i, found = 0;
    for (i = 0; i < 16; i++) {
        idx[found] = t + i;
        val[found] = x[i];
        found += x[i] != 0.0f;
    }
    return found;
}

#define LEVEL(name) name##_baseline
#define LEVEL_NAME "baseline"
#include "kernels_impl.h"
#undef LEVEL
#undef LEVEL_NAME

#if (defined(__GNUC__) || defined(__clang__)) && (defined(__x86_64__) || defined(_M_X64))
#define HAVE_X86_LEVELS 1
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,prfchw"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,prfchw")
#endif
static inline uint32_t above_avx2(const int32_t *key, int32_t bar)
{
    const __m256i b = _mm256_set1_epi32(bar);
    const __m256i low = _mm256_loadu_si256((const __m256i *) key);
    const __m256i high = _mm256_loadu_si256((const __m256i *) (key + 8));
    return (uint32_t) _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(low, b))) |
           (uint32_t) _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(high, b))) << 8;
}

static inline uint32_t over_avx2(const float *x, float bar)
{
    const __m256 b = _mm256_set1_ps(bar);
    const __m256 low = _mm256_cmp_ps(_mm256_loadu_ps(x), b, _CMP_GT_OQ);
    const __m256 high = _mm256_cmp_ps(_mm256_loadu_ps(x + 8), b, _CMP_GT_OQ);
    return (uint32_t) _mm256_movemask_ps(low) | (uint32_t) _mm256_movemask_ps(high) << 8;
}

static inline int32_t listed_avx2(uint32_t mask, const int32_t *ids, int32_t t, int32_t *out)
{
    return listed_baseline(mask, ids, t, out);
}

static inline int32_t filled_avx2(const float *x, int32_t t, int32_t *idx, float *val)
{
    const __m256 any = _mm256_or_ps(_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8));
    /* The margins of an image are passed over at once. */
    if (!_mm256_movemask_ps(_mm256_cmp_ps(any, _mm256_setzero_ps(), _CMP_NEQ_UQ))) return 0;
    return filled_baseline(x, t, idx, val);
}

#define LEVEL(name) name##_avx2
#define LEVEL_NAME "avx2"
#include "kernels_impl.h"
#undef LEVEL
#undef LEVEL_NAME
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,fma,prfchw"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,fma,prfchw,prefer-vector-width=512")
#endif
static inline uint32_t above_avx512(const int32_t *key, int32_t bar)
{
    return _mm512_cmpgt_epi32_mask(_mm512_loadu_si512(key), _mm512_set1_epi32(bar));
}

static inline uint32_t over_avx512(const float *x, float bar)
{
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_set1_ps(bar), _CMP_GT_OQ);
}

static inline __m512i positions_avx512(int32_t t)
{
    const __m512i step = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_add_epi32(step, _mm512_set1_epi32(t));
}

/* Packed in registers: the instruction that packs to memory is slow on some processors. */
static inline int32_t listed_avx512(uint32_t mask, const int32_t *ids, int32_t t, int32_t *out)
{
    const __m512i all = ids == NULL ? positions_avx512(t) : _mm512_loadu_si512(ids + t);
    const int32_t found = __builtin_popcount(mask);
    _mm512_mask_storeu_epi32(
        out, (__mmask16) ((1u << found) - 1), _mm512_maskz_compress_epi32((__mmask16) mask, all));
    return found;
}

static inline int32_t filled_avx512(const float *x, int32_t t, int32_t *idx, float *val)
{
    const __m512 v = _mm512_loadu_ps(x);
    const __mmask16 mask = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    _mm512_storeu_si512(idx, _mm512_maskz_compress_epi32(mask, positions_avx512(t)));
    _mm512_storeu_ps(val, _mm512_maskz_compress_ps(mask, v));
    return __builtin_popcount(mask);
}

#define LEVEL(name) name##_avx512
#define LEVEL_NAME "avx512"
#include "kernels_impl.h"
#undef LEVEL
#undef LEVEL_NAME
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
