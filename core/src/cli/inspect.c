/* millpond inspect KEY...: what stands in the cache under a key, and who loads it. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <yyjson.h>

/* Processes that publish their statistics name themselves there as in the tokens of their leases. */
static void who_holds(yyjson_doc *processes, const char *token) {
    yyjson_val *row;
    size_t i, n;
    yyjson_arr_foreach(yyjson_doc_get_root(processes), i, n, row) {
        const char *process = yyjson_get_str(yyjson_obj_get(row, "process"));
        const char *host = yyjson_get_str(yyjson_obj_get(row, "host"));
        if (!process || !host || strncmp(process, token, 16) != 0) continue;
        printf(", ");
        cli_text(host);
        printf(" pid %" PRId64, yyjson_get_sint(yyjson_obj_get(row, "pid")));
        return;
    }
}

static int64_t number(yyjson_val *object, const char *name) { return yyjson_get_sint(yyjson_obj_get(object, name)); }
static bool known(yyjson_val *object, const char *name) { return yyjson_is_int(yyjson_obj_get(object, name)); }

static void show(const cli *c, const char *key, yyjson_val *e, yyjson_doc *processes) {
    char text[CLI_SHOWN];
    const char *why = yyjson_get_str(yyjson_obj_get(e, "why")), *token = yyjson_get_str(yyjson_obj_get(e, "lease"));
    const char *codec = yyjson_get_str(yyjson_obj_get(e, "codec")), *fence = yyjson_get_str(yyjson_obj_get(e, "fence"));
    const char *state = yyjson_get_str(yyjson_obj_get(e, "state"));
    cli_text(key);
    printf(" in %s\n  state      %s", c->namespace ? c->namespace : "default", state ? state : "?");
    if (why) printf(": %s", why);
    if (known(e, "bytes") && number(e, "bytes"))
        printf("\n  size       %s", cli_size(text, (double)number(e, "bytes")));
    if (known(e, "bytes") && number(e, "bytes") && codec) printf(" of %s", codec);
    if (known(e, "stale_ms")) {
        printf("\n  time left  none: stale for %s", cli_time(text, number(e, "stale_ms")));
        printf(", kept for another %s", cli_time(text, number(e, "keep_ms") - number(e, "stale_ms")));
    } else if (known(e, "ttl_ms")) {
        printf("\n  time left  %s", cli_time(text, number(e, "ttl_ms")));
        if (number(e, "keep_ms") > 0) printf(", and %s stale", cli_time(text, number(e, "keep_ms")));
    }
    if (known(e, "created_ms")) {
        int64_t age = (int64_t)time(NULL) * 1000 - number(e, "created_ms");
        printf("\n  stored     %s ago", cli_time(text, age > 0 ? age : 0));
        printf("; its load took %s", cli_time(text, number(e, "load_ms")));
    }
    if (token && strcmp(token, "back-off") == 0) {
        printf("\n  lease      none: a load failed, and others rest for another %s",
               cli_time(text, number(e, "lease_ms")));
    } else if (known(e, "lease_ms")) {
        printf("\n  lease      held for another %s", cli_time(text, number(e, "lease_ms")));
        if (token) printf(" by %s", token);
        if (token && processes) who_holds(processes, token);
    } else {
        printf("\n  lease      none: nobody loads it");
    }
    if (number(e, "writers") > 0)
        printf("\n  writers    %" PRId64 ", for at most another %s", number(e, "writers"),
               cli_time(text, number(e, "intents_ms")));
    yyjson_val *tag;
    size_t i, n;
    yyjson_arr_foreach(yyjson_obj_get(e, "tags"), i, n, tag)
        printf("\n  %-10s %s", i ? "" : "tags", yyjson_get_str(tag));
    if (fence) printf("\n  fence      %s", fence);
    putchar('\n');
}

static int inspect(const cli *c, const char *key, yyjson_doc *processes) {
    pond_value *value = NULL;
    pond_error *error = NULL;
    size_t len;
    int code = pond_explain(c->pond, key, strlen(key), NULL, &value, &error);
    if (code != POND_OK) {
        cli_failed(error);
        return code == POND_EKEY ? CLI_USAGE : CLI_FAILED;
    }
    const char *data = pond_value_data(value, &len);
    yyjson_doc *doc = cli_memory(yyjson_read(data, len, 0));
    if (c->json) {
        yyjson_mut_doc *out = yyjson_doc_mut_copy(cli_memory(doc), NULL);
        yyjson_mut_val *root = yyjson_mut_doc_get_root(out);
        yyjson_mut_obj_add_str(out, root, "key", key);
        yyjson_mut_obj_add_str(out, root, "namespace", c->namespace ? c->namespace : "default");
        char *line = cli_memory(yyjson_mut_write(out, 0, NULL));
        puts(line);
        free(line);
        yyjson_mut_doc_free(out);
    } else {
        show(c, key, yyjson_doc_get_root(doc), processes);
    }
    yyjson_doc_free(doc);
    pond_value_free(value);
    return CLI_DONE;
}

int cli_inspect(cli *c) {
    pond_value *value = NULL;
    pond_error *error = NULL;
    yyjson_doc *processes = NULL;
    size_t len;
    if (c->count == 0) return cli_usage("inspect: which key?");
    if (c->every_ms) return cli_usage("inspect: --every is for stats");
    if (!c->json && pond_processes(c->pond, &value, &error) == POND_OK) {
        const char *data = pond_value_data(value, &len);
        processes = yyjson_read(data, len, 0);
    }
    pond_value_free(value);
    pond_error_free(error); /* inspect says it, too */
    int how = CLI_DONE;
    for (int i = 0; i < c->count && how == CLI_DONE; i++) {
        if (i && !c->json) putchar('\n');
        how = inspect(c, c->words[i], processes);
    }
    yyjson_doc_free(processes);
    return how;
}
