/* words: pages about Keras's words, written from the rows of the registry, so that they say what is
 * so. */
#ifndef QUERN_WORDS_H
#define QUERN_WORDS_H

#include "keras/keras.h"

/* A group as Keras has it. */
typedef struct words_module {
    const char *module, *link; /* "losses"; below https://keras.io/api/ */
    const char *page;          /* of docs/, that tells its classes; NULL: none */
    int group;                 /* -1: activations, which are functions without rows */
} words_module;
extern const words_module words_modules[];
extern const int words_n_modules;

/* Prints a mistake and counts it. */
void words_mistake(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- keras.c: names that Keras has, and why some are not here ---- */

/* What the two files say; NULL, with a mistake told, when they cannot be read. */
typedef struct words_names words_names;
words_names *words_names_read(const char *names, const char *reasons);
void words_names_free(words_names *all);
/* What is written of a class beside its row; NULL: nothing. */
const char *words_but(words_names *all, const char *module, const quern__class *c);
/* The page of all names: each works, or the reason. A name that has neither is a mistake, so is a
 * reason that nothing needs. */
void words_page_of_names(quern__text *out, words_names *all);

/* ---- phrase.c: a class as words ---- */

/* The word of a class: "max_pooling2d". */
void words_word(const quern__class *c, char *out, size_t size);
/* Its words, arguments in order and what they are when they are not given, lines indented by four
 * blanks. A mistake when the words are not read as those defaults. */
void words_phrase(quern__text *out, const quern__class *c);
/* What every class of the group takes beside its own; new, an object of defaults. */
json_t *words_common(quern__group group);
/* A default in the notation of words; "none". */
void words_value(quern__text *out, json_t *v);

/* ---- pages.c: what every class is told and does ---- */
/* Whether Keras has the class in that module: the others are what its files hold without anybody's
 * having written it. */
bool words_belongs(const quern__class *c, const words_module *m);
void words_page_of_classes(quern__text *out, words_names *all, const char *title, const char *page);

#endif
