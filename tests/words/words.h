/* words: pages about Keras's names, written from the descriptor rows, so that they match the
 * code. */
#ifndef QUERN_WORDS_H
#define QUERN_WORDS_H

#include "keras/keras.h"

/* A group of Keras. */
typedef struct words_module {
    const char *module, *link; /* "losses"; below https://keras.io/api/ */
    const char *page;          /* of docs/, which describes its classes; NULL: none */
    int group;                 /* -1: activations, which are functions without rows */
} words_module;
extern const words_module words_modules[];
extern const int words_n_modules;

/* Prints a mistake and counts it. */
void words_mistake(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- keras.c: the names of Keras, and the reasons of the missing ones ---- */

/* Reads the two files. Returns NULL after a mistake if they cannot be read. */
typedef struct words_names words_names;
words_names *words_names_read(const char *names, const char *reasons);
void words_names_free(words_names *all);
/* The note about a class in addition to its row; NULL: none. */
const char *words_but(words_names *all, const char *module, const quern__class *c);
/* The page of all names: each works or has a reason. A name without either is a mistake; so is an
 * unused reason. */
void words_page_of_names(quern__text *out, words_names *all);

/* ---- phrase.c: a class as a spec string ---- */

/* The word of a class: "max_pooling2d". */
void words_word(const quern__class *c, char *out, size_t size);
/* Its spec string: arguments in order with their defaults, in lines indented by four spaces. It is
 * a mistake if the string does not give those defaults when read. */
void words_phrase(quern__text *out, const quern__class *c);
/* The arguments that every class of the group takes in addition to its own; new, an object of
 * defaults. */
json_t *words_common(quern__group group);
/* A default in the notation of spec strings; "none". */
void words_value(quern__text *out, json_t *v);

/* ---- pages.c: arguments and properties of every class ---- */
/* Whether Keras has the class in that module. The other classes occur only inside Keras's files. */
bool words_belongs(const quern__class *c, const words_module *m);
void words_page_of_classes(quern__text *out, words_names *all, const char *title, const char *page);

#endif
