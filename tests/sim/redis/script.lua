-- EVAL: the very scripts of core/src/cache/lua, with the globals that Redis gives them and its conversions.
local commands = ...
local script = {}

local compiled = {} -- text -> function, for all servers of this program

-- What a script hands to redis.call: strings, and numbers in Redis' own notation.
local function words(...)
  local out = {...}
  for i = 1, select('#', ...) do
    if type(out[i]) == 'number' then out[i] = string.format('%.17g', out[i])
    elseif type(out[i]) ~= 'string' then
      error({err = 'ERR Lua redis lib command arguments must be strings or integers'}, 0)
    end
  end
  return out
end

local function call(server, ...)
  local argv = words(...)
  local name = (argv[1] or ''):upper()
  if not commands[name] then error({err = 'ERR Unknown Redis command called from script'}, 0) end
  if server.called then server:called(name, argv) end
  return commands[name](server, unpack(argv, 2))
end

-- An error of the command is its value.
local function pcalled(server, ...)
  local ok, value = pcall(call, server, ...)
  if ok then return value end
  return type(value) == 'table' and value or error(value, 0)
end

-- Of Redis' struct library what the scripts use: little-endian integers of so many bytes.
local struct = {}

local function widths(format)
  local out = {}
  if format:sub(1, 1) ~= '<' or format:find('[^<I%d]') then error('struct: of this format the simulator knows nothing') end
  for width in format:gmatch('I(%d+)') do out[#out + 1] = tonumber(width) end
  return out
end

function struct.pack(format, ...)
  local out = {}
  for i, width in ipairs(widths(format)) do
    local n = select(i, ...)
    for _ = 1, width do
      out[#out + 1] = string.char(n % 256)
      n = math.floor(n / 256)
    end
  end
  return table.concat(out)
end

function struct.unpack(format, text)
  local out, at = {}, 1
  for i, width in ipairs(widths(format)) do
    out[i] = 0
    for k = width, 1, -1 do out[i] = out[i] * 256 + text:byte(at + k - 1) end
    at = at + width
  end
  out[#out + 1] = at
  return unpack(out)
end

local function environment(server)
  local redis = {call = function(...) return call(server, ...) end, pcall = function(...) return pcalled(server, ...) end}
  return {redis = redis, string = string, math = math, table = table, tonumber = tonumber, tostring = tostring, type = type,
          ipairs = ipairs, pairs = pairs, unpack = unpack, select = select, struct = struct}
end

-- Its value as Redis sees it, or {err=}.
function script.run(server, text, keys, argv)
  local chunk = compiled[text]
  if not chunk then
    chunk = assert(loadstring(text, '@user_script'))
    compiled[text] = chunk
  end
  local globals = environment(server)
  globals.KEYS, globals.ARGV = keys, argv
  local ok, value = pcall(setfenv(chunk, globals))
  if ok then return value end
  return type(value) == 'table' and value or {err = 'ERR ' .. tostring(value)}
end

return script
