/* schedules: learning rate schedules, the rate as a function of the number of steps. They run
 * between steps in double precision; the graph reads the rate from a variable. Formulas:
 * https://keras.io/api/optimizers/learning_rate_schedules/ */
#include "keras/keras.h"

#include <math.h>

static double number(json_t *config, const char *key) { return quern__config_number(config, key); }

/* steps / decay_steps, rounded down when staircase */
static double progress(json_t *config, double step)
{
    double p = step / number(config, "decay_steps");
    return quern__config_bool(config, "staircase") ? floor(p) : p;
}

static double exponential(json_t *config, double step)
{
    return number(config, "initial_learning_rate") *
           pow(number(config, "decay_rate"), progress(config, step));
}

static double inverse_time(json_t *config, double step)
{
    return number(config, "initial_learning_rate") /
           (1 + number(config, "decay_rate") * progress(config, step));
}

/* The value of the interval that contains the step; a boundary belongs to the interval before
 * it. */
static double piecewise(json_t *config, double step)
{
    json_t *boundaries = json_object_get(config, "boundaries"),
           *values = json_object_get(config, "values");
    size_t k = 0;
    while (k < json_array_size(boundaries) &&
           step > json_number_value(json_array_get(boundaries, k)))
        k++;
    return json_number_value(json_array_get(values, k));
}

/* With `cycle`, the decay restarts over a longer time whenever it has ended. */
static double polynomial(json_t *config, double step)
{
    double first = number(config, "initial_learning_rate"),
           last = number(config, "end_learning_rate"), steps = number(config, "decay_steps");
    if (quern__config_bool(config, "cycle"))
        steps *= step == 0 ? 1 : ceil(step / steps);
    else
        step = fmin(step, steps);
    return (first - last) * pow(1 - step / steps, number(config, "power")) + last;
}

/* Linear warmup, then cosine decay to alpha times the initial rate. */
static double cosine(json_t *config, double step)
{
    double first = number(config, "initial_learning_rate"), steps = number(config, "decay_steps"),
           alpha = number(config, "alpha"), target = number(config, "warmup_target"),
           warmup = number(config, "warmup_steps");
    if (isnan(target))
        warmup = 0;
    else if (step < warmup)
        return first + (target - first) * step / warmup;
    else
        first = target;
    double decayed = 0.5 * (1 + cos(M_PI * fmin(step - warmup, steps) / steps));
    return first * ((1 - alpha) * decayed + alpha);
}

/* Cosine decays that restart; each lasts t_mul times as long and starts at m_mul times the rate
 * (Loshchilov and Hutter, "SGDR", 2017). */
static double cosine_restarts(json_t *config, double step)
{
    double done = step / number(config, "first_decay_steps"), longer = number(config, "t_mul"),
           alpha = number(config, "alpha");
    /* the index of the present decay, from a geometric series, then the fraction of it that is
     * done */
    double restart = longer == 1 ? floor(done) : floor(log(1 - done * (1 - longer)) / log(longer));
    if (longer == 1)
        done -= restart;
    else
        done = (done - (1 - pow(longer, restart)) / (1 - longer)) / pow(longer, restart);
    double decayed = 0.5 * pow(number(config, "m_mul"), restart) * (1 + cos(M_PI * done));
    return number(config, "initial_learning_rate") * ((1 - alpha) * decayed + alpha);
}

#define FIRST                                          \
    {                                                  \
        "initial_learning_rate", QUERN__F_NUMBER, NULL \
    }
#define NAME \
    { "name", QUERN__F_TEXT, "null" }, { 0 }
static const quern__field exponential_fields[] = { FIRST,
                                                   { "decay_steps", QUERN__F_NUMBER, NULL },
                                                   { "decay_rate", QUERN__F_NUMBER, NULL },
                                                   { "staircase", QUERN__F_BOOL, "false" },
                                                   NAME };
static const quern__field piecewise_fields[] = { { "boundaries", QUERN__F_ANY, NULL },
                                                 { "values", QUERN__F_ANY, NULL },
                                                 NAME };
static const quern__field polynomial_fields[] = { FIRST,
                                                  { "decay_steps", QUERN__F_NUMBER, NULL },
                                                  { "end_learning_rate", QUERN__F_NUMBER,
                                                    "0.0001" },
                                                  { "power", QUERN__F_NUMBER, "1.0" },
                                                  { "cycle", QUERN__F_BOOL, "false" },
                                                  NAME };
static const quern__field cosine_fields[] = { FIRST,
                                              { "decay_steps", QUERN__F_NUMBER, NULL },
                                              { "alpha", QUERN__F_NUMBER, "0.0" },
                                              { "name", QUERN__F_TEXT, "null" },
                                              { "warmup_target", QUERN__F_NUMBER, "null" },
                                              { "warmup_steps", QUERN__F_NUMBER, "0" },
                                              { 0 } };
static const quern__field restarts_fields[] = { FIRST,
                                                { "first_decay_steps", QUERN__F_NUMBER, NULL },
                                                { "t_mul", QUERN__F_NUMBER, "2.0" },
                                                { "m_mul", QUERN__F_NUMBER, "1.0" },
                                                { "alpha", QUERN__F_NUMBER, "0.0" },
                                                NAME };
#define SCHEDULE(NAME_, FIELDS, RATE)                                          \
    &(const quern__class)                                                      \
    {                                                                          \
        .group = QUERN__SCHEDULE, .name = NAME_, .aliases = "",                \
        .module = "keras.optimizers.schedules", .fields = FIELDS, .rate = RATE \
    }
const quern__class *const quern__schedule_classes[] = {
    SCHEDULE("ExponentialDecay", exponential_fields, exponential),
    SCHEDULE("InverseTimeDecay", exponential_fields, inverse_time),
    SCHEDULE("PiecewiseConstantDecay", piecewise_fields, piecewise),
    SCHEDULE("PolynomialDecay", polynomial_fields, polynomial),
    SCHEDULE("CosineDecay", cosine_fields, cosine),
    SCHEDULE("CosineDecayRestarts", restarts_fields, cosine_restarts),
    NULL
};

double quern__schedule_rate(json_t *spec, double step)
{
    json_t *config = NULL;
    const quern__class *c = quern__object(QUERN__SCHEDULE, spec, &config, NULL);
    double rate = c ? c->rate(config, step) : (double)NAN;
    json_decref(config);
    return rate;
}
