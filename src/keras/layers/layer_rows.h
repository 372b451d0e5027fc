/* layer_rows: macros for the rows of keras.layers, with the functions that most layers have. */
#ifndef QUERN__LAYER_ROWS_H
#define QUERN__LAYER_ROWS_H

#include "keras/keras.h"

/* WHOLE: the layer accepts int32 and int64 inputs without a cast. */
#define QUERN__LAYER_ROW_OF(ID, NAME, ALIASES, FIELDS, BUILD, CALL, MASKS, WHOLE) \
    const quern__class quern__layer_##ID = { .group = QUERN__LAYER,               \
                                             .name = NAME,                        \
                                             .aliases = ALIASES,                  \
                                             .module = "keras.layers",            \
                                             .fields = FIELDS,                    \
                                             .build = BUILD,                      \
                                             .call = CALL,                        \
                                             .whole = WHOLE,                      \
                                             .masks = QUERN__MASK_##MASKS,        \
                                             .by_step = QUERN__MASK_##MASKS != QUERN__MASK_ENDS }
#define QUERN__LAYER_ROW(ID, NAME, ALIASES, FIELDS, BUILD, CALL, MASKS) \
    QUERN__LAYER_ROW_OF(ID, NAME, ALIASES, FIELDS, BUILD, CALL, MASKS, false)

/* The argument of layers with spatial axes. */
#define QUERN__DATA_FORMAT_FIELD                          \
    {                                                     \
        "data_format", QUERN__F_TEXT, "\"channels_last\"" \
    }

#endif
