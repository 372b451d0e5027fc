/* HDF5 files are written by libhdf5, in memory or to the disk: groups, plain datasets, attributes of strings, as h5py writes them
 * for Keras. */
#include "files.h"
#include "h5_driver.h"

#include <errno.h>
#include <hdf5.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct quern__h5_file {
    hid_t file, links; /* links: groups on the way are made */
    char *path;        /* NULL: in memory */
    int why;           /* errno of the first write that failed */
};

quern__h5_file *quern__h5_create(const char *path, quern__image *image, quern_error *err)
{
    static const char *const in_memory = "weights";
    quern__h5_file *f = quern__zalloc(1, sizeof *f);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    bool ready = f && (image || (f->path = quern__strdup(path))) && quern__h5_driver_set(access, image, &f->why);
    if (image)
        image->n = 0;
    hid_t file = ready ? H5Fcreate(image ? in_memory : path, H5F_ACC_TRUNC, H5P_DEFAULT, access) : -1;
    H5Pclose(access);
    if (file < 0) {
        int why = f && f->why ? f->why : ENOMEM;
        quern__free(f ? f->path : NULL);
        quern__free(f);
        quern__fail(err, image ? QUERN_NOMEM : QUERN_IO, image ? in_memory : path, "cannot be written: %s", strerror(why));
        return NULL;
    }
    f->file = file;
    f->links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(f->links, 1);
    return f;
}

/* Whether all of it could be written. */
static bool shut(quern__h5_file *f)
{
    H5Pclose(f->links);
    return H5Fclose(f->file) >= 0 && !f->why;
}

static void forget(quern__h5_file *f, bool keep)
{
    if (f->path && !keep)
        unlink(f->path);
    quern__free(f->path);
    quern__free(f);
}

void quern__h5_close(quern__h5_file *f)
{
    if (!f)
        return;
    shut(f);
    forget(f, false);
}

int quern__h5_finish(quern__h5_file *f, quern_error *err)
{
    bool ok = shut(f);
    if (!ok)
        quern__fail(err, f->path ? QUERN_IO : QUERN_NOMEM, f->path ? f->path : "weights", "cannot be written: %s",
                    strerror(f->why ? f->why : EIO));
    int status = ok ? QUERN_OK : f->path ? QUERN_IO : QUERN_NOMEM;
    forget(f, ok);
    return status;
}

static int not_written(const char *path, quern_error *err) { return quern__fail(err, QUERN_IO, path, "cannot be written"); }

/* An object at a path; the file itself for "". */
static hid_t open_object(quern__h5_file *f, const char *path)
{
    return *path ? H5Oopen(f->file, path, H5P_DEFAULT) : H5Gopen2(f->file, "/", H5P_DEFAULT);
}

static hid_t string_type(size_t size)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

int quern__h5_write_text(quern__h5_file *f, const char *path, const char *name, const char *text, quern_error *err)
{
    hid_t object = open_object(f, path), type = string_type(H5T_VARIABLE), space = H5Screate(H5S_SCALAR);
    hid_t a = object >= 0 ? H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT) : -1;
    bool ok = a >= 0 && H5Awrite(a, type, &text) >= 0;
    if (a >= 0)
        H5Aclose(a);
    if (object >= 0)
        H5Oclose(object);
    H5Sclose(space);
    H5Tclose(type);
    return ok ? QUERN_OK : not_written(name, err);
}

/* One attribute with a part of a list: strings of one length. */
static int write_part(hid_t object, const char *name, const char *const *list, int n, size_t longest, quern_error *err)
{
    hsize_t count = (hsize_t)n;
    char *packed = quern__zalloc((size_t)n + 1, longest);
    if (!packed)
        return quern__fail_memory(err, (size_t)n * longest);
    for (int i = 0; i < n; i++)
        memcpy(packed + (size_t)i * longest, list[i], strlen(list[i]));
    hid_t type = string_type(longest), space = H5Screate_simple(1, &count, NULL);
    hid_t a = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = a >= 0 && (n == 0 || H5Awrite(a, type, packed) >= 0);
    if (a >= 0)
        H5Aclose(a);
    H5Sclose(space);
    H5Tclose(type);
    quern__free(packed);
    return ok ? QUERN_OK : not_written(name, err);
}

int quern__h5_write_texts(quern__h5_file *f, const char *path, const char *name, const char *const *list, int n, quern_error *err)
{
    enum { most = 64512 }; /* bytes of an attribute: Keras's limit, above which it makes several */
    size_t longest = 1;
    char own[64];
    for (int i = 0; i < n; i++)
        longest = strlen(list[i]) > longest ? strlen(list[i]) : longest;
    hid_t object = open_object(f, path);
    int per = (int)(most / longest), status = object < 0 ? not_written(name, err) : QUERN_OK;
    if (status >= 0 && per < 1)
        status = quern__fail(err, QUERN_UNSUPPORTED, name, "a name of %zu bytes", longest);
    else if (status >= 0 && n <= per)
        status = write_part(object, name, list, n, longest, err);
    else
        for (int k = 0; status >= 0 && k * per < n; k++) {
            snprintf(own, sizeof own, "%.40s%d", name, k);
            status = write_part(object, own, list + k * per, n - k * per < per ? n - k * per : per, longest, err);
        }
    if (object >= 0)
        H5Oclose(object);
    return status;
}

int quern__h5_write_group(quern__h5_file *f, const char *path, const char *name, const char *text, quern_error *err)
{
    hid_t g = H5Gcreate2(f->file, path, f->links, H5P_DEFAULT, H5P_DEFAULT);
    if (g < 0)
        return not_written(path, err);
    H5Gclose(g);
    return name ? quern__h5_write_text(f, path, name, text, err) : QUERN_OK;
}

int quern__h5_write_variable(quern__h5_file *f, const char *path, quern__variable *v, quern_error *err)
{
    hsize_t dims[QUERN_MAX_RANK];
    hid_t type = v->dtype == QUERN_INT64 ? H5T_NATIVE_INT64 : v->dtype == QUERN_INT32 ? H5T_NATIVE_INT32 : H5T_NATIVE_FLOAT;
    for (int i = 0; i < v->shape.rank; i++)
        dims[i] = (hsize_t)v->shape.dims[i];
    hid_t space = v->shape.rank ? H5Screate_simple(v->shape.rank, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(f->file, path, type, space, f->links, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, quern__variable_numbers(v)) >= 0;
    if (set >= 0)
        H5Dclose(set);
    H5Sclose(space);
    return ok ? QUERN_OK : not_written(path, err);
}
