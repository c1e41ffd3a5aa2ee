/* What it costs to understand a query and to name its key: nanoseconds each, the best of seven rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/query.h"

enum { ROUNDS = 7, TIMES = 20000 };

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void once(const mp_query_bounds *bounds, const char *text, size_t len, char *key) {
    mp_query *query = NULL;
    int rc = *text == '{' ? mp_query_parse_json(&query, bounds, text, len, NULL)
                          : mp_query_parse_text(&query, bounds, text, len, NULL);
    if (rc != POND_OK) {
        fprintf(stderr, "%s: refused\n", text);
        exit(1);
    }
    if (key != NULL) mp_query_key(query, key);
    mp_query_free(query);
}

static double best(const mp_query_bounds *bounds, const char *text, char *key) {
    double least = 1e18;
    size_t len = strlen(text);
    for (int r = 0; r < ROUNDS; r++) {
        double start = now_ns();
        for (int i = 0; i < TIMES; i++) once(bounds, text, len, key);
        double each = (now_ns() - start) / TIMES;
        if (each < least) least = each;
    }
    return least;
}

int main(void) {
    static const char *const texts[] = {
        "",
        "category=shoes&price[gte]=10",
        "category=shoes&price[gte]=10&sort=-price&page=2&limit=20&search=red",
        "{\"category\":\"shoes\",\"price\":{\"gte\":10},\"sort\":\"-price\",\"page\":2,\"limit\":20,\"search\":"
        "\"red\"}",
        "Major+Genre=Drama&IMDB+Rating%5Bgte%5D=7.5&IMDB+Rating%5Blt%5D=9.1&Director%5Bin%5D=A,B,C&fields=Title,"
        "Director&sort=-IMDB+Rating,Title",
    };
    mp_query_bounds *bounds = NULL;
    char key[MP_QUERY_KEY_LEN + 1];
    if (mp_query_bounds_new(&bounds, &(mp_query_options){.search_fields = "name,description"}, NULL) != POND_OK)
        return 1;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        printf("%6.0f ns to parse, %6.0f ns with its key: %s\n", best(bounds, texts[i], NULL),
               best(bounds, texts[i], key), texts[i]);
    mp_query_bounds_free(bounds);
    return 0;
}
