/* The textbook protocol, as scripts that take the place of the library's: naive/NAME.lua. */
#ifndef SIM_NAIVE_H
#define SIM_NAIVE_H

#include "server.h"

const server_scripts *naive_scripts(void); /* kept for the program's life */

#endif
