/* The team: threads that wait for work, and barriers among them. Waiting spins for some microseconds, because a step is shorter
 * than waking a thread takes, then sleeps in the kernel, because two cores also read data. Not OpenMP: its libraries decide how
 * long to spin by an environment variable that is read before main (ARCHITECTURE.md). */
#include "team.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { spins = 1500 };

/* Numbers too small to be normal count as zero in steps, as in TensorFlow: they mean nothing, and some processors take many times
 * as long for them (Adam's first moment where no gradient flows is full of them). Returns what is to be set again afterwards. */
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

static void restore(unsigned before)
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

/* Who sleeps has counted itself before it looked at the word for the last time, so nobody is forgotten. */
static void change(quern__team *t, uint32_t *word)
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
        change(t, &t->turn);
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
        change(t, &t->job);
    unsigned before = flush_subnormals();
    work(arg, 0);
    restore(before);
    quern__team_barrier(t);
}

quern__team *quern__team_new(int threads, quern_error *err)
{
    quern__team *t = NULL;
    if (threads < 1 || threads > QUERN__MAX_THREADS) {
        quern__fail(err, QUERN_INVALID, "threads", "%d is outside 1 … %d", threads, QUERN__MAX_THREADS);
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
            quern__fail(err, QUERN_NOMEM, "threads", "cannot start thread %d", i);
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
    change(t, &t->job);
    for (int i = 1; i <= t->started; i++)
        pthread_join(t->members[i].thread, NULL);
    quern__free(t);
}
