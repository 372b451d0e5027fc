/* Small products: a tile of 6 rows and 16 columns in registers (6 of AVX-512, 12 of AVX2), a's numbers broadcast from where they
 * lie, b's rows read as they are: nothing is packed. */
#include "small.h"

#include "vector.h"

typedef float lane __attribute__((vector_size(64), aligned(4)));
enum { rows = 6, lanes = 16 };

/* n rows (a constant where it is called) of c from column j on; inner places [first, last). */
static inline __attribute__((always_inline)) void tile(const quern__small *s, const int n, int64_t i, int64_t j, int64_t first,
                                                       int64_t last)
{
    lane sum[rows];
    const float *a = s->a + i * s->row + first * s->inner, *b = s->b + first * s->ldb + j;
    float *c = s->c + i * s->ldc + j;
    for (int r = 0; r < n; r++)
        sum[r] = s->add ? *(const lane *)(c + r * s->ldc) : (lane){ 0 };
    for (int64_t p = first; p < last; p++, a += s->inner, b += s->ldb) {
        lane own = *(const lane *)b;
#pragma GCC unroll 6
        for (int r = 0; r < n; r++)
            sum[r] += a[r * s->row] * own;
    }
    for (int r = 0; r < n; r++)
        *(lane *)(c + r * s->ldc) = sum[r];
}

QUERN__CLONES void quern__small_product(const quern__small *s)
{
    for (int64_t i = 0; i < s->m; i += rows) {
        int64_t n = s->m - i < rows ? s->m - i : rows, first = 0, last = s->k, columns = s->n, reach = i + n + s->shift;
        if (s->part == QUERN__SMALL_BELOW)
            columns = reach < columns ? reach : columns;
        else if (s->part == QUERN__SMALL_UP_TO)
            last = reach < 0 ? 0 : reach < last ? reach : last;
        else if (s->part == QUERN__SMALL_FROM)
            first = i - s->shift < 0 ? 0 : i - s->shift < last ? i - s->shift : last;
        for (int64_t j = 0; j < columns; j += lanes)
            switch (n) {
            case 6:
                tile(s, 6, i, j, first, last);
                break;
            case 5:
                tile(s, 5, i, j, first, last);
                break;
            case 4:
                tile(s, 4, i, j, first, last);
                break;
            case 3:
                tile(s, 3, i, j, first, last);
                break;
            case 2:
                tile(s, 2, i, j, first, last);
                break;
            default:
                tile(s, 1, i, j, first, last);
            }
    }
}
