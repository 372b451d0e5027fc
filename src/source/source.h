/* source: where records come from. Every kind fills one table of functions; the rooms batch, queue and fit know no kind. */
#ifndef QUERN__SOURCE_H
#define QUERN__SOURCE_H

#include "tensor/tensor.h"
#include <pthread.h>
#include <quern/source.h>

/* A shape is that of an array; or the columns of a table, which fill any input in their order; or only how many numbers there are,
 * of files that were prepared before shapes were kept. */
enum { QUERN__AXES_OWN = 0, QUERN__AXES_TABLE = 1, QUERN__AXES_LOST = 2 };

/* What records are, as far as a source knows by itself: arrays of inputs, then of targets, in the types that they have there. */
typedef struct quern__description {
    int n_x, n_y;
    quern_shape shapes[2 * QUERN_MAX_ARRAYS]; /* with an open record axis */
    int axes[2 * QUERN_MAX_ARRAYS];           /* a QUERN__AXES_…: what the shape is worth */
    int dtypes[2 * QUERN_MAX_ARRAYS];
    char names[2 * QUERN_MAX_ARRAYS][64]; /* of an input or output; empty: by their order */
    bool weighted;                        /* one weight a record */
} quern__description;

typedef struct quern__source_ops {
    /* Learns what the run wants and checks that the data fits it. */
    int (*open)(quern_generator *g, const quern_batch_spec *spec, bool shuffle, uint64_t seed, quern_error *err);
    int (*next)(quern_generator *g, quern_batch *batch, quern_error *err);
    /* Instead of next, for sources that know their records by number (count in the generator): fills batch->size records from
     * place `first` of a pass. Any thread may call it, several at once; `reset` is not called. */
    int (*read)(quern_generator *g, int64_t pass, int64_t first, quern_batch *batch, quern_error *err);
    /* Starts the data anew for an epoch; NULL: cannot. */
    int (*reset)(quern_generator *g, int64_t epoch, quern_error *err);
    void (*cancel)(quern_generator *g); /* wakes a blocked next; NULL: it never waits for others */
    void (*close)(quern_generator *g);  /* the run is over; open may follow again; NULL: nothing to do */
    void (*free)(quern_generator *g);
    /* Why no record has come, as an error; NULL: the data has none. */
    int (*empty)(const quern_generator *g, quern_error *err);
    /* Bytes that open and reading will ask for, beyond what the source holds already; NULL: next to nothing. */
    size_t (*bytes)(const quern_generator *g, const quern_batch_spec *spec, bool shuffle);
    int (*describe)(const quern_generator *g, quern__description *out, quern_error *err); /* NULL: the model says what they are */
    /* Of sources with `next` that can say where they are, and go there (`saves` in the generator); read by number,
     * resume_position.c does it. save puts at most `room` bytes into `state` and tells how many in *size; state may be NULL. */
    int (*save)(const quern_generator *g, void *state, size_t room, size_t *size, quern_error *err);
    int (*restore)(quern_generator *g, const void *state, size_t size, quern_error *err);
    /* How many records the first batch has, which is not taken: of sources whose batches come as large as they are; 0 when there is
     * none. Before open. QUERN_CANCELED when it was interrupted. NULL: the run decides. */
    int64_t (*first)(quern_generator *g, uint64_t seed, const volatile int *interrupt, quern_error *err);
} quern__source_ops;

/* The bad records that were met while a batch was made, told when the trainer takes it (bad_records.c). */
enum { QUERN__BAD_KEPT = 16 };
typedef struct quern__bad {
    int policy; /* QUERN_BAD_SKIP or QUERN_BAD_SUBSTITUTE */
    int64_t most, count;
    quern_error places[QUERN__BAD_KEPT]; /* of the first */
} quern__bad;

/* What a generator does with them, and those of its run. */
typedef struct quern__bad_records {
    unsigned can; /* bit by policy: what the source can do */
    int policy;
    int64_t most, epoch, all; /* at most in an epoch; in the present one, in the run */
    quern_error *places;      /* of the first of them; owned */
} quern__bad_records;

/* What a source does with a record that failed with `own`: QUERN_OK when it is noted and reading goes on, else the status, with
 * `err` filled. `bad` is that of the batch, NULL where every bad record is an error. */
int quern__bad_record(quern__bad *bad, int status, const quern_error *own, quern_error *err);
/* Of a batch that is taken, on the trainer's thread, which also failed with `last` where that is no NULL: counts, tells and
 * keeps them. An error when the epoch has too many. */
int quern__bad_tell(quern_generator *g, quern__bad *bad, const quern_error *last, quern_error *err);
/* At the end of a run: how many were not told one by one. */
void quern__bad_close(const quern_generator *g);

/* What a thread that makes batches does just now, for those who wait for it (activity.c). */
typedef struct quern__activity {
    pthread_mutex_t lock;
    const char *stage, *unit; /* "reading", "line" */
    int64_t n;
    char where[160];
} quern__activity;
/* The calling thread tells it there from now on; NULL: nowhere. */
void quern__doing_here(quern__activity *d);
/* Says what it begins to do, which may take long: reading `where`, its line 41. `stage` and `unit` live for ever. */
void quern__activity_set(const char *stage, const char *where, const char *unit, int64_t n);
/* The same of the next one, with all else as it was. */
void quern__begin_next(int64_t n);
/* "train.csv, line 41" and the stage. */
const char *quern__doing_text(quern__activity *d, char *where, size_t room);

/* Where a generator is: behind the batch that the trainer was given last. The queue keeps it up to date. */
typedef struct quern__position {
    bool known, going; /* a run has begun; is on */
    bool restored;     /* the next run begins here, not at the start */
    bool shuffle;      /* of the run, from here on: of records that are known by number */
    uint64_t seed;
    int64_t pass, first, batch_size;
    uint8_t *state; /* of sources that save themselves: room for it, owned; holds it where `size` is not 0 */
    size_t size;
} quern__position;

struct quern_generator {
    const quern__source_ops *ops;
    void *self;
    const quern_batch_spec *spec;
    bool restarts;       /* can begin anew */
    bool finite;         /* an epoch is one pass over it: arrays and files */
    int64_t from, count; /* records, of sources with `read`: the first, and how many */
    const char *(*class_name)(const quern_generator *g, int target, int i); /* NULL: none */
    const quern_schema *(*schema)(const quern_generator *g); /* of its columns, once a run has begun; NULL: it has none */
    int features;
    const char *(*file_of)(const quern_generator *g, int array); /* the file that fills an array of the batch; NULL: `where` */
    const char *where;                                           /* what errors call it; NULL: "generator". Borrowed from self */
    bool saves;                                                  /* ops->save and ops->restore work */
    bool strings;                                                /* can fill arrays of type string   */
    bool keeps; /* has columns with names, whose texts it can give beside the inputs */
    quern__position position;
    quern__bad_records bad;
    double stall_timeout;          /* seconds that the trainer waits for a batch; 0: as long as it takes */
    bool watches;                  /* it sees to that itself */
    const volatile int *interrupt; /* not 0: who waits for others on the trainer's own thread returns QUERN_CANCELED; NULL: never */
    bool taken;                    /* by a run that is on (atomic) */
    int runs;                      /* that have been left to themselves: quern__generator_keep */
};

/* The error of data without a record. */
int quern__source_empty(const quern_generator *g, quern_error *err);
/* What quern__source_ops.bytes says of a source; of one that is not known yet (NULL): what the readers of files take. */
size_t quern__source_bytes(const quern_generator *g, const quern_batch_spec *spec, bool shuffle);
/* Of arrays that come one behind the other: one in another type. */
size_t quern__protocol_bytes(const quern_generator *g, const quern_batch_spec *spec, bool shuffle);

/* Whether a run of this kind can begin at the restored position of records that are known by number. */
int quern__position_check(const quern_generator *g, bool shuffle, uint64_t seed, int64_t batch_size, quern_error *err);

/* Slots of 4 bytes that input i of a record takes in the row of a stream: one for a float32, an int32 or a string, two for an
 * int64. */
int64_t quern__slots(const quern_batch_spec *spec, int i);
/* Numbers (or strings) of one record. */
int64_t quern__per_record(const quern_shape *s);
/* Bytes of room for the strings of a batch (0 without any); -1: too many to count. */
int64_t quern__string_room(const quern_batch_spec *spec);
/* Which QUERN_WEIGHTS_… an array of that shape is for a target, compared as all arrays are; -1: none. */
int quern__weights_kind(const quern_batch_spec *spec, int target, const quern_shape *have);
/* The numbers of the records at places first, first + 1, … of a pass, into batch->indices. */
void quern__number_records(const quern_generator *g, bool shuffle, uint64_t seed, int64_t pass, int64_t first, quern_batch *b);
/* Whoever still uses a generator that may be freed keeps it, and frees it as its owner does: the last one does it. */
void quern__generator_keep(quern_generator *g);
quern_generator *quern__generator_new(const quern__source_ops *ops, void *self);

/* A stream of records that shuffle_buffer.c makes into batches: plain reading in order, from the start after rewind. */
typedef struct quern__stream {
    /* Told what the run wants before rewind: lays a record out as its inputs one behind the other, in the types that the run wants
     * (quern__slots), and its targets likewise, and says how many numbers they are. NULL: x_count and y_count never change, and
     * are dealt out to inputs and targets in their order. */
    int (*match)(void *self, const quern_batch_spec *spec, int64_t *x_count, int64_t *y_count, quern_error *err);
    int (*rewind)(void *self, quern_error *err);
    /* Fills one record: inputs in their slots, and targets as doubles. QUERN_OK, QUERN_END or an error. */
    int (*read)(void *self, float *x, double *y, quern_error *err);
    /* Fills up to `most` records; how many, 0 at the end, or a negative status. NULL: read does it. */
    int64_t (*read_many)(void *self, float *x, double *y, int64_t most, quern_error *err);
    /* Told before rewind: in this epoch records may come in any order, which follows from the key (NULL: as they stand) and the
     * epoch, and from nothing that was read before. NULL: they always come as they stand. */
    void (*order)(void *self, const quern__random_key *key, int64_t epoch);
    /* How many places of the data what was read since rewind came from, and how many there are; NULL: one. */
    int64_t (*places)(void *self, int64_t *all);
    void (*cancel)(void *self); /* as in quern__source_ops, as is close; NULL: nothing to do */
    void (*close)(void *self);
    void (*free)(void *self);
    void *self;
    /* Strings of the record that `read` gave last, those of all inputs of type string in their order, at most QUERN_MOST_STRING
     * bytes each; such inputs count in x_count. NULL: it has none. With such inputs only `read` is called. */
    const quern_string *(*strings)(void *self);
    /* Whether the record with which `read` failed is passed over, so that reading can go on. NULL: never. */
    bool (*passed)(void *self);
    /* Told where bad records are noted (NULL: nowhere) before reading, where they are those of another generator. */
    void (*note)(void *self, quern__bad *bad);
    /* Name of class i of a target that is one; NULL when there is none, or the function is NULL. */
    const char *(*class_name)(void *self, int target, int i);
    const quern_schema *(*schema)(void *self); /* of its columns, once `match` was called; NULL: they have no names */
    int (*describe)(const void *self, quern__description *out,
                    quern_error *err); /* NULL: x_count inputs, y_count targets in one array */
    int64_t x_count, y_count;          /* numbers in a record */
    size_t bytes;                      /* that reading asks for later on: threads, buffers that grow as records usually do */
    bool weighted;                     /* one more number behind the targets: the record's weight */
    bool once;                         /* it cannot be read again */
    const char *where;
} quern__stream;
/* Takes the stream's self. Returns new. */
quern_generator *quern__stream_generator(const quern__stream *s, quern_error *err);
/* Says how good a shuffling is that draws `what` from so many of all places of the data at once (all: 0 when there are very many).
 * Where like stands beside like in each, counts of what a batch holds vary 1 + (batch - 1) (1 / places - 1 / all) times as much as
 * if all were shuffled: above 1.1 it is a warning, with the advice. */
void quern__tell_dispersion(const char *where, const char *what, double places, double all, int64_t batch, const char *advice);
enum { QUERN__WORD = 4096 }; /* bytes of a word of DATA, and its end */
/* Words are paths or patterns; each pattern stands for its files in byte order. The paths are new. */
int quern__paths_find(const char *words, char ***paths, int *n, quern_error *err);
void quern__paths_free(char **paths, int n);
/* The kinds of file. */
/* Arrays in files: "x=… y=…", or an NPZ; `format`: what they all must be, NULL: any; `channels_first`: inputs have their channels
 * as second axis. Returns new. */
quern_generator *quern__records_open(const char *words, const char *format, bool channels_first, quern_error *err);
/* Arrays one behind the other: "-" is standard input. Returns new. */
quern_generator *quern__input_open(const char *path, const quern_file_opts *o, quern_error *err);
int quern__csv_open(char **paths, int n, char separator, const quern_file_opts *o, quern__stream *out, quern_error *err);
extern size_t quern__csv_buffer; /* bytes that a CSV's buffer has at first; tests make it small */

#endif
