/* Bulk calls on memory: */
#include "support/bulk_cases.h"

int main(void) { return bulk_cases("memory:bulk"); }
