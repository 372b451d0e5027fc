/* category_encoding: CategoryEncoding, Hashing and HashedCrossing: numbers and strings become
 * categories; categories become indices, one-hot or multi-hot rows.
 * https://keras.io/api/layers/preprocessing_layers/categorical/ */
#include "keras/keras.h"

#include "text/keras/farmhash.h"
#include "text/keras/siphash.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { most_bins = 1 << 24 }; /* the largest integer range that float32 represents exactly */

/* ---- encoding ---- */

static const char *const modes[] = { "int", "one_hot", "multi_hot", "count" };
enum { AS_INT, AS_ONE_HOT, AS_MULTI_HOT, AS_COUNT, n_modes };

static int mode_of(const quern__layer *l)
{
    const char *mode = quern__config_text(l->config, "output_mode");
    int k = 0;
    while (k < n_modes && mode && strcmp(mode, modes[k]))
        k++;
    return mode ? k : n_modes;
}

int quern__check_output_mode(quern__layer *l, int first, int n, quern_error *err)
{
    const char *mode = quern__config_text(l->config, "output_mode");
    int k = mode_of(l);
    return k >= first && k < n ? QUERN_OK
                               : quern__fail(err, QUERN_INVALID, l->name,
                                             "output_mode '%.40s' is not supported by this layer",
                                             mode ? mode : "null");
}

quern__id quern__encode_categories(quern__layer *l, quern__graph *g, quern__id indices,
                                   int64_t depth, quern__id weights)
{
    int mode = mode_of(l), rank = quern__shape_of(g, indices)->rank;
    quern_shape s = *quern__shape_of(g, indices);
    if (mode == AS_INT || !indices)
        return indices;
    if (mode != AS_ONE_HOT && rank < 2)
        return quern__graph_fail(g, QUERN_SHAPE, "output_mode %s needs inputs (None, categories)",
                                 modes[mode]);
    if (mode == AS_ONE_HOT && rank > 1 && s.dims[rank - 1] == 1) {
        s.rank--;
        indices = quern__reshape(g, indices, &s);
    }
    quern__id marks = quern__one_hot(g, indices, depth, false);
    if (weights) {
        s.dims[s.rank++] = 1;
        marks = quern__mul2(g, marks, quern__reshape(g, weights, &s));
    }
    return mode == AS_ONE_HOT ? marks
                              : quern__reduce(g, mode == AS_COUNT ? QUERN__SUM : QUERN__REDUCE_MAX,
                                              marks, 2, false);
}

/* ---- CategoryEncoding ---- */

static int encoding_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int64_t tokens = quern__config_int(l->config, "num_tokens");
    const char *mode = quern__config_text(l->config, "output_mode");
    (void)in, (void)n;
    if (tokens < 1 || tokens > most_bins)
        return quern__fail(err, QUERN_INVALID, l->name, "num_tokens must be in 1 … %d", most_bins);
    if (mode && !strcmp(mode, "binary")) /* old name of multi_hot */
        json_object_set_new(l->config, "output_mode", json_string("multi_hot"));
    return quern__check_output_mode(l, AS_ONE_HOT, n_modes, err);
}

static quern__id encoding_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    quern__id weights = quern__layer_argument(l, in, n, "count_weights", 0);
    (void)training;
    if (weights && mode_of(l) != AS_COUNT)
        return quern__graph_fail(g, QUERN_INVALID, "count_weights need output_mode count");
    if (weights && !quern_shape_equal(quern__shape_of(g, weights), quern__shape_of(g, in[0])))
        return quern__graph_fail(g, QUERN_SHAPE,
                                 "count_weights must have the shape of the categories");
    return quern__encode_categories(l, g, in[0], quern__config_int(l->config, "num_tokens"),
                                    weights);
}

/* ---- hashing ---- */

typedef struct hashing {
    quern__look look;
    int64_t bins;
    bool salted, masked;
    int arrays; /* that HashedCrossing combines */
    uint64_t key[2];
    const char *mask; /* as a string; NULL: the mask is a number. Borrowed from the config */
    double number;
    bool whole; /* the mask is the number `integer` */
    int64_t integer;
} hashing;

/* The bytes of element i: a string as it is, a number truncated to an integer in decimal. NULL: the
 * integer is not exact. */
static const char *bytes_of(const quern_tensor *t, int64_t i, char digits[24], size_t *n)
{
    if (t->dtype == QUERN_STRING) {
        const quern_string *s = (const quern_string *)t->data + i;
        *n = s->size > 0 ? (size_t)s->size : 0;
        return s->data ? s->data : "";
    }
    double x = quern__get(t, i);
    int64_t whole = 0;
    if (!quern__whole_at(t, i, &whole)) {
        if (!(fabs(x) <= most_bins))
            return NULL;
        whole = (int64_t)x;
    }
    *n = (size_t)snprintf(digits, 24, "%lld", (long long)whole);
    return digits;
}

static bool is_mask(const hashing *h, const quern_tensor *t, int64_t i, const char *bytes, size_t n)
{
    if (!h->masked || (t->dtype == QUERN_STRING) != (h->mask != NULL))
        return false;
    if (h->mask)
        return strlen(h->mask) == n && !memcmp(h->mask, bytes, n);
    int64_t whole;
    return h->whole && quern__whole_at(t, i, &whole) ? whole == h->integer
                                                     : quern__get(t, i) == h->number;
}

static int look_bin(const void *self, const quern_tensor *in, int64_t at, int64_t n, float *out,
                    const char **why)
{
    const hashing *h = self;
    char digits[24];
    size_t length;
    const char *bytes = bytes_of(in, at, digits, &length);
    (void)n;
    *why = "a number is not finite or exceeds 2^24, the exact range of float32; use dtype=int64 "
           "for the input";
    if (!bytes)
        return QUERN_NOTFOUND;
    bool apart = h->masked && h->bins > 1; /* bin 0 is reserved for the mask */
    uint64_t bins = (uint64_t)(h->bins - apart), hash = h->salted
                                                            ? quern__siphash(h->key, bytes, length)
                                                            : quern__fingerprint64(bytes, length);
    *out = apart && is_mask(h, in, at, bytes, length) ? 0 : (float)(hash % bins + apart);
    return QUERN_OK;
}

/* A salt is one number or two. */
static int take_salt(quern__layer *l, hashing *h, quern_error *err)
{
    json_t *salt = json_object_get(l->config, "salt"), *one = salt, *two = salt;
    if (json_is_null(salt))
        return QUERN_OK;
    if (json_array_size(salt) == 2) {
        one = json_array_get(salt, 0);
        two = json_array_get(salt, 1);
    }
    if (!json_is_integer(one) || !json_is_integer(two))
        return quern__fail(err, QUERN_INVALID, l->name, "salt must be an integer or a list of two");
    h->salted = true;
    h->key[0] = (uint64_t)json_integer_value(one);
    h->key[1] = (uint64_t)json_integer_value(two);
    return QUERN_OK;
}

static hashing *hashing_new(quern__layer *l, int modes_known, quern_error *err)
{
    int64_t bins = quern__config_int(l->config, "num_bins");
    if (bins < 1 || bins > most_bins) {
        quern__fail(err, QUERN_INVALID, l->name, "num_bins must be in 1 … %d", most_bins);
        return NULL;
    }
    if (quern__check_output_mode(l, AS_INT, modes_known, err) < 0)
        return NULL;
    const char *dtype = quern__config_text(l->config, "dtype");
    if (mode_of(l) == AS_INT && dtype &&
        !strcmp(dtype, "float32")) /* Keras's default for indices, which does not accept float32 */
        json_object_set_new(l->config, "dtype", json_string("int64"));
    hashing *h = l->object = quern__zalloc(1, sizeof *h);
    if (!h)
        quern__fail_memory(err, sizeof *h);
    else
        h->bins = bins;
    return h;
}

static int hashing_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    (void)in, (void)n;
    hashing *h = hashing_new(l, n_modes, err);
    json_t *mask = json_object_get(l->config, "mask_value");
    if (!h)
        return err && err->code ? err->code : QUERN_INVALID;
    h->look = (quern__look){ look_bin, h };
    h->masked = !json_is_null(mask);
    h->mask = json_string_value(mask);
    h->number = json_number_value(mask);
    h->whole = json_is_integer(mask);
    h->integer = json_integer_value(mask);
    if (h->masked && !h->mask && !json_is_number(mask))
        return quern__fail(err, QUERN_INVALID, l->name, "mask_value must be a number or a string");
    return take_salt(l, h, err);
}

static quern__id hashing_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    const hashing *h = l->object;
    bool text = quern__graph_value(g, in[0])->dtype == QUERN_STRING;
    (void)n, (void)training;
    if (h->masked && text != (h->mask != NULL))
        return quern__graph_fail(g, QUERN_INVALID, "mask_value must have the type of the input");
    quern_shape s = *quern__shape_of(g, in[0]);
    return quern__encode_categories(l, g, quern__lookup(g, in, 1, &h->look, 1, 1, &s), h->bins, 0);
}

/* ---- crossing ---- */

static int look_crossed(const void *self, const quern_tensor *in, int64_t at, int64_t n, float *out,
                        const char **why)
{
    const hashing *h = self;
    uint64_t hash = 0xDECAFCAFFE; /* the start value of TensorFlow */
    char digits[24];
    size_t length;
    (void)n;
    *why = "a number is not an integer or exceeds 2^24, the exact range of float32; use "
           "dtype=int64 for the input";
    for (int k = 0; k < h->arrays; k++) {
        const char *bytes = bytes_of(&in[k], at, digits, &length);
        int64_t x = 0;
        if (!bytes || (in[k].dtype != QUERN_STRING && !quern__whole_at(&in[k], at, &x)))
            return QUERN_NOTFOUND;
        hash = quern__fingerprint_cat(
            hash, in[k].dtype == QUERN_STRING ? quern__fingerprint64(bytes, length) : (uint64_t)x);
    }
    *out = (float)(hash % (uint64_t)h->bins);
    return QUERN_OK;
}

static int crossing_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    for (int i = 0; i < n; i++)
        if (n < 2 || in[i].rank > 2 || !quern_shape_equal(&in[i], &in[0]) ||
            (in[i].rank == 2 && in[i].dims[1] != 1))
            return quern__fail(err, QUERN_SHAPE, l->name,
                               "needs at least two inputs, all (None, 1) or all (None,)");
    hashing *h = hashing_new(l, AS_ONE_HOT + 1, err);
    if (!h)
        return err && err->code ? err->code : QUERN_INVALID;
    h->look = (quern__look){ look_crossed, h };
    h->arrays = n;
    return QUERN_OK;
}

static quern__id crossing_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    const hashing *h = l->object;
    quern_shape s = *quern__shape_of(g, in[0]);
    (void)training;
    return quern__encode_categories(l, g, quern__lookup(g, in, n, &h->look, 1, 1, &s), h->bins, 0);
}

static void hashing_drop(quern__layer *l) { quern__free(l->object); }

static const quern__field encoding_fields[] = { { "num_tokens", QUERN__F_INT, NULL },
                                                { "output_mode", QUERN__F_TEXT, "\"multi_hot\"" },
                                                { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                                { 0 } };
static const quern__field hashing_fields[] = { { "num_bins", QUERN__F_INT, NULL },
                                               { "mask_value", QUERN__F_ANY, "null" },
                                               { "salt", QUERN__F_ANY, "null" },
                                               { "output_mode", QUERN__F_TEXT, "\"int\"" },
                                               { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                               { 0 } };
static const quern__field crossing_fields[] = { { "num_bins", QUERN__F_INT, NULL },
                                                { "output_mode", QUERN__F_TEXT, "\"int\"" },
                                                { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                                { 0 } };
static const quern__call_arg encoding_takes[] = { { "inputs", false },
                                                  { "count_weights", false },
                                                  { 0 } };

const quern__class quern__layer_category_encoding = { .group = QUERN__LAYER,
                                                      .name = "CategoryEncoding",
                                                      .aliases = "",
                                                      .module = "keras.layers",
                                                      .fields = encoding_fields,
                                                      .build = encoding_build,
                                                      .call = encoding_call,
                                                      .whole = true,
                                                      .call_args = encoding_takes };
const quern__class quern__layer_hashing = { .group = QUERN__LAYER,
                                            .name = "Hashing",
                                            .aliases = "",
                                            .module = "keras.layers",
                                            .fields = hashing_fields,
                                            .build = hashing_build,
                                            .call = hashing_call,
                                            .strings = true,
                                            .whole = true,
                                            .destroy_state = hashing_drop };
const quern__class quern__layer_hashed_crossing = { .group = QUERN__LAYER,
                                                    .name = "HashedCrossing",
                                                    .aliases = "",
                                                    .module = "keras.layers",
                                                    .fields = crossing_fields,
                                                    .build = crossing_build,
                                                    .call = crossing_call,
                                                    .list = true,
                                                    .strings = true,
                                                    .whole = true,
                                                    .destroy_state = hashing_drop };
