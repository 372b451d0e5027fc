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

#endif
