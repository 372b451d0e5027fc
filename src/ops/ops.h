/* ops: the operations of graphs. An op row (quern__op) has the partitionings of an op, its gradient
 * as nodes, and a simple reference kernel that accepts any dtype and computes in double. The
 * builders below check shapes and add nodes; layers, losses, metrics and optimizers are written
 * with them. The planner chooses fast kernels from module kernels.
 *
 * Shapes broadcast as in NumPy. A dynamic dimension -k is compatible with -k and 1 only.
 * Comparisons return 0 or 1 as float32. Builders accept id 0 and return 0 after an error; the graph
 * keeps the error. */
#ifndef QUERN__OPS_H
#define QUERN__OPS_H

#include "attributes.h"
#include "graph/graph.h"

/* ---- arguments of a kernel ---- */

/* The state of a step that is the same for all its calls. */
typedef struct quern__run {
    int64_t batch;        /* records                                                             */
    int64_t epoch, first; /* epoch from 0, and index of the batch's first record in it, for counters
                             of random numbers */
    uint64_t seed;        /* of the run */
    struct quern__fault *fault;
} quern__run;

typedef struct quern__call {
    const struct quern__op *op;
    const quern__attr *attr;
    int32_t n_in, n_out;
    quern_tensor *in, *out; /* shapes for the present batch size, and addresses */
    int32_t
        axis; /* of output 0: [begin, end) is along this axis; -1: the call is not partitioned */
    int32_t order; /* index of the node in the plan */
    int64_t panel; /* width of the column blocks of the arrays in `panelled`; 0: none */
    /* arrays in the blocked layout: bit i: input i; bit 16 + k: output k. The blocks of the call
     * are their column blocks */
    uint32_t panelled;
    const char *scope; /* layer, for messages */
    const quern__run *run;
} quern__call;

/* Computes the part [begin, end) along the call's axis, or everything when axis is -1. Returns 0,
 * or a negative status after a call of quern__call_fault. Runs on any thread and does not allocate.
 */
typedef int quern__kernel(const quern__call *call, int64_t begin, int64_t end);

/* The first invalid number of a step: the first by node, then by record, on any thread. */
typedef struct quern__fault {
    int lock, code, order;
    int64_t record;
    double value, limit;
    const char *what, *scope; /* part of the message, such as "label"; the scope of the node */
} quern__fault;
/* Reports a fault; the earliest one stays. Returns `code`. */
int quern__call_fault(const quern__call *call, int code, int64_t record, double value, double limit,
                      const char *what);

/* The row that element i of an array of indices selects; -1 and a fault when it is out of range. */
int64_t quern__call_row(const quern__call *call, const quern_tensor *ids, int64_t i, int64_t rows);

/* Element i, in C order, of an array of any dtype. */
double quern__get(const quern_tensor *t, int64_t i);
/* The same as an exact integer. Returns false when it is not an integer, or a float above 2^24,
 * where float32 is not exact. */
bool quern__whole_at(const quern_tensor *t, int64_t i, int64_t *out);
void quern__set(quern_tensor *t, int64_t i, double value);
/* The elements of output 0 that a call computes: `outer` runs of `length` consecutive elements,
 * `stride` apart, the first at `start`. */
typedef struct quern__part {
    int64_t outer, length, stride, start;
} quern__part;
quern__part quern__call_part(const quern__call *call, const quern_shape *shape, int64_t begin,
                             int64_t end);
/* The rows and columns of an array as a matrix: all axes but the last count as rows. */
static inline void quern__as_matrix(const quern_shape *s, int64_t *rows, int64_t *columns)
{
    *rows = 1;
    for (int i = 0; i + 1 < s->rank; i++)
        *rows *= s->dims[i];
    *columns = s->dims[s->rank - 1];
}

/* ---- op rows ---- */

/* How a node can be partitioned into blocks for different threads (bits of `ways`). */
enum {
    QUERN__WAY_WHOLE = 0,    /* not at all    */
    QUERN__WAY_ELEMENTS = 1, /* along any axis; inputs are read at the same (broadcast) indices */
    QUERN__WAY_ROWS = 2, /* along axis 0; inputs with the same axis 0 are read at the same rows */
    QUERN__WAY_COLUMNS =
        4, /* along the last axis; inputs with the same last axis at the same columns  */
    QUERN__WAY_PRODUCT = 8, /* a matrix product: rows or columns of the result */
    QUERN__WAY_EIGHTHS = 16 /* along axis 0, in eight blocks; each reads all of every input */
};

typedef struct quern__op {
    const char *name;
    /* The possible partitionings of this node. */
    int (*ways)(const quern__graph *g, const quern__node *node);
    /* Adds the nodes of the gradient: dy[k] is the gradient of output k (0: none); dx[i] gets that
     * of input i (0: none). NULL: the op does not have a gradient. */
    void (*gradient)(quern__graph *g, const quern__node *node, const quern__id *dy, quern__id *dx);
    quern__kernel *reference;
    /* The number of multiplications, for the estimate of its time. NULL: the time depends on the
     * bytes that it reads and writes. */
    double (*work)(const quern__attr *attr, const quern_shape *in, const quern_shape *out);
    bool view;       /* output 0 is input 0 in another shape, without a computation */
    bool in_place;   /* output 0 can have the memory of input 0 when both have the same size */
    uint32_t inner;  /* bit k: output k is internal to the kernel, in a layout of its own */
    uint32_t whole;  /* bit i: every block reads all of input i, for any shape */
    int32_t slice;   /* records per block; 0: the default */
    int32_t updates; /* outputs 0 … updates - 1 are written to the variables that are inputs 0 …
                        updates - 1 */
} quern__op;

/* The rows. Code that asks which op a node applies compares its address: node->op ==
 * &quern__op_matmul. */
#define OP(NAME) extern const quern__op quern__op_##NAME;
#include "op_rows.def"
#undef OP
/* All rows; NULL ends them. For tests, documentation and doctor. */
extern const quern__op *const quern__ops[];
const quern__op *quern__op_of(const quern__graph *g,
                              quern__id id); /* the op that computes the value; NULL for leaves */

/* ---- elementwise builders (elementwise.c) ---- */

/* Unary functions, rows of functions.def, with up to three parameters. */
enum {
#define UNARY(NAME, ...) QUERN__##NAME,
#define BINARY(...)
#include "functions.def"
#undef UNARY
#undef BINARY
    QUERN__UNARY_COUNT
};
enum {
#define UNARY(...)
#define BINARY(NAME, ...) QUERN__##NAME,
#include "functions.def"
#undef UNARY
#undef BINARY
    QUERN__BINARY_COUNT
};
const char *quern__unary_name(int function);
const char *quern__binary_name(int function);
quern__id quern__unary(quern__graph *g, int function, quern__id x, double a, double b, double c);
/* A function without parameters. */
static inline quern__id quern__unary_of(quern__graph *g, int function, quern__id x)
{
    return quern__unary(g, function, x, 0, 0, 0);
}
static inline quern__id quern__square(quern__graph *g, quern__id x)
{
    return quern__unary_of(g, QUERN__SQUARE, x);
}
static inline quern__id quern__sqrt(quern__graph *g, quern__id x)
{
    return quern__unary_of(g, QUERN__SQRT, x);
}
/* 1 - x */
static inline quern__id quern__one_minus(quern__graph *g, quern__id x)
{
    return quern__unary(g, QUERN__AFFINE, x, -1, 1, 0);
}
quern__id quern__binary(quern__graph *g, int function, quern__id a, quern__id b);
/* a where `condition` is not 0, otherwise b; all three broadcast. */
quern__id quern__select(quern__graph *g, quern__id condition, quern__id a, quern__id b);
quern__id quern__cast(quern__graph *g, quern__id x, int dtype);

/* Short names of frequent functions. */
quern__id quern__add2(quern__graph *g, quern__id a, quern__id b);
quern__id quern__sub2(quern__graph *g, quern__id a, quern__id b);
quern__id quern__mul2(quern__graph *g, quern__id a, quern__id b);
quern__id quern__div2(quern__graph *g, quern__id a, quern__id b);
quern__id quern__scale(quern__graph *g, quern__id x, double factor); /* x * factor, in x's dtype */
quern__id quern__shift(quern__graph *g, quern__id x, double term);   /* x + term                 */

/* ---- shapes (shape.c) ---- */
const quern_shape *quern__shape_of(const quern__graph *g, quern__id id);
/* same number of elements; the batch dimension stays */
quern__id quern__reshape(quern__graph *g, quern__id x, const quern_shape *shape);
quern__id quern__broadcast(quern__graph *g, quern__id x, const quern_shape *shape);
quern__id quern__transpose(quern__graph *g, quern__id x, const int *permutation);
/* axis >= 0, without the batch axis when it is dynamic */
quern__id quern__concat(quern__graph *g, const quern__id *x, int n, int axis);
/* x with `value`, a scalar, `before` times before the elements of an axis and `after` times after
 * them; 0 or less: none */
quern__id quern__pad(quern__graph *g, quern__id x, int axis, int64_t before, int64_t after,
                     quern__id value);
quern__id quern__slice(quern__graph *g, quern__id x, int axis, int64_t begin, int64_t size);
quern__id quern__reverse(quern__graph *g, quern__id x, int axis); /* axis >= 1 */
/* The same array with another first dimension: a dynamic one becomes the fixed batch size
 * `records`, or the other way round. */
quern__id quern__rebatch(quern__graph *g, quern__id x, int64_t records);
/* Rows of a matrix by index (any dtype): (…) to (…, C). An index out of range is QUERN_INVALID with
 * record and index. */
quern__id quern__gather(quern__graph *g, quern__id table, quern__id ids);
/* A table (count, C) of the sums of the rows (…, C) at the indices (…): the inverse of gather. */
quern__id quern__scatter(quern__graph *g, quern__id ids, quern__id rows, int64_t count);
/* Whether x is a sparse gradient: a table of added rows, as the gradient of a gathered table. The
 * second function applies a unary function to each row before the rows are added; a dense x is
 * transformed as a whole. Keras on TensorFlow squares and clips such gradients row by row
 * (tf.IndexedSlices). */
bool quern__scattered(const quern__graph *g, quern__id x);
quern__id quern__each_row(quern__graph *g, quern__id x, int function, double a, double b);
/* x times a scalar value; a sparse gradient stays sparse. */
quern__id quern__scaled_rows(quern__graph *g, quern__id x, quern__id factor);
quern__id quern__iota(quern__graph *g, int64_t n); /* 0, 1, … n-1, float32 */
quern__id quern__stop_gradient(quern__graph *g, quern__id x);

/* ---- lookup (lookup.c) ---- */
/* An object that maps `n` elements of each array of `in`, from index `at` on, to numbers in `out`.
 * It runs on any thread and does not allocate. Returns 0, or QUERN_NOTFOUND with a static string
 * `why`. */
typedef struct quern__look {
    int (*look)(const void *self, const quern_tensor *in, int64_t at, int64_t n, float *out,
                const char **why);
    const void *self;
} quern__look;
/* Maps `taken` elements of the n arrays of x (numbers or strings of the same shape) to `given`
 * numbers each; the result is (B, …) of that shape. Borrows `look`. */
quern__id quern__lookup(quern__graph *g, const quern__id *x, int n, const quern__look *look,
                        int64_t taken, int64_t given, const quern_shape *shape);

/* ---- reductions (reduce.c) ---- */
enum { QUERN__SUM, QUERN__MEAN, QUERN__REDUCE_MAX, QUERN__REDUCE_MIN };
/* Reduces over the axes of the bit mask (bit i: axis i; ~0u: all). Sums are in double, in a fixed
 * order. The mean of no elements is 0. */
quern__id quern__reduce(quern__graph *g, int what, quern__id x, uint32_t axes, bool keepdims);
/* Index of the maximum of the last axis, the first of equals, as float32. Removes the axis. */
quern__id quern__argmax(quern__graph *g, quern__id x);
/* Whether the score at each row's label is among its k largest, as float32 0 or 1 (Keras: ties
 * count; a score that is not finite is not among them). scores (…, classes), labels (…). */
quern__id quern__in_top_k(quern__graph *g, quern__id scores, quern__id labels, int64_t k);

/* ---- matrix products (matmul.c, batched.c) ---- */
/* The product of two matrices; all axes but the last count as rows; `ta` and `tb` transpose first.
 * The result has a's leading axes and b's columns; with `ta` it is a matrix. b must have rank 2
 * unless ta. */
quern__id quern__matmul(quern__graph *g, quern__id a, quern__id b, bool ta, bool tb);
/* Packed B blocks of a matrix or of its transpose, for kernels that read it often: (blocks, rows,
 * 32). It does not have a gradient. */
quern__id quern__pack(quern__graph *g, quern__id matrix, bool transposed);

/* A product for each index of the leading axes, which a and b share: (…, m, k) and (…, k, n) to (…,
 * m, n). `ta` and `tb` exchange the last two axes first. */
quern__id quern__batched_matmul(quern__graph *g, quern__id a, quern__id b, bool ta, bool tb);

/* ---- order (sort.c) ---- */
/* The indices of the last axis in sorted order (float32); `down`: from the largest element on. */
quern__id quern__argsort(quern__graph *g, quern__id x, bool down);
/* The elements of the last axis at `places` (…, k). A negative index counts from the end; an index
 * outside gives NaN, without a gradient. */
quern__id quern__take_along(quern__graph *g, quern__id x, quern__id places);

/* ---- normalization of rows (normalize.c) ---- */
/* (x - mean) / sqrt(variance + epsilon) * gamma + beta over the last axis; gamma and beta 0: none.
 * Not centered: the mean counts as 0 (RMS normalization). */
quern__id quern__normalize(quern__graph *g, quern__id x, quern__id gamma, quern__id beta,
                           bool centred, double epsilon);

/* ---- images (convolve.c, depthwise.c, pool.c, batch_normalize.c) ---- */
/* The windows over one to three spatial axes, aligned to the right: with two axes, axis 0 has
 * kernel 1 and out 1. Kernel position k of window o is at o * stride + k * dilation - before.
 * Outside of the image it counts as 0; pooling ignores it. */
typedef struct quern__frame {
    int axes;
    int64_t kernel[3], stride[3], dilation[3], before[3],
        out[3]; /* stride 0: pooling windows that divide the image evenly */
} quern__frame;
/* Cross-correlation, as Keras's convolutions: x (B, space, C) with w (kernel, C, filters). */
quern__id quern__convolve(quern__graph *g, quern__id x, quern__id w, const quern__frame *f);
/* Its input gradient for an image with spatial sizes `in` (aligned to the right): y (B, out,
 * filters) to (B, in, C). Transposed convolutions compute it. */
quern__id quern__convolve_back(quern__graph *g, quern__id y, quern__id w, const quern__frame *f,
                               const int64_t in[3]);
/* Depthwise convolution: w (kernel, C). */
quern__id quern__depthwise(quern__graph *g, quern__id x, quern__id w, const quern__frame *f);
/* The maximum or mean of each window, per channel, over the elements inside the image. The gradient
 * of a maximum flows to its first occurrence, as in TensorFlow. */
quern__id quern__pool(quern__graph *g, quern__id x, bool mean, const quern__frame *f);
/* (x - mean) / sqrt(variance + epsilon) * gamma + beta per channel (the last axis) over all other
 * axes; gamma and beta 0: none. `moments` gets (2, C): mean and variance of the batch, without a
 * gradient. */
quern__id quern__batch_normalize(quern__graph *g, quern__id x, quern__id gamma, quern__id beta,
                                 double epsilon, quern__id *moments);

/* ---- attention (attention.c) ---- */
typedef struct quern__attended {
    quern__id q, k, v; /* (B, T, heads * d), (B, S, shared * d), (B, S, shared * e) */
    quern__id mask;    /* (B, heads, T, S), each that or 1: 0 masks a key; id 0: no mask */
    quern__id offset;  /* causal: query i sees keys up to offset + i; id 0: up to i */
    int heads, shared; /* heads of q; of k and v, a divisor of heads */
    bool causal,
        zeros; /* zeros: the result where all keys are masked; otherwise the mean of all values */
    double scale;   /* of the scores   */
    double dropout; /* dropout rate of the attention weights */
    uint64_t seed;  /* of dropout  */
} quern__attended;
/* softmax(scale q kᵀ) v of each head: (B, T, heads * e). */
quern__id quern__attention(quern__graph *g, const quern__attended *a);

/* ---- classes (softmax.c) ---- */
quern__id quern__softmax(quern__graph *g, quern__id x);     /* over the last axis */
quern__id quern__log_softmax(quern__graph *g, quern__id x); /* over the last axis */
quern__id quern__sparsemax(quern__graph *g, quern__id x);   /* over the last axis */
/* -log softmax(logits)[label] per row: (…) from labels (…) of any dtype and logits (…, classes). A
 * label out of range is QUERN_INVALID with record and label. Rows with the label `ignore` give 0
 * (Keras: ignore_class). */
#define QUERN__NO_LABEL INT64_MIN
quern__id quern__sparse_crossentropy(quern__graph *g, quern__id labels, quern__id logits,
                                     int64_t ignore);
/* -sum(targets * log softmax(logits)) over the last axis. */
quern__id quern__crossentropy(quern__graph *g, quern__id targets, quern__id logits);
/* 1 at the index of the label, otherwise 0: (…, depth) float32. A label out of range is an error
 * with `check`; otherwise its row is 0. */
quern__id quern__one_hot(quern__graph *g, quern__id labels, int64_t depth, bool check);

/* ---- losses over sequences and batches (ctc.c, circle.c) ---- */
/* Keras's ctc: labels (B, L), padded with 0, and logits (B, T, classes), of which class 0 is blank,
 * to (B). Infinite when the steps are too few for the labels. */
quern__id quern__ctc(quern__graph *g, quern__id labels, quern__id logits);
/* Keras's circle: labels (B) and embeddings (B, C) to (B). alone: a record does not form a pair
 * with itself. */
quern__id quern__circle(quern__graph *g, quern__id labels, quern__id embeddings, double gamma,
                        double margin, bool alone);

/* ---- counts (tally.c) ---- */
/* Thresholds: any; i / (n - 1) in 0 … 1, which is fast; the same with the first below 0 and the
 * last above 1. */
typedef enum quern__thresholds {
    QUERN__THRESHOLDS_ANY,
    QUERN__THRESHOLDS_EVEN,
    QUERN__THRESHOLDS_OPEN
} quern__thresholds;
/* True positives, false positives, true negatives, false negatives of prediction > threshold: (4,
 * thresholds, labels) float64. The labels of the last axis count separately or together. `weights`
 * (0: none) broadcast. */
quern__id quern__tally(quern__graph *g, quern__id truth, quern__id prediction, quern__id weights,
                       quern__id thresholds, quern__thresholds how, bool by_label);
/* The confusion matrix (truth, prediction) float64. Labels out of range and the truth `ignore`
 * (QUERN__NO_LABEL: none) do not count. `whole`: labels and weights are truncated to integers.
 * `weights`: a scalar or one per label; 0: none. */
quern__id quern__confusion(quern__graph *g, quern__id truth, quern__id prediction,
                           quern__id weights, int64_t classes, int64_t ignore, bool whole);
/* The k largest elements of each row, the first of equals; the others become -1e10. */
quern__id quern__keep_top(quern__graph *g, quern__id x, int64_t k);

/* ---- random (random.c) ---- */
/* Keras's dropout: 0 with probability `rate`, other elements divided by 1 - rate. The mask is not
 * stored: it is a function of the op's seed, the run, the epoch, the record in the epoch and the
 * element. `shared`: bit mask of axes along which all elements share one random number (noise_shape
 * 1). */
quern__id quern__dropout(quern__graph *g, quern__id x, double rate, uint64_t seed, uint32_t shared);

/* Standard normal numbers in the shape of x, with the same kind of counter. */
quern__id quern__noise(quern__graph *g, quern__id x, uint64_t seed);

/* ---- maps of records (each.c) ---- */
/* The counter of a record's random numbers; the k-th is uniform in [0, 1). */
typedef struct quern__draws {
    quern__random_key key;
    uint64_t record, base;
} quern__draws;
static inline double quern__drawn(const quern__draws *d, uint64_t k)
{
    return quern__random_uniform(d->key, d->record, d->base + k);
}
/* An object that maps a record, with `scratch` elements of memory. It runs on any thread and does
 * not allocate. */
typedef struct quern__each {
    void (*make)(const void *self, quern__draws draws, const float *in, float *out, float *scratch);
    const void *self;
    int64_t scratch;
    uint64_t seed;
} quern__each;
/* Maps each record of x (float32) to (B, …) of that shape. Borrows `each`. It does not have a
 * gradient; needing one is an error. */
quern__id quern__each_record(quern__graph *g, quern__id x, const quern__each *each,
                             const quern_shape *shape);

/* ---- updates of variables (update.c) ---- */
/* Writes x to the variable in this step, after all reads of the old content and after the writes of
 * earlier nodes. Returns the new content. */
quern__id quern__assign(quern__graph *g, quern__variable *v, quern__id x);
/* The last new content of a variable among the nodes so far; 0: none. */
quern__id quern__assigned(const quern__graph *g, const quern__variable *v);
/* Writes x (B, T, …) to a variable (B, capacity, …) at index `position` (a scalar) of its second
 * axis. Returns the new content. A fault when it does not fit. */
quern__id quern__append(quern__graph *g, quern__variable *v, quern__id position, quern__id x);
/* One optimizer step of one variable. The slots are those of Keras; `rate` is a scalar value (after
 * schedule), `iteration` the number of earlier steps. Decoupled weight decay comes first: var -=
 * rate * decay * var. */
quern__id quern__sgd(quern__graph *g, quern__variable *v, quern__id gradient, quern__id rate,
                     quern__variable *momentum, double m, bool nesterov, double decay);
/* `squares`: the squared gradient where it differs from gradient * gradient (sparse gradients); 0:
 * it does not. */
quern__id quern__rmsprop(quern__graph *g, quern__variable *v, quern__id gradient, quern__id squares,
                         quern__id rate, quern__variable *velocity, quern__variable *momentum,
                         quern__variable *average, double rho, double m, double epsilon,
                         double decay);
quern__id quern__adam(quern__graph *g, quern__variable *v, quern__id gradient, quern__id squares,
                      quern__id rate, quern__id iteration, quern__variable *m,
                      quern__variable *velocity, quern__variable *maximum, double beta_1,
                      double beta_2, double epsilon, double decay);

#endif
