/* Opens tokenizers by path: tokenizer.json, a folder, or GPT-2's vocab.json with merges.txt. */
#include "base/json.h"
#include "tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Reads a file and terminates it with 0. NULL: it cannot be read, or is too large. */
static char *read_file(const char *path, size_t *size, quern_error *err)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    char *bytes = NULL;
    if (!f || fstat(fileno(f), &st) != 0)
        quern__fail(err, errno == ENOENT ? QUERN_NOTFOUND : QUERN_IO, path, "%s", strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size > QUERN__FILE_BYTES)
        quern__fail(err, QUERN_FORMAT, path, "is not a regular file of at most %d bytes",
                    QUERN__FILE_BYTES);
    else {
        bytes = quern__alloc((size_t)st.st_size + 1);
        if (!bytes)
            quern__fail_memory(err, (size_t)st.st_size + 1);
    }
    if (bytes) {
        *size = fread(bytes, 1, (size_t)st.st_size, f);
        bytes[*size] = 0;
    }
    if (f)
        fclose(f);
    return bytes;
}

/* Converts merges.txt to the list of a tokenizer.json: lines "a b"; the first may be "#version:
 * …". */
static json_t *merges_json(const char *text)
{
    json_t *merges = json_array();
    if (!strncmp(text, "#version", 8))
        text += strcspn(text, "\n");
    while (*(text += strspn(text, "\r\n"))) {
        size_t n = strcspn(text, "\r\n");
        json_array_append_new(
            merges,
            json_stringn(text,
                         n)); /* an invalid line is dropped here; its merge is rejected later */
        text += n;
    }
    return merges;
}

/* Combines GPT-2's pair of files to a tokenizer.json. GPT-2 has its end of text only in the
 * vocabulary; here it is an added token, as users of these files expect. */
static quern_tokenizer *open_pair(const char *vocab_path, const char *merges_path, quern_error *err)
{
    static const char end[] = "<|endoftext|>";
    size_t n = 0, m = 0;
    char *vocab = read_file(vocab_path, &n, err),
         *merges = vocab ? read_file(merges_path, &m, err) : NULL;
    json_t *tokens = merges ? quern__json_read(vocab, n, vocab_path, NULL, err) : NULL,
           *added = json_array();
    quern_tokenizer *t = NULL;
    if (merges && !json_is_object(tokens))
        quern__fail(err, QUERN_FORMAT, vocab_path, "is not a JSON object");
    if (json_object_get(tokens, end))
        json_array_append_new(
            added, json_pack("{s:O, s:s}", "id", json_object_get(tokens, end), "content", end));
    json_t *root = json_is_object(tokens)
                       ? json_pack("{s:{s:s}, s:O, s:{s:s, s:O, s:o}}", "pre_tokenizer", "type",
                                   "ByteLevel", "added_tokens", added, "model", "type", "BPE",
                                   "vocab", tokens, "merges", merges_json(merges))
                       : NULL;
    if (root)
        t = quern__tokenizer_read(root, err);
    json_decref(root);
    json_decref(tokens);
    json_decref(added);
    quern__free(vocab);
    quern__free(merges);
    return t;
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Writes `folder`/`name` to `out`, which has 1200 bytes. */
static const char *join_path(char *out, const char *folder, size_t length, const char *name)
{
    snprintf(out, 1200, "%.*s%s%s", (int)(length < 1000 ? length : 1000), folder,
             length && folder[length - 1] != '/' ? "/" : "", name);
    return out;
}

quern_tokenizer *quern_tokenizer_open(const char *path, quern_error *err)
{
    QUERN__ENTER(err, NULL, "path", path);
    static const char vocab[] = "vocab.json";
    char one[1200], other[1200];
    struct stat st;
    size_t length = strlen(path), tail = sizeof vocab - 1, n = 0;
    quern_error own = { 0 };
    quern_tokenizer *t = NULL;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        if (is_file(join_path(one, path, length, "tokenizer.json")))
            return quern_tokenizer_open(one, err);
        t = open_pair(join_path(one, path, length, vocab),
                      join_path(other, path, length, "merges.txt"), &own);
    } else if (length >= tail && !strcmp(path + length - tail, vocab)) {
        t = open_pair(path, join_path(other, path, length - tail, "merges.txt"), &own);
    } else {
        char *json = read_file(path, &n, &own);
        t = json ? quern_tokenizer_from_json(json, n, &own) : NULL;
        quern__free(json);
    }
    if (!t) {
        quern__fail(err, own.code, *own.where ? own.where : path, "%s", own.text);
        if (*own.hint)
            quern__hint(err, "%s", own.hint);
    }
    return t;
}
