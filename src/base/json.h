/* json: reads JSON into jansson's values. jansson's own parser writes out of bounds when an
 * allocation fails inside a string. */
#ifndef QUERN__JSON_H
#define QUERN__JSON_H

#include "base.h"

#include <jansson.h>

/* Parses n bytes with one value (RFC 8259, and Python's Infinity and -Infinity, which are DBL_MAX
 * and -DBL_MAX here). Keys must be unique, U+0000 is not allowed, and nesting
 * is limited to 2048. Returns new; NULL with an error at `where`: QUERN_FORMAT with the line number
 * after `what` (may be NULL), or QUERN_NOMEM. */
json_t *quern__json_read(const char *text, size_t n, const char *where, const char *what,
                         quern_error *err);

/* Whether v equals the value that `text` has. A text that cannot be read equals no value. */
bool quern__json_is(const json_t *v, const char *text);

/* Writes a value as text with jansson's flags. Returns NULL when memory ran out now or while the
 * value was built, because jansson omits parts silently. The caller frees the text with free. */
char *quern__json_text(const json_t *value, size_t flags);

#endif
