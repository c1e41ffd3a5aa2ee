/* What is written behind, with a Redis. */
#include "behind_on_redis.h"

#include "behind_random.h"

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_read_gives_what_was_accepted_last)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
