/* Signals that ask a run to end: the step is finished, a checkpoint written. */
#include "commands.h"

#include <signal.h>

static volatile int received;

/* SIGTERM and SIGHUP may come any number of times, as they do from timeout(1) and from a session that ends; the second SIGINT ends
 * the process at once. */
static void on_signal(int number)
{
    if (!received)
        received = number == SIGHUP ? SIGTERM : number;
    if (number == SIGINT)
        signal(number, SIG_DFL);
}

const volatile int *cli_signals(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, before;
    sigemptyset(&act.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!sigaction(numbers[i], NULL, &before) && before.sa_handler != SIG_IGN) /* nohup */
            sigaction(numbers[i], &act, NULL);
    return &received;
}
