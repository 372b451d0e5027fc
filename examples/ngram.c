/* The baseline of language models: a 5-gram of characters, with every order interpolated with the
 * next lower one (Witten and Bell, "The zero-frequency problem", 1991). `ngram TRAIN HELD-OUT`
 * prints the nats per character of the second text. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { order = 5, slots = 1 << 23 };
typedef struct entry {
    uint64_t key; /* 0: free */
    uint32_t count,
        kinds; /* number of occurrences; number of different characters that followed it */
} entry;
static entry *table;

/* The entry of a string of n characters; a new string takes a free entry. */
static entry *find(const unsigned char *s, int n)
{
    uint64_t key = 0;
    for (int i = 0; i < n; i++)
        key = key << 8 | s[i];
    key = key << 8 | (uint64_t)(n + 1);
    uint64_t h = key * 0x9e3779b97f4a7c15u;
    for (size_t i = (size_t)(h >> 41) % slots;; i = (i + 1) % slots)
        if (table[i].key == key || !table[i].key) {
            table[i].key = key;
            return &table[i];
        }
}

static unsigned char *read_all(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    unsigned char *out = malloc(1 << 26);
    *n = f && out ? fread(out, 1, 1 << 26, f) : 0;
    if (f)
        fclose(f);
    return out;
}

/* The probability of s[n-1] after the n-1 characters before it. */
static double probability(const unsigned char *s, int n)
{
    if (n == 0)
        return 1.0 / 256;
    entry *history = find(s, n - 1);
    double lower = probability(s + 1, n - 1);
    if (!history->count)
        return lower;
    return (find(s, n)->count + history->kinds * lower) / ((double)history->count + history->kinds);
}

int main(int argc, char **argv)
{
    size_t n = 0, m = 0;
    table = calloc(slots, sizeof *table);
    unsigned char *train = argc > 2 ? read_all(argv[1], &n) : NULL,
                  *test = argc > 2 ? read_all(argv[2], &m) : NULL;
    if (!table || n <= order || m <= order)
        return fprintf(stderr, "ngram TRAIN HELD-OUT\n"), 2;
    find(train, 0)->count = (uint32_t)(n - order);
    for (size_t i = order; i < n; i++)
        for (int k = 1; k <= order; k++) { /* the k characters that end at i */
            const unsigned char *from = train + i - k + 1;
            entry *whole = find(from, k);
            find(from, k - 1)->kinds += whole->count++ == 0;
        }
    double nats = 0;
    for (size_t i = order; i < m; i++)
        nats -= log(probability(test + i - order + 1, order));
    printf("%.4f nats a character over %zu characters\n", nats / (double)(m - order), m - order);
    free(table);
    free(train);
    free(test);
    return 0;
}
