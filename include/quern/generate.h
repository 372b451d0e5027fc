/* Text generation: a language model continues a prompt token by token; a sampler
 * (<quern/text.h>) draws each token from the model's logits.
 *
 *     quern_generated out;
 *     quern_sampling s = QUERN_SAMPLING_DEFAULTS;
 *     s.temperature = 0.6;
 *     quern_generate(m, "In the beginning",
 *                    &(quern_generate_opts){ .length = 400, .sampling = &s },
 *                    &out, &err);
 */
#ifndef QUERN_GENERATE_H
#define QUERN_GENERATE_H

#include <quern/model.h>
#include <quern/text.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- decoder ---- */

/* A session that feeds a model token by token and keeps its states: recurrent
 * states, and keys and values of attention. quern_decoder_new allocates all
 * memory. The decoder runs one step for each token if all layers allow it
 * (recurrent, causal, or independent for each step); otherwise it runs the whole
 * window for each token. Threads: one at a time, that of its model. */
typedef struct quern_decoder quern_decoder;

/* The policy when a text exceeds the model's context. SLIDE: the decoder reads
 * the newer half of the context again and continues. STOP: the text ends. Models
 * that keep only recurrent states (LSTM, GRU) have no limit. */
enum { QUERN_CONTEXT_SLIDE = 0, QUERN_CONTEXT_STOP = 1 };

/* A decoder for `texts` texts of equal length. The model has an input of token
 * ids (B, T) or one-hot rows (B, T, V); a second input with "position" in its
 * name gets 0, 1, …. Its output is the logits or probabilities of the next token,
 * after each step or after the last. `on_full` is a QUERN_CONTEXT_…. Borrows the
 * model, which may run between calls, but not train. Returns new, NULL on
 * failure. */
QUERN_API quern_decoder *quern_decoder_new(quern_model *m, int64_t texts, int on_full,
                                           quern_error *err);

/* Feeds `n` more tokens of each text: `ids` is (texts, n). Sets *logits to
 * (texts, V), the prediction after the last token, borrowed until the model's
 * next run. Returns 0; QUERN_END when the context is full and the policy is STOP;
 * or a negative status. */
QUERN_API int quern_decoder_feed(quern_decoder *s, const int32_t *ids, int64_t n,
                                 const float **logits, quern_error *err);

/* Resets the states; the decoder has read no token afterwards. */
QUERN_API void quern_decoder_reset(quern_decoder *s);

/* Copies states for beam search: text i continues text from[i]. Returns 0 or a
 * negative status. */
QUERN_API int quern_decoder_reorder(quern_decoder *s, const int32_t *from, quern_error *err);

/* V, the number of logits of a token. */
QUERN_API int64_t quern_decoder_vocabulary(const quern_decoder *s);

/* Number of previous tokens that the model can use; 0: no limit. */
QUERN_API int64_t quern_decoder_context(const quern_decoder *s);

/* Name of the layer that prevents one step for each token; NULL: no layer does.
 * Returns borrowed from the model. */
QUERN_API const char *quern_decoder_blocking_layer(const quern_decoder *s);

/* Frees a decoder. NULL: does nothing. */
QUERN_API void quern_decoder_free(quern_decoder *s);

/* ---- texts ---- */

/* Receives each token of text `text`: its id, and `size` bytes that are now
 * final: whole characters that cannot be part of a stop string. Borrowed for the
 * call. A result other than 0 ends that text. */
typedef int quern_token_fn(void *user, int64_t text, int32_t id, const char *bytes, size_t size);

/* Options of quern_generate; NULL and 0: the defaults. */
typedef struct quern_generate_opts {
    /* sizeof (quern_generate_opts); 0: the layout of version 0.1 (docs/abi.md). */
    size_t size;
    int64_t length;                   /* tokens; 0: 200 */
    int64_t count;                    /* texts from the prompt, generated together; 0: 1 */
    const quern_sampling *sampling;   /* NULL: QUERN_SAMPLING_DEFAULTS */
    const quern_tokenizer *tokenizer; /* NULL: the model's */
    uint64_t seed;                    /* a draw is a function of (seed, text, token) */
    const char *const *stop;          /* strings that end a text, which excludes them */
    int32_t n_stop;                   /* number of strings in `stop` */
    int32_t on_full;                  /* a QUERN_CONTEXT_… */
    int64_t beams;                    /* 0: sample; else beam search, best `count` beams */
    double length_penalty;            /* for beam search: quern_beam_step */
    quern_token_fn *token;            /* NULL: not called; beam search does not call it */
    void *user;
} quern_generate_opts;

/* A generated text, without its prompt. */
typedef struct quern_generated {
    char *text; /* new: free it with free(); ends with a zero byte */
    size_t size;
    int64_t tokens;
} quern_generated;

/* Generates opts->count texts that continue `prompt` (NULL or "": the start of a
 * line) into `out`, an array of that size. A seed gives the same texts for any
 * number of threads. Returns 0, or a negative status with `out` empty;
 * QUERN_NUMBER: a logit is not finite, and the error names the token. */
QUERN_API int quern_generate(quern_model *m, const char *prompt, const quern_generate_opts *opts,
                             quern_generated *out, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
