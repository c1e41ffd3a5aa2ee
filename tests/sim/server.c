#include "server.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/redis_scripts.h"
#include "virtual/virtual.h"

/* One Lua for the whole program, so that scripts are compiled once; each server is an object in it. */
static lua_State *lua;
static int make; /* the constructor that server.lua returns, in the registry */

struct server {
    dice *dice;
    int self; /* in the registry */
};

static void must(bool well, const char *what) {
    if (well) return;
    fprintf(stderr, "sim: %s: %s\n", what, lua_tostring(lua, -1));
    abort();
}

static int clock_now(lua_State *l) {
    lua_pushnumber(l, (lua_Number)virtual_now());
    return 1;
}

/* sha -> {name=, text=}, and under "sha" text -> sha. */
static void push_scripts(void) {
    lua_newtable(lua);
    lua_newtable(lua);
    for (size_t i = 0; i < MP_SCRIPTS; i++) {
        const mp_script *s = &mp_scripts[i];
        const char *colon = memchr(s->text, ':', s->len); /* "-- get: ..." */
        must(colon && strncmp(s->text, "-- ", 3) == 0, "a script does not begin with its name");
        lua_newtable(lua);
        lua_pushlstring(lua, s->text + 3, (size_t)(colon - s->text) - 3);
        lua_setfield(lua, -2, "name");
        lua_pushlstring(lua, s->text, s->len);
        lua_setfield(lua, -2, "text");
        lua_setfield(lua, -3, s->sha);
        lua_pushlstring(lua, s->text, s->len);
        lua_pushstring(lua, s->sha);
        lua_settable(lua, -3);
    }
    lua_setfield(lua, -2, "sha");
}

static void start_lua(void) {
    lua = luaL_newstate();
    if (!lua) abort();
    luaL_openlibs(lua);
    must(luaL_loadfile(lua, SIM_ROOT "/redis/server.lua") == 0, "redis/server.lua");
    lua_pushliteral(lua, SIM_ROOT "/redis");
    push_scripts();
    lua_pushcfunction(lua, clock_now);
    must(lua_pcall(lua, 3, 1, 0) == 0, "redis/server.lua");
    make = luaL_ref(lua, LUA_REGISTRYINDEX);
}

static void push_id(dice *d) { /* 40 hex digits, as Redis' ids */
    char id[41];
    for (int i = 0; i < 40; i += 8) snprintf(id + i, 9, "%08x", (unsigned)dice_bits(d));
    lua_pushlstring(lua, id, 40);
}

static void push_method(server *s, const char *name) {
    lua_rawgeti(lua, LUA_REGISTRYINDEX, s->self);
    lua_getfield(lua, -1, name);
    lua_insert(lua, -2);
}

server *server_new(dice *d, const server_scripts *replaced, bool watched, bool tells) {
    server *s = calloc(1, sizeof *s);
    if (!s) abort();
    if (!lua) start_lua();
    s->dice = d;
    lua_rawgeti(lua, LUA_REGISTRYINDEX, make);
    push_id(d);
    push_id(d);
    lua_newtable(lua);
    for (; replaced; replaced = replaced->next) {
        lua_pushstring(lua, replaced->text);
        lua_setfield(lua, -2, replaced->name);
    }
    lua_pushboolean(lua, watched);
    lua_pushboolean(lua, tells);
    must(lua_pcall(lua, 5, 1, 0) == 0, "new server");
    s->self = luaL_ref(lua, LUA_REGISTRYINDEX);
    return s;
}

void server_free(server *s) {
    if (!s) return;
    luaL_unref(lua, LUA_REGISTRYINDEX, s->self);
    free(s);
}

/* "*3\r\n$3\r\nGET..." as an array of strings. The caller has seen that the command is whole. */
static void push_command(const char *resp) {
    char *at = NULL;
    long count = strtol(resp + 1, &at, 10);
    lua_createtable(lua, (int)count, 0);
    for (int i = 1; i <= count; i++) {
        size_t size = strtoul(at + 3, &at, 10);
        lua_pushlstring(lua, at + 2, size);
        lua_rawseti(lua, -2, i);
        at += 2 + size;
    }
}

const char *server_execute(server *s, unsigned conn, const char *resp, mp_buf *reply, mp_buf *words) {
    lua_settop(lua, 0);
    push_method(s, "execute");
    lua_pushnumber(lua, conn);
    push_command(resp);
    lua_pushboolean(lua, words != NULL);
    must(lua_pcall(lua, 4, 3, 0) == 0, "the server");
    size_t size;
    const char *text = lua_tolstring(lua, -3, &size);
    mp_buf_add(reply, text, size);
    if (words) mp_buf_text(words, lua_tostring(lua, -2));
    return lua_tostring(lua, -1); /* stays on the stack until the next command */
}

bool server_push(server *s, unsigned *conn, mp_buf *message) {
    push_method(s, "push");
    must(lua_pcall(lua, 1, 2, 0) == 0, "push");
    size_t size = 0;
    const char *text = lua_tolstring(lua, -1, &size);
    *conn = (unsigned)lua_tonumber(lua, -2);
    mp_buf_add(message, text, size);
    lua_pop(lua, 2);
    return size > 0;
}

/* The method that lies under `args` arguments and the server. */
static void call(int args, const char *what) { must(lua_pcall(lua, args + 1, 0, 0) == 0, what); }

/* A version as the scripts have it. */
static int64_t version_of(const char *bytes, size_t size) {
    uint64_t number = 0;
    for (size_t i = size; i-- > 0;) number = number << 8 | (unsigned char)bytes[i];
    return (int64_t)number;
}

bool server_accepted(server *s, server_news *news) {
    size_t key_size = 0, size = 0, more_size = 0, rest_size = 0, first_size = 0;
    mp_buf_free(&news->key);
    mp_buf_free(&news->record);
    mp_buf_init(&news->key);
    mp_buf_init(&news->record);
    push_method(s, "accept");
    must(lua_pcall(lua, 1, 6, 0) == 0, "accept");
    const char *name = lua_tolstring(lua, -6, &key_size), *text = lua_tolstring(lua, -5, &size);
    const char *kind = lua_tostring(lua, -4), *more = lua_tolstring(lua, -3, &more_size);
    const char *rest = lua_tolstring(lua, -2, &rest_size), *first = lua_tolstring(lua, -1, &first_size);
    if (name) {
        news->kind = *kind == 'r'   ? SERVER_RECORD
                     : *kind == 'i' ? SERVER_INCREMENT
                     : *kind == 'f' ? SERVER_FOLD
                                    : SERVER_DROP;
        bool increment = news->kind == SERVER_INCREMENT;
        mp_buf_add(&news->key, name, key_size);
        if (!increment) mp_buf_add(&news->record, text, size);
        news->version = increment ? version_of(text, size) : version_of(more, more_size);
        news->rest = rest ? version_of(rest, rest_size) : 0;
        news->first = first ? version_of(first, first_size) : 0;
        news->by = increment ? (unsigned)strtoul(more, NULL, 10) : 0;
    }
    lua_pop(lua, 6);
    return name != NULL;
}

void server_recall(server *s) {
    push_method(s, "recall");
    call(0, "recall");
}

size_t server_waiting(server *s) {
    push_method(s, "waiting");
    must(lua_pcall(lua, 1, 1, 0) == 0, "waiting");
    size_t n = (size_t)lua_tonumber(lua, -1);
    lua_pop(lua, 1);
    return n;
}

void server_expire(server *s) {
    push_method(s, "expire");
    call(0, "expire");
}

void server_save(server *s) {
    push_method(s, "save");
    call(0, "save");
}

void server_restart(server *s, server_return how) {
    push_method(s, "restart");
    push_id(s->dice);
    push_id(s->dice);
    lua_pushboolean(lua, how != SERVER_EMPTY);
    lua_pushboolean(lua, how == SERVER_PROMOTED);
    call(4, "restart");
}

void server_new_replid(server *s) {
    push_method(s, "new_replid");
    push_id(s->dice);
    call(1, "new_replid");
}

void server_adopt(server *s, const char *run, const char *replid) {
    push_method(s, "adopt");
    lua_pushstring(lua, run);
    lua_pushstring(lua, replid);
    call(2, "adopt");
}

void server_flush_scripts(server *s) {
    push_method(s, "flush_scripts");
    call(0, "flush_scripts");
}

const char *server_evict(server *s, const char *prefix) {
    lua_settop(lua, 0);
    push_method(s, "evict");
    lua_pushstring(lua, prefix);
    lua_pushnumber(lua, dice_below(s->dice, 1u << 20));
    must(lua_pcall(lua, 3, 1, 0) == 0, "evict");
    return lua_tostring(lua, -1);
}
