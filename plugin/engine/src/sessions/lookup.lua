local k,n,most,keep=KEYS[1],#ARGV,tonumber(ARGV[2]),tonumber(ARGV[3])
local out=ARGV[n]..' '
local form=redis.call('TYPE',k).ok
if form=='none' then return out..'n' end
if form~=ARGV[1] then return out..'w' end
local got
if form=='string' then
if redis.call('STRLEN',k)>most then return out..'l' end
got=redis.call('GET',k) or ''
else
local sum,all=0,{}
for i=4,n-1 do sum=sum+redis.call('HSTRLEN',k,ARGV[i]) end
if sum>most then return out..'l' end
for i=4,n-1 do
local v=redis.call('HGET',k,ARGV[i])
all[#all+1]=v and #v..':'..v or '-'
end
got=table.concat(all)
end
local left,kept=redis.call('PTTL',k),'-'
if keep>0 and left>=0 and left<keep*1000 then
local said=redis.pcall('EXPIRE',k,keep)
if type(said)=='table' then kept='!' else left,kept=keep*1000,'+' end
end
return out..'v'..left..' '..kept..' '..got
