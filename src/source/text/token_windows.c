/* Groups of token windows. All tokens of a group are in one array. With random access, each block
 * is followed by the tokens of the next blocks that its last window needs. Sequentially, blocks are
 * concatenated, and the incomplete end moves to the front of the next group.
 *
 * A segment is the part of the array that comes from one block. Windows begin at every stride-th
 * token of a segment; `before` counts the windows of earlier segments, so window i is found by
 * binary search. Ids have 16 bits where the vocabulary permits, so that a group has twice as many
 * tokens. text_dataset.c draws windows of a group in random order.
 *
 * A group has as many blocks as fit its memory. Small blocks give a better shuffle; each costs up
 * to one window of additional tokens. */
#include "token_windows.h"

#include <stdio.h>
#include <string.h>

enum {
    least_block = 256,
    most_block = 1 << 16,
    long_block = 1 << 20,
    places = 512,
    usual_segments = 8192
};

/* ---- tokens ---- */

/* Encodes character by character. Returns the offset of the first character that the tokenizer
 * rejects, and its error; n: none. */
static size_t first_refused(const quern_tokenizer *t, const char *text, size_t n, quern_error *own)
{
    int32_t ids[8];
    size_t done = 0, length = 1, used;
    while (done < n && length <= 4 && length <= n - done) {
        *own = (quern_error){ 0 };
        int64_t got =
            quern_tokenizer_encode(t, text + done, length, length == n - done, ids, 8, &used, own);
        if (got < 0)
            return done;
        done += used;
        length = used ? 1 : length + 1;
    }
    return n;
}

/* Copies the tokenizer's error with file and byte: the character at offset `at` of the corpus. */
static int token_error(const quern__corpus *c, int64_t at, const quern_error *own, quern_error *err)
{
    char where[256];
    quern__corpus_where(c, at, where, sizeof where);
    quern__fail(err, own->code, where, "%s", own->text);
    if (*own->hint)
        quern__hint(err, "%s", own->hint);
    return own->code;
}

/* Removes the characters that the tokenizer rejects and notes them in `bad` (NULL: not noted).
 * Returns the new length, or a negative status. */
static int64_t remove_rejected(const quern__corpus *c, const quern_tokenizer *t, char *text,
                               size_t n, int64_t at, quern__bad *bad, quern_error *err)
{
    size_t kept = 0;
    for (size_t from = 0; from < n;) {
        quern_error own, told = { 0 };
        size_t good = first_refused(t, text + from, n - from, &own), next = from + good + 1;
        memmove(text + kept, text + from, good);
        kept += good;
        if (from + good == n)
            break;
        token_error(c, at + (int64_t)(from + good), &own, &told);
        int status = bad ? quern__bad_record(bad, told.code, &told, err) : QUERN_OK;
        if (status < 0)
            return status;
        while (next < n && ((unsigned char)text[next] & 0xc0) == 0x80)
            next++;
        from = next;
    }
    return (int64_t)kept;
}

int quern__corpus_tokens(quern__corpus *c, const quern_tokenizer *t, int64_t k, int64_t most,
                         int32_t *to, int64_t *count, quern_error *err)
{
    const char *text;
    size_t n, done = 0, used;
    int64_t at, room = quern__corpus_tokens_room(c);
    bool clean = false;
    *count = 0;
    int status = quern__corpus_read(c, k, &text, &n, &at, err);
    if (status != QUERN_OK)
        return status;
    quern__activity_set("tokenizing", c->paths[0], "block", k + 1);
    /* if few tokens are wanted, encode the start of the block first */
    size_t some = most < (int64_t)(n / 16) ? (size_t)most * 8 + 64 : n;
    while (done < n && *count < most) {
        quern_error own = { 0 };
        size_t left = done < some ? some - done : n - done;
        int64_t got = quern_tokenizer_encode(t, text + done, left, done + left == n, to + *count,
                                             room - *count, &used, &own);
        if (got < 0 && c->drops && !clean) { /* at most once: then the text is clean */
            char *own_text = c->text + (text - c->text);
            int64_t left_over =
                remove_rejected(c, t, own_text, n, at, most == INT64_MAX ? c->bad : NULL, err);
            if (left_over < 0)
                return (int)left_over;
            n = (size_t)left_over;
            some = n;
            done = 0;
            *count = 0;
            clean = true;
            continue;
        }
        if (got < 0) {
            size_t place = first_refused(t, text + done, n - done, &own);
            return token_error(c, at + (int64_t)(done + (done + place < n ? place : 0)), &own, err);
        }
        if (used == 0 && some == n)
            return quern__fail(err, QUERN_INTERNAL, "text",
                               "the tokenizer makes no progress at byte %lld", (long long)at);
        some = used == 0 || *count + got < most ? n : some;
        *count += got;
        done += used;
    }
    *count = *count < most ? *count : most;
    return QUERN_OK;
}

/* Appends the n tokens of `scratch`. */
static int append_tokens(quern__windows *w, int64_t n, quern_error *err)
{
    if (n > w->capacity - w->n)
        return quern__fail(err, QUERN_INTERNAL, "text", "a block has more tokens than bytes");
    if (w->narrow)
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)w->ids)[w->n + i] = (uint16_t)w->scratch[i];
    else
        memcpy((int32_t *)w->ids + w->n, w->scratch, (size_t)n * sizeof(int32_t));
    w->n += n;
    w->seen += n;
    return QUERN_OK;
}

/* Appends block k, or its first tokens. */
static int add_block(quern__windows *w, int64_t k, int64_t most, int64_t *count, quern_error *err)
{
    int status = quern__corpus_tokens(w->corpus, w->t, k, most, w->scratch, count, err);
    return status == QUERN_OK ? append_tokens(w, *count, err) : status;
}

/* ---- groups ---- */

/* Number of windows that begin in the first `count` of `all` tokens. */
static int64_t count_windows(const quern__windows *w, int64_t count, int64_t all)
{
    int64_t last = count - 1 < all - w->length - 1 ? count - 1 : all - w->length - 1;
    return last < 0 ? 0 : last / w->stride + 1;
}

/* Random access: fills the group with blocks from position *place of the order. */
static int fill_at_index(quern__windows *w, const quern__random_key *key, int64_t *place,
                         quern_error *err)
{
    int64_t blocks = w->corpus->n_blocks, most = quern__corpus_most(w->corpus) + w->length;
    quern__windows_forget(w);
    if (*place >= blocks)
        return QUERN_END;
    for (; *place < blocks && w->n + most <= w->capacity && w->n_segments < w->most_segments;
         ++*place) {
        int64_t k =
            key ? (int64_t)quern__random_permute(*key, (uint64_t)blocks, (uint64_t)*place) : *place;
        int64_t first = w->n, count, more = 0;
        int status = add_block(w, k, INT64_MAX, &count, err);
        /* the last window of the block needs tokens of the next blocks */
        for (int64_t next = k + 1; status == QUERN_OK && count && more < w->length; next++) {
            int64_t some;
            status = add_block(w, next, w->length - more, &some, err);
            more += some;
        }
        if (status < 0)
            return status;
        int64_t windows = count_windows(w, count, count + more);
        if (windows)
            w->segments[w->n_segments++] = (quern__segment){ first, count, w->n_windows };
        else
            w->n = first;
        w->n_windows += windows;
    }
    w->complete = w->n_segments;
    return QUERN_OK;
}

/* Sequential: drops the drawn segments, then reads blocks until the buffer is full. */
static int fill_sequential(quern__windows *w, quern_error *err)
{
    size_t size = w->narrow ? sizeof(uint16_t) : sizeof(int32_t);
    /* move what is left to the front */
    int64_t gone = w->complete < w->n_segments ? w->segments[w->complete].first : w->n;
    memmove(w->ids, (char *)w->ids + (size_t)gone * size, (size_t)(w->n - gone) * size);
    memmove(w->segments, w->segments + w->complete,
            (size_t)(w->n_segments - w->complete) * sizeof *w->segments);
    w->n -= gone;
    w->n_segments -= w->complete;
    for (int i = 0; i < w->n_segments; i++)
        w->segments[i].first -= gone;
    /* read blocks as segments */
    while (!w->ended && w->n + quern__corpus_most(w->corpus) <= w->capacity &&
           w->n_segments < w->most_segments) {
        int64_t first = w->n, count;
        int status = add_block(w, w->corpus->next, INT64_MAX, &count, err);
        if (status < 0)
            return status;
        w->ended = status == QUERN_END;
        if (count)
            w->segments[w->n_segments++] = (quern__segment){ first, count, 0 };
    }
    w->n_windows = 0;
    for (w->complete = 0; w->complete < w->n_segments; w->complete++) {
        quern__segment *s = &w->segments[w->complete];
        /* windows that need tokens after the buffer wait for the next group */
        if (!w->ended && s->first + s->count + w->length > w->n)
            break;
        s->before = w->n_windows;
        w->n_windows += count_windows(w, s->count, w->n - s->first);
    }
    return w->ended && !w->n_segments ? QUERN_END : QUERN_OK;
}

int quern__windows_fill(quern__windows *w, const quern__random_key *key, int64_t *place,
                        quern_error *err)
{
    return w->corpus->reader ? fill_sequential(w, err) : fill_at_index(w, key, place, err);
}

void quern__windows_copy(const quern__windows *w, int64_t i, int32_t *to)
{
    int low = 0, high = w->complete - 1;
    while (low < high) { /* the last segment with at most i windows before it; empty segments are
                            before it */
        int middle = (low + high + 1) / 2;
        if (w->segments[middle].before <= i)
            low = middle;
        else
            high = middle - 1;
    }
    int64_t first = w->segments[low].first + (i - w->segments[low].before) * w->stride;
    if (w->narrow)
        for (int64_t k = 0; k <= w->length; k++)
            to[k] = ((uint16_t *)w->ids)[first + k];
    else
        memcpy(to, (int32_t *)w->ids + first, (size_t)(w->length + 1) * sizeof(int32_t));
}

void quern__windows_forget(quern__windows *w)
{
    w->n = w->n_windows = 0;
    w->n_segments = w->complete = 0;
    w->ended = false;
}

/* ---- memory ---- */

/* The largest power of two up to n, at least 1. */
static int64_t power_of_two_to(int64_t n)
{
    int64_t p = 1;
    while (p <= n / 2)
        p *= 2;
    return p;
}

/* Bytes of a block: small, so that a group has many, but several times a window. */
static int64_t block_for(const quern__windows *w)
{
    int64_t block = power_of_two_to(w->capacity / places);
    block = block < least_block ? least_block : block > most_block ? most_block : block;
    while (block < 4 * w->length && block < long_block)
        block *= 2;
    while (block > least_block && 2 * (block + block / 4) + w->length > w->capacity)
        block /= 2;
    return block;
}

int quern__windows_open(quern__windows *w, size_t memory, quern_error *err)
{
    w->narrow = quern_tokenizer_size(w->t) <= 1 << 16;
    size_t size = w->narrow ? sizeof(uint16_t) : sizeof(int32_t);
    w->capacity = (int64_t)(memory / size);
    int64_t block = block_for(w), least = 2 * (block + block / 4) + w->length;
    if (least > w->capacity)
        return quern__fail(err, QUERN_BUDGET, "memory",
                           "windows of %lld tokens need %lld bytes, the limit is %zu",
                           (long long)w->length, (long long)least * (long long)size, memory);
    int status = quern__corpus_cut(w->corpus, block, err);
    if (status < 0)
        return status;
    quern__windows_close(w);
    w->most_segments = (int)w->length + usual_segments;
    w->scratch_room = quern__corpus_tokens_room(w->corpus);
    w->ids = quern__alloc((size_t)w->capacity * size);
    w->scratch = quern__zalloc((size_t)w->scratch_room, sizeof *w->scratch);
    w->segments = quern__zalloc((size_t)w->most_segments, sizeof *w->segments);
    quern__windows_forget(w);
    return w->ids && w->scratch && w->segments ? QUERN_OK : quern__fail_memory(err, memory);
}

void quern__windows_close(quern__windows *w)
{
    quern__free(w->ids);
    quern__free(w->scratch);
    quern__free(w->segments);
    w->ids = NULL;
    w->scratch = NULL;
    w->segments = NULL;
}
