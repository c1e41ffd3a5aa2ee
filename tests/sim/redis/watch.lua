-- What a server can see of a broken rule that no reader would notice: who may end a lease, and who may make one.
-- (Whatever makes a read wrong is judged by the reads, see ../judge.h.)
local watch = {}

local function lease_of(space, keys)
  for _, name in ipairs(keys) do
    if name:sub(1, 5) == 'mp:l:' then
      local key = space:find(name)
      return key and key.value or nil, key and key.ends
    end
  end
end

watch.before = lease_of

-- `name` is the script that ran between the two looks, `token` its caller's. What is wrong, or nil.
function watch.after(space, keys, name, token, was, was_ends)
  local is, ends = lease_of(space, keys)
  local backoff = '-'
  if was and not is and was ~= token and name ~= 'begin' and name ~= 'end' then
    return name .. ' ended the lease of another'
  elseif was and is and was ~= is and was ~= backoff and not (name == 'release' and was == token) then
    return name .. ' gave away a lease that stood'
  elseif is and is ~= was and is ~= backoff and (name ~= 'get' or is ~= token) then
    return name .. ' made a lease'
  elseif is and is == was and ends ~= was_ends and is ~= token then
    return name .. ' moved the end of the lease of another'
  end
end

return watch
