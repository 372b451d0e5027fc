/* Learns byte-pair merges from counted pre-tokens (Sennrich et al., "Neural machine translation
 * of rare words with subword units", 2016). Each adjacent pair has its count and the list of
 * pre-tokens that contain it. A merge visits only these pre-tokens and updates the counts of the
 * neighbouring pairs.
 * A heap yields the most frequent pair. It contains each pair at least once, with a count that
 * is current or was higher before. A popped entry with an old count is pushed again with the
 * current count (lazy update). */
#include "tokenizer.h"

#include <string.h>

typedef struct pair {
    int32_t left, right; /* left -1: a free slot */
    int64_t count;
    uint32_t *pieces; /* indices of pre-tokens, ascending for pairs of the initial text; some may no
                         longer contain the pair */
    uint32_t n, room;
    bool touched; /* its count increased in this merge */
} pair;

typedef struct candidate {
    int64_t count;
    int32_t left, right;
} candidate;

typedef struct learner {
    const quern__strings *pieces;
    int32_t *ids; /* token ids of all pre-tokens; pre-token k has lengths[k] ids from starts[k] */
    size_t *starts;
    uint32_t *lengths;
    pair *pairs;
    size_t n_pairs, n_slots;
    candidate *heap;
    size_t n_heap, heap_room;
    size_t *touched; /* slots of touched pairs */
    size_t n_touched, touched_room;
    bool failed; /* out of memory */
} learner;

/* ---- pairs ---- */

static size_t pair_slot(const learner *l, int32_t left, int32_t right)
{
    uint64_t h = quern__hash64((uint64_t)(uint32_t)left << 32 | (uint32_t)right);
    size_t at = (size_t)h & (l->n_slots - 1);
    while (l->pairs[at].left >= 0 && (l->pairs[at].left != left || l->pairs[at].right != right))
        at = (at + 1) & (l->n_slots - 1);
    return at;
}

/* Doubles the table and moves `touched` to the new slots. */
static void grow_pairs(learner *l, size_t n_slots)
{
    pair *old = l->pairs;
    size_t n_old = l->n_slots;
    pair *pairs = quern__alloc(n_slots * sizeof *pairs);
    if (!pairs) {
        l->failed = true;
        return;
    }
    for (size_t i = 0; i < n_slots; i++)
        pairs[i] = (pair){ .left = -1 };
    l->pairs = pairs;
    l->n_slots = n_slots;
    for (size_t i = 0; i < n_old; i++)
        if (old[i].left >= 0)
            l->pairs[pair_slot(l, old[i].left, old[i].right)] = old[i];
    for (size_t i = 0; i < l->n_touched; i++) /* their slots have changed */
        l->touched[i] = pair_slot(l, old[l->touched[i]].left, old[l->touched[i]].right);
    quern__free(old);
}

/* Grows an array for one more element. False: out of memory. */
static bool learner_reserve(learner *l, void **data, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return true;
    size_t more = *room ? 2 * *room : 64;
    void *p = quern__realloc(*data, more * size);
    if (!p) {
        l->failed = true;
        return false;
    }
    *data = p;
    *room = more;
    return true;
}

static bool reserve_piece(learner *l, pair *p)
{
    if (p->n < p->room)
        return true;
    uint32_t more = p->room ? 2 * p->room : 2,
             *pieces = quern__realloc(p->pieces, more * sizeof *pieces);
    if (!pieces) {
        l->failed = true;
        return false;
    }
    p->pieces = pieces;
    p->room = more;
    return true;
}

/* Adds `by`, the count of a pre-token with its sign, to the count of a pair; by > 0: the
 * pre-token now contains the pair. */
static void change_count(learner *l, int32_t left, int32_t right, int64_t by, uint32_t piece)
{
    if (2 * l->n_pairs >= l->n_slots)
        grow_pairs(l, 2 * l->n_slots);
    if (l->failed)
        return;
    size_t slot = pair_slot(l, left, right);
    pair *p = &l->pairs[slot];
    if (p->left < 0) {
        *p = (pair){ .left = left, .right = right };
        l->n_pairs++;
    }
    p->count += by;
    if (by < 0)
        return;
    if ((p->n == 0 || p->pieces[p->n - 1] != piece) && reserve_piece(l, p))
        p->pieces[p->n++] = piece;
    if (!p->touched && learner_reserve(l, (void **)&l->touched, l->n_touched, &l->touched_room,
                                       sizeof *l->touched)) {
        p->touched = true;
        l->touched[l->n_touched++] = slot;
    }
}

/* ---- the heap ---- */

static bool comes_before(const candidate *a, const candidate *b)
{
    return a->count != b->count ? a->count > b->count
           : a->left != b->left ? a->left < b->left
                                : a->right < b->right;
}

static void heap_push(learner *l, candidate c)
{
    if (!learner_reserve(l, (void **)&l->heap, l->n_heap, &l->heap_room, sizeof *l->heap))
        return;
    size_t at = l->n_heap++;
    while (at > 0 && comes_before(&c, &l->heap[(at - 1) / 2])) {
        l->heap[at] = l->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    l->heap[at] = c;
}

static candidate heap_pop(learner *l)
{
    candidate top = l->heap[0], last = l->heap[--l->n_heap];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < l->n_heap) {
        if (child + 1 < l->n_heap && comes_before(&l->heap[child + 1], &l->heap[child]))
            child++;
        if (!comes_before(&l->heap[child], &last))
            break;
        l->heap[at] = l->heap[child];
        at = child;
    }
    l->heap[at] = last;
    return top;
}

/* Pushes every pair whose count increased. */
static void push_touched(learner *l)
{
    for (size_t i = 0; i < l->n_touched; i++) {
        pair *p = &l->pairs[l->touched[i]];
        p->touched = false;
        if (p->count > 0)
            heap_push(l, (candidate){ p->count, p->left, p->right });
    }
    l->n_touched = 0;
}

/* Pops the pair with the highest count; ties by the lowest ids. False: no pair has a count of at
 * least `least`. */
static bool best_pair(learner *l, int64_t least, candidate *out)
{
    while (l->n_heap && !l->failed) {
        *out = heap_pop(l);
        int64_t now = l->pairs[pair_slot(l, out->left, out->right)].count;
        if (now == out->count)
            return now >= least && now > 0;
        out->count = now;
        if (now > 0)
            heap_push(l, *out);
    }
    return false;
}

/* ---- merging ---- */

/* Merges a pair in one pre-token, in place, and updates the counts of its neighbours. */
static void merge_in(learner *l, uint32_t piece, const candidate *c, int32_t product)
{
    int32_t *ids = l->ids + l->starts[piece];
    uint32_t n = l->lengths[piece], to = 0;
    int64_t count = l->pieces->items[piece].count;
    for (uint32_t i = 0; i < n; i++) {
        if (i + 1 == n || ids[i] != c->left || ids[i + 1] != c->right) {
            ids[to++] = ids[i];
            continue;
        }
        /* the pair with the left neighbour is replaced */
        if (to > 0) {
            change_count(l, ids[to - 1], ids[i], -count, piece);
            change_count(l, ids[to - 1], product, count, piece);
        }
        /* the pair with the right neighbour is replaced */
        if (i + 2 < n) {
            change_count(l, ids[i + 1], ids[i + 2], -count, piece);
            change_count(l, product, ids[i + 2], count, piece);
        }
        ids[to++] = product;
        i++;
    }
    l->lengths[piece] = to;
}

static void merge_everywhere(learner *l, const candidate *c, int32_t product)
{
    pair *p = &l->pairs[pair_slot(l, c->left, c->right)];
    uint32_t n = p->n, *pieces = p->pieces;
    p->pieces = NULL; /* the table may be reallocated during the loop */
    p->n = p->room = 0;
    for (uint32_t i = 0; i < n && !l->failed; i++)
        merge_in(l, pieces[i], c, product);
    quern__free(pieces);
    l->pairs[pair_slot(l, c->left, c->right)].count = 0;
    push_touched(l);
}

/* ---- training ---- */

/* Converts all pre-tokens to ids of bytes and counts their pairs. False: out of memory. */
static bool learner_begin(learner *l)
{
    const quern__strings *s = l->pieces;
    int32_t byte_ids[256];
    l->ids = quern__alloc(s->used * sizeof *l->ids);
    l->starts = quern__alloc((size_t)s->n * sizeof *l->starts);
    l->lengths = quern__alloc((size_t)s->n * sizeof *l->lengths);
    if (!l->ids || !l->starts || !l->lengths)
        return false;
    grow_pairs(l, 1 << 12);
    for (int i = 0; i < 256; i++)
        byte_ids[quern__byte_at(i)] = i;
    for (int64_t k = 0; k < s->n && !l->failed; k++) {
        const uint8_t *bytes = (const uint8_t *)quern__strings_at(s, k);
        int32_t *ids = l->ids + s->items[k].start;
        l->starts[k] = s->items[k].start;
        l->lengths[k] = s->items[k].length;
        for (uint32_t i = 0; i < l->lengths[k]; i++)
            ids[i] = byte_ids[bytes[i]];
        for (uint32_t i = 0; i + 1 < l->lengths[k]; i++)
            change_count(l, ids[i], ids[i + 1], s->items[k].count, (uint32_t)k);
    }
    push_touched(l);
    return !l->failed;
}

static void learner_end(learner *l)
{
    for (size_t i = 0; i < l->n_slots; i++)
        if (l->pairs[i].left >= 0)
            quern__free(l->pairs[i].pieces);
    quern__free(l->pairs);
    quern__free(l->ids);
    quern__free(l->starts);
    quern__free(l->lengths);
    quern__free(l->heap);
    quern__free(l->touched);
}

/* The id of the concatenated pair: the existing token with these bytes, else a new one at
 * t->size. */
static int64_t merge_product(quern_tokenizer *t, const candidate *c, quern_error *err)
{
    char bytes[QUERN_PIECE_BYTES];
    size_t n, m;
    const char *left = quern_tokenizer_token(t, c->left, &n),
               *right = quern_tokenizer_token(t, c->right, &m);
    memcpy(bytes, left, n);
    memcpy(bytes + n, right, m);
    int64_t found = quern__strings_find(&t->tokens, bytes, n + m);
    if (found >= 0)
        return t->tokens.items[found].count;
    int status = quern__tokenizer_set(t, t->size++, bytes, n + m, err);
    return status < 0 ? status : t->size - 1;
}

/* Merges until the vocabulary has vocab_size tokens; t->size is the current number. */
static int learn_merges(quern_tokenizer *t, learner *l, int64_t vocab_size, int64_t min_count,
                        quern_error *err)
{
    candidate c;
    while (t->size < vocab_size && best_pair(l, min_count, &c)) {
        int64_t product = merge_product(t, &c, err);
        if (product < 0)
            return (int)product;
        if (t->n_merges == (uint32_t)vocab_size) /* several merges can give the same token, so the
                                                    merge table can fill before the vocabulary */
            break;
        quern__bpe_add_merge(t, c.left, c.right, (int32_t)product);
        merge_everywhere(l, &c, (int32_t)product);
    }
    return l->failed ? quern__fail_memory(err, l->n_slots * sizeof *l->pairs) : QUERN_OK;
}

quern_tokenizer *quern__bpe_learn(const quern__strings *pieces, int64_t vocab_size,
                                  int64_t min_count, quern_error *err)
{
    learner l = { .pieces = pieces };
    quern_tokenizer *t = quern__tokenizer_new(QUERN__BPE, vocab_size, err);
    int status = t ? quern__bpe_reserve(t, (size_t)vocab_size, err) : QUERN_NOMEM;
    for (int i = 0; status >= 0 && i < 256; i++)
        status = quern__tokenizer_set(t, i, &(char){ (char)quern__byte_at(i) }, 1, err);
    if (status >= 0 && !learner_begin(&l))
        status = quern__fail_memory(err, pieces->used * sizeof *l.ids);
    if (status >= 0) {
        t->size = 256;
        status = learn_merges(t, &l, vocab_size, min_count, err);
    }
    if (status >= 0)
        status = quern__bpe_finish(t, err);
    learner_end(&l);
    if (status >= 0)
        return t;
    quern_tokenizer_free(t);
    return NULL;
}
