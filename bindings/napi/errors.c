/* Errors on their way to JavaScript, and loaders' own error objects on their way through the core and back.
 *
 * A loader's error is kept in a box, a JavaScript object that the core's error carries as an attachment. The core may let
 * go of it in any thread, where JavaScript cannot be touched: so the box goes into the environment's mailbox, which is
 * emptied after each batch. */
#include <pthread.h>
#include "addon.h"

typedef struct mpn_box {
    mpn_mailbox *mailbox;
    napi_ref ref;
    struct mpn_box *next;
} mpn_box;

struct mpn_mailbox {
    pthread_mutex_t lock;
    mpn_box *released;
    unsigned refs; /* the environment and each box */
    bool ended;
};

mpn_mailbox *mpn_mailbox_new(void) {
    mpn_mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (!mailbox) return NULL;
    if (pthread_mutex_init(&mailbox->lock, NULL)) {
        free(mailbox);
        return NULL;
    }
    mailbox->refs = 1;
    return mailbox;
}

/* Drops the lock and one reference. */
static void leave(mpn_mailbox *mailbox) {
    bool last = --mailbox->refs == 0;
    pthread_mutex_unlock(&mailbox->lock);
    if (last) {
        pthread_mutex_destroy(&mailbox->lock);
        free(mailbox);
    }
}

void *mpn_box_new(mpn_mailbox *mailbox, napi_env napi, napi_value object) {
    mpn_box *box = calloc(1, sizeof *box);
    if (!box) return NULL;
    if (napi_create_reference(napi, object, 1, &box->ref) != napi_ok) {
        free(box);
        return NULL;
    }
    box->mailbox = mailbox;
    pthread_mutex_lock(&mailbox->lock);
    mailbox->refs++;
    pthread_mutex_unlock(&mailbox->lock);
    return box;
}

void mpn_box_release(void *object) {
    mpn_box *box = object;
    mpn_mailbox *mailbox = box->mailbox;
    pthread_mutex_lock(&mailbox->lock);
    if (!mailbox->ended) {
        box->next = mailbox->released;
        mailbox->released = box;
        pthread_mutex_unlock(&mailbox->lock);
        return;
    }
    free(box); /* its reference went with the environment */
    leave(mailbox);
}

void mpn_mailbox_drain(mpn_mailbox *mailbox, napi_env napi) {
    pthread_mutex_lock(&mailbox->lock);
    mpn_box *box = mailbox->released;
    mailbox->released = NULL;
    for (mpn_box *row = box; row; row = row->next) mailbox->refs--;
    pthread_mutex_unlock(&mailbox->lock);
    while (box) {
        mpn_box *next = box->next;
        napi_delete_reference(napi, box->ref);
        free(box);
        box = next;
    }
}

void mpn_mailbox_end(mpn_mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    mailbox->ended = true;
    while (mailbox->released) {
        mpn_box *box = mailbox->released;
        mailbox->released = box->next;
        mailbox->refs--;
        free(box);
    }
    leave(mailbox);
}

static napi_value error_array(napi_env napi, int code, const char *message, int retriable, napi_value box,
                              const char *reason) {
    napi_value out, row[5];
    if (napi_create_array_with_length(napi, 5, &out) != napi_ok) return NULL;
    if (napi_create_int32(napi, code, &row[0]) != napi_ok ||
        napi_create_string_utf8(napi, message, NAPI_AUTO_LENGTH, &row[1]) != napi_ok ||
        napi_get_boolean(napi, retriable != 0, &row[2]) != napi_ok) {
        return NULL;
    }
    row[3] = box;
    row[4] = NULL;
    if (reason && napi_create_string_latin1(napi, reason, NAPI_AUTO_LENGTH, &row[4]) != napi_ok) return NULL;
    for (uint32_t i = 0; i < 5; i++) {
        if (!row[i]) continue;
        if (napi_set_element(napi, out, i, row[i]) != napi_ok) return NULL;
    }
    return out;
}

napi_value mpn_error_js(mpn_env *env, pond_error *error) {
    napi_value box = NULL;
    mpn_box *mine = pond_error_attachment(error, env->mailbox);
    if (mine) napi_get_reference_value(env->napi, mine->ref, &box);
    return error_array(env->napi, pond_error_code(error), pond_error_message(error), pond_error_retriable(error), box,
                       pond_error_reason(error));
}

napi_value mpn_throw(mpn_env *env, pond_error *error) {
    napi_value thrown = mpn_error_js(env, error);
    if (thrown) napi_throw(env->napi, thrown);
    pond_error_free(error);
    return NULL;
}

napi_value mpn_throw_code(napi_env napi, int code, const char *message) {
    napi_value thrown = error_array(napi, code, message, code == POND_ENOMEM, NULL, NULL);
    if (thrown) napi_throw(napi, thrown);
    return NULL;
}
