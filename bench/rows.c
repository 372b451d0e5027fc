/* Rows for runs on large files: the requested number of bytes of CSV, fast and reproducible. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

enum { columns = 16, digits = 6, line_bytes = columns * (digits + 3) + 2, at_once = 1 << 12 };

/* One line: numbers between 0 and 1, and whether their weighted sum is above its mean. Every
 * twentieth label is flipped, so that the loss cannot reach 0. */
static void write_line(char *to, uint64_t *seed)
{
    int64_t sum = 0;
    for (int k = 0; k < columns; k++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t number = (uint32_t)((*seed >> 32) * 1000000u >> 32);
        sum += ((int64_t)number - 500000) * (k % 2 ? -1 - k : 1 + k);
        *to++ = '0';
        *to++ = '.';
        for (int d = digits - 1; d >= 0; d--, number /= 10)
            to[d] = (char)('0' + number % 10);
        to += digits;
        *to++ = ',';
    }
    *to++ = (char)('0' + ((sum > 0) ^ ((*seed >> 20) % 20 == 0)));
    *to = '\n';
}

int bench_rows(double bytes)
{
    static char lines[at_once * line_bytes];
    uint64_t seed = 1;
    for (int k = 0; k < columns; k++)
        bytes -= printf("f%d,", k);
    bytes -= printf("y\n");
    while (bytes > 0) {
        int n = bytes < (double)sizeof lines ? (int)(bytes / line_bytes) + 1 : at_once;
        for (int i = 0; i < n; i++)
            write_line(lines + i * line_bytes, &seed);
        if (fwrite(lines, line_bytes, (size_t)n, stdout) != (size_t)n)
            return perror("bench: standard output"), 1;
        bytes -= (double)n * line_bytes;
    }
    return fflush(stdout) ? (perror("bench: standard output"), 1) : 0;
}
