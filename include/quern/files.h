/* Models as `.keras` files (Keras 3), both ways: architecture, weights, compile settings and the optimizer's state. */
#ifndef QUERN_FILES_H
#define QUERN_FILES_H

#include <quern/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opens a `.keras` file. A class that this version does not have is an error that names it. Returns new, NULL on failure. */
QUERN_API quern_model *quern_model_open(const char *path, quern_error *err);
/* Writes a `.keras` file: beside, synced, renamed, so that the old file stays whole when anything fails. */
QUERN_API int quern_model_save(const quern_model *m, const char *path, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
