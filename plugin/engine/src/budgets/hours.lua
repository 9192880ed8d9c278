local latest = math.floor(redis.call('TIME')[1] / 3600) + 2
local sums, newest = {}, 0
local function add(text)
  for hour, spent in string.gmatch(text, '(%d+)=(%d+)') do
    hour = tonumber(hour)
    if hour <= latest then
      sums[hour] = (sums[hour] or 0) + tonumber(spent)
      newest = math.max(newest, hour)
    end
  end
end
add(redis.call('GET', KEYS[1]) or '')
add(ARGV[1])
local out = {}
for hour = math.max(newest - 839, 0), newest do
  if sums[hour] then out[#out + 1] = string.format('%.0f=%.0f', hour, sums[hour]) end
end
local list = table.concat(out, ',')
redis.call('SET', KEYS[1], list, 'PX', '3110400000')
return list .. ' ' .. ARGV[2]
