# Target pond_tls: OpenSSL 3, which cache/redis_tls*.c stand on.
#
# A module that is loaded into somebody's process links it statically, with hidden symbols: node exports an OpenSSL of its own,
# whatever its version, and every undefined SSL_... of an addon would become one of those; a Python may bring its own, too. Such a
# module is never unloaded, for OpenSSL has destructors in threads that outlive a Worker. A library or a program shares the
# system's, which the system keeps up to date.
if(NOT POND_OPENSSL MATCHES "^(AUTO|SHARED|STATIC)$")
  message(FATAL_ERROR "POND_OPENSSL=${POND_OPENSSL}: it is AUTO, SHARED or STATIC")
endif()
set(_static FALSE)
if(POND_OPENSSL STREQUAL "STATIC" OR (POND_OPENSSL STREQUAL "AUTO" AND (POND_PYTHON OR POND_NODE)))
  set(_static TRUE)
endif()
set(OPENSSL_USE_STATIC_LIBS ${_static})
find_package(OpenSSL 3.0)
if(NOT OPENSSL_FOUND)
  if(_static)
    message(FATAL_ERROR "OpenSSL >= 3.0 was not found, with libssl.a and libcrypto.a and its headers: they are for rediss://. Debian and "
      "Ubuntu: apt-get install libssl-dev. Elsewhere: OPENSSL_ROOT_DIR=<where OpenSSL was installed>")
  endif()
  message(FATAL_ERROR "OpenSSL >= 3.0 and its headers were not found: they are for rediss://. Debian and Ubuntu: apt-get install "
    "libssl-dev. Elsewhere: OPENSSL_ROOT_DIR=<where OpenSSL was installed>")
endif()
add_library(pond_tls INTERFACE)
target_link_libraries(pond_tls INTERFACE OpenSSL::SSL OpenSSL::Crypto)
if(_static)
  target_link_options(pond_tls INTERFACE -Wl,--exclude-libs,libssl.a:libcrypto.a -Wl,-z,nodelete)
  message(STATUS "rediss://: OpenSSL ${OPENSSL_VERSION}, linked in")
else()
  message(STATUS "rediss://: the system's OpenSSL ${OPENSSL_VERSION}")
endif()
