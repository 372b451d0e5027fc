/* augment_geometry: augmentations that move pixels: flips, rotations, zooms, translations, shears,
 * perspective and elastic transforms. Coordinates are float32, and reads outside follow
 * TensorFlow's fill modes. */
#include "augmentation.h"

#include <math.h>
#include <string.h>

/* ---- interpolation ---- */

/* Maps a coordinate to 0 … n - 1 by the fill mode; "constant" returns it as it is. */
static float mapped(float x, int64_t n, int mode)
{
    float size = (float)n;
    if (mode == QUERN__FILL_CONSTANT)
        return x;
    if (n < 2)
        return 0;
    if (mode == QUERN__FILL_REFLECT && x < 0) {
        x = x < 2 * size ? 2 * size * (float)(int64_t)(-x / (2 * size)) + x : x;
        x = x < -size ? x + 2 * size : -x - 1;
    } else if (mode == QUERN__FILL_REFLECT && x > size - 1) {
        x -= 2 * size * (float)(int64_t)(x / (2 * size));
        x = x >= size ? 2 * size - x - 1 : x;
    } else if (mode == QUERN__FILL_WRAP && x < 0)
        x += size * ((float)(int64_t)(-x / (size - 1)) + 1);
    else if (mode == QUERN__FILL_WRAP && x > size - 1)
        x -= size * (float)(int64_t)(x / (size - 1));
    return x < 0 ? 0 : x > size - 1 ? size - 1 : x;
}

static float read_at(const quern__augmentation *a, const float *from, float y, float x, int64_t c)
{
    const quern__picture *q = &a->of.picture;
    bool inside = y >= 0 && y <= (float)(q->height - 1) && x >= 0 && x <= (float)(q->width - 1);
    return inside ? from[(int64_t)y * q->y_step + (int64_t)x * q->x_step + c * q->c_step]
                  : (float)a->fill[0];
}

/* Writes all channels of position (y, x) of `to`, interpolated at (from_y, from_x). */
static void read_between(const quern__augmentation *a, const float *from, float from_y,
                         float from_x, float *to)
{
    const quern__picture *q = &a->of.picture;
    float y = floorf(from_y), x = floorf(from_x), down = from_y - y, right = from_x - x;
    for (int64_t c = 0; c < q->channels; c++) {
        if (a->nearest) {
            to[c * q->c_step] = read_at(a, from, roundf(from_y), roundf(from_x), c);
            continue;
        }
        float above =
            (1 - right) * read_at(a, from, y, x, c) + right * read_at(a, from, y, x + 1, c);
        float below =
            (1 - right) * read_at(a, from, y + 1, x, c) + right * read_at(a, from, y + 1, x + 1, c);
        to[c * q->c_step] = (1 - down) * above + down * below;
    }
}

void quern__project(const quern__augmentation *a, const double t[8], int mode, const float *from,
                    float *to)
{
    const quern__picture *q = &a->of.picture;
    float m[8];
    for (int k = 0; k < 8; k++)
        m[k] = (float)t[k];
    for (int64_t y = 0; y < q->height; y++)
        for (int64_t x = 0; x < q->width; x++) {
            float *place = to + y * q->y_step + x * q->x_step, across = (float)x, down = (float)y;
            float depth = m[6] * across + m[7] * down + 1;
            float from_y = (m[3] * across + m[4] * down + m[5]) / depth,
                  from_x = (m[0] * across + m[1] * down + m[2]) / depth;
            if (!isfinite(from_y) || !isfinite(from_x)) /* not a position */
                for (int64_t c = 0; c < q->channels; c++)
                    place[c * q->c_step] = (float)a->fill[0];
            else
                read_between(a, from, mapped(from_y, q->height, mode),
                             mapped(from_x, q->width, mode), place);
        }
}

static void changed(const quern__augmentation *a, const double t[8], float *p, float *scratch)
{
    memcpy(scratch, p, (size_t)quern__picture_size(&a->of.picture) * sizeof *p);
    quern__project(a, t, a->fill_mode, scratch, p);
}

/* ---- affine transforms ---- */

static void exchange(float *a, float *b)
{
    float held = *a;
    *a = *b;
    *b = held;
}

/* One random number decides both directions, as in Keras. */
void quern__flip(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    const quern__picture *q = &a->of.picture;
    (void)scratch;
    if (quern__drawn(d, 0) > 0.5)
        return;
    if (a->mode & 1)
        for (int64_t y = 0; y < q->height; y++)
            for (int64_t x = 0; x < q->width / 2; x++)
                for (int64_t c = 0; c < q->channels; c++) {
                    float *row = p + y * q->y_step + c * q->c_step;
                    exchange(row + x * q->x_step, row + (q->width - 1 - x) * q->x_step);
                }
    if (a->mode & 2)
        for (int64_t y = 0; y < q->height / 2; y++)
            for (int64_t x = 0; x < q->width; x++)
                for (int64_t c = 0; c < q->channels; c++) {
                    float *column = p + x * q->x_step + c * q->c_step;
                    exchange(column + y * q->y_step, column + (q->height - 1 - y) * q->y_step);
                }
}

void quern__rotate(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    double angle = quern__factor(a, d, 0, 0) * 2 * 3.14159265358979323846, c = cos(angle),
           s = sin(angle);
    double x = 0.5 * (double)(a->of.picture.width - 1),
           y = 0.5 * (double)(a->of.picture.height - 1);
    changed(a, (double[8]){ c, -s, x - x * c + y * s, s, c, y - x * s - y * c }, p, scratch);
}

/* A missing width_factor equals the height_factor. */
void quern__zoom(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    double high = 1 + quern__factor(a, d, 0, 0),
           wide = isnan(a->range[1][0]) ? high : 1 + quern__factor(a, d, 1, 1);
    double x = 0.5 * (double)(a->of.picture.width - 1),
           y = 0.5 * (double)(a->of.picture.height - 1);
    changed(a, (double[8]){ wide, 0, x * (1 - wide), 0, high, y * (1 - high) }, p, scratch);
}

void quern__translate(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    double down = quern__factor(a, d, 0, 0) * (double)a->of.picture.height,
           right = quern__factor(a, d, 1, 1) * (double)a->of.picture.width;
    changed(a, (double[8]){ 1, 0, -right, 0, 1, -down }, p, scratch);
}

/* One random number gives the sign of both factors. */
void quern__shear(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    double sign = quern__drawn(d, 0) > 0.5 ? -1 : 1, y = quern__factor(a, d, 1, 1),
           x = quern__factor(a, d, 0, 2);
    changed(a, (double[8]){ 1, sign * x, 0, sign * y, 1, 0 }, p, scratch);
}

/* ---- perspective ---- */

bool quern__homography(const double start[4][2], const double end[4][2], double t[8])
{
    double m[8][9];
    for (int k = 0; k < 8; k++) { /* two equations per corner: x of all corners, then y */
        double x = end[k / 2][0], y = end[k / 2][1], to = start[k / 2][k % 2];
        double row[9] = { 0, 0, 0, 0, 0, 0, -to * x, -to * y, to };
        row[k % 2 * 3] = x;
        row[k % 2 * 3 + 1] = y;
        row[k % 2 * 3 + 2] = 1;
        memcpy(m[k], row, sizeof row);
    }
    for (int k = 0; k < 8; k++) { /* Gauss-Jordan elimination with partial pivoting */
        int best = k;
        for (int i = k + 1; i < 8; i++)
            best = fabs(m[i][k]) > fabs(m[best][k]) ? i : best;
        if (!(fabs(m[best][k]) > 1e-12))
            return false;
        for (int j = 0; j < 9; j++) {
            double held = m[k][j];
            m[k][j] = m[best][j];
            m[best][j] = held;
        }
        for (int i = 0; i < 8; i++)
            if (i != k)
                for (int j = 8; j >= k; j--)
                    m[i][j] -= m[i][k] / m[k][k] * m[k][j];
    }
    for (int k = 0; k < 8; k++)
        t[k] = m[k][8] / m[k][k];
    return true;
}

/* Each corner moves inwards or outwards by a fraction of the side length. */
void quern__skew(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    double right = (double)(a->of.picture.width - 1), below = (double)(a->of.picture.height - 1),
           t[8];
    const double start[4][2] = { { 0, 0 }, { right, 0 }, { 0, below }, { right, below } };
    double end[4][2], scale = a->range[1][1];
    for (int k = 0; k < 8; k++)
        end[k / 2][k % 2] =
            start[k / 2][k % 2] * (1 + scale * (quern__drawn(d, 2 + (uint64_t)k) - 0.5));
    if (quern__happens(a, d, 0) && quern__homography(start, end, t))
        changed(a, t, p, scratch);
}

/* ---- elastic transform ---- */

/* Maps an integer coordinate into the image, as Keras's map_coordinates does; -1: the fill value.
 */
static int64_t bent(int64_t i, int64_t n, int mode)
{
    if (mode == QUERN__FILL_CONSTANT)
        return i >= 0 && i < n ? i : -1;
    if (mode == QUERN__FILL_NEAREST)
        return i < 0 ? 0 : i >= n ? n - 1 : i;
    if (mode == QUERN__FILL_WRAP)
        return (i % n + n) % n;
    i = (i < 0 ? -i : i) % (2 * n);
    return i < n ? i : 2 * n - i - 1;
}

/* Bilinear interpolation of a channel at (y, x). */
static float bent_value(const quern__augmentation *a, const float *from, float y, float x,
                        int64_t c)
{
    const quern__picture *q = &a->of.picture;
    float low_y = a->nearest ? rintf(y) : floorf(y), low_x = a->nearest ? rintf(x) : floorf(x),
          sum = 0;
    for (int k = 0; k < (a->nearest ? 1 : 4); k++) {
        int64_t row = bent((int64_t)low_y + k / 2, q->height, a->fill_mode),
                column = bent((int64_t)low_x + k % 2, q->width, a->fill_mode);
        float down = y - low_y, right = x - low_x,
              share = (k / 2 ? down : 1 - down) * (k % 2 ? right : 1 - right);
        float value = row < 0 || column < 0
                          ? (float)a->fill[0]
                          : from[row * q->y_step + column * q->x_step + c * q->c_step];
        sum += (a->nearest ? 1 : share) * value;
    }
    return sum;
}

/* Keras uses one seed for both displacement fields, so dx equals dy. `scratch` holds an image, the
 * field and its blur. */
void quern__bend(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    const quern__picture *q = &a->of.picture, field = { q->height, q->width, 1, q->width, 1, 1 };
    int64_t size = quern__picture_size(q), n = q->height * q->width;
    double factor = quern__factor(a, d, 1, 2),
           long_side = (double)(q->height > q->width ? q->height : q->width),
           short_side = (double)(q->height > q->width ? q->width : q->height),
           alpha = long_side * 0.1 * factor, sigma = short_side * 0.05 * factor;
    float *noise = scratch + size, *shift = noise + n, curve[QUERN__MOST_CURVE];
    int64_t wide = 6 * (int64_t)sigma | 1;
    if (a->range[0][1] > 0 && a->range[1][1] > 0 && quern__happens(a, d, 0) && sigma > 0) {
        memcpy(scratch, p, (size_t)size * sizeof *p);
        for (int64_t i = 0; i < n; i++)
            noise[i] = (float)(quern__random_normal(d->key, d->record,
                                                    d->base + QUERN__DRAWS_BY_PIXEL + (uint64_t)i) *
                               sigma);
        quern__gaussian_curve(wide, sigma, curve);
        quern__weigh_around(&field, curve, (int64_t[2]){ 1, wide }, noise, shift);
        quern__weigh_around(&field, curve, (int64_t[2]){ wide, 1 }, shift, noise);
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = 0; c < q->channels; c++) {
                float by = (float)alpha * noise[i];
                p[i / q->width * q->y_step + i % q->width * q->x_step + c * q->c_step] = bent_value(
                    a, scratch, (float)(i / q->width) + by, (float)(i % q->width) + by, c);
            }
    }
    if (a->range[0][1] > 0 && a->range[1][1] > 0)
        for (int64_t i = 0; i < size; i++)
            p[i] = quern__clip((double)p[i], a->low, a->high);
}
