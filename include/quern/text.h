/* Text: tokenizers turn it into numbers and back; samplers and beams choose what comes next. A tokenizer does not change once it is
 * made, and any number of threads may use it; a sampler belongs to one thread at a time. */
#ifndef QUERN_TEXT_H
#define QUERN_TEXT_H

#include <quern/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tokenizers ----
 *
 * "char": one id a character (code point), 0 … in the order of code points, as the examples of Keras have it. A character that the
 * training did not see is QUERN_NUMBER, bytes that are no UTF-8 are QUERN_FORMAT; with `bytes=true` there are 256 more ids, one
 * for each byte, and whatever has no id of its own is spelled in them: then every sequence of bytes comes back as it was.
 *
 * "word": as Keras's TextVectorization: ASCII letters become lower case, ASCII punctuation is deleted, words stand between ASCII
 * white space. Id 0 is "" (for padding, never written), 1 is "[UNK]", then words by falling count, those of one count by falling
 * bytes.
 *
 * "bpe": byte pairs, merged within the pieces that GPT-2 cuts text into (words with the space before them, numbers, signs, spaces).
 * All 256 bytes have ids, so every sequence of bytes comes back as it was, whether it is UTF-8 or not.
 *
 * A piece (a character, a word, a piece of GPT-2's) has at most QUERN_PIECE_BYTES bytes: longer ones are cut there, always at the
 * same place. Threads: any number of them may use one. */
typedef struct quern_tokenizer quern_tokenizer;

#define QUERN_PIECE_BYTES 4096

/* Text for the training: writes at most `room` bytes to `to`. Returns how many, 0 at the end, a negative quern_status (with `err`
 * filled) when it failed. */
typedef int64_t quern_text_read(void *user, char *to, int64_t room, quern_error *err);

/* Learns a tokenizer from one pass over a text. `words` is a kind and its options:
 *   char  vocab_size=N (ids in all; the rarest characters have none; 0: no limit)  bytes=true  lower=true
 *   word  vocab_size=N (ids in all, with "" and [UNK]; 0: no limit)  min_count=N (1)  lower=false  punctuation=keep
 *   bpe   vocab_size=N (ids in all, at least 256; 1000)  min_count=N (2: pairs met once are not merged)
 * `lower` of "char" is that of Unicode, character by character. Memory is bounded whatever the text: at most 2^19 different pieces
 * of 16 MiB are counted; when they are more, those with the lowest counts, at least half, are forgotten. Borrows `user`. The result
 * depends on the text alone, not on how it was read. Returns new, NULL on failure. */
QUERN_API quern_tokenizer *quern_tokenizer_train(const char *words, quern_text_read *read, void *user, quern_error *err);

/* Opens a tokenizer.json (what quern_tokenizer_json wrote, or a byte-level BPE of Hugging Face's that cuts text as GPT-2 does, or
 * as GPT-4 and Llama 3 do), a folder that has one, or the pair vocab.json and merges.txt (a folder, or the path of
 * vocab.json). At most 64 MiB. Returns new, NULL on failure. */
QUERN_API quern_tokenizer *quern_tokenizer_open(const char *path, quern_error *err);
/* The same from the text of a tokenizer.json. A kind or option of that format that is not here is QUERN_UNSUPPORTED, named. What it
 * adds around whole texts (the "post_processor") is left out. Returns new, NULL on failure. */
QUERN_API quern_tokenizer *quern_tokenizer_from_json(const char *json, size_t size, quern_error *err);
/* The tokenizer as a tokenizer.json, which Hugging Face's library reads too (its lower case of words is Unicode's, not ASCII's).
 * Returns new, terminated, `*size` bytes without the end (`size` may be NULL): free() it. NULL when there is no memory. */
QUERN_API char *quern_tokenizer_json(const quern_tokenizer *t, size_t *size, quern_error *err);

/* How many ids there are: 0 … size-1. */
QUERN_API int64_t quern_tokenizer_size(const quern_tokenizer *t);
/* "char", "word" or "bpe". Returns borrowed: valid for ever. */
QUERN_API const char *quern_tokenizer_kind(const quern_tokenizer *t);

/* Writes the ids of as many whole pieces of the text as fit into `room` ids (QUERN_PIECE_BYTES always hold one). `final` says that
 * the text ends here; otherwise what may still grow (half a character, a word at the end) stays unused. `*used` is how many bytes
 * were taken: give the rest again, with more behind it. The ids do not depend on how the text was divided. While not final, 8 KiB
 * are always enough to get on. Allocates nothing. Returns the number of ids, or a negative status: what has no id (see above; `err`
 * names the byte), or QUERN_INVALID when `room` is too small for the first piece. */
QUERN_API int64_t quern_tokenizer_encode(const quern_tokenizer *t, const char *text, size_t bytes, int final, int32_t *ids,
                                         int64_t room, size_t *used, quern_error *err);
/* The bytes of an id, `*size` of them (`size` may be NULL), terminated, though a token may hold a zero byte. Returns borrowed:
 * valid until the tokenizer is freed; NULL for a number that is no id. */
QUERN_API const char *quern_tokenizer_token(const quern_tokenizer *t, int32_t id, size_t *size);
/* Writes the text of `n` ids; words are put a space apart. Writes no end. Returns the number of bytes, or a negative status: a
 * number that is no id is QUERN_NUMBER, too little room QUERN_INVALID. */
QUERN_API int64_t quern_tokenizer_decode(const quern_tokenizer *t, const int32_t *ids, int64_t n, char *out, size_t room,
                                         quern_error *err);
/* NULL is fine. */
QUERN_API void quern_tokenizer_free(quern_tokenizer *t);

/* ---- drawing what comes next ----
 *
 * The logits of a vocabulary pass through filters, and one number u in [0, 1) chooses among what is left. All in double, the
 * maximum subtracted before every exponential; of equal logits the lowest index comes first. penalty      a logit l of a token in
 * the window becomes l / r where it is positive, l r elsewhere, once whatever its count temperature  l / T. T = 0 leaves only the
 * largest logit (after the penalty), whatever the other filters say top_k        the k largest, exactly top_p        the fewest of
 * the most probable that have p together, at least one min_p        those at least min_p times as probable as the most probable
 *   typical      the fewest, at least one, that have more than this probability together, those first whose surprise (-ln p) is
 *                nearest to the entropy
 * After each of them the probabilities are those among the tokens left. The draw adds them up by rising index: the first whose sum
 * is greater than u is drawn, so a token without probability never is. */
typedef struct quern_sampling {
    double temperature;        /* 1: as it is; 0: always the largest                      */
    double top_p;              /* 1: off                                                  */
    double min_p;              /* 0: off                                                  */
    double typical;            /* 1: off                                                  */
    double repetition_penalty; /* r; 1: off                                               */
    int64_t top_k;             /* 0: off                                                  */
    int64_t repetition_window; /* the last tokens that the penalty looks at; 0: all given */
    /* The order of the filters: names between commas, or that of another program: "llama.cpp" (penalty,top_k,typical,top_p,min_p,
     * temperature) or "vllm" (penalty,temperature,min_p,top_k,top_p,typical). NULL, "keras" and "transformers": the order above. A
     * filter that is on and not named is an error. */
    const char *order;
    int32_t from_probabilities; /* 1: probabilities are given, not logits; 0 is a token that is never drawn */
    int32_t reserved;           /* 0 */
} quern_sampling;

/* Everything off: draws by the probabilities of the logits. */
#define QUERN_SAMPLING_DEFAULTS         \
    {                                   \
        1, 1, 0, 1, 1, 0, 0, NULL, 0, 0 \
    }

/* Threads: one at a time. */
typedef struct quern_sampler quern_sampler;

/* A sampler for logits of `vocabulary` tokens (at most 2^24). All memory is taken here. Copies `s` (NULL: the defaults). Returns
 * new, NULL on failure: an option out of its range is QUERN_INVALID, named. */
QUERN_API quern_sampler *quern_sampler_new(const quern_sampling *s, int64_t vocabulary, quern_error *err);
/* Draws a token. `window` are the tokens so far, the last one last (NULL and 0: none); only the penalty looks at them. Returns the
 * token, or a negative status: NaN or infinity among the logits, or nothing but -infinity, is QUERN_NUMBER (`err` names the place).
 */
QUERN_API int32_t quern_sampler_draw(quern_sampler *s, const float *logits, const int32_t *window, int64_t n_window, double u,
                                     quern_error *err);
/* The same for logits in double. */
QUERN_API int32_t quern_sampler_draw_double(quern_sampler *s, const double *logits, const int32_t *window, int64_t n_window,
                                            double u, quern_error *err);
/* What the last draw chose from: `*ids` rising, `*probabilities` of each. Returns how many, 0 before the first draw. Both are
 * borrowed: valid until the next draw. */
QUERN_API int64_t quern_sampler_kept(quern_sampler *s, const int32_t **ids, const double **probabilities);
/* NULL is fine. */
QUERN_API void quern_sampler_free(quern_sampler *s);

/* The u of a token: a pure function of the seed, the number of the text and the place in it. In [0, 1), with 53 bits. */
QUERN_API double quern_sampling_uniform(uint64_t seed, uint64_t text, uint64_t position);

/* ---- Keras's helpers for arrays ---- */

/* pad_sequences: `n` rows, each steps × the same trailing shape, become out: n × maxlen × trailing shape. Rows and out are int32,
 * int64, float32 or float64; a number is cut towards zero where it has to become an integer. The caller sets out->dtype and
 * out->shape.dims[1], the maxlen (negative: the longest row); the rest of the shape is written. out->data NULL: only the shape is
 * wanted. `padding` and `truncating` are "pre" or "post"; NULL is Keras's default, "pre" both. Returns 0 or a negative status: rows
 * that do not fit together are QUERN_SHAPE, a number that its type cannot hold QUERN_NUMBER. */
QUERN_API int quern_pad_sequences(const quern_tensor *rows, int64_t n, const char *padding, const char *truncating, double value,
                                  quern_tensor *out, quern_error *err);
/* to_categorical: each class of `x` (types as above; floats are cut) becomes a row of `classes` numbers, all 0 but a 1 in its
 * place; a last axis of 1 goes away. -1 marks the last class, -2 the one before, as in Keras. The caller sets out->dtype;
 * out->shape is written, and the numbers too where out->data is not NULL. `classes` 0: the largest of x plus one. Returns 0 or a
 * negative status: a class out of range is QUERN_NUMBER. */
QUERN_API int quern_to_categorical(const quern_tensor *x, int64_t classes, quern_tensor *out, quern_error *err);

/* normalize: each row along `axis` (negative: from the end) is divided by its norm of that order (2: Euclid's; 1, 3, 0.5, …: the
 * order-th root of the sum of powers of sizes; infinity the largest size, -infinity the least, 0 how many are not zero); a row
 * whose norm is 0 stays. x is float32, float64, int32 or int64, out float32 or float64, which the caller sets as out->dtype;
 * out->shape is that of x, (1, n) for an x (n), as in Keras, and the numbers are written where out->data is not NULL. It may be x's
 * own when both are of one type. Returns 0 or a negative status. */
QUERN_API int quern_normalize(const quern_tensor *x, int axis, double order, quern_tensor *out, quern_error *err);
/* make_sampling_table: at which probability the i-th most frequent word is kept, for `size` words whose frequencies follow Zipf's
 * law. `factor` is word2vec's (1e-5). Writes `size` numbers to `out`. Returns 0, or QUERN_INVALID when the factor is not positive.
 */
QUERN_API int quern_make_sampling_table(int64_t size, double factor, double *out, quern_error *err);

/* ---- Keras 2's words ----
 *
 * What stands between separators, once every character of `filters` has become one; characters in lower case one by one, as Unicode
 * has them (a sigma that ends a word becomes σ, where Python writes ς). Bytes that are no UTF-8 are QUERN_FORMAT. */
typedef struct quern_word_opts {
    size_t size;           /* sizeof (quern_word_opts); 0: the layout of version 0.1 (docs/abi.md) */
    const char *filters;   /* characters that separate; NULL: !"#$%&()*+,-./:;<=>?@[\\]^_`{|}~ tab and newline */
    const char *split;     /* the separator; NULL: " "                                                        */
    const char *oov_token; /* what stands for words that are not known, with index 1; NULL: they are left out   */
    int64_t num_words;     /* only indices below it are used; 0: all                                          */
    int32_t keep_case;     /* 1: capital letters stay                                                         */
    int32_t char_level;    /* 1: every character is a word, and nothing is filtered                           */
} quern_word_opts;
/* Told each word; 0, or a negative status that ends the telling. */
typedef int quern_word(void *user, const char *word, size_t n, quern_error *err);
/* text_to_word_sequence: tells the words of a text of n bytes in their order. `opts` NULL: the defaults. Returns how many, or a
 * negative status. */
QUERN_API int64_t quern_text_to_word_sequence(const char *text, size_t n, const quern_word_opts *opts, quern_word *word, void *user,
                                              quern_error *err);

/* Keras 2's Tokenizer: words are numbered from 1 by falling count, those of one count in the order in which they came. Memory is
 * bounded: beyond 2^19 different words, or 16 MiB of them, the rarest are forgotten. Finished and not fitted again, any number of
 * threads may use it. */
typedef struct quern_word_index quern_word_index;
/* Copies `opts` (NULL: the defaults). Returns new, NULL on failure. */
QUERN_API quern_word_index *quern_word_index_new(const quern_word_opts *opts, quern_error *err);
/* Counts the words of one more text; then, behind the last, numbers them. More texts may follow, and another finish. Returns 0 or a
 * negative status. */
QUERN_API int quern_word_index_fit(quern_word_index *w, const char *text, size_t n, quern_error *err);
QUERN_API int quern_word_index_finish(quern_word_index *w, quern_error *err);
/* Words that have an index, the one for unknown words among them (0 before finish); texts that were counted. */
QUERN_API int64_t quern_word_index_size(const quern_word_index *w);
QUERN_API int64_t quern_word_index_texts(const quern_word_index *w);
/* The word of an index, its bytes, how often it came and in how many texts (each may be NULL). Returns borrowed: valid until the
 * next fit; NULL where there is none. */
QUERN_API const char *quern_word_index_word(const quern_word_index *w, int64_t index, size_t *size, int64_t *count, int64_t *texts);
/* texts_to_sequences of one text: the first `room` indices to `ids`. Returns how many there are, or a negative status. */
QUERN_API int64_t quern_word_index_sequence(const quern_word_index *w, const char *text, size_t n, int64_t *ids, int64_t room,
                                            quern_error *err);
/* sequences_to_texts of one sequence: words a space apart, no end. Returns the bytes written, or a negative status. */
QUERN_API int64_t quern_word_index_text(const quern_word_index *w, const int64_t *ids, int64_t n, char *out, size_t room,
                                        quern_error *err);
/* sequences_to_matrix of one sequence: as many numbers as there are columns, by `mode` "binary", "count", "tfidf" or "freq".
 * Returns 0 or a negative status. */
QUERN_API int64_t quern_word_index_columns(const quern_word_index *w);
QUERN_API int quern_word_index_row(const quern_word_index *w, const int64_t *ids, int64_t n, const char *mode, double *row,
                                   quern_error *err);
/* NULL is fine. */
QUERN_API void quern_word_index_free(quern_word_index *w);

/* ---- beam search ---- */

/* One text that the search holds on to. */
typedef struct quern_beam {
    double score;   /* sum of the log-probabilities of its tokens               */
    int64_t length; /* tokens, the end included                                 */
    int32_t from;   /* which of the beams before it continues                   */
    int32_t token;  /* by which token; -1: it had ended and stays as it is      */
    int32_t ended;  /* 1: it has met the end                                    */
    int32_t reserved;
} quern_beam;

/* One step: of all continuations of `n` beams (token v of beam b has log-probability log_probs[b * vocabulary + v]; -infinity: not
 * allowed) writes the best `keep` to `best`, best first: by score / length^length_penalty (0: by score), ties by the lowest beam,
 * then the lowest token. `end` is the token that ends a text (-1: none); beams that have ended compete as they are. `best` must not
 * be `beams`. Allocates nothing. Returns how many there are, fewer than `keep` where there are no more, or a negative status: NaN
 * or +infinity is QUERN_NUMBER. */
QUERN_API int64_t quern_beam_step(const quern_beam *beams, int64_t n, const float *log_probs, int64_t vocabulary, int32_t end,
                                  double length_penalty, quern_beam *best, int64_t keep, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
