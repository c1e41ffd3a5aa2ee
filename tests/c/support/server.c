#include "support/server.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

struct server {
    char folder[64], socket[96], url[112];
    const char *args[32];
    pid_t pid;
    redisContext *client;
};

/* Its folder and process do not outlive a test that fails. */
static server *all[16];

static void end_all(void) {
    for (size_t i = 0; i < 16; i++)
        if (all[i] && all[i]->pid) kill(all[i]->pid, SIGKILL);
}

server *server_start(const char *const *options) {
    static bool registered;
    if (!registered) atexit(end_all);
    registered = true;
    server *s = calloc(1, sizeof *s);
    assert_non_null(s);
    strcpy(s->folder, "/tmp/millpond-server-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->socket, sizeof s->socket, "%s/s", s->folder);
    snprintf(s->url, sizeof s->url, "unix:%s", s->socket);
    const char *program = getenv("MILLPOND_TEST_REDIS_SERVER");
    const char *const standard[] = {program ? program : "redis-server",
                                    "--port",
                                    "0",
                                    "--unixsocket",
                                    s->socket,
                                    "--dir",
                                    s->folder,
                                    "--save",
                                    "",
                                    "--appendonly",
                                    "no",
                                    "--logfile",
                                    "log",
                                    "--repl-diskless-sync-delay",
                                    "0"};
    size_t n = 0;
    for (; n < sizeof standard / sizeof standard[0]; n++) s->args[n] = standard[n];
    for (size_t i = 0; options && options[i] && n < 31; i++) s->args[n++] = options[i];
    for (size_t i = 0; i < 16; i++)
        if (!all[i]) {
            all[i] = s;
            break;
        }
    server_again(s);
    return s;
}

const char *server_url(const server *s) { return s->url; }
redisContext *server_client(server *s) { return s->client; }

void server_again(server *s) {
    assert_int_equal(s->pid, 0);
    unlink(s->socket);
    s->pid = fork();
    if (s->pid == 0) {
        execvp(s->args[0], (char *const *)s->args);
        _exit(127);
    }
    for (int64_t until = clock_ms() + 10000; !s->client && clock_ms() < until; rest_ms(2))
        s->client = redis_open(s->url);
    if (!s->client) fail_msg("redis-server does not come up in %s", s->folder);
}

void server_kill(server *s, bool save) {
    if (save) redis_do(s->client, "SAVE");
    redisFree(s->client);
    s->client = NULL;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

void server_freeze(server *s, bool frozen) { kill(s->pid, frozen ? SIGSTOP : SIGCONT); }

void server_stop(server *s) {
    server_kill(s, false);
    static const char *const files[] = {"s", "log", "dump.rdb"};
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", s->folder, files[i]);
        unlink(path);
    }
    rmdir(s->folder);
    for (size_t i = 0; i < 16; i++)
        if (all[i] == s) all[i] = NULL;
    free(s);
}
