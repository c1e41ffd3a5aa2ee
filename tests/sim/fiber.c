#include "fiber.h"

#include <stdlib.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

enum { STACK = 256 * 1024 };

struct fiber {
    ucontext_t own;
    void (*run)(void *arg);
    void *arg;
    bool over;
    char *stack;
    void *fake, *tsan; /* the sanitizers' */
};

static ucontext_t scheduler;
static fiber *here;

/* Where the sanitizers are told of each change of stacks; without them nothing of it is left. */
#if defined(__SANITIZE_ADDRESS__)
static const void *scheduler_stack;
static size_t scheduler_size;
static void *scheduler_fake;
static void leave_scheduler(fiber *f) { __sanitizer_start_switch_fiber(&scheduler_fake, f->stack, STACK); }
static void enter_scheduler(void) { __sanitizer_finish_switch_fiber(scheduler_fake, NULL, NULL); }
static void leave_fiber(fiber *f) {
    __sanitizer_start_switch_fiber(f->over ? NULL : &f->fake, scheduler_stack, scheduler_size);
}
static void enter_fiber(fiber *f) { __sanitizer_finish_switch_fiber(f->fake, &scheduler_stack, &scheduler_size); }
#elif defined(__SANITIZE_THREAD__)
static void *scheduler_tsan;
static void leave_scheduler(fiber *f) {
    scheduler_tsan = __tsan_get_current_fiber();
    if (!f->tsan) f->tsan = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(f->tsan, 0);
}
static void enter_scheduler(void) {}
static void leave_fiber(fiber *f) {
    (void)f;
    __tsan_switch_to_fiber(scheduler_tsan, 0);
}
static void enter_fiber(fiber *f) { (void)f; }
#else
static void leave_scheduler(fiber *f) { (void)f; }
static void enter_scheduler(void) {}
static void leave_fiber(fiber *f) { (void)f; }
static void enter_fiber(fiber *f) { (void)f; }
#endif

static void begin(void) {
    fiber *f = here;
    enter_fiber(f);
    f->run(f->arg);
    f->over = true;
    leave_fiber(f);
    setcontext(&scheduler);
}

fiber *fiber_new(void (*run)(void *arg), void *arg) {
    fiber *f = calloc(1, sizeof *f);
    if (!f || !(f->stack = malloc(STACK)) || getcontext(&f->own) != 0) abort();
    f->run = run;
    f->arg = arg;
    f->own.uc_stack.ss_sp = f->stack;
    f->own.uc_stack.ss_size = STACK;
    makecontext(&f->own, begin, 0);
    return f;
}

bool fiber_resume(fiber *f) {
    if (here || f->over) abort();
    here = f;
    leave_scheduler(f);
    swapcontext(&scheduler, &f->own);
    enter_scheduler();
    here = NULL;
    return f->over;
}

void fiber_free(fiber *f) {
#if defined(__SANITIZE_THREAD__)
    if (f->tsan) __tsan_destroy_fiber(f->tsan);
#endif
    free(f->stack);
    free(f);
}

bool fiber_is_here(void) { return here != NULL; }

void fiber_yield(void) {
    fiber *f = here;
    leave_fiber(f);
    swapcontext(&f->own, &scheduler);
    enter_fiber(f);
}
