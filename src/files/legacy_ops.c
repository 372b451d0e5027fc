/* legacy_ops: converts TensorFlow functions in functional models of Keras 2 (TFOpLambda,
 * SlicingOpLambda) to operations of keras.ops. A row of the table has the function, the operation,
 * and the new name of each argument. An argument that the row does not have stays in the call, and
 * the reader of the model rejects it by name. */
#include "legacy.h"

#include <stdio.h>
#include <string.h>

/* `args`: TensorFlow's arguments that are operands, the first positional one first, as "tf=keras";
 * `config`: those that are arguments of the operation's class. A first name with a star is a list
 * of tensors. */
static const struct {
    const char *function, *name, *module, *args, *config;
} operations[] = {
    { "__operators__.add", "Add", "numpy", "x=x1 y=x2", "" },
    { "math.add", "Add", "numpy", "x=x1 y=x2", "" },
    { "nn.bias_add", "Add", "numpy", "value=x1 bias=x2", "" },
    { "math.subtract", "Subtract", "numpy", "x=x1 y=x2", "" },
    { "math.multiply", "Multiply", "numpy", "x=x1 y=x2", "" },
    { "math.truediv", "TrueDivide", "numpy", "x=x1 y=x2", "" },
    { "math.divide", "TrueDivide", "numpy", "x=x1 y=x2", "" },
    { "math.divide_no_nan", "DivideNoNan", "numpy", "x=x1 y=x2", "" },
    { "math.maximum", "Maximum", "numpy", "x=x1 y=x2", "" },
    { "math.minimum", "Minimum", "numpy", "x=x1 y=x2", "" },
    { "math.pow", "Power", "numpy", "x=x1 y=x2", "" },
    { "math.floormod", "Mod", "numpy", "x=x1 y=x2", "" },
    { "compat.v1.floor_div", "FloorDivide", "numpy", "x=x1 y=x2", "" },
    { "math.squared_difference", "SquaredDifference", "math", "x=x1 y=x2", "" },
    { "math.equal", "Equal", "numpy", "x=x1 y=x2", "" },
    { "math.not_equal", "NotEqual", "numpy", "x=x1 y=x2", "" },
    { "math.greater", "Greater", "numpy", "x=x1 y=x2", "" },
    { "math.greater_equal", "GreaterEqual", "numpy", "x=x1 y=x2", "" },
    { "math.less", "Less", "numpy", "x=x1 y=x2", "" },
    { "math.less_equal", "LessEqual", "numpy", "x=x1 y=x2", "" },
    { "math.logical_and", "LogicalAnd", "numpy", "x=x1 y=x2", "" },
    { "math.logical_or", "LogicalOr", "numpy", "x=x1 y=x2", "" },
    { "math.logical_not", "LogicalNot", "numpy", "x=x", "" },
    { "where", "Where", "numpy", "condition=condition x=x1 y=x2", "" },
    { "math.negative", "Negative", "numpy", "x=x", "" },
    { "math.abs", "Absolute", "numpy", "x=x", "" },
    { "math.sign", "Sign", "numpy", "x=x", "" },
    { "math.square", "Square", "numpy", "x=x", "" },
    { "math.sqrt", "Sqrt", "numpy", "x=x", "" },
    { "math.rsqrt", "Rsqrt", "math", "x=x", "" },
    { "math.reciprocal", "Reciprocal", "numpy", "x=x", "" },
    { "math.exp", "Exp", "numpy", "x=x", "" },
    { "math.log", "Log", "numpy", "x=x", "" },
    { "math.log1p", "Log1p", "numpy", "x=x", "" },
    { "math.expm1", "Expm1", "numpy", "x=x", "" },
    { "math.sin", "Sin", "numpy", "x=x", "" },
    { "math.cos", "Cos", "numpy", "x=x", "" },
    { "math.tanh", "Tanh", "numpy", "x=x", "" },
    { "math.erf", "Erf", "math", "x=x", "" },
    { "math.floor", "Floor", "numpy", "x=x", "" },
    { "math.ceil", "Ceil", "numpy", "x=x", "" },
    { "math.round", "Round", "numpy", "x=x", "" },
    { "math.sigmoid", "Sigmoid", "nn", "x=x", "" },
    { "math.softplus", "Softplus", "nn", "features=x", "" },
    { "nn.relu", "Relu", "nn", "features=x", "" },
    { "nn.relu6", "Relu6", "nn", "features=x", "" },
    { "nn.leaky_relu", "LeakyRelu", "nn", "features=x", "alpha=negative_slope" },
    { "nn.elu", "Elu", "nn", "features=x", "" },
    { "nn.selu", "Selu", "nn", "features=x", "" },
    { "nn.silu", "Silu", "nn", "features=x", "" },
    { "nn.softmax", "Softmax", "nn", "logits=x", "axis=axis" },
    { "nn.log_softmax", "LogSoftmax", "nn", "logits=x", "axis=axis" },
    { "clip_by_value", "Clip", "numpy", "t=x", "clip_value_min=x_min clip_value_max=x_max" },
    { "cast", "Cast", "core", "x=x", "dtype=dtype" },
    { "identity", "Copy", "numpy", "input=x", "" },
    { "stop_gradient", "StopGradient", "core", "input=variable", "" },
    { "zeros_like", "ZerosLike", "numpy", "input=x", "" },
    { "ones_like", "OnesLike", "numpy", "input=x", "" },
    { "math.reduce_mean", "Mean", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_sum", "Sum", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_max", "Max", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_min", "Min", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_prod", "Prod", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_std", "Std", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_variance", "Var", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_any", "Any", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_all", "All", "numpy", "input_tensor=x", "axis=axis keepdims=keepdims" },
    { "math.reduce_logsumexp", "Logsumexp", "math", "input_tensor=x",
      "axis=axis keepdims=keepdims" },
    { "math.count_nonzero", "CountNonzero", "numpy", "input=x", "axis=axis" },
    { "math.argmax", "Argmax", "numpy", "input=x", "axis=axis" },
    { "math.cumsum", "Cumsum", "numpy", "x=x", "axis=axis" },
    { "math.l2_normalize", "Normalize", "nn", "x=x", "axis=axis" },
    { "concat", "Concatenate", "numpy", "*values=xs", "axis=axis" },
    { "stack", "Stack", "numpy", "*values=x", "axis=axis" },
    { "split", "Split", "numpy", "value=x", "num_or_size_splits=indices_or_sections axis=axis" },
    { "unstack", "Unstack", "core", "value=x", "num=num axis=axis" },
    { "reshape", "Reshape", "numpy", "tensor=x", "shape=newshape" },
    { "expand_dims", "ExpandDims", "numpy", "input=x", "axis=axis" },
    { "compat.v1.squeeze", "Squeeze", "numpy", "input=x", "axis=axis" },
    { "compat.v1.transpose", "Transpose", "numpy", "a=x", "perm=axes" },
    { "tile", "Tile", "numpy", "input=x", "multiples=repeats" },
    { "repeat", "Repeat", "numpy", "input=x", "repeats=repeats axis=axis" },
    { "roll", "Roll", "numpy", "input=x", "shift=shift axis=axis" },
    { "reverse", "Flip", "numpy", "tensor=x", "axis=axis" },
    { "compat.v1.pad", "Pad", "numpy", "tensor=x constant_values=constant_values",
      "paddings=pad_width mode=mode" },
    { "compat.v1.gather", "Take", "numpy", "params=x indices=indices", "axis=axis" },
    { "one_hot", "OneHot", "nn", "indices=x", "depth=num_classes axis=axis" },
    { "linalg.matmul", "Matmul", "numpy", "a=x1 b=x2", "" },
    { "tensordot", "Tensordot", "numpy", "a=x1 b=x2", "axes=axes" },
    { "image.resize", "Resize", "image", "images=images", "size=size method=interpolation" },
    { "__operators__.getitem", "GetItem", "numpy", "tensor=x slice_spec=key", "" },
};

/* ---- calls ---- */

/* Whether v is a tensor [layer, call, output, …] or a constant [_CONSTANT_VALUE, -1, value]. */
static bool is_end(json_t *v)
{
    return json_is_string(json_array_get(v, 0)) && json_is_integer(json_array_get(v, 1)) &&
           json_array_size(v) >= 3;
}

/* An operand of a call: a tensor, a constant, or a list of them. Returns new. */
static json_t *operand(json_t *layers, json_t *v)
{
    if (is_end(v) && !strcmp(json_string_value(json_array_get(v, 0)), "_CONSTANT_VALUE"))
        return json_deep_copy(json_array_get(v, 2));
    if (is_end(v))
        return quern__legacy_tensor(layers, v);
    if (!json_is_array(v))
        return json_deep_copy(v);
    json_t *out = json_array(), *item;
    size_t k;
    json_array_foreach(v, k, item) json_array_append_new(out, operand(layers, item));
    return out;
}

/* The arguments after the first tensor of a call. Borrowed. */
static json_t *arguments_of(json_t *call)
{
    while (json_is_array(call) && !is_end(call))
        call = json_array_get(call, 0);
    return json_array_get(call, 3);
}

/* Looks up the new name of an argument in `map` ("tf=keras tf=keras"). Returns false when `map`
 * does not have it. name NULL: the first entry. */
static bool mapped(const char *map, const char *name, char *out, size_t size)
{
    for (const char *p = map; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
        size_t n = strcspn(p, "="), whole = strcspn(p, " ");
        bool same = !name || (strlen(name) == n && !strncmp(p, name, n));
        if (same) {
            snprintf(out, size, "%.*s", (int)(whole - n - 1), p + n + 1);
            return true;
        }
    }
    return false;
}

/* slice_spec of a call as the key of GetItem. Returns new. */
static json_t *slices(json_t *spec)
{
    json_t *out = json_array(), *v;
    size_t k;
    json_array_foreach(spec, k, v)
    {
        const char *kind = quern__config_text(v, "class_name");
        if (kind)
            json_array_append_new(out, json_pack("{s:s, s:{}}", "class_name", kind, "config"));
        else if (json_is_object(v))
            json_array_append_new(out,
                                  json_pack("{s:s, s:O}", "class_name", "__slice__", "config", v));
        else
            json_array_append(out, v);
    }
    return out;
}

/* Converts sizes of parts to the indices at which they start. Returns new. */
static json_t *indices_of_sizes(json_t *sizes)
{
    json_t *out = json_array();
    json_int_t at = 0;
    for (size_t k = 0; k + 1 < json_array_size(sizes); k++) {
        at += json_integer_value(json_array_get(sizes, k));
        json_array_append_new(out, json_integer(at));
    }
    return out;
}

/* A value of the config, where Keras has it in another form. Returns new. */
static json_t *config_value(const char *name, json_t *v)
{
    char text[64];
    if (!strcmp(name, "indices_or_sections") && json_is_array(v))
        return indices_of_sizes(v);
    if (!strcmp(name, "mode") && json_is_string(v)) {
        snprintf(text, sizeof text, "%.60s", json_string_value(v));
        for (char *p = text; *p; p++)
            *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
        return json_string(text);
    }
    return json_deep_copy(v);
}

/* Whether an argument has no effect with that value. */
static bool is_without_effect(const char *name, json_t *v)
{
    static const char *const whatever[] = { "name", "validate_indices", "conjugate" },
                             *const off[] = { "transpose_a", "transpose_b", "exclusive",
                                              "reverse" };
    for (size_t i = 0; i < sizeof whatever / sizeof *whatever; i++)
        if (!strcmp(name, whatever[i]))
            return true;
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (!strcmp(name, off[i]))
            return json_is_false(v);
    return json_is_null(v) || (!strcmp(name, "batch_dims") && json_integer_value(v) == 0) ||
           (!strcmp(name, "data_format") && json_is_string(v) &&
            !strcmp(json_string_value(v), "NHWC"));
}

/* Converts one call to Keras 3; arguments of the class move to the config. Returns new. */
static json_t *call_of(json_t *layers, json_t *call, const char *args, const char *to_config,
                       json_t *config)
{
    char name[64];
    const char *key;
    json_t *kwargs = json_object(), *v;
    bool list = *args == '*';
    args += list;
    mapped(args, NULL, name, sizeof name);
    json_object_set_new(kwargs, name, operand(layers, call));
    json_object_foreach(arguments_of(call), key, v)
    {
        if (mapped(to_config, key, name, sizeof name))
            json_object_set_new(config, name, config_value(name, v));
        else if (!mapped(args, key, name, sizeof name))
            json_object_set(kwargs, is_without_effect(key, v) ? "" : key, v);
        else if (!strcmp(key, "slice_spec"))
            json_object_set_new(kwargs, name, slices(v));
        else if (!json_is_null(v))
            json_object_set_new(kwargs, name, operand(layers, v));
    }
    json_object_del(kwargs, "");
    return json_pack("{s:[], s:o}", "args", "kwargs", kwargs);
}

bool quern__legacy_operation(json_t *layers, json_t *spec)
{
    json_t *config = json_object_get(spec, "config"),
           *calls = json_object_get(spec, "inbound_nodes"), *call, *now;
    const char *kind = quern__config_text(spec, "class_name"),
               *function = quern__config_text(config, "function");
    char module[64];
    size_t k, row = 0, n = sizeof operations / sizeof *operations;
    if (!kind || (strcmp(kind, "TFOpLambda") && strcmp(kind, "SlicingOpLambda")) || !function)
        return false;
    while (row < n && strcmp(operations[row].function, function))
        row++;
    if (row == n)
        return false;
    now = json_pack("{s:O}", "name", json_object_get(config, "name"));
    json_array_foreach(calls, k, call) if (json_is_array(call)) json_array_set_new(
        calls, k, call_of(layers, call, operations[row].args, operations[row].config, now));
    if (!strcmp(operations[row].name, "Normalize")) /* x rsqrt(max(sum(x^2), 1e-12)) */
        json_object_set_new(now, "epsilon", json_real(1e-6));
    snprintf(module, sizeof module, "keras.src.ops.%s", operations[row].module);
    json_object_set_new(spec, "module", json_string(module));
    json_object_set_new(spec, "class_name", json_string(operations[row].name));
    json_object_set_new(spec, "registered_name", json_string(operations[row].name));
    json_object_set_new(spec, "config", now);
    return true;
}
