/* The team's inside, for step.c and team.c only. */
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
    /* Words that threads wait on, a cache line each. */
    uint32_t job __attribute__((aligned(64)));
    uint32_t sleepers __attribute__((aligned(64))); /* threads that wait in the kernel, or are about to */
    uint32_t turn __attribute__((aligned(64)));
    uint32_t arrived __attribute__((aligned(64)));
    struct quern__member {
        quern__team *team;
        int number;
        pthread_t thread;
    } members[QUERN__MAX_THREADS];
};

/* Everybody calls work(arg, number); returns when all are through. */
void quern__team_run(quern__team *t, void (*work)(void *arg, int thread), void *arg);
/* Inside work: returns when everybody has come. */
void quern__team_barrier(quern__team *t);

#endif
