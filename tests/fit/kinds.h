/* Every kind of source for the records of common.h, and the files of the sources that read
 * files. */
#ifndef QUERN_TESTS_FIT_KINDS_H
#define QUERN_TESTS_FIT_KINDS_H

#include "common.h"

#include "source/csv/csv.h"

#include <zlib.h>

enum { batch = 10, steps = (records + batch - 1) / batch };
static char folder[64];

/* ---- files ---- */

static const char *in(const char *name)
{
    static char path[8][128];
    static int at;
    char *p = path[at++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static void npy(FILE *f, bool labels, int from, int n)
{
    char head[128];
    npy_head(head, labels ? "<i4" : "<f4", n, labels ? 0 : width);
    fwrite(head, 1, sizeof head, f);
    fwrite(labels ? (void *)(ys + from) : (void *)(xs + from * width), 4,
           (size_t)(labels ? n : n * width), f);
}

/* Rows [from, to) of the table. */
static void rows(const char *name, int from, int to)
{
    gzFile f = gzopen(in(name), strstr(name, ".gz") ? "wb" : "wbT");
    assert_non_null(f);
    gzprintf(f, "a,b,c,d,e,f,y\n");
    for (int i = from; i < to; i++) {
        for (int k = 0; k < width; k++)
            gzprintf(f, "%.9g,", (double)xs[i * width + k]);
        gzprintf(f, "%d\n", ys[i]);
    }
    assert_int_equal(gzclose(f), Z_OK);
}

static int write_files(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/quern-sweep-XXXXXX");
    assert_non_null(mkdtemp(folder));
    rows("all.csv", 0, records);
    rows("all.csv.gz", 0, records);
    rows("1.csv", 0, 41);
    rows("2.csv", 41, records);
    for (int k = 0; k < 2; k++) {
        FILE *f = fopen(in(k ? "y.npy" : "x.npy"), "wb");
        npy(f, k, 0, records);
        assert_int_equal(fclose(f), 0);
        char bytes[4096];
        f = fopen(in(k ? "y.npy" : "x.npy"), "rb");
        size_t n = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        gzFile z = gzopen(in(k ? "y.npy.gz" : "x.npy.gz"), "wb");
        assert_non_null(z);
        assert_int_equal(gzwrite(z, bytes, (unsigned)n), n);
        gzclose(z);
    }
    FILE *f = fopen(in("stream"), "wb");
    for (int i = 0; i < records; i += batch)
        for (int k = 0; k < 2; k++)
            npy(f, k, i, records - i < batch ? records - i : batch);
    assert_int_equal(fclose(f), 0);
    quern_error err = { 0 };
    quern_generator *g =
        quern_file_generator(in("all.csv"), &(quern_file_opts){ .target = "y" }, &err);
    if (!g || quern_prepare(g, NULL, in("all.qrec"), &err) != records)
        fail_msg("%s: %s", err.where, err.text);
    quern_generator_free(g);
    return 0;
}

static int remove_files(void **state)
{
    static const char *const names[] = {
        "all.csv", "all.csv.gz", "1.csv",    "2.csv",  "x.npy",
        "y.npy",   "x.npy.gz",   "y.npy.gz", "stream", "all.qrec"
    };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(in(names[i]));
    return rmdir(folder);
}

/* ---- sources ---- */

static void doze(int64_t record) { usleep((useconds_t)(record * 37 % 200)); }

static int fill_batch(quern_batch *b, int64_t first)
{
    doze(first);
    for (b->size = 0; b->size < batch && first + b->size < records; b->size++) {
        memcpy((float *)b->arrays[0] + b->size * width, xs + (first + b->size) * width,
               width * sizeof(float));
        if (b->spec->n_targets)
            ((int32_t *)b->arrays[1])[b->size] = ys[first + b->size];
    }
    return QUERN_OK;
}

/* An infinite stream. */
static int next(void *user, quern_batch *b, quern_error *err)
{
    int *at = user;
    (void)err;
    fill_batch(b, *at);
    *at = *at + batch < records ? *at + batch : 0;
    return QUERN_OK;
}

static int loop(quern_yielder *y, void *user)
{
    for (quern_batch *b; (b = quern_next_batch(y));)
        if (next(user, b, NULL) < 0 || quern_yield(y, b) < 0)
            break;
    return QUERN_OK;
}

static int by_number(void *user, quern_batch *b, quern_error *err)
{
    (void)user, (void)err;
    doze(b->indices[0]);
    for (int64_t r = 0; r < b->size; r++) {
        memcpy((float *)b->arrays[0] + r * width, xs + b->indices[r] * width,
               width * sizeof(float));
        if (b->spec->n_targets)
            ((int32_t *)b->arrays[1])[r] = ys[b->indices[r]];
    }
    return QUERN_OK;
}

static int position; /* of the infinite streams */

static quern_generator *from_array(const char *w) { return (void)w, array(); }
static quern_generator *from_numbers(const char *w)
{
    return (void)w, quern_indexed_generator(by_number, NULL, records);
}
static quern_generator *from_callback(const char *w)
{
    return (void)w, quern_callback_generator(&(quern_callback_ops){ .next = next }, &position);
}
static quern_generator *from_function(const char *w)
{
    return (void)w, quern_function_generator(loop, &position);
}
static quern_generator *from_program(const char *w) { return quern_program_generator(w, NULL); }
static quern_generator *from_files(const char *w)
{
    return quern_file_generator(w, &(quern_file_opts){ .target = strstr(w, ".csv") ? "y" : NULL },
                                NULL);
}

/* As for a file that is too large for the shuffle buffer alone. */
static quern_generator *from_blocks(const char *w)
{
    quern__csv_block = 64;
    quern_generator *g = from_files(w);
    quern__csv_block = 0;
    return g;
}

static const struct kind {
    const char *words; /* each % is the folder */
    quern_generator *(*open)(const char *words);
    bool many;  /* several reader threads are possible; the other sources refuse more than one */
    bool ends;  /* after an epoch, so that batches may have any size */
    bool mixed; /* the file defines the order */
} kinds[] = {
    { "arrays", from_array, true, true },
    { "numbers", from_numbers, true, true },
    { "callback", from_callback },
    { "function", from_function },
    { "x=%/x.npy y=%/y.npy", from_files, true, true },
    { "x=%/x.npy.gz y=%/y.npy.gz", from_files, .ends = true },
    { "%/all.csv", from_files, .ends = true },
    { "%/all.csv.gz", from_files, .ends = true },
    { "%/1.csv %/2.csv", from_files, .ends = true },
    { "%/1.csv %/2.csv", from_blocks, .ends = true },
    { "%/all.qrec", from_files, true, true, true },
    { "while cat %/stream; do :; done 2>&-", from_program },
};
enum { n_kinds = sizeof kinds / sizeof *kinds };

static quern_generator *opened(const struct kind *k)
{
    char words[400];
    size_t n = 0;
    for (const char *p = k->words; *p; p++)
        n += (size_t)snprintf(words + n, sizeof words - n, *p == '%' ? "%s" : "%.1s",
                              *p == '%' ? folder : p);
    position = 0;
    quern_generator *g = k->open(words);
    if (!g)
        fail_msg("%s", words);
    return g;
}

#endif
