/* Small products built on the tile: no packing, and tiles outside the requested part are skipped.
 * Attention uses them for causal scores: below the diagonal (BELOW), and products whose left factor
 * is zero above it (UP_TO) or, transposed, below it (FROM). The diagonal is moved by `shift`. */
#include "small_gemm.h"

#include "gemm_microkernel.h"

static int64_t min_int64(int64_t a, int64_t b) { return a < b ? a : b; }

void quern__small_product(const quern__small *s)
{
    for (int64_t i = 0; i < s->m; i += QUERN__TILE_ROWS) {
        int64_t rows = min_int64(QUERN__TILE_ROWS, s->m - i), first = 0, last = s->k,
                columns = s->n, reach = i + rows + s->shift;
        if (s->part == QUERN__SMALL_BELOW)
            columns = min_int64(reach, columns);
        else if (s->part == QUERN__SMALL_UP_TO)
            last = reach < 0 ? 0 : min_int64(reach, last);
        else if (s->part == QUERN__SMALL_FROM)
            first = i - s->shift < 0 ? 0 : min_int64(i - s->shift, last);
        quern__left a = { s->a + i * s->row + first * s->inner, s->row, s->inner };
        for (int64_t j = 0; j < columns; j += QUERN__TILE_COLUMNS)
            quern__tile(last - first, a, s->b + first * s->ldb + j, s->ldb, s->c + i * s->ldc + j,
                        s->ldc, s->add, rows, QUERN__TILE_COLUMNS);
    }
}
