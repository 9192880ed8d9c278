local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local amount, rest, teller = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local most = 4503599627370496
local own, held = math.min(tonumber(ARGV[4]), most), math.min(tonumber(ARGV[5]), most)
local turn, late = tonumber(ARGV[9]), false
local base, told, largest, list = 0, 0, 0, ''
local kept = redis.call('GET', KEYS[1])
if kept then
  local b, d, m, l = string.match(kept, '^(%d+) (%d+) (%d+) (.*)$')
  if b then base, told, largest, list = tonumber(b), tonumber(d), tonumber(m), l end
end
local known = {}
for id, s, r, w, n in string.gmatch(list, '(%x+)=(%d+):(%d+):(%d+):(%d+)') do
  known[#known + 1] = { id, tonumber(s), tonumber(r), tonumber(w), tonumber(n) }
end
local spent, reserved, tellers, out = 0, 0, 1, {}
for place, one in ipairs(known) do
  local silent = now - one[4]
  if one[1] == teller then
    own = math.max(own, one[2])
    if turn <= one[5] then late, held, turn = true, one[3], one[5] end
  else
    if silent > 30000 then one[3] = 0 else tellers = tellers + 1 end
    if place <= #known - 2047 or silent > 600000 then
      base = base + one[2]
    else
      spent, reserved = spent + one[2], reserved + one[3]
      out[#out + 1] = string.format('%s=%.0f:%.0f:%.0f:%.0f', one[1], one[2], one[3], one[4], one[5])
    end
  end
end
spent = spent + base + own
largest = math.max(largest, math.min(tonumber(ARGV[8]), most))
local granted = '.'
for guess, need in string.gmatch(ARGV[6], '(g?)(%d+)') do
  need = tonumber(need)
  if guess == 'g' then need = math.max(need, largest) end
  local left = math.max(amount - spent - reserved - held, 0)
  if late or need > left or (guess == 'g' and math.floor(left / 4) < need and held > 0) then
    granted = granted .. '0'
  else
    held, granted = held + need, granted .. '1'
  end
end
local crossed = 0
for percent in string.gmatch(ARGV[7], '%d+') do
  percent = tonumber(percent)
  if percent > told and spent * 100 >= amount * percent then crossed = percent end
end
held = math.min(held, most)
out[#out + 1] = string.format('%s=%.0f:%.0f:%.0f:%.0f', teller, own, held, now, turn)
local value = string.format('%.0f %d %.0f %s', base, math.max(told, crossed), largest, table.concat(out, ','))
redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', math.max(rest, 0) + 3600000))
return string.format('%s %.0f %.0f %d %d %.0f %s', granted, spent, reserved + held, tellers, crossed, largest, ARGV[10])
