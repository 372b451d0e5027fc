/* log: the log callback and the clock. The library itself never prints. */
#include "base.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

static quern_log_fn *log_fn;
static void *log_user;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

void quern_set_log(quern_log_fn *fn, void *user)
{
    log_fn = fn;
    log_user = user;
}

static void say(int level, const char *format, va_list args)
{
    char text[1024];
    if (!log_fn)
        return;
    quern__vformat(text, sizeof text, format, args);
    quern__one_line(text);
    pthread_mutex_lock(&log_lock);
    log_fn(log_user, level, text);
    pthread_mutex_unlock(&log_lock);
}

void quern__warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(1, format, args);
    va_end(args);
}

void quern__note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(2, format, args);
    va_end(args);
}

double quern__now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
