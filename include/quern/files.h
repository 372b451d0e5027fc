/* Models in files, both ways: architecture, weights, compile settings and the optimizer's state as `.keras` (Keras 3) and
 * whole-model
 * `.h5` (Keras 2 and 3), weights alone also as `.weights.h5`, `.safetensors` and `.npz`. Files are read without running anything of
 * them, and what they may take in memory is bounded by their size. */
#ifndef QUERN_FILES_H
#define QUERN_FILES_H

#include <quern/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opens a `.keras` file or a whole-model `.h5`, which its content tells. A class that this version does not have, or that holds
 * code of Python, is an error that names it. Returns new, NULL on failure. */
QUERN_API quern_model *quern_model_open(const char *path, quern_error *err);
/* Writes a `.h5` (or `.hdf5`) as Keras 3 does where the name ends so, else a `.keras` file; members of that file which are not
 * Keras's are written again. Beside, synced, renamed, so that the old file stays whole when anything fails. */
QUERN_API int quern_model_save(const quern_model *m, const char *path, quern_error *err);

/* Reads weights into a model, from a file whose name ends in .weights.h5, .h5, .keras, .safetensors or .npz. In HDF5 they are found
 * by their places as Keras finds them, with the optimizer's state where the file has it; in the others by their paths
 * (quern_model_weight), or by other names that the text file `map` tells (NULL: none): lines "dense/kernel = fc1.weight", with
 * "transposed" behind a matrix that lies so in the file; '#' begins a remark. All weights must be there. After an error some may
 * have been read. */
QUERN_API int quern_model_load_weights(quern_model *m, const char *path, const char *map, quern_error *err);
/* Writes the weights as .weights.h5, .safetensors or .npz, by the end of the name, with the names that `map` tells. */
QUERN_API int quern_model_save_weights(const quern_model *m, const char *path, const char *map, quern_error *err);

/* Packs `.npy` files as the arrays of an `.npz`, not compressed, under those names; the file takes the place of `path` when it is
 * whole. QUERN_OK or a negative status. */
QUERN_API int quern_npz_pack(const char *path, const char *const *names, const char *const *files, int n, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
