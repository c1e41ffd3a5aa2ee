#include "cache/redis_scripts.h"

#define SCRIPT(name, sha, ...) static const unsigned char text_##name[] = {__VA_ARGS__};
#include "redis_scripts.inc"
#undef SCRIPT

const mp_script mp_scripts[MP_SCRIPTS] = {
#define SCRIPT(name, sha, ...) [MP_SCRIPT_##name] = {sha, (const char *)text_##name, sizeof text_##name},
#include "redis_scripts.inc"
#undef SCRIPT
};
