/* quern: trains and runs Keras models in C; the data need not fit in memory.
 *
 * Quick start: train a classifier on a CSV file and save it for Keras.
 *
 *     #include <quern/quern.h>
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         quern_error err = { 0 };
 *         quern_fit_opts opts = { .epochs = 20, .verbose = 2 };
 *         quern_file_opts columns = { .target = "species" };
 *         quern_model *m = quern_model_from_spec("input 4 | dense 16 relu | dense 3 softmax", 42, &err);
 *         quern_generator *train = m ? quern_file_generator("iris.csv", &columns, &err) : NULL;
 *         quern_history *h = NULL;
 *         if (train && quern_compile(m, "adam", "sparse_categorical_crossentropy", "accuracy", &err) >= 0)
 *             h = quern_fit_generator(m, train, &opts, &err);
 *         if (h && !err.code)
 *             quern_model_save(m, "iris.keras", &err);
 *         if (err.code)
 *             fprintf(stderr, "%s: %s\n", err.where, err.text);
 *         quern_history_free(h);
 *         quern_generator_free(train);
 *         quern_model_free(m);
 *         return err.code != 0;
 *     }
 *
 * The headers follow in reading order. */
#ifndef QUERN_H
#define QUERN_H

/* Status codes, the error object, the version, logging, memory. */
#include <quern/status.h>

/* Types, shapes and views of arrays. */
#include <quern/tensor.h>

/* Models: build, compile, run batch by batch, read weights. */
#include <quern/model.h>

/* Generators: where batches come from (callbacks, functions, arrays). */
#include <quern/source.h>

/* Generators over files, programs, text and series. */
#include <quern/source_files.h>

/* Training, evaluation, prediction, checkpoints, the memory budget. */
#include <quern/fit.h>

/* Files of models and weights: .keras, .h5, .safetensors, .npz. */
#include <quern/files.h>

/* Hooks of a run, and the ready-made callbacks of Keras. */
#include <quern/callbacks.h>

/* The schema: names and classes of the columns of a model's data. */
#include <quern/schema.h>

/* Tokenizers, samplers, beam search, and Keras's helpers for text. */
#include <quern/text.h>

/* Text generation with a language model. */
#include <quern/generate.h>

/* User-defined layers, losses, metrics and optimizers. */
#include <quern/custom.h>

/* Atomic writes and lock files. */
#include <quern/output.h>

#endif
