/* BackupAndRestore: an interrupted run resumes from its last backup
 * (keras.src.callbacks.backup_and_restore). The callback only describes the backup. The module
 * fit writes and reads the checkpoints, so that the resumed run is bit-identical; Keras restarts
 * the data instead. */
#include "callbacks.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct backup {
    json_t *config;
    const quern__ready *kind;
} backup;

static int backup_start(void *user, quern_error *err)
{
    const backup *s = user;
    const char *folder = quern__config_text(s->config, "backup_dir");
    json_t *freq = json_object_get(s->config, "save_freq");
    bool by_epoch = json_is_string(freq) && !strcmp(json_string_value(freq), "epoch");
    if (!folder || !*folder || strlen(folder) > 900)
        return quern__fail(err, QUERN_INVALID, "backup_and_restore", "backup_dir is missing");
    if (!by_epoch && !(json_is_integer(freq) && json_integer_value(freq) > 0))
        return quern__fail(err, QUERN_INVALID, "backup_and_restore",
                           "save_freq must be epoch or a number of batches");
    return QUERN_OK;
}

static const quern__field fields[] = { { "backup_dir", QUERN__F_TEXT, NULL },
                                       { "save_freq", QUERN__F_ANY, "\"epoch\"" },
                                       { "double_checkpoint", QUERN__F_BOOL, "false" },
                                       { "delete_checkpoint", QUERN__F_BOOL, "true" },
                                       { 0 } };

const quern__ready quern__backup_and_restore = { .row = QUERN__CALLBACK_ROW("BackupAndRestore",
                                                                            fields),
                                                 .state_bytes = sizeof(backup),
                                                 .start = backup_start };

int quern__backup_wanted(quern_callback *const *callbacks, int n, quern__backup *out,
                         quern_error *err)
{
    *out = (quern__backup){ 0 };
    for (int i = 0; i < n; i++) {
        const backup *s = quern__ready_state(callbacks[i], &quern__backup_and_restore);
        if (!s)
            continue;
        const char *folder = quern__config_text(s->config, "backup_dir");
        if (*out->path)
            return quern__fail(err, QUERN_INVALID, "backup_and_restore", "is given twice");
        snprintf(out->path, sizeof out->path, "%s/backup.keras", folder);
        json_t *freq = json_object_get(s->config, "save_freq");
        out->steps = json_is_integer(freq) ? json_integer_value(freq) : 0;
        out->single = !quern__config_bool(s->config, "double_checkpoint");
        out->remove = quern__config_bool(s->config, "delete_checkpoint");
    }
    return QUERN_OK;
}

/* Removes all files with this prefix: the backup, the previous one, and temporary files of a
 * killed run. */
void quern__backup_remove(const quern__backup *b)
{
    const char *own = strrchr(b->path, '/') + 1;
    char folder[sizeof b->path], name[sizeof b->path + 300];
    snprintf(folder, sizeof folder, "%.*s", (int)(own - 1 - b->path), b->path);
    DIR *all = opendir(folder);
    for (struct dirent *one = all ? readdir(all) : NULL; one; one = readdir(all))
        if ((!strncmp(one->d_name, own, strlen(own)) || !strncmp(one->d_name, ".quern-", 7)) &&
            snprintf(name, sizeof name, "%s/%s", folder, one->d_name) < (int)sizeof name)
            unlink(name);
    if (all)
        closedir(all);
    rmdir(folder); /* fails if the folder has other files */
}
