/* The verdict of a case: the first failure, and the largest difference of all comparisons. */
#include "conformance.h"

#include <math.h>
#include <stdio.h>

static void record_outcome(test_case *c, outcome result, const char *format, va_list args)
{
    if (c->result != PASSED)
        return;
    c->result = result;
    vsnprintf(c->reason, sizeof c->reason, format, args);
}

void case_fail(test_case *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    record_outcome(c, FAILED, format, args);
    va_end(args);
}

void case_skip(test_case *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    record_outcome(c, SKIPPED, format, args);
    va_end(args);
}

void case_error(test_case *c, const quern_error *err)
{
    if (err->code == QUERN_NOTFOUND || err->code == QUERN_UNSUPPORTED)
        case_skip(c, "%s: %s%s%s", c->class_name, err->where, *err->where ? ": " : "", err->text);
    else
        case_fail(c, "%s%s%s", err->where, *err->where ? ": " : "", err->text);
}

void case_compare_within(test_case *c, const char *what, const quern_tensor *got,
                         const quern_tensor *want, double rtol, double atol)
{
    int64_t n = quern_shape_count(&want->shape);
    char a[96], b[96];
    if (quern_shape_count(&got->shape) != n || got->shape.rank != want->shape.rank) {
        case_fail(c, "%s has shape %s, expected %s", what,
                  quern_shape_text(&got->shape, a, sizeof a),
                  quern_shape_text(&want->shape, b, sizeof b));
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        double g = quern__get(got, i), w = quern__get(want, i), gap = fabs(g - w);
        c->max_error = gap > c->max_error || isnan(gap) ? gap : c->max_error;
        if (!(gap <= atol + rtol * fabs(w))) {
            case_fail(c, "%s[%lld] is %.9g, expected %.9g", what, (long long)i, g, w);
            return;
        }
    }
}

void case_compare(test_case *c, const char *what, const quern_tensor *got, const quern_tensor *want)
{
    case_compare_within(c, what, got, want, c->rtol, c->atol);
}
