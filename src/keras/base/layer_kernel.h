/* layer_kernel: the kernel of a layer that can have LoRA (lora.c) or be quantized
 * (quantized_kernel.c). The table of an Embedding is such a kernel too.
 *
 * LoRA adds (lora_alpha / lora_rank) a b to a frozen kernel. A file stores that sum as the kernel,
 * and not a and b.
 *
 * A quantized kernel has whole numbers, in memory as float32, and scales. The dtype policy of the
 * layer says how: "int8", "int4" or "int4/BLOCK". A "float8" kernel has numbers that the call rounds
 * (float8_kernel.c). */
#ifndef QUERN__LAYER_KERNEL_H
#define QUERN__LAYER_KERNEL_H

#include "keras/registry/class.h"

typedef struct quern__kernel_weights {
    quern__variable *base, *bias;   /* bias NULL: none */
    quern__variable *a, *b;         /* LoRA's matrices; NULL: none */
    double factor;                  /* lora_alpha / lora_rank */
    quern_shape shape;              /* of the kernel; base of int4 can have another one */
    int bits;                       /* 8 or 4: quantized; 0: base has the numbers themselves */
    quern__variable *scale;         /* number = base / scale, or with zeros (base - zero) * scale */
    quern__variable *zero, *groups; /* int4 with blocks: zeros, and the group of each index */
    quern__variable *of_float8;     /* float8: the scale of the inputs; `scale` is that of base */
    /* The element of `scale` for an element of base: the sum over its axes of (index / by) * step. */
    int64_t by[QUERN_MAX_RANK], step[QUERN_MAX_RANK];
    bool of_inputs;            /* inputs are quantized as well */
    double low, high, epsilon; /* their quantizer */
} quern__kernel_weights;

/* How a layer creates its kernel and bias. */
typedef struct quern__kernel_form {
    const char *name; /* "kernel": also the role */
    quern_shape shape;
    quern_shape initial; /* the shape that the initializer sees; rank 0: `shape` */
    quern_shape bias;    /* rank 0: none */
    bool alpha;          /* lora_alpha counts; false: Keras builds the layer with factor 1 */
    /* Of a layer that can be quantized: the axes of the kernel that share a scale, as a bit mask;
     * 0: it cannot. */
    uint32_t shared;
    bool rows; /* int4 stores the shared axes as rows, the others as columns */
    /* int8: the shape of the scales and their steps by axis; rank 0: the axes that are not shared */
    quern_shape scale;
    int64_t step[QUERN_MAX_RANK];
} quern__kernel_form;

/* The arguments of LoRA and of quantization. A config without them does not have them. */
#define QUERN__LORA_FIELDS \
    { "lora_rank", QUERN__F_INT, "null" }, { "lora_alpha", QUERN__F_NUMBER, "null" }
#define QUERN__QUANTIZATION_FIELD                   \
    {                                               \
        "quantization_config", QUERN__F_ANY, "null" \
    }

struct quern__layer;

/* ---- lora.c ---- */

/* During build: adds the weights: kernel, bias, the two matrices of LoRA, scales. */
int quern__kernel_build(struct quern__layer *layer, const quern__kernel_form *form,
                        quern_error *err);
/* The same for a layer that is not quantized. */
int quern__float_build(struct quern__layer *layer, const quern__kernel_form *form,
                       quern_error *err);
/* During a call: LoRA's product in the shape of the kernel; 0: none. */
quern__id quern__kernel_delta(const struct quern__layer *layer, quern__graph *g);
/* Element i of LoRA's product, (lora_alpha / lora_rank) a b, from the numbers of a and b. */
double quern__lora_element(const quern__kernel_weights *k, int64_t i);
/* During a call of a layer that is not quantized: the kernel with LoRA's product. */
quern__id quern__layer_kernel(const struct quern__layer *layer, quern__graph *g);
/* During a call: y plus the bias. */
quern__id quern__layer_biased(const struct quern__layer *layer, quern__graph *g, quern__id y);
/* Adds the two matrices of LoRA, if the config has a rank. */
int quern__lora_build(struct quern__layer *layer, const quern__kernel_form *form, quern_error *err);
/* What a file stores for weight v of the layer or of an inner layer, when it is not v: new in
 * *stored; otherwise NULL. */
int quern__layer_stored(const struct quern__layer *layer, const quern__variable *v,
                        quern__variable **stored, quern_error *err);
/* The weights of the layer and its inner layers that a file does not store exactly, one by one: the
 * *i-th; a number too large becomes smaller by their number. Returns borrowed; NULL: no more. */
quern__variable *quern__layer_inexact(const struct quern__layer *layer, int *i);
/* Removes the arguments of LoRA and of quantization that are null, as Keras writes a config. */
void quern__kernel_config(json_t *config);

/* ---- quantized_kernel.c ---- */

/* The quantization of a dtype policy, such as "int4/128"; NULL: none. Borrowed. */
const char *quern__quantization(json_t *dtype, char *text, size_t size);
/* During build: fails when the dtype policy quantizes a layer whose class cannot be quantized. */
int quern__refuse_quantized(const struct quern__layer *layer, quern_error *err);
/* Adds the weights of a quantized layer, whose policy has this mode. */
int quern__quantized_build(struct quern__layer *layer, const quern__kernel_form *form,
                           const char *mode, quern_error *err);
/* During a call: the kernel without LoRA; of int8: its whole numbers. */
quern__id quern__kernel_numbers(const struct quern__layer *layer, quern__graph *g);
/* During a call: the scales of an int8 kernel; 0: none. */
quern__id quern__kernel_scales(const struct quern__layer *layer, quern__graph *g);
/* During a call: x times a kernel, which is a matrix, with its scales by column and LoRA's product
 * (0: none). */
quern__id quern__kernel_product(const struct quern__layer *layer, quern__graph *g, quern__id x,
                                quern__id numbers, quern__id scales, quern__id delta,
                                bool training);
/* During a call: the rows of a table, with LoRA. */
quern__id quern__kernel_rows(const struct quern__layer *layer, quern__graph *g, quern__id ids);

/* ---- float8_kernel.c ---- */

/* Adds the weights of a layer whose policy has the mode float8. */
int quern__float8_build(struct quern__layer *layer, const quern__kernel_form *form,
                        quern_error *err);
/* During a call: x rounded to float8 with that scale. */
quern__id quern__float8_rounded(quern__graph *g, quern__id x, quern__variable *scale);
/* During a call: the bias, which Keras rounds to bfloat16. */
quern__id quern__float8_bias(const struct quern__layer *layer, quern__graph *g);

/* ---- requantize.c ---- */

/* One weight of the sum of a quantized kernel and LoRA's product, quantized again: v is the base,
 * the scale or the zero of the kernel. Returns new; NULL: out of memory. */
quern__variable *quern__requantize(const quern__kernel_weights *k, const quern__variable *v,
                                   quern_error *err);

#endif
