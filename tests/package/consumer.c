/* A program of somebody else's: built against the installed library, shared and static, by pkg-config and by CMake. */
#include <millpond/millpond.h>
#include <stdio.h>
#include <string.h>

/* It has functions of its own under the names of libraries that libmillpond.a carries inside. */
int redisCommand(void);
int redisCommand(void) { return 1; }
int yyjson_read_opts(void);
int yyjson_read_opts(void) { return 1; }

static void load(pond_load *l, void *ctx) {
    ++*(int *)ctx;
    pond_load_value(l, "{\"ok\":true}", 11, POND_JSON, 0);
}

int main(void) {
    int loads = 0, rounds;
    pond_error *err = NULL;
    pond_config *config = pond_config_new();
    pond *p = NULL;
    if (pond_config_set(config, "cache", "memory:consumer", &err) || pond_open(&p, config, &err)) goto failed;
    for (rounds = 0; rounds < 2; rounds++) {
        pond_value *value = NULL;
        size_t len = 0;
        if (pond_fetch(p, "key", 3, NULL, load, &loads, &value, &err)) goto failed;
        if (strcmp(pond_value_data(value, &len), "{\"ok\":true}") != 0 || len != 11) return 3;
        pond_value_free(value);
    }
    pond_free(p);
    pond_config_free(config);
    printf("millpond %s: %d load(s)\n", pond_version(), loads);
    return loads == 1 && redisCommand() && yyjson_read_opts() ? 0 : 2;
failed:
    printf("%s\n", pond_error_message(err));
    return 1;
}
