/* conformance DIR [--group G] [--case C], or --classes to list the classes of the library: runs the
 * cases in DIR (DIR/<group>/<case>.npz, DIR/models/<case>/io.npz, or one group itself; a file of
 * sampling or preprocessing has many) and prints a line for each, then "N passed, N failed, N
 * skipped". Exits with 1 if one failed or there was none. */
#include "conformance.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *name;
    void (*run)(test_case *c);
    bool folders; /* a case is a folder with io.npz */
    bool many;    /* a file holds a list of cases */
} groups[] = {
    { "activations", run_activation, false, false },
    { "losses", run_loss, false, false },
    { "metrics", run_metric, false, false },
    { "optimizers", run_optimizer, false, false },
    { "regularizers", run_regularizer, false, false },
    { "initializers", run_initializer, false, false },
    { "layers", run_layer, false, false },
    { "constraints", run_constraint, false, false },
    { "schedules", run_schedule, false, false },
    { "models", run_model, true, false },
    { "field", run_field, true, false },
    { "h5_legacy", run_legacy, false, false },
    { "preprocessing", run_preprocessing, false, true },
    { "sampling", run_sampling, false, true },
};
enum { n_groups = sizeof groups / sizeof *groups };

static int counts[3];

static void report(const test_case *c)
{
    static const char *const words[] = { "ok  ", "FAIL", "skip" };
    counts[c->result]++;
    printf("%s %s/%s max_error=%.3g%s%s\n", words[c->result], c->group, c->name, c->max_error,
           *c->reason ? " " : "", c->reason);
}

/* Each case of the file, as file/number. */
static void run_many(test_case *c, void (*run)(test_case *c))
{
    json_t *cases = json_object_get(c->spec, "cases"), *one;
    char file[sizeof c->name];
    size_t k;
    snprintf(file, sizeof file, "%s", c->name);
    json_array_foreach(cases, k, one)
    {
        c->one = one;
        c->number = (int)k;
        c->result = PASSED;
        c->max_error = *c->reason = 0;
        run(c);
        snprintf(c->name, sizeof c->name, "%.200s/%d", file, (int)k);
        report(c);
        snprintf(c->name, sizeof c->name, "%s", file);
    }
}

static void run_case(const char *group, const char *name, const char *path, const char *folder)
{
    static test_case c;
    quern_error err = { 0 };
    c = (test_case){ 0 };
    snprintf(c.group, sizeof c.group, "%s", group);
    snprintf(c.name, sizeof c.name, "%s", name);
    snprintf(c.folder, sizeof c.folder, "%s", folder);
    int known = -1;
    for (int i = 0; i < n_groups; i++)
        known = strcmp(groups[i].name, group) ? known : i;
    if (known < 0)
        case_skip(&c, "the group '%s' is not in this version", group);
    else if ((strstr(path, ".json") ? case_read_json(&c, path, &err) : case_read(&c, path, &err)) <
             0)
        case_fail(&c, "%s: %s", err.where, err.text);
    else if (groups[known].many) {
        run_many(&c, groups[known].run);
        case_free(&c);
        return;
    } else
        groups[known].run(&c);
    report(&c);
    case_free(&c);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The same model with data of other sizes, if there is any. */
static void run_sizes(const char *group, const char *name, const char *folder, const char *data)
{
    char path[720], own[256];
    snprintf(path, sizeof path, "%s/%s.npz", folder, data);
    snprintf(own, sizeof own, "%.200s/%s", name, data);
    if (access(path, R_OK) == 0)
        run_case(group, own, path, folder);
}

/* The cases of one group, in byte order. */
static void run_group(const char *folder, const char *group, const char *only)
{
    static const char *const sizes[] = { "io_b", "io_c", "io_steps" };
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, by_name);
    for (int i = 0; i < n; i++) {
        char path[700], io[720], name[256];
        const char *entry = entries[i]->d_name, *dot = strrchr(entry, '.');
        snprintf(path, sizeof path, "%.400s/%.250s", folder, entry);
        snprintf(io, sizeof io, "%s/io.npz", path);
        bool model = *entry != '.' && is_folder(path) && access(io, R_OK) == 0,
             file = dot && (!strcmp(dot, ".npz") || !strcmp(dot, ".json"));
        snprintf(name, sizeof name, "%.*s",
                 (int)(dot && !model ? dot - entry : (long)strlen(entry)), entry);
        if (!strcmp(entry, "h5_legacy") && is_folder(path))
            run_group(path, entry, only); /* a group among the models */
        else if ((model || file) && (!only || !strcmp(only, name)))
            run_case(group, name, model ? io : path, path);
        for (int k = 0; model && k < 3 && (!only || !strcmp(only, name)); k++)
            run_sizes(group, name, path, sizes[k]);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

/* Whether the folder is a group: it contains a case. */
static bool is_group(const char *folder)
{
    struct dirent **entries;
    bool found = false;
    int n = scandir(folder, &entries, NULL, by_name);
    for (int i = 0; i < n; i++) {
        const char *dot = strrchr(entries[i]->d_name, '.');
        found = found || (dot && (!strcmp(dot, ".npz") || !strcmp(dot, ".json")));
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return found;
}

static void run_all(const char *root, const char *only_group, const char *only_case)
{
    struct dirent **entries;
    int n = scandir(root, &entries, NULL, by_name);
    for (int i = 0; i < n; i++) {
        char path[700];
        const char *entry = entries[i]->d_name;
        snprintf(path, sizeof path, "%.400s/%.250s", root, entry);
        if (*entry != '.' && is_folder(path) && (!only_group || !strcmp(only_group, entry)))
            run_group(path, entry, only_case);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

/* Prints every class, after its group, for tools that compare each with Keras. */
static int list_classes(void)
{
    for (int g = 0; g < QUERN__CALLBACK; g++)
        for (const quern__class *const *c = quern__classes((quern__group)g); *c; c++)
            printf("%s\t%s\n", quern__group_name((quern__group)g), (*c)->name);
    return 0;
}

int main(int argc, char **argv)
{
    const char *root = NULL, *group = NULL, *name = NULL;
    char given[512];
    for (int i = 1; i < argc; i++) {
        bool value = i + 1 < argc;
        if (!strcmp(argv[i], "--classes"))
            return list_classes();
        if (!strcmp(argv[i], "--group") && value)
            group = argv[++i];
        else if (!strcmp(argv[i], "--case") && value)
            name = argv[++i];
        else if (*argv[i] != '-' && !root)
            root = argv[i];
        else
            return fprintf(stderr,
                           "conformance: %s\nusage: conformance DIR [--group G] [--case C] | "
                           "--classes\n",
                           argv[i]),
                   2;
    }
    if (!root || !is_folder(root))
        return fprintf(stderr, "conformance: %s: is not a folder of cases\n", root ? root : "DIR"),
               2;
    snprintf(given, sizeof given, "%s", root);
    while (strlen(given) > 1 && given[strlen(given) - 1] == '/')
        given[strlen(given) - 1] = 0;
    if (is_group(given)) {
        const char *slash = strrchr(given, '/');
        run_group(given, slash ? slash + 1 : given, name);
    } else
        run_all(given, group, name);
    printf("%d passed, %d failed, %d skipped\n", counts[PASSED], counts[FAILED], counts[SKIPPED]);
    return counts[FAILED] || !(counts[PASSED] + counts[SKIPPED]) ? 1 : 0;
}
