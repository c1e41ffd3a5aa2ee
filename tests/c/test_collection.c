/* Collections on memory:. */
#include "support/collection_cases.h"
#include "support/support.h"

int main(void) {
    watchdog(100);
    return collection_cases("memory:");
}
