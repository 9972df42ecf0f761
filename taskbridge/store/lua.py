"""The scripts of `RedisStore`; Redis 5 or newer runs each as one step.

What they keep, for each alias (its name in braces puts all of it in one cluster slot):

``taskbridge:{alias}:record:ID``
    A hash: the fields of `TaskRecord`, NULL ones left out. Instants are microseconds
    since 1970, and are made and compared here, by the clock of the server.
``taskbridge:{alias}:wake``
    READY and RUNNING records by `wake_at`.
``taskbridge:{alias}:running``
    Those of them that are RUNNING, to be counted.
``taskbridge:{alias}:pushed``
    READY ones that were pushed, as ``CHANNEL:ID``, in alphabetical order.
``taskbridge:{alias}:successful``, ``taskbridge:{alias}:failed``
    Finished ones by `finished_at`.
"""

KEYS = ("wake", "running", "pushed", "successful", "failed")

_PRELUDE = """
local WAKE, RUNNING, PUSHED = KEYS[1], KEYS[2], KEYS[3]
local ENDED = {SUCCESSFUL = KEYS[4], FAILED = KEYS[5]}
local RECORD = ARGV[1]

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

-- As text: Lua would write 1.7e+15.
local function integer(n) return string.format('%.0f', n) end

local function read(id, ...)
  return unpack(redis.call('HMGET', RECORD .. id, ...))
end

local function write(id, ...) redis.call('HSET', RECORD .. id, ...) end

local function wake(id, at)
  write(id, 'wake_at', at)
  redis.call('ZADD', WAKE, at, id)
end

local function wake_after(id, us) wake(id, integer(now + us)) end

local function is_due(at) return at and tonumber(at) <= now end

local function finish(id, status)
  write(id, 'status', status, 'finished_at', integer(now))
  redis.call('HDEL', RECORD .. id, 'wake_at')
  redis.call('ZREM', WAKE, id)
  redis.call('SREM', RUNNING, id)
  redis.call('ZADD', ENDED[status], integer(now), id)
end

local function ready(id)
  write(id, 'status', 'READY', 'pushes', '0')
  redis.call('SREM', RUNNING, id)
end
"""

INSERT = (
    _PRELUDE
    + """
for i = 2, #ARGV do
  local new = cjson.decode(ARGV[i])
  local id, wake_at, pushes, pushed_to = new[1], new[8], new[9], new[10]
  if redis.call('EXISTS', RECORD .. id) == 0 then
    write(id, 'status', 'READY', 'task', new[2], 'queue_name', new[3],
      'priority', new[4], 'arguments', new[5], 'enqueued_at', new[6],
      'at_most_once', new[7], 'pushes', pushes, 'pushed_to', pushed_to)
    if new[11] ~= '' then write(id, 'run_after', new[11]) end
    wake(id, wake_at)
    if pushes ~= '0' then redis.call('ZADD', PUSHED, 0, pushed_to .. ':' .. id) end
  end
end
"""
)

# ARGV: attempt, worker_ids, token, lease, again, ids
CLAIM = (
    _PRELUDE
    + """
local claimed = {}
for i = 7, #ARGV do
  local id = ARGV[i]
  local status, attempt, token, pushed_to =
    read(id, 'status', 'attempt', 'token', 'pushed_to')
  if status == 'READY' and (attempt or '0') == ARGV[2] then
    write(id, 'status', 'RUNNING', 'attempt', integer(ARGV[2] + 1),
      'worker_ids', ARGV[3], 'token', ARGV[4], 'last_attempted_at', integer(now))
    redis.call('HSETNX', RECORD .. id, 'started_at', integer(now))
    wake_after(id, ARGV[5])
    redis.call('SADD', RUNNING, id)
    redis.call('ZREM', PUSHED, pushed_to .. ':' .. id)
    claimed[#claimed + 1] = id
  elseif ARGV[6] == '1' and status == 'RUNNING' and token == ARGV[4] then
    claimed[#claimed + 1] = id
  end
end
return claimed
"""
)

# ARGV: token, lease, ids
EXTEND = (
    _PRELUDE
    + """
for i = 4, #ARGV do
  local status, token = read(ARGV[i], 'status', 'token')
  if status == 'RUNNING' and token == ARGV[2] then wake_after(ARGV[i], ARGV[3]) end
end
"""
)

# ARGV: token, pairs of id and return_value
SUCCEED = (
    _PRELUDE
    + """
local ours = 0
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  local status, token = read(id, 'status', 'token')
  if token == ARGV[2] and status == 'RUNNING' then
    write(id, 'return_value', ARGV[i + 1])
    finish(id, 'SUCCESSFUL')
  end
  if token == ARGV[2] and (status == 'RUNNING' or status == 'SUCCESSFUL') then
    ours = ours + 1
  end
end
return ours
"""
)

# ARGV: id, token, errors, after
RETRY = (
    _PRELUDE
    + """
local id = ARGV[2]
local status, token = read(id, 'status', 'token')
if token == ARGV[3] and status == 'RUNNING' then
  write(id, 'errors', ARGV[4])
  ready(id)
  wake_after(id, ARGV[5])
end
return token == ARGV[3] and (status == 'RUNNING' or status == 'READY')
"""
)

# ARGV: id, token, errors
FAIL = (
    _PRELUDE
    + """
local id = ARGV[2]
local status, token = read(id, 'status', 'token')
if token == ARGV[3] and status == 'RUNNING' then
  write(id, 'errors', ARGV[4])
  finish(id, 'FAILED')
end
return token == ARGV[3] and (status == 'RUNNING' or status == 'FAILED')
"""
)

# ARGV: horizon, limit
LOOK = (
    _PRELUDE
    + """
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', WAKE, '-inf', integer(now + ARGV[2]),
    'LIMIT', 0, ARGV[3])) do
  local status, pushes, wake_at = read(id, 'status', 'pushes', 'wake_at')
  if status then
    found[#found + 1] = {id, status, pushes, integer(wake_at - now)}
  else -- a server with another maxmemory-policy than noeviction dropped the record
    redis.call('ZREM', WAKE, id)
    redis.call('SREM', RUNNING, id)
  end
end
return found
"""
)

# ARGV: token, again, pushed_to, ids
TAKE = (
    _PRELUDE
    + """
local taken = {}
for i = 5, #ARGV do
  local id = ARGV[i]
  local status, wake_at, token, pushes, pushed_to =
    read(id, 'status', 'wake_at', 'token', 'pushes', 'pushed_to')
  if status == 'READY' and is_due(wake_at) then
    token = ARGV[2]
    write(id, 'token', token, 'pushes', integer(pushes + 1), 'pushed_to', ARGV[4])
    wake_after(id, ARGV[3])
    redis.call('ZREM', PUSHED, pushed_to .. ':' .. id)
    redis.call('ZADD', PUSHED, 0, ARGV[4] .. ':' .. id)
  end
  if token == ARGV[2] then
    taken[#taken + 1] = {id, redis.call('HGETALL', RECORD .. id)}
  end
end
return taken
"""
)

# ARGV: token, after, ids
PUT_BACK = (
    _PRELUDE
    + """
for i = 4, #ARGV do
  local status, token = read(ARGV[i], 'status', 'token')
  if status == 'READY' and (token or '') == ARGV[2] then
    wake_after(ARGV[i], ARGV[3])
  end
end
"""
)

# ARGV: id, token, errors, rerun
EXPIRE = (
    _PRELUDE
    + """
local id = ARGV[2]
local status, token, wake_at = read(id, 'status', 'token', 'wake_at')
if status ~= 'RUNNING' or token ~= ARGV[3] or not is_due(wake_at) then
  return false
end
write(id, 'errors', ARGV[4], 'token', '')
redis.call('HINCRBY', RECORD .. id, 'lost', 1)
ready(id)
if ARGV[5] == '1' then wake_after(id, 0) else finish(id, 'FAILED') end
return true
"""
)

# ARGV: pushed_to, limit. ';' is what follows ':'.
REDIRECT = (
    _PRELUDE
    + """
local function elsewhere(from, to)
  return redis.call('ZRANGEBYLEX', PUSHED, from, to, 'LIMIT', 0, ARGV[3])
end
local seen, redirected = 0, 0
for _, members in ipairs({
  elsewhere('-', '(' .. ARGV[2] .. ':'), elsewhere('[' .. ARGV[2] .. ';', '+')
}) do
  for _, member in ipairs(members) do
    local id = string.match(member, ':(.*)')
    local status, wake_at = read(id, 'status', 'wake_at')
    if status == 'READY' and not is_due(wake_at) then
      write(id, 'pushes', '0')
      wake_after(id, 0)
      redirected = redirected + 1
    end
    redis.call('ZREM', PUSHED, member)
    seen = seen + 1
  end
end
return {seen, redirected}
"""
)

# ARGV: limit, successful, failed: microseconds, or nothing
PRUNE = (
    _PRELUDE
    + """
local deleted = 0
for status, age in pairs({SUCCESSFUL = ARGV[3], FAILED = ARGV[4]}) do
  if age ~= '' then
    local ids = redis.call('ZRANGEBYSCORE', ENDED[status], '-inf', integer(now - age),
      'LIMIT', 0, ARGV[2] - deleted)
    for _, id in ipairs(ids) do
      redis.call('UNLINK', RECORD .. id)
      redis.call('ZREM', ENDED[status], id)
    end
    deleted = deleted + #ids
  end
end
return deleted
"""
)

GET = (
    _PRELUDE
    + """
local found = {}
for i = 2, #ARGV do
  local fields = redis.call('HGETALL', RECORD .. ARGV[i])
  if #fields > 0 then found[#found + 1] = {ARGV[i], fields} end
end
return found
"""
)

COUNTS = (
    _PRELUDE
    + """
local running = redis.call('SCARD', RUNNING)
return {
  redis.call('ZCARD', WAKE) - running, running,
  redis.call('ZCARD', ENDED.SUCCESSFUL), redis.call('ZCARD', ENDED.FAILED)
}
"""
)
