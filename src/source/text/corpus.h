/* corpus: a text in blocks. Files are one text, one behind the other. Block k begins at the first place from byte k × `block` on,
 * and not later than a quarter of a block, where white space follows something else, so that no tokenizer's piece is cut; where
 * there is no such place, between two characters. The blocks of a text are the same whether it is read by number or forward, and
 * each is turned into tokens as a text of its own: so the tokens of a corpus are defined whatever the order in which it is read. */
#ifndef QUERN__CORPUS_H
#define QUERN__CORPUS_H

#include "source/io/file_reader.h"
#include "source/source.h"

enum { QUERN__CORPUS_FILES = 64 };

typedef struct quern__corpus {
    quern_text_reader *reader; /* of a text that is read forward: gzipped, or a pipe; NULL: files read by number */
    char **paths;
    int n_paths;
    int64_t *ends;                                            /* by number: where each file ends in the whole */
    int fds[QUERN__CORPUS_FILES], holds[QUERN__CORPUS_FILES]; /* open files: file i in place i mod QUERN__CORPUS_FILES */
    int64_t size;                                             /* by number: bytes in all */
    int64_t block, n_blocks;
    char *text; /* room for a block and what is around it */
    size_t room;
    size_t begin, end; /* forward: what of it is there, */
    int64_t at, next;  /* its place in the whole, and the block that comes next */
    bool ended;
    bool drops;      /* what the tokenizer refuses is left out, */
    quern__bad *bad; /* and noted here (NULL: nowhere) where a block is read as a whole */
} quern__corpus;

int quern__corpus_open(quern__corpus *c, const char *words, quern_error *err);
/* Cuts the text into blocks of about so many bytes; to be called before reading. */
int quern__corpus_cut(quern__corpus *c, int64_t block, quern_error *err);
/* Most bytes of a block. */
static inline int64_t quern__corpus_most(const quern__corpus *c) { return c->block + c->block / 4; }
/* The text of block k, borrowed until the next call; forward, k has to be the next one. `at`: its place in the whole. QUERN_END
 * behind the last. */
int quern__corpus_read(quern__corpus *c, int64_t k, const char **text, size_t *n, int64_t *at, quern_error *err);
/* Forward: from its start again. */
int quern__corpus_rewind(quern__corpus *c, quern_error *err);
/* "corpus.txt: byte 123" of a place in the whole. */
void quern__corpus_where(const quern__corpus *c, int64_t at, char *where, size_t room);
void quern__corpus_close(quern__corpus *c);

/* ---- text_reader.c ---- */
bool quern__text_reader_once(const quern_text_reader *r);
int quern__text_reader_rewind(quern_text_reader *r, quern_error *err);
/* The file that holds byte `at` of all that was read since the start. */
const char *quern__text_reader_where(const quern_text_reader *r, int64_t at, int64_t *in_file);

#endif
