/* callbacks: the hook interface between fit and those who listen, and the ready-made callbacks. See <quern/callbacks.h>. */
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
    size_t (*bytes)(const void *user, const quern_model *m); /* that it will hold while training; NULL: next to nothing */
};

/* The logs behind an event: what hooks are told and may add to. */
typedef struct quern__logs {
    quern_event event; /* first: an event that is told is always one of these */
    bool open;         /* on_epoch_end is running */
    bool resumed;      /* a run that goes on: callbacks keep what they know */
    int n;
    const char *names[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS];
    double values[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS];
    char own[QUERN__EXTRA_LOGS][48]; /* names that hooks added */
    int n_own;
} quern__logs;

/* Which hook: its place in quern_hooks. */
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
/* Tells all of them in order. QUERN_END when one asks to stop; a negative status ends it at once. */
int quern__tell(quern_callback *const *callbacks, int n, quern__moment moment, quern__logs *logs, quern_error *err);
/* Whether anybody listens: logs need not be read for nobody. */
bool quern__listens(quern_callback *const *callbacks, int n, quern__moment moment);

/* What is known of a run before its first batch, for callbacks that need something of it (callback_checks.c). */
typedef struct quern__outlook {
    const quern_model *model;
    bool validates, at_first, always; /* some epoch is validated; the first; each */
    bool bad, val_bad;                /* bad records are counted */
    bool resumed;                     /* the run may go on from a checkpoint */
    bool open;                        /* a callback of the caller's, told before, may add logs */
    int n;
    const char *names[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS]; /* logs that come in some epoch; first loss and metrics */
} quern__outlook;
/* Refuses the first callback that cannot do in such a run what it is for. */
int quern__callbacks_check(quern_callback *const *callbacks, int n, const quern__outlook *outlook, quern_error *err);
/* Whether a log is of that name: of epochs, or of batches. */
bool quern__outlook_has(const quern__outlook *o, const char *name, bool batches);
/* Whether the learning rate can be set while training. */
int quern__rate_check(const quern_model *m, const char *callback, quern_error *err);

/* A ready-made callback: a row with fields as every class has them, hooks, and the bytes of its state, which begins with its
 * config. */
typedef struct quern__ready {
    quern__class row;
    quern_hooks hooks;
    size_t state_bytes;
    int (*start)(void *state, quern_error *err);                          /* checks the config; NULL: nothing to check */
    void (*end)(void *state);                                             /* NULL: nothing to free */
    int (*check)(void *state, const quern__outlook *o, quern_error *err); /* before a run; NULL: it needs nothing of it */
    /* What must go on with a resumed run: as an object (new), from it after on_train_begin, and bytes beside it that are saved and
     * filled where they lie; NULL: nothing. */
    json_t *(*save)(const void *state);
    int (*restore)(void *state, json_t *kept, quern_error *err);
    void *(*bytes)(void *state, size_t *size);
    int (*sync)(void *state,
                quern_error *err); /* what it has written so far is on the disk; NULL: it wrote nothing to go on with */
    size_t (*takes)(const void *state, const quern_model *m); /* as in quern_callback */
} quern__ready;
#define QUERN__CALLBACK_ROW(NAME, FIELDS)                                                                    \
    {                                                                                                        \
        .group = QUERN__CALLBACK, .name = NAME, .aliases = "", .module = "keras.callbacks", .fields = FIELDS \
    }
/* The state behind a callback of that kind; NULL: it is another. */
void *quern__ready_state(const quern_callback *c, const quern__ready *kind);
/* Its kind; NULL: it is the caller's own. */
const quern__ready *quern__ready_kind(const quern_callback *c);
/* What all of them must keep, as a list, and back; the k-th piece of bytes, NULL at the end. */
json_t *quern__callbacks_save(quern_callback *const *callbacks, int n);
int quern__callbacks_restore(quern_callback *const *callbacks, int n, json_t *kept, quern_error *err);
int quern__callbacks_sync(quern_callback *const *callbacks, int n, quern_error *err);
void *quern__callbacks_bytes(quern_callback *const *callbacks, int n, int k, size_t *size);
/* Whether one of them puts the weights of the best epoch back when training ends. */
bool quern__best_is_restored(quern_callback *const *callbacks, int n);
/* Makes the folders that a file is to lie in. */
int quern__make_folders(const char *path, quern_error *err);
/* Whether the event is of a run that goes on. */
bool quern__event_resumed(const quern_event *event);
/* A double as text that gives the same bits again ("0x1.8p+1", "nan"), and back. */
json_t *quern__json_bits(double v);
double quern__json_bits_read(json_t *v);
extern const quern__ready quern__csv_logger, quern__early_stopping, quern__model_checkpoint, quern__terminate_on_nan,
    quern__learning_rate_scheduler, quern__reduce_lr_on_plateau, quern__generate_callback, quern__backup_and_restore;

/* What BackupAndRestore among callbacks wants of a run (backup_and_restore.c): where its checkpoints are, every how many steps (0:
 * an epoch), whether only the newest is kept, and whether it goes when the run has come to its end. An empty path: there is none.
 */
typedef struct quern__backup {
    char path[1024];
    int64_t steps;
    bool single, remove;
} quern__backup;
int quern__backup_wanted(quern_callback *const *callbacks, int n, quern__backup *out, quern_error *err);
/* Removes it, and its folder where nothing else is in it. */
void quern__backup_remove(const quern__backup *b);

/* What callbacks that watch a number share (monitor.c). */
typedef struct quern__monitor {
    const char *name;
    bool rises, resolved;
    double best;
} quern__monitor;
/* Reads `monitor` and `mode` of the config. */
int quern__monitor_start(quern__monitor *m, json_t *config, const char *callback, quern_error *err);
/* Refused where no log of epochs (or of batches) is of that name. */
int quern__monitor_check(const quern__monitor *m, const quern__outlook *o, bool batches, const char *callback, quern_error *err);
/* The number in the logs, its direction found; false with a warning when it is not there. */
bool quern__monitor_read(quern__monitor *m, const quern_event *event, const char *callback, double *value);
/* Whether `value` is better than `than` by more than delta. */
json_t *quern__monitor_save(const quern__monitor *m);
void quern__monitor_restore(quern__monitor *m, json_t *kept);
bool quern__monitor_better(const quern__monitor *m, double value, double than, double delta);

#endif
