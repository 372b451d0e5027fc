/* replay DIR: runs every file of a corpus through a target, then each file with every byte changed
 * and with every truncation (files of up to 4 KiB; every 37th byte of larger ones). A crash, a hang
 * or a report of the sanitizers is a failure. */
#include "target.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void run(const uint8_t *bytes, size_t n)
{
    uint8_t *own =
        malloc(n + 1); /* of exact size, so that a sanitizer detects reads after the end */
    if (own) {
        memcpy(own, bytes, n);
        LLVMFuzzerTestOneInput(own, n);
    }
    free(own);
}

static int replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    static uint8_t bytes[1 << 20];
    size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0, step = n > 4096 ? 37 : 1;
    if (!f)
        return 1;
    fclose(f);
    run(bytes, n);
    for (size_t i = 0; i < n; i += step) {
        bytes[i] ^= 0xff;
        run(bytes, n);
        bytes[i] ^= 0xff;
        run(bytes, i);
    }
    return 0;
}

int main(int argc, char **argv)
{
    char path[1200];
    int files = 0, failed = 0;
    DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (*e->d_name == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
        failed += replay(path);
        files++;
    }
    if (d)
        closedir(d);
    printf("%d files replayed\n", files);
    return failed || !files;
}
