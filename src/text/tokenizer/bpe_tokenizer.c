/* Byte-pair encoding of a pre-token: it starts as the ids of its bytes; of all adjacent pairs
 * with a merge, the one of the lowest rank merges, the leftmost first, until no pair has a
 * merge.
 * The ranks are stored in blocks of 64 with the minimum of each block. A merge updates one or
 * two blocks and then compares the minima. Therefore the cost per byte is nearly independent of
 * the length (at most 4096 bytes). */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 64, BLOCKS = QUERN_PIECE_BYTES / BLOCK };
#define NONE UINT32_MAX

/* ---- the merge table ---- */

static size_t merge_slot(const quern_tokenizer *t, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    size_t at = (size_t)((h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u >> 32) & (t->n_slots - 1);
    while (t->merges[at].rank != NONE &&
           (t->merges[at].left != left || t->merges[at].right != right))
        at = (at + 1) & (t->n_slots - 1);
    return at;
}

int quern__bpe_reserve(quern_tokenizer *t, size_t n_merges, quern_error *err)
{
    if (n_merges > QUERN__MOST_TOKENS)
        return quern__fail(err, QUERN_NOMEM, NULL, "%zu merges exceed %d", n_merges,
                           QUERN__MOST_TOKENS);
    t->n_slots = 16;
    while (t->n_slots < 2 * n_merges)
        t->n_slots *= 2;
    t->merges = quern__alloc(t->n_slots * sizeof *t->merges);
    t->products = quern__alloc(n_merges * sizeof *t->products);
    if (!t->merges || !t->products)
        return quern__fail_memory(err, t->n_slots * sizeof *t->merges);
    memset(t->merges, 0xff, t->n_slots * sizeof *t->merges);
    return QUERN_OK;
}

void quern__bpe_add_merge(quern_tokenizer *t, int32_t left, int32_t right, int32_t product)
{
    t->merges[merge_slot(t, left, right)] = (quern__merge){ left, right, t->n_merges };
    t->products[t->n_merges++] = product;
}

static int by_bytes(const void *a, const void *b, void *context)
{
    size_t n, m;
    const char *x = quern_tokenizer_token(context, *(const int32_t *)a, &n);
    const char *y = quern_tokenizer_token(context, *(const int32_t *)b, &m);
    int order = memcmp(x, y, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

int quern__bpe_finish(quern_tokenizer *t, quern_error *err)
{
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        int64_t found = quern__strings_find(&t->tokens, &byte, 1);
        if (found < 0)
            return quern__fail(err, QUERN_UNSUPPORTED, NULL,
                               "no token for byte 0x%02x: not every text can be encoded", b);
        t->byte_ids[b] = (int32_t)t->tokens.items[found].count;
    }
    if (t->n_added)
        qsort_r(t->added, (size_t)t->n_added, sizeof *t->added, by_bytes, t);
    for (int32_t i = 0, b = 0; b < 257; b++) {
        while (i < t->n_added && (uint8_t)*quern_tokenizer_token(t, t->added[i], NULL) < b)
            i++;
        t->added_from[b] = i;
    }
    return QUERN_OK;
}

/* ---- one pre-token ---- */

typedef struct piece {
    int n;
    int32_t ids[QUERN_PIECE_BYTES];    /* token id, at the index of its first byte */
    uint32_t ranks[QUERN_PIECE_BYTES]; /* rank of the merge with the next token; NONE: no merge, or
                                          no token begins here */
    uint16_t next[QUERN_PIECE_BYTES + 1], previous[QUERN_PIECE_BYTES + 1];
    uint32_t least[BLOCKS];
} piece;

static uint32_t rank_at(const quern_tokenizer *t, const piece *p, int i)
{
    return p->next[i] < p->n ? t->merges[merge_slot(t, p->ids[i], p->ids[p->next[i]])].rank : NONE;
}

static void find_least(piece *p, int block)
{
    int end = (block + 1) * BLOCK < p->n ? (block + 1) * BLOCK : p->n;
    uint32_t least = NONE;
    for (int i = block * BLOCK; i < end; i++)
        least = p->ranks[i] < least ? p->ranks[i] : least;
    p->least[block] = least;
}

/* Merges the token at i with the next one. */
static void merge_at(const quern_tokenizer *t, piece *p, int i)
{
    int gone = p->next[i], before = p->previous[i];
    p->ids[i] = t->products[p->ranks[i]];
    p->ranks[gone] = NONE;
    p->next[i] = p->next[gone];
    p->previous[p->next[gone]] = (uint16_t)i;
    p->ranks[i] = rank_at(t, p, i);
    find_least(p, i / BLOCK);
    if (gone / BLOCK != i / BLOCK)
        find_least(p, gone / BLOCK);
    if (i > 0) {
        p->ranks[before] = rank_at(t, p, before);
        find_least(p, before / BLOCK);
    }
}

/* Encodes n bytes. Leaves the ids at the start of p->ids and returns their number. */
static int merge_all(const quern_tokenizer *t, piece *p, const char *text, int n)
{
    int count = 0, blocks = (n + BLOCK - 1) / BLOCK;
    p->n = n;
    for (int i = 0; i < n; i++) {
        p->ids[i] = t->byte_ids[(uint8_t)text[i]];
        p->next[i] = (uint16_t)(i + 1);
        p->previous[i] = (uint16_t)(i - 1);
    }
    for (int i = 0; i < n; i++)
        p->ranks[i] = rank_at(t, p, i);
    for (int b = 0; b < blocks; b++)
        find_least(p, b);
    for (;;) {
        int block = 0;
        for (int b = 1; b < blocks; b++)
            block = p->least[b] < p->least[block] ? b : block;
        if (p->least[block] == NONE)
            break;
        int i = block * BLOCK;
        while (p->ranks[i] != p->least[block])
            i++;
        merge_at(t, p, i);
    }
    for (int i = 0; i < n; i = p->next[i])
        p->ids[count++] = p->ids[i];
    return count;
}

/* Encodes one pre-token into p->ids. Returns the number of ids. */
static int encode_piece(const quern_tokenizer *t, piece *p, const char *text, size_t n)
{
    int64_t whole = t->ignore_merges ? quern__strings_find(&t->tokens, text, n) : -1;
    if (whole < 0 && n > 1)
        return merge_all(t, p, text, (int)n);
    p->ids[0] = whole >= 0 ? (int32_t)t->tokens.items[whole].count : t->byte_ids[(uint8_t)*text];
    return 1;
}

int64_t quern__bpe_encode(const quern_tokenizer *t, const char *text, size_t n, bool final,
                          int32_t *ids, int64_t room, size_t *used, quern_error *err)
{
    piece p;
    int64_t count = 0, needed = 0;
    size_t at = 0, length;
    int32_t added;
    while (at < n && (length = quern__pre_token_length(t, text + at, n - at, final, &added)) > 0) {
        int more = 1;
        if (added >= 0)
            p.ids[0] = added;
        else
            more = encode_piece(t, &p, text + at, length);
        if (room - count < more) {
            needed = more;
            break;
        }
        memcpy(ids + count, p.ids, (size_t)more * sizeof *ids);
        count += more;
        at += length;
    }
    return quern__encoded(count, at, used, needed, room, err);
}
