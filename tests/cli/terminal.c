/* A terminal of COLUMNS columns for a command: runs the command, and at its end prints the rows on
 * the screen. The exit status is that of the command. Usage: terminal COLUMNS ACTION COMMAND…
 *   none         no action
 *   resize:N     0.15 seconds after the first bar the terminal has N columns
 *   stop         at the same time, SIGTSTP, then SIGCONT */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { most_rows = 500, most_columns = 400 };

/* Rows of characters in UTF-8; an unwritten cell is empty. */
static char screen[most_rows][most_columns][5];
static int row, column, columns;
static double first_bar; /* when it was drawn; 0: not yet */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void put_character(const char *bytes, size_t n)
{
    if (column == columns) {
        column = 0;
        row++;
    }
    if (row < most_rows && column < most_columns) {
        memcpy(screen[row][column], bytes, n);
        screen[row][column][n] = 0;
    }
    column++;
}

/* Processes one byte of the output. Escape sequences end with a letter. */
static void put_byte(char c)
{
    static char character[5];
    static size_t n, wanted;
    static bool escape;
    if (escape) {
        escape = !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
        for (int i = column; c == 'K' && row < most_rows && i < most_columns; i++)
            *screen[row][i] = 0;
        return;
    }
    if (c == '\033')
        escape = true;
    else if (c == '\r')
        column = 0;
    else if (c == '\n') {
        row++;
        column = 0;
    } else {
        if (!n)
            wanted = (c & 0x80) == 0 ? 1 : (c & 0xE0) == 0xC0 ? 2 : (c & 0xF0) == 0xE0 ? 3 : 4;
        character[n++] = c;
        if (n == wanted) {
            put_character(character, n);
            first_bar = first_bar == 0 && n == 3 ? now() : first_bar;
            n = 0;
        }
    }
}

static void print_screen(void)
{
    for (int r = 0; r <= row && r < most_rows; r++) {
        int last = most_columns - 1;
        while (last >= 0 && (!*screen[r][last] || *screen[r][last] == ' '))
            last--;
        for (int c = 0; c <= last; c++)
            fputs(*screen[r][c] ? screen[r][c] : " ", stdout);
        putchar('\n');
    }
}

static void set_columns(int fd, int n)
{
    struct winsize size = { .ws_row = 24, .ws_col = (unsigned short)n };
    columns = n;
    ioctl(fd, TIOCSWINSZ, &size);
}

static pid_t start(const char *terminal, int master, char **command)
{
    pid_t child = fork();
    if (child)
        return child;
    setsid();
    int fd = open(terminal, O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(fd, i);
    close(fd);
    close(master);
    execvp(*command, command);
    _exit(127);
}

static void act(const char *action, int master, pid_t child)
{
    if (!strncmp(action, "resize:", 7))
        set_columns(master, atoi(action + 7));
    else if (!strcmp(action, "stop")) {
        kill(child, SIGTSTP);
        usleep(200000);
        kill(child, SIGCONT);
    }
}

int main(int argc, char **argv)
{
    char bytes[4096];
    int status = 0, master = posix_openpt(O_RDWR | O_NOCTTY);
    if (argc < 4 || master < 0 || grantpt(master) || unlockpt(master))
        return 77;
    set_columns(master, atoi(argv[1]));
    char *terminal = ptsname(master);
    int held = open(terminal,
                    O_RDWR | O_NOCTTY); /* the last output of the command is read after its end */
    pid_t child = start(terminal, master, argv + 3);
    for (bool acted = false, ended = false;;) {
        struct pollfd p = { .fd = master, .events = POLLIN };
        ssize_t n = poll(&p, 1, 20) > 0 ? read(master, bytes, sizeof bytes) : 0;
        for (ssize_t i = 0; i < n; i++)
            put_byte(bytes[i]);
        if (n <= 0 && ended)
            break;
        if (!acted && first_bar > 0 && now() - first_bar > 0.15) {
            act(argv[2], master, child);
            acted = true;
        }
        ended = ended || waitpid(child, &status, WNOHANG) == child;
    }
    close(held);
    print_screen();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
