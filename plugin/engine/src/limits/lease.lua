local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local quota, window, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local need, wish = tonumber(ARGV[4]), tonumber(ARGV[5])
local held, lent, epoch, owed = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local node, question = ARGV[10], ARGV[11]
local full, this = burst * window, math.floor(now / 500)
local level, at, young, old, seen = full, now, 0, 0, ''
local kept = redis.call('GET', KEYS[1])
if kept then
  local l, a, y, o, s = string.match(kept, '^(%-?%d+) (%d+) (%d+) (%d+) ?(.*)$')
  if l then level, at, young, old, seen = tonumber(l), tonumber(a), tonumber(y), tonumber(o), s end
end
local past = this - math.floor(at / 500)
if past == 1 then young, old = 0, young elseif past > 1 then young, old = 0, 0 end
if epoch == this and young >= lent then young = young - lent
elseif epoch == this - 1 and old >= lent then old = old - lent end
young = young + held
if now >= at then
  level = math.max(level, math.min(level + (now - at) * quota, full - (young + old) * window))
  at = now
elseif at - now > 1000 then at = now end
if owed < 0 then level = math.max(level, math.min(level - owed * window, full - (young + old) * window))
else level = math.max(level - owed * window, -9007199254740992) end
local left, least = math.floor(level / window), math.max(need, 1)
local granted, retry = 0, 0
if need + wish > 0 then
  if left >= least then
    granted = need + math.min(wish, math.ceil((left - need) / 2))
    level = level - granted * window
    young = young + granted - need
    left = left - granted
  else
    retry = math.max(math.ceil((least * window - level) / quota), 1)
  end
end
local nodes, list = 1, node .. '=' .. string.format('%.0f', now)
for id, when in string.gmatch(seen, '([^=,]+)=(%d+)') do
  if id ~= node and now - tonumber(when) < 10000 and nodes < 256 then
    nodes = nodes + 1
    list = list .. ',' .. id .. '=' .. when
  end
end
local back = math.max(math.ceil((full - level) / quota), 10000) + 1000
redis.call('SET', KEYS[1], string.format('%.0f %.0f %.0f %.0f %s', level, at, young, old, list), 'PX', string.format('%.0f', back))
return string.format('%.0f %.0f %d %.0f %.0f %s', granted, retry, nodes, this, math.max(left, 0), question)
