/* corpus: a text in blocks. All files are concatenated. Block k begins at the first start of
 * white space after byte k × `block`, within a quarter of a block. Therefore it does not divide
 * a pre-token. Without white space it begins between two characters. The blocks are the same
 * with random access and sequential reading, and each is tokenized on its own. Therefore the
 * tokens of a corpus do not depend on the order of reading. */
#ifndef QUERN__CORPUS_H
#define QUERN__CORPUS_H

#include "source/io/file_reader.h"
#include "source/source.h"

enum { QUERN__CORPUS_FILES = 64 };

typedef struct quern__corpus {
    quern_text_reader
        *reader; /* sequential reader of gzipped files or pipes; NULL: random access */
    char **paths;
    int n_paths;
    int64_t *ends; /* random access: end offset of each file in the corpus */
    int fds[QUERN__CORPUS_FILES],
        holds[QUERN__CORPUS_FILES]; /* open files: file i uses entry i mod QUERN__CORPUS_FILES */
    int64_t size;                   /* random access: bytes of the corpus */
    int64_t block, n_blocks;
    char *text; /* buffer of a block and its surroundings */
    size_t room;
    size_t begin, end; /* sequential: the valid part of the buffer */
    int64_t at, next;  /* its offset in the corpus; index of the next block */
    bool ended;
    bool drops;      /* characters that the tokenizer rejects are skipped */
    quern__bad *bad; /* and noted here when a block is read as a whole; NULL: not noted */
} quern__corpus;

/* Finds the files of the words, and selects random access or sequential reading. */
int quern__corpus_open(quern__corpus *c, const char *words, quern_error *err);
/* Divides the text into blocks of about `block` bytes. Called before the first read. */
int quern__corpus_cut(quern__corpus *c, int64_t block, quern_error *err);
/* Maximum bytes of a block. */
static inline int64_t quern__corpus_most(const quern__corpus *c) { return c->block + c->block / 4; }
/* Reads block k; sequential: k is the next block. The text is borrowed until the next call. `at`
 * is its offset in the corpus. QUERN_END after the last block. */
int quern__corpus_read(quern__corpus *c, int64_t k, const char **text, size_t *n, int64_t *at,
                       quern_error *err);
/* Sequential: restarts. */
int quern__corpus_rewind(quern__corpus *c, quern_error *err);
/* Formats an offset of the corpus: "corpus.txt: from byte 123". */
void quern__corpus_where(const quern__corpus *c, int64_t at, char *where, size_t room);
/* Closes all files; also after a failed open. */
void quern__corpus_close(quern__corpus *c);

/* ---- text_reader.c ---- */
/* Whether the text cannot be read a second time. */
bool quern__text_reader_once(const quern_text_reader *r);
int quern__text_reader_rewind(quern_text_reader *r, quern_error *err);
/* The file that contains byte `at` of all bytes read since the start; *in_file is the offset in
 * it. */
const char *quern__text_reader_where(const quern_text_reader *r, int64_t at, int64_t *in_file);

#endif
