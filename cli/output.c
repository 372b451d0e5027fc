/* Standard output. Commands write without checks; main asks once at the end whether everything was
 * written. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void cli_output_begin(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            return;
}

static int why; /* errno of the first flush that failed */

bool cli_output_flush(void)
{
    if (fflush(stdout) && !why)
        why = errno;
    return !ferror(stdout);
}

int cli_output_end(int code)
{
    bool good = cli_output_flush();
    if (fclose(stdout) && !why)
        why = errno;
    if ((good && !why) || code)
        return code;
    fprintf(stderr, "quern: standard output: cannot be written%s%s\n", why ? ": " : "",
            why ? strerror(why) : "");
    return 1;
}
