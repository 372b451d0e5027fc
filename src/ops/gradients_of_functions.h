/* gradients_of_functions: derivatives in functions.def that use a common subexpression. R is the
 * type of the computation. */
static inline R GELU_TANH_SLOPE(R x, R t)
{
    return (R)0.5 * (1 + t) +
           (R)0.5 * x * (1 - t * t) * (R)0.7978845608028654 * (1 + 3 * (R)0.044715 * x * x);
}
/* e: exp(-x x / 2) */
static inline R GELU_SLOPE(R x, R e) { return BELOW(x, e) + x * (R)0.3989422804014327 * e; }
static inline R SILU_SLOPE(R x, R s) { return s * (1 + x * (1 - s)); }
static inline R MISH_SLOPE(R x, R t, R s) { return t + x * s * (1 - t * t); }
