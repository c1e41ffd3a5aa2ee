/* Values past their time on memory:; test_virtual_stale has the rest, to the millisecond. */
#include "support/stale_cases.h"

int main(void) { return stale_cases("memory:stale"); }
