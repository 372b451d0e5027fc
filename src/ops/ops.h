/* ops: what can be computed. One row per op (quern__op): how it may be divided among threads, its gradient as nodes, and a slow,
 * obviously right reference kernel that takes any dtype and computes in double. The builders below check shapes and add nodes;
 * they are what layers, losses, metrics and optimizers are written in. Fast kernels are chosen by plan from the room kernels.
 *
 * Shapes broadcast as in NumPy. An open dimension (-k) only meets the same -k or 1. Comparisons give 0 or 1 as float32. */
#ifndef QUERN__OPS_H
#define QUERN__OPS_H

#include "graph/graph.h"

/* ---- what a kernel is given ---- */

/* What a run of a step knows: the same for every call of it. */
typedef struct quern__run {
    int64_t batch;        /* records                                                             */
    int64_t epoch, first; /* epoch from 0, and place of the first record in it: random addresses */
    uint64_t seed;        /* of the run                                                          */
    struct quern__fault *fault;
} quern__run;

typedef struct quern__call {
    const struct quern__op *op;
    const quern__attr *attr;
    int32_t n_in, n_out;
    quern_tensor *in, *out; /* closed shapes, resolved addresses                                       */
    int32_t axis;           /* of output 0, along which [begin, end) counts; -1: the call is not divided */
    int32_t order;          /* place of its node in the plan                                           */
    int64_t panel;          /* width of the panels in which matrices lie that `panelled` names; 0: none */
    uint32_t panelled;      /* bit i: input i; bit 16 + k: output k. The blocks of the call are the panels */
    const char *scope;      /* layer, for messages                                                     */
    const quern__run *run;
} quern__call;

/* Computes the part [begin, end) along the call's axis (all of it when axis is -1). 0, or a negative status told through
 * quern__call_fault. Runs on any thread; never allocates. */
typedef int quern__kernel(const quern__call *call, int64_t begin, int64_t end);

/* The first bad number of a step: first by node, then by record, whichever thread met it. */
typedef struct quern__fault {
    int lock, code, order;
    int64_t record;
    double value, limit;
    const char *what, *scope; /* "label %g is outside 0 … %g"-like parts; see step */
} quern__fault;
/* Notes a fault (the earliest wins); returns `code`. */
int quern__call_fault(const quern__call *call, int code, int64_t record, double value, double limit, const char *what);

/* The row that number i of an array names; -1 and a fault when there are not so many. */
int64_t quern__call_row(const quern__call *call, const quern_tensor *ids, int64_t i, int64_t rows);

/* A number of an array of any dtype, by its place in C order. */
double quern__get(const quern_tensor *t, int64_t i);
/* The same of a whole number, exactly; false where it is none, or a float too large for all of its whole neighbours to be floats
 * too (2^24). */
bool quern__whole_at(const quern_tensor *t, int64_t i, int64_t *out);
void quern__set(quern_tensor *t, int64_t i, double value);
/* The part of output 0 that a call computes, as runs of consecutive elements: `outer` runs of `length` elements, `stride` apart,
 * the first at `start`. */
typedef struct quern__part {
    int64_t outer, length, stride, start;
} quern__part;
quern__part quern__call_part(const quern__call *call, const quern_shape *shape, int64_t begin, int64_t end);
/* Rows and columns of an array taken as a matrix: all axes but the last count as rows. */
static inline void quern__as_matrix(const quern_shape *s, int64_t *rows, int64_t *columns)
{
    *rows = 1;
    for (int i = 0; i + 1 < s->rank; i++)
        *rows *= s->dims[i];
    *columns = s->dims[s->rank - 1];
}

/* ---- a row ---- */

/* How a node may be divided into blocks that are computed by different threads (bits of `ways`). */
enum {
    QUERN__WAY_WHOLE = 0,    /* not at all                                                              */
    QUERN__WAY_ELEMENTS = 1, /* along any axis; inputs are read at the same (broadcast) places           */
    QUERN__WAY_ROWS = 2,     /* along axis 0; inputs with the same axis 0 are read at the same rows      */
    QUERN__WAY_COLUMNS = 4,  /* along the last axis; inputs with the same last axis at the same columns  */
    QUERN__WAY_PRODUCT = 8,  /* a matrix product: rows or columns of the result                          */
    QUERN__WAY_EIGHTHS = 16  /* along axis 0, in eight blocks; each reads all of every input             */
};

typedef struct quern__op {
    const char *name;
    /* The ways of this node. */
    int (*ways)(const quern__graph *g, const quern__node *node);
    /* Adds the nodes of the gradient: dy[k] is the gradient of output k (0: none flows), dx[i] gets that of input i (0: none).
     * NULL: nothing flows back. */
    void (*gradient)(quern__graph *g, const quern__node *node, const quern__id *dy, quern__id *dx);
    quern__kernel *reference;
    /* How many products it adds up, for closed shapes: what its time is estimated by. NULL: it takes as long as reading and writing
     * its numbers does. */
    double (*work)(const quern__attr *attr, const quern_shape *in, const quern_shape *out);
    bool view;       /* output 0 is input 0 in another shape: nothing is computed            */
    bool in_place;   /* output 0 may lie where input 0 lies when both have the same size     */
    uint32_t inner;  /* bit k: output k is the kernel's own, in an order of its own          */
    uint32_t whole;  /* bit i: every block reads all of input i, whatever its shape          */
    int32_t slice;   /* records of a block; 0: the usual number                              */
    int32_t updates; /* outputs 0 … updates-1 are written into the variables inputs 0 … updates-1 */
} quern__op;

/* Every row, NULL at the end: for tests, documentation and doctor. */
extern const quern__op *const quern__ops[];
const quern__op *quern__op_of(const quern__graph *g, quern__id id); /* op that makes the value, NULL for leaves */

/* ---- builders: elementwise (unary.c, binary.c) ---- */

/* Functions of one number, rows of functions.def. Up to three parameters. */
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
quern__id quern__binary(quern__graph *g, int function, quern__id a, quern__id b);
/* Where `condition` is not 0 a, elsewhere b; all broadcast. */
quern__id quern__select(quern__graph *g, quern__id condition, quern__id a, quern__id b);
quern__id quern__cast(quern__graph *g, quern__id x, int dtype);

/* Short names of the usual ones. */
quern__id quern__add2(quern__graph *g, quern__id a, quern__id b);
quern__id quern__sub2(quern__graph *g, quern__id a, quern__id b);
quern__id quern__mul2(quern__graph *g, quern__id a, quern__id b);
quern__id quern__div2(quern__graph *g, quern__id a, quern__id b);
quern__id quern__scale(quern__graph *g, quern__id x, double factor); /* x * factor, in x's dtype */
quern__id quern__shift(quern__graph *g, quern__id x, double term);   /* x + term                 */

/* ---- shapes (shape.c) ---- */
const quern_shape *quern__shape_of(const quern__graph *g, quern__id id);
quern__id quern__reshape(quern__graph *g, quern__id x, const quern_shape *shape); /* same number of elements, open ones included */
quern__id quern__broadcast(quern__graph *g, quern__id x, const quern_shape *shape);
quern__id quern__transpose(quern__graph *g, quern__id x, const int *permutation);
quern__id quern__concat(quern__graph *g, const quern__id *x, int n, int axis); /* axis >= 0, not an open one */
quern__id quern__slice(quern__graph *g, quern__id x, int axis, int64_t begin, int64_t size);
quern__id quern__reverse(quern__graph *g, quern__id x, int axis); /* axis >= 1 */
/* The same array seen with another first dimension: an open one as the fixed number of records that every batch has, or back. */
quern__id quern__rebatch(quern__graph *g, quern__id x, int64_t records);
/* Rows of a matrix by their numbers (any type): (…) gives (…, width). A number outside is QUERN_INVALID naming record and number.
 */
quern__id quern__gather(quern__graph *g, quern__id table, quern__id ids);
/* Whether x is a table of rows that were added into their places, as the gradient of a gathered table is; and a function of one
 * number applied to each row before it is added (to x itself when it is no such table). Keras on TensorFlow squares and clips such
 * gradients so: row by row, not their sum (tf.IndexedSlices). */
bool quern__scattered(const quern__graph *g, quern__id x);
quern__id quern__each_row(quern__graph *g, quern__id x, int function, double a, double b);
/* x times a scalar value; a table of rows stays one. */
quern__id quern__scaled_rows(quern__graph *g, quern__id x, quern__id factor);
quern__id quern__iota(quern__graph *g, int64_t n); /* 0, 1, … n-1, float32 */
quern__id quern__stop_gradient(quern__graph *g, quern__id x);

/* ---- looking up (lookup.c) ---- */
/* What an object makes of `n` elements of each array of `in` from place `at` on: numbers in `out`. Any thread may ask; nothing
 * allocates. 0, or QUERN_NOTFOUND with `why`, which lasts. */
typedef struct quern__look {
    int (*look)(const void *self, const quern_tensor *in, int64_t at, int64_t n, float *out, const char **why);
    const void *self;
} quern__look;
/* `given` numbers for each `taken` elements of the n arrays of x (numbers or strings, all of one shape), as (records, …) of that
 * shape. Borrows `look`. */
quern__id quern__lookup(quern__graph *g, const quern__id *x, int n, const quern__look *look, int64_t taken, int64_t given,
                        const quern_shape *shape);

/* ---- sums (reduce.c) ---- */
enum { QUERN__SUM, QUERN__MEAN, QUERN__REDUCE_MAX, QUERN__REDUCE_MIN };
/* Over the axes of the bit mask (bit i: axis i; ~0u: all). Sums are in double, in a fixed order. A mean over no element is 0. */
quern__id quern__reduce(quern__graph *g, int what, quern__id x, uint32_t axes, bool keepdims);
/* Place of the largest of the last axis, the first of equals; float32. Drops the axis. */
quern__id quern__argmax(quern__graph *g, quern__id x);
/* Whether the number at each row's `label` place is among its k largest (Keras: ties count; a non-finite one is not in); float32 0
 * or 1. scores (…, classes), labels (…). */
quern__id quern__in_top_k(quern__graph *g, quern__id scores, quern__id labels, int64_t k);

/* ---- products (matmul.c) ---- */
/* a·b of two matrices, of which all axes but the last are taken together as rows; transposed first where asked.
 * Result: a's leading axes and b's columns; with `ta`, a matrix. b must have rank 2 unless ta. */
quern__id quern__matmul(quern__graph *g, quern__id a, quern__id b, bool ta, bool tb);
/* A matrix (or its transpose) as panels of 32 columns for kernels that read it often: (panels, rows, 32). No gradient flows. */
quern__id quern__pack(quern__graph *g, quern__id matrix, bool transposed);
extern const quern__op quern__op_pack;

/* a·b for each index of the leading axes, which both have: (…, m, k) and (…, k, n) to (…, m, n); the last two axes of either are
 * exchanged first where asked (batched.c). */
quern__id quern__batched_matmul(quern__graph *g, quern__id a, quern__id b, bool ta, bool tb);

/* ---- rows (normalize.c) ---- */
/* (x - mean) / sqrt(variance + epsilon) * gamma + beta over the last axis; gamma and beta 0: none. Not centred, the mean counts as
 * 0 (RMS normalisation). */
quern__id quern__normalize(quern__graph *g, quern__id x, quern__id gamma, quern__id beta, bool centred, double epsilon);

/* ---- images (convolve.c, depthwise.c, pool.c, batch_normalize.c) ---- */
/* How windows lie over one to three axes of space. Axes stand at the right: of two, axis 0 has kernel 1 and out 1. Place k of
 * window o is o * stride + k * dilation - before; outside of the image it counts as 0, and not at all when pooling. */
typedef struct quern__frame {
    int axes;
    int64_t kernel[3], stride[3], dilation[3], before[3], out[3]; /* stride 0: pooling windows that share the image evenly */
} quern__frame;
/* Correlation, as Keras's convolutions are: x (records, space, channels) by w (kernel, channels, filters). */
quern__id quern__convolve(quern__graph *g, quern__id x, quern__id w, const quern__frame *f);
/* Its gradient for x, of a space `in` (axes at the right): y (records, out, filters) gives (records, in, channels). It is what
 * transposed convolutions compute. */
quern__id quern__convolve_back(quern__graph *g, quern__id y, quern__id w, const quern__frame *f, const int64_t in[3]);
/* Each channel by itself: w (kernel, channels). */
quern__id quern__depthwise(quern__graph *g, quern__id x, quern__id w, const quern__frame *f);
/* The largest number, or the mean, of what each window has of the image, channel by channel. The slope of a largest number is the
 * first one's, as TensorFlow has it. */
quern__id quern__pool(quern__graph *g, quern__id x, bool mean, const quern__frame *f);
/* (x - mean) / sqrt(variance + epsilon) * gamma + beta by channel, the last axis, over all else; gamma and beta 0: none.
 * `moments` gets (2, channels): mean and variance of the batch, through which no gradient flows. */
quern__id quern__batch_normalize(quern__graph *g, quern__id x, quern__id gamma, quern__id beta, double epsilon, quern__id *moments);

/* ---- attention (attention.c) ---- */
typedef struct quern__attended {
    quern__id q, k, v;  /* (records, steps, heads * d), (records, keys, shared * d), (records, keys, shared * e) */
    quern__id mask;     /* (records, heads, steps, keys), each that or 1: not 0 where to look; 0: everywhere     */
    quern__id offset;   /* causal: query i sees keys up to offset + i; 0: up to i                                */
    int heads, shared;  /* heads of q; of k and v, which divide them                                             */
    bool causal, zeros; /* zeros: where a query may look nowhere; else the mean of all values                   */
    double scale;       /* of the scores                                                                        */
    double dropout;     /* rate at which shares are left out                                                    */
    uint64_t seed;      /* of dropout                                                                           */
} quern__attended;
/* softmax(scale q kᵀ) v of each head: (records, steps, heads * e). */
quern__id quern__attention(quern__graph *g, const quern__attended *a);

/* ---- classes (softmax.c) ---- */
quern__id quern__softmax(quern__graph *g, quern__id x);     /* over the last axis */
quern__id quern__log_softmax(quern__graph *g, quern__id x); /* over the last axis */
quern__id quern__sparsemax(quern__graph *g, quern__id x);   /* over the last axis */
/* -log softmax(logits)[label], one number per row: (…) from labels (…) of any dtype and logits (…, classes). A label outside the
 * classes is QUERN_INVALID naming record and label; `ignore` is a label whose rows give 0 (Keras: ignore_class). */
#define QUERN__NO_LABEL INT64_MIN
quern__id quern__sparse_crossentropy(quern__graph *g, quern__id labels, quern__id logits, int64_t ignore);
/* -sum(targets * log softmax(logits)) over the last axis. */
quern__id quern__crossentropy(quern__graph *g, quern__id targets, quern__id logits);
/* 1 at the label's place, else 0: (…, depth) float32. check: a label outside is an error; else its row is 0. */
quern__id quern__one_hot(quern__graph *g, quern__id labels, int64_t depth, bool check);

/* ---- losses of whole sequences and batches (ctc.c, circle.c) ---- */
/* Keras's ctc: of labels (records, labels), 0 where there is none, and logits (records, steps, classes), of which class 0 is blank;
 * (records). Infinite where the labels do not fit into the steps. */
quern__id quern__ctc(quern__graph *g, quern__id labels, quern__id logits);
/* Keras's circle: of labels (records) and embeddings (records, width); (records). alone: a record is no pair with itself. */
quern__id quern__circle(quern__graph *g, quern__id labels, quern__id embeddings, double gamma, double margin, bool alone);

/* ---- counting (tally.c) ---- */
/* How thresholds lie: anyhow; at i / (n - 1) of 0 … 1, which is quick; the same, but the first below 0 and the last above 1. */
typedef enum quern__thresholds { QUERN__THRESHOLDS_ANY, QUERN__THRESHOLDS_EVEN, QUERN__THRESHOLDS_OPEN } quern__thresholds;
/* True positives, false positives, true negatives, false negatives of prediction > threshold: (4, thresholds, labels) float64, the
 * labels of the last axis each by itself where asked, else all as one. `weights` (0: none) are broadcast. */
quern__id quern__tally(quern__graph *g, quern__id truth, quern__id prediction, quern__id weights, quern__id thresholds,
                       quern__thresholds how, bool by_label);
/* How often each label was predicted for each: (truth, prediction) float64. Labels outside the classes, and the truth `ignore`
 * (QUERN__NO_LABEL: none), do not count. `whole`: labels and weights are cut to whole numbers. `weights`: one for all, or as many
 * as there are labels; 0: none. */
quern__id quern__confusion(quern__graph *g, quern__id truth, quern__id prediction, quern__id weights, int64_t classes,
                           int64_t ignore, bool whole);
/* The k largest of each row, the first of equals; -1e10 for the others. */
quern__id quern__keep_top(quern__graph *g, quern__id x, int64_t k);

/* ---- random (random.c) ---- */
/* Keras's dropout: zero with probability `rate`, the rest divided by 1 - rate; recomputed, never stored, from (seed of the op, run,
 * epoch, record in the epoch, element). `shared` is a bit mask of axes along which all elements share one draw (noise_shape 1). */
quern__id quern__dropout(quern__graph *g, quern__id x, double rate, uint64_t seed, uint32_t shared);

/* Standard normal numbers in the shape of x, drawn at addresses of the same kind. */
quern__id quern__noise(quern__graph *g, quern__id x, uint64_t seed);

/* ---- records changed one by one (each.c) ---- */
/* Where the draws of a record lie; the k-th of them is uniform in [0, 1). */
typedef struct quern__draws {
    quern__random_key key;
    uint64_t record, base;
} quern__draws;
static inline double quern__drawn(const quern__draws *d, uint64_t k)
{
    return quern__random_uniform(d->key, d->record, d->base + k);
}
/* An object that makes a record of another, with room for `scratch` numbers. Any thread may call it; nothing allocates. */
typedef struct quern__each {
    void (*make)(const void *self, quern__draws draws, const float *in, float *out, float *scratch);
    const void *self;
    int64_t scratch;
    uint64_t seed;
} quern__each;
/* x (float32) record by record, as (records, …) of that shape. Borrows `each`. No gradient flows: it is an error where one should.
 */
quern__id quern__each_record(quern__graph *g, quern__id x, const quern__each *each, const quern_shape *shape);

/* ---- variables change (update.c) ---- */
/* Writes x into the variable at the end of the step (after all who read the old content, and after what earlier nodes of this step
 * wrote into it); returns the new content. */
quern__id quern__assign(quern__graph *g, quern__variable *v, quern__id x);
/* The last new content that nodes so far give a variable; 0: none does. */
quern__id quern__assigned(const quern__graph *g, const quern__variable *v);
/* Writes x (records, steps, …) into a variable (records, room, …) at place `position` (a scalar) of its second axis; returns the
 * new content. A fault when it does not fit. */
quern__id quern__append(quern__graph *g, quern__variable *v, quern__id position, quern__id x);
/* One optimizer step of one variable. Slots follow keras-spec.md section 4; `rate` is a scalar value (the learning rate, decay and
 * schedule already in it), `iteration` the count of steps done before this one. Weight decay (decoupled: var -= rate * decay * var,
 * first). */
quern__id quern__sgd(quern__graph *g, quern__variable *v, quern__id gradient, quern__id rate, quern__variable *momentum, double m,
                     bool nesterov, double decay);
/* `squares`: the squares of the gradient where they are not simply that (quern__each_row); 0: they are. */
quern__id quern__rmsprop(quern__graph *g, quern__variable *v, quern__id gradient, quern__id squares, quern__id rate,
                         quern__variable *velocity, quern__variable *momentum, quern__variable *average, double rho, double m,
                         double epsilon, double decay);
quern__id quern__adam(quern__graph *g, quern__variable *v, quern__id gradient, quern__id squares, quern__id rate,
                      quern__id iteration, quern__variable *m, quern__variable *velocity, quern__variable *maximum, double beta_1,
                      double beta_2, double epsilon, double decay);

#endif
