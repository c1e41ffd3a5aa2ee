/* The commands on a collection's documents: change, increment, document, page; and on its dead letters: dead. */
#include <stdlib.h>
#include <string.h>
#include "tool/tool.h"

static void reject(pond_check *check, void *ctx) {
    (void)ctx;
    pond_check_fail(check, NULL);
}

static int change(pond_collection *films, const command *line, pond_value **value, pond_error **err) {
    static const char *const kinds[] = {
        [POND_CREATE] = "create", [POND_REPLACE] = "replace", [POND_UPDATE] = "update", [POND_DELETE] = "delete"};
    const word *id = command_word(line, "id"), *doc = command_word(line, "doc");
    int kind = POND_CREATE;
    while (kind < POND_DELETE && strcmp(kinds[kind], command_text(line, "kind", "")) != 0) kind++;
    return pond_collection_change(films, (pond_change_kind)kind, id ? id->value : NULL, id ? id->len : 0,
                                  doc ? doc->value : NULL, doc ? doc->len : 0,
                                  command_word(line, "reject") ? reject : NULL, NULL, value, err);
}

static int increment(pond_collection *films, const command *line, pond_error **err) {
    const char *id = command_text(line, "id", ""), *field = command_text(line, "field", "");
    int64_t by = strtoll(command_text(line, "by", "1"), NULL, 10);
    return pond_collection_increment(films, id, strlen(id), field, strlen(field), by, err);
}

static int dead(pond_collection *films, const command *line, pond_value **value, pond_error **err) {
    static const char *const acts[] = {
        "list", [POND_DEAD_SHOW] = "show", [POND_DEAD_RETRY] = "retry", [POND_DEAD_DROP] = "drop"};
    const char *letter = command_text(line, "id", "");
    int act = POND_DEAD_DROP;
    while (act > 0 && strcmp(acts[act], command_text(line, "act", "")) != 0) act--;
    if (act) return pond_collection_dead_act(films, (pond_dead_act)act, letter, strlen(letter), value, err);
    return pond_collection_dead_list(films, letter, strlen(letter), command_number(line, "most", 100), value, err);
}

int tool_document(pond *p, const command *line, pond_value **value, pond_error **err) {
    const char *options[2 * MAX_WORDS], *id = command_text(line, "id", ""), *query = command_text(line, "query", "");
    size_t n = 0;
    pond_collection *films = NULL;
    for (size_t i = 0; i < line->count; i++) {
        if (strncmp(line->words[i].name, "with.", 5) != 0) continue;
        options[2 * n] = line->words[i].name + 5;
        options[2 * n++ + 1] = line->words[i].value;
    }
    int code = pond_collection_new(&films, p, command_text(line, "collection", ""), options, n, err);
    if (code != POND_OK) return code;
    if (strcmp(line->verb, "change") == 0) code = change(films, line, value, err);
    else if (strcmp(line->verb, "increment") == 0) code = increment(films, line, err);
    else if (strcmp(line->verb, "dead") == 0) code = dead(films, line, value, err);
    else if (strcmp(line->verb, "page") == 0)
        code = pond_collection_find(films, POND_QUERY_TEXT, query, strlen(query), value, err);
    else code = pond_collection_get(films, id, strlen(id), value, err);
    pond_collection_free(films);
    return code;
}
