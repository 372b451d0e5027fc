/* Memory budgets (P2, P3): the parts and choices of the plan, refusal before data is read, and the
 * limits of memory cgroups. tests/cli/budget.sh compares the whole process with its budget. */
#include "common.h"

#include "base/base.h"
#include "plan/plan.h"

#include <math.h>
#include <sys/resource.h>
#include <sys/stat.h>

static int n_read;

static int next(void *user, quern_batch *b, quern_error *err)
{
    (void)user, (void)err;
    b->size = 8;
    for (int64_t r = 0; r < b->size; r++) {
        memcpy((float *)b->arrays[0] + r * width, xs + (n_read * 8 + r) % records * width,
               width * sizeof(float));
        ((int32_t *)b->arrays[1])[r] = ys[(n_read * 8 + r) % records];
    }
    n_read++;
    return QUERN_OK;
}

/* A network whose activations dominate, so that the planner has choices. */
static quern_model *wide(void)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(
        "input 6 | dense 512 relu | dense 512 relu | dropout 0.2 | dense 512 relu | dense 512 relu"
        " | dense 3 softmax",
        7, &err);
    if (!m || quern_compile(m, "adam", "sparse_categorical_crossentropy", NULL, &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

enum { batch = 4096, steps = 2 };
static const quern_fit_opts run = { .batch_size = batch, .steps_per_epoch = steps };

static size_t sum(const quern_plan *p)
{
    return p->weights + p->gradients + p->optimizer + p->activations + p->workspace + p->queue +
           p->readers + p->callbacks + p->files + p->runtime;
}

static void parts_add_up(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = wide();
    quern_plan p, with;
    quern_fit_opts o = run;
    CHECK_OK(quern_plan_fit(m, NULL, &o, &p, &err), err);
    assert_true(p.fits && p.total == sum(&p) && p.smallest < p.total && p.max_queue_size == 10 &&
                !p.low_memory);
    assert_true(p.arena_lower_bound <= p.arena &&
                p.arena <= p.arena_lower_bound + p.arena_lower_bound / 33 && p.readers >= 4 << 20);
    /* 1.6 million activations, a quarter of which is stored at least twice */
    assert_true(p.activations > 4 * batch * 512 * sizeof(float));
    int n = quern_plan_live(m, NULL, 0);
    size_t *live = calloc((size_t)n, sizeof *live), most = 0;
    assert_int_equal(quern_plan_live(m, live, n), n);
    for (int i = 0; i < n; i++)
        most = live[i] > most ? live[i] : most;
    assert_int_equal(most, p.arena_lower_bound);
    free(live);
    quern_callback *stopping =
        quern_callback_from_spec("early_stopping monitor=loss restore_best_weights=true", &err);
    o.callbacks = &stopping;
    o.n_callbacks = 1;
    CHECK_OK(quern_plan_fit(m, NULL, &o, &with, &err), err);
    size_t weights = 0;
    for (int i = 0; i < quern_model_weights(m); i++) {
        quern_tensor w = quern_model_weight(m, i, NULL);
        weights += sizeof(float) * (size_t)quern_shape_count(&w.shape);
    }
    assert_int_equal(with.callbacks - p.callbacks, weights); /* in addition to the history */
    assert_true(with.weights >= weights && with.optimizer >= 2 * weights);
    quern_callback_free(stopping);
    quern_model_free(m);
}

/* The plan for a budget. `weights` receives the concatenated weights after training under it. */
static quern_plan under(size_t memory, int split, char *weights, size_t *size)
{
    quern_error err = { 0 };
    quern_plan p;
    quern_model *m = wide();
    quern_generator *g = quern_callback_generator(&(quern_callback_ops){ .next = next }, NULL);
    quern_fit_opts o = run;
    o.memory = memory;
    o.plan = &p;
    o.split_batch = split;
    n_read = 0;
    quern_history *h = quern_fit_generator(m, g, &o, &err);
    assert_true(h ? p.fits && p.total <= p.budget && n_read == steps : !p.fits);
    if (!h) {
        assert_int_equal(err.code, QUERN_BUDGET);
        assert_string_equal(err.where, "memory");
        assert_non_null(strstr(err.text, p.largest));
        assert_int_equal(n_read, 0);
    }
    *size = 0;
    for (int i = 0; h && i < quern_model_weights(m); i++) {
        quern_tensor w = quern_model_weight(m, i, NULL);
        size_t bytes = sizeof(float) * (size_t)quern_shape_count(&w.shape);
        memcpy(weights + *size, w.data, bytes);
        *size += bytes;
    }
    quern_history_free(h);
    quern_generator_free(g);
    quern_model_free(m);
    return p;
}

static void plans_are_bit_identical(void **state)
{
    (void)state;
    enum { room = 8 << 20, budgets = 12 };
    char *first = malloc(room), *other = malloc(room);
    size_t size, n;
    int32_t low_memory = INT32_MAX, queue = 1, computed_again = 0;
    size_t large = quern__peak_bytes() + ((size_t)1 << 30);
    under(large, QUERN_SPLIT_NEVER, first, &size); /* the process has reached its peak */
    quern_plan free_plan = under(large, QUERN_SPLIT_NEVER, first, &size), p;
    assert_true(size > 0 && free_plan.max_queue_size == 10 && !free_plan.low_memory);
    p = under(1, QUERN_SPLIT_NEVER, other, &n);
    assert_int_equal(n, 0);
    size_t smallest = p.smallest;
    assert_true(under(smallest - 1, QUERN_SPLIT_NEVER, other, &n).smallest == smallest && n == 0);
    for (int k = 0; k <= budgets; k++) {
        p = under(smallest + (free_plan.total - smallest) / budgets * (size_t)k, QUERN_SPLIT_NEVER,
                  other, &n);
        assert_true(p.fits && n == size && !memcmp(first, other, size));
        int32_t own = p.low_memory + p.recompute; /* a larger budget is never slower */
        assert_true(own < low_memory || (own == low_memory && p.max_queue_size >= queue));
        assert_true(p.recompute ? p.low_memory && p.relative_time > 1 && p.relative_time < 2.5
                                : p.relative_time == 1);
        computed_again += p.recompute > 0;
        low_memory = own;
        queue = p.max_queue_size;
    }
    assert_true(computed_again > 2 && low_memory == 0);
    free(first);
    free(other);
}

/* A smaller budget uses micro-batches and warns; the weights differ by rounding only. */
static void micro_batches_change_rounding(void **state)
{
    (void)state;
    enum { room = 8 << 20 };
    char *whole = malloc(room), *other = malloc(room);
    size_t size, n;
    quern_plan p = under(1, QUERN_SPLIT_NEVER, whole, &n);
    size_t smallest = p.smallest;
    p = under(smallest, QUERN_SPLIT_AUTO, whole, &size);
    assert_true(p.fits && p.micro_batches == 1);
    p = under(smallest - 1, QUERN_SPLIT_AUTO, other, &n);
    assert_true(p.fits && p.micro_batches > 1 && n == size);
    for (size_t i = 0; i < size / sizeof(float); i++) {
        float a = ((float *)whole)[i], b = ((float *)other)[i];
        assert_true(fabsf(a - b) <= 2e-4f * fabsf(a) + 1e-4f);
    }
    free(whole);
    free(other);
}

/* A model with layers that use the whole batch is not split without QUERN_SPLIT_ANY. */
static void whole_batch_layers_are_not_split(void **state)
{
    (void)state;
    static const char *const words[][2] = {
        { "input 6 | dense 2048 | batch_normalization | dense 3", "mse" },
        { "input 6 | dense 2048 | spectral_normalization dense(8) | dense 3", "mse" },
        { "input 6 | dense 2048 | activity_regularization l2=0.1 | dense 3", "mse" },
        { "input 6 | masking | dense 2048 | dense 3", "mse" },
        { "input 6 | dense 2048 | dense 3", "mse reduction=sum" },
        { "input 6 | dense 2048 | dense 3", "tversky" }
    };
    for (int i = 0; i < 6; i++)
        for (int any = 0; any < 2; any++) {
            quern_error err = { 0 };
            quern_plan p;
            quern_model *m = quern_model_from_spec(words[i][0], 1, &err);
            if (!m || quern_compile(m, "sgd", words[i][1], NULL, &err) < 0)
                fail_msg("%s: %s: %s", words[i][0], err.where, err.text);
            quern_fit_opts o = { .batch_size = 8192,
                                 .memory = 1,
                                 .split_batch = any ? QUERN_SPLIT_ANY : QUERN_SPLIT_AUTO };
            assert_int_equal(quern_plan_fit(m, NULL, &o, &p, &err), QUERN_BUDGET);
            if ((p.micro_batches > 1) != (any && i < 3))
                fail_msg("%s, %s: %d micro-batches", words[i][0], words[i][1],
                         (int)p.micro_batches);
            quern_model_free(m);
        }
}

/* The plan includes the memory of checkpoints, also for BackupAndRestore. */
static void the_plan_includes_checkpoints(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = wide();
    quern_callback *c =
        quern_callback_from_spec("backup_and_restore /tmp/quern-never-written", &err);
    assert_non_null(c);
    quern_plan none, own, backup;
    quern_fit_opts o = run;
    CHECK_OK(quern_plan_fit(m, NULL, &o, &none, &err), err);
    o.checkpoint = "/tmp/quern-never-written/c.keras";
    CHECK_OK(quern_plan_fit(m, NULL, &o, &own, &err), err);
    o.checkpoint = NULL;
    o.callbacks = &c;
    o.n_callbacks = 1;
    CHECK_OK(quern_plan_fit(m, NULL, &o, &backup, &err), err);
    assert_true(own.callbacks >= none.callbacks + own.weights && backup.callbacks == own.callbacks);
    assert_int_not_equal(access("/tmp/quern-never-written", F_OK), 0);
    quern_callback_free(c);
    quern_model_free(m);
}

static void put(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Fake cgroups of both versions: the smallest limit counts. */
static void cgroups_limit(void **state)
{
    (void)state;
    char folder[64] = "/tmp/quern-groups-XXXXXX", path[128];
    static const char *const folders[] = { "proc", "memory", "memory/a", "memory/a/b", "c" };
    quern__process now = { .anonymous = 3 << 20, .resident_files = 1 << 20 };
    const char *proc = quern__proc, *groups = quern__cgroups;
    size_t most = quern__process_limit(&now, 0, 0).bytes;
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    quern__cgroups = folder;
    snprintf(path, sizeof path, "%s/proc", folder);
    quern__proc = path;
    put(folder, "proc/cgroup", "0::/c\n");
    put(folder, "c/memory.max", "max\n");
    assert_true(quern__process_limit(&now, 0, 0).bytes >= most || most == SIZE_MAX);
    put(folder, "c/memory.max",
        "67108864\n"); /* other processes use 6 of the 64 MiB, which cannot be reclaimed */
    put(folder, "c/memory.current", "20971520\n");
    put(folder, "c/memory.stat", "anon 10485760\ninactive_file 6291456\nactive_file 4194304\n");
    quern__limit l = quern__process_limit(&now, 0, 0);
    assert_int_equal(l.bytes, (64 - (20 - 10 - 4)) << 20);
    assert_string_equal(l.name, "memory cgroup");
    assert_int_equal(quern__memory_for_files(), (64 - (20 - 10))
                                                    << 20); /* the page cache can be reclaimed */
    put(folder, "proc/cgroup", "4:cpu,memory:/a/b\n0::/\n");
    put(folder, "memory/a/memory.limit_in_bytes",
        "50331648\n"); /* the parent has the smaller limit */
    put(folder, "memory/a/memory.usage_in_bytes", "4194304\n");
    put(folder, "memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(quern__process_limit(&now, 0, 0).bytes, 48 << 20);
    put(folder, "memory/memory.limit_in_bytes", "1048576\n"); /* mounted as in a container */
    assert_int_equal(quern__process_limit(&now, 0, 0).bytes, 1 << 20);
    quern__proc = proc; /* the real /proc again: a fake cgroup refuses a run without a budget */
    quern_error err = { 0 };
    quern_model *m = model();
    quern_generator *g = quern_callback_generator(&(quern_callback_ops){ .next = next }, NULL);
    snprintf(path, sizeof path, "%s/proc", folder);
    static const char *const copied[] = { "status", "maps" };
    for (int i = 0; i < 2; i++) {
        char from[64], line[4096], *text = calloc(1, 1 << 20);
        snprintf(from, sizeof from, "/proc/self/%s", copied[i]);
        FILE *f = fopen(from, "r");
        while (fgets(line, sizeof line, f) && strlen(text) < (1 << 20) - sizeof line)
            strcat(text, line);
        fclose(f);
        put(path, copied[i], text);
        free(text);
    }
    quern__proc = path;
    n_read = 0;
    assert_null(quern_fit_generator(
        m, g, &(quern_fit_opts){ .steps_per_epoch = 1, .batch_size = 8 }, &err));
    assert_true(err.code == QUERN_BUDGET && n_read == 0);
    assert_string_equal(err.where, "memory cgroup");
    quern_generator_free(g);
    quern_model_free(m);
    quern__proc = proc;
    quern__cgroups = groups;
    snprintf(path, sizeof path, "rm -r %s", folder);
    assert_int_equal(system(path), 0);
}

static int warnings;
static void count_warning(void *user, int level, const char *text)
{
    (void)user;
    warnings += level == 1 && strstr(text, "the memory of the process is unknown") != NULL;
}

/* Without /proc the memory of the process is unknown: a budget is refused, a limit is a warning,
 * and no number is invented. */
static void without_proc_no_number_is_invented(void **state)
{
    (void)state;
    const char *proc = quern__proc;
    quern_error err = { 0 };
    quern_plan plan;
    struct rlimit before, limit;
    quern_model *m = model();
    quern_generator *g = quern_callback_generator(&(quern_callback_ops){ .next = next }, NULL);
    quern__proc = "/nowhere";
    assert_null(quern_fit_generator(
        m, g, &(quern_fit_opts){ .steps_per_epoch = 1, .memory = (size_t)1 << 40 }, &err));
    assert_int_equal(err.code, QUERN_UNSUPPORTED);
    assert_string_equal(err.where, "memory");
    assert_non_null(strstr(err.text, "/proc/self/status cannot be read"));
    CHECK_OK(quern_plan_fit(m, g, NULL, &plan, &err), err);
    assert_true(plan.runtime == 0 && plan.budget == SIZE_MAX && plan.weights > 0);
    quern_set_log(count_warning, NULL);
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    limit = (struct rlimit){ (rlim_t)1 << 40, before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    CHECK_OK(quern_plan_fit(m, g, NULL, &plan, &err), err);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_true(plan.budget == SIZE_MAX && warnings == 1);
    quern_set_log(NULL, NULL);
    quern__proc = proc;
    quern_generator_free(g);
    quern_model_free(m);
}

/* Values that are live at the same time do not overlap, and the arena is not below its lower
 * bound. */
static void offsets_do_not_overlap(void **state)
{
    (void)state;
    enum { most = 300, phases = 60 };
    quern__live_range p[most];
    size_t live[phases + 1];
    quern__random_key key = quern__random_key_of(5, QUERN__RANDOM_NOISE, 0);
    quern_error err = { 0 };
    for (int t = 0; t < 60; t++) {
        int n = t < 2 ? t : (int)(quern__random_uniform(key, (uint64_t)t, 0) * most);
        quern__arena done;
        for (int i = 0; i < n; i++) {
            int a = (int)(quern__random_uniform(key, (uint64_t)t, (uint64_t)(3 * i + 1)) * phases),
                b = (int)(quern__random_uniform(key, (uint64_t)t, (uint64_t)(3 * i + 2)) * phases);
            double size = quern__random_uniform(key, (uint64_t)t, (uint64_t)(3 * i + 3));
            p[i] = (quern__live_range){ .id = i + 1,
                                        .start = a < b ? a : b,
                                        .end = a < b ? b : a,
                                        .bytes = (1 + (size_t)(size * 999)) * 64 };
        }
        CHECK_OK(quern__plan_arena_layout(p, n, phases, live, &done, &err), err);
        size_t height = 0, bound = 0;
        for (int k = 0; k < phases; k++) {
            size_t now = 0;
            for (int i = 0; i < n; i++)
                now += p[i].start <= k && k <= p[i].end ? p[i].bytes : 0;
            assert_int_equal(live[k], now);
            bound = now > bound ? now : bound;
        }
        for (int i = 0; i < n; i++) {
            height = (size_t)p[i].offset + p[i].bytes > height ? (size_t)p[i].offset + p[i].bytes
                                                               : height;
            for (int k = 0; k < i; k++)
                assert_true(p[i].start > p[k].end || p[k].start > p[i].end ||
                            p[i].offset >= p[k].offset + (int64_t)p[k].bytes ||
                            p[k].offset >= p[i].offset + (int64_t)p[i].bytes);
        }
        assert_true(done.height == height && done.bound == bound && height >= bound);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_add_up),
        cmocka_unit_test(plans_are_bit_identical),
        cmocka_unit_test(micro_batches_change_rounding),
        cmocka_unit_test(whole_batch_layers_are_not_split),
        cmocka_unit_test(the_plan_includes_checkpoints),
        cmocka_unit_test(cgroups_limit),
        cmocka_unit_test(without_proc_no_number_is_invented),
        cmocka_unit_test(offsets_do_not_overlap),
    };
    fill();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
