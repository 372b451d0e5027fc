/* Included by every test: cmocka, after the headers that it needs, and a few macros. */
#ifndef QUERN_TESTS_CHECK_H
#define QUERN_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Passes if |got - want| <= atol + rtol |want|. */
#define CHECK_NEAR(got, want, rtol, atol)                                                       \
    do {                                                                                        \
        double got_ = (got), want_ = (want), gap_ = got_ > want_ ? got_ - want_ : want_ - got_; \
        double size_ = want_ < 0 ? -want_ : want_;                                              \
        if (!(gap_ <= (atol) + (rtol)*size_))                                                   \
            fail_msg("%s: %.9g, expected %.9g", #got, got_, want_);                             \
    } while (0)

/* Passes if the call returned 0 or more; else prints the error. */
#define CHECK_OK(call, err)                                         \
    do {                                                            \
        if ((call) < 0)                                             \
            fail_msg("%s: %s: %s", #call, (err).where, (err).text); \
    } while (0)

/* The first 128 bytes of a .npy of version 1.0; columns 0: one axis. */
static inline void npy_head(char *to, const char *descr, int rows, int columns)
{
    char shape[32];
    snprintf(shape, sizeof shape, columns ? "(%d, %d)" : "(%d,)", rows, columns);
    memset(to, ' ', 128);
    memcpy(to, "\x93NUMPY\x01\x00\x76\x00", 10);
    int n =
        sprintf(to + 10, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, shape);
    to[10 + n] = ' ';
    to[127] = '\n';
}

#endif
