/* model.weights.h5: layers/<class>[_k]/vars/<i> and optimizer/vars/<i>, as an HDF5 file in memory. HDF5 follows no links out of it,
 * because only names that we make are opened and their kind is checked first. */
#include "files.h"

#include <hdf5.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* A core file without a disk file; from an image when there is one. */
static hid_t open_image(const char *bytes, size_t n)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(access, 1 << 16, 0);
    if (bytes)
        H5Pset_file_image(access, (void *)(uintptr_t)bytes, n);
    hid_t file = bytes ? H5Fopen("weights", H5F_ACC_RDONLY, access) : H5Fcreate("weights", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    return file;
}

/* Called with each variable of the model and its place, and with the groups that stand without one (v NULL); negative stops. */
typedef int visitor(void *user, hid_t file, const char *path, quern__variable *v, quern_error *err);

static int visit(const quern_model *m, hid_t file, visitor *fn, void *user, quern_error *err)
{
    char group[160], path[256];
    int status = QUERN_OK;
    for (int k = 0; status >= 0 && k < m->b->n; k++) {
        const quern__layer *l = m->b->nodes[k].layer;
        if (m->b->nodes[k].again || (m->sequential && m->b->nodes[k].n_in == 0))
            continue;
        quern__layer_group(m, k, group, sizeof group);
        snprintf(path, sizeof path, "%s/vars", group);
        status = fn(user, file, path, NULL, err);
        for (int i = 0; status >= 0 && i < l->n_weights; i++) {
            snprintf(path, sizeof path, "%s/%s", group, l->places[i]);
            status = fn(user, file, path, l->weights[i], err);
        }
        for (int p = 0; status >= 0 && quern__layer_idf(l) && p < 1 + quern__layer_is_text(l); p++) {
            snprintf(path, sizeof path, "%s%s/vars/idf_weights", group, p ? "/_lookup_layer" : "");
            status = fn(user, file, path, quern__layer_idf(l), err);
        }
    }
    return status;
}

static hid_t type_of(int dtype)
{
    return dtype == QUERN_INT64 ? H5T_NATIVE_INT64 : dtype == QUERN_INT32 ? H5T_NATIVE_INT32 : H5T_NATIVE_FLOAT;
}

static int write_one(void *user, hid_t file, const char *path, quern__variable *v, quern_error *err)
{
    hsize_t dims[QUERN_MAX_RANK];
    (void)user;
    hid_t create = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(create, 1);
    if (!v) {
        hid_t g = H5Gcreate2(file, path, create, H5P_DEFAULT, H5P_DEFAULT);
        H5Pclose(create);
        if (g >= 0)
            H5Gclose(g);
        return g >= 0 ? QUERN_OK : quern__fail(err, QUERN_IO, path, "cannot be written");
    }
    for (int i = 0; i < v->shape.rank; i++)
        dims[i] = (hsize_t)v->shape.dims[i];
    hid_t space = v->shape.rank ? H5Screate_simple(v->shape.rank, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(file, path, type_of(v->dtype), space, create, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = set >= 0 && H5Dwrite(set, type_of(v->dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, quern__variable_numbers(v)) >= 0;
    if (set >= 0)
        H5Dclose(set);
    H5Sclose(space);
    H5Pclose(create);
    return ok ? QUERN_OK : quern__fail(err, QUERN_IO, path, "cannot be written");
}

/* Calls with what an optimizer keeps, below `group`. */
static int visit_optimizer(const quern__optimizer *o, const char *group, hid_t file, visitor *fn, void *user, quern_error *err)
{
    char path[256];
    int status = QUERN_OK;
    quern__variable *v;
    for (int i = 0; status >= 0 && (v = quern__optimizer_variable(o, i)); i++) {
        snprintf(path, sizeof path, "%s/vars/%d", group, i);
        status = fn(user, file, path, v, err);
    }
    return status;
}

/* Keras writes an optimizer inside another a second time, by itself: the one that a loss is scaled for, or each of several. */
static int write_inner(const quern__optimizer *o, hid_t file, quern_error *err)
{
    char group[192], name[64];
    int status = QUERN_OK;
    for (int i = 0; status >= 0 && i < o->n_inner; i++) {
        const quern__optimizer *inner = o->inner[i];
        int same = 0;
        for (int k = 0; k < i; k++)
            same += o->inner[k]->kind == inner->kind;
        quern__snake_case(inner->kind->name, name, sizeof name);
        if (quern__optimizer_leader((quern__optimizer *)(uintptr_t)o) == inner)
            snprintf(group, sizeof group, "optimizer/inner_optimizer");
        else
            snprintf(group, sizeof group, same ? "optimizer/optimizers/%s_%d" : "optimizer/optimizers/%s", name, same);
        status = visit_optimizer(inner, group, file, write_one, NULL, err);
    }
    return status;
}

int quern__weights_write(const quern_model *m, char **bytes, size_t *n, quern_error *err)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t file = open_image(NULL, 0);
    int status = file < 0 ? quern__fail(err, QUERN_NOMEM, "weights", "HDF5 cannot make a file in memory")
                          : visit(m, file, write_one, NULL, err);
    if (status >= 0 && m->optimizer)
        status = visit_optimizer(m->optimizer, "optimizer", file, write_one, NULL, err);
    if (status >= 0 && m->optimizer)
        status = write_inner(m->optimizer, file, err);
    hid_t root = status >= 0 ? H5Gcreate2(file, "vars", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) : -1;
    if (root >= 0)
        H5Gclose(root);
    ssize_t size = status >= 0 && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0 ? H5Fget_file_image(file, NULL, 0) : -1;
    *bytes = size > 0 ? quern__alloc((size_t)size) : NULL;
    *n = (size_t)(size > 0 ? size : 0);
    if (status >= 0 && (!*bytes || H5Fget_file_image(file, *bytes, *n) != size))
        status = quern__fail(err, QUERN_NOMEM, "weights", "HDF5 gives no image");
    if (file >= 0)
        H5Fclose(file);
    return status;
}

/* Whether every part of a path is a hard link: nothing leads out of the file. */
static bool is_inside(hid_t file, const char *path)
{
    char part[192];
    for (const char *p = path;; p++) {
        p += strcspn(p, "/");
        snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
        H5L_info_t link;
        if (H5Lget_info(file, part, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
            return false;
        if (!*p)
            return true;
    }
}

/* Only plain datasets: no external files, no virtual ones. */
static hid_t open_plain(hid_t file, const char *path)
{
    if (!is_inside(file, path))
        return -1;
    hid_t set = H5Dopen2(file, path, H5P_DEFAULT);
    hid_t plist = set >= 0 ? H5Dget_create_plist(set) : -1;
    bool plain = plist >= 0 && H5Pget_external_count(plist) == 0 && H5Pget_layout(plist) != H5D_VIRTUAL;
    if (plist >= 0)
        H5Pclose(plist);
    if (set >= 0 && !plain) {
        H5Dclose(set);
        return -1;
    }
    return set;
}

static int read_one(void *user, hid_t file, const char *path, quern__variable *v, quern_error *err)
{
    char where[256], want[96];
    hsize_t dims[QUERN_MAX_RANK] = { 0 };
    if (!v)
        return QUERN_OK;
    snprintf(where, sizeof where, "%s: %s", (const char *)user, path);
    hid_t set = open_plain(file, path);
    if (set < 0)
        return v->optimizer ? QUERN_END : quern__fail(err, QUERN_FORMAT, where, "weight %s is missing", v->path);
    hid_t space = H5Dget_space(set);
    int rank = H5Sget_simple_extent_ndims(space);
    bool fits = rank == v->shape.rank && rank <= QUERN_MAX_RANK && H5Sget_simple_extent_dims(space, dims, NULL) == rank;
    for (int i = 0; fits && i < rank; i++)
        fits = dims[i] == (hsize_t)v->shape.dims[i];
    int status = fits ? QUERN_OK
                      : quern__fail(err, QUERN_SHAPE, where, "weight %s must have shape %s", v->path,
                                    quern_shape_text(&v->shape, want, sizeof want));
    if (status >= 0 && H5Dread(set, type_of(v->dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, quern__variable_numbers(v)) < 0)
        status = quern__fail(err, QUERN_FORMAT, where, "cannot be read");
    H5Sclose(space);
    H5Dclose(set);
    return status;
}

/* Whether the file has as many numbers of the optimizer as it keeps; else they are left out, as Keras does, with a warning unless
 * it was never used. */
static bool keeps_as_much(const quern__optimizer *o, hid_t file, const char *path)
{
    H5G_info_t info;
    hid_t group = is_inside(file, "optimizer/vars") ? H5Gopen2(file, "optimizer/vars", H5P_DEFAULT) : -1;
    int found = group >= 0 && H5Gget_info(group, &info) >= 0 && info.nlinks < INT_MAX ? (int)info.nlinks : 0;
    if (group >= 0)
        H5Gclose(group);
    if (found && found != quern__optimizer_count(o, false) && found != quern__optimizer_count(o, true))
        quern__warn("%s: the optimizer begins anew: the file has %d of its variables, not %d", path, found,
                    quern__optimizer_count(o, false));
    return found == quern__optimizer_count(o, false);
}

int quern__weights_read(quern_model *m, const char *path, const char *bytes, size_t n, quern_error *err)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t file = open_image(bytes, n);
    if (file < 0)
        return quern__fail(err, QUERN_FORMAT, path, "model.weights.h5 is no HDF5 file");
    int status = visit(m, file, read_one, (void *)(uintptr_t)path, err);
    if (status >= 0 && m->optimizer && keeps_as_much(m->optimizer, file, path))
        status = visit_optimizer(m->optimizer, "optimizer", file, read_one, (void *)(uintptr_t)path, err);
    H5Fclose(file);
    return status;
}
