#include "notify/amqp.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <amqp.h>
#include <amqp_tcp_socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"

enum {
    CHANNEL = 1,
    HEARTBEAT_S = 4,    /* it also ends a send to a broker that takes nothing, after twice the time */
    IDLE_MS = 4 * 1000, /* after which a connection is made anew: nobody answers its heartbeats meanwhile */
    NAME_MAX_LEN = 255, /* of an exchange, a routing key: a short string's */
    AT_ONCE = 64,       /* unconfirmed */
    PERSISTENT = 2
};

typedef struct amqp_broker {
    mp_broker base;
    char *address; /* cut up by amqp_parse_url */
    struct amqp_connection_info info;
    char exchange[NAME_MAX_LEN + 1], declare[16];
    amqp_connection_state_t conn; /* NULL: not connected */
    int64_t used_ms;
    uint64_t published; /* on this connection: the last delivery tag */
} amqp_broker;

/* ---- the address ---- */

static int bad(pond_error **err, const char *what) {
    return mp_fail(err, POND_EURL, "events: %s: write amqp://user:password@host:port/vhost?exchange=NAME", what);
}

static bool take(const char *query, const char *name, char *out, size_t room) {
    size_t len = strlen(name);
    for (const char *at = query; at && *at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL) {
        if (strncmp(at, name, len) != 0 || at[len] != '=') continue;
        const char *value = at + len + 1;
        size_t n = strcspn(value, "&");
        if (n >= room) return false;
        memcpy(out, value, n);
        out[n] = 0;
    }
    return true;
}

static bool known(const char *query) {
    for (const char *at = query; at && *at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL)
        if (strncmp(at, "exchange=", 9) != 0 && strncmp(at, "declare=", 8) != 0) return false;
    return true;
}

static int parse(amqp_broker *b, pond_error **err) {
    static const char *const kinds[] = {"", "topic", "direct", "fanout", "headers"};
    char *query = strchr(b->address, '?');
    if (query) *query++ = 0;
    if (!known(query)) return bad(err, "the address has a parameter that is neither exchange nor declare");
    if (!take(query, "exchange", b->exchange, sizeof b->exchange)) return bad(err, "the exchange's name is too long");
    if (!query || !strstr(query, "exchange=")) return bad(err, "the address names no exchange");
    bool kind = take(query, "declare", b->declare, sizeof b->declare), good = false;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && kind; i++) good |= strcmp(b->declare, kinds[i]) == 0;
    if (!good) return bad(err, "declare is topic, direct, fanout or headers");
    amqp_default_connection_info(&b->info);
    if (amqp_parse_url(b->address, &b->info) != AMQP_STATUS_OK) return bad(err, "the address cannot be read");
    if (b->info.ssl) return bad(err, "amqps is not spoken yet");
    if (!b->info.vhost[0]) b->info.vhost = (char *)"/"; /* a host with a slash behind it */
    return POND_OK;
}

/* ---- the connection ---- */

static void disconnect(amqp_broker *b) {
    amqp_connection_state_t conn = b->conn;
    b->conn = NULL; /* first: a child of a fork must not find it half gone */
    if (conn) amqp_destroy_connection(conn);
}

static struct timeval until_of(int64_t until) {
    int64_t left = until - mp_clock_ms();
    if (left < 1) left = 1;
    return (struct timeval){.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
}

/* Never with the address, which holds a password. */
static int failed(amqp_broker *b, pond_error **err, const char *what, const char *why) {
    disconnect(b);
    if (err)
        *err =
            mp_error_new_retriable(POND_ESTORE, 1, "events: amqp %s:%d: %s: %s", b->info.host, b->info.port, what, why);
    return POND_ESTORE;
}

static int refused(amqp_broker *b, pond_error **err, const char *what, amqp_rpc_reply_t reply) {
    char text[200] = "no answer";
    amqp_bytes_t said = amqp_empty_bytes;
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) {
        snprintf(text, sizeof text, "%s", amqp_error_string2(reply.library_error));
    } else if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        said = ((amqp_connection_close_t *)reply.reply.decoded)->reply_text;
    } else if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        said = ((amqp_channel_close_t *)reply.reply.decoded)->reply_text;
    }
    if (said.len) snprintf(text, sizeof text, "%.*s", said.len < 190 ? (int)said.len : 190, (char *)said.bytes);
    return failed(b, err, what, text);
}

/* Before each question: it has what is left of the time. */
static bool in_time(amqp_broker *b, int64_t until) {
    struct timeval left = until_of(until);
    amqp_set_rpc_timeout(b->conn, &left);
    return mp_clock_ms() < until;
}

static bool well(amqp_rpc_reply_t reply) { return reply.reply_type == AMQP_RESPONSE_NORMAL; }

/* The exchange has to be there, or is declared; an event for one that is not there would be lost without a word. */
static amqp_rpc_reply_t find_exchange(amqp_broker *b) {
    bool declare = b->declare[0] != 0;
    amqp_exchange_declare(b->conn, CHANNEL, amqp_cstring_bytes(b->exchange),
                          amqp_cstring_bytes(declare ? b->declare : "topic"), !declare, true, false, false,
                          amqp_empty_table);
    return amqp_get_rpc_reply(b->conn);
}

static int connect_broker(amqp_broker *b, int64_t until, pond_error **err) {
    struct timeval limit = until_of(until);
    b->conn = amqp_new_connection();
    amqp_socket_t *socket = b->conn ? amqp_tcp_socket_new(b->conn) : NULL;
    if (!socket) return failed(b, err, "connecting", "no memory");
    amqp_set_handshake_timeout(b->conn, &limit);
    amqp_set_rpc_timeout(b->conn, &limit);
    int rc = amqp_socket_open_noblock(socket, b->info.host, b->info.port, &limit);
    if (rc != AMQP_STATUS_OK) return failed(b, err, "connecting", amqp_error_string2(rc));
    amqp_rpc_reply_t reply = amqp_login(b->conn, b->info.vhost, AMQP_DEFAULT_MAX_CHANNELS, AMQP_DEFAULT_FRAME_SIZE,
                                        HEARTBEAT_S, AMQP_SASL_METHOD_PLAIN, b->info.user, b->info.password);
    if (!well(reply)) return refused(b, err, "logging in", reply);
    if (!in_time(b, until)) return failed(b, err, "connecting", "it took too long");
    amqp_channel_open(b->conn, CHANNEL);
    reply = amqp_get_rpc_reply(b->conn);
    if (!well(reply)) return refused(b, err, "opening a channel", reply);
    if (!in_time(b, until)) return failed(b, err, "connecting", "it took too long");
    if (b->exchange[0]) reply = find_exchange(b);
    if (!well(reply)) return refused(b, err, "looking for the exchange", reply);
    if (!in_time(b, until)) return failed(b, err, "connecting", "it took too long");
    amqp_confirm_select(b->conn, CHANNEL);
    reply = amqp_get_rpc_reply(b->conn);
    if (!well(reply)) return refused(b, err, "asking for confirmations", reply);
    b->published = 0;
    return POND_OK;
}

/* ---- publishing ---- */

static int send_one(amqp_broker *b, const mp_notice *notice) {
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
                                                    AMQP_BASIC_MESSAGE_ID_FLAG,
                                          .content_type = amqp_cstring_bytes("application/json"),
                                          .delivery_mode = PERSISTENT,
                                          .message_id = amqp_cstring_bytes(notice->id)};
    return amqp_basic_publish(b->conn, CHANNEL, amqp_cstring_bytes(b->exchange), amqp_cstring_bytes(notice->key), false,
                              false, &properties,
                              (amqp_bytes_t){.len = notice->len, .bytes = (void *)(uintptr_t)notice->text});
}

typedef struct answers {
    uint64_t first; /* delivery tag of the first that was sent */
    size_t n;
    bool confirmed[AT_ONCE];
} answers;

static void confirm(answers *a, uint64_t tag, bool multiple) {
    for (size_t i = 0; i < a->n; i++)
        if (a->first + i == tag || (multiple && a->first + i < tag)) a->confirmed[i] = true;
}

static size_t prefix(const answers *a) {
    size_t n = 0;
    while (n < a->n && a->confirmed[n]) n++;
    return n;
}

static int await_confirms(amqp_broker *b, answers *a, int64_t until, pond_error **err) {
    while (prefix(a) < a->n) {
        amqp_frame_t frame;
        struct timeval limit = until_of(until);
        amqp_maybe_release_buffers(b->conn);
        int rc = mp_clock_ms() > until ? AMQP_STATUS_TIMEOUT : amqp_simple_wait_frame_noblock(b->conn, &frame, &limit);
        if (rc != AMQP_STATUS_OK) return failed(b, err, "waiting for confirmations", amqp_error_string2(rc));
        if (frame.frame_type != AMQP_FRAME_METHOD) continue;
        if (frame.payload.method.id == AMQP_BASIC_ACK_METHOD) {
            const amqp_basic_ack_t *ack = frame.payload.method.decoded;
            confirm(a, ack->delivery_tag, ack->multiple);
        } else if (frame.payload.method.id == AMQP_BASIC_NACK_METHOD) {
            return failed(b, err, "publishing", "the broker could not keep an event");
        } else if (frame.payload.method.id == AMQP_CHANNEL_CLOSE_METHOD ||
                   frame.payload.method.id == AMQP_CONNECTION_CLOSE_METHOD) {
            return refused(
                b, err, "publishing",
                (amqp_rpc_reply_t){.reply_type = AMQP_RESPONSE_SERVER_EXCEPTION, .reply = frame.payload.method});
        }
    }
    return POND_OK;
}

static int publish(mp_broker *base, const mp_notice *notices, size_t n, int64_t until, size_t *tried, size_t *confirmed,
                   pond_error **err) {
    amqp_broker *b = (amqp_broker *)base;
    int code = POND_OK;
    *tried = *confirmed = 0;
    if (b->conn && mp_clock_ms() - b->used_ms > IDLE_MS) disconnect(b);
    if (!b->conn) code = connect_broker(b, until, err);
    while (code == POND_OK && *confirmed < n) {
        answers a = {.first = b->published + 1};
        for (; a.n < AT_ONCE && *confirmed + a.n < n && code == POND_OK; a.n++) {
            if (mp_clock_ms() >= until) {
                code = failed(b, err, "publishing", "it took too long");
                break;
            }
            (*tried)++;
            int rc = send_one(b, &notices[*confirmed + a.n]);
            if (rc != AMQP_STATUS_OK) code = failed(b, err, "publishing", amqp_error_string2(rc));
            else b->published++;
        }
        if (code == POND_OK) code = await_confirms(b, &a, until, err);
        *confirmed += prefix(&a);
    }
    b->used_ms = mp_clock_ms();
    return code;
}

/* ---- its life ---- */

static void forget(mp_broker *base) {
    amqp_broker *b = (amqp_broker *)base;
    /* To close it would be to say good-bye in the parent's name: the descriptor alone is ours. */
    if (b->conn) close(amqp_get_sockfd(b->conn));
    mp_leave_aside(b->conn);
    b->conn = NULL;
}

static void end(mp_broker *base) {
    amqp_broker *b = (amqp_broker *)base;
    disconnect(b);
    free(b->address);
    free(b);
}

static const mp_broker_vt vt = {.publish = publish, .forget = forget, .close = end};

int mp_amqp_open(mp_broker **out, const char *address, pond_error **err) {
    amqp_broker *b = calloc(1, sizeof *b);
    if (!b || !(b->address = strdup(address))) {
        free(b);
        return mp_fail(err, POND_ENOMEM, "no memory for a broker");
    }
    b->base.vt = &vt;
    int code = parse(b, err);
    if (code == POND_OK) *out = &b->base;
    else end(&b->base);
    return code;
}
