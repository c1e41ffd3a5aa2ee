/* The two clocks. Only the engine's driver and diagnostics read them; everything else is given the time. */
#ifndef MP_BASE_CLOCK_H
#define MP_BASE_CLOCK_H

#include <stdint.h>

int64_t mp_clock_ms(void);          /* monotonic, milliseconds */
int64_t mp_clock_after(int64_t ms); /* on it, so long from now; a caller's "for ever" does not overflow */
int64_t mp_clock_wall_ms(void);     /* since 1970, for diagnostics only */

#endif
