/* Flights on Redis: the common cases, and those that need a server's time between question and answer. */
#include "support/flight_cases.h"
#include "support/support.h"

int main(void) {
    const char *url = getenv("MILLPOND_TEST_REDIS");
    if (!url) return 2;
    return flight_cases(url);
}
