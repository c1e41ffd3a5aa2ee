/* fork() with a pond over memory: */
#include "support/fork_cases.h"

int main(void) { return fork_cases("memory:fork", false); }
