/* Language models write: one token after the other, from a prompt, drawn from the model's logits (<quern/text.h>).
 *
 *     quern_generated out;
 *     quern_sampling s = QUERN_SAMPLING_DEFAULTS;
 *     s.temperature = 0.6;
 *     quern_generate(m, "In the beginning", &(quern_generate_opts){ .length = 400, .sampling = &s }, &out, &err);
 */
#ifndef QUERN_GENERATE_H
#define QUERN_GENERATE_H

#include <quern/model.h>
#include <quern/text.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a model that reads token after token ---- */

/* What a model keeps while it reads a text: recurrent states, keys and values of attention. All memory is taken when it is made.
 * A model is asked step by step where each of its layers can be (recurrent, causal, or working on each step alone); any other is
 * computed over its whole window again for each token. Threads: one at a time, and that of its model. */
typedef struct quern_decoder quern_decoder;

/* What happens when the text is longer than the model's context: the newer half of the context is read anew and the text goes on,
 * or it ends. Models whose layers keep only states (LSTM, GRU) have no limit. */
enum { QUERN_CONTEXT_SLIDE = 0, QUERN_CONTEXT_STOP = 1 };

/* Reads `texts` texts of one length at once. The model has an input of tokens, (records, steps) or one-hot (records, steps,
 * vocabulary), perhaps a second one with "position" in its name, which gets 0, 1, …; its output is logits or probabilities of the
 * next token, for every step or behind the last. `on_full` is a QUERN_CONTEXT_…. Borrows the model, which may be used between
 * calls, but not trained: states would be those of other weights. Returns new, NULL on failure. */
QUERN_API quern_decoder *quern_decoder_new(quern_model *m, int64_t texts, int on_full, quern_error *err);
/* Reads `n` more tokens of each text: ids has n of the first text, then n of the second, … `*logits` gets (texts, vocabulary): what
 * the model says of the token behind them; borrowed, until the model's next run. QUERN_END when the context is full and stops. */
QUERN_API int quern_decoder_feed(quern_decoder *s, const int32_t *ids, int64_t n, const float **logits, quern_error *err);
/* Begins anew: no token has been read. */
QUERN_API void quern_decoder_reset(quern_decoder *s);
/* Text i goes on as text from[i] was (beam search). */
QUERN_API int quern_decoder_reorder(quern_decoder *s, const int32_t *from, quern_error *err);
/* How many numbers the model gives for a token. */
QUERN_API int64_t quern_decoder_vocabulary(const quern_decoder *s);
/* Tokens that it can look back on; 0: no limit. */
QUERN_API int64_t quern_decoder_context(const quern_decoder *s);
/* NULL when it goes step by step, else the layer that cannot, so that each token costs a whole window. Borrowed from the model. */
QUERN_API const char *quern_decoder_blocking_layer(const quern_decoder *s);
/* NULL is fine. */
QUERN_API void quern_decoder_free(quern_decoder *s);

/* ---- texts ---- */

/* Told of each token of text `text`: its id, and the bytes of the text that became certain with it: whole characters, nothing that
 * may yet turn out to be a stop string. Borrowed for the call. Non-zero ends that text. */
typedef int quern_token_fn(void *user, int64_t text, int32_t id, const char *bytes, size_t size);

/* How texts are written; NULL and zero: the default. */
typedef struct quern_generate_opts {
    size_t size;                      /* sizeof (quern_generate_opts); 0: the layout of version 0.1 (docs/abi.md) */
    int64_t length;                   /* tokens; 0: 200                                                               */
    int64_t count;                    /* texts from the prompt, at once; 0: 1                                         */
    const quern_sampling *sampling;   /* NULL: QUERN_SAMPLING_DEFAULTS                                                */
    const quern_tokenizer *tokenizer; /* NULL: the model's                                                            */
    uint64_t seed;                    /* the draws are addressed by (seed, text, token)                               */
    const char *const *stop;          /* strings that end a text; they are not part of it                             */
    int32_t n_stop;                   /*                                                                              */
    int32_t on_full;                  /* a QUERN_CONTEXT_…                                                            */
    int64_t beams;                    /* 0: draw; else beam search with so many, whose best `count` are the texts     */
    double length_penalty;            /* of beam search (quern_beam_step)                                             */
    quern_token_fn *token;            /* NULL: nobody is told; not told in beam search                                */
    void *user;
} quern_generate_opts;

/* A text that was written, without its prompt. */
typedef struct quern_generated {
    char *text; /* terminated; free() it */
    size_t size;
    int64_t tokens;
} quern_generated;

/* Writes texts that go on from a prompt (NULL or "": a line that begins). `out` has room for opts->count of them. The same seed
 * gives the same texts for any number of threads. Logits that are not finite are QUERN_NUMBER naming the token. Returns 0 or a
 * negative status; `out` is then empty. */
QUERN_API int quern_generate(quern_model *m, const char *prompt, const quern_generate_opts *opts, quern_generated *out,
                             quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
