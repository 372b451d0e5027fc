/* Signals that end a run: training finishes the step and writes a checkpoint. A command without a
 * checkpoint ends at once, and leaves no temporary file and no program process. */
#include "commands.h"

#include <signal.h>
#include <unistd.h>

enum { most_left = 20 };

static volatile int received;
static const char *volatile left[most_left]; /* files to unlink when the process ends */

/* Ends the process by the signal, after it stopped programs and removed temporary files. */
static void end_now(int number)
{
    quern_programs_stop();
    for (int i = 0; i < most_left; i++)
        if (left[i])
            unlink(left[i]);
    signal(number, SIG_DFL);
    raise(number);
}

/* SIGTERM and SIGHUP may arrive repeatedly, as from timeout(1) and from the end of a session. The
 * second SIGINT ends the process at once. */
static void on_signal(int number)
{
    static volatile int interrupts;
    if (!received)
        received = number == SIGHUP ? SIGTERM : number;
    if (number == SIGINT && interrupts++)
        end_now(number);
}

static void listen_to(void (*handler)(int))
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction act = { .sa_handler = handler, .sa_flags = SA_RESTART }, before;
    sigemptyset(&act.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!sigaction(numbers[i], NULL, &before) && before.sa_handler != SIG_IGN) /* nohup */
            sigaction(numbers[i], &act, NULL);
}

const volatile int *cli_signals(void)
{
    listen_to(on_signal);
    return &received;
}

void cli_leave_nothing(const char *path)
{
    for (int i = 0; path && i < most_left; i++)
        if (!left[i]) {
            left[i] = path;
            break;
        }
    listen_to(end_now);
}

void cli_left(void)
{
    for (int i = 0; i < most_left; i++)
        left[i] = NULL;
}
