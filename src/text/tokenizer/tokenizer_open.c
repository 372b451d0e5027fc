/* Opening tokenizers by path. */
#include "base/json.h"
#include "tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* The whole file, terminated; NULL when it cannot be read or is too large. */
static char *slurp(const char *path, size_t *size, quern_error *err)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    char *bytes = NULL;
    if (!f || fstat(fileno(f), &st) != 0)
        quern__fail(err, errno == ENOENT ? QUERN_NOTFOUND : QUERN_IO, path, "%s", strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size > QUERN__FILE_BYTES)
        quern__fail(err, QUERN_FORMAT, path, "is no file of at most %d bytes", QUERN__FILE_BYTES);
    else if (!(bytes = quern__alloc((size_t)st.st_size + 1)))
        quern__fail_memory(err, (size_t)st.st_size + 1);
    else
        bytes[ *size = fread(bytes, 1, (size_t)st.st_size, f)] = 0;
    if (f)
        fclose(f);
    return bytes;
}

/* merges.txt as the list that a tokenizer.json has: lines "a b", the first may be "#version: …". */
static json_t *merges_json(const char *text)
{
    json_t *merges = json_array();
    if (!strncmp(text, "#version", 8))
        text += strcspn(text, "\n");
    while (*(text += strspn(text, "\r\n"))) {
        size_t n = strcspn(text, "\r\n");
        json_array_append_new(merges,
                              json_stringn(text, n)); /* a line that is no UTF-8 is left out here and refused with its merge */
        text += n;
    }
    return merges;
}

/* GPT-2's pair, put together as a tokenizer.json. GPT-2 has its end of text in the vocabulary only: it is looked for in texts too,
 * as those who use these files expect. */
static quern_tokenizer *open_pair(const char *vocab_path, const char *merges_path, quern_error *err)
{
    static const char end[] = "<|endoftext|>";
    size_t n = 0, m = 0;
    char *vocab = slurp(vocab_path, &n, err), *merges = vocab ? slurp(merges_path, &m, err) : NULL;
    json_t *tokens = merges ? quern__json_read(vocab, n, vocab_path, NULL, err) : NULL, *added = json_array();
    quern_tokenizer *t = NULL;
    if (merges && !json_is_object(tokens))
        quern__fail(err, QUERN_FORMAT, vocab_path, "is no JSON object");
    if (json_object_get(tokens, end))
        json_array_append_new(added, json_pack("{s:O, s:s}", "id", json_object_get(tokens, end), "content", end));
    json_t *root = json_is_object(tokens)
                       ? json_pack("{s:{s:s}, s:O, s:{s:s, s:O, s:o}}", "pre_tokenizer", "type", "ByteLevel", "added_tokens", added,
                                   "model", "type", "BPE", "vocab", tokens, "merges", merges_json(merges))
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

/* `folder`/`name`, in `out` of 1200 bytes. */
static const char *join(char *out, const char *folder, size_t length, const char *name)
{
    snprintf(out, 1200, "%.*s%s%s", (int)(length < 1000 ? length : 1000), folder, length && folder[length - 1] != '/' ? "/" : "",
             name);
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
        if (is_file(join(one, path, length, "tokenizer.json")))
            return quern_tokenizer_open(one, err);
        t = open_pair(join(one, path, length, vocab), join(other, path, length, "merges.txt"), &own);
    } else if (length >= tail && !strcmp(path + length - tail, vocab)) {
        t = open_pair(path, join(other, path, length - tail, "merges.txt"), &own);
    } else {
        char *json = slurp(path, &n, &own);
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
