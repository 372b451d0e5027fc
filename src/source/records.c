/* Arrays in files as records: x=FILE y=FILE [w=FILE], with x:NAME= and y:NAME= for models of several inputs and outputs, or one NPZ
 * that holds them. Where every file can be read by number, so are the records: shuffled exactly, by any number of workers. Else
 * they are read forward, side by side. */
#include "part.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { most_parts = 3 * QUERN_MAX_ARRAYS + 1, most_blocks = 64, places_bytes = 2 << 20 };

typedef struct records {
    int n;
    quern__part_file parts[most_parts];
    char roles[most_parts];          /* 'x', 'y', 'w' */
    char names[most_parts][64];      /* of an input or output; empty: the next one */
    int order[2 * QUERN_MAX_ARRAYS]; /* part that feeds an array of the batch */
    int weight;                      /* part of the weights of all targets, -1: none */
    int own[QUERN_MAX_ARRAYS];       /* by target: part of its own weights, -1: none */
    bool shuffle;
    uint64_t seed;
    /* Forward: blocks of `block` records, and the places where they begin, kept while the first pass goes by. From then on a pass
     * may visit them in any order. */
    int64_t block, left; /* left: records until the present block ends */
    int n_blocks, kept, visited;
    quern__place places[most_blocks][most_parts];
    bool in_order;
    quern__random_key key;
    int read[most_parts], n_read; /* parts in the order in which a record of the run is laid out; those of the weights last */
    bool whole[most_parts];       /* of those: the run wants int32 */
    bool passed;                  /* the record that failed lies behind */
} records;

static void forget_places(records *r)
{
    for (int k = 0; k < r->kept; k++)
        for (int i = 0; i < r->n; i++)
            quern__gunzip_mark_free(r->places[k][i].mark);
    r->kept = 0;
}

static void records_free(void *self)
{
    records *r = self;
    for (int i = 0; i < r->n; i++)
        quern__part_close(&r->parts[i]);
    forget_places(r);
    quern__free(r);
}

/* ---- words ---- */

static int add(records *r, char role, const char *name, const char *file, const char *member, quern_error *err)
{
    if (r->n == most_parts)
        return quern__fail(err, QUERN_INVALID, file, "more than %d arrays", most_parts);
    int status = quern__part_open(&r->parts[r->n], file, member, err);
    r->roles[r->n] = role;
    snprintf(r->names[r->n], sizeof *r->names, "%s", name);
    r->n++;
    if (status >= 0 && r->parts[r->n - 1].records != r->parts[0].records)
        return quern__fail(err, QUERN_FORMAT, file, "%lld records, %s has %lld", (long long)r->parts[r->n - 1].records,
                           r->parts[0].where, (long long)r->parts[0].records);
    return status;
}

/* "x=FILE", "y:NAME=FILE" */
static int add_word(records *r, const char *word, quern_error *err)
{
    const char *equals = strchr(word, '=');
    char name[64] = "", member[2] = { *word, 0 };
    if (!equals || !strchr("xyw", *word) || (word[1] != '=' && word[1] != ':'))
        return quern__fail(err, QUERN_INVALID, word, "expected x=FILE, y=FILE or w=FILE (x:NAME=FILE)");
    if (word[1] == ':')
        snprintf(name, sizeof name, "%.*s", (int)(equals - word - 2), word + 2);
    return add(r, *word, name, equals + 1, *name ? name : member, err);
}

/* An NPZ with members x, y and perhaps w. */
static int add_npz(records *r, const char *path, quern_error *err)
{
    char file[1100];
    static const char roles[] = "xyw";
    for (int i = 0; i < 3; i++) {
        quern_error own = { 0 };
        snprintf(file, sizeof file, "%s:/%c", path, roles[i]);
        int status = add(r, roles[i], "", file, "", &own);
        if (status == QUERN_NOTFOUND && i > 0)
            quern__part_close(&r->parts[--r->n]);
        else if (status < 0) {
            if (err)
                *err = own;
            return status;
        }
    }
    return QUERN_OK;
}

/* A file is what the format says it is. */
static int check_format(const quern__part_file *p, const char *format, quern_error *err)
{
    const char *is = p->zip ? "npz" : p->idx ? "idx" : "npy";
    return !format || !strcmp(format, is) ? QUERN_OK
                                          : quern__fail(err, QUERN_FORMAT, p->where, "is %s, the format was to be %s", is, format);
}

static records *read_words(const char *words, const char *format, quern_error *err)
{
    records *r = quern__zalloc(1, sizeof *r);
    char word[1024];
    int status = r ? QUERN_OK : quern__fail_memory(err, sizeof *r);
    for (const char *p = words; status >= 0 && *(p += strspn(p, " "));) {
        size_t n = strcspn(p, " ");
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        p += n;
        status = n >= sizeof word                             ? quern__fail(err, QUERN_INVALID, word, "is too long")
                 : strchr("xyw", *word) && strpbrk(word, "=") ? add_word(r, word, err)
                                                              : add_npz(r, word, err);
        for (int i = 0; i < r->n && status >= 0; i++)
            status = check_format(&r->parts[i], format, err);
    }
    if (status >= 0)
        return r;
    if (r)
        records_free(r);
    return NULL;
}

/* ---- which part feeds which array ---- */

/* The part for array k of the batch: by the name of the input or output, else the next unnamed one. */
static int part_for(const records *r, const quern_batch_spec *spec, int k)
{
    char role = k < spec->n_inputs ? 'x' : 'y';
    int place = k < spec->n_inputs ? k : k - spec->n_inputs;
    for (int i = 0; i < r->n; i++)
        if (r->roles[i] == role && *r->names[i] && spec->names[k] && !strcmp(r->names[i], spec->names[k]))
            return i;
    for (int i = 0; i < r->n; i++)
        if (r->roles[i] == role && !*r->names[i] && place-- == 0)
            return i;
    return -1;
}

/* Which part weighs what: one without a name all targets, one number a record, or with steps the only target. */
static int match_weights(records *r, const quern_batch_spec *spec, quern_error *err)
{
    r->weight = -1;
    for (int t = 0; t < QUERN_MAX_ARRAYS; t++)
        r->own[t] = -1;
    for (int i = 0; i < r->n && spec->n_targets; i++) {
        quern__part_file *p = &r->parts[i];
        int t = 0;
        if (r->roles[i] != 'w')
            continue;
        while (*r->names[i] && t < spec->n_targets && strcmp(r->names[i], spec->names[spec->n_inputs + t]))
            t++;
        bool all = !*r->names[i] && p->per == 1;
        if (t == spec->n_targets)
            return quern__fail(err, QUERN_INVALID, p->where, "no output is called '%s'", r->names[i]);
        if ((!all && quern__weights_kind(spec, t, p->per) < 0) || (!*r->names[i] && !all && spec->n_targets > 1))
            return quern__fail(err, QUERN_SHAPE, p->where,
                               "weights are one number a record, or one a record and step of an output%s",
                               *r->names[i] ? "" : " that is named");
        int *to = all ? &r->weight : &r->own[t];
        if (*to >= 0)
            return quern__fail(err, QUERN_SHAPE, p->where, "weights are given once");
        *to = i;
    }
    return QUERN_OK;
}

static int match(records *r, const quern_batch_spec *spec, quern_error *err)
{
    char want[96];
    int used = 0, status = match_weights(r, spec, err);
    if (status < 0)
        return status;
    for (int k = 0; k < spec->n_inputs + spec->n_targets; k++) {
        int i = r->order[k] = part_for(r, spec, k);
        if (i < 0)
            return quern__fail(err, QUERN_INVALID, r->parts[0].where, "no file for %s '%s'",
                               k < spec->n_inputs ? "input" : "output", spec->names[k] ? spec->names[k] : "?");
        used += r->roles[i] == 'x';
        if (r->parts[i].per != quern__per_record(&spec->shapes[k]))
            return quern__fail(err, QUERN_SHAPE, r->parts[i].where, "%lld numbers a record, the model wants %s for '%s'",
                               (long long)r->parts[i].per, quern_shape_text(&spec->shapes[k], want, sizeof want),
                               spec->names[k] ? spec->names[k] : "?");
    }
    for (int i = 0; i < r->n; i++)
        used -= r->roles[i] == 'x';
    return used ? quern__fail(err, QUERN_INVALID, r->parts[0].where, "the model has %d inputs", spec->n_inputs) : QUERN_OK;
}

/* What records are by themselves: inputs, then targets, in the order in which they were named. */
static int describe(const records *r, quern__description *out, quern_error *err)
{
    *out = (quern__description){ 0 };
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < r->n; i++) {
            const quern__part_file *p = &r->parts[i];
            int k = out->n_x + out->n_y;
            if (r->roles[i] == 'w' && side == 0) {
                if (*r->names[i] || p->per != 1)
                    return quern__fail(err, QUERN_UNSUPPORTED, p->where, "weights by output or step cannot be prepared");
                out->weighted = true;
            }
            if (r->roles[i] != (side ? 'y' : 'x'))
                continue;
            out->shapes[k] = (quern_shape){ .rank = 2, .dims = { -1, p->per } };
            out->dtypes[k] = p->dtype;
            snprintf(out->names[k], sizeof out->names[k], "%s", r->names[i]);
            *(side ? &out->n_y : &out->n_x) += 1;
        }
    return QUERN_OK;
}

static int numbered_describe(const quern_generator *g, quern__description *out, quern_error *err)
{
    return describe(g->self, out, err);
}
static int forward_describe(const void *self, quern__description *out, quern_error *err) { return describe(self, out, err); }

/* ---- by number ---- */

static int numbered_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle, uint64_t seed, quern_error *err)
{
    records *r = g->self;
    g->spec = spec;
    r->shuffle = shuffle;
    r->seed = seed;
    return match(r, spec, err);
}

/* Record `record` into place `at` of the batch, its weights too. */
static int read_record(records *r, quern_batch *b, int64_t record, int64_t at, quern_error *err)
{
    const quern_batch_spec *s = b->spec;
    int status = QUERN_OK;
    for (int k = 0; k < s->n_inputs + s->n_targets && status >= 0; k++) {
        char *to = (char *)b->arrays[k] + (size_t)(at * quern__per_record(&s->shapes[k])) * quern_dtype_size(s->dtypes[k]);
        status = quern__part_read(&r->parts[r->order[k]], record, s->dtypes[k], to, err);
    }
    if (r->weight >= 0 && status >= 0)
        status = quern__part_read(&r->parts[r->weight], record, QUERN_FLOAT32, b->weights + at, err);
    for (int t = 0; t < s->n_targets && status >= 0; t++) {
        quern__part_file *p = r->own[t] < 0 ? NULL : &r->parts[r->own[t]];
        status = p ? quern__part_read(p, record, QUERN_FLOAT32, b->target_weights[t] + at * p->per, err) : QUERN_OK;
    }
    return status;
}

/* The nearest good record before a bad one in its place; where there is none, the nearest behind it. */
static int read_other(quern_generator *g, quern_batch *b, int64_t record, int64_t at, quern_error *err)
{
    for (int64_t k = 1; k <= b->bad->most && record - k >= g->from; k++)
        if (read_record(g->self, b, record - k, at, NULL) >= 0)
            return QUERN_OK;
    for (int64_t k = 1; k <= b->bad->most && record + k < g->from + g->count; k++)
        if (read_record(g->self, b, record + k, at, NULL) >= 0)
            return QUERN_OK;
    return quern__fail(err, QUERN_FORMAT, g->where, "record %lld: no good record is near that could stand in its place",
                       (long long)record + 1);
}

static int numbered_read(quern_generator *g, int64_t pass, int64_t first, quern_batch *b, quern_error *err)
{
    records *r = g->self;
    int64_t good = 0;
    quern__begin("reading", g->where, "record", 0);
    quern__number_records(g, r->shuffle, r->seed, pass, first, b);
    for (int64_t i = 0; i < b->size; i++) {
        quern_error own = { 0 };
        b->indices[good] = b->indices[i];
        quern__begin_next(b->indices[i] + 1);
        int status = read_record(r, b, b->indices[good], good, &own);
        bool bad = status < 0, replace = bad && b->bad && b->bad->policy == QUERN_BAD_SUBSTITUTE;
        if (bad && (status = quern__bad_record(b->bad, status, &own, err)) < 0)
            return status;
        if (replace && (status = read_other(g, b, b->indices[good], good, err)) < 0)
            return status;
        good += !bad || replace;
    }
    b->size = good;
    b->has_weights = r->weight >= 0;
    for (int t = 0; t < b->spec->n_targets; t++)
        b->weighs[t] = r->own[t] < 0 ? QUERN_WEIGHTS_COMMON : quern__weights_kind(b->spec, t, r->parts[r->own[t]].per);
    return QUERN_OK;
}

static const char *file_of(const quern_generator *g, int array)
{
    const records *r = g->self;
    return r->parts[r->order[array]].where;
}
static void numbered_free(quern_generator *g) { records_free(g->self); }

/* ---- forward ---- */

/* Blocks as many as their places have room for. */
static void cut_into_blocks(records *r)
{
    int zipped = 0, places = 1;
    for (int i = 0; i < r->n; i++) {
        zipped += r->parts[i].gz != NULL;
        places = places && quern__part_has_places(&r->parts[i]);
    }
    int64_t most = zipped ? (int64_t)(places_bytes / ((size_t)zipped * quern__gunzip_mark_bytes())) : most_blocks;
    most = !places || most < 1 ? 1 : most > most_blocks ? most_blocks : most;
    r->block = (r->parts[0].records + most - 1) / most;
    r->block = r->block > 0 ? r->block : 1;
    r->n_blocks = (int)((r->parts[0].records + r->block - 1) / r->block);
    r->in_order = true;
}

static void forward_order(void *self, const quern__random_key *key, int64_t epoch)
{
    records *r = self;
    r->in_order = !key || epoch == 0 || r->n_blocks == 1; /* the first epoch finds the places */
    if (key)
        r->key = *key;
}

/* Only what the run wants is read; places are known for what was read in the pass that found them. */
static int forward_match(void *self, const quern_batch_spec *spec, int64_t *x_count, int64_t *y_count, quern_error *err)
{
    records *r = self;
    int read[most_parts], n = spec->n_inputs + spec->n_targets, status = match(r, spec, err);
    if (status < 0)
        return status;
    for (int t = 0; t < spec->n_targets; t++)
        if (r->own[t] >= 0)
            return quern__fail(err, QUERN_UNSUPPORTED, r->parts[r->own[t]].where,
                               "weights by output or step need files that are not compressed");
    memcpy(read, r->order, (size_t)n * sizeof *read);
    memset(r->whole, 0, sizeof r->whole);
    if (r->weight >= 0)
        read[n++] = r->weight;
    if (n != r->n_read || memcmp(read, r->read, (size_t)n * sizeof *read))
        forget_places(r);
    memcpy(r->read, read, (size_t)n * sizeof *read);
    r->n_read = n;
    *x_count = *y_count = 0;
    for (int k = 0; k < spec->n_inputs + spec->n_targets; k++) {
        *(k < spec->n_inputs ? x_count : y_count) += r->parts[r->order[k]].per;
        r->whole[k] = spec->dtypes[k] == QUERN_INT32;
    }
    return QUERN_OK;
}

static int rewind_parts(records *r, quern_error *err)
{
    int status = QUERN_OK;
    for (int i = 0; i < r->n && status >= 0; i++)
        status = quern__part_rewind(&r->parts[i], err);
    return status;
}

/* Keeps the places where a block begins. */
static int keep_places(records *r, int k, quern_error *err)
{
    int status = QUERN_OK;
    memset(r->places[k], 0, sizeof r->places[k]);
    r->kept++;
    for (int i = 0; i < r->n && status >= 0; i++)
        status = quern__part_keep(&r->parts[i], &r->places[k][i], err);
    return status;
}

static int64_t size_of(const records *r, int k)
{
    int64_t rest = r->parts[0].records - k * r->block;
    return rest < r->block ? rest : r->block;
}

/* A pass that finds the places and gives nothing: of a run that goes on behind the first epoch. */
static int find_places(records *r, quern_error *err)
{
    forget_places(r);
    int status = rewind_parts(r, err);
    for (int k = 0; k < r->n_blocks && status >= 0; k++) {
        quern__begin("looking for places in", r->parts[0].where, "record", k * r->block + 1);
        status = keep_places(r, k, err);
        for (int i = 0; i < r->n_read && status >= 0; i++)
            status = quern__part_skip(&r->parts[r->read[i]], size_of(r, k), err);
    }
    if (status < 0)
        forget_places(r);
    return status;
}

/* Begins the next block of the pass; QUERN_END behind the last. */
static int next_block(records *r, quern_error *err)
{
    int status = QUERN_OK, k = r->visited;
    if (k == r->n_blocks)
        return QUERN_END;
    if (!r->in_order) {
        k = (int)quern__random_permute(r->key, (uint64_t)r->n_blocks, (uint64_t)k);
        for (int i = 0; i < r->n && status >= 0; i++)
            status = quern__part_go(&r->parts[i], &r->places[k][i], err);
    } else if (r->kept == k && r->n_blocks > 1)
        status = keep_places(r, k, err);
    r->left = size_of(r, k);
    r->visited++;
    return status;
}

static int forward_rewind(void *self, quern_error *err)
{
    records *r = self;
    r->left = 0;
    r->visited = 0;
    return r->in_order ? rewind_parts(r, err) : r->kept < r->n_blocks ? find_places(r, err) : QUERN_OK;
}

/* Whether n numbers that part k gave last are whole, where they must be. */
static int check_whole(const records *r, int k, const float *x, const double *y, quern_error *err)
{
    const quern__part_file *p = &r->parts[r->read[k]];
    char where[256];
    for (int64_t i = 0; r->whole[k] && i < p->per; i++) {
        double v = x ? (double)x[i] : y[i];
        if (!(v == floor(v) && fabs(v) <= INT32_MAX)) {
            int64_t bytes = p->per * (int64_t)quern_dtype_size(p->dtype);
            snprintf(where, sizeof where, "%.200s: record %lld", p->where, (long long)((p->at - p->offset) / bytes));
            return quern__fail(err, QUERN_INVALID, where, "%s %g is no whole number", x ? "input" : "label", v);
        }
    }
    return QUERN_OK;
}

static int forward_read(void *self, float *x, double *y, quern_error *err)
{
    records *r = self;
    int status = r->left > 0 ? QUERN_OK : next_block(r, err), whole = QUERN_OK;
    r->passed = false;
    if (status != QUERN_OK)
        return status;
    r->left--;
    for (int k = 0; k < r->n_read && status >= 0; k++) {
        quern__part_file *p = &r->parts[r->read[k]];
        bool input = r->roles[r->read[k]] == 'x';
        status = quern__part_read(p, -1, input ? QUERN_FLOAT32 : QUERN_FLOAT64, input ? (void *)x : (void *)y, err);
        if (status >= 0 && whole >= 0)
            whole = check_whole(r, k, input ? x : NULL, y, err);
        x += input ? p->per : 0;
        y += input ? 0 : p->per;
    }
    r->passed = status >= 0;
    return status < 0 ? status : whole;
}

static bool forward_passed(void *self) { return ((records *)self)->passed; }

static quern_generator *forward(records *r, quern_error *err)
{
    quern__stream s = { .match = forward_match,
                        .describe = forward_describe,
                        .rewind = forward_rewind,
                        .order = forward_order,
                        .read = forward_read,
                        .passed = forward_passed,
                        .free = records_free,
                        .self = r,
                        .bytes = places_bytes + (1 << 20),
                        .where = r->parts[0].where };
    for (int i = 0; i < r->n; i++) {
        s.x_count += r->roles[i] == 'x' ? r->parts[i].per : 0;
        s.y_count += r->roles[i] == 'y' ? r->parts[i].per : 0;
        s.weighted = s.weighted || r->roles[i] == 'w';
    }
    cut_into_blocks(r);
    return quern__stream_generator(&s, err);
}

quern_generator *quern__records_open(const char *words, const char *format, quern_error *err)
{
    static const quern__source_ops kind = {
        .open = numbered_open, .read = numbered_read, .free = numbered_free, .describe = numbered_describe
    };
    records *r = read_words(words, format, err);
    bool by_number = true;
    for (int i = 0; r && i < r->n; i++)
        by_number = by_number && r->parts[i].by_number;
    if (!r || !by_number)
        return r ? forward(r, err) : NULL;
    quern_generator *g = quern__generator_new(&kind, r);
    if (!g) {
        records_free(r);
        quern__fail_memory(err, sizeof *g);
        return NULL;
    }
    g->finite = true;
    g->file_of = file_of;
    g->bad.can = 1u << QUERN_BAD_SKIP | 1u << QUERN_BAD_SUBSTITUTE;
    g->count = r->parts[0].records;
    g->where = r->parts[0].where;
    return g;
}
