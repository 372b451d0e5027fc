/* Tokenizers, samplers, beam search, and Keras's helpers for text and arrays. A
 * tokenizer is immutable, and any number of threads may use it; one thread at a
 * time may use a sampler. */
#ifndef QUERN_TEXT_H
#define QUERN_TEXT_H

#include <quern/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tokenizers ----
 *
 * "char": one id for each character (code point), from 0 in code point order, as
 * in Keras's examples. A character outside the vocabulary is QUERN_NUMBER; bytes
 * that are not UTF-8 are QUERN_FORMAT. With `bytes=true` there are 256 more ids,
 * one for each byte, which encode everything without an id of its own. Decoding
 * then returns every sequence of bytes unchanged.
 *
 * "word": as Keras's TextVectorization. ASCII letters become lower case, ASCII
 * punctuation is deleted, and ASCII white space separates words. Id 0 is ""
 * (padding; encoding never returns it), 1 is "[UNK]". Words follow by descending
 * count, then in byte order.
 *
 * "bpe": byte pair encoding within the pieces of GPT-2's pre-tokenizer (words with
 * the space before them, numbers, signs, spaces). Each of the 256 bytes has an id.
 * Decoding returns every sequence of bytes unchanged, also if it is not UTF-8.
 *
 * A piece (a character, a word, a pre-token) has at most QUERN_PIECE_BYTES bytes; a
 * longer one is split after that many. */

/* A tokenizer. Threads: it is immutable; any number may use it. */
typedef struct quern_tokenizer quern_tokenizer;

/* The largest piece in bytes. */
#define QUERN_PIECE_BYTES 4096

/* Provides the text for training: writes at most `room` bytes to `to`. Returns the
 * number of bytes; 0 at the end; a negative status with `err` filled. */
typedef int64_t quern_text_read(void *user, char *to, int64_t room, quern_error *err);

/* Trains a tokenizer in one pass over a text. `words` is a kind and its options:
 *
 *     char  vocab_size=N     most ids, the most frequent characters; 0: no limit
 *           bytes=true       adds 256 ids for bytes
 *           lower=true       converts to lower case (Unicode, by character)
 *     word  vocab_size=N     most ids, with "" and [UNK]; 0: no limit
 *           min_count=N      smallest count of a word; default 1
 *           lower=false      keeps the case
 *           punctuation=keep keeps punctuation
 *     bpe   vocab_size=N     most ids, at least 256; default 1000
 *           min_count=N      smallest count of a merged pair; default 2
 *
 * Memory is bounded: the pass counts at most 2^19 different pieces of 16 MiB in
 * all. Above that it drops the pieces with the lowest counts, at least half of
 * them. The result depends on the text only, not on the sizes of the reads. Borrows
 * `user`. Returns new, NULL on failure. */
QUERN_API quern_tokenizer *quern_tokenizer_train(const char *words, quern_text_read *read,
                                                 void *user, quern_error *err);

/* Opens a tokenizer of at most 64 MiB. `path` is a tokenizer.json, a folder with
 * one, or the pair vocab.json and merges.txt (their folder, or the path of
 * vocab.json). A tokenizer.json is the output of quern_tokenizer_json, or a
 * byte-level BPE of Hugging Face with the pre-tokenizer of GPT-2, GPT-4 or Llama 3.
 * Returns new, NULL on failure. */
QUERN_API quern_tokenizer *quern_tokenizer_open(const char *path, quern_error *err);

/* As quern_tokenizer_open, from the text of a tokenizer.json. Ignores the
 * "post_processor". Returns new, NULL on failure; QUERN_UNSUPPORTED names a kind or
 * option that quern does not support. */
QUERN_API quern_tokenizer *quern_tokenizer_from_json(const char *json, size_t size,
                                                     quern_error *err);

/* The tokenizer as a tokenizer.json, which Hugging Face's library reads too (it
 * converts words to lower case by Unicode, not ASCII). Sets *size to the bytes
 * without the terminating zero (`size` may be NULL). Returns new, to be freed with
 * free(); NULL if memory is short. */
QUERN_API char *quern_tokenizer_json(const quern_tokenizer *t, size_t *size, quern_error *err);

/* Number of ids, 0 … size-1. */
QUERN_API int64_t quern_tokenizer_size(const quern_tokenizer *t);

/* The kind: "char", "word" or "bpe". Returns borrowed: valid for ever. */
QUERN_API const char *quern_tokenizer_kind(const quern_tokenizer *t);

/* Encodes as many whole pieces of a text as fit in `room` ids; QUERN_PIECE_BYTES ids
 * hold any piece. `final` is 1 if the text ends here. Otherwise the last piece may
 * be incomplete and stays unused; 8 KiB of text always hold a complete one.
 *
 * Sets *used to the number of bytes encoded; pass the rest again with more text
 * after it. The ids do not depend on the division of the text. Does not allocate.
 * Returns the number of ids or a negative status: an error of the kind (see above;
 * `err` names the byte), or QUERN_INVALID if the first piece does not fit in
 * `room`. */
QUERN_API int64_t quern_tokenizer_encode(const quern_tokenizer *t, const char *text, size_t bytes,
                                         int final, int32_t *ids, int64_t room, size_t *used,
                                         quern_error *err);

/* The bytes of an id, terminated by a zero byte; a token may contain zero bytes too.
 * Sets *size to their number (`size` may be NULL). Borrowed from the tokenizer;
 * NULL: not an id. */
QUERN_API const char *quern_tokenizer_token(const quern_tokenizer *t, int32_t id, size_t *size);

/* Decodes `n` ids, words with a space between, without a terminating zero. Returns
 * the number of bytes or a negative status: QUERN_NUMBER: not an id; QUERN_INVALID:
 * `room` is too small. */
QUERN_API int64_t quern_tokenizer_decode(const quern_tokenizer *t, const int32_t *ids, int64_t n,
                                         char *out, size_t room, quern_error *err);

/* Frees a tokenizer. NULL: does nothing. */
QUERN_API void quern_tokenizer_free(quern_tokenizer *t);

/* ---- sampling ---- */

/* How a sampler draws a token from logits. The sampler applies filters in this
 * order, then draws one of the remaining tokens with a number u in [0, 1):
 *
 *     penalty      divides a positive logit by r and multiplies any other by r,
 *                  once for each token in the window
 *     temperature  divides logits by T; T = 0 keeps only the largest logit (after
 *                  the penalty), whatever the other filters say
 *     top_k        keeps the k largest, exactly k
 *     top_p        keeps the fewest of the most probable whose sum reaches p, at
 *                  least one
 *     min_p        keeps those at least min_p times as probable as the most
 *                  probable
 *     typical      sorts tokens by the distance of their surprise (-ln p) from
 *                  the entropy, and keeps the fewest whose sum exceeds the value,
 *                  at least one
 *
 * Each filter sees the probabilities among the tokens that remain. The draw sums
 * probabilities by ascending index and returns the first token whose sum exceeds
 * u; it never returns a token of probability 0. Arithmetic is in double, with the
 * maximum subtracted before each exponential; equal logits keep index order. */
typedef struct quern_sampling {
    double temperature;        /* T; 1: off; 0: the largest logit */
    double top_p;              /* 1: off */
    double min_p;              /* 0: off */
    double typical;            /* 1: off */
    double repetition_penalty; /* r; 1: off */
    int64_t top_k;             /* 0: off */
    int64_t repetition_window; /* tokens that the penalty sees, the last; 0: all */
    /* The order of the filters: names between commas, or the order of another
     * program: "llama.cpp" (penalty,top_k,typical,top_p,min_p,temperature) or
     * "vllm" (penalty,temperature,min_p,top_k,top_p,typical). NULL, "keras" and
     * "transformers": the order above. An active filter without a name in the
     * list is an error. */
    const char *order;
    /* 1: the numbers are probabilities, not logits; 0 is never drawn. */
    int32_t from_probabilities;
    int32_t reserved; /* 0 */
} quern_sampling;

/* All filters off. */
#define QUERN_SAMPLING_DEFAULTS                                                         \
    {                                                                                   \
        .temperature = 1, .top_p = 1, .min_p = 0, .typical = 1, .repetition_penalty = 1 \
    }

/* Threads: one at a time. */
typedef struct quern_sampler quern_sampler;

/* A sampler for logits of `vocabulary` tokens, at most 2^24. Allocates all memory.
 * Copies `s` (NULL: the defaults). Returns new, NULL on failure; QUERN_INVALID
 * names an option out of range. */
QUERN_API quern_sampler *quern_sampler_new(const quern_sampling *s, int64_t vocabulary,
                                           quern_error *err);

/* Draws a token with a number u in [0, 1). `window` has the previous tokens, the
 * last one at the end, for the penalty (NULL and 0: empty). Returns the token or a
 * negative status; QUERN_NUMBER: a logit is NaN or infinity, or all are -infinity.
 */
QUERN_API int32_t quern_sampler_draw(quern_sampler *s, const float *logits, const int32_t *window,
                                     int64_t n_window, double u, quern_error *err);

/* As quern_sampler_draw, for logits in double. */
QUERN_API int32_t quern_sampler_draw_double(quern_sampler *s, const double *logits,
                                            const int32_t *window, int64_t n_window, double u,
                                            quern_error *err);

/* The candidates of the last draw: ids in ascending order, and their
 * probabilities, borrowed until the next draw. Returns their number; 0 before the
 * first draw. */
QUERN_API int64_t quern_sampler_kept(quern_sampler *s, const int32_t **ids,
                                     const double **probabilities);

/* Frees a sampler. NULL: does nothing. */
QUERN_API void quern_sampler_free(quern_sampler *s);

/* The number u of a token, in [0, 1) with 53 bits: a counter-based random number, a
 * pure function of seed, index of the text and position in it. */
QUERN_API double quern_sampling_uniform(uint64_t seed, uint64_t text, uint64_t position);

/* ---- Keras's helpers for arrays ---- */

/* pad_sequences: pads or truncates `n` rows (steps, …) with the same trailing shape
 * to out (n, maxlen, …). Rows and out are int32, int64, float32 or float64;
 * conversion to an integer truncates.
 *
 * The caller sets out->dtype and out->shape.dims[1], the maxlen (negative: the
 * longest row); the function writes the rest of the shape, and the numbers unless
 * out->data is NULL. `padding` and `truncating` are "pre" or "post" (NULL: "pre", as
 * in Keras). Returns 0 or a negative status: QUERN_SHAPE if trailing shapes differ,
 * QUERN_NUMBER if the type cannot hold a number. */
QUERN_API int quern_pad_sequences(const quern_tensor *rows, int64_t n, const char *padding,
                                  const char *truncating, double value, quern_tensor *out,
                                  quern_error *err);

/* to_categorical: a one-hot row of `classes` numbers for each class of `x` (types as
 * above, floats truncate; a last axis of 1 is removed). `classes` 0: the largest
 * class + 1. -1 is the last class and -2 the one before, as in Keras. The caller
 * sets out->dtype; the function writes out->shape, and the numbers unless out->data
 * is NULL. Returns 0 or a negative status; QUERN_NUMBER: a class out of range. */
QUERN_API int quern_to_categorical(const quern_tensor *x, int64_t classes, quern_tensor *out,
                                   quern_error *err);

/* normalize: divides each row along `axis` (negative: from the end) by its norm. A
 * row of norm 0 is unchanged. `order` 2 is the Euclidean norm; 1, 3, 0.5, … the
 * order-th root of the sum of powers of magnitudes; infinity the largest magnitude,
 * -infinity the smallest; 0 the number of elements that are not 0.
 *
 * x is float32, float64, int32 or int64; the caller sets out->dtype to float32 or
 * float64. The function writes out->shape, that of x, or (1, n) for x (n), as in
 * Keras, and the numbers unless out->data is NULL. out->data may equal x->data if
 * the types are equal. Returns 0 or a negative status. */
QUERN_API int quern_normalize(const quern_tensor *x, int axis, double order, quern_tensor *out,
                              quern_error *err);

/* make_sampling_table: the probability of keeping the i-th most frequent word, for
 * `size` words whose frequencies follow Zipf's law. `factor` is that of word2vec
 * (1e-5). Writes `size` numbers to `out`. Returns 0; QUERN_INVALID if `factor` is
 * not positive. */
QUERN_API int quern_make_sampling_table(int64_t size, double factor, double *out, quern_error *err);

/* ---- Keras 2's Tokenizer ---- */

/* Options of text_to_word_sequence and Tokenizer; NULL and 0: the defaults. Each
 * character of `filters` becomes the separator, then the separators split the text.
 * Lower case is that of Unicode, by character (a final sigma becomes σ, where Python
 * has ς). Bytes that are not UTF-8 are QUERN_FORMAT. */
typedef struct quern_word_opts {
    /* sizeof (quern_word_opts); 0: the layout of version 0.1 (docs/abi.md). */
    size_t size;
    /* NULL: !"#$%&()*+,-./:;<=>?@[\\]^_`{|}~ tab and newline. */
    const char *filters;
    const char *split;     /* the separator; NULL: " " */
    const char *oov_token; /* replaces unknown words, index 1; NULL: leaves them out */
    int64_t num_words;     /* only indices below it are used; 0: all */
    int32_t keep_case;     /* 1: keeps the case */
    int32_t char_level;    /* 1: each character is a word, without filters */
} quern_word_opts;

/* Receives a word of `n` bytes. Returns 0, or a negative status, which ends the
 * sequence. */
typedef int quern_word(void *user, const char *word, size_t n, quern_error *err);

/* text_to_word_sequence: calls `word` for each word of a text of `n` bytes, in
 * order. `opts` NULL: the defaults. Returns the number of words or a negative
 * status. */
QUERN_API int64_t quern_text_to_word_sequence(const char *text, size_t n,
                                              const quern_word_opts *opts, quern_word *word,
                                              void *user, quern_error *err);

/* Keras 2's Tokenizer: indices of words from 1, by descending count, then by first
 * occurrence. Memory is bounded: above 2^19 different words, or 16 MiB of them, it
 * drops the rarest. Threads: any number may use it after quern_word_index_finish,
 * until the next fit. */
typedef struct quern_word_index quern_word_index;

/* Copies `opts` (NULL: the defaults). Returns new, NULL on failure. */
QUERN_API quern_word_index *quern_word_index_new(const quern_word_opts *opts, quern_error *err);

/* Counts the words of a text of `n` bytes. Returns 0 or a negative status. */
QUERN_API int quern_word_index_fit(quern_word_index *w, const char *text, size_t n,
                                   quern_error *err);

/* Assigns the indices, after the last text. More texts and another finish may
 * follow. Returns 0 or a negative status. */
QUERN_API int quern_word_index_finish(quern_word_index *w, quern_error *err);

/* Number of words with an index, oov_token included; 0 before finish. */
QUERN_API int64_t quern_word_index_size(const quern_word_index *w);

/* Number of counted texts. */
QUERN_API int64_t quern_word_index_texts(const quern_word_index *w);

/* The word of an index: its bytes, its count, and the number of texts that contain
 * it (each may be NULL). Borrowed until the next fit; NULL: index out of range. */
QUERN_API const char *quern_word_index_word(const quern_word_index *w, int64_t index, size_t *size,
                                            int64_t *count, int64_t *texts);

/* texts_to_sequences for one text: writes the first `room` indices to `ids`.
 * Returns the number of all indices or a negative status. */
QUERN_API int64_t quern_word_index_sequence(const quern_word_index *w, const char *text, size_t n,
                                            int64_t *ids, int64_t room, quern_error *err);

/* sequences_to_texts for one sequence: words with a space between, without a
 * terminating zero. Returns the number of bytes or a negative status. */
QUERN_API int64_t quern_word_index_text(const quern_word_index *w, const int64_t *ids, int64_t n,
                                        char *out, size_t room, quern_error *err);

/* Number of columns of a row of sequences_to_matrix. */
QUERN_API int64_t quern_word_index_columns(const quern_word_index *w);

/* sequences_to_matrix for one sequence: writes quern_word_index_columns numbers to
 * `row`. `mode` is "binary", "count", "tfidf" or "freq". Returns 0 or a negative
 * status. */
QUERN_API int quern_word_index_row(const quern_word_index *w, const int64_t *ids, int64_t n,
                                   const char *mode, double *row, quern_error *err);

/* Frees a word index. NULL: does nothing. */
QUERN_API void quern_word_index_free(quern_word_index *w);

/* ---- beam search ---- */

/* A beam: one text of the search. */
typedef struct quern_beam {
    double score;   /* sum of the log-probabilities of its tokens */
    int64_t length; /* tokens, with the end */
    int32_t from;   /* index of the beam that it continues */
    int32_t token;  /* its last token; -1: it had ended before, and is unchanged */
    int32_t ended;  /* 1: it has the end token */
    int32_t reserved;
} quern_beam;

/* One step of beam search. log_probs is (n, vocabulary), the log-probability of
 * each token after each beam; -infinity excludes it. Writes the best `keep`
 * continuations to `best` (not `beams` itself), best first: by score /
 * length^length_penalty (0: by score), then the lowest beam, then the lowest token.
 * `end` is the token that ends a text (-1: not used); ended beams compete
 * unchanged. Does not allocate. Returns the number of beams, at most `keep`, or a
 * negative status; QUERN_NUMBER: a log-probability is NaN or +infinity. */
QUERN_API int64_t quern_beam_step(const quern_beam *beams, int64_t n, const float *log_probs,
                                  int64_t vocabulary, int32_t end, double length_penalty,
                                  quern_beam *best, int64_t keep, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
