/* Flights on memory: */
#include "support/flight_cases.h"

int main(void) { return flight_cases("memory:flight"); }
