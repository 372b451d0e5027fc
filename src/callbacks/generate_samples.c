/* The generate callback: after an epoch the model generates a sample for each temperature, as in
 * Keras's lstm_text_generation example. */
#include "callbacks.h"

#include <errno.h>
#include <quern/generate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sampling {
    json_t *config;
    const quern__ready *kind;
    FILE *to; /* the file `filepath`; NULL: standard output */
} sampling;

static int sampling_start(void *state, quern_error *err)
{
    sampling *s = state;
    json_t *temperatures = json_object_get(s->config, "temperatures"), *t;
    const char *path = quern__config_text(s->config, "filepath");
    size_t k;
    if (!json_is_number(temperatures) && json_array_size(temperatures) == 0)
        return quern__fail(err, QUERN_INVALID, "generate",
                           "temperatures must be a number or a tuple of numbers");
    json_array_foreach(
        temperatures, k,
        t) if (!json_is_number(t) ||
               json_number_value(t) <
                   0) return quern__fail(err, QUERN_INVALID, "generate",
                                         "a temperature must be a number of at least 0");
    if (quern__config_int(s->config, "length") < 1 || quern__config_int(s->config, "every") < 1)
        return quern__fail(err, QUERN_INVALID, "generate", "length and every must be at least 1");
    if (path)
        s->to = fopen(path, "ab");
    if (path && !s->to)
        return quern__fail(err, QUERN_IO, path, "cannot be written: %s", strerror(errno));
    return QUERN_OK;
}

/* Checks that the model has a tokenizer that can encode the prompt. */
static int sampling_check(void *state, const quern__outlook *o, quern_error *err)
{
    const char *prompt = quern__config_text(((sampling *)state)->config, "prompt");
    size_t bytes = prompt ? strlen(prompt) : 0, used;
    const quern_tokenizer *t = quern_model_tokenizer(o->model);
    if (!t)
        return quern__fail(err, QUERN_INVALID, "generate", "the model has no tokenizer");
    int32_t *ids = quern__alloc((bytes + QUERN_PIECE_BYTES) * sizeof *ids);
    int64_t n = !ids    ? quern__fail_memory(err, bytes * sizeof *ids)
                : bytes ? quern_tokenizer_encode(t, prompt, bytes, 1, ids,
                                                 (int64_t)bytes + QUERN_PIECE_BYTES, &used, err)
                        : 0;
    quern__free(ids);
    return n < 0 ? (int)n : QUERN_OK;
}

static void sampling_end(void *state)
{
    sampling *s = state;
    if (s->to)
        fclose(s->to);
}

/* Fails with the reason why the sample could not be written. */
static int not_written(const sampling *s, quern_error *err)
{
    return quern__fail(err, QUERN_IO,
                       s->to ? quern__config_text(s->config, "filepath") : "standard output",
                       "cannot be written: %s", strerror(errno ? errno : EIO));
}

/* Generates and writes one sample; the seed depends on the epoch. */
static int write_sample(sampling *s, const quern_event *event, double temperature, quern_error *err)
{
    const char *prompt = quern__config_text(s->config, "prompt");
    quern_sampling how = QUERN_SAMPLING_DEFAULTS;
    quern_generated out;
    FILE *to = s->to ? s->to : stdout;
    how.temperature = temperature;
    quern_generate_opts o = { .length = quern__config_int(s->config, "length"),
                              .sampling = &how,
                              .seed = (uint64_t)quern__config_int(s->config, "seed") +
                                      (uint64_t)event->epoch };
    int status = quern_generate(event->model, prompt, &o, &out, err);
    if (status < 0)
        return status;
    char head[80];
    quern__format(head, sizeof head, "----- epoch %lld, temperature %g\n",
                  (long long)event->epoch + 1, temperature);
    fprintf(to, "%s%s", head, prompt ? prompt : "");
    fwrite(out.text, 1, out.size, to);
    fprintf(to, "\n");
    free(out.text);
    errno = 0;
    return fflush(to) == 0 && !ferror(to) ? QUERN_OK : not_written(s, err);
}

static int sampling_epoch(void *user, const quern_event *event, quern_error *err)
{
    sampling *s = user;
    json_t *temperatures = json_object_get(s->config, "temperatures"), *t;
    int status = QUERN_OK;
    size_t k;
    if ((event->epoch + 1) % quern__config_int(s->config, "every"))
        return QUERN_OK;
    if (json_is_number(temperatures))
        return write_sample(s, event, json_number_value(temperatures), err);
    json_array_foreach(temperatures, k, t) if (status >= 0) status =
        write_sample(s, event, json_number_value(t), err);
    return status;
}

static const quern__field sampling_fields[] = { { "prompt", QUERN__F_TEXT, "null" },
                                                { "length", QUERN__F_INT, "200" },
                                                { "temperatures", QUERN__F_ANY,
                                                  "[0.2, 0.5, 1.0, 1.2]" },
                                                { "every", QUERN__F_INT, "1" },
                                                { "seed", QUERN__F_INT, "0" },
                                                { "filepath", QUERN__F_TEXT, "null" },
                                                { 0 } };
/* The decoder's states, and the arena of one step. */
static size_t sampling_bytes(const void *state, const quern_model *m)
{
    enum { values = 4 << 20 };
    (void)state;
    return quern__model_bytes(m).snapshot + values;
}

const quern__ready quern__generate_callback = {
    .row = { .group = QUERN__CALLBACK,
             .name = "Generate",
             .aliases = "",
             .module = "quern.callbacks",
             .fields = sampling_fields },
    .hooks = { .on_epoch_end = sampling_epoch },
    .state_bytes = sizeof(sampling),
    .takes = sampling_bytes,
    .start = sampling_start,
    .check = sampling_check,
    .end = sampling_end,
};
