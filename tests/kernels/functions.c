/* Compares the functions of kernels/cpu/vector.h with the C library in double, over all floats in
 * steps, and special values with C99 (annex F). The error is in units of the last place of the
 * result. */
#define QUERN__ISA tested
#include "check.h"

#include "kernels/cpu/vector.h"

#include <float.h>

typedef float one(float x);
typedef double in_double(double x);

static float exp_fast(float x) { return quern__exp(x); }
static float falling(float x) { return quern__exp_falling(x); }
static float expm1_fast(float x) { return quern__expm1(x); }
static float sigmoid_fast(float x) { return quern__sigmoid(x); }
static float tanh_fast(float x) { return quern__tanh(x); }
static float log_fast(float x) { return quern__log(x); }
static float log1p_fast(float x) { return quern__log1p_of_share(x); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* The error of a result; a subnormal result counts as zero. */
static double ulps(float got, double want)
{
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : INFINITY;
    if ((float)want == got || (fabs(want) < FLT_MIN && fabsf(got) <= FLT_MIN))
        return 0;
    double place = ldexp(1, ilogb(fabs(want) < FLT_MIN ? FLT_MIN : want) - 23);
    return fabs(got - want) / place;
}

static void over_all_floats(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        one *fast;
        in_double *want;
        float least, most;
        double ulps;
    } all[] = {
        { "exp", exp_fast, exp, -INFINITY, INFINITY, 2 },
        { "exp of what is not positive", falling, exp, -INFINITY, 0, 2 },
        { "expm1", expm1_fast, expm1, -INFINITY, INFINITY, 3 },
        { "sigmoid", sigmoid_fast, sigmoid, -INFINITY, INFINITY, 3 },
        { "tanh", tanh_fast, tanh, -INFINITY, INFINITY, 4 },
        { "log", log_fast, log, FLT_MIN, INFINITY, 2 },
        { "log1p", log1p_fast, log1p, 0, 1, 3 },
    };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        double worst = 0;
        float at = 0;
        for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 499) {
            float x = quern__of_bits((uint32_t)bits);
            if (!(x >= all[k].least && x <= all[k].most) || (x != 0 && fabsf(x) < FLT_MIN))
                continue;
            double gap = ulps(all[k].fast(x), all[k].want((double)x));
            if (gap > worst)
                worst = gap, at = x;
        }
        print_message("%s: %.2f ulp at %.9g\n", all[k].name, worst, (double)at);
        if (!(worst <= all[k].ulps))
            fail_msg("%s: %.2f ulp at %.9g, at most %g", all[k].name, worst, (double)at,
                     all[k].ulps);
        if (!isnan(all[k].fast(NAN)))
            fail_msg("%s of NaN is %g", all[k].name, (double)all[k].fast(NAN));
    }
}

static void special_numbers(void **state)
{
    (void)state;
    assert_true(quern__log(0.f) == -INFINITY && quern__log(-0.f) == -INFINITY &&
                quern__log(1.f) == 0);
    assert_true(isnan(quern__log(-1.f)) && isnan(quern__log(-INFINITY)) &&
                quern__log(INFINITY) == INFINITY);
    assert_true(quern__exp(0) == 1 && quern__exp(INFINITY) == INFINITY &&
                quern__exp(-INFINITY) == 0 && quern__exp(89) == INFINITY);
    assert_true(quern__exp(88.72f) < INFINITY && quern__expm1(88.72f) < INFINITY &&
                quern__expm1(-INFINITY) == -1);
    assert_true(quern__tanh(INFINITY) == 1 && quern__tanh(-INFINITY) == -1 &&
                signbit(quern__tanh(-0.f)));
    assert_true(quern__sigmoid(INFINITY) == 1 && quern__sigmoid(0) == 0.5f &&
                quern__sigmoid(-INFINITY) < FLT_MIN);
}

/* Bases and powers of every kind in all combinations. */
static void powers(void **state)
{
    (void)state;
    static const float special[] = { 0,     1,     2,       3,        0.5f,  1.5f,    7,
                                     1e-3f, 1e30f, 8388609, 16777216, 3e38f, FLT_MIN, INFINITY };
    enum { n = sizeof special / sizeof *special };
    for (int i = 0; i <= 2 * n; i++)
        for (int j = 0; j <= 2 * n; j++) {
            float a = i == 2 * n ? NAN : i < n ? special[i] : -special[i - n];
            float b = j == 2 * n ? NAN : j < n ? special[j] : -special[j - n];
            double want = pow((double)a, (double)b);
            if (!(ulps(quern__pow(a, b), want) <= 2) ||
                (!isnan(want) && !signbit(quern__pow(a, b)) != !signbit(want)))
                fail_msg("%g to the power of %g is %g, expected %g", (double)a, (double)b,
                         (double)quern__pow(a, b), want);
        }
    for (int i = 0; i < 300000; i++) {
        float a = (float)exp(0.0005 * (i % 1009) * (i % 2 ? 1 : -1)),
              b = (float)(0.37 * (i % 577) - 100);
        if (!(ulps(quern__pow(a, b), pow((double)a, (double)b)) <= 2))
            fail_msg("%.9g to the power of %.9g is %.9g", (double)a, (double)b,
                     (double)quern__pow(a, b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(over_all_floats),
                                        cmocka_unit_test(special_numbers),
                                        cmocka_unit_test(powers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
