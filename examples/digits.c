/* Images for the other examples, if Fashion-MNIST is not installed: digits of seven strokes, 28 x
 * 28, with random position, size and brightness on a noisy background. Writes
 * DIRECTORY/train-images-idx3-ubyte and its three companions, under the file names of MNIST. */
#include <stdint.h>
#include <stdio.h>

enum { side = 28 };

static uint32_t state = 7;

/* 0 … n-1 */
static int chance(int n)
{
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % (uint32_t)n);
}

static void stroke(uint8_t *image, int x, int y, int width, int height, int ink)
{
    for (int r = y; r < y + height; r++)
        for (int c = x; c < x + width; c++)
            image[r * side + c] = (uint8_t)(ink - chance(40));
}

static void draw(uint8_t *image, int digit)
{
    /* Bits from 0: top, upper left, upper right, middle, lower left, lower right, bottom. */
    static const uint8_t strokes[] = { 0x77, 0x24, 0x5d, 0x6d, 0x2e, 0x6b, 0x7b, 0x25, 0x7f, 0x6f };
    int on = strokes[digit], s = 7 + chance(4), x = 2 + chance(side - s - 5),
        y = 2 + chance(side - 2 * s - 5), ink = 160 + chance(96);
    for (int i = 0; i < side * side; i++)
        image[i] = (uint8_t)chance(50);
    for (int k = 0; k < 3; k++) /* horizontal, then vertical on both sides */
        if (on >> (3 * k) & 1)
            stroke(image, x, y + k * s, s + 2, 2, ink);
    for (int k = 0; k < 4; k++)
        if (on >> (1 + k % 2 + 3 * (k / 2)) & 1)
            stroke(image, x + k % 2 * s, y + k / 2 * s, 2, s + 2, ink);
}

/* The header of an IDX file: bytes in `rank` dimensions, sizes in big-endian order. */
static void head(FILE *to, int rank, int records)
{
    const uint32_t sizes[] = { (uint32_t)records, side, side };
    const uint8_t magic[] = { 0, 0, 8, (uint8_t)rank };
    fwrite(magic, 1, sizeof magic, to);
    for (int i = 0; i < rank; i++)
        for (int shift = 24; shift >= 0; shift -= 8)
            fputc(sizes[i] >> shift & 255, to);
}

static int write_set(const char *directory, const char *name, int records)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte", directory, name);
    FILE *images = fopen(path, "wb");
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte", directory, name);
    FILE *labels = fopen(path, "wb");
    int failed = !images || !labels;
    if (!failed) {
        head(images, 3, records);
        head(labels, 1, records);
        for (int i = 0; i < records; i++) {
            uint8_t image[side * side];
            int digit = chance(10);
            draw(image, digit);
            fwrite(image, 1, sizeof image, images);
            fputc(digit, labels);
        }
        failed = ferror(images) || ferror(labels);
    }
    failed |= images && fclose(images);
    failed |= labels && fclose(labels);
    if (failed)
        perror(path);
    return failed;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return fprintf(stderr, "digits DIRECTORY\n"), 2;
    return write_set(argv[1], "train", 2000) | write_set(argv[1], "t10k", 500);
}
