/* The team: threads that wait for work, and barriers among them. Waiting spins for some microseconds, because a step is shorter
 * than waking a thread takes, then sleeps in the kernel, because two cores also read data. Not OpenMP: its libraries decide how
 * long to spin by an environment variable that is read before main (ARCHITECTURE.md). */
#include "team.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { spins = 20000 };

static void wait_until_changed(uint32_t *word, uint32_t old, bool alone)
{
    for (int i = 0; i < spins && !alone; i++) {
        if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != old)
            return;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == old)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
}

static void change(uint32_t *word)
{
    __atomic_add_fetch(word, 1, __ATOMIC_ACQ_REL);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void quern__team_barrier(quern__team *t)
{
    if (t->threads == 1)
        return;
    uint32_t turn = __atomic_load_n(&t->turn, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&t->arrived, 1, __ATOMIC_ACQ_REL) == (uint32_t)t->threads) {
        __atomic_store_n(&t->arrived, 0, __ATOMIC_RELAXED);
        change(&t->turn);
    } else
        wait_until_changed(&t->turn, turn, false);
}

static void *member(void *arg)
{
    struct quern__member *me = arg;
    quern__team *t = me->team;
    quern__kernels_thread_start();
    for (uint32_t seen = 0;;) {
        wait_until_changed(&t->job, seen, false);
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
        change(&t->job);
    work(arg, 0);
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
    quern__kernels_thread_start();
    for (int i = 1; i < threads; i++) {
        t->members[i] = (struct quern__member){ .team = t, .number = i };
        if (pthread_create(&t->members[i].thread, NULL, member, &t->members[i])) {
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
    change(&t->job);
    for (int i = 1; i <= t->started; i++)
        pthread_join(t->members[i].thread, NULL);
    quern__free(t);
}
