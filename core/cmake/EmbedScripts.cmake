# Turns the Lua scripts into one C include: the bytes of each and the SHA-1 by which the server knows it.
# Called as a script: -DSCRIPTS=<list of .lua> -DOUT=<file> -P EmbedScripts.cmake
set(text "/* Generated from cache/lua by EmbedScripts.cmake. SCRIPT(name, sha1, bytes...) */\n")
foreach(script ${SCRIPTS})
  get_filename_component(name ${script} NAME_WE)
  file(SHA1 ${script} sha)
  file(READ ${script} hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(APPEND text "SCRIPT(${name}, \"${sha}\", ${bytes})\n")
endforeach()
file(WRITE ${OUT} "${text}")
