/* A U-Net (Ronneberger, Fischer and Brox, 2015) classifies every pixel: background, disc or box.
 * The encoder reduces the image and adds channels, and transposed convolutions of the decoder
 * enlarge it again. The features of each size of the encoder are concatenated to those of the
 * decoder. The images come from a random-access source with two reader threads. MeanIoU reports the
 * quality: for each class, correct pixels divided by the pixels that are or were predicted to be of
 * it, then the mean. */
#include <quern/quern.h>

#include <stdio.h>
#include <stdlib.h>

enum { side = 32, ground = 0, disc = 1, box = 2 };

/* SplitMix64 (Steele, Lea and Flood, 2014): 0 … 1. */
static double chance(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 40) / 16777216.0;
}

/* A disc and a box at random positions, equally bright, on a noisy background; the box is in
 * front. */
static void draw(uint64_t number, float *image, int32_t *kinds)
{
    uint64_t state = number << 32;
    double x[2], y[2], size[2];
    for (int k = 0; k < 2; k++) {
        size[k] = 5 + 4 * chance(&state);
        x[k] = side * chance(&state);
        y[k] = side * chance(&state);
    }
    for (int i = 0; i < side * side; i++) {
        double dx = i % side - x[0], dy = i / side - y[0], ex = i % side - x[1],
               ey = i / side - y[1];
        kinds[i] = dx * dx + dy * dy < size[0] * size[0] ? disc : ground;
        if (ex * ex < size[1] * size[1] * 0.8 && ey * ey < size[1] * size[1] * 0.8)
            kinds[i] = box;
        image[i] = (float)((kinds[i] != ground) * 0.6 + 0.4 * (chance(&state) - 0.5));
    }
}

/* Training images have the numbers from 0, test images those from `first`. */
static int read_images(void *first, quern_batch *b, quern_error *err)
{
    (void)err;
    for (int64_t r = 0; r < b->size; r++)
        draw((uint64_t)(b->indices[r] + *(int64_t *)first), (float *)b->arrays[0] + r * side * side,
             (int32_t *)b->arrays[1] + r * side * side);
    return QUERN_OK;
}

static int twice(quern_blueprint *b, int x, int filters)
{
    char words[64];
    snprintf(words, sizeof words, "conv2d %d 3 relu same kernel_initializer=he_normal", filters);
    return quern_apply(b, words, quern_apply(b, words, x));
}

/* The layers of one size, with all smaller sizes inside. */
static int level(quern_blueprint *b, int x, int filters, int depth)
{
    char words[64];
    int seen = twice(b, x, filters);
    if (depth == 0)
        return seen;
    int below = level(b, quern_apply(b, "max_pooling2d 2", seen), 2 * filters, depth - 1);
    snprintf(words, sizeof words, "conv2d_transpose %d 2 strides=2", filters);
    int both[] = { seen, quern_apply(b, words, below) };
    return twice(b, quern_apply_n(b, "concatenate", both, 2), filters);
}

static int64_t zero, far = 1 << 30;

/* unet [IMAGES [EPOCHS [OUT.keras]]] */
int main(int argc, char **argv)
{
    int64_t images = argc > 1 ? atoll(argv[1]) : 800, epochs = argc > 2 ? atoll(argv[2]) : 8;
    quern_error err = { 0 };
    quern_blueprint *b = quern_blueprint_new(1);
    int x = quern_input(b, "32 32 1"), y = quern_apply(b, "conv2d 3 1 softmax", level(b, x, 8, 3));
    quern_model *m = quern_model_new(b, &x, 1, &y, 1, &err);
    quern_generator *train = quern_indexed_generator(read_images, &zero, images),
                    *test = quern_indexed_generator(read_images, &far, 200);
    quern_history *h = NULL;
    double logs[2] = { 0 };
    if (m && quern_compile(m, "adam learning_rate=0.002", "sparse_categorical_crossentropy",
                           "mean_io_u 3 sparse_y_pred=false", &err) >= 0)
        h = quern_fit_generator(
            m, train,
            &(quern_fit_opts){ .epochs = epochs, .batch_size = 16, .workers = 2, .verbose = 2 },
            &err);
    int failed = !h || err.code || quern_evaluate_generator(m, test, 0, 0, logs, &err) < 0;
    if (!failed && argc > 3)
        failed = quern_model_save(m, argv[3], &err) < 0;
    if (failed)
        fprintf(stderr, "unet: %s: %s\n", err.where, err.text);
    else
        printf("unseen images: loss %.4f, mean intersection over union %.4f\n", logs[0], logs[1]);
    quern_history_free(h);
    quern_model_free(m);
    quern_generator_free(train);
    quern_generator_free(test);
    /* Always "background" gives at most 1/3. Correct shapes with a random choice of disc or box
     * give (1 + 1/3 + 1/3) / 3, and a constant choice gives less. */
    return failed || logs[1] < 0.75;
}
