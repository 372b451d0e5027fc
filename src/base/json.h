/* JSON that is read into jansson's values. Its own parser writes past its memory where an allocation fails in the middle of a
 * string. */
#ifndef QUERN__JSON_H
#define QUERN__JSON_H

#include "base.h"

#include <jansson.h>

/* The value that n bytes hold, and nothing behind it but blanks (RFC 8259). Keys are unique, there is no character U+0000, nothing
 * lies deeper than 2048. Returns new; NULL with an error at `where`: QUERN_FORMAT that names the line behind `what` (may be NULL),
 * or QUERN_NOMEM. */
json_t *quern__json_read(const char *text, size_t n, const char *where, const char *what, quern_error *err);

/* A value as text, by jansson's flags. NULL where there is no memory for it, or was none for a part of it while it was made: a part
 * that is missing is no error of jansson's. The caller frees it with free. */
char *quern__json_text(const json_t *value, size_t flags);

#endif
