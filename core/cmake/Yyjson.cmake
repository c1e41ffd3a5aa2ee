# Target pond_yyjson: the pinned yyjson (MIT), compiled into the library with hidden symbols. A system yyjson is not used:
# what a document may hold is decided by this parser, so it is the same everywhere.
include(FetchSdist)
pond_fetch_sdist(yyjson 4.0.6 fcd4dc15c1e39a30bf9fa85d56903029111506860fc3080ab0d81c6c6dacaa8c
                 "*/yyjson/yyjson.[ch]" _yyjson_dir)
if(EXISTS "${_yyjson_dir}/yyjson/yyjson.c")
  set(_yyjson_dir "${_yyjson_dir}/yyjson") # the sdist's own layout
endif()
foreach(_file yyjson.c yyjson.h)
  if(NOT EXISTS "${_yyjson_dir}/${_file}")
    message(FATAL_ERROR "yyjson: no ${_file} in ${_yyjson_dir}")
  endif()
endforeach()

add_library(pond_yyjson OBJECT "${_yyjson_dir}/yyjson.c")
set_target_properties(pond_yyjson PROPERTIES C_STANDARD 11 C_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON)
target_compile_options(pond_yyjson PRIVATE -w)
if(POND_SANITIZE) # clang needs two minutes for it with UBSan, and it is not ours to judge; ASan still sees what we hand it
  target_compile_options(pond_yyjson PRIVATE -fno-sanitize=undefined)
endif()
# No comments, trailing commas, NaN or broken UTF-8 whatever the flags of a call say; it is also faster.
target_compile_definitions(pond_yyjson PRIVATE YYJSON_DISABLE_NON_STANDARD=1)
# SYSTEM: its header is not held to our warnings.
target_include_directories(pond_yyjson SYSTEM PUBLIC "$<BUILD_INTERFACE:${_yyjson_dir}>")
message(STATUS "yyjson: bundled from ${_yyjson_dir}")
