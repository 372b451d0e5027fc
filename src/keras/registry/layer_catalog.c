/* layer_catalog: the table of all layers, generated from layer_catalog.def, which also declares
 * their rows. */
#include "keras/keras.h"

#define LAYER(ID) extern const quern__class quern__layer_##ID;
#include "layer_catalog.def"
#undef LAYER

#define LAYER(ID) &quern__layer_##ID,
const quern__class *const quern__layer_classes[] = {
#include "layer_catalog.def"
    NULL
};
