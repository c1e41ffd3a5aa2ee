/* Increments of what is written behind, with a journal. */
#include "behind_on_journal.h"

#include "increments_random.h"

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_counts_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
