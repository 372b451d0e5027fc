/* The byte alphabet of GPT-2's files: printable bytes are their own character, the others are
 * the characters from U+0100 on. */
#include "tokenizer.h"

static bool is_printable(int byte)
{
    return (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
}

uint32_t quern__byte_character(int byte)
{
    if (is_printable(byte))
        return (uint32_t)byte;
    /* the number of unprintable bytes before it: 0 … 32, 127 … 160, 173 */
    return 256 + (uint32_t)(byte <= 32 ? byte : byte <= 160 ? byte - 127 + 33 : 67);
}

int quern__character_byte(uint32_t c)
{
    if (c < 256)
        return is_printable((int)c) ? (int)c : -1;
    c -= 256;
    if (c <= 32)
        return (int)c;
    if (c <= 66)
        return (int)c - 33 + 127;
    return c == 67 ? 173 : -1;
}

int quern__byte_at(int i)
{
    /* printable bytes ascending, then unprintable bytes ascending */
    if (i < 94)
        return i + 33;
    if (i < 106)
        return i - 94 + 161;
    return i < 188 ? i - 106 + 174 : quern__character_byte((uint32_t)(i - 188 + 256));
}
