/* Closing on memory: */
#include "support/close_cases.h"

int main(void) { return close_cases("memory:close"); }
