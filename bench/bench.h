/* Shared by the files of bench. */
#ifndef QUERN_BENCH_H
#define QUERN_BENCH_H

#include <quern/quern.h>

double bench_now(void);
/* Prints the failure and ends the program. */
void bench_fail(const quern_error *err);
/* A batch of n records for input i of a model, in float32, and the targets of its output 0. */
quern_tensor bench_inputs(const quern_model *m, int i, const float *numbers, int64_t n);
quern_tensor bench_labels(const quern_model *m, const int32_t *labels, int64_t n);
/* The folder of bench, which also contains the other programs of this build. */
const char *bench_folder(void);

/* Each returns its result. */
double bench_limit(void); /* GFLOP/s of two threads, sgemm 512 */
double bench_mlp(void);   /* samples/s */
double bench_lenet(void); /* images/s; the next two the same */
double bench_convnet(void);
double bench_resnet20(void);
double bench_gpt(void); /* tokens/s; the others the same */
double bench_lstm(void);
double bench_gru(void);
double bench_char_lstm(void);
double bench_generate_lstm(void);
double bench_generate_gpt(void);  /* within its context */
double bench_generate_long(void); /* beyond it, with a sliding context */
double bench_overhead(void);      /* microseconds per batch */
double bench_csv(void);           /* MB/s of one core */
double
bench_gzip(void); /* fraction of an epoch spent waiting, gzipped Fashion-MNIST; NaN: missing */
double bench_pipe(void); /* GB/s of payload */
double
bench_start(void); /* milliseconds from the start of `quern fit` to the end of its first step */

double bench_planning(void); /* milliseconds to plan training, the slower of a GPT of 12 blocks and
                                a residual network of 50 layers */
double bench_packing(void);  /* the arena relative to its lower bound, the worst of four models */

/* The pipeline of a residual network of three stages of `blocks` blocks: 6 * blocks + 2 layers. */
void bench_resnet_words(int blocks, char *words, size_t size);

double bench_prepare(void); /* % of the speed of copying the data twice */
double
bench_qrec(void); /* % of the speed of pread: shuffled prepared file, not in the page cache */
double bench_checkpoint(void); /* % by which a checkpoint of 100 MB every 10 s slows training */
double
bench_resume(void); /* milliseconds to the first step after a resume, without the file read */

/* `bench --write N`: writes N batches of an array to standard output. */
int bench_write(int batches);
/* `bench --csv BYTES`: writes at least that many bytes of rows, with a header, to standard output.
 * Returns the exit status. */
int bench_rows(double bytes);

#endif
