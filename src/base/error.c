/* error: the first failure fills the error; later ones do not change it. */
#include "base.h"
#include "utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *quern_status_text(int status)
{
    switch (status) {
#define CASE(name, number, text) \
    case number:                 \
        return text;
        QUERN_STATUS_LIST(CASE)
#undef CASE
    case QUERN_END:
        return "no further batch";
    default:
        return "unknown status";
    }
}

#define STRING(x)        #x
#define VERSION(a, b, c) STRING(a) "." STRING(b) "." STRING(c)

const char *quern_version(void)
{
    return VERSION(QUERN_VERSION_MAJOR, QUERN_VERSION_MINOR, QUERN_VERSION_PATCH);
}

void quern__one_line(char *text)
{
    uint32_t c;
    for (char *p = text, *end = text + strlen(text); p < end;) {
        int n = quern__utf8_read(p, (size_t)(end - p), &c);
        if (n < 1)
            *p = '?';
        else if (c < 0x20 || c == 0x7f)
            *p = ' ';
        p += n < 1 ? 1 : n;
    }
}

void quern_error_clear(quern_error *err)
{
    if (!err)
        return;
    err->code = err->step = 0;
    err->where[0] = err->text[0] = err->hint[0] = 0;
}

quern_error *quern__enter(quern_error *given, quern_error *own)
{
    quern_error *err = given ? given : own;
    quern_error_clear(err);
    quern__memory_watch();
    return err;
}

int quern__missing(quern_error *err, ...)
{
    va_list pairs;
    const char *name;
    int status = QUERN_OK;
    va_start(pairs, err);
    while (status == QUERN_OK && (name = va_arg(pairs, const char *)))
        if (!va_arg(pairs, const void *))
            status = quern__fail(err, QUERN_INVALID, name, "is NULL");
    va_end(pairs);
    return status;
}

int quern__leave_file(quern_error *err, const char *path, int status)
{
    size_t n = strlen(path);
    if (status < 0 && n < sizeof err->where && !strncmp(err->where, path, n) &&
        err->where[n] == '.')
        err->where[n] = 0;
    return quern__leave(err, status);
}

int quern__fail(quern_error *err, int code, const char *where, const char *format, ...)
{
    bool starved = quern__memory_short() && code != QUERN_BUDGET;
    code = starved ? QUERN_NOMEM : code;
    if (!err || err->code < 0)
        return code;
    err->code = code;
    if (where)
        snprintf(err->where, sizeof err->where, "%s", where);
    va_list args;
    va_start(args, format);
    quern__vformat(err->text, sizeof err->text,
                   starved && strncmp(format, "out of memory", 13) != 0 ? "out of memory" : format,
                   args);
    va_end(args);
    quern__one_line(err->text);
    quern__one_line(err->where);
    return code;
}

int quern__fail_memory(quern_error *err, size_t bytes)
{
    return quern__fail(err, QUERN_NOMEM, NULL, "out of memory: an allocation of %zu bytes failed",
                       bytes);
}

void quern__hint(quern_error *err, const char *format, ...)
{
    if (!err || err->hint[0])
        return;
    va_list args;
    va_start(args, format);
    quern__vformat(err->hint, sizeof err->hint, format, args);
    va_end(args);
    quern__one_line(err->hint);
}
