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

static void LEVEL(gather_axpy)(float a, const float *w, const int32_t *idx, int32_t n, float *out)
{
    int32_t t;
    if (idx == NULL) {
        SIMD
        for (t = 0; t < n; t++) out[t] += a * w[t];
    } else {
        SIMD
        for (t = 0; t < n; t++) out[t] += a * w[idx[t]];
    }
}

static void LEVEL(row_dots)(const float *rows, int32_t n, int32_t d, const float *q, float *out)
{
    int32_t j, t;
    if (d == 16) {  /* the default sketch: a constant length lets the compiler unroll */
        for (j = 0; j < n; j++) {
            const float *row = rows + (int64_t) j * 16;
            float s = 0.0f;
            SIMD_SUM(s)
            for (t = 0; t < 16; t++) s += row[t] * q[t];
            out[j] = s;
        }
        return;
    }
    for (j = 0; j < n; j++) {
        const float *row = rows + (int64_t) j * d;
        float s = 0.0f;
        SIMD_SUM(s)
        for (t = 0; t < d; t++) s += row[t] * q[t];
        out[j] = s;
    }
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
    int32_t t;
    if (idx == NULL) {
        SIMD
        for (t = 0; t < n; t++) {
            float g = delta * val[t];
            float total = state[2 * t + 1] + g * g;
            float v = mu * state[2 * t] + lr * g / sqrtf(total + ADAGRAD_EPSILON);
            state[2 * t] = v;
            state[2 * t + 1] = total;
            w[t] -= scale * v;
        }
    } else {
        /* Blocks: the gathers and the square roots vectorise, the stores stay scalar. */
        float v[16], total[16];
        int32_t b;
        for (t = 0; t < n; t += 16) {
            const int32_t m = n - t < 16 ? n - t : 16;
            SIMD
            for (b = 0; b < m; b++) {
                const int32_t i = idx[t + b];
                const float g = delta * val[t + b];
                total[b] = state[2 * i + 1] + g * g;
                v[b] = mu * state[2 * i] + lr * g / sqrtf(total[b] + ADAGRAD_EPSILON);
            }
            for (b = 0; b < m; b++) {
                const int32_t i = idx[t + b];
                state[2 * i] = v[b];
                state[2 * i + 1] = total[b];
                w[i] -= scale * v[b];
            }
        }
    }
}

static int32_t LEVEL(top)(const float *score, const int32_t *ids, int32_t n, int32_t m,
                          uint32_t *key, int32_t *out)
{
    int32_t t, kept = 0, above = 0, ties;
    uint32_t bar;
    if (m >= n) {
        for (t = 0; t < n; t++) out[t] = ids == NULL ? t : ids[t];
        return n;
    }
    if (m <= 0) return 0;
    SIMD
    for (t = 0; t < n; t++) key[t] = ordered(score[t]);
    bar = kth_largest(key, n, m);
    SIMD_SUM(above)
    for (t = 0; t < n; t++) above += ordered(score[t]) > bar;
    ties = m - above;
    for (t = 0; t < n; t++) {
        const uint32_t x = ordered(score[t]);
        const int tie = (x == bar) & (ties > 0);
        ties -= tie;
        out[kept] = ids == NULL ? t : ids[t];
        kept += (x > bar) | tie;
        if (kept == m) break;
    }
    return kept;
}

static const lsh_kernels LEVEL(table) = {
    LEVEL_NAME, LEVEL(dot), LEVEL(axpy), LEVEL(gather_axpy), ROW_DOTS,
    LEVEL(max_abs), LEVEL(sum_squares), LEVEL(sgd), LEVEL(adagrad), LEVEL(top),
};
