/* Reads a corpus in B lanes for stateful models (B = batch size): record r of a batch continues
 * record r of the previous batch. A lane is a range of consecutive blocks; the ranges are of nearly
 * equal size. A pass ends when one lane has no complete window.
 *
 * Each lane holds a part of its tokens, at most one window and one block. Taking a window moves the
 * lane by `length` tokens, so windows do not overlap, except for the token after a window. Blocks
 * are small enough that each lane has at least 64 of them, if the text is long enough. */
#include "token_windows.h"

#include <string.h>

enum { least_block = 256, usual_block = 4096, blocks_a_lane = 64 };

/* Maximum tokens that a lane holds. */
static int64_t lane_capacity(const quern__lanes *l, int64_t block)
{
    return l->length + 1 + block + block / 4 + QUERN_PIECE_BYTES;
}

int quern__lanes_open(quern__lanes *l, size_t memory, quern_error *err)
{
    int64_t block = usual_block;
    size_t bytes;
    if (l->corpus->reader)
        return quern__fail(err, QUERN_UNSUPPORTED, "contiguous",
                           "needs uncompressed regular files");
    while (block > least_block && block > l->corpus->size / l->n / blocks_a_lane)
        block /= 2;
    while (block > least_block &&
           (size_t)l->n * (size_t)lane_capacity(l, block) * sizeof *l->ids > memory)
        block /= 2;
    if (!quern__mul((size_t)l->n, (size_t)lane_capacity(l, block) * sizeof *l->ids, &bytes) ||
        bytes > memory)
        return quern__fail(err, QUERN_BUDGET, "memory",
                           "%lld lanes need %zu bytes, the limit is %zu", (long long)l->n, bytes,
                           memory);
    int status = quern__corpus_cut(l->corpus, block, err);
    if (status < 0)
        return status;
    if (l->corpus->n_blocks < l->n)
        return quern__fail(err, QUERN_INVALID, l->corpus->paths[0],
                           "a text of %lld bytes is too short for %lld lanes",
                           (long long)l->corpus->size, (long long)l->n);
    quern__lanes_close(l);
    l->ids = quern__alloc(bytes);
    l->lanes = quern__zalloc((size_t)l->n, sizeof *l->lanes);
    if (!l->ids || !l->lanes)
        return quern__fail_memory(err, bytes);
    for (int64_t r = 0; r < l->n; r++)
        l->lanes[r].ids = l->ids + r * lane_capacity(l, block);
    quern__lanes_start(l);
    return QUERN_OK;
}

void quern__lanes_start(quern__lanes *l)
{
    int64_t blocks = l->corpus->n_blocks, each = blocks / l->n, more = blocks % l->n;
    for (int64_t r = 0; r < l->n; r++) {
        quern__lane *lane = &l->lanes[r];
        lane->block = r * each + (r < more ? r : more);
        lane->end = lane->block + each + (r < more);
        lane->n = lane->at = 0;
    }
}

int quern__lanes_ready(quern__lanes *l, quern_error *err)
{
    for (int64_t r = 0; r < l->n; r++) {
        quern__lane *lane = &l->lanes[r];
        while (lane->n - lane->at < l->length + 1) {
            int64_t count;
            if (lane->block == lane->end)
                return QUERN_END;
            lane->n -= lane->at;
            memmove(lane->ids, lane->ids + lane->at, (size_t)lane->n * sizeof *lane->ids);
            lane->at = 0;
            int status = quern__corpus_tokens(l->corpus, l->t, lane->block++, INT64_MAX,
                                              lane->ids + lane->n, &count, err);
            if (status < 0)
                return status;
            lane->n += count;
        }
    }
    return QUERN_OK;
}

void quern__lanes_take(quern__lanes *l, int64_t r, int32_t *to)
{
    quern__lane *lane = &l->lanes[r];
    if (to)
        memcpy(to, lane->ids + lane->at, (size_t)(l->length + 1) * sizeof *to);
    lane->at += l->length;
}

void quern__lanes_close(quern__lanes *l)
{
    quern__free(l->lanes);
    quern__free(l->ids);
    l->lanes = NULL;
    l->ids = NULL;
}
