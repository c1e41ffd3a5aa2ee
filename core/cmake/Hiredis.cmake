# Target pond_hiredis: what includes <hiredis/...> links it. Either a system hiredis >= 1.1 (POND_HIREDIS_BUNDLED is then
# FALSE), or the pinned source from PyPI's "hiredis" sdist, compiled into the library with hidden symbols: then its
# objects are those of pond_hiredis_obj. Debian bookworm's own is 0.14, which is too old.
#
# Its ssl.c is left out: cache/redis_tls.h says why.
include(FetchSdist)
set(POND_HIREDIS_BUNDLED FALSE)
add_library(pond_hiredis INTERFACE)

if(NOT POND_HIREDIS MATCHES "^(AUTO|SYSTEM|BUNDLED)$")
  message(FATAL_ERROR "POND_HIREDIS=${POND_HIREDIS}: it is AUTO, SYSTEM or BUNDLED")
endif()
if(NOT POND_HIREDIS STREQUAL "BUNDLED" AND NOT POND_HIREDIS_SOURCE_DIR)
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(POND_SYSTEM_HIREDIS QUIET IMPORTED_TARGET hiredis>=1.1.0)
  endif()
  if(POND_SYSTEM_HIREDIS_FOUND)
    # Its pkg-config file may name only .../include/hiredis; our sources say <hiredis/hiredis.h>.
    pkg_get_variable(_include hiredis includedir)
    target_include_directories(pond_hiredis SYSTEM INTERFACE "$<BUILD_INTERFACE:${_include}>")
    target_link_libraries(pond_hiredis INTERFACE PkgConfig::POND_SYSTEM_HIREDIS)
    message(STATUS "hiredis: the system's ${POND_SYSTEM_HIREDIS_VERSION}")
    return()
  elseif(POND_HIREDIS STREQUAL "SYSTEM")
    message(FATAL_ERROR "POND_HIREDIS=SYSTEM, but pkg-config finds no hiredis >= 1.1")
  endif()
endif()

set(POND_HIREDIS_BUNDLED TRUE)
# 3.5.0 carries hiredis C 1.5.0.
pond_fetch_sdist(hiredis 3.5.0 c227592cc56b7df247abe4755c26723965be68972be2149fa441ac33d82131ba "*/vendor/hiredis/*"
                 _hiredis_dir)
if(EXISTS "${_hiredis_dir}/vendor/hiredis/hiredis.c")
  set(_hiredis_dir "${_hiredis_dir}/vendor/hiredis") # the sdist's own layout
endif()
set(_hiredis_c alloc.c async.c hiredis.c net.c read.c sds.c sockcompat.c)
foreach(_file ${_hiredis_c} hiredis.h async.h)
  if(NOT EXISTS "${_hiredis_dir}/${_file}")
    message(FATAL_ERROR "hiredis: no ${_file} in ${_hiredis_dir}")
  endif()
endforeach()
list(TRANSFORM _hiredis_c PREPEND "${_hiredis_dir}/")

# Its headers are included as <hiredis/...>: give them such a folder.
set(_include "${CMAKE_BINARY_DIR}/_deps/hiredis-include")
file(MAKE_DIRECTORY "${_include}")
file(CREATE_LINK "${_hiredis_dir}" "${_include}/hiredis" SYMBOLIC)

add_library(pond_hiredis_obj OBJECT ${_hiredis_c})
target_compile_options(pond_hiredis_obj PRIVATE -w)
target_compile_definitions(pond_hiredis_obj PRIVATE _GNU_SOURCE)
# SYSTEM: its headers are not held to our warnings.
target_include_directories(pond_hiredis SYSTEM INTERFACE "${_include}")
message(STATUS "hiredis: bundled from ${_hiredis_dir}")
