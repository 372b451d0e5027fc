/* ResNet-20 (He et al., 2015, the variant for CIFAR-10) built with a blueprint: three stages of
 * three blocks with 16, 32 and 64 channels; a block is two convolutions with a shortcut. Images of
 * 28 x 28 are padded to 32 x 32, flipped and translated during training, and read from their files
 * batch by batch.
 *
 *     resnet "x=train-images-idx3-ubyte.gz y=train-labels-idx1-ubyte.gz" "x=…"
 *            [EPOCHS [STEPS [OUT.keras]]]
 *
 * The first argument names the training data, the second the test data, both in the syntax of the
 * command: IDX or NPY, gzipped or not, or members of an NPZ. EPOCHS (10) have STEPS (900) batches
 * of 64 each, and the learning rate follows a cosine. docs/uses.md has the results. */
#include <quern/quern.h>
#include <stdio.h>
#include <stdlib.h>

static int convolution(quern_blueprint *b, int x, int filters, int size, int stride)
{
    char words[128];
    snprintf(words, sizeof words,
             "conv2d %d %d same strides=%d use_bias=false kernel_initializer=he_normal "
             "kernel_regularizer=l2(1e-4)",
             filters, size, stride);
    return quern_apply(b, "batch_normalization momentum=0.9", quern_apply(b, words, x));
}

/* If the block reduces the image or adds channels, the shortcut needs a convolution too. */
static int block(quern_blueprint *b, int x, int filters, int stride, int around)
{
    int y = quern_apply(b, "relu", convolution(b, x, filters, 3, stride));
    y = convolution(b, y, filters, 3, 1);
    int both[] = { y, around ? convolution(b, x, filters, 1, stride) : x };
    return quern_apply(b, "relu", quern_apply_n(b, "add", both, 2));
}

static quern_model *resnet(int blocks, quern_error *err)
{
    quern_blueprint *b = quern_blueprint_new(1);
    int x = quern_input(b, "28 28 1"), y = quern_apply(b, "rescaling 1/255", x);
    y = quern_apply(b, "zero_padding2d 2", y);
    y = quern_apply(b, "random_flip horizontal", y);
    y = quern_apply(b, "random_translation 0.1 0.1 fill_mode=constant", y);
    y = quern_apply(b, "relu", convolution(b, y, 16, 3, 1));
    for (int stage = 0; stage < 3; stage++)
        for (int k = 0; k < blocks; k++)
            y = block(b, y, 16 << stage, stage && !k ? 2 : 1, stage && !k);
    y = quern_apply(b, "dense 10 softmax", quern_apply(b, "global_average_pooling2d", y));
    return quern_model_new(b, &x, 1, &y, 1, err);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return fprintf(stderr, "resnet TRAIN TEST [EPOCHS [STEPS [OUT.keras]]]\n"), 2;
    quern_error err = { 0 };
    quern_fit_opts opts = { .batch_size = 64, .verbose = 2 };
    opts.epochs = argc > 3 ? atoll(argv[3]) : 10;
    opts.steps_per_epoch = argc > 4 ? atoll(argv[4]) : 900;
    char optimizer[128];
    snprintf(optimizer, sizeof optimizer,
             "sgd learning_rate=cosine_decay(0.1,%lld) momentum=0.9 nesterov=true",
             (long long)(opts.epochs * opts.steps_per_epoch));
    quern_generator *train = quern_file_generator(argv[1], NULL, &err),
                    *test = train ? quern_file_generator(argv[2], NULL, &err) : NULL;
    quern_model *m = test ? resnet(3, &err) : NULL;
    quern_history *h = NULL;
    double logs[2] = { 0 };
    if (m && quern_compile(m, optimizer, "sparse_categorical_crossentropy", "accuracy", &err) >= 0)
        h = quern_fit_generator(m, train, &opts, &err);
    int64_t asked = h && !err.code ? quern_evaluate_generator(m, test, 0, 0, logs, &err) : 0;
    int failed =
        !h || err.code || asked < 0 || (argc > 5 && quern_model_save(m, argv[5], &err) < 0);
    if (failed)
        fprintf(stderr, "resnet: %s: %s\n", err.where, err.text);
    else
        printf("%lld unseen images: loss %.4f, accuracy %.4f\n", (long long)asked, logs[0],
               logs[1]);
    quern_history_free(h);
    quern_model_free(m);
    quern_generator_free(train);
    quern_generator_free(test);
    /* With ten classes a guess is right in one of ten cases. One half is significant, even if two
     * classes are mirror images of each other, as the digits 2 and 5 of digits.c are. */
    return failed || logs[1] < 0.5;
}
