/* The memory budget. The planner sums everything that will be resident before the run reads data.
 * It then tries choices that keep results bit-identical until the sum fits. Each module reports its
 * own bytes (queue, source, callbacks, model); this file only sums them. */
#include "fit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { margin = 3 << 19, heap_grain = 1 << 16, stack_of_reader = 96 << 10, bytes_weighted = 64 };

static size_t rounded(size_t bytes, size_t grain) { return (bytes + grain - 1) / grain * grain; }

/* The heap is rounded up to large steps. Its size varies by some hundred bytes between two plans,
 * and rounding keeps the plans equal. */
static size_t rounded_heap(size_t held)
{
    static atomic_size_t before;
    size_t now = rounded(held, heap_grain), then = atomic_load(&before),
           apart = now > then ? now - then : then - now;
    if (apart <= heap_grain)
        return then;
    atomic_store(&before, now);
    return now;
}

/* The base: bytes that are mapped and allocated before the run, without the model's numbers. It
 * counts mapped bytes, not resident bytes, so that it is equal in every run of a program. If at
 * most a quarter of the mapped files is resident, half of their size counts. */
static size_t runtime_of(const quern__process *now, const quern__model_size *model)
{
    size_t files = now->files / 2, own = model->weights + model->optimizer,
           held = now->heap > own ? now->heap - own : 0;
    if (now->resident_files > now->files / 4)
        files = now->files;
    size_t heap = rounded_heap(held), least = now->anonymous > own ? now->anonymous - own : 0;
    if (now->heap == 0) /* malloc does not report its heap */
        heap = rounded(least, 1 << 20);
    return files + heap + margin;
}

/* Sample weights add some numbers per record to the graph. Whether the data has weights is known
 * only after the first batch. */
static size_t weighing_bytes(const quern_model *m, int64_t batch_size)
{
    size_t bytes = 0;
    for (int i = 0; i < quern_model_outputs(m); i++) {
        quern_shape s =
            quern__shape_close(quern__model_weights_shape(m, i, QUERN_WEIGHTS_STEPS), batch_size);
        bytes += (size_t)quern_shape_count(&s) * bytes_weighted;
    }
    return rounded(bytes, 4096);
}

typedef struct budgeting {
    quern_model *m;
    quern_generator *train;
    const quern_fit_opts *o;
    quern__queue_opts queue;
    quern__weighing weighing;
    quern__process now;
    quern__model_size size;
    size_t runtime;
    quern_plan *plan;
} budgeting;

/* Plans the graph of the validation, whose data may have other sizes at open axes. */
static int plan_validation(budgeting *b, int64_t size, quern_error *err)
{
    int status = quern__close_over(b->m, b->o->validation_data, err);
    if (status >= 0)
        status = quern__model_plan(b->m, QUERN__TEST, size, NULL, err);
    return status < 0 ? status : quern__close_over(b->m, b->train, err);
}

/* Plans the graphs of a run. Returns the larger of their arenas. */
static int plan_programs(budgeting *b, int low_memory, int64_t micro_batches, quern_error *err)
{
    quern_model *m = b->m;
    quern__model_set_low_memory(m, low_memory);
    int64_t size = b->queue.spec.batch_size;
    int status =
        quern__model_set_micro_batches(m, micro_batches, b->o->split_batch == QUERN_SPLIT_ANY, err);
    if (status >= 0)
        status = quern__model_plan(m, QUERN__TRAIN, size, &b->weighing, err);
    if (status >= 0 && b->o->validation_data)
        status = plan_validation(b, size, err);
    if (status < 0)
        return status;
    quern__plan_size train = quern__model_plan_size(m, QUERN__TRAIN),
                     test = quern__model_plan_size(m, QUERN__TEST);
    quern_plan *p = b->plan;
    size_t arena = train.arena;
    if (b->o->validation_data && test.arena > arena)
        arena = test.arena;
    p->arena = train.arena;
    p->arena_lower_bound = train.lower_bound;
    p->gradients = train.gradients + quern__micro_batches_bytes(m);
    p->activations = arena - train.gradients + weighing_bytes(m, size) + 128;
    p->workspace = (size_t)quern__model_threads(m) * train.stack +
                   (size_t)(b->queue.workers + 2 + (b->o->checkpoint != NULL)) * stack_of_reader;
    p->micro_batches = micro_batches;
    p->seconds = train.seconds * (double)micro_batches;
    p->low_memory = low_memory != QUERN__LOW_MEMORY_NONE;
    p->recompute = train.recomputes ? low_memory - QUERN__LOW_MEMORY_RECOMPUTE + 1 : 0;
    return QUERN_OK;
}

static void sum_memory(budgeting *b, int depth)
{
    quern_plan *p = b->plan;
    b->queue.depth = depth;
    p->max_queue_size = depth;
    p->queue = quern__queue_bytes(&b->queue) * (b->o->validation_data ? 2 : 1);
    size_t given_back = p->gradients + p->activations + p->workspace +
                        p->queue; /* freed before the file is written */
    p->files = b->size.writing > given_back ? b->size.writing - given_back : 0;
    p->runtime = b->runtime;
    p->total =
        p->runtime + p->weights + p->optimizer + p->callbacks + p->readers + given_back + p->files;
    if (p->total < b->now.peak) { /* the process had this peak before */
        size_t more = rounded(b->now.peak - p->total, 1 << 20);
        p->runtime += more;
        p->total += more;
    }
}

static void find_largest(quern_plan *p)
{
    const struct {
        const char *name;
        size_t bytes;
    } parts[] = { { "runtime", p->runtime },     { "weights", p->weights },
                  { "gradients", p->gradients }, { "optimizer", p->optimizer },
                  { "workspace", p->workspace }, { "activations", p->activations },
                  { "queue", p->queue },         { "readers", p->readers },
                  { "callbacks", p->callbacks }, { "files", p->files } };
    size_t most = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].bytes >= most) {
            most = parts[i].bytes;
            snprintf(p->largest, sizeof p->largest, "%s", parts[i].name);
        }
}

/* The longest queue that fits with the present plan; the shortest if none fits. */
static bool shorten_queue(budgeting *b, int wanted)
{
    int depth = wanted;
    for (sum_memory(b, depth); b->plan->total > b->plan->budget && depth > 1;)
        sum_memory(b, --depth);
    return b->plan->total <= b->plan->budget;
}

/* A measure against memory: the low-memory level and the number of micro-batches. The planner tries
 * measures in order. Each usually needs less memory and more time than the one before;
 * micro-batches come last. */
typedef struct measure {
    int low_memory;
    int64_t micro_batches;
} measure;

static bool next_measure(const budgeting *b, measure *m)
{
    bool undone = m->low_memory >= QUERN__LOW_MEMORY_RECOMPUTE &&
                  !b->plan->recompute; /* the graph has nothing to recompute */
    if (m->micro_batches == 1 && m->low_memory < QUERN__LOW_MEMORY_MOST && !undone) {
        m->low_memory++;
        return true;
    }
    if (b->o->split_batch == QUERN_SPLIT_NEVER || *quern__model_undivided(b->m))
        return false;
    if (m->micro_batches > 1 && m->low_memory == QUERN__LOW_MEMORY_SCHEDULE) {
        m->low_memory = QUERN__LOW_MEMORY_MOST;
        return true;
    }
    m->micro_batches *= 2;
    m->low_memory = QUERN__LOW_MEMORY_SCHEDULE;
    return m->micro_batches <= b->queue.spec.batch_size;
}

/* Tries plans from the fastest on until one fits. With `all`, or if none fits, it tries each of
 * them, to find the smallest. */
static int choose_plan(budgeting *b, bool all, quern_error *err)
{
    quern_plan *p = b->plan, chosen = { 0 };
    int wanted = b->o->max_queue_size ? b->o->max_queue_size : 10;
    measure now = { QUERN__LOW_MEMORY_NONE, 1 }, own = now;
    size_t least = SIZE_MAX;
    double fastest = 0;
    int vain = 0; /* consecutive measures that saved nothing */
    do {
        int status = plan_programs(b, now.low_memory, now.micro_batches, err);
        if (status < 0)
            return status;
        fastest = now.low_memory == QUERN__LOW_MEMORY_NONE ? p->seconds : fastest;
        p->fits = shorten_queue(b, wanted);
        quern_plan found = *p;
        sum_memory(b, 1);
        if (!chosen.fits && (found.fits || p->total < least)) {
            chosen = found;
            own = now;
        }
        vain = p->total < least ? 0 : vain + 1;
        least = p->total < least ? p->total : least;
    } while ((all || !chosen.fits) && !(now.micro_batches > 1 && vain > 7) &&
             next_measure(b, &now));
    int status = plan_programs(b, own.low_memory, own.micro_batches, err);
    *p = chosen;
    p->smallest = all || !p->fits ? least : 0;
    p->relative_time = fastest > 0 ? p->seconds / fastest : 1;
    return status;
}

static int budget_error(const quern_plan *p, quern_error *err)
{
    int status =
        quern__fail(err, QUERN_BUDGET, p->limit,
                    "training needs %zu bytes, the budget has %zu; the largest part is the %s",
                    p->smallest, p->budget, p->largest);
    bool batch = !strcmp(p->largest, "activations") || !strcmp(p->largest, "queue");
    quern__hint(err, batch ? "reduce --batch-size; run quern plan to list the parts"
                           : "run quern plan to list the parts");
    return status;
}

/* Handles a process without /proc: an error if the options set a budget; otherwise memory is not
 * limited. */
static int limit_unknown(const budgeting *b, quern__limit *limit, quern_error *err)
{
    static const char why[] =
        "the memory of the process is unknown: /proc/self/status cannot be read";
    if (b->o->memory) {
        quern__fail(err, QUERN_UNSUPPORTED, "memory", "%s", why);
        quern__hint(err, "mount /proc, or train without a budget");
        return QUERN_UNSUPPORTED;
    }
    if (limit->bytes != SIZE_MAX)
        quern__warn("%s; the %s is not a budget", why, limit->name);
    *limit = (quern__limit){ SIZE_MAX, NULL };
    return QUERN_OK;
}

/* Whether batches may have sizes of their own at open axes. */
static bool sizes_vary(const budgeting *b)
{
    quern__description d;
    return quern__model_open(b->m) &&
           (!b->train || quern__source_shapes(b->train, &d, &(quern_error){ 0 }) == QUERN_END);
}

/* Bytes of the graphs and plans for batches of other sizes, which the model keeps. `before`: the
 * heap without those of the largest sizes. */
static size_t other_plans(const budgeting *b, size_t before)
{
    return b->now.heap > before ? (QUERN__MOST_CLOSINGS - 1) * (b->now.heap - before) : 0;
}

static int plan_fit(budgeting *b, bool always, quern_error *err)
{
    quern_plan *p = b->plan;
    const quern_fit_opts *o = b->o;
    if (quern__model_start_threads(b->m, err) < 0)
        return QUERN_INVALID;
    int closed = quern__close_over(b->m, b->train, err);
    if (closed < 0)
        return closed;
    b->queue = quern__queue_opts_of(b->m, QUERN__TRAIN, o->batch_size);
    b->queue.workers = o->no_workers ? 0 : o->workers ? o->workers : 1;
    b->queue.bad = (b->train && quern__generator_bad_policy(b->train)) ||
                   (o->validation_data && quern__generator_bad_policy(o->validation_data));
    for (int i = 0; o->class_weight && i < quern_model_outputs(b->m); i++)
        b->weighing.of[i] = QUERN_WEIGHTS_RECORDS;
    *p = (quern_plan){ 0 };
    bool vary = sizes_vary(b);
    if (vary)
        quern__model_forget_plans(b->m);
    size_t before = vary ? quern__process_now().heap : SIZE_MAX;
    int status = plan_programs(b, QUERN__LOW_MEMORY_NONE, 1,
                               err); /* the measurement below includes the graphs */
    if (status < 0)
        return status;
    b->now = quern__process_now();
    b->size = quern__model_bytes(b->m);
    if (quern__memory_short()) /* values that could not be read would be 0 */
        return quern__fail(err, QUERN_NOMEM, "plan", "out of memory");
    p->weights = b->size.weights;
    p->optimizer = b->size.optimizer;
    size_t arena = quern__model_arena_bytes(b->m); /* of an earlier run; this run reuses it */
    b->now.heap -= b->now.heap > arena ? arena : 0;
    b->runtime = b->now.peak ? runtime_of(&b->now, &b->size) + other_plans(b, before) : 0;
    p->readers = quern__source_bytes(b->train, &b->queue.spec, !o->no_shuffle);
    if (o->validation_data)
        p->readers += quern__source_bytes(o->validation_data, &b->queue.spec, false);
    for (int i = 0; i < o->n_callbacks; i++)
        p->callbacks += quern__callback_bytes(o->callbacks[i], b->m);
    if (o->checkpoint) /* the checkpoint exists together with all values of a step, and holds the
                          state of callbacks */
        p->callbacks += p->callbacks + b->size.image;
    p->callbacks += quern__history_bytes(b->m);
    quern__limit limit =
        quern__process_limit(&b->now, b->runtime + p->weights + p->optimizer, b->queue.workers + 1);
    if (!b->now.peak && (status = limit_unknown(b, &limit, err)) < 0)
        return status;
    p->budget = o->memory && o->memory < limit.bytes ? o->memory : limit.bytes;
    snprintf(p->limit, sizeof p->limit, "%s",
             p->budget == SIZE_MAX      ? ""
             : p->budget == limit.bytes ? limit.name
                                        : "memory");
    status = choose_plan(b, always, err);
    find_largest(p);
    return status < 0 ? status : p->fits ? QUERN_OK : budget_error(p, err);
}

int quern_plan_fit(quern_model *m, quern_generator *train, const quern_fit_opts *opts,
                   quern_plan *out, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "out", out);
    quern_fit_opts o;
    quern__backup backup = { 0 }; /* writes checkpoints */
    int status = QUERN__OPTIONS(o, QUERN__FIT_OPTS_0_1, opts, err);
    if (status >= 0)
        status = quern__fit_callbacks_given(&o, err);
    if (status >= 0)
        status = quern__model_waits(m, "another plan", err);
    if (status >= 0 && !quern__model_compiled(m))
        status = quern__not_compiled(m, err);
    if (status >= 0)
        status = quern__backup_wanted(o.callbacks, o.n_callbacks, &backup, err);
    o.checkpoint = o.checkpoint || !*backup.path ? o.checkpoint : backup.path;
    budgeting b = { .m = m, .train = train, .o = &o, .plan = out };
    return status < 0 ? status : quern__leave(err, plan_fit(&b, true, err));
}

int quern__budget(quern_model *m, quern_generator *train, const quern_fit_opts *o, quern_plan *plan,
                  quern_error *err)
{
    quern__process nothing = { 0 };
    quern__model_limit_arena(m, 0);
    if (!o->memory && !o->plan && quern__process_limit(&nothing, 0, 0).bytes == SIZE_MAX) {
        quern__model_set_low_memory(m, QUERN__LOW_MEMORY_NONE);
        return quern__model_set_micro_batches(m, 1, false, err);
    }
    budgeting b = { .m = m, .train = train, .o = o, .plan = plan };
    int status = plan_fit(&b, false, err);
    if (status >= 0 && plan->budget != SIZE_MAX)
        quern__model_limit_arena(m, plan->gradients + plan->activations -
                                        quern__micro_batches_bytes(m));
    if (status >= 0 && plan->micro_batches > 1)
        quern__warn("the memory budget fits only %lld micro-batches: gradient accumulation changes "
                    "rounding%s",
                    (long long)plan->micro_batches,
                    o->split_batch == QUERN_SPLIT_ANY
                        ? ", and layers that use the whole batch see one micro-batch"
                        : "");
    if (o->plan)
        *o->plan = *plan;
    return status;
}

int quern_plan_live(const quern_model *m, size_t *live, int capacity)
{
    if (!m || (!live && capacity > 0))
        return 0;
    return quern__model_live(m, live, capacity);
}
