/* predict: writes predictions as a table (with a header, class names and kept columns), as lines of
 * JSON, or as arrays. The file name selects the format. */
#include "predict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- file format ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && !strcmp(name + n - m, end);
}

/* The format by file name. Returns false after an error message. */
static bool read_output_kind(const arguments *a, const char *output, kind *out)
{
    static const struct {
        const char *end;
        kind kind;
    } kinds[] = {
        { ".csv", CSV }, { ".tsv", TSV }, { ".npy", NPY }, { ".npz", NPZ }, { ".jsonl", JSONL }
    };
    *out = a->json ? JSONL : CSV;
    if (!strcmp(output, "-"))
        return true;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (ends_with(output, kinds[i].end)) {
            *out = kinds[i].kind;
            return true;
        }
    return cli_wrong(output, "must be FILE.csv, .tsv, .npy, .npz, .jsonl, or -"), false;
}

/* ---- arrays ---- */

/* Whether the predictions have the shapes for which the output is prepared. They may differ if a
 * program gives batches of other sizes than --input-shape. */
static bool shapes_fit(const writing *w, const quern_prediction *p)
{
    char have[96], want[96];
    for (int i = 0; i < w->n_outputs; i++)
        if (!quern_shape_equal(&p->shapes[i], &w->outputs[i].shape)) {
            fprintf(stderr, "quern: predictions of shape %s, --input-shape gives %s\n",
                    quern_shape_text(&p->shapes[i], have, sizeof have),
                    quern_shape_text(&w->outputs[i].shape, want, sizeof want));
            fprintf(stderr, "hint: set --input-shape to the sizes of the data\n");
            return false;
        }
    return true;
}

static int write_batch(void *user, const quern_prediction *p)
{
    writing *w = user;
    bool failed = !shapes_fit(w, p);
    if (failed)
        return w->misfit = true;
    for (int i = 0; i < w->n_outputs && (w->kind == NPY || w->kind == NPZ); i++) {
        const predicted *o = &w->outputs[i];
        size_t n = (size_t)(p->records * o->width);
        failed = failed || fwrite(p->outputs[i], sizeof(float), n, o->to) < n;
    }
    if (!w->begun &&
        (w->kind == CSV || w->kind == TSV)) /* a failure before the first record writes nothing */
        cli_rows_header(w);
    w->begun = true;
    for (int64_t r = 0; r < p->records && w->to; r++)
        w->kind == JSONL ? cli_rows_json(w, p, r) : cli_rows_put(w, p, r);
    return failed || (w->to && ferror(w->to));
}

/* Writes the dictionary of a .npy header for `records` records. Returns its length. */
static int npy_dictionary(const predicted *o, int64_t records, char *out, size_t room)
{
    int n = snprintf(out, room, "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld,",
                     (long long)records);
    for (int i = 1; i < o->shape.rank; i++)
        n += snprintf(out + n, room - (size_t)n, i + 1 < o->shape.rank ? " %lld," : " %lld",
                      (long long)o->shape.dims[i]);
    return n + snprintf(out + n, room - (size_t)n, "), }");
}

/* Writes the header of a .npy. Its length does not depend on the number of records, so it can be
 * overwritten at the end. */
static void npy_header(const predicted *o, int64_t records)
{
    char text[512];
    int whole = npy_dictionary(o, INT64_MAX, text, sizeof text) < 118 ? 128 : 256;
    memcpy(text, "\x93NUMPY\x01\x00", 8);
    text[8] = (char)(whole - 10);
    text[9] = 0;
    int n = npy_dictionary(o, records, text + 10, sizeof text - 10);
    memset(text + 10 + n, ' ', (size_t)(whole - 10 - n));
    text[whole - 1] = '\n';
    fwrite(text, 1, (size_t)whole, o->to);
}

/* Creates a temporary file in the folder of `path` and writes its name to `beside`. Returns NULL
 * after an error message. */
static FILE *create_temporary(const char *path, char *beside)
{
    quern_error err = { 0 };
    bool can = quern_file_check(path, &err) >= 0 && quern_file_beside(path, beside, &err) >= 0;
    if (can)
        cli_leave_nothing(beside);
    FILE *to = can ? fopen(beside, "wbx") : NULL;
    if (!to && !err.code && errno == ENOMEM)
        cli_no_memory();
    else if (!to && !err.code)
        cli_wrong(path, strerror(errno));
    else if (!to)
        cli_fail(err.code, &err);
    return to;
}

/* Creates a temporary file for each array. Returns false after an error message. */
static bool open_arrays(writing *w, const char *path)
{
    for (int i = 0; i < w->n_outputs; i++) {
        predicted *o = &w->outputs[i];
        o->to = create_temporary(path, o->path);
        if (!o->to)
            return false;
        npy_header(o, 0);
    }
    return true;
}

static bool close_arrays(writing *w, int64_t records)
{
    bool good = true;
    for (int i = 0; i < w->n_outputs && w->outputs[i].to; i++) {
        if (!fseek(w->outputs[i].to, 0, SEEK_SET))
            npy_header(&w->outputs[i], records);
        good = !ferror(w->outputs[i].to) && good;
        good = !fclose(w->outputs[i].to) && good;
    }
    return good;
}

static int pack_arrays(const writing *w, const char *path)
{
    const char *names[most_outputs], *files[most_outputs];
    quern_error err = { 0 };
    for (int i = 0; i < w->n_outputs; i++) {
        names[i] = w->outputs[i].name;
        files[i] = w->outputs[i].path;
    }
    if (w->kind == NPY)
        return quern_file_replace(files[0], path, &err) < 0 ? cli_fail(err.code, &err) : 0;
    return quern_npz_pack(path, names, files, w->n_outputs, &err) < 0 ? cli_fail(err.code, &err)
                                                                      : 0;
}

/* Standard output is checked at the end of the command. */
static bool close_text(writing *w, bool standard)
{
    bool good = standard || !ferror(w->to);
    return (standard || fclose(w->to) == 0) && good;
}

/* ---- the command ---- */

static void name_outputs(writing *w, const quern_model *m)
{
    w->schema = quern_model_schema(m);
    w->n_outputs = quern_model_outputs(m);
    for (int i = 0; i < w->n_outputs; i++) {
        predicted *o = &w->outputs[i];
        o->name = quern_model_output_name(m, i);
        o->shape = quern_model_output_shape(m, i);
        o->width = 1;
        for (int k = 1; k < o->shape.rank; k++)
            o->width *= o->shape.dims[k];
    }
}

/* Takes the next name of a comma-separated list, in place. A quoted name may contain commas and
 * doubled quotes. */
static char *next_name(char **rest)
{
    char *name = *rest, *to = name, *p = name;
    bool quoted = *p == '"';
    for (p += quoted; *p && (quoted || *p != ','); p++) {
        if (quoted && *p == '"' && p[1] != '"') {
            quoted = false;
            continue;
        }
        p += quoted && *p == '"';
        *to++ = *p;
    }
    *rest = *p ? p + 1 : p;
    *to = 0;
    return name;
}

/* Reads the names of --keep. Returns false after an error message. */
static bool name_kept(writing *w)
{
    for (char *rest = w->kept_names; rest && *rest;) {
        if (w->n_kept == most_kept)
            return cli_wrong("--keep", "has more than 8 columns"), false;
        char *name = next_name(&rest);
        for (int i = 0; i < w->n_kept; i++)
            if (!strcmp(w->kept[i], name))
                return cli_wrong("--keep", "names a column twice"), false;
        w->kept[w->n_kept++] = name;
    }
    return true;
}

/* Checks that the format can hold the predictions. Returns false after an error message. */
static bool check_format(const writing *w)
{
    bool arrays = w->kind == NPY || w->kind == NPZ;
    if (w->kind == NPY && w->n_outputs > 1)
        return cli_wrong("--output", "an .npy file has one array; use .npz for several outputs"),
               false;
    if (arrays && (w->winner || w->n_kept))
        return cli_wrong(w->winner ? "--classes" : "--keep",
                         "needs .csv, .tsv or .jsonl, because arrays cannot store text"),
               false;
    if (w->n_outputs > most_outputs)
        return cli_wrong("MODEL", "has more than 16 outputs"), false;
    bool classes = false;
    for (int64_t i = 0; i < w->n_parts; i++)
        classes = classes || cli_part_has_winner(&w->parts[i]);
    if (w->winner && !classes)
        return cli_wrong("--classes", "the model predicts numbers, not classes"), false;
    return true;
}

static int run_predict(writing *w, const arguments *a, quern_model *m, quern_generator *data,
                       const char *path)
{
    quern_error err = { 0 };
    quern_predict_opts o = { .keep = cli_option(a, "keep") };
    bool standard = !strcmp(path, "-"), arrays = w->kind == NPY || w->kind == NPZ;
    char beside[4096] = "";
    int64_t widest = 1;
    cli_count(a, "batch-size", &o.batch_size);
    cli_count(a, "steps", &o.steps);
    for (int i = 0; i < w->n_outputs; i++)
        widest = w->outputs[i].width > widest ? w->outputs[i].width : widest;
    w->row = malloc((size_t)widest * sizeof *w->row);
    if (!w->row)
        return cli_no_memory();
    w->to = arrays ? NULL : standard ? stdout : create_temporary(path, beside);
    if (arrays ? !open_arrays(w, path) : !w->to)
        return cli_left(), 1;
    int64_t records = quern_predict_with(m, data, &o, write_batch, w, &err);
    bool good = arrays ? close_arrays(w, records < 0 ? 0 : records) : close_text(w, standard);
    int code = w->misfit ? 1 : records < 0 ? cli_fail((int)records, &err) : 0;
    if (!code && !good) {
        cli_wrong(path, "cannot be written");
        code = 1;
    }
    if (!code && arrays)
        code = pack_arrays(w, path);
    else if (!code && !standard && quern_file_replace(beside, path, &err) < 0)
        code = cli_fail(err.code, &err);
    if (code && *beside)
        remove(beside);
    for (int i = 0; i < w->n_outputs && arrays;
         i++) /* temporary files of an NPZ, or of a failed run */
        if (code || w->kind == NPZ)
            remove(w->outputs[i].path);
    cli_left();
    if (!code)
        cli_print_profile(a, m);
    if (!code && a->json && !standard)
        printf("{\"records\":%lld}\n", (long long)records);
    return code;
}

int cli_predict(const arguments *a)
{
    quern_error err = { 0 };
    const char *path = cli_option(a, "output"), *keep = cli_option(a, "keep");
    writing w = { .winner = cli_option(a, "classes") != NULL };
    int64_t number = 0;
    int code = 0;
    if (!path)
        return cli_wrong("--output", "is missing: FILE.csv, .tsv, .npy, .npz, .jsonl, or -");
    if (!read_output_kind(a, path, &w.kind) || !cli_range(a, "batch-size", 1, INT32_MAX, &number) ||
        !cli_count(a, "steps", &number))
        return 2;
    quern_model *m = cli_open(a, 1, &err, &code);
    quern_generator *data =
        m ? cli_data(a, m, "generator", a->words + 1, a->n - 1, &err, &code) : NULL;
    if (data && quern_model_outputs(m) <= most_outputs)
        name_outputs(&w, m);
    w.kept_names = keep ? strdup(keep) : NULL;
    if (data && keep && !w.kept_names)
        code = cli_no_memory();
    else if (data && !name_kept(&w))
        code = 2;
    else if (data && !cli_parts_make(&w, m))
        code = cli_no_memory();
    else if (data && !check_format(&w))
        code = 2;
    if (data && !code)
        code = run_predict(&w, a, m, data, path);
    free(w.row);
    cli_parts_free(&w);
    free(w.kept_names);
    quern_generator_free(data);
    quern_model_free(m);
    return code;
}
