/* Compares docs/ with the registry, or writes it: words [--write] PROJECT [NAMES REASONS]. */
#include "words.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const words_module words_modules[] = {
    { "layers", "layers", "layers.md", QUERN__LAYER },
    { "losses", "losses", "losses.md", QUERN__LOSS },
    { "metrics", "metrics", "metrics.md", QUERN__METRIC },
    { "optimizers", "optimizers", "optimizers.md", QUERN__OPTIMIZER },
    { "optimizers.schedules", "optimizers/learning_rate_schedules", "optimizers.md",
      QUERN__SCHEDULE },
    { "initializers", "layers/initializers", "weights.md", QUERN__INITIALIZER },
    { "regularizers", "layers/regularizers", "weights.md", QUERN__REGULARIZER },
    { "constraints", "layers/constraints", "weights.md", QUERN__CONSTRAINT },
    { "activations", "layers/activations", NULL, -1 },
};
const int words_n_modules = sizeof words_modules / sizeof *words_modules;

static const struct {
    const char *file, *title;
} pages[] = {
    { "layers.md", "Layers" },
    { "losses.md", "Losses" },
    { "metrics.md", "Metrics" },
    { "optimizers.md", "Optimizers and learning rate schedules" },
    { "weights.md", "Initializers, regularizers, constraints" },
};

static int mistakes;

void words_mistake(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    mistakes++;
}

static void write_page(const char *path, const quern__text *page)
{
    FILE *f = fopen(path, "w");
    bool well = f && fwrite(page->data, 1, page->length, f) == page->length;
    if ((f && fclose(f)) || !well)
        words_mistake("%s cannot be written", path);
}

/* Reports the first line that differs. */
static void compare_page(const char *path, const quern__text *page)
{
    FILE *f = fopen(path, "r");
    size_t at = 0;
    int line = 1, c;
    while (f && (c = fgetc(f)) != EOF && at < page->length && c == (unsigned char)page->data[at])
        line += page->data[at++] == '\n';
    if (!f || at < page->length || c != EOF)
        words_mistake("%s:%d: is not what the registry says (make docs)", path, line);
    if (f)
        fclose(f);
}

static void do_page(const char *project, const char *file, bool write, quern__text *page)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/docs/%s", project, file);
    if (page->failed)
        words_mistake("%s: out of memory", path);
    else if (write)
        write_page(path, page);
    else
        compare_page(path, page);
    quern__text_free(page);
    *page = (quern__text){ 0 };
}

int main(int argc, char **argv)
{
    bool write = argc > 1 && !strcmp(argv[1], "--write");
    char names[4096], reasons[4096];
    argc -= write;
    argv += write;
    if (argc != 2 && argc != 4) {
        fprintf(stderr, "words [--write] PROJECT [NAMES REASONS]\n");
        return 2;
    }
    snprintf(names, sizeof names, "%s/tests/data/keras_names.txt", argv[1]);
    snprintf(reasons, sizeof reasons, "%s/tests/words/reasons.txt", argv[1]);
    words_names *all = words_names_read(argc == 4 ? argv[2] : names, argc == 4 ? argv[3] : reasons);
    quern__text page = { 0 };
    if (all) {
        words_page_of_names(&page, all);
        do_page(argv[1], "keras.md", write, &page);
        for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
            words_page_of_classes(&page, all, pages[i].title, pages[i].file);
            do_page(argv[1], pages[i].file, write, &page);
        }
    }
    words_names_free(all);
    printf("words: %d mistakes\n", mistakes);
    return mistakes != 0;
}
