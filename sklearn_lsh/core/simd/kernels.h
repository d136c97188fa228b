/* The arithmetic of a layer, once per instruction set.
 *
 * Every vector is float32 and may start at any address. A pair (idx, val) with idx == NULL
 * is dense: val[t] belongs to coordinate t. Otherwise the indices are distinct.
 */
#ifndef SKLEARN_LSH_KERNELS_H
#define SKLEARN_LSH_KERNELS_H

#include <stdint.h>

/* Coordinates in a run: half a cache line. Runs start at multiples of it, so that where rows
 * start at one, too, no run crosses a line. */
#define LSH_RUN 8
/* Runs that a vector of n entries may take at most, lest single entries be faster. */
#define LSH_MOST_RUNS(n) ((n) - (n) / 4)

/* What a per-weight optimizer needs to know about one row's update. */
typedef struct {
    float delta;          /* gradient at the row's pre-activation */
    float learning_rate;
    float momentum;
    float inverse_scale;  /* stored weight = weight * inverse_scale */
} lsh_step;

typedef struct {
    const char *level;
    /* sum_t val[t] * w[idx[t]] */
    float (*dot)(const int32_t *idx, const float *val, int32_t n, const float *w);
    /* out[r] = sum_t val[t] * row[idx[t]] for m rows of w, which are stride floats apart: those
     * numbered ids, or the first ones if ids is NULL. Not for dense val. Rows are added up
     * side by side, each in the order of t, so a row's sum depends on nothing but the row. */
    void (*gather_dots)(const float *w, int32_t stride, const int32_t *ids, int32_t m,
                        const int32_t *idx, const float *val, int32_t n, float *out);
    /* The same for a vector of n runs, LSH_RUN coordinates each from run[t] on. A coordinate
     * that two runs cover is zero in one of them. */
    void (*run_dots)(const float *w, int32_t stride, const int32_t *ids, int32_t m,
                     const int32_t *run, const float *val, int32_t n, float *out);
    /* w[idx[t]] += a * val[t] */
    void (*axpy)(float a, const int32_t *idx, const float *val, int32_t n, float *w);
    /* Write a vector of ascending indices below width, at least LSH_RUN, as runs. Returns how
     * many, or 0 if it would be more than most; run_val has room for one more. */
    int32_t (*find_runs)(const int32_t *idx, const float *val, int32_t n, int32_t width,
                         int32_t most, int32_t *run, float *run_val);
    /* w[run[r] + b] += a[t] * val[r * LSH_RUN + b], for m runs, in each of n rows of w, which are
     * stride floats apart: the t-th is that numbered idx[t]; idx NULL: the first n */
    void (*run_outer)(const int32_t *idx, const float *a, int32_t n, const int32_t *run,
                      const float *val, int32_t m, float *w, int32_t stride);
    /* out[t * LSH_RUN + b] = sum_r a[r] * row[run[t] + b] over the n rows of w numbered ids */
    void (*run_pull_back)(const float *w, int32_t stride, const int32_t *ids, const float *a,
                          int32_t n, const int32_t *run, int32_t m, float *out);
    /* out[t] = sum_r a[r] * row[idx[t]] over the n rows of w numbered ids, for m indices */
    void (*pull_back)(const float *w, int32_t stride, const int32_t *ids, const float *a,
                      int32_t n, const int32_t *idx, int32_t m, float *out);
    /* out[t] = rows[ids[t]] . q for n rows of d floats; ids NULL: the first n */
    void (*row_dots)(const float *rows, const int32_t *ids, int32_t n, int32_t d,
                     const float *q, float *out);
    /* out[i] += sum_t val[t] * rows[idx[t]][i] for i < d, of n rows that are stride floats
     * apart; idx NULL: the first n */
    void (*row_sums)(const float *rows, int32_t stride, int32_t d, const int32_t *idx,
                     const float *val, int32_t n, float *out);
    /* out[t] = exp(z[t] - highest), and their sum; no z is above highest */
    double (*exponentials)(const float *z, float highest, int32_t n, float *out);
    /* out[t] = 1 / (1 + exp(-z[t])), and the sum of log(1 + exp(z[t])) */
    double (*sigmoids)(const float *z, int32_t n, float *out);
    float (*max_abs)(const float *x, int32_t n);
    float (*sum_squares)(const float *x, int32_t n);
    /* v = momentum v + lr g; w -= v, with state[i] = v */
    void (*sgd)(const lsh_step *s, const int32_t *idx, const float *val, int32_t n,
                float *w, float *state);
    /* G += g^2; v = momentum v + lr g / sqrt(G + eps); w -= v, with state[2i] = v, [2i+1] = G */
    void (*adagrad)(const lsh_step *s, const int32_t *idx, const float *val, int32_t n,
                    float *w, float *state);
    /* Write the ids of the m highest scores, in the order met, and return how many that is
     * (n if m >= n). Ties go to the first met, a NaN ranks lowest. ids NULL stands for
     * 0..n-1; key is scratch of n; out holds at least m and may be ids. */
    int32_t (*top)(const float *score, const int32_t *ids, int32_t n, int32_t m,
                   int32_t *key, int32_t *out);
    /* Write the positions at which x exceeds the bar, and return how many; out holds n. */
    int32_t (*exceeding)(const float *x, int32_t n, float bar, int32_t *out);
    /* Write the positions and values of what is not 0, and return how many; idx and val hold n. */
    int32_t (*entries)(const float *x, int32_t n, int32_t *idx, float *val);
    /* Sort n ids below n_nodes and drop repeated ones; returns how many are left. bits has a bit
     * for each node and one for each 64 of them (LSH_SORT_WORDS), all 0 before and after. */
    int32_t (*sort)(int32_t *ids, int32_t n, int32_t n_nodes, uint64_t *bits);
} lsh_kernels;

#define LSH_SORT_WORDS(n_nodes) (((n_nodes) >> 6) + ((n_nodes) >> 12) + 2)

/* The table in use. Set once at import, and by the tests. */
extern lsh_kernels lsh_active;

/* Number of levels this processor can run, from plain to widest; fills names[] (up to 4). */
int lsh_levels(const char **names);
/* Switch to a level by name: 0, or -1 if it is unknown here. */
int lsh_set_level(const char *name);

#endif
