/* cast_ops: casts of keras.ops. Values of a graph are float32: a cast to an integer type truncates
 * and wraps, a cast to a shorter floating type rounds. Semantics: keras.src.ops.core and numpy of
 * Keras 3.15 on TensorFlow. */
#include "operations.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define X quern__operand(l, g, in, n, "x")

/* The range of an integer type: its least number and the size of the range. Returns false for
 * another type. */
static bool integer_range(const char *dtype, double *least, double *size)
{
    int bits = 0;
    bool is_signed = strncmp(dtype, "uint", 4) != 0;
    if (sscanf(dtype + (is_signed ? 0 : 1), "int%d", &bits) != 1 || bits < 8 || bits > 64)
        return false;
    *size = ldexp(1, bits);
    *least = is_signed ? -*size / 2 : 0;
    return true;
}

/* Types of 32 and more bits do not wrap: float32 is not exact where they would. */
static quern__id to_integer(quern__graph *g, quern__id x, double least, double size)
{
    quern__id whole = quern__unary_of(g, QUERN__TRUNC, x);
    if (size < 1 << 17)
        whole = quern__shift(g,
                             quern__binary(g, QUERN__FLOOR_MOD, quern__shift(g, whole, -least),
                                           quern__op_number(g, size)),
                             least);
    return quern__stop_gradient(g, whole);
}

/* x as config.dtype; row->extra 1: numbers outside of the range become its limits. */
static quern__id cast(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    const char *dtype = quern__config_text(l->config, "dtype");
    quern__id x = X;
    double least, size;
    if (!dtype || !strcmp(dtype, "float32") || !strcmp(dtype, "float64"))
        return x;
    if (!strcmp(dtype, "bool"))
        return quern__op_truth(g, x);
    if (integer_range(dtype, &least, &size)) {
        if (l->kind->extra)
            x = quern__unary(g, QUERN__CLIP, x, least, least + size - 1, 0);
        return to_integer(g, x, least, size);
    }
    bool half = !strcmp(dtype, "float16");
    if (!half && strcmp(dtype, "bfloat16"))
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "a cast to %.20s is not in this version",
                                 dtype);
    if (l->kind->extra && half)
        x = quern__unary(g, QUERN__CLIP, x, -65504, 65504, 0);
    return quern__unary_of(g, half ? QUERN__TO_FLOAT16 : QUERN__TO_BFLOAT16, x);
}

static const quern__field dtype_fields[] = { { "dtype", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field convert_fields[] = { { "dtype", QUERN__F_ANY, "null" },
                                               { "sparse", QUERN__F_ONLY_DEFAULT, "null" },
                                               { "ragged", QUERN__F_ONLY_DEFAULT, "null" },
                                               { 0 } };

QUERN__OPERATION_ROW(cast, "Cast", "core", dtype_fields, cast, quern__args_x, 0);
QUERN__OPERATION_ROW(saturate_cast, "SaturateCast", "core", dtype_fields, cast, quern__args_x, 1);
QUERN__OPERATION_ROW(convert_to_tensor, "ConvertToTensor", "core", convert_fields, cast,
                     quern__args_x, 0);
QUERN__OPERATION_ROW(array, "Array", "numpy", dtype_fields, cast, quern__args_x, 0);
