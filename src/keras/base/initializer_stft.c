/* initializer_stft: fills the kernel of a convolution that computes short-time Fourier transforms:
 * cosines or sines times a window. The windows follow scipy.signal.get_window. */
#include "keras/keras.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* A sum of cosines: a0 + a1 cos x + a2 cos 2x + …, with x from -pi to pi. */
static double cosines(const double *a, int n, double x)
{
    double sum = 0;
    for (int k = 0; k < n; k++)
        sum += a[k] * cos(k * x);
    return sum;
}

static const struct {
    const char *name;
    int n;
    double a[5];
} sums[] = { { "hann", 2, { 0.5, 0.5 } },
             { "hamming", 2, { 0.54, 0.46 } },
             { "blackman", 3, { 0.42, 0.5, 0.08 } },
             { "nuttall", 4, { 0.3635819, 0.4891775, 0.1365995, 0.0106411 } },
             { "blackmanharris", 4, { 0.35875, 0.48829, 0.14128, 0.01168 } },
             { "flattop", 5, { 0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368 } } };

/* Windows that are not sums of cosines: the value at index i of n > 1, where t = 2 i / (n - 1) - 1
 * is the distance from the center. */
static double boxcar(double i, double n, double t) { return (void)i, (void)n, (void)t, 1; }
static double bartlett(double i, double n, double t) { return (void)i, (void)n, 1 - fabs(t); }
static double cosine(double i, double n, double t) { return (void)t, sin(pi / n * (i + 0.5)); }
static double barthann(double i, double n, double t)
{
    return (void)i, (void)n, 0.62 - 0.24 * fabs(t) + 0.38 * cos(pi * t);
}
static double bohman(double i, double n, double t)
{
    bool end = i == 0 || i == n - 1;
    return end ? 0 : (1 - fabs(t)) * cos(pi * fabs(t)) + sin(pi * fabs(t)) / pi;
}
static double lanczos(double i, double n, double t)
{
    return (void)i, (void)n, t == 0 ? 1 : sin(pi * t) / (pi * t);
}
static double exponential(double i, double n, double t)
{
    return (void)t, exp(-fabs(i - (n - 1) / 2));
}
static double triang(double i, double n, double t)
{
    double from_end = fmin(i, n - 1 - i) + 1;
    (void)t;
    return fmod(n, 2) == 0 ? (2 * from_end - 1) / n : 2 * from_end / (n + 1);
}
static double parzen(double i, double n, double t)
{
    double x = fabs(i - (n - 1) / 2) / (n / 2);
    (void)t;
    return fabs(i - (n - 1) / 2) > (n - 1) / 4 ? 2 * pow(1 - x, 3) : 1 - 6 * x * x + 6 * x * x * x;
}
/* A half cosine covers a quarter of the width at each end. */
static double tukey(double i, double n, double t)
{
    double width = floor((n - 1) / 4), x = 4 * i / (n - 1);
    (void)t;
    return i <= width          ? 0.5 * (1 + cos(pi * (x - 1)))
           : i < n - width - 1 ? 1
                               : 0.5 * (1 + cos(pi * (x - 3)));
}

static const struct {
    const char *name;
    double (*at)(double i, double n, double t);
} others[] = { { "boxcar", boxcar },     { "bartlett", bartlett },       { "cosine", cosine },
               { "barthann", barthann }, { "bohman", bohman },           { "lanczos", lanczos },
               { "triang", triang },     { "exponential", exponential }, { "parzen", parzen },
               { "tukey", tukey } };

/* Element i of the window `name` of size n; NaN for an unknown name. */
static double window_at(const char *name, double i, double n)
{
    double t = n > 1 ? 2 * i / (n - 1) - 1 : 0;
    for (size_t k = 0; k < sizeof sums / sizeof *sums; k++)
        if (quern__same_name(name, sums[k].name))
            return n > 1 ? cosines(sums[k].a, sums[k].n, pi * t) : 1;
    for (size_t k = 0; k < sizeof others / sizeof *others; k++)
        if (quern__same_name(name, others[k].name))
            return n > 1 ? others[k].at(i, n, t) : 1;
    return (double)NAN;
}

/* Computes the window for each step of the frame. */
static int windowed(json_t *config, int64_t frame, double *out, quern_error *err)
{
    json_t *window = json_object_get(config, "window");
    bool periodic = quern__config_bool(config, "periodic");
    if (json_is_array(window) && (int64_t)json_array_size(window) != frame)
        return quern__fail(err, QUERN_SHAPE, "STFT", "window has %zu numbers, the frame has %lld",
                           json_array_size(window), (long long)frame);
    for (int64_t i = 0; i < frame; i++) {
        out[i] = 1;
        if (json_is_array(window))
            out[i] = json_number_value(json_array_get(window, (size_t)i));
        else if (json_is_string(window))
            out[i] = window_at(json_string_value(window), (double)i,
                               (double)(frame + (periodic && frame > 1)));
        if (isnan(out[i]))
            return quern__fail(err, QUERN_UNSUPPORTED, "STFT", "no window is called '%.60s'",
                               json_string_value(window));
    }
    return QUERN_OK;
}

/* The divisor of the window for the config's scaling. */
static double scale_of(json_t *config, const double *window, int64_t n)
{
    const char *scaling = quern__config_text(config, "scaling");
    double squares = 0, sizes = 0;
    for (int64_t i = 0; i < n; i++) {
        squares += window[i] * window[i];
        sizes += fabs(window[i]);
    }
    if (!scaling || json_is_null(json_object_get(config, "window")))
        return 1;
    return quern__same_name(scaling, "density")    ? sqrt(squares)
           : quern__same_name(scaling, "spectrum") ? sizes
                                                   : (double)NAN;
}

/* Fills the kernel (frame, 1, bands) with cosines or sines times the window, scaled. */
static int stft(json_t *config, const quern_shape *shape, float *data, uint64_t seed,
                quern_error *err)
{
    const char *side = quern__config_text(config, "side");
    bool real = side && quern__same_name(side, "real");
    (void)seed;
    if (shape->rank != 3 || shape->dims[2] < 2)
        return quern__fail(err, QUERN_SHAPE, "STFT",
                           "the kernel needs rank 3: frame, channels, at least two bands");
    if (!real && !(side && quern__same_name(side, "imag")))
        return quern__fail(err, QUERN_INVALID, "STFT", "side must be real or imag");
    int64_t frame = shape->dims[0], channels = shape->dims[1], bands = shape->dims[2];
    double *window = quern__zalloc((size_t)frame + 1, sizeof *window);
    int status = window ? windowed(config, frame, window, err)
                        : quern__fail_memory(err, (size_t)frame * sizeof *window);
    double scale = status < 0 ? 1 : scale_of(config, window, frame);
    if (isnan(scale))
        status =
            quern__fail(err, QUERN_INVALID, "STFT", "scaling must be none, density or spectrum");
    for (int64_t t = 0; t < frame && status >= 0; t++)
        for (int64_t i = 0; i < channels * bands; i++) {
            double angle = -2 * pi * (double)t * (double)(i % bands) / ((double)(bands - 1) * 2);
            data[t * channels * bands + i] =
                (float)((real ? cos(angle) : sin(angle)) * window[t] / scale);
        }
    quern__free(window);
    return status;
}

static const quern__field fields[] = { { "side", QUERN__F_TEXT, "\"real\"" },
                                       { "window", QUERN__F_ANY, "\"hann\"" },
                                       { "scaling", QUERN__F_TEXT, "\"density\"" },
                                       { "periodic", QUERN__F_BOOL, "false" },
                                       { 0 } };
const quern__class quern__stft = { .group = QUERN__INITIALIZER,
                                   .name = "STFT",
                                   .aliases = "STFTInitializer",
                                   .module = "keras.initializers",
                                   .fields = fields,
                                   .fill = stft };
