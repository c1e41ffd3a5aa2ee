# pond_fetch_sdist(NAME VERSION SHA256 PATTERN OUT_DIR)
#
# Gets the C sources that a PyPI source distribution carries, through pip and therefore through whatever index the
# machine is set up with, and sets OUT_DIR (a variable of the caller) to the folder that NAME-VERSION.tar.gz unpacks to.
#   PATTERN   the only members that are unpacked: "*/vendor/hiredis/*"
# -DPOND_<NAME>_SOURCE_DIR=<dir> (NAME in upper case) skips all that: OUT_DIR is that folder, and nothing is downloaded
# or checked; the caller looks for its files there.
#
# The archive is kept in ${CMAKE_BINARY_DIR}/_deps, or in the folder that the environment variable POND_DEPS_CACHE names
# (shared between build directories). Its SHA-256 is checked at every configure, wherever it came from.
function(pond_fetch_sdist NAME VERSION SHA256 PATTERN OUT_DIR)
  string(TOUPPER ${NAME} _upper)
  string(REPLACE "-" "_" _upper ${_upper})
  if(POND_${_upper}_SOURCE_DIR)
    get_filename_component(_dir "${POND_${_upper}_SOURCE_DIR}" ABSOLUTE BASE_DIR "${CMAKE_BINARY_DIR}")
    if(NOT IS_DIRECTORY "${_dir}")
      message(FATAL_ERROR "POND_${_upper}_SOURCE_DIR=${POND_${_upper}_SOURCE_DIR}: there is no such folder")
    endif()
    message(STATUS "${NAME}: sources in ${_dir} (POND_${_upper}_SOURCE_DIR)")
    set(${OUT_DIR} "${_dir}" PARENT_SCOPE)
    return()
  endif()

  set(_deps "${CMAKE_BINARY_DIR}/_deps")
  if(NOT "$ENV{POND_DEPS_CACHE}" STREQUAL "")
    get_filename_component(_cache "$ENV{POND_DEPS_CACHE}" ABSOLUTE BASE_DIR "${CMAKE_BINARY_DIR}")
  else()
    set(_cache "${_deps}/archives")
  endif()
  set(_archive "${_cache}/${NAME}-${VERSION}.tar.gz")

  # A stale or damaged archive in the cache is not an error: it is fetched anew.
  set(_have "")
  if(EXISTS "${_archive}")
    file(SHA256 "${_archive}" _have)
  endif()
  if(NOT _have STREQUAL SHA256)
    if(NOT Python3_EXECUTABLE AND Python_EXECUTABLE)
      set(Python3_EXECUTABLE "${Python_EXECUTABLE}")
    endif()
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
    # Into a folder of our own first: two configures may share the cache, and a rename is all or nothing.
    string(RANDOM LENGTH 8 _random)
    set(_tmp "${_deps}/${NAME}-${_random}.tmp")
    file(WRITE "${_tmp}/requirements.txt" "${NAME}==${VERSION} --hash=sha256:${SHA256}\n")
    message(STATUS "${NAME}: fetching the pinned source ${VERSION} with pip (${Python3_EXECUTABLE})")
    # pip checks the hash before it looks inside. It then asks the sdist's own build backend for metadata, so the index
    # must serve that too (setuptools); nothing is built or installed.
    execute_process(
      COMMAND "${Python3_EXECUTABLE}" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all:
              --require-hashes -r "${_tmp}/requirements.txt" -d "${_tmp}"
      RESULT_VARIABLE _rc ERROR_VARIABLE _err)
    if(_rc OR NOT EXISTS "${_tmp}/${NAME}-${VERSION}.tar.gz")
      file(REMOVE_RECURSE "${_tmp}")
      message(FATAL_ERROR "pip could not fetch ${NAME} ${VERSION}:\n${_err}\n"
        "Put ${NAME}-${VERSION}.tar.gz into ${_cache}, or give -DPOND_${_upper}_SOURCE_DIR=<its sources>.")
    endif()
    file(SHA256 "${_tmp}/${NAME}-${VERSION}.tar.gz" _have)
    if(NOT _have STREQUAL SHA256)
      file(REMOVE_RECURSE "${_tmp}")
      message(FATAL_ERROR "${NAME}-${VERSION}.tar.gz has SHA-256 ${_have}, wanted ${SHA256}")
    endif()
    file(MAKE_DIRECTORY "${_cache}")
    # The cache may be on another file system, where a rename cannot go: copy beside the place, then rename.
    file(COPY "${_tmp}/${NAME}-${VERSION}.tar.gz" DESTINATION "${_cache}/${_random}.tmp")
    file(RENAME "${_cache}/${_random}.tmp/${NAME}-${VERSION}.tar.gz" "${_archive}")
    file(REMOVE_RECURSE "${_cache}/${_random}.tmp" "${_tmp}")
  endif()

  # Unpacked once per archive: the stamp holds the hash and the pattern, and is written last.
  set(_dir "${_deps}/${NAME}-${VERSION}")
  set(_stamp "${_deps}/${NAME}-${VERSION}.stamp")
  set(_was "")
  if(EXISTS "${_stamp}")
    file(READ "${_stamp}" _was)
  endif()
  if(NOT _was STREQUAL "${SHA256} ${PATTERN}" OR NOT IS_DIRECTORY "${_dir}")
    file(REMOVE_RECURSE "${_dir}")
    file(ARCHIVE_EXTRACT INPUT "${_archive}" DESTINATION "${_deps}" PATTERNS ${PATTERN})
    if(NOT IS_DIRECTORY "${_dir}")
      message(FATAL_ERROR "${_archive} has no ${PATTERN}")
    endif()
    file(WRITE "${_stamp}" "${SHA256} ${PATTERN}")
  endif()
  set(${OUT_DIR} "${_dir}" PARENT_SCOPE)
endfunction()
