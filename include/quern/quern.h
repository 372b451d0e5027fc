/* quern: Keras models trained in C from data that never has to fit in memory.
 *
 * The headers, in the order in which to read them. */
#ifndef QUERN_H
#define QUERN_H

#include <quern/callbacks.h>
#include <quern/custom.h>
#include <quern/files.h>
#include <quern/fit.h>
#include <quern/generate.h>
#include <quern/model.h>
#include <quern/output.h>
#include <quern/schema.h>
#include <quern/source.h>
#include <quern/status.h>
#include <quern/tensor.h>
#include <quern/text.h>

#endif
