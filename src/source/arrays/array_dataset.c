/* Arrays in files as records: x=FILE y=FILE [w=FILE], with x:NAME= and y:NAME= for several
 * inputs and outputs, or one NPZ.
 * If all files support random access, so does the source: the shuffle is exact, and any number
 * of workers reads.
 * Otherwise (gzip, deflated members) the files are read sequentially in parallel. The first
 * epoch records the inflate state at up to 64 block starts; later epochs visit the blocks in a
 * random order. */
#include "array_dataset.h"
#include "source/column_map.h"
#include "source/generator_struct.h"
#include "tensor/convert_dtype.h"

#include <stdio.h>
#include <string.h>

enum { places_bytes = 2 << 20 };

/* ---- mapping of files to arrays ---- */

/* The file for array k of the batch: by the name of the input or output, else the next file
 * without a name. */
static int part_for(const quern__records *r, const quern_batch_spec *spec, int k)
{
    char role = k < spec->n_inputs ? 'x' : 'y';
    int place = k < spec->n_inputs ? k : k - spec->n_inputs;
    for (int i = 0; i < r->n; i++)
        if (r->roles[i] == role && *r->names[i] && spec->names[k] &&
            !strcmp(r->names[i], spec->names[k]))
            return i;
    for (int i = 0; i < r->n; i++)
        if (r->roles[i] == role && !*r->names[i] && place-- == 0)
            return i;
    return -1;
}

/* Maps weight files. A file without a name has one weight per record for all targets, or weights
 * per step for the only target. */
static int match_weights(quern__records *r, const quern_batch_spec *spec, quern_error *err)
{
    r->weight = -1;
    for (int t = 0; t < QUERN_MAX_ARRAYS; t++)
        r->own[t] = -1;
    for (int i = 0; i < r->n && spec->n_targets; i++) {
        quern__array_file *p = &r->parts[i];
        int t = 0;
        if (r->roles[i] != 'w')
            continue;
        while (*r->names[i] && t < spec->n_targets &&
               strcmp(r->names[i], spec->names[spec->n_inputs + t]))
            t++;
        bool all = !*r->names[i] && p->per == 1 && p->shape.rank <= 2;
        if (t == spec->n_targets)
            return quern__fail(err, QUERN_INVALID, p->where, "no output is called '%s'",
                               r->names[i]);
        if ((!all && quern__weights_kind(spec, t, &p->shape) < 0) ||
            (!*r->names[i] && !all && spec->n_targets > 1))
            return quern__fail(
                err, QUERN_SHAPE, p->where,
                "expected weights with one number per record, or per record and step%s",
                *r->names[i] ? "" : " with w:OUTPUT=");
        int *to = all ? &r->weight : &r->own[t];
        if (*to >= 0)
            return quern__fail(err, QUERN_SHAPE, p->where, "these weights are given twice");
        *to = i;
    }
    return QUERN_OK;
}

/* Maps files to the arrays of the batch and compares their axes. Every file of role x must be
 * used. */
static int dataset_match(quern__records *r, const quern_batch_spec *spec, quern_error *err)
{
    int used = 0, status = match_weights(r, spec, err);
    if (status < 0)
        return status;
    for (int k = 0; k < spec->n_inputs + spec->n_targets; k++) {
        int i = part_for(r, spec, k);
        r->order[k] = i;
        if (i < 0)
            return quern__fail(err, QUERN_INVALID, r->parts[0].where, "no file for %s '%s'",
                               k < spec->n_inputs ? "input" : "output",
                               spec->names[k] ? spec->names[k] : "?");
        used += r->roles[i] == 'x';
        quern__array_file *p = &r->parts[i];
        bool input = k < spec->n_inputs;
        p->channels =
            r->channels_first && input && quern__has_channels(&p->shape, &spec->shapes[k]);
        quern_shape have = quern__array_file_shape(p);
        status = quern__deal_axes(spec, k, p->where, &have, err);
        if (status < 0)
            return status;
    }
    for (int i = 0; i < r->n; i++)
        used -= r->roles[i] == 'x';
    return used ? quern__fail(err, QUERN_INVALID, r->parts[0].where, "the model has %d inputs",
                              spec->n_inputs)
                : QUERN_OK;
}

/* Describes records without a model: inputs, then targets, in the order of the words. */
static int dataset_describe(quern__records *r, quern__description *out, quern_error *err)
{
    *out = (quern__description){ 0 };
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < r->n; i++) {
            quern__array_file *p = &r->parts[i];
            int k = out->n_x + out->n_y;
            if (r->roles[i] == 'w' && side == 0) {
                if (*r->names[i] || p->per != 1)
                    return quern__fail(err, QUERN_UNSUPPORTED, p->where,
                                       "weights per output or step cannot be prepared");
                out->weighted = true;
            }
            if (r->roles[i] != (side ? 'y' : 'x'))
                continue;
            p->channels =
                r->channels_first && side == 0 && quern__has_channels(&p->shape, &p->shape);
            out->shapes[k] = quern__array_file_shape(p);
            out->shapes[k].dims[0] = -1;
            out->dtypes[k] = p->dtype;
            snprintf(out->names[k], sizeof out->names[k], "%s", r->names[i]);
            *(side ? &out->n_y : &out->n_x) += 1;
        }
    return QUERN_OK;
}

/* The shapes of the inputs, whatever the weights are. */
static int dataset_shapes(const quern_generator *g, quern__description *out, quern_error *err)
{
    quern__records *r = g->self;
    (void)err;
    *out = (quern__description){ 0 };
    for (int i = 0; i < r->n; i++) {
        quern__array_file *p = &r->parts[i];
        if (r->roles[i] != 'x')
            continue;
        p->channels = r->channels_first && quern__has_channels(&p->shape, &p->shape);
        out->shapes[out->n_x] = quern__array_file_shape(p);
        snprintf(out->names[out->n_x], sizeof *out->names, "%s", r->names[i]);
        out->n_x++;
    }
    return QUERN_OK;
}

static int indexed_describe(const quern_generator *g, quern__description *out, quern_error *err)
{
    return dataset_describe(g->self, out, err);
}
static int forward_describe(const void *self, quern__description *out, quern_error *err)
{
    return dataset_describe((quern__records *)(uintptr_t)self, out, err);
}

/* ---- random access ---- */

static int indexed_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle,
                        uint64_t seed, quern_error *err)
{
    quern__records *r = g->self;
    g->spec = spec;
    r->shuffle = shuffle;
    r->seed = seed;
    return dataset_match(r, spec, err);
}

/* Reads record `record` into row `at` of the batch, with its weights. */
static int read_record(quern__records *r, quern_batch *b, int64_t record, int64_t at,
                       quern_error *err)
{
    const quern_batch_spec *s = b->spec;
    int status = QUERN_OK;
    for (int k = 0; k < s->n_inputs + s->n_targets && status >= 0; k++) {
        char *to = (char *)b->arrays[k] +
                   (size_t)(at * quern__per_record(&s->shapes[k])) * quern_dtype_size(s->dtypes[k]);
        status = quern__array_file_read(&r->parts[r->order[k]], record, s->dtypes[k], to, err);
    }
    if (r->weight >= 0 && status >= 0)
        status = quern__array_file_read(&r->parts[r->weight], record, QUERN_FLOAT32,
                                        b->weights + at, err);
    for (int t = 0; t < s->n_targets && status >= 0; t++) {
        quern__array_file *p = r->own[t] < 0 ? NULL : &r->parts[r->own[t]];
        status = p ? quern__array_file_read(p, record, QUERN_FLOAT32,
                                            b->target_weights[t] + at * p->per, err)
                   : QUERN_OK;
    }
    return status;
}

/* Substitutes a bad record: the nearest good record before it, else the nearest after it. */
static int read_substitute(quern_generator *g, quern_batch *b, int64_t record, int64_t at,
                           quern_error *err)
{
    for (int64_t k = 1; k <= b->bad->most && record - k >= g->from; k++)
        if (read_record(g->self, b, record - k, at, NULL) >= 0)
            return QUERN_OK;
    for (int64_t k = 1; k <= b->bad->most && record + k < g->from + g->count; k++)
        if (read_record(g->self, b, record + k, at, NULL) >= 0)
            return QUERN_OK;
    return quern__fail(err, QUERN_FORMAT, g->where,
                       "record %lld: no good record near it can substitute it",
                       (long long)record + 1);
}

/* Reads the records of a batch. A bad record is skipped or substituted, so the batch may become
 * smaller. */
static int indexed_read(quern_generator *g, int64_t pass, int64_t first, quern_batch *b,
                        quern_error *err)
{
    quern__records *r = g->self;
    int64_t good = 0;
    quern__activity_set("reading", g->where, "record", 0);
    quern__number_records(g, r->shuffle, r->seed, pass, first, b);
    for (int64_t i = 0; i < b->size; i++) {
        quern_error own = { 0 };
        b->indices[good] = b->indices[i];
        quern__begin_next(b->indices[i] + 1);
        int status = read_record(r, b, b->indices[good], good, &own);
        bool bad = status < 0, replace = bad && b->bad && b->bad->policy == QUERN_BAD_SUBSTITUTE;
        if (bad)
            status = quern__bad_record(b->bad, status, &own, err);
        if (replace && status >= 0)
            status = read_substitute(g, b, b->indices[good], good, err);
        if (status < 0)
            return status;
        good += !bad || replace;
    }
    b->size = good;
    b->has_weights = r->weight >= 0;
    for (int t = 0; t < b->spec->n_targets; t++)
        b->weighs[t] = r->own[t] < 0 ? QUERN_WEIGHTS_COMMON
                                     : quern__weights_kind(b->spec, t, &r->parts[r->own[t]].shape);
    return QUERN_OK;
}

static const char *file_of(const quern_generator *g, int array)
{
    const quern__records *r = g->self;
    return r->parts[r->order[array]].where;
}
static void indexed_free(quern_generator *g) { quern__records_free(g->self); }

/* ---- sequential ---- */

/* Divides the records into as many blocks as the memory for their inflate states allows. */
static void divide_into_blocks(quern__records *r)
{
    int zipped = 0, places = 1;
    for (int i = 0; i < r->n; i++) {
        zipped += r->parts[i].gz != NULL;
        places = places && quern__array_file_has_places(&r->parts[i]);
    }
    int64_t most = zipped ? (int64_t)(places_bytes / ((size_t)zipped * quern__gunzip_mark_bytes()))
                          : QUERN__RECORDS_BLOCKS;
    most = !places || most < 1 ? 1 : most > QUERN__RECORDS_BLOCKS ? QUERN__RECORDS_BLOCKS : most;
    r->block = (r->parts[0].records + most - 1) / most;
    r->block = r->block > 0 ? r->block : 1;
    r->n_blocks = (int)((r->parts[0].records + r->block - 1) / r->block);
    r->in_order = true;
}

static void forward_order(void *self, const quern__random_key *key, int64_t epoch)
{
    quern__records *r = self;
    r->in_order =
        !key || epoch == 0 || r->n_blocks == 1; /* the first epoch records the block starts */
    if (key)
        r->key = *key;
}

/* Selects the files that the run reads. Block starts are valid only for the files of the pass
 * that recorded them. */
static int forward_match(void *self, const quern_batch_spec *spec, int64_t *x_count,
                         int64_t *y_count, quern_error *err)
{
    quern__records *r = self;
    int read[QUERN__RECORDS_PARTS], n = spec->n_inputs + spec->n_targets,
                                    status = dataset_match(r, spec, err);
    if (status < 0)
        return status;
    for (int t = 0; t < spec->n_targets; t++)
        if (r->own[t] >= 0)
            return quern__fail(err, QUERN_UNSUPPORTED, r->parts[r->own[t]].where,
                               "weights per output or step need uncompressed files");
    memcpy(read, r->order, (size_t)n * sizeof *read);
    memset(r->types, 0, sizeof r->types);
    if (r->weight >= 0)
        read[n++] = r->weight;
    if (n != r->n_read || memcmp(read, r->read, (size_t)n * sizeof *read))
        quern__records_forget(r);
    memcpy(r->read, read, (size_t)n * sizeof *read);
    r->n_read = n;
    *x_count = *y_count = 0;
    for (int k = 0; k < spec->n_inputs + spec->n_targets; k++) {
        *(k < spec->n_inputs ? x_count : y_count) += r->parts[r->order[k]].per;
        r->types[k] = spec->dtypes[k];
    }
    return QUERN_OK;
}

static int rewind_parts(quern__records *r, quern_error *err)
{
    int status = QUERN_OK;
    for (int i = 0; i < r->n && status >= 0; i++)
        status = quern__array_file_rewind(&r->parts[i], err);
    return status;
}

/* Records the start of block k. */
static int keep_places(quern__records *r, int k, quern_error *err)
{
    int status = QUERN_OK;
    memset(r->places[k], 0, sizeof r->places[k]);
    r->kept++;
    for (int i = 0; i < r->n && status >= 0; i++)
        status = quern__array_file_keep(&r->parts[i], &r->places[k][i], err);
    return status;
}

static int64_t block_size(const quern__records *r, int k)
{
    int64_t rest = r->parts[0].records - k * r->block;
    return rest < r->block ? rest : r->block;
}

/* Reads all files once to record the block starts, for a run that resumes after the first epoch. */
static int find_places(quern__records *r, quern_error *err)
{
    quern__records_forget(r);
    int status = rewind_parts(r, err);
    for (int k = 0; k < r->n_blocks && status >= 0; k++) {
        quern__activity_set("indexing", r->parts[0].where, "record", k * r->block + 1);
        status = keep_places(r, k, err);
        for (int i = 0; i < r->n_read && status >= 0; i++)
            status = quern__array_file_skip(&r->parts[r->read[i]], block_size(r, k), err);
    }
    if (status < 0)
        quern__records_forget(r);
    return status;
}

/* Starts the next block of the pass; QUERN_END after the last. */
static int dataset_next_block(quern__records *r, quern_error *err)
{
    int status = QUERN_OK, k = r->visited;
    if (k == r->n_blocks)
        return QUERN_END;
    if (!r->in_order) {
        k = (int)quern__random_permute(r->key, (uint64_t)r->n_blocks, (uint64_t)k);
        for (int i = 0; i < r->n && status >= 0; i++)
            status = quern__array_file_go(&r->parts[i], &r->places[k][i], err);
    } else if (r->kept == k && r->n_blocks > 1)
        status = keep_places(r, k, err);
    r->left = block_size(r, k);
    r->visited++;
    return status;
}

static int forward_rewind(void *self, quern_error *err)
{
    quern__records *r = self;
    r->left = 0;
    r->visited = 0;
    return r->in_order             ? rewind_parts(r, err)
           : r->kept < r->n_blocks ? find_places(r, err)
                                   : QUERN_OK;
}

/* Checks that the target elements of part k are integers if the type requires it. */
static int check_whole(const quern__records *r, int k, const double *y, quern_error *err)
{
    const quern__array_file *p = &r->parts[r->read[k]];
    char why[128];
    int32_t label;
    for (int64_t i = 0; r->types[k] == QUERN_INT32 && i < p->per; i++)
        if (!quern__convert(y + i, QUERN_FLOAT64, 1, &label, QUERN_INT32, 0))
            return quern__array_file_fail(
                p, (p->at - p->offset) / (p->per * (int64_t)quern_dtype_size(p->dtype)) - 1,
                QUERN_INVALID, quern__convert_why(y + i, QUERN_FLOAT64, 0, QUERN_INT32, why), err);
    return QUERN_OK;
}

/* Reads all parts of a record, also after an element that does not fit; reading can continue
 * after it. */
static int forward_read(void *self, float *x, double *y, quern_error *err)
{
    quern__records *r = self;
    int status = r->left > 0 ? QUERN_OK : dataset_next_block(r, err), fits = QUERN_OK;
    r->passed = false;
    if (status != QUERN_OK)
        return status;
    r->left--;
    for (int k = 0; k < r->n_read && status >= 0; k++) {
        quern__array_file *p = &r->parts[r->read[k]];
        bool input = r->roles[r->read[k]] == 'x';
        quern_error *own = fits < 0 ? NULL : err;
        status = quern__array_file_read(p, -1, input ? r->types[k] : QUERN_FLOAT64,
                                        input ? (void *)x : (void *)y, own);
        int misfit = status == QUERN_INVALID ? status
                     : status >= 0 && !input ? check_whole(r, k, y, own)
                                             : QUERN_OK;
        if (fits >= 0)
            fits = misfit;
        status = status == QUERN_INVALID ? QUERN_OK : status;
        x += input ? p->per * (r->types[k] == QUERN_INT64 ? 2 : 1) : 0;
        y += input ? 0 : p->per;
    }
    r->passed = status >= 0;
    return status < 0 ? status : fits;
}

static bool forward_passed(void *self) { return ((quern__records *)self)->passed; }

/* Makes a record stream of the files. Takes r. */
static quern_generator *sequential_new(quern__records *r, quern_error *err)
{
    quern__stream s = { .match = forward_match,
                        .describe = forward_describe,
                        .rewind = forward_rewind,
                        .order = forward_order,
                        .read = forward_read,
                        .passed = forward_passed,
                        .free = quern__records_free,
                        .self = r,
                        .bytes = places_bytes + (1 << 20),
                        .where = r->parts[0].where };
    for (int i = 0; i < r->n; i++) {
        s.x_count += r->roles[i] == 'x' ? r->parts[i].per : 0;
        s.y_count += r->roles[i] == 'y' ? r->parts[i].per : 0;
        s.weighted = s.weighted || r->roles[i] == 'w';
        s.bytes += quern__array_file_block_bytes(&r->parts[i]);
    }
    divide_into_blocks(r);
    return quern__stream_generator(&s, err);
}

quern_generator *quern__records_open(const char *words, const char *format, bool channels_first,
                                     quern_error *err)
{
    static const quern__source_ops kind = { .open = indexed_open,
                                            .read = indexed_read,
                                            .free = indexed_free,
                                            .describe = indexed_describe,
                                            .shapes = dataset_shapes };
    quern__records *r = quern__records_words(words, format, err);
    bool by_number = true;
    if (r)
        r->channels_first = channels_first;
    if (r)
        for (int i = 0; i < r->n; i++)
            by_number = by_number && r->parts[i].by_number;
    if (!r || !by_number)
        return r ? sequential_new(r, err) : NULL;
    quern_generator *g = quern__generator_new(&kind, r);
    if (!g) {
        quern__records_free(r);
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
