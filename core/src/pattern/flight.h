/* Flights: one load per key and process, however many ask; who may share what it gives (protocol.md, rule 6). */
#ifndef MP_PATTERN_FLIGHT_H
#define MP_PATTERN_FLIGHT_H

#include <stdbool.h>
#include <stdint.h>
#include "model/key.h"
#include "model/value.h"
#include <millpond/error.h>

typedef struct mp_flights mp_flights;
typedef struct mp_flight mp_flight;
struct mp_read;
struct mp_lane;

mp_flights *mp_flights_new(void);
void mp_flights_free(mp_flights *flights); /* no flight is left */

/* Lock of the read's lane held. The read missed: it joins the flight of its key, or starts one. `cache_down`: the cache has
 * just failed it, so a new flight loads without a lease. */
void mp_flight_join(struct mp_read *read, bool cache_down);
/* The read has not asked the cache yet, and need not: a flight of its own lane knows that there is nothing to be had. True: it has
 * joined that. */
bool mp_flight_meet(struct mp_read *read);
/* Somebody here writes the key: the cache may soon have what a load that is under way does not know of. */
void mp_flights_doubt(const struct mp_lane *lane, const mp_key *key);
/* The read has found a value that should be loaded anew (its `spare`): is that for it to see to? Else somebody does, or a load has
 * failed a short while ago: it is to be served now. */
bool mp_flight_due(struct mp_read *read);
/* May a read that waits no longer be given what it found? Nothing was heard to the contrary. */
bool mp_flight_spare_stands(struct mp_read *read);
/* The read stops waiting. False if its answer is already on its way. */
bool mp_flight_leave(struct mp_read *read);
/* The read waits no longer for others: it gets a load of its own, whose value is not cached. */
void mp_flight_alone(struct mp_read *read);
/* What the load of this read has given, if only the fill's answer is missing; a new reference, else NULL. */
pond_value *mp_flight_loaded_value(const struct mp_read *read);
/* Is the flight of this read still asking the cache (nobody is known to load)? */
bool mp_flight_asking(struct mp_read *read);
/* The answer of a load. Takes over value or error. Lock of the flight's home held. */
void mp_flight_loaded(mp_flight *flight, pond_value *value, pond_error *error, bool uncached);
/* The lane goes away (lock held): leases are released, who waits on other lanes goes on there. */
void mp_flights_abandon(struct mp_lane *lane);

#endif
