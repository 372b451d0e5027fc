/* Generates texts from a prompt: draws tokens, or searches with beams, and reports bytes as soon as
 * they are final. A byte is not final while it may belong to an incomplete UTF-8 character or to a
 * stop string.
 *
 * All texts (B of them) advance together: each step feeds one token per text and returns logits (B,
 * V). A text that has ended is fed until all have. A draw depends on seed, text and position only,
 * so the number of texts does not change a text. quern_generate owns the session, and the caller
 * gets the bytes of the texts. */
#include "model/model.h"

#include <math.h>
#include <quern/generate.h>
#include <stdlib.h>
#include <string.h>

/* One text during generation. */
typedef struct writing {
    int32_t *ids;          /* prompt, then generated tokens */
    int64_t n_ids, tokens; /* ids so far; generated ones among them */
    char *bytes;
    size_t n_bytes, room, told; /* told: bytes reported to the caller */
    bool ended;
} writing;

typedef struct session {
    quern_model *m;
    const quern_generate_opts *o;
    const quern_tokenizer *t;
    quern_decoder *decoder;
    quern_sampler *sampler;
    int64_t count, length, prompt, vocabulary;
    int32_t *next; /* last token of each text, the next input */
    writing *texts;
} session;

/* ---- the prompt ---- */

/* Encodes the prompt; returns new ids, *n of them. An empty prompt is encoded as a newline, if
 * the tokenizer has one. */
static int32_t *encode_prompt(const session *s, const char *prompt, int64_t *n, quern_error *err)
{
    const char *text = prompt && *prompt ? prompt : "\n";
    size_t bytes = strlen(text), used = 0;
    quern_error none = { 0 };
    int32_t *ids = quern__zalloc(bytes + (size_t)s->length + QUERN_PIECE_BYTES, sizeof *ids);
    if (!ids) {
        quern__fail_memory(err, bytes * sizeof *ids);
        return NULL;
    }
    bool given = text == prompt;
    *n = quern_tokenizer_encode(s->t, text, bytes, 1, ids, (int64_t)bytes + QUERN_PIECE_BYTES,
                                &used, given ? err : &none);
    if (*n < 0 && given) {
        quern__free(ids);
        return NULL;
    }
    if (*n < 1) { /* else as token 0 */
        ids[0] = 0;
        *n = 1;
    }
    return ids;
}

/* ---- bytes ---- */

/* Bytes at the end that begin an incomplete UTF-8 character. */
static size_t incomplete_bytes(const char *bytes, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)bytes[n - back];
        if (c >= 0xc0) { /* the first byte of a character gives its length */
            size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
            return length > back ? back : 0;
        }
        if (c < 0x80)
            return 0;
    }
    return 0;
}

/* Bytes at the end that may begin a stop string. */
static size_t stop_prefix_bytes(const session *s, const writing *w)
{
    size_t most = 0;
    for (int i = 0; i < s->o->n_stop; i++) {
        size_t n = strlen(s->o->stop[i]);
        for (size_t k = n ? n - 1 : 0; k > most; k--)
            if (k <= w->n_bytes && !memcmp(w->bytes + w->n_bytes - k, s->o->stop[i], k)) {
                most = k;
                break;
            }
    }
    return most;
}

/* Truncates the text at the first stop string, if it contains one. */
static bool cut_at_stop(const session *s, writing *w)
{
    for (size_t at = w->told; at < w->n_bytes; at++)
        for (int i = 0; i < s->o->n_stop; i++) {
            size_t n = strlen(s->o->stop[i]);
            if (n && n <= w->n_bytes - at && !memcmp(w->bytes + at, s->o->stop[i], n)) {
                w->n_bytes = at;
                w->bytes[at] = 0;
                return true;
            }
        }
    return false;
}

/* Appends the bytes of a token to the text; words get a space before them. */
static int append_token(const session *s, writing *w, int32_t id, quern_error *err)
{
    size_t n = 0;
    const char *bytes = quern_tokenizer_token(s->t, id, &n);
    bool space = !strcmp(quern_tokenizer_kind(s->t), "word");
    if (!bytes)
        return quern__fail(err, QUERN_NUMBER, "token", "%d has no text in the tokenizer", id);
    if (w->n_bytes + n + 2 > w->room) {
        size_t room = 2 * (w->n_bytes + n) + 256;
        char *grown = realloc(w->bytes, room);
        if (!grown)
            return quern__fail_memory(err, room);
        w->bytes = grown;
        w->room = room;
    }
    if (space)
        w->bytes[w->n_bytes++] = ' ';
    memcpy(w->bytes + w->n_bytes, bytes, n);
    w->n_bytes += n;
    w->bytes[w->n_bytes] = 0;
    return QUERN_OK;
}

/* Reports the bytes that are final after a token. `all`: the text has ended, all bytes are
 * final. */
static void report_bytes(const session *s, int64_t text, int32_t id, bool all)
{
    writing *w = &s->texts[text];
    size_t character = incomplete_bytes(w->bytes, w->n_bytes), stop = stop_prefix_bytes(s, w);
    size_t pending = character > stop ? character : stop;
    size_t final = all ? w->n_bytes : w->n_bytes - pending;
    final = final < w->told ? w->told : final;
    if (s->o->token && s->o->token(s->o->user, text, id, w->bytes + w->told, final - w->told))
        w->ended = true;
    w->told = final;
}

/* ---- drawing ---- */

/* Draws the next token of a text. The draw is a pure function of seed, text and position. */
static int generate_token(session *s, int64_t text, const float *logits, quern_error *err)
{
    writing *w = &s->texts[text];
    double u = quern_sampling_uniform(s->o->seed, (uint64_t)text, (uint64_t)w->tokens);
    quern_error own = { 0 };
    int32_t id = quern_sampler_draw(s->sampler, logits, w->ids, w->n_ids, u, &own);
    if (id < 0)
        return quern__fail(err, own.code, "generate", "token %lld of text %lld: %s",
                           (long long)w->tokens + 1, (long long)text + 1, own.text);
    w->ids[w->n_ids++] = s->next[text] = id;
    w->tokens++;
    int status = append_token(s, w, id, err);
    if (status < 0)
        return status;
    w->ended = cut_at_stop(s, w) || w->tokens == s->length;
    report_bytes(s, text, id, w->ended);
    return QUERN_OK;
}

/* Draws tokens for all texts until each has ended or the context is full. */
static int draw_all(session *s, const float *logits, quern_error *err)
{
    for (int64_t step = 0, left = s->count; step < s->length && left; step++) {
        int status = QUERN_OK;
        left = 0;
        for (int64_t t = 0; t < s->count && status >= 0; t++) {
            if (!s->texts[t].ended)
                status = generate_token(s, t, logits + t * s->vocabulary, err);
            left += !s->texts[t].ended;
        }
        if (status >= 0 && left)
            status = quern_decoder_feed(s->decoder, s->next, 1, &logits, err);
        if (status < 0)
            return status;
        if (status == QUERN_END)
            break;
    }
    for (int64_t t = 0; t < s->count; t++)
        if (!s->texts[t].ended)
            report_bytes(s, t, s->next[t], true);
    return QUERN_OK;
}

/* ---- beams ---- */

/* Replaces the logits of a row by log softmax. */
static void log_probabilities(float *row, int64_t n)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        most = row[i] > most ? (double)row[i] : most;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)row[i] - most);
    for (int64_t i = 0; i < n; i++)
        row[i] = (float)((double)row[i] - most - log(sum));
}

/* The token that equals the first stop string; -1: no such token. */
static int32_t end_token(const session *s)
{
    int32_t id = -1;
    size_t used = 0;
    quern_error none = { 0 };
    int32_t ids[8];
    if (s->o->n_stop && strlen(s->o->stop[0]) <= 4 &&
        quern_tokenizer_encode(s->t, s->o->stop[0], strlen(s->o->stop[0]), 1, ids, 8, &used,
                               &none) == 1)
        id = ids[0];
    return id;
}

/* Beam search: every text is a beam; at the end the beams are in descending order of value. */
static int beam_search(session *s, const float *logits, quern_error *err)
{
    int64_t n = s->count, have = 1, prompt = s->texts[0].n_ids, room = prompt + s->length;
    quern_beam *beams = quern__zalloc(2 * (size_t)n, sizeof *beams), *best = beams + n;
    float *rows = quern__zalloc((size_t)n, (size_t)s->vocabulary * sizeof *rows);
    int32_t *ids = quern__zalloc((size_t)n, (size_t)room * sizeof *ids),
            *from = quern__zalloc((size_t)n, sizeof *from), end = end_token(s);
    int status = beams && rows && ids && from
                     ? QUERN_OK
                     : quern__fail_memory(err, (size_t)(n * room) * sizeof *ids);
    for (int64_t step = 0; status == QUERN_OK && step < s->length; step++) {
        int64_t alive = 0;
        memcpy(rows, logits, (size_t)(n * s->vocabulary) * sizeof *rows);
        for (int64_t b = 0; b < have; b++)
            log_probabilities(rows + b * s->vocabulary, s->vocabulary);
        /* rank all continuations of all beams, keep the best n */
        have = quern_beam_step(beams, have, rows, s->vocabulary, end, s->o->length_penalty, best, n,
                               err);
        if (have < 0) {
            status = (int)have;
            break;
        }
        /* copy the tokens of the beams that continue, because several may continue one */
        for (int64_t b = 0; b < n; b++) {
            const quern_beam *to = &best[b < have ? b : 0];
            const writing *w = &s->texts[to->from];
            from[b] = to->from;
            memcpy(ids + b * room, w->ids, (size_t)w->n_ids * sizeof *ids);
            s->next[b] = to->token < 0 ? 0 : to->token;
            alive += b < have && !to->ended;
        }
        /* the texts become the new beams */
        for (int64_t b = 0; b < n; b++) {
            const quern_beam *to = &best[b < have ? b : 0];
            writing *w = &s->texts[b];
            w->n_ids = prompt + to->length - (to->ended ? 1 : 0);
            memcpy(w->ids, ids + b * room, (size_t)w->n_ids * sizeof *ids);
            if (!to->ended)
                w->ids[w->n_ids - 1] = to->token;
        }
        memcpy(beams, best, (size_t)n * sizeof *beams);
        /* the states of the decoder follow the beams */
        if (!alive || step + 1 == s->length)
            break;
        status = quern_decoder_reorder(s->decoder, from, err);
        if (status >= 0)
            status = quern_decoder_feed(s->decoder, s->next, 1, &logits, err);
    }
    for (int64_t t = 0; status >= 0 && t < n; t++)
        for (int64_t k = prompt; k < s->texts[t].n_ids && status >= 0; k++, s->texts[t].tokens++)
            status = append_token(s, &s->texts[t], s->texts[t].ids[k], err);
    quern__free(beams);
    quern__free(rows);
    quern__free(ids);
    quern__free(from);
    return status < 0 ? status : QUERN_OK;
}

/* ---- the whole run ---- */

/* Creates decoder, sampler and texts. All texts begin with the tokens of the prompt. */
static int session_prepare(session *s, const char *prompt, quern_error *err)
{
    quern_sampling sampling = QUERN_SAMPLING_DEFAULTS;
    if (!s->t)
        return quern__fail(err, QUERN_INVALID, quern__model_name(s->m),
                           "the model has no tokenizer");
    s->decoder = quern_decoder_new(s->m, s->count, s->o->on_full, err);
    s->vocabulary = s->decoder ? quern_decoder_vocabulary(s->decoder) : 0;
    if (s->decoder && quern_tokenizer_size(s->t) > s->vocabulary)
        return quern__fail(err, QUERN_SHAPE, quern__model_name(s->m),
                           "the model has %lld logits, the tokenizer %lld tokens",
                           (long long)s->vocabulary, (long long)quern_tokenizer_size(s->t));
    s->sampler = s->decoder ? quern_sampler_new(s->o->sampling ? s->o->sampling : &sampling,
                                                s->vocabulary, err)
                            : NULL;
    s->next = quern__zalloc((size_t)s->count, sizeof *s->next);
    s->texts = quern__zalloc((size_t)s->count, sizeof *s->texts);
    if (!s->sampler)
        return err && err->code ? err->code : QUERN_NOMEM;
    if (!s->next || !s->texts)
        return quern__fail_memory(err, (size_t)s->count * sizeof *s->texts);
    for (int64_t t = 0; t < s->count; t++) {
        writing *w = &s->texts[t];
        size_t room = (size_t)(s->prompt + s->length) * sizeof *w->ids;
        w->ids = t ? quern__zalloc(1, room) : encode_prompt(s, prompt, &s->prompt, err);
        w->room = 256;
        w->bytes = calloc(1, w->room);
        if (!w->ids || !w->bytes)
            return err && err->code ? err->code : quern__fail_memory(err, room);
        w->n_ids = s->prompt;
        if (t)
            memcpy(w->ids, s->texts[0].ids, (size_t)s->prompt * sizeof *w->ids);
    }
    return QUERN_OK;
}

/* Feeds the prompt, which is equal for all texts. */
static int feed_prompt(session *s, const float **logits, quern_error *err)
{
    int32_t *ids = quern__zalloc((size_t)s->count, (size_t)s->prompt * sizeof *ids);
    if (!ids)
        return quern__fail_memory(err, (size_t)(s->count * s->prompt) * sizeof *ids);
    for (int64_t t = 0; t < s->count; t++)
        memcpy(ids + t * s->prompt, s->texts[t].ids, (size_t)s->prompt * sizeof *ids);
    int status = quern_decoder_feed(s->decoder, ids, s->prompt, logits, err);
    quern__free(ids);
    return status == QUERN_END ? quern__fail(err, QUERN_INVALID, "prompt",
                                             "exceeds the model's context of %lld tokens",
                                             (long long)quern_decoder_context(s->decoder))
                               : status;
}

int quern_generate(quern_model *m, const char *prompt, const quern_generate_opts *opts,
                   quern_generated *out, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "out", out);
    enum { opts_0_1 = 96 };
    quern_generate_opts own, *o = &own;
    if (QUERN__OPTIONS(own, opts_0_1, opts, err) < 0)
        return quern__leave(err, QUERN_INVALID);
    int64_t wanted = o->count ? o->count : 1;
    session s = { .m = m,
                  .o = o,
                  .t = o->tokenizer ? o->tokenizer : quern_model_tokenizer(m),
                  .length = o->length ? o->length : 200 };
    const float *logits = NULL;
    s.count = o->beams > wanted ? o->beams : wanted;
    if (wanted < 1 || (o->n_stop > 0 && quern__missing(err, "stop", o->stop, NULL)))
        return quern__fail(err, QUERN_INVALID, "count", "%lld texts, expected at least 1",
                           (long long)wanted);
    memset(out, 0, (size_t)wanted * sizeof *out);
    int status =
        s.length < 1 || s.count < 1 || s.length > INT32_MAX
            ? quern__fail(err, QUERN_INVALID, "generate", "length and count must be at least 1")
            : session_prepare(&s, prompt, err);
    if (status >= 0)
        status = feed_prompt(&s, &logits, err);
    if (status >= 0)
        status = o->beams ? beam_search(&s, logits, err) : draw_all(&s, logits, err);
    if (s.texts)
        for (int64_t t = 0; t < s.count; t++) {
            writing *w = &s.texts[t];
            if (status >= 0 && t < wanted)
                out[t] = (quern_generated){ w->bytes, w->n_bytes, w->tokens };
            else
                free(w->bytes);
            quern__free(w->ids);
        }
    quern__free(s.texts);
    quern__free(s.next);
    quern_sampler_free(s.sampler);
    quern_decoder_free(s.decoder);
    return status < 0 ? status : QUERN_OK;
}
