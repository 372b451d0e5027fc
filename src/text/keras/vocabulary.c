/* Vocabularies of Keras's StringLookup and IntegerLookup. */
#include "vocabulary.h"

#include "farmhash.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- integer keys ---- */

const char *quern__vocabulary_key(int64_t value, char key[8])
{
    uint64_t bits = (uint64_t)value ^ (uint64_t)1
                                          << 63; /* order of the keys = order of the integers */
    for (int i = 7; i >= 0; i--, bits >>= 8)
        key[i] = (char)bits;
    return key;
}

int64_t quern__vocabulary_value(const char *key)
{
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | (uint8_t)key[i];
    return (int64_t)(bits ^ (uint64_t)1 << 63);
}

/* The bytes of a token in a JSON list. False: wrong type. `key` is the buffer of an integer's
 * key. */
static bool token_bytes(const quern__vocabulary *v, const json_t *token, char key[8],
                        const char **bytes, size_t *n)
{
    if (v->integers ? !json_is_integer(token) : !json_is_string(token))
        return false;
    *bytes = v->integers ? quern__vocabulary_key(json_integer_value(token), key)
                         : json_string_value(token);
    *n = v->integers ? 8 : json_string_length(token);
    return true;
}

/* ---- the config ---- */

static int read_mode(quern__vocabulary *v, const json_t *config, quern_error *err)
{
    static const char *const names[] = { "int",    "one_hot", "multi_hot", "count",
                                         "tf_idf", "binary",  "tf-idf" };
    static const int modes[] = { QUERN__INT,    QUERN__ONE_HOT,   QUERN__MULTI_HOT, QUERN__COUNT,
                                 QUERN__TF_IDF, QUERN__MULTI_HOT, QUERN__TF_IDF };
    const char *mode = json_string_value(json_object_get(config, "output_mode"));
    v->mode = mode ? -1 : QUERN__INT;
    if (mode)
        for (int i = 0; i < 7; i++)
            v->mode = strcmp(mode, names[i]) ? v->mode : modes[i];
    return v->mode < 0
               ? quern__fail(err, QUERN_INVALID, NULL, "output_mode '%.40s' is unknown", mode)
               : QUERN_OK;
}

/* Reads mask_token or oov_token: text, integer or null. If it is missing: `otherwise` as text,
 * -1 as an integer; NULL: none. */
static int read_special(const quern__vocabulary *v, const json_t *config, const char *name,
                        const char *otherwise, char **out, size_t *length, quern_error *err)
{
    const json_t *given = json_object_get(config, name);
    char key[8];
    const char *bytes = otherwise;
    *length = bytes ? strlen(bytes) : 0;
    if (!given && otherwise && v->integers) {
        bytes = quern__vocabulary_key(-1, key);
        *length = 8;
    }
    if (given && json_is_null(given))
        bytes = NULL;
    else if (given && !token_bytes(v, given, key, &bytes, length))
        return quern__fail(err, QUERN_INVALID, NULL, "%s does not have the type of the vocabulary",
                           name);
    if (!bytes)
        return QUERN_OK;
    *out = quern__zalloc(*length + 1, 1); /* a key may contain zero bytes */
    if (*out)
        memcpy(*out, bytes, *length);
    return *out ? QUERN_OK : quern__fail_memory(err, *length);
}

static int reject_unsupported(const json_t *config, quern_error *err)
{
    const char *encoding = json_string_value(json_object_get(config, "encoding"));
    const json_t *salt = json_object_get(config, "salt");
    if (json_is_true(json_object_get(config, "sparse")))
        return quern__fail(err, QUERN_UNSUPPORTED, NULL, "sparse=True is not supported");
    if (salt && !json_is_null(salt))
        return quern__fail(err, QUERN_UNSUPPORTED, NULL, "salt is not supported");
    if (encoding && strcmp(encoding, "utf-8") && strcmp(encoding, "UTF-8"))
        return quern__fail(err, QUERN_UNSUPPORTED, NULL, "encoding '%.40s' is not supported",
                           encoding);
    if (json_is_string(json_object_get(config, "vocabulary")))
        return quern__fail(err, QUERN_UNSUPPORTED, NULL, "a path as vocabulary is not supported");
    return QUERN_OK;
}

/* Reads all arguments, and the vocabulary if the config has one. */
static int read_config(quern__vocabulary *v, const json_t *config, quern_error *err)
{
    const json_t *most = json_object_get(config, "max_tokens"),
                 *unknown = json_object_get(config, "num_oov_indices");
    const char *method = json_string_value(json_object_get(config, "oov_method"));
    int status = reject_unsupported(config, err);
    if (status >= 0)
        status = read_mode(v, config, err);
    if (status < 0)
        return status;
    v->max_tokens = json_integer_value(most);
    v->n_oov = unknown ? json_integer_value(unknown) : 1;
    v->invert = json_is_true(json_object_get(config, "invert"));
    v->pad = json_is_true(json_object_get(config, "pad_to_max_tokens"));
    v->farmhash = !v->integers || (method && !strcmp(method, "farmhash"));
    if ((most && !json_is_null(most) && (v->max_tokens < 2 || v->max_tokens > INT32_MAX)) ||
        v->n_oov < 0 || v->n_oov > INT32_MAX)
        return quern__fail(err, QUERN_INVALID, NULL,
                           "max_tokens %lld or num_oov_indices %lld is out of range",
                           (long long)v->max_tokens, (long long)v->n_oov);
    if ((v->pad && !v->max_tokens) || (v->invert && v->mode != QUERN__INT))
        return quern__fail(err, QUERN_INVALID, NULL,
                           v->pad ? "pad_to_max_tokens needs max_tokens"
                                  : "invert needs output_mode int");
    status = read_special(v, config, "mask_token", NULL, &v->mask, &v->mask_length, err);
    if (status >= 0)
        status = read_special(v, config, "oov_token", "[UNK]", &v->oov, &v->oov_length, err);
    const json_t *list = json_object_get(config, "vocabulary");
    if (status < 0 || !list || json_is_null(list))
        return status;
    status = quern__vocabulary_set(v, list, json_object_get(config, "idf_weights"), err);
    v->fixed = true;
    return status;
}

quern__vocabulary *quern__vocabulary_new(const json_t *config, bool integers, quern_error *err)
{
    quern__vocabulary *v = quern__zalloc(1, sizeof *v);
    if (!v) {
        quern__fail_memory(err, sizeof *v);
        return NULL;
    }
    v->integers = integers;
    if (read_config(v, config, err) >= 0)
        return v;
    quern__vocabulary_free(v);
    return NULL;
}

void quern__vocabulary_free(quern__vocabulary *v)
{
    if (!v)
        return;
    quern__strings_free(&v->tokens);
    quern__strings_free(&v->counted);
    quern__free(v->mask);
    quern__free(v->oov);
    quern__free(v->idf);
    quern__free(v);
}

/* ---- adapt ---- */

int quern__vocabulary_reset(quern__vocabulary *v, quern_error *err)
{
    if (v->fixed)
        return quern__fail(err, QUERN_INVALID, NULL,
                           "adapt is not possible: the vocabulary is an argument of the layer");
    quern__strings_free(&v->counted);
    v->texts = 0;
    return QUERN_OK;
}

static bool same_bytes(const char *a, size_t n, const char *b, size_t m)
{
    return b && n == m && !memcmp(a, b, n);
}

int quern__vocabulary_count(quern__vocabulary *v, const char *token, size_t n, quern_error *err)
{
    if (same_bytes(token, n, v->mask, v->mask_length) ||
        same_bytes(token, n, v->oov, v->oov_length))
        return QUERN_OK; /* they have fixed indices */
    int64_t number = quern__strings_count(&v->counted, token, n, err);
    if (number < 0)
        return (int)number;
    quern__string *item = &v->counted.items[number];
    item->texts += item->last_text != v->texts + 1;
    item->last_text = v->texts + 1;
    return QUERN_OK;
}

void quern__vocabulary_end_text(quern__vocabulary *v) { v->texts++; }

/* Sets the idf weight of each column. `own`: weights of the tokens. Unknown tokens get their
 * mean; columns without a token (pad_to_max_tokens) get 0. */
static int set_idf(quern__vocabulary *v, const double *own, quern_error *err)
{
    int64_t n = v->tokens.n, start = quern__vocabulary_start(v), depth = quern__vocabulary_depth(v);
    double sum = 0;
    float *idf = quern__zalloc((size_t)(depth > start + n ? depth : start + n), sizeof *idf);
    if (!idf)
        return quern__fail_memory(err, (size_t)depth * sizeof *idf);
    for (int64_t i = 0; i < n; i++) {
        idf[start + i] = (float)own[i];
        sum += own[i];
    }
    for (int64_t i = 0; i < start && n; i++)
        idf[i] = (float)(sum / (double)n);
    quern__free(v->idf);
    v->idf = idf;
    return QUERN_OK;
}

/* Stores the first n counted tokens in `order` as the vocabulary. */
static int store_tokens(quern__vocabulary *v, const int32_t *order, int64_t n, double *idf,
                        quern_error *err)
{
    quern__strings_free(&v->tokens);
    for (int64_t i = 0; i < n; i++) {
        const quern__string *item = &v->counted.items[order[i]];
        int64_t number = quern__strings_add(&v->tokens, quern__strings_at(&v->counted, order[i]),
                                            item->length, err);
        if (number < 0)
            return (int)number;
        idf[i] = log(1 + (double)v->texts / (1 + (double)item->texts));
    }
    return v->mode == QUERN__TF_IDF ? set_idf(v, idf, err) : QUERN_OK;
}

int quern__vocabulary_finish(quern__vocabulary *v, quern_error *err)
{
    int64_t n = v->counted.n, room = v->max_tokens ? v->max_tokens - quern__vocabulary_start(v) : n;
    if (!n)
        return QUERN_OK;
    int32_t *order = quern__alloc((size_t)n * sizeof *order);
    double *idf = quern__alloc((size_t)n * sizeof *idf);
    int status = order && idf ? QUERN_OK : quern__fail_memory(err, (size_t)n * sizeof *idf);
    if (status >= 0) {
        quern__strings_sort(&v->counted, order);
        status = store_tokens(v, order, room < 0 ? 0 : room < n ? room : n, idf, err);
    }
    quern__free(order);
    quern__free(idf);
    quern__strings_free(&v->counted);
    v->texts = 0;
    return status;
}

/* ---- set and get ---- */

/* Whether the list begins with the special tokens. */
static bool has_specials(const quern__vocabulary *v, const json_t *list)
{
    int64_t start = quern__vocabulary_start(v), oov = start - v->n_oov;
    if ((int64_t)json_array_size(list) < start)
        return false;
    for (int64_t i = 0; i < start; i++) {
        char key[8];
        const char *bytes, *want = i < oov ? v->mask : v->oov;
        size_t n;
        if (!token_bytes(v, json_array_get(list, (size_t)i), key, &bytes, &n) ||
            !same_bytes(bytes, n, want, i < oov ? v->mask_length : v->oov_length))
            return false;
    }
    return start > 0;
}

static int set_weights(quern__vocabulary *v, const json_t *list, const json_t *idf, int64_t from,
                       quern_error *err)
{
    int64_t n = v->tokens.n;
    if (json_array_size(idf) != json_array_size(list))
        return quern__fail(err, QUERN_INVALID, NULL, "%zu idf_weights for a vocabulary of size %zu",
                           json_array_size(idf), json_array_size(list));
    double *own = quern__alloc((size_t)n * sizeof *own);
    if (!own)
        return quern__fail_memory(err, (size_t)n * sizeof *own);
    for (int64_t i = 0; i < n; i++)
        own[i] = json_number_value(json_array_get(idf, (size_t)(i + from)));
    int status = set_idf(v, own, err);
    for (int64_t i = 0; i < from && status >= 0;
         i++) /* the list has weights for the special tokens too */
        v->idf[i] = (float)json_number_value(json_array_get(idf, (size_t)i));
    quern__free(own);
    return status;
}

int quern__vocabulary_set(quern__vocabulary *v, const json_t *list, const json_t *idf,
                          quern_error *err)
{
    int64_t size = (int64_t)json_array_size(list),
            from = has_specials(v, list) ? quern__vocabulary_start(v) : 0;
    bool weighs = v->mode == QUERN__TF_IDF, weighed = json_is_array(idf);
    if (size == from)
        return quern__fail(err, QUERN_INVALID, NULL,
                           "the vocabulary is not a list of tokens, or is empty");
    if (weighs != weighed)
        return quern__fail(err, QUERN_INVALID, NULL,
                           "output_mode tf_idf needs idf_weights, other modes do not allow them");
    if (v->max_tokens && size - from + quern__vocabulary_start(v) > v->max_tokens)
        return quern__fail(
            err, QUERN_INVALID, NULL, "the vocabulary size %lld exceeds max_tokens %lld",
            (long long)(size - from + quern__vocabulary_start(v)), (long long)v->max_tokens);
    quern__strings_free(&v->tokens);
    for (int64_t i = from; i < size; i++) {
        char key[8];
        const char *bytes = "";
        size_t n = 0;
        bool right = token_bytes(v, json_array_get(list, (size_t)i), key, &bytes, &n);
        int64_t number = right ? quern__strings_add(&v->tokens, bytes, n, err) : 0;
        if (number < 0)
            return (int)number;
        if (!right || number != i - from || same_bytes(bytes, n, v->mask, v->mask_length) ||
            (v->invert && same_bytes(bytes, n, v->oov, v->oov_length)))
            return quern__fail(err, QUERN_INVALID, NULL, "token %lld of the vocabulary %s",
                               (long long)i,
                               !right               ? "has the wrong type"
                               : number != i - from ? "occurs twice"
                                                    : "is a special token");
    }
    return weighs ? set_weights(v, list, idf, from, err) : QUERN_OK;
}

static json_t *token_json(const quern__vocabulary *v, const char *token, size_t n)
{
    if (!token)
        return json_null();
    return v->integers ? json_integer(quern__vocabulary_value(token))
                       : json_stringn_nocheck(token, n);
}

json_t *quern__vocabulary_list(const quern__vocabulary *v)
{
    json_t *out = json_array();
    for (int64_t i = 0; i < quern__vocabulary_size(v); i++) {
        size_t n;
        const char *token = quern__vocabulary_token(v, i, &n);
        if (json_array_append_new(out, token_json(v, token, n)) < 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

int64_t quern__vocabulary_start(const quern__vocabulary *v)
{
    return v->n_oov + (v->mask && v->mode == QUERN__INT);
}

int64_t quern__vocabulary_size(const quern__vocabulary *v)
{
    return quern__vocabulary_start(v) + v->tokens.n;
}

int64_t quern__vocabulary_depth(const quern__vocabulary *v)
{
    return v->pad ? v->max_tokens : quern__vocabulary_size(v);
}

const char *quern__vocabulary_token(const quern__vocabulary *v, int64_t index, size_t *n)
{
    int64_t start = quern__vocabulary_start(v), number = index - start;
    if (number >= 0 && number < v->tokens.n) {
        *n = v->tokens.items[number].length;
        return quern__strings_at(&v->tokens, number);
    }
    bool masked = index == 0 && start > v->n_oov;
    *n = masked ? v->mask_length : v->oov_length;
    return masked ? v->mask : v->oov;
}

/* ---- lookup ---- */

/* The bucket of an unknown token among several indices. */
static int64_t bucket_of(const quern__vocabulary *v, const char *token, size_t n)
{
    char decimal[24];
    if (v->n_oov == 1)
        return 0;
    if (!v->farmhash) {
        int64_t rest = quern__vocabulary_value(token) % v->n_oov;
        return rest < 0 ? rest + v->n_oov : rest;
    }
    if (v->integers) {
        n = (size_t)snprintf(decimal, sizeof decimal, "%lld",
                             (long long)quern__vocabulary_value(token));
        token = decimal;
    }
    return (int64_t)(quern__fingerprint64(token, n) % (uint64_t)v->n_oov);
}

int64_t quern__vocabulary_find(const quern__vocabulary *v, const char *token, size_t n,
                               quern_error *err)
{
    if (same_bytes(token, n, v->mask, v->mask_length))
        return v->mode == QUERN__INT ? 0 : QUERN__MASKED;
    int64_t number = quern__strings_find(&v->tokens, token, n), start = quern__vocabulary_start(v);
    if (number >= 0)
        return start + number;
    if (v->n_oov)
        return start - v->n_oov + bucket_of(v, token, n);
    if (v->integers)
        quern__fail(err, QUERN_NUMBER, NULL, "%lld is not in the vocabulary",
                    (long long)quern__vocabulary_value(token));
    else
        quern__fail(err, QUERN_NUMBER, NULL, "'%.*s' is not in the vocabulary",
                    (int)(n < 60 ? n : 60), token);
    quern__hint(err, "set num_oov_indices=1 for unknown values");
    return QUERN_NUMBER;
}

void quern__vocabulary_mark(const quern__vocabulary *v, int64_t index, float *row)
{
    if (index >= 0 && index < quern__vocabulary_depth(v))
        row[index] = v->mode == QUERN__COUNT || v->mode == QUERN__TF_IDF ? row[index] + 1 : 1;
}

void quern__vocabulary_weigh(const quern__vocabulary *v, float *row)
{
    if (v->idf)
        for (int64_t i = 0; i < quern__vocabulary_depth(v); i++)
            row[i] *= v->idf[i];
}
