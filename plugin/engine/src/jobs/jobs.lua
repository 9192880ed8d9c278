local base, op, q = KEYS[1], ARGV[1], ARGV[2]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local due, run, dead, done = base .. ':due', base .. ':run', base .. ':dead', base .. ':done'
local function int(n) return string.format('%.0f', n) end
local function nat(v) return math.floor(math.min(math.max(tonumber(v) or 0, 0), 4503599627370496)) end
local function key(id) return base .. ':j:' .. id end
local function idem(k) return base .. ':i:' .. k end
local function read(id, ...)
  local h = redis.pcall('HMGET', key(id), ...)
  if h.err then return {} end
  return h
end
local function owns(id, k)
  return k and k ~= '-' and string.sub(redis.call('GET', idem(k)) or '', 1, #id) == id
end
local function keep(id, ttl, list, k)
  redis.call('PEXPIRE', key(id), ttl)
  if owns(id, k) then redis.call('PEXPIRE', idem(k), ttl) end
  redis.call('ZADD', list, int(now + nat(ttl)), id)
end
local function drop(id, k)
  redis.call('DEL', key(id))
  if owns(id, k) then redis.call('DEL', idem(k)) end
  for _, list in ipairs({ due, run, dead, done }) do redis.call('ZREM', list, id) end
end
local function wait(id, at, why)
  redis.call('HSET', key(id), 's', 'w', 'u', int(at), 'f', why)
  redis.call('ZADD', due, int(at), id)
end
local function bury(id, ttl, why, k)
  redis.call('HSET', key(id), 's', 'x', 'u', int(now), 'f', why)
  keep(id, ttl, dead, k)
end
if op == 'accept' then
  local id, k = ARGV[3], ARGV[5]
  if k ~= '-' then
    local known, print = string.match(redis.call('GET', idem(k)) or '', '^(%x+) (%x+)$')
    if known and redis.call('EXISTS', key(known)) == 1 then
      if print ~= ARGV[6] then return 'other ' .. q end
      return 'same ' .. q .. ' ' .. known
    end
  end
  if redis.call('ZCARD', due) >= nat(ARGV[7]) then return 'full ' .. q end
  redis.call('HSET', key(id), 's', 'w', 'n', 0, 'g', 0, 'o', ARGV[4], 'c', int(now), 'u', int(now), 'k', k, 'q', ARGV[8])
  if k ~= '-' then redis.call('SET', idem(k), id .. ' ' .. ARGV[6]) end
  redis.call('ZADD', due, int(now), id)
  return 'new ' .. q .. ' ' .. id
elseif op == 'take' then
  local most, room, lease, attempts, ttl = nat(ARGV[3]), nat(ARGV[4]), nat(ARGV[5]), nat(ARGV[6]), ARGV[7]
  local expired, bad, buried, out = 0, 0, 0, {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', run, '-inf', int(now), 'LIMIT', 0, 64)) do
    redis.call('ZREM', run, id)
    local h = read(id, 's', 'n', 'k')
    if h[1] == 'r' then
      expired = expired + 1
      if nat(h[2]) >= attempts then
        buried = buried + 1
        bury(id, ttl, 'lease', h[3])
      else
        wait(id, now, 'lease')
      end
    end
  end
  redis.call('ZREMRANGEBYSCORE', dead, '-inf', int(now))
  redis.call('ZREMRANGEBYSCORE', done, '-inf', int(now))
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', int(now), 'LIMIT', 0, most)) do
    local h = read(id, 's', 'n', 'g', 'q', 'k')
    if h[1] ~= 'w' then
      redis.call('ZREM', due, id)
      bad = bad + 1
    elseif not string.match(id, '^%x+$') or not string.match(h[4] or '', '^[%w+/]+=*$') then
      redis.call('ZREM', due, id)
      bad, buried = bad + 1, buried + 1
      bury(id, ttl, 'bad', h[5])
    elseif #out > 0 and #h[4] > room then
      break
    else
      local n, g = nat(h[2]) + 1, nat(h[3]) + 1
      room = room - #h[4]
      redis.call('ZREM', due, id)
      redis.call('ZADD', run, int(now + lease), id)
      redis.call('HSET', key(id), 's', 'r', 'n', int(n), 'g', int(g), 'u', int(now + lease), 'pd', 0, 'po', 0)
      out[#out + 1] = string.format('\n%s %.0f %.0f %s', id, n, g, h[4])
    end
  end
  local more = redis.call('ZCOUNT', due, '-inf', int(now))
  local sizes = {}
  for at, list in ipairs({ due, run, dead, done }) do sizes[at] = redis.call('ZCARD', list) end
  return string.format('took %s %d %d %d %d %s', q, expired, bad, buried, more, table.concat(sizes, ' ')) .. table.concat(out)
elseif op == 'end' then
  local id, how = ARGV[3], ARGV[5]
  local h = read(id, 's', 'g', 'n', 'k')
  if h[2] ~= ARGV[4] or (h[1] ~= 'r' and h[1] ~= 'w') then return 'late ' .. q end
  redis.call('ZREM', run, id)
  redis.call('ZREM', due, id)
  if how == 'done' then
    redis.call('HSET', key(id), 's', 'd', 'u', int(now), 'a', ARGV[7])
    redis.call('HDEL', key(id), 'q', 'f')
    if ARGV[8] ~= '-' then redis.call('HSET', key(id), 'b', ARGV[8]) end
    keep(id, ARGV[6], done, h[4])
  elseif how == 'dead' then
    bury(id, ARGV[6], ARGV[7], h[4])
  elseif how == 'back' then
    if h[1] == 'r' then redis.call('HSET', key(id), 'n', int(math.max(nat(h[3]) - 1, 0))) end
    wait(id, now + nat(ARGV[6]), 'busy')
  else
    wait(id, now + nat(ARGV[6]), ARGV[7])
  end
  return 'ended ' .. q
elseif op == 'progress' then
  local h = read(ARGV[3], 's', 'g')
  if h[1] ~= 'r' or h[2] ~= ARGV[4] then return 'none ' .. q end
  redis.call('HSET', key(ARGV[3]), 'pd', ARGV[5], 'po', ARGV[6])
  return 'ended ' .. q
elseif op == 'list' then
  local out, sizes = {}, {}
  for at, list in ipairs({ due, run, dead, done }) do sizes[at] = redis.call('ZCARD', list) end
  for _, id in ipairs(redis.call('ZREVRANGE', dead, 0, 99)) do
    local h = read(id, 'n', 'c', 'u', 'f')
    if h[1] and #id <= 32 then
      out[#out + 1] = string.format('\n%s %.0f %.0f %.0f %s', id, nat(h[1]), nat(h[2]), nat(h[3]), string.sub(h[4] or '-', 1, 16))
    end
  end
  return 'list ' .. q .. ' ' .. table.concat(sizes, ' ') .. table.concat(out)
end
local id = ARGV[3]
local h = read(id, 's', 'o', 'n', 'c', 'u', 'f', 'a', 'pd', 'po', 'k')
if not h[1] or (ARGV[4] ~= '-' and h[2] ~= ARGV[4]) then return 'none ' .. q end
if op == 'cancel' then
  if h[1] == 'r' then
    redis.call('ZREM', run, id)
    redis.call('HSET', key(id), 's', 'c', 'u', int(now))
    redis.call('HDEL', key(id), 'q', 'f')
    keep(id, ARGV[5], done, h[10])
  else
    drop(id, h[10])
  end
  return 'gone ' .. q .. ' ' .. h[1]
elseif op == 'again' then
  if h[1] ~= 'x' then return 'none ' .. q end
  redis.call('ZREM', dead, id)
  redis.call('PERSIST', key(id))
  if owns(id, h[10]) then redis.call('PERSIST', idem(h[10])) end
  redis.call('HSET', key(id), 'n', 0)
  wait(id, now, 'again')
  return 'ended ' .. q
end
if h[1] ~= 'r' then h[9] = 0 end
local text = string.format('is %s %s %.0f %.0f %.0f %s %.0f %.0f %.0f', q, string.sub(h[1], 1, 1), nat(h[3]), nat(h[4]), nat(h[5]), string.sub(h[6] or '-', 1, 16), nat(h[7]), nat(h[8]), nat(h[9]))
local b = read(id, 'b')[1]
if op == 'look' then return text .. (b and ' r' or ' -') end
return text .. ' ' .. (b or '-')
