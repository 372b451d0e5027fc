/* Threads of the library, and the stack of the thread that calls it. Kernels keep their packed
 * copies on the stack. */
#include "base.h"

size_t quern__thread_stack(void)
{
    pthread_attr_t a;
    size_t bytes = 0;
    if (!pthread_getattr_default_np(&a)) {
        pthread_attr_getstacksize(&a, &bytes);
        pthread_attr_destroy(&a);
    }
    return bytes > QUERN__LEAST_STACK ? bytes : QUERN__LEAST_STACK;
}

int quern__thread_start(pthread_t *thread, void *(*body)(void *), void *argument)
{
    pthread_attr_t a;
    int status = pthread_attr_init(&a);
    if (status)
        return status;
    status = pthread_attr_setstacksize(&a, quern__thread_stack());
    status = status ? status : pthread_create(thread, &a, body, argument);
    pthread_attr_destroy(&a);
    return status;
}

/* The lowest address of the stack of this thread; NULL: unknown. */
static char *stack_end(void)
{
    static _Thread_local char *end;
    static _Thread_local bool known;
    pthread_attr_t a;
    void *lowest = NULL;
    size_t bytes;
    if (!known && !pthread_getattr_np(pthread_self(), &a)) {
        if (!pthread_attr_getstack(&a, &lowest, &bytes))
            end = lowest;
        pthread_attr_destroy(&a);
    }
    known = true;
    return end;
}

size_t quern__stack_left(void)
{
    char here, *end = stack_end();
    uintptr_t at = (uintptr_t)&here;
    return end && at > (uintptr_t)end ? (size_t)(at - (uintptr_t)end) : SIZE_MAX;
}
