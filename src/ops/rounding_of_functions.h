/* rounding_of_functions: rounding to narrow floating point in functions.def. R is the type of the
 * computation. */
/* The distance of neighbours of x >= 0 in float8_e4m3fn: 2^-9 up to 2^-5, then twice as far in each
 * octave. */
static inline R E4M3_STEP(R x)
{
    R step = (R)0.001953125, more = step;
    R octave = (R)0.03125;
    for (int k = 0; k < 14; k++, octave *= 2, more *= 2)
        step += x >= octave ? more : (R)0;
    return step;
}

/* The nearest number of float8_e4m3fn, for x from -448 to 448; ties to even. */
static inline R E4M3(R x)
{
    R step = E4M3_STEP(ABS(x));
    return RINT(x / step) * step;
}
