/* Blocking calls on memory: */
#include "support/fetch_cases.h"

int main(void) { return fetch_cases("memory:fetch"); }
