/* h5_driver: writing HDF5 files, to the disk or into memory, without the library's noticing that it fails. For h5_write.c only. */
#ifndef QUERN__FILES_H5_DRIVER_H
#define QUERN__FILES_H5_DRIVER_H

#include "files.h"

#include <hdf5.h>

/* Files of that access list are written so, into the image (NULL: at their names); *why, which outlives them, becomes the errno of
 * the first that fails. */
bool quern__h5_driver_set(hid_t access, quern__image *image, int *why);

#endif
