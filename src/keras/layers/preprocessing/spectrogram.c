/* spectrogram: STFTSpectrogram and MelSpectrogram: frames of a signal times matrices of cosines and
 * sines. https://keras.io/api/layers/preprocessing_layers/audio_preprocessing/
 *
 * The short-time Fourier transform is computed as Keras's STFTSpectrogram does: as a convolution
 * over the signal with stride frame_step, whose filters are the windowed waves of each frequency.
 * So the signal is not divided into overlapping frames in memory, and the transform has a gradient.
 * MelSpectrogram reflects the signal at both ends, squares and adds both parts, and multiplies by
 * triangular filters. */
#include "keras/keras.h"

#include <math.h>
#include <string.h>

enum { most_frame = 1 << 16 };
static const double pi = 3.14159265358979323846;

/* ---- windows ---- */

/* A window of n numbers: by its name in SciPy, ones for null, or the given numbers. */
static int fill_window(quern__layer *l, int64_t n, bool periodic, double *out, quern_error *err)
{
    static const struct {
        const char *name;
        double a[3];
    } cosines[] = { { "hann", { 0.5, 0.5, 0 } },
                    { "hamming", { 0.54, 0.46, 0 } },
                    { "blackman", { 0.42, 0.5, 0.08 } },
                    { "boxcar", { 1, 0, 0 } } };
    json_t *window = json_object_get(l->config, "window");
    const char *name = json_is_null(window) ? "boxcar" : json_string_value(window);
    double by = 2 * pi / (double)(periodic ? n : n > 1 ? n - 1 : 1);
    if (json_is_array(window) && (int64_t)json_array_size(window) == n) {
        for (int64_t i = 0; i < n; i++)
            out[i] = json_number_value(json_array_get(window, (size_t)i));
        return QUERN_OK;
    }
    if (name)
        for (size_t k = 0; k < sizeof cosines / sizeof *cosines; k++)
            if (!strcmp(name, cosines[k].name)) {
                for (int64_t i = 0; i < n; i++) {
                    double x = (double)i * by;
                    out[i] = n == 1 ? 1
                                    : cosines[k].a[0] - cosines[k].a[1] * cos(x) +
                                          cosines[k].a[2] * cos(2 * x);
                }
                return QUERN_OK;
            }
    return name ? quern__fail(err, QUERN_UNSUPPORTED, l->name,
                              "window '%.40s' is not in this version; supported: hann, hamming, "
                              "blackman, boxcar",
                              name)
                : quern__fail(err, QUERN_SHAPE, l->name,
                              "window must be a name or a list of %lld numbers", (long long)n);
}

/* The matrix (frame, frequencies) of cosines, or of negative sines, times a window. */
static void fill_waves(float *w, int64_t frame, int64_t frequencies, int64_t period,
                       const double *window, double scale, bool sines)
{
    for (int64_t t = 0; t < frame; t++)
        for (int64_t f = 0; f < frequencies; f++) {
            double angle = -2 * pi * (double)(t * f % period) / (double)period;
            w[t * frequencies + f] = (float)((sines ? sin(angle) : cos(angle)) * window[t] / scale);
        }
}

/* An integer of the config; `none` for null. */
static int64_t whole_or(const quern__layer *l, const char *key, int64_t none)
{
    json_t *v = json_object_get(l->config, key);
    return json_is_number(v) ? (int64_t)json_number_value(v) : none;
}

/* The maximum of x and `low`. */
static quern__id at_least(quern__graph *g, quern__id x, double low)
{
    return quern__unary(g, QUERN__CLIP, x, low, INFINITY, 0);
}

/* Splits signals (B, T) into frames and multiplies each with a matrix (frame, 1, frequencies): (B,
 * frames, frequencies). */
static quern__id waves_of(quern__graph *g, quern__id x, quern__id matrix, int64_t frames,
                          int64_t step, int64_t before)
{
    quern_shape s = *quern__shape_of(g, x),
                one = { .rank = 3, .dims = { s.dims[0], s.dims[1], 1 } };
    quern__frame f = { .axes = 1,
                       .kernel = { 1, 1, quern__shape_of(g, matrix)->dims[0] },
                       .stride = { 1, 1, step },
                       .dilation = { 1, 1, 1 },
                       .before = { 0, 0, before },
                       .out = { 1, 1, frames } };
    return frames > 0 ? quern__convolve(g, quern__reshape(g, x, &one), matrix, &f)
                      : quern__graph_fail(g, QUERN_SHAPE, "the signal is shorter than a frame");
}

/* ---- STFTSpectrogram ---- */

typedef struct stft {
    int64_t frame, step, period, frequencies; /* frame to period: in samples */
} stft;

/* The sizes of the config; fft_length is the next power of two by default. */
static stft stft_of(const quern__layer *l)
{
    stft s = { .frame = quern__config_int(l->config, "frame_length"), .period = 1 };
    while (s.period < s.frame && s.period < most_frame)
        s.period *= 2;
    s.step = whole_or(l, "frame_step", s.frame / 2);
    s.period = whole_or(l, "fft_length", s.period);
    s.frequencies = s.period / 2 + 1;
    return s;
}

static bool is_mode(const quern__layer *l, const char *mode)
{
    return !strcmp(quern__config_text(l->config, "mode"), mode);
}

/* Adds the kernel of cosines or sines, times the window, with the scaling of the config. */
static int stft_kernel(quern__layer *l, const char *name, bool sines, quern_error *err)
{
    stft s = stft_of(l);
    quern_shape shape = { .rank = 3, .dims = { s.frame, 1, s.frequencies } };
    const char *scaling = quern__config_text(l->config, "scaling");
    double *window = quern__zalloc((size_t)s.frame, sizeof *window), scale = 0;
    int status =
        window ? fill_window(l, s.frame, quern__config_bool(l->config, "periodic"), window, err)
               : quern__fail_memory(err, 1);
    quern__variable *v = status < 0 ? NULL : quern__layer_weight(l, name, &shape, "", err);
    if (v)
        for (int64_t i = 0; i < s.frame; i++)
            scale +=
                scaling && !strcmp(scaling, "spectrum") ? fabs(window[i]) : window[i] * window[i];
    scale = scaling && !strcmp(scaling, "density") ? sqrt(scale) : scale;
    if (v && !l->unfilled) /* Keras's kernels have an even period for any fft_length */
        fill_waves(v->data, s.frame, s.frequencies, (s.frequencies - 1) * 2, window,
                   scaling && !json_is_null(json_object_get(l->config, "window")) ? scale : 1,
                   sines);
    quern__free(window);
    return v ? QUERN_OK : status < 0 ? status : QUERN_NOMEM;
}

static int stft_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    static const char *const modes[] = { "log", "magnitude", "psd", "real", "imag", "stft" };
    const char *mode = quern__config_text(l->config, "mode"),
               *scaling = quern__config_text(l->config, "scaling"),
               *padding = quern__config_text(l->config, "padding");
    size_t k = 0;
    stft s = stft_of(l);
    (void)n;
    while (k < 6 && mode && strcmp(mode, modes[k]))
        k++;
    if (k == 6 || !mode)
        return quern__fail(err, mode && !strcmp(mode, "angle") ? QUERN_UNSUPPORTED : QUERN_INVALID,
                           l->name, "mode '%.20s' is not log, magnitude, psd, real, imag or stft",
                           mode ? mode : "null");
    if (s.frame < 1 || s.frame > most_frame || s.step < 1 || s.step > s.frame ||
        s.period < s.frame || s.period > most_frame || s.frequencies < 2)
        return quern__fail(err, QUERN_INVALID, l->name,
                           "expected 1 <= frame_step <= frame_length <= fft_length <= %d",
                           most_frame);
    if ((scaling && strcmp(scaling, "density") && strcmp(scaling, "spectrum")) || !padding ||
        (strcmp(padding, "valid") && strcmp(padding, "same")))
        return quern__fail(
            err, QUERN_INVALID, l->name,
            "scaling must be density, spectrum or null; padding must be valid or same");
    if (in->rank != 3 || in->dims[1] < 1 || in->dims[2] < 1)
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "needs signals of fixed size, (None, steps, channels)");
    int status = is_mode(l, "imag") ? QUERN_OK : stft_kernel(l, "real_kernel", false, err);
    return status < 0 || is_mode(l, "real") ? status : stft_kernel(l, "imag_kernel", true, err);
}

/* Doubles all but the first and last frequency, for the other half of the spectrum. */
static quern__id both_sides(quern__graph *g, quern__id power, int64_t frequencies)
{
    quern__id parts[3] = { quern__slice(g, power, 2, 0, 1), 0,
                           quern__slice(g, power, 2, frequencies - 1, 1) };
    if (frequencies < 3)
        return power;
    parts[1] = quern__scale(g, quern__slice(g, power, 2, 1, frequencies - 2), 2);
    return quern__concat(g, parts, 3, 2);
}

/* (B * C, frames, frequencies) in the axis order of the config. */
static quern__id laid_out(const quern__layer *l, quern__graph *g, quern__id y, int64_t records,
                          int64_t channels, bool first)
{
    static const int orders[4][4] = {
        { 0, 2, 1, 3 }, { 0, 2, 3, 1 }, { 0, 1, 3, 2 }, { 0, 1, 2, 3 }
    };
    quern_shape s = *quern__shape_of(g, y),
                wide = { .rank = 4, .dims = { records, channels, s.dims[1], s.dims[2] } };
    bool expand = quern__config_bool(l->config, "expand_dims");
    y = quern__transpose(g, quern__reshape(g, y, &wide), orders[2 * first + expand]);
    quern_shape flat = { .rank = 3, .dims = { records, s.dims[1], channels * s.dims[2] } };
    if (first) {
        flat.dims[1] = channels * s.dims[2];
        flat.dims[2] = s.dims[1];
    }
    return expand ? y : quern__reshape(g, y, &flat);
}

static quern__id stft_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    const char *format = quern__config_text(l->config, "data_format");
    bool first = format && !strcmp(format, "channels_first"),
         same = !strcmp(quern__config_text(l->config, "padding"), "same");
    stft s = stft_of(l);
    quern_shape shape = *quern__shape_of(g, in[0]);
    int64_t steps = shape.dims[first ? 2 : 1], channels = shape.dims[first ? 1 : 2];
    int64_t frames = same              ? (steps + s.step - 1) / s.step
                     : steps < s.frame ? 0
                                       : (steps - s.frame) / s.step + 1;
    int64_t lacking = (frames - 1) * s.step + s.frame - steps;
    quern_shape flat = { .rank = 2, .dims = { shape.dims[0] * channels, steps } };
    quern__id x = first ? in[0] : quern__transpose(g, in[0], (int[]){ 0, 2, 1 }), parts[2] = { 0 },
              y;
    (void)n, (void)training;
    /* signals of all channels as records: (B * C, T) */
    x = quern__reshape(g, x, &flat);
    for (int k = 0; k < l->n_weights; k++)
        parts[k] = waves_of(g, x, quern__graph_variable(g, l->weights[k]), frames, s.step,
                            same && lacking > 0 ? lacking / 2 : 0);
    /* the parts as the mode requires: one part, both, or their power */
    if (l->n_weights < 2)
        y = parts[0];
    else if (is_mode(l, "stft"))
        y = quern__concat(g, parts, 2, 2);
    else
        y = quern__add2(g, quern__square(g, parts[0]), quern__square(g, parts[1]));
    if (is_mode(l, "psd"))
        y = both_sides(g, y, s.frequencies);
    if (is_mode(l, "magnitude") || is_mode(l, "log"))
        y = quern__sqrt(g, at_least(g, y, 1e-7));
    if (is_mode(l, "log"))
        y = quern__unary_of(g, QUERN__LOG, at_least(g, y, 1e-7));
    return laid_out(l, g, y, shape.dims[0], channels, first);
}

/* ---- MelSpectrogram ---- */

/* Hertz to mel, as in TensorFlow's tf.signal. */
static double mel(double hertz) { return 1127 * log(1 + hertz / 700); }

/* Triangular filters, equally spaced on the mel scale: (frequencies, bins). The first frequency is
 * in no filter. */
static void fill_mel(const quern__layer *l, float *w, int64_t frequencies, int64_t bins)
{
    double rate = quern__config_number(l->config, "sampling_rate"),
           low = mel(quern__config_number(l->config, "min_freq")),
           high = mel((double)whole_or(l, "max_freq", 0) > 0
                          ? quern__config_number(l->config, "max_freq")
                          : floor(rate / 2));
    double step = (high - low) / (double)(bins + 1);
    for (int64_t f = 1; f < frequencies; f++)
        for (int64_t b = 0; b < bins; b++) {
            double x = mel(rate / 2 * (double)f / (double)(frequencies - 1)),
                   from = low + step * (double)b;
            double slope = fmin((x - from) / step, (from + 2 * step - x) / step);
            w[f * bins + b] = (float)fmax(0, slope);
        }
}

/* A constant of the layer, which files do not contain. */
static quern__variable *mel_constant(quern__layer *l, const quern_shape *shape, quern_error *err)
{
    quern__variable *v = quern__variable_new(l->name, QUERN_FLOAT32, shape, false, err);
    if (v)
        l->constants[l->n_constants++] = v;
    return v;
}

static int mel_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int64_t period = quern__config_int(l->config, "fft_length"),
            step = quern__config_int(l->config, "sequence_stride"),
            length = whole_or(l, "sequence_length", period),
            bins = quern__config_int(l->config, "num_mel_bins"), frequencies = period / 2 + 1;
    (void)n;
    if (period < 2 || period > most_frame || step < 1 || length < 1 || length > period ||
        bins < 1 || bins > most_frame)
        return quern__fail(err, QUERN_INVALID, l->name,
                           "expected fft_length in 2 … %d, sequence_length <= fft_length, the "
                           "others at least 1",
                           most_frame);
    if (in->rank != 2 || in->dims[1] <= period / 2)
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "needs signals (None, samples) with more than fft_length / 2 samples");
    quern_shape waves = { .rank = 3, .dims = { period, 1, frequencies } },
                triangles = { .rank = 2, .dims = { frequencies, bins } };
    double *window = quern__zalloc((size_t)period, sizeof *window);
    int status = window ? fill_window(l, length, true, window + (period - length) / 2, err)
                        : quern__fail_memory(err, 1);
    for (int k = 0; k < 2 && status >= 0; k++) {
        quern__variable *v = mel_constant(l, &waves, err);
        status = v ? QUERN_OK : QUERN_NOMEM;
        if (v)
            fill_waves(v->data, period, frequencies, period, window, 1, k);
    }
    quern__free(window);
    quern__variable *v = status < 0 ? NULL : mel_constant(l, &triangles, err);
    if (v)
        fill_mel(l, v->data, frequencies, bins);
    return v ? QUERN_OK : status < 0 ? status : QUERN_NOMEM;
}

/* Decibels, limited to top_db below the maximum of the batch, as in Keras. */
static quern__id decibels(const quern__layer *l, quern__graph *g, quern__id x)
{
    double least = quern__config_number(l->config, "min_power"),
           reference = fabs(quern__config_number(l->config, "ref_power"));
    quern__id y = quern__unary_of(g, QUERN__LOG, at_least(g, x, least));
    y = quern__unary(g, QUERN__AFFINE, y, 10 / log(10), -10 * log10(fmax(reference, least)), 0);
    quern__id most = quern__reduce(g, QUERN__REDUCE_MAX, y, ~0u, false);
    return quern__binary(g, QUERN__MAXIMUM, y,
                         quern__shift(g, most, -quern__config_number(l->config, "top_db")));
}

static quern__id mel_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    int64_t period = quern__config_int(l->config, "fft_length"),
            step = quern__config_int(l->config, "sequence_stride"),
            samples = quern__shape_of(g, in[0])->dims[1], edge = period / 2;
    double exponent = quern__config_number(l->config, "mag_exp");
    quern__id x = quern__cast(g, in[0], QUERN_FLOAT32),
              parts[3] = { quern__reverse(g, quern__slice(g, x, 1, 1, edge), 1), x,
                           quern__reverse(g, quern__slice(g, x, 1, samples - 1 - edge, edge), 1) };
    (void)n, (void)training;
    /* the signal with reflected ends; its power per frame and frequency */
    x = quern__concat(g, parts, 3, 1);
    for (int k = 0; k < 2; k++)
        parts[k] = quern__square(g, waves_of(g, x, quern__graph_variable(g, l->constants[k]),
                                             (samples + 2 * edge - period) / step + 1, step, 0));
    quern__id power = quern__add2(g, parts[0], parts[1]);
    if (exponent != 2)
        power = quern__binary(g, QUERN__POW, quern__sqrt(g, power),
                              quern__graph_constant(g, exponent, QUERN_FLOAT32));
    quern__id y = quern__matmul(g, power, quern__graph_variable(g, l->constants[2]), false, false);
    if (quern__config_bool(l->config, "power_to_db"))
        y = decibels(l, g, y);
    return quern__transpose(g, y, (int[]){ 0, 2, 1 });
}

static const quern__field stft_fields[] = { { "mode", QUERN__F_TEXT, "\"log\"" },
                                            { "frame_length", QUERN__F_INT, "256" },
                                            { "frame_step", QUERN__F_ANY, "null" },
                                            { "fft_length", QUERN__F_ANY, "null" },
                                            { "window", QUERN__F_ANY, "\"hann\"" },
                                            { "periodic", QUERN__F_BOOL, "false" },
                                            { "scaling", QUERN__F_ANY, "\"density\"" },
                                            { "padding", QUERN__F_TEXT, "\"valid\"" },
                                            { "expand_dims", QUERN__F_BOOL, "false" },
                                            { "data_format", QUERN__F_TEXT, "\"channels_last\"" },
                                            { 0 } };
static const quern__field mel_fields[] = {
    { "fft_length", QUERN__F_INT, "2048" },      { "sequence_stride", QUERN__F_INT, "512" },
    { "sequence_length", QUERN__F_ANY, "null" }, { "window", QUERN__F_ANY, "\"hann\"" },
    { "sampling_rate", QUERN__F_INT, "16000" },  { "num_mel_bins", QUERN__F_INT, "128" },
    { "min_freq", QUERN__F_NUMBER, "20.0" },     { "max_freq", QUERN__F_ANY, "null" },
    { "power_to_db", QUERN__F_BOOL, "true" },    { "top_db", QUERN__F_NUMBER, "80.0" },
    { "mag_exp", QUERN__F_NUMBER, "2.0" },       { "min_power", QUERN__F_NUMBER, "1e-10" },
    { "ref_power", QUERN__F_NUMBER, "1.0" },     { 0 }
};
const quern__class quern__layer_stft_spectrogram = { .group = QUERN__LAYER,
                                                     .name = "STFTSpectrogram",
                                                     .aliases = "",
                                                     .module = "keras.layers",
                                                     .fields = stft_fields,
                                                     .build = stft_build,
                                                     .call = stft_call };
const quern__class quern__layer_mel_spectrogram = { .group = QUERN__LAYER,
                                                    .name = "MelSpectrogram",
                                                    .aliases = "",
                                                    .module = "keras.layers",
                                                    .fields = mel_fields,
                                                    .build = mel_build,
                                                    .call = mel_call };
