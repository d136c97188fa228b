/* The text of the kernels. kernels.c includes it once per instruction set, with LEVEL(name)
 * naming the copy; "omp simd" lets the compiler reorder the sums it vectorises. */

static float LEVEL(dot)(const int32_t *idx, const float *val, int32_t n, const float *w)
{
    float s = 0.0f;
    int32_t t;
    if (idx == NULL) {
        SIMD_SUM(s)
        for (t = 0; t < n; t++) s += val[t] * w[t];
    } else {
        SIMD_SUM(s)
        for (t = 0; t < n; t++) s += val[t] * w[idx[t]];
    }
    return s;
}

static void LEVEL(gather_dots)(const float *w, int32_t stride, const int32_t *ids, int32_t m,
                               const int32_t *idx, const float *val, int32_t n, float *out)
{
    int32_t r, k, t;
    for (r = 0; r < m; r += 8) {
        /* Eight rows at once share the loads of idx and val, and their cache misses overlap.
         * Each lane is filled by a plain load: gather instructions took half as long again. */
        const float *p[8];
        const int32_t rows = eight_rows(w, stride, ids, r, m, p);
        LANES s = LANES_ZERO;
        for (t = 0; t < n; t++) {
            const int32_t i = idx[t];
            LANES_ADD(s, LANES_FILLED(val[t]), p, i);
        }
        for (k = 0; k < rows; k++) out[r + k] = LANE(s, k);
    }
}

static void LEVEL(run_dots)(const float *w, int32_t stride, const int32_t *ids, int32_t m,
                            const int32_t *run, const float *val, int32_t n, float *out)
{
    int32_t r, k, t;
    for (r = 0; r < m; r += 8) {
        /* Eight rows at once: a sum waits for its last addition longer than one takes. */
        const float *p[8];
        const int32_t rows = eight_rows(w, stride, ids, r, m, p);
        float sum[8];
        EIGHT_LANES(s);
        for (t = 0; t < n; t++) EIGHT_MORE(s, LANES_AT(val + t * LSH_RUN), p, run[t]);
        EIGHT_SUMS(s, sum);
        for (k = 0; k < rows; k++) out[r + k] = sum[k];
    }
}

static void LEVEL(run_axpy)(float a, const int32_t *run, const float *val, int32_t n, float *w)
{
    int32_t t, b;
    for (t = 0; t < n; t++) {
        float *part = w + run[t];
        const float *x = val + t * LSH_RUN;
        SIMD
        for (b = 0; b < LSH_RUN; b++) part[b] += a * x[b];
    }
}

static void LEVEL(run_outer)(const int32_t *idx, const float *a, int32_t n, const int32_t *run,
                             const float *val, int32_t m, float *w, int32_t stride)
{
    int32_t t, r;
    for (t = 0; t < n; t++) {
        float *row = w + (int64_t) stride * (idx == NULL ? t : idx[t]);
        if (t + 1 < n) {
            /* Another core may have read these lines: ask for the next row's in time. */
            const float *next = w + (int64_t) stride * (idx == NULL ? t + 1 : idx[t + 1]);
            for (r = 0; r < m; r++) PREFETCH_TO_WRITE(next + run[r]);
        }
        LEVEL(run_axpy)(a[t], run, val, m, row);
    }
}

static int32_t LEVEL(find_runs)(const int32_t *idx, const float *val, int32_t n, int32_t width,
                                int32_t most, int32_t *run, float *run_val)
{
    /* No branch depends on where runs end, which no processor can guess: what follows the last run
     * is cleared again and again. */
    int32_t t, runs = 0, last = -1;
    if (most == 0) return 0;
    memset(run_val, 0, LSH_RUN * sizeof(float));
    for (t = 0; t < n; t++) {
        /* The last run ends with the vector: it may cover what an earlier one holds. */
        const int32_t aligned = idx[t] - idx[t] % LSH_RUN;
        const int32_t start = aligned < width - LSH_RUN ? aligned : width - LSH_RUN;
        const int32_t begins = start != last;
        float *out;
        if (begins & (runs == most)) return 0;
        runs += begins;
        out = run_val + (int64_t) (runs - 1) * LSH_RUN;
        out[idx[t] - start] = val[t];
        memset(out + LSH_RUN, 0, LSH_RUN * sizeof(float));
        run[runs - 1] = last = start;
    }
    return runs;
}

static void LEVEL(run_pull_back)(const float *w, int32_t stride, const int32_t *ids,
                                 const float *a, int32_t n, const int32_t *run, int32_t m,
                                 float *out)
{
    int32_t t, r, k, b;
    for (t = 0; t < m; t++) {
        /* Four sums: each waits for its last addition longer than one takes. */
        const LANES zero = LANES_ZERO;
        LANES s[4] = {zero, zero, zero, zero};
        const float *part = w + run[t];
        for (r = 0; r + 4 <= n; r += 4)
            for (k = 0; k < 4; k++)
                LANES_MORE(s[k], LANES_FILLED(a[r + k]), part + (int64_t) stride * ids[r + k]);
        for (; r < n; r++) LANES_MORE(s[0], LANES_FILLED(a[r]), part + (int64_t) stride * ids[r]);
        for (b = 0; b < LSH_RUN; b++)
            out[t * LSH_RUN + b] =
                (LANE(s[0], b) + LANE(s[1], b)) + (LANE(s[2], b) + LANE(s[3], b));
    }
}

static void LEVEL(axpy)(float a, const int32_t *idx, const float *val, int32_t n, float *w)
{
    int32_t t;
    if (idx == NULL) {
        SIMD
        for (t = 0; t < n; t++) w[t] += a * val[t];
    } else {
        /* Scalar stores: measured faster than AVX-512 scatter on the CPUs at hand. The
         * indices are distinct, so four read-modify-writes may overlap. */
        for (t = 0; t + 4 <= n; t += 4) {
            float *w0 = w + idx[t], *w1 = w + idx[t + 1];
            float *w2 = w + idx[t + 2], *w3 = w + idx[t + 3];
            const float v0 = *w0 + a * val[t], v1 = *w1 + a * val[t + 1];
            const float v2 = *w2 + a * val[t + 2], v3 = *w3 + a * val[t + 3];
            *w0 = v0, *w1 = v1, *w2 = v2, *w3 = v3;
        }
        for (; t < n; t++) w[idx[t]] += a * val[t];
    }
}

/* Adds to out[0..m), m <= 16, eight rows at a time: see gather_dots. */
static void LEVEL(pull_back_some)(const float *w, int32_t stride, const int32_t *ids,
                                  const float *a, int32_t n, const int32_t *idx, int32_t m,
                                  float *out)
{
    LANES sum[16];
    int32_t r, k, t;
    for (t = 0; t < m; t++) {
        const LANES zero = LANES_ZERO;
        sum[t] = zero;
    }
    for (r = 0; r < n; r += 8) {
        const float *p[8];
        LANES f;
        for (k = 0; k < 8; k++) {
            const int32_t j = r + k < n ? r + k : n - 1;
            p[k] = w + (int64_t) stride * (ids == NULL ? j : ids[j]);
            LANE(f, k) = r + k < n ? a[j] : 0.0f;
        }
        for (t = 0; t < m; t++) {
            const int32_t i = idx[t];
            LANES_ADD(sum[t], f, p, i);
        }
    }
    for (t = 0; t < m; t++)
        out[t] += ((LANE(sum[t], 0) + LANE(sum[t], 4)) + (LANE(sum[t], 1) + LANE(sum[t], 5))) +
                  ((LANE(sum[t], 2) + LANE(sum[t], 6)) + (LANE(sum[t], 3) + LANE(sum[t], 7)));
}

static void LEVEL(row_dots)(const float *rows, const int32_t *ids, int32_t n, int32_t d,
                            const float *q, float *out)
{
    int32_t j, t, k;
    for (j = 0; j < n; j += 8) {
        /* Eight rows at once: their cache misses overlap, their lanes are added up together. A
         * row's sum does not depend on the rows beside it, so the last ones are not an exception. */
        const float *p[8];
        const int32_t count = eight_rows(rows, d, ids, j, n, p);
        float sum[8];
        EIGHT_LANES(s);
        for (t = 0; t + 8 <= d; t += 8) EIGHT_MORE(s, LANES_AT(q + t), p, t);
        EIGHT_SUMS(s, sum);
        for (; t < d; t++)
            for (k = 0; k < 8; k++) sum[k] += q[t] * p[k][t];
        for (k = 0; k < count; k++) out[j + k] = sum[k];
    }
}

static void LEVEL(row_sums)(const float *rows, int32_t stride, int32_t d, const int32_t *idx,
                            const float *val, int32_t n, float *out)
{
    int32_t t, i, k;
    /* Four rows at once, so that sums are not read and written for each. */
    for (t = 0; t + 4 <= n; t += 4) {
        const float *r[4], *v = val + t;
        for (k = 0; k < 4; k++)
            r[k] = rows + (int64_t) stride * (idx == NULL ? t + k : idx[t + k]);
        SIMD
        for (i = 0; i < d; i++)
            out[i] += (v[0] * r[0][i] + v[1] * r[1][i]) + (v[2] * r[2][i] + v[3] * r[3][i]);
    }
    for (; t < n; t++)
        LEVEL(axpy)(val[t], NULL, rows + (int64_t) stride * (idx == NULL ? t : idx[t]), d, out);
}

static void LEVEL(pull_back)(const float *w, int32_t stride, const int32_t *ids, const float *a,
                             int32_t n, const int32_t *idx, int32_t m, float *out)
{
    int32_t t;
    for (t = 0; t < m; t++) out[t] = 0.0f;
    if (idx == NULL) {
        LEVEL(row_sums)(w, stride, m, ids, a, n, out);
        return;
    }
    for (t = 0; t < m; t += 16)
        LEVEL(pull_back_some)(w, stride, ids, a, n, idx + t, m - t < 16 ? m - t : 16, out + t);
}

/* Sums are made of blocks: of floats, short enough to be exact, and of blocks in double. */
static double LEVEL(exponentials)(const float *z, float highest, int32_t n, float *out)
{
    double total = 0.0;
    int32_t start, t;
    for (start = 0; start < n; start += 256) {
        const int32_t stop = n - start < 256 ? n : start + 256;
        float s = 0.0f;
        SIMD_SUM(s)
        for (t = start; t < stop; t++) {
            const float e = exponential(z[t] - highest);
            out[t] = e;
            s += e;
        }
        total += s;
    }
    return total;
}

static double LEVEL(sigmoids)(const float *z, int32_t n, float *out)
{
    double total = 0.0;
    int32_t start, t;
    for (start = 0; start < n; start += 32) {
        const int32_t stop = n - start < 32 ? n : start + 32;
        /* log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), and one logarithm of the product. */
        float s = 0.0f, factor[32];
        double product = 1.0;
        SIMD_SUM(s)
        for (t = start; t < stop; t++) {
            const float e = exponential(-fabsf(z[t])), f = 1.0f + e;
            out[t] = (z[t] > 0.0f ? 1.0f : e) / f;
            factor[t - start] = f;
            s += z[t] > 0.0f ? z[t] : 0.0f;
        }
        for (t = start; t < stop; t++) product *= factor[t - start];
        total += s + log(product);
    }
    return total;
}

static float LEVEL(max_abs)(const float *x, int32_t n)
{
    float m = 0.0f;
    int32_t t;
    SIMD_MAX(m)
    for (t = 0; t < n; t++) {
        float a = fabsf(x[t]);
        m = a > m ? a : m;
    }
    return m;
}

static float LEVEL(sum_squares)(const float *x, int32_t n)
{
    float s = 0.0f;
    int32_t t;
    SIMD_SUM(s)
    for (t = 0; t < n; t++) s += x[t] * x[t];
    return s;
}

static void LEVEL(sgd)(const lsh_step *s, const int32_t *idx, const float *val, int32_t n,
                       float *w, float *state)
{
    const float lr = s->learning_rate * s->delta, mu = s->momentum, scale = s->inverse_scale;
    int32_t t;
    if (idx == NULL) {
        SIMD
        for (t = 0; t < n; t++) {
            float v = mu * state[t] + lr * val[t];
            state[t] = v;
            w[t] -= scale * v;
        }
    } else {
        for (t = 0; t < n; t++) {
            int32_t i = idx[t];
            float v = mu * state[i] + lr * val[t];
            state[i] = v;
            w[i] -= scale * v;
        }
    }
}

static void LEVEL(adagrad)(const lsh_step *s, const int32_t *idx, const float *val, int32_t n,
                           float *w, float *state)
{
    const float lr = s->learning_rate, mu = s->momentum, scale = s->inverse_scale;
    const float delta = s->delta;
    ptrdiff_t t; /* 2 * t of an int32_t could wrap, for all that compilers know: no vectors */
    if (idx == NULL) {
        SIMD
        for (t = 0; t < n; t++) {
            float g = delta * val[t];
            float total = state[2 * t + 1] + g * g;
            float v = mu * state[2 * t] + lr * g / sqrtf(total + ADAGRAD_START);
            state[2 * t] = v;
            state[2 * t + 1] = total;
            w[t] -= scale * v;
        }
    } else {
        /* Blocks: the gathers and the square roots vectorise, the stores stay scalar. */
        float v[16], total[16];
        int32_t b;
        for (t = 0; t < n; t += 16) {
            const int32_t m = n - t < 16 ? (int32_t) (n - t) : 16;
            SIMD
            for (b = 0; b < m; b++) {
                const ptrdiff_t i = idx[t + b];
                const float g = delta * val[t + b];
                total[b] = state[2 * i + 1] + g * g;
                v[b] = mu * state[2 * i] + lr * g / sqrtf(total[b] + ADAGRAD_START);
            }
            for (b = 0; b < m; b++) {
                const ptrdiff_t i = idx[t + b];
                state[2 * i] = v[b];
                state[2 * i + 1] = total[b];
                w[i] -= scale * v[b];
            }
        }
    }
}

/* A bar with exactly m of the keys above it, or one that leaves m - *above places for keys
 * equal to it. lowest and highest are those of the keys; 1 <= m < n.
 *
 * Every step counts the keys above a guess, which vectors do fast; guesses by interpolation take
 * turns with halving, which bounds their number by 64. */
static int32_t LEVEL(bar)(const int32_t *key, int32_t n, int32_t m, int32_t lowest,
                          int32_t highest, int32_t *above)
{
    /* More than m keys are above low, at most m above high. */
    int64_t low = (int64_t) lowest - 1, high = highest;
    int32_t above_low = n, above_high = 0, step, t;
    for (step = 0; above_high < m && high - low > 1; step++) {
        const double share = (above_low - m + 0.5) / (above_low - above_high + 1.0);
        int64_t guess = low + (int64_t) ((step & 1 ? 0.5 : share) * (double) (high - low));
        int32_t bar, count = 0;
        guess = guess <= low ? low + 1 : guess >= high ? high - 1 : guess;
        bar = (int32_t) guess;
        SIMD_SUM(count)
        for (t = 0; t < n; t++) count += key[t] > bar;
        if (count > m)
            low = guess, above_low = count;
        else
            high = guess, above_high = count;
    }
    *above = above_high;
    return (int32_t) high;
}

static int32_t LEVEL(top)(const float *score, const int32_t *ids, int32_t n, int32_t m,
                          int32_t *key, int32_t *out)
{
    int32_t lowest = INT32_MAX, highest = INT32_MIN, kept = 0, t, above, ties, bar;
    if (m >= n) {
        for (t = 0; t < n; t++) out[t] = ids == NULL ? t : ids[t];
        return n;
    }
    if (m <= 0) return 0;
    SIMD_RANGE(lowest, highest)
    for (t = 0; t < n; t++) {
        const int32_t k = ordered(score[t]);
        key[t] = k;
        lowest = k < lowest ? k : lowest;
        highest = k > highest ? k : highest;
    }
    bar = LEVEL(bar)(key, n, m, lowest, highest, &above);
    ties = m - above;
    t = 0;
    if (ties == 0)
        for (; t + 16 <= n; t += 16)
            kept += LEVEL(listed)(LEVEL(above)(key + t, bar), ids, t, out + kept);
    for (; t < n && kept < m; t++) {
        const int tie = (key[t] == bar) & (ties > 0);
        ties -= tie;
        out[kept] = ids == NULL ? t : ids[t];
        kept += (key[t] > bar) | tie;
    }
    return kept;
}

static int32_t LEVEL(exceeding)(const float *x, int32_t n, float bar, int32_t *out)
{
    int32_t t, found = 0;
    for (t = 0; t + 16 <= n; t += 16)
        found += LEVEL(listed)(LEVEL(over)(x + t, bar), NULL, t, out + found);
    for (; t < n; t++) {
        out[found] = t;
        found += x[t] > bar;
    }
    return found;
}

static int32_t LEVEL(entries)(const float *x, int32_t n, int32_t *idx, float *val)
{
    int32_t t, found = 0;
    for (t = 0; t + 16 <= n; t += 16)
        found += LEVEL(filled)(x + t, t, idx + found, val + found);
    for (; t < n; t++) {
        idx[found] = t;
        val[found] = x[t];
        found += x[t] != 0.0f;
    }
    return found;
}

static int32_t LEVEL(sort)(int32_t *ids, int32_t n, int32_t n_nodes, uint64_t *bits)
{
    /* Of a million nodes hardly any are named: words that are not 0 have a bit, too. */
    const int32_t last = (n_nodes - 1) >> 12;
    uint64_t *words = bits + (n_nodes >> 6) + 1;
    int32_t t, s, kept = 0;
    for (t = 0; t < n; t++) {
        bits[ids[t] >> 6] |= (uint64_t) 1 << (ids[t] & 63);
        words[ids[t] >> 12] |= (uint64_t) 1 << (ids[t] >> 6 & 63);
    }
    for (s = 0; s <= last && kept < n; s++) {
        uint64_t some = words[s];
        words[s] = 0;
        for (; some; some &= some - 1) {
            const int32_t word = (s << 6) + trailing_zeros(some);
            uint64_t set = bits[word];
            bits[word] = 0;
            for (; set; set &= set - 1) ids[kept++] = (word << 6) + trailing_zeros(set);
        }
    }
    return kept;
}

static const lsh_kernels LEVEL(table) = {
    LEVEL_NAME, LEVEL(dot), LEVEL(gather_dots), LEVEL(run_dots), LEVEL(axpy), LEVEL(find_runs),
    LEVEL(run_outer), LEVEL(run_pull_back), LEVEL(pull_back), LEVEL(row_dots),
    LEVEL(row_sums), LEVEL(exponentials), LEVEL(sigmoids), LEVEL(max_abs), LEVEL(sum_squares),
    LEVEL(sgd), LEVEL(adagrad), LEVEL(top), LEVEL(exceeding), LEVEL(entries),
    LEVEL(sort),
};
