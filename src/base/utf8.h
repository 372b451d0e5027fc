/* utf8: strict UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef QUERN__UTF8_H
#define QUERN__UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The bytes of the character with this first byte; -1: no character begins so. */
static inline int quern__utf8_length(uint32_t first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return -1;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* Reads the character at the start of n > 0 bytes. Returns its bytes; 0: it is incomplete; -1: the
 * first byte is invalid. */
static inline int quern__utf8_read(const char *text, size_t n, uint32_t *out)
{
    const uint8_t *s = (const uint8_t *)text;
    uint32_t c = *s;
    if (c < 0x80) {
        *out = c;
        return 1;
    }
    int length = quern__utf8_length(c);
    if (length < 0)
        return -1;
    /* the range of the second byte excludes overlong forms, surrogates and too large values */
    uint8_t low = c == 0xe0   ? 0xa0
                  : c == 0xf0 ? 0x90
                              : 0x80,
            high = c == 0xed   ? 0x9f
                   : c == 0xf4 ? 0x8f
                               : 0xbf;
    c &= 0x7fu >> length;
    for (int i = 1; i < length; i++, low = 0x80, high = 0xbf) {
        if ((size_t)i == n)
            return 0;
        if (s[i] < low || s[i] > high)
            return -1;
        c = c << 6 | (s[i] & 0x3f);
    }
    *out = c;
    return length;
}

/* Whether all n bytes are UTF-8. */
static inline int quern__utf8_valid(const char *text, size_t n)
{
    uint32_t c;
    for (int length; n; text += length, n -= (size_t)length)
        if ((length = quern__utf8_read(text, n, &c)) < 1)
            return 0;
    return 1;
}

/* Writes a character without a terminating 0. Returns its 1 to 4 bytes. */
static inline int quern__utf8_write(uint32_t c, char *out)
{
    int length = 1 + (c >= 0x80) + (c >= 0x800) + (c >= 0x10000);
    static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (int i = length - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[length] | c);
    return length;
}

#endif
