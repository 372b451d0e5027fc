/* The data of common.h as files: CSV, npy and gzip. */
#ifndef QUERN_TESTS_FIT_RUN_FILES_H
#define QUERN_TESTS_FIT_RUN_FILES_H

#include "common.h"

#include <stdio.h>
#include <zlib.h>

/* `bad`: with bad records between the good ones. */
static inline void write_csv(const char *to, bool bad)
{
    FILE *f = fopen(to, "w");
    assert_non_null(f);
    fprintf(f, "a,b,c,d,e,f,y\n");
    for (int i = 0; i < records; i++) {
        for (int k = 0; k < width; k++)
            fprintf(f, "%.9g,", (double)xs[i * width + k]);
        fprintf(f, "%d\n", ys[i]);
        if (bad && i % 9 == 4)
            fprintf(f, i % 2 ? "1,2\n" : "1,2,3,4,x,6,0\n");
    }
    assert_int_equal(fclose(f), 0);
}

/* Random-access arrays. Some labels are not integers; one whole batch of ten has only such
 * labels. */
static inline void write_npy(const char *to, bool labels)
{
    char head[128];
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    npy_head(head, labels ? "<f8" : "<f4", records, labels ? 0 : width);
    fwrite(head, 1, 128, f);
    for (int i = 0; i < records && labels; i++)
        fwrite(&(double){ ys[i] + (i % 13 == 5 || i / 10 == 4 ? 0.5 : 0) }, sizeof(double), 1, f);
    if (!labels)
        fwrite(xs, sizeof *xs, records * width, f);
    assert_int_equal(fclose(f), 0);
}

/* Compressed arrays: from the second pass on, the source orders their blocks itself. */
static inline void write_gzipped(const char *to, bool labels)
{
    char head[128];
    gzFile f = gzopen(to, "wb");
    assert_non_null(f);
    npy_head(head, labels ? "<i4" : "<f4", records, labels ? 0 : width);
    gzwrite(f, head, 128);
    gzwrite(f, labels ? (void *)ys : (void *)xs,
            (unsigned)(sizeof *xs * records * (labels ? 1 : width)));
    assert_int_equal(gzclose(f), Z_OK);
}

#endif
