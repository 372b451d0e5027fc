/* The contract of quern_set_memory in <quern/status.h>: the allocator of the host serves all phases
 * of the library, and every other allocation belongs to a library that the header names. This test
 * replaces malloc of the process and records which object calls it. */
#include "check.h"
#include "tensors.h"

#include <dlfcn.h>
#include <pthread.h>
#include <quern/quern.h>
#include <stdbool.h>
#include <unistd.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define REPLACES_MALLOC 1
#else
#define REPLACES_MALLOC 0
#endif

/* ---- malloc of the process ---- */

/* A caller of malloc in the program or a library. */
typedef struct caller {
    void *address;
    size_t calls, largest;
} caller;

enum { most_callers = 4096 };
static caller callers[most_callers];
static size_t n_callers;
static bool noting;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#if REPLACES_MALLOC
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t n);
void __libc_free(void *old);

static void note(void *address, size_t bytes)
{
    size_t i = 0;
    if (!__atomic_load_n(&noting, __ATOMIC_RELAXED))
        return;
    pthread_mutex_lock(&lock);
    while (i < n_callers && callers[i].address != address)
        i++;
    if (i < most_callers) {
        n_callers += i == n_callers;
        callers[i].address = address;
        callers[i].calls++;
        callers[i].largest = bytes > callers[i].largest ? bytes : callers[i].largest;
    }
    pthread_mutex_unlock(&lock);
}

void *malloc(size_t n)
{
    note(__builtin_return_address(0), n);
    return __libc_malloc(n);
}

void *calloc(size_t count, size_t size)
{
    note(__builtin_return_address(0), count * size);
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t n)
{
    note(__builtin_return_address(0), n);
    return __libc_realloc(old, n);
}

char *strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    note(__builtin_return_address(0), n);
    char *copy = __libc_malloc(n);
    return copy ? memcpy(copy, text, n) : NULL;
}

/* The allocator of the host. Each block starts with its size. */
static size_t blocks, bytes_now, bytes_most;
enum { head = 16 };

static void *hosted(void *context, void *old, size_t bytes)
{
    char *base = old ? (char *)old - head : NULL;
    size_t before = 0;
    assert_ptr_equal(context, &blocks);
    pthread_mutex_lock(&lock);
    if (base)
        memcpy(&before, base, sizeof before);
    bytes_now += bytes - before;
    bytes_most = bytes_now > bytes_most ? bytes_now : bytes_most;
    blocks += !old;
    blocks -= !bytes;
    pthread_mutex_unlock(&lock);
    if (!bytes) {
        __libc_free(base);
        return NULL;
    }
    base = __libc_realloc(base, bytes + head);
    if (!base)
        abort();
    memcpy(base, &bytes, sizeof bytes);
    return base + head;
}

/* ---- all phases ---- */

enum { records = 96, width = 256, units = 512 };
static float x[records][width], y[records];

static void write_table(const char *path)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("a,b,y\n", f);
    for (int i = 0; i < 200; i++)
        fprintf(f, "%d,%d,%d\n", i % 7, i % 5, i % 3);
    fclose(f);
}

static void live_with_arrays(void)
{
    static const char *const files[] = { "allocator.keras", "allocator.h5" };
    static float predictions[records];
    float *out[] = { predictions };
    const float *one;
    double logs[2];
    quern_error err = { 0 };
    quern_tensor in = FLOATS(x, records, width), targets = FLOATS(y, records);
    quern_model *m =
        quern_model_from_spec("input 256 | dense 512 relu | dropout 0.1 | dense 1", 1, &err);
    CHECK_OK(quern_compile(m, "adam", "mse", "mae", &err), err);
    quern_callback *c = quern_callback_from_spec("csv_logger allocator.csv", &err);
    quern_fit_opts o = { .epochs = 2,
                         .batch_size = 32,
                         .workers = 2,
                         .validation_split = 0.25,
                         .checkpoint = "allocator.checkpoint.keras",
                         .callbacks = &c,
                         .n_callbacks = 1 };
    quern_history *h = quern_fit(m, &in, &targets, NULL, &o, &err);
    CHECK_OK(h ? 0 : err.code, err);
    quern_history_free(h);
    quern_callback_free(c);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(quern_model_save(m, files[i], &err), err);
        quern_model *again = quern_model_open(files[i], &err);
        CHECK_OK(again ? 0 : err.code, err);
        CHECK_OK(quern_evaluate(again, &in, &targets, NULL, 32, logs, &err), err);
        CHECK_OK(quern_predict(again, &in, 32, out, &err), err);
        CHECK_OK(quern_predict_on_batch(again, &in, &one, &err), err);
        quern_model_free(again);
        unlink(files[i]);
    }
    CHECK_OK(quern_model_save_weights(m, "allocator.npz", NULL, &err), err);
    CHECK_OK(quern_model_load_weights(m, "allocator.npz", NULL, &err), err);
    quern_model_free(m);
    unlink("allocator.npz");
    unlink("allocator.csv");
    unlink("allocator.checkpoint.keras");
    unlink("allocator.checkpoint.keras.previous");
}

static void live_with_a_table(void)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 2 | normalization | dense 3 softmax", 1, &err);
    CHECK_OK(quern_compile(m, "sgd", "sparse_categorical_crossentropy", "accuracy", &err), err);
    quern_generator *g =
        quern_file_generator("allocator.table.csv", &(quern_file_opts){ .target = "y" }, &err);
    CHECK_OK(g ? 0 : err.code, err);
    CHECK_OK(quern_adapt(m, NULL, g, 32, 0, &err), err);
    quern_history *h = quern_fit_generator(m, g, &(quern_fit_opts){ .epochs = 2 }, &err);
    CHECK_OK(h ? 0 : err.code, err);
    quern_history_free(h);
    quern_generator_free(g);
    quern_model_free(m);
}

/* ---- callers ---- */

/* Whether the header names the object. Allocations of the C library are small: it holds no data of
 * a model. */
static bool named(const char *object, size_t largest)
{
    static const char *const libraries[] = { "libjansson", "libzip", "libz.", "libutf8proc" };
    const char *name = strrchr(object, '/') ? strrchr(object, '/') + 1 : object;
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        if (!strncmp(name, libraries[i], strlen(libraries[i])))
            return true;
    return (!strncmp(name, "libc.", 5) || !strncmp(name, "ld-linux", 8)) && largest <= 64 << 10;
}

/* Prints each caller that the header does not name. Returns the number of all their calls. */
static size_t unnamed(bool print)
{
    size_t calls = 0;
    for (size_t i = 0; i < n_callers; i++) {
        Dl_info at = { 0 };
        bool known = dladdr(callers[i].address, &at) && at.dli_fname;
        if (known && named(at.dli_fname, callers[i].largest))
            continue;
        calls += callers[i].calls;
        if (print)
            print_message("%s+%#zx: %zu calls, up to %zu bytes\n", known ? at.dli_fname : "?",
                          (size_t)((char *)callers[i].address - (char *)at.dli_fbase),
                          callers[i].calls, callers[i].largest);
    }
    return calls;
}

static void start_noting(void)
{
    n_callers = 0;
    memset(callers, 0, sizeof callers);
    __atomic_store_n(&noting, true, __ATOMIC_RELAXED);
}

static void stop_noting(void)
{
    __atomic_store_n(&noting, false, __ATOMIC_RELAXED);
    assert_true(n_callers < most_callers);
}

static void every_other_allocation_is_documented(void **state)
{
    (void)state;
    for (int i = 0; i < records * width; i++)
        x[i / width][i % width] = (float)(i * 37 % 101) / 101;
    for (int i = 0; i < records; i++)
        y[i] = x[i][0];
    write_table("allocator.table.csv");
    quern_set_memory(hosted, &blocks);
    start_noting();
    live_with_arrays();
    live_with_a_table();
    stop_noting();
    quern_set_memory(NULL, NULL);
    unlink("allocator.table.csv");
    assert_int_equal(unnamed(true), 0);
    assert_int_equal(blocks, 0);
    assert_int_equal(bytes_now, 0);
    assert_true(bytes_most >
                4 * sizeof(float) * width * units); /* weights, gradients and two slots of Adam */
}

/* The caller frees the text of a summary with free(): it is the only block that the library
 * allocates with malloc. */
static void texts_for_free_come_from_malloc(void **state)
{
    quern_error err = { 0 };
    (void)state;
    quern_set_memory(hosted, &blocks);
    quern_model *m = quern_model_from_spec("input 4 | dense 1", 1, &err);
    start_noting();
    char *text = quern_model_summary(m);
    stop_noting();
    assert_non_null(text);
    assert_int_equal(unnamed(false), 1);
    free(text);
    quern_model_free(m);
    quern_set_memory(NULL, NULL);
    assert_int_equal(blocks, 0);
}
#else
static void every_other_allocation_is_documented(void **state)
{
    (void)state, (void)callers, (void)n_callers, (void)noting, (void)lock;
    skip();
}
static void texts_for_free_come_from_malloc(void **state)
{
    (void)state;
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_other_allocation_is_documented),
                                        cmocka_unit_test(texts_for_free_come_from_malloc) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
