/* millpond dead: what the store would not have of a collection that is written behind, and what becomes of it. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <yyjson.h>

enum { PAGE = 100 };

typedef struct dead {
    const cli *c;
    const char *name;
    pond_collection *collection;
    pond_dead_act act; /* of retry and drop */
    bool some_failed;
} dead;

/* Of documents nothing is read as a number, so nothing is rounded. */
static yyjson_doc *read_json(pond_value *value) {
    size_t len;
    const char *text = pond_value_data(value, &len);
    yyjson_doc *doc = cli_memory(yyjson_read(text, len, YYJSON_READ_NUMBER_AS_RAW));
    pond_value_free(value);
    return doc;
}

static const char *text_of(yyjson_val *object, const char *name) {
    const char *text = yyjson_get_str(yyjson_obj_get(object, name));
    return text ? text : "";
}

static int64_t number_of(yyjson_val *object, const char *name) {
    const char *raw = yyjson_get_raw(yyjson_obj_get(object, name));
    return raw ? strtoll(raw, NULL, 10) : 0;
}

static void print_json(yyjson_val *value) {
    char *line = cli_memory(yyjson_val_write(value, 0, NULL));
    puts(line);
    free(line);
}

static const char *ago(char *to, yyjson_val *letter) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - number_of(letter, "at_ms");
    return cli_time(to, ms > 0 ? ms : 0);
}

/* ---- list ---- */

/* NULL: what was said on stderr. */
static yyjson_doc *page(const dead *d, const char *after) {
    pond_value *value = NULL;
    pond_error *error = NULL;
    int code = pond_collection_dead_list(d->collection, after, strlen(after), PAGE, &value, &error);
    if (code == POND_OK) return read_json(value);
    cli_failed(error);
    return NULL;
}

static void print_page(const dead *d, yyjson_val *letters) {
    char text[CLI_SHOWN];
    yyjson_val *letter;
    size_t i, n;
    yyjson_arr_foreach(letters, i, n, letter) {
        if (d->c->json) {
            print_json(letter);
            continue;
        }
        printf("%s  ", text_of(letter, "id"));
        cli_text(text_of(letter, "document_id"));
        printf(", %s ago: ", ago(text, letter));
        cli_text(text_of(letter, "error"));
        putchar('\n');
    }
}

static int list(const dead *d, const char *after) {
    char next[64];
    snprintf(next, sizeof next, "%s", after);
    for (bool first = true;; first = false) {
        yyjson_doc *doc = page(d, next);
        if (!doc) return CLI_FAILED;
        yyjson_val *root = yyjson_doc_get_root(doc), *letters = yyjson_obj_get(root, "letters");
        print_page(d, letters);
        if (first && !d->c->json && !yyjson_arr_size(letters))
            printf("no dead letters of %s%s\n", d->name, *after ? " behind that one" : "");
        snprintf(next, sizeof next, "%s", text_of(root, "next"));
        bool more = *next && !d->c->all;
        if (more && !d->c->json)
            printf("\n%s in all; the next: millpond dead list %s %s\n", yyjson_get_raw(yyjson_obj_get(root, "total")),
                   d->name, next);
        yyjson_doc_free(doc);
        if (!*next || more || ferror(stdout)) return CLI_DONE;
    }
}

/* ---- show ---- */

static int show(const dead *d, const char *id) {
    char text[CLI_SHOWN];
    pond_value *value = NULL;
    pond_error *error = NULL;
    int code = pond_collection_dead_act(d->collection, POND_DEAD_SHOW, id, strlen(id), &value, &error);
    if (code != POND_OK) {
        cli_failed(error);
        return code == POND_EKEY ? CLI_USAGE : CLI_FAILED;
    }
    yyjson_doc *doc = read_json(value);
    yyjson_val *letter = yyjson_doc_get_root(doc);
    if (d->c->json) {
        print_json(letter);
    } else {
        char *document = cli_memory(yyjson_val_write(yyjson_obj_get(letter, "document"), 0, NULL));
        bool there = strcmp(text_of(letter, "state"), "document") == 0;
        printf("%s of %s\n  document   ", text_of(letter, "id"), d->name);
        cli_text(text_of(letter, "document_id"));
        printf("\n  version    %s\n  put aside  %s ago\n  error      ",
               yyjson_get_raw(yyjson_obj_get(letter, "version")), ago(text, letter));
        cli_text(text_of(letter, "error"));
        printf("\n  state      %s%s", text_of(letter, "state"), there ? ": " : "");
        if (there) cli_text(document);
        yyjson_val *sums = yyjson_obj_get(letter, "increments");
        if (yyjson_is_obj(sums)) {
            char *increments = cli_memory(yyjson_val_write(sums, 0, NULL));
            printf("\n  increments ");
            cli_text(increments);
            free(increments);
        }
        putchar('\n');
        free(document);
    }
    yyjson_doc_free(doc);
    return CLI_DONE;
}

/* ---- retry and drop ---- */

static void print_done(const dead *d, const char *id, const pond_error *error) {
    const char *done = d->act == POND_DEAD_RETRY ? "retried" : "dropped";
    if (!d->c->json) {
        if (!error) printf("%s %s\n", id, done);
        else fprintf(stderr, "millpond: %s: %s\n", id, pond_error_message(error));
        return;
    }
    yyjson_mut_doc *doc = cli_memory(yyjson_mut_doc_new(NULL));
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_str(doc, root, "id", id);
    yyjson_mut_obj_add_bool(doc, root, done, error == NULL);
    if (error) yyjson_mut_obj_add_str(doc, root, "error", pond_error_message(error));
    char *line = cli_memory(yyjson_mut_write(doc, 0, NULL));
    puts(line);
    free(line);
    yyjson_mut_doc_free(doc);
}

/* False: no other one would do better. */
static bool act(dead *d, const char *id) {
    pond_error *error = NULL;
    int code = pond_collection_dead_act(d->collection, d->act, id, strlen(id), NULL, &error);
    print_done(d, id, error);
    pond_error_free(error);
    d->some_failed = d->some_failed || code != POND_OK;
    return code == POND_OK || code == POND_EABSENT || code == POND_EDUPLICATE || code == POND_EVALUE ||
           code == POND_EKEY;
}

/* Those that are there now: what is refused anew meanwhile comes behind them. */
static int act_on_all(dead *d) {
    char next[64] = "";
    int64_t left = -1;
    bool go_on = true;
    do {
        yyjson_doc *doc = page(d, next);
        if (!doc) return CLI_FAILED;
        yyjson_val *root = yyjson_doc_get_root(doc), *letter;
        size_t i, n;
        if (left < 0) left = number_of(root, "total");
        snprintf(next, sizeof next, "%s", text_of(root, "next"));
        yyjson_arr_foreach(yyjson_obj_get(root, "letters"), i, n, letter) {
            go_on = go_on && left-- > 0 && act(d, text_of(letter, "id"));
        }
        yyjson_doc_free(doc);
    } while (*next && go_on && left > 0);
    return d->some_failed ? CLI_FAILED : CLI_DONE;
}

/* ---- which ---- */

static int run(dead *d, const char *what, char **ids, int n) {
    bool lists = strcmp(what, "list") == 0, shows = strcmp(what, "show") == 0, all = d->c->all;
    d->act = strcmp(what, "drop") == 0 ? POND_DEAD_DROP : POND_DEAD_RETRY;
    if (lists) return list(d, n ? ids[0] : "");
    if (all && !shows) return act_on_all(d);
    int how = CLI_DONE;
    for (int i = 0; i < n && how == CLI_DONE; i++) {
        if (shows && i && !d->c->json) putchar('\n');
        if (shows) how = show(d, ids[i]);
        else if (!act(d, ids[i])) how = CLI_FAILED;
    }
    return how == CLI_DONE && d->some_failed ? CLI_FAILED : how;
}

static int check(const cli *c) {
    static const char *const known[] = {"list", "show", "retry", "drop"};
    const char *what = c->count ? c->words[0] : "";
    size_t i = 0;
    while (i < 4 && strcmp(known[i], what) != 0) i++;
    int letters = c->count - 2;
    if (i == 4) return cli_usage("dead: say list, show, retry or drop, as in: millpond dead list films");
    if (c->every_ms) return cli_usage("dead: --every is for stats and worker");
    if (letters < 0) return cli_usage("dead %s: of which collection?", what);
    if (i == 0) return letters > 1 ? cli_usage("dead list: \"%.40s\" is too much", c->words[3]) : CLI_DONE;
    if (c->all && i == 1) return cli_usage("dead show: --all is for list, retry and drop");
    if (c->all && letters) return cli_usage("dead %s: name letters, or give --all", what);
    return c->all || letters ? CLI_DONE : cli_usage("dead %s: which letter? millpond dead list has them", what);
}

int cli_dead(cli *c) {
    static const char *const options[] = {"write", "behind", "event_key", "off"};
    pond_error *error = NULL;
    int how = check(c);
    if (how != CLI_DONE) return how;
    dead d = {.c = c, .name = c->words[1]};
    int code = pond_collection_new(&d.collection, c->pond, d.name, options, 2, &error);
    if (code != POND_OK) {
        cli_failed(error);
        return code == POND_EOPTION || code == POND_EKEY || code == POND_EMISUSE ? CLI_USAGE : CLI_FAILED;
    }
    how = run(&d, c->words[0], c->words + 2, c->count - 2);
    pond_collection_free(d.collection);
    return how;
}
