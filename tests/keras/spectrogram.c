/* Initial kernels of STFTSpectrogram for frames of 4, compared with Keras. Conformance cases cannot
 * show them, because they set weights. */
#include "check.h"

#include "keras/keras.h"

static void initial_kernels_equal_those_of_keras(void **state)
{
    static const double want[2][12] = { { 0, 0, 0, 0.7071068, 0, -0.7071068, 0.7071068, -0.7071068,
                                          0.7071068, 0, 0, 0 },
                                        { 0, 0, 0, 0, -0.7071068, 0, 0, 0, 0, 0, 0, 0 } };
    const quern_shape in = { .rank = 3, .dims = { -1, 8, 1 } };
    quern_error err = { 0 };
    json_t *config = NULL;
    (void)state;
    const quern__class *row =
        quern__parse_spec(QUERN__LAYER, "stft_spectrogram stft 4 periodic=false", &config, &err);
    quern__layer *l = row ? quern__layer_new(row, config, &err) : NULL;
    assert_non_null(l);
    CHECK_OK(quern__layer_build(l, &in, 1, 7, &err), err);
    assert_int_equal(l->n_weights, 2);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 12; i++)
            CHECK_NEAR((double)((float *)l->weights[k]->data)[i], want[k][i], 0, 1e-6);
    quern__layer_free(l);
}

static void invalid_arguments_are_refused(void **state)
{
    static const char *const words[] = { "stft_spectrogram angle 4",
                                         "stft_spectrogram loud 4",
                                         "stft_spectrogram log 9 10",
                                         "stft_spectrogram log 8 fft_length=4",
                                         "stft_spectrogram log 8 window=kaiser",
                                         "stft_spectrogram log 8 padding=causal",
                                         "mel_spectrogram 64",
                                         "mel_spectrogram 8 sequence_length=9" };
    (void)state;
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        bool mel = words[k][0] == 'm';
        const quern_shape in = { .rank = mel ? 2 : 3, .dims = { -1, 32, 1 } };
        quern_error err = { 0 };
        json_t *config = NULL;
        const quern__class *row = quern__parse_spec(QUERN__LAYER, words[k], &config, &err);
        quern__layer *l = row ? quern__layer_new(row, config, &err) : NULL;
        assert_non_null(l);
        assert_true(quern__layer_build(l, &in, 1, 7, &err) < 0);
        quern__layer_free(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(initial_kernels_equal_those_of_keras),
                                        cmocka_unit_test(invalid_arguments_are_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
