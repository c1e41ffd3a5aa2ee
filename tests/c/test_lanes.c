/* Many loops on one pond over memory: */
#include "support/lane_cases.h"

int main(void) { return lane_cases("memory:lanes"); }
