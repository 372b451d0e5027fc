/* step_profile: the time of the steps of a run by node of the plan. The first thread of the pool
 * measures each entry while profiling is on, with the waits for other threads included. The text is
 * a table with the slowest nodes first. */
#include "model_struct.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int quern_model_set_profile(quern_model *m, int on)
{
    if (!m)
        return QUERN_INVALID;
    quern__free(m->profile.seconds);
    m->profile = (quern__profile){ 0 };
    m->profiled = NULL;
    m->profiling = on != 0;
    return QUERN_OK;
}

int quern_model_set_watch(quern_model *m, int on)
{
    if (!m)
        return QUERN_INVALID;
    m->watch = on != 0;
    return QUERN_OK;
}

/* Ensures capacity for the entries of the plan of a mode; a profile of another plan ends. A run
 * that trains profiles its training steps only. Returns NULL when profiling is off. */
quern__profile *quern__model_profile(quern_model *m, quern__mode mode)
{
    const quern__plan *p = m->programs[mode].plan;
    if (!m->profiling || !p || (mode != QUERN__TRAIN && m->trains))
        return NULL;
    if (m->profiled != p) {
        quern__free(m->profile.seconds);
        m->profile = (quern__profile){ 0 };
        m->profile.seconds = quern__zalloc((size_t)p->n_entries + 1, sizeof *m->profile.seconds);
        m->profiled = p;
    }
    return m->profile.seconds ? &m->profile : NULL;
}

/* The plan of the profile, if the model still has it. */
static const quern__plan *profiled_plan(const quern_model *m)
{
    for (int mode = 0; mode < QUERN__MODES; mode++)
        if (m->profiled && m->programs[mode].plan == m->profiled)
            return m->profiled;
    return NULL;
}

typedef struct line {
    const quern__entry *entry;
    double seconds;
} line;

/* Compares two lines for qsort. */
static int slowest_first(const void *a, const void *b)
{
    double x = ((const line *)a)->seconds, y = ((const line *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

char *quern_model_profile(const quern_model *m)
{
    if (!m)
        return NULL;
    const quern__plan *p = profiled_plan(m);
    quern__text t = { 0 };
    double all = 0;
    char shape[96];
    if (!p || !m->profile.seconds || !m->profile.steps)
        return strdup("no steps were profiled\n");
    line *lines = quern__zalloc((size_t)p->n_entries + 1, sizeof *lines);
    if (lines)
        for (int i = 0; i < p->n_entries; i++) {
            lines[i] = (line){ &p->entries[i], m->profile.seconds[i] };
            all += m->profile.seconds[i];
        }
    if (lines)
        qsort(lines, (size_t)p->n_entries, sizeof *lines, slowest_first);
    quern__text_add(&t, "%-18s %-20s %-14s %-18s %9s %6s\n", "layer", "node", "kernel", "shape",
                    "us/step", "share");
    for (int i = 0; lines && i < p->n_entries; i++)
        quern__text_add(&t, "%-18s %-20s %-14s %-18s %9.2f %5.1f%%\n", lines[i].entry->node->scope,
                        lines[i].entry->node->name, lines[i].entry->kernel_name,
                        quern_shape_text(&lines[i].entry->call.out[0].shape, shape, sizeof shape),
                        lines[i].seconds / (double)m->profile.steps * 1e6,
                        all > 0 ? 100 * lines[i].seconds / all : 0);
    quern__text_add(
        &t, "%lld steps, %.2f us each on the first thread, including waits for other threads\n",
        (long long)m->profile.steps, all / (double)m->profile.steps * 1e6);
    quern__free(lines);
    char *out = t.failed ? NULL : strdup(t.data);
    quern__text_free(&t);
    return out;
}
