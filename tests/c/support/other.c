#include "support/other.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

static void serve(FILE *from, FILE *to, void (*act)(const char *, char *)) {
    static char line[OTHER_LINE], answer[OTHER_LINE];
    watchdog(60);
    while (fgets(line, sizeof line, from)) {
        line[strcspn(line, "\n")] = 0;
        snprintf(answer, sizeof answer, "ok");
        act(line, answer);
        fprintf(to, "%s\n", answer);
        fflush(to);
    }
    act(NULL, answer);
    fflush(NULL);
    _exit(0);
}

void other_start(other *o, void (*act)(const char *line, char answer[OTHER_LINE])) {
    int pair[2];
    fflush(NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    o->pid = fork();
    assert_true(o->pid >= 0);
    int mine = pair[o->pid == 0], second = dup(mine);
    close(pair[o->pid != 0]);
    FILE *from = fdopen(mine, "r"), *to = fdopen(second, "w");
    if (o->pid == 0) serve(from, to, act);
    o->from = from;
    o->to = to;
}

static void tell(other *o, const char *format, va_list args) {
    assert_true(o->pid > 0);
    vfprintf(o->to, format, args);
    fputc('\n', o->to);
    fflush(o->to);
}

void other_tell(other *o, const char *format, ...) {
    va_list args;
    va_start(args, format);
    tell(o, format, args);
    va_end(args);
}

const char *other_answer(other *o) {
    if (!fgets(o->answer, sizeof o->answer, o->from)) fail_msg("the other process is gone");
    o->answer[strcspn(o->answer, "\n")] = 0;
    return o->answer;
}

const char *other_ask(other *o, const char *format, ...) {
    va_list args;
    va_start(args, format);
    tell(o, format, args);
    va_end(args);
    return other_answer(o);
}

static int ended(other *o) {
    int status;
    assert_int_equal(waitpid(o->pid, &status, 0), o->pid);
    fclose(o->from);
    o->pid = 0;
    return status;
}

void other_end(other *o) {
    if (o->pid == 0) return;
    shutdown(fileno(o->to), SHUT_WR); /* processes that were started later have it, too */
    int status = ended(o);
    fclose(o->to);
    if (status != 0) fail_msg("the other process ended with status %#x", (unsigned)status);
}

void other_killed(other *o, int signal, int already) {
    if (!already) kill(o->pid, signal);
    int status = ended(o);
    fclose(o->to);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != signal)
        fail_msg("the other process ended with status %#x", (unsigned)status);
}

void other_fork(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) watchdog(60); /* an alarm is not inherited */
    if (child == 0) return;
    if (child < 0 || waitpid(child, &status, 0) != child) _exit(99);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
}
