/* The thread team: workers that wait for a job, and a barrier. A wait first spins for some
 * microseconds, because a step is shorter than the wake-up of a thread. It then sleeps in a futex,
 * because the data workers need the same cores. OpenMP is not used: its runtimes read the spin time
 * from an environment variable before main (ARCHITECTURE.md). */
#include "team.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { spins = 1500 };

/* Flushes subnormal numbers to zero during a step, as TensorFlow does. Some processors compute many
 * times slower with them, and Adam's first moment has many where the gradient is 0. Returns the
 * previous mode for restore_subnormals(). */
static unsigned flush_subnormals(void)
{
#if defined(__x86_64__)
    unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040);
    return before;
#else
    return 0;
#endif
}

static void restore_subnormals(unsigned before)
{
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(before);
#else
    (void)before;
#endif
}

static void wait_until_changed(quern__team *t, uint32_t *word, uint32_t old)
{
    for (int i = 0; i < spins; i++) {
        if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != old)
            return;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    __atomic_add_fetch(&t->sleepers, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == old)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    __atomic_sub_fetch(&t->sleepers, 1, __ATOMIC_SEQ_CST);
}

/* A sleeper increments `sleepers` before its last look at the word, so no wake-up is lost. */
static void wake_waiters(quern__team *t, uint32_t *word)
{
    __atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&t->sleepers, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void quern__team_barrier(quern__team *t)
{
    if (t->threads == 1)
        return;
    uint32_t turn = __atomic_load_n(&t->turn, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&t->arrived, 1, __ATOMIC_ACQ_REL) == (uint32_t)t->threads) {
        __atomic_store_n(&t->arrived, 0, __ATOMIC_RELAXED);
        wake_waiters(t, &t->turn);
    } else
        wait_until_changed(t, &t->turn, turn);
}

static void *member(void *arg)
{
    struct quern__member *me = arg;
    quern__team *t = me->team;
    flush_subnormals();
    for (uint32_t seen = 0;;) {
        wait_until_changed(t, &t->job, seen);
        seen++;
        if (__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE))
            return NULL;
        t->work(t->arg, me->number);
        quern__team_barrier(t);
    }
}

void quern__team_run(quern__team *t, void (*work)(void *arg, int thread), void *arg)
{
    t->work = work;
    t->arg = arg;
    if (t->threads > 1)
        wake_waiters(t, &t->job);
    unsigned before = flush_subnormals();
    work(arg, 0);
    restore_subnormals(before);
    quern__team_barrier(t);
}

quern__team *quern__team_new(int threads, quern_error *err)
{
    quern__team *t = NULL;
    if (threads < 1 || threads > QUERN__MAX_THREADS) {
        quern__fail(err, QUERN_INVALID, "threads", "%d is outside 1 … %d", threads,
                    QUERN__MAX_THREADS);
        return NULL;
    }
    t = quern__zalloc(1, sizeof *t);
    if (!t) {
        quern__fail_memory(err, sizeof *t);
        return NULL;
    }
    t->threads = 1;
    for (int i = 1; i < threads; i++) {
        t->members[i] = (struct quern__member){ .team = t, .number = i };
        if (quern__thread_start(&t->members[i].thread, member, &t->members[i])) {
            quern__fail(err, QUERN_NOMEM, "threads", "thread %d cannot start", i);
            quern__team_free(t);
            return NULL;
        }
        t->started = i;
    }
    t->threads = threads;
    return t;
}

int quern__team_threads(const quern__team *t) { return t->threads; }

void quern__team_free(quern__team *t)
{
    if (!t)
        return;
    __atomic_store_n(&t->stop, true, __ATOMIC_RELEASE);
    wake_waiters(t, &t->job);
    for (int i = 1; i <= t->started; i++)
        pthread_join(t->members[i].thread, NULL);
    quern__free(t);
}
