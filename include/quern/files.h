/* Files of models and weights, to read and write: `.keras` (Keras 3) and
 * whole-model `.h5` (Keras 2 and 3) with architecture, weights, compile settings
 * and the optimizer's state; `.weights.h5`, `.safetensors` and `.npz` with weights
 * alone. A reader executes no code of a file, and the size of the file bounds its
 * memory. */
#ifndef QUERN_FILES_H
#define QUERN_FILES_H

#include <quern/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- models ---- */

/* Opens a `.keras` file or a whole-model `.h5`, by its content. An unsupported
 * class, or one that contains Python code, is an error that names it. Returns new,
 * NULL on failure. */
QUERN_API quern_model *quern_model_open(const char *path, quern_error *err);

/* Writes a model with an atomic write: as Keras 3's `.h5` if the name ends in .h5
 * or .hdf5, otherwise as `.keras`. Members of an opened file that do not belong to
 * Keras are preserved. Returns 0 or a negative status. */
QUERN_API int quern_model_save(const quern_model *m, const char *path, quern_error *err);

/* ---- weights ---- */

/* Reads weights from .weights.h5, .h5, .keras, .safetensors or .npz. In HDF5 and
 * .keras it finds them by position, as Keras does, with the optimizer's state if
 * the file has it; in .safetensors and .npz by path (quern_model_weight). `map`
 * (NULL: not used) is a text file with other names, a line for each: "dense/kernel
 * = fc1.weight", then "transposed" if the matrix is transposed; '#' starts a
 * comment. The file must have all weights. Returns 0, or a negative status after
 * which some weights may have changed. */
QUERN_API int quern_model_load_weights(quern_model *m, const char *path, const char *map,
                                       quern_error *err);

/* Writes the weights as .weights.h5, .safetensors or .npz, by the end of the name;
 * `map` as quern_model_load_weights. Returns 0 or a negative status. */
QUERN_API int quern_model_save_weights(const quern_model *m, const char *path, const char *map,
                                       quern_error *err);

/* ---- arrays ---- */

/* Writes `n` `.npy` files as the members `names` of an uncompressed `.npz`, with
 * an atomic write. Returns 0 or a negative status. */
QUERN_API int quern_npz_pack(const char *path, const char *const *names, const char *const *files,
                             int n, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
