#include "model/instant.h"

#include <string.h>

typedef struct reader {
    const char *at, *end;
} reader;

/* `count` digits within low..high; -1 if they are not there. */
static int number(reader *r, int count, int low, int high) {
    int value = 0;
    if (r->end - r->at < count) return -1;
    for (int i = 0; i < count; i++) {
        unsigned d = (unsigned)(unsigned char)r->at[i] - '0';
        if (d > 9) return -1;
        value = value * 10 + (int)d;
    }
    r->at += count;
    return value >= low && value <= high ? value : -1;
}

static bool one_of(reader *r, const char *chars) {
    if (r->at == r->end || *r->at == 0 || strchr(chars, *r->at) == NULL) return false;
    r->at++;
    return true;
}

static int days_in(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Days from 1970-01-01 in the Gregorian calendar: years begin in March, so that the leap day is a year's last. */
static int64_t days_from_1970(int year, int month, int day) {
    int y = month <= 2 ? year + 399 : year + 400; /* 400 years are a whole cycle of 146,097 days: keeps it positive */
    int m = (month + 9) % 12;
    return (int64_t)y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 146097 - 719468;
}

/* .1 to .123 as milliseconds; 0 if there is no point, -1 if there is no digit or one too many. */
static int fraction(reader *r) {
    int value = 0, scale = 100;
    if (!one_of(r, ".")) return 0;
    int count = 0;
    for (int d; count < 3 && (d = number(r, 1, 0, 9)) >= 0; count++, scale /= 10) value += d * scale;
    return count > 0 ? value : -1;
}

/* Minutes east of UTC. */
static bool offset(reader *r, int *minutes) {
    *minutes = 0;
    if (one_of(r, "Zz")) return true;
    int sign = r->at < r->end && *r->at == '-' ? -1 : 1, hours, rest;
    if (!one_of(r, "+-") || (hours = number(r, 2, 0, 23)) < 0 || !one_of(r, ":") || (rest = number(r, 2, 0, 59)) < 0)
        return false;
    *minutes = sign * (hours * 60 + rest);
    return true;
}

bool mp_instant_parse(const char *text, size_t len, int64_t *ms) {
    reader r = {text, text + len};
    int year, month, day, hour = 0, minute = 0, second = 0, milli = 0, east = 0;
    if (len < 10 || text[4] != '-') return false;
    if ((year = number(&r, 4, 0, 9999)) < 0 || !one_of(&r, "-") || (month = number(&r, 2, 1, 12)) < 0 ||
        !one_of(&r, "-") || (day = number(&r, 2, 1, days_in(year, month))) < 0)
        return false;
    if (r.at < r.end) {
        if (!one_of(&r, "Tt") || (hour = number(&r, 2, 0, 23)) < 0 || !one_of(&r, ":") ||
            (minute = number(&r, 2, 0, 59)) < 0)
            return false;
        if (one_of(&r, ":") && ((second = number(&r, 2, 0, 59)) < 0 || (milli = fraction(&r)) < 0)) return false;
        if (!offset(&r, &east) || r.at != r.end) return false;
    }
    int64_t minutes = days_from_1970(year, month, day) * 1440 + hour * 60 + minute - east;
    *ms = (minutes * 60 + second) * 1000 + milli;
    return true;
}
