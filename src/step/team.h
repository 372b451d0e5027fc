/* The definition of the team, for step.c and team.c only. */
#ifndef QUERN__STEP_TEAM_H
#define QUERN__STEP_TEAM_H

#include "step.h"

#include <pthread.h>

enum { QUERN__MAX_THREADS = 64 };

struct quern__team {
    int threads, started;
    void (*work)(void *arg, int thread);
    void *arg;
    bool stop;
    /* Words that threads wait on, one per cache line. */
    uint32_t job __attribute__((aligned(64)));
    uint32_t sleepers
        __attribute__((aligned(64))); /* threads that sleep in the kernel, or are about to */
    uint32_t turn __attribute__((aligned(64)));
    uint32_t arrived __attribute__((aligned(64)));
    struct quern__member {
        quern__team *team;
        int number;
        pthread_t thread;
    } members[QUERN__MAX_THREADS];
};

/* Every thread calls work(arg, number). Returns after all of them returned. */
void quern__team_run(quern__team *t, void (*work)(void *arg, int thread), void *arg);
/* Inside work: waits until all threads have called it. */
void quern__team_barrier(quern__team *t);

#endif
