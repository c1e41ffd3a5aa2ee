/* What tags do, on whatever cache: run by test_tags (memory:) and test_tags_redis. */
#ifndef TEST_TAG_CASES_H
#define TEST_TAG_CASES_H

int tag_cases(const char *cache_url); /* returns how many failed */

#endif
