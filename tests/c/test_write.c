/* Writes on memory: */
#include "support/write_cases.h"

int main(void) { return write_cases("memory:write"); }
