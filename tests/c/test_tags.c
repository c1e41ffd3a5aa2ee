/* Tags on memory: */
#include "support/tag_cases.h"

int main(void) { return tag_cases("memory:tags"); }
