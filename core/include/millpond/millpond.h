/* Millpond: a cache in front of a store, with the caching patterns done right.
 * This header is the whole public face; each part compiles alone too. The manual is core/GUIDE.md. */
#ifndef MILLPOND_MILLPOND_H
#define MILLPOND_MILLPOND_H

#include <millpond/behind.h>
#include <millpond/bulk.h>
#include <millpond/change.h>
#include <millpond/collection.h>
#include <millpond/config.h>
#include <millpond/dead.h>
#include <millpond/error.h>
#include <millpond/pond.h>
#include <millpond/queue.h>
#include <millpond/tags.h>
#include <millpond/value.h>
#include <millpond/write.h>

#endif
