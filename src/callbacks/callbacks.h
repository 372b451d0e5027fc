/* callbacks: the hooks between fit and callbacks, and the built-in callbacks. The public
 * interface is <quern/callbacks.h>. */
#ifndef QUERN__CALLBACKS_H
#define QUERN__CALLBACKS_H

#include "files/files.h"
#include "model/model.h"
#include <quern/callbacks.h>

enum { QUERN__EXTRA_LOGS = 8 };

struct quern_callback {
    quern_hooks hooks;
    void *user;
    void (*free)(void *user);
    size_t (*bytes)(
        const void *user,
        const quern_model *m); /* bytes that it allocates during training; NULL: almost 0 */
};

/* The logs of an event: hooks read them and may add to them. */
typedef struct quern__logs {
    quern_event event; /* first member: every event that hooks receive is part of a quern__logs */
    bool open;         /* on_epoch_end is running: hooks may add logs */
    bool resumed;      /* the run is resumed: callbacks keep their states */
    int n;
    const char *names[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS];
    double values[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS];
    char own[QUERN__EXTRA_LOGS][48]; /* names that hooks added */
    int n_own;
} quern__logs;

/* A hook, by its index in quern_hooks. */
typedef enum quern__moment {
    QUERN__TRAIN_BEGIN,
    QUERN__TRAIN_END,
    QUERN__EPOCH_BEGIN,
    QUERN__EPOCH_END,
    QUERN__TRAIN_BATCH_BEGIN,
    QUERN__TRAIN_BATCH_END,
    QUERN__TEST_BEGIN,
    QUERN__TEST_END,
    QUERN__TEST_BATCH_BEGIN,
    QUERN__TEST_BATCH_END,
    QUERN__PREDICT_BEGIN,
    QUERN__PREDICT_END,
    QUERN__PREDICT_BATCH_BEGIN,
    QUERN__PREDICT_BATCH_END
} quern__moment;
/* Bytes that a callback allocates during training. */
size_t quern__callback_bytes(const quern_callback *c, const quern_model *m);
/* Calls the hook of all callbacks in order. Returns QUERN_END if one requests a stop. A negative
 * status ends the loop at once. Trainer thread only. */
int quern__callbacks_call(quern_callback *const *callbacks, int n, quern__moment moment,
                          quern__logs *logs, quern_error *err);
/* Whether a callback has this hook; else the logs need not be read. */
bool quern__listens(quern_callback *const *callbacks, int n, quern__moment moment);

/* Properties of a run before its first batch, for the checks of callbacks (callback_checks.c). */
typedef struct quern__outlook {
    const quern_model *model;
    bool validates, at_first, always; /* some epoch has a validation; the first one has; each has */
    bool bad, val_bad;                /* bad records are counted */
    bool resumed;                     /* the run may resume from a checkpoint */
    bool open;                        /* an earlier user-defined callback may add logs */
    int n;
    const char *names[2 * QUERN__MAX_MEANS +
                      QUERN__EXTRA_LOGS]; /* logs of some epoch; loss and metrics first */
} quern__outlook;
/* Fails for the first callback that cannot work in this run. */
int quern__callbacks_check(quern_callback *const *callbacks, int n, const quern__outlook *outlook,
                           quern_error *err);
/* Whether there is a log with this name, of epochs or of batches. */
bool quern__outlook_has(const quern__outlook *o, const char *name, bool batches);
/* Checks that the learning rate can be set during training. */
int quern__rate_check(const quern_model *m, const char *callback, quern_error *err);

/* A built-in callback: a descriptor row, hooks, and the size of its state, which begins with
 * config and kind. */
typedef struct quern__ready {
    quern__class row;
    quern_hooks hooks;
    size_t state_bytes;
    int (*start)(void *state, quern_error *err); /* checks the config; NULL: nothing to check */
    void (*end)(void *state); /* frees the state's members; NULL: nothing to free */
    int (*check)(void *state, const quern__outlook *o,
                 quern_error *err); /* checks the run before it begins; NULL: no requirements */
    /* The state of a resumed run: save returns a new object; restore reads it after
     * on_train_begin; bytes is an additional buffer, saved and filled in place. NULL: no state. */
    json_t *(*save)(const void *state);
    int (*restore)(void *state, json_t *kept, quern_error *err);
    void *(*bytes)(void *state, size_t *size);
    int (*sync)(void *state,
                quern_error *err); /* flushes written data to the disk; NULL: no files */
    size_t (*takes)(const void *state, const quern_model *m); /* as `bytes` of quern_callback */
} quern__ready;
#define QUERN__CALLBACK_ROW(NAME, FIELDS)                                                   \
    {                                                                                       \
        .group = QUERN__CALLBACK, .name = NAME, .aliases = "", .module = "keras.callbacks", \
        .fields = FIELDS                                                                    \
    }
/* The state of a callback of this kind; NULL: another kind. */
void *quern__ready_state(const quern_callback *c, const quern__ready *kind);
/* The kind of a callback; NULL: user-defined. */
const quern__ready *quern__ready_kind(const quern_callback *c);
/* Saves the states of all callbacks as a list (new), and restores them. */
json_t *quern__callbacks_save(quern_callback *const *callbacks, int n);
int quern__callbacks_restore(quern_callback *const *callbacks, int n, json_t *kept,
                             quern_error *err);
/* Flushes the files of all callbacks to the disk. */
int quern__callbacks_sync(quern_callback *const *callbacks, int n, quern_error *err);
/* The k-th additional buffer of the states, in place; NULL after the last. */
void *quern__callbacks_bytes(quern_callback *const *callbacks, int n, int k, size_t *size);
/* Whether a callback restores the weights of the best epoch at the end of training. */
bool quern__best_is_restored(quern_callback *const *callbacks, int n);
/* Creates the folders of a path. */
int quern__make_folders(const char *path, quern_error *err);
/* Whether the event belongs to a resumed run. */
bool quern__event_resumed(const quern_event *event);
/* Converts a double to text that represents it exactly ("0x1.8p+1", "nan"), and back. */
json_t *quern__json_bits(double v);
double quern__json_bits_read(json_t *v);
extern const quern__ready quern__csv_logger, quern__early_stopping, quern__model_checkpoint,
    quern__terminate_on_nan, quern__learning_rate_scheduler, quern__reduce_lr_on_plateau,
    quern__generate_callback, quern__backup_and_restore;

/* The backup that BackupAndRestore requests (backup_and_restore.c). path: of its checkpoints;
 * steps: between two of them, 0: one epoch. single: only the newest is kept. remove: the backup
 * is removed at the end of the run. An empty path: no backup. */
typedef struct quern__backup {
    char path[1024];
    int64_t steps;
    bool single, remove;
} quern__backup;
/* Reads the request from the callbacks; fails if there are two. */
int quern__backup_wanted(quern_callback *const *callbacks, int n, quern__backup *out,
                         quern_error *err);
/* Removes the backup, and its folder if it is empty. */
void quern__backup_remove(const quern__backup *b);

/* The common part of callbacks that monitor a log (monitor.c). */
typedef struct quern__monitor {
    const char *name;
    bool rises, resolved;
    double best;
} quern__monitor;
/* Reads `monitor` and `mode` of the config. */
int quern__monitor_start(quern__monitor *m, json_t *config, const char *callback, quern_error *err);
/* Fails if no log of epochs (or batches) has the name. */
int quern__monitor_check(const quern__monitor *m, const quern__outlook *o, bool batches,
                         const char *callback, quern_error *err);
/* Reads the log and determines its direction. False, with a warning: the log is missing. */
bool quern__monitor_read(quern__monitor *m, const quern_event *event, const char *callback,
                         double *value);
/* Saves the monitor as JSON (new), and restores it. */
json_t *quern__monitor_save(const quern__monitor *m);
void quern__monitor_restore(quern__monitor *m, json_t *kept);
/* Whether `value` is better than `than` by more than `delta`. */
bool quern__monitor_better(const quern__monitor *m, double value, double than, double delta);

#endif
