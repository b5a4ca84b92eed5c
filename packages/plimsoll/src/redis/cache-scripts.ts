import { scriptOf, type Script } from './script.ts';

/**
 * Each slot (everything, a key, a tag) is a hash: `v` its version, `f` its floor. That of a key also has its value:
 * `d` the data, `m` what it reflects, `c` what it cost, `s` and `u` until when it is fresh and kept, `w` the versions
 * it was filled with; and its lease: `o` the owner, '' when nobody may load as the last load failed, `e` until when,
 * `x` the versions it was given with. Times are milliseconds of the clock of Redis.
 *
 * A version that is lost (evicted, expired, a server that was restarted) is made again at random, which ends what was
 * filled with it.
 */
const now = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** KEYS: everything, the key, its tags. ARGV: a random version, keepMs, atLeast, owner or '', forMs, belowMs. */
export const readScript: Script = scriptOf(`${now}
local versions, floor = {}, ''
for i, slot in ipairs(KEYS) do
  local held = redis.call('HMGET', slot, 'v', 'f')
  local version = held[1]
  if not version then
    version = ARGV[1]
    redis.call('HSET', slot, 'v', version)
  end
  versions[i] = version
  if held[2] and held[2] > floor then floor = held[2] end
  local keep = ARGV[2] + 0
  if redis.call('PTTL', slot) < keep then redis.call('PEXPIRE', slot, math.ceil(keep * 1.5)) end
end
local joined = table.concat(versions, ',')
local kept = redis.call('HMGET', KEYS[2], 'd', 'm', 'c', 's', 'u', 'w', 'o', 'e', 'x')
local data, fresh = false, -1e15
if kept[1] and kept[6] == joined and kept[2] >= ARGV[3] and now < kept[5] + 0 then
  data, fresh = kept[1], kept[4] - now
end
local leased, failed = 0, 0
if ARGV[4] ~= '' and fresh <= ARGV[6] + 0 then
  if not kept[7] or kept[8] + 0 <= now or kept[9] ~= joined then
    leased = 1
    redis.call('HSET', KEYS[2], 'o', ARGV[4], 'e', string.format('%.0f', now + ARGV[5]), 'x', joined)
  elseif kept[7] == '' then
    failed = kept[8] - now
  end
end
return {joined, floor, leased, data, kept[2], string.format('%.0f', fresh), kept[3], failed}
`);

/** KEYS as above. ARGV: the versions, data, mark, freshMs, keepMs, costMs, owner. Answers 1, or 0 when it is refused. */
export const fillScript: Script = scriptOf(`${now}
local versions = {}
for i, slot in ipairs(KEYS) do versions[i] = redis.call('HGET', slot, 'v') or '' end
if redis.call('HGET', KEYS[2], 'o') == ARGV[7] then redis.call('HDEL', KEYS[2], 'o', 'e', 'x') end
if table.concat(versions, ',') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'd', ARGV[2], 'm', ARGV[3], 'c', ARGV[6], 'w', ARGV[1],
  's', string.format('%.0f', now + ARGV[4]), 'u', string.format('%.0f', now + ARGV[5]))
if redis.call('PTTL', KEYS[2]) < ARGV[5] + 0 then redis.call('PEXPIRE', KEYS[2], math.ceil(ARGV[5])) end
return 1
`);

/**
 * KEYS: the slots. ARGV: a random version, the floor, how long a floor is kept. A server that is full takes no writes;
 * a slot that is deleted ends what was filled with it too.
 */
export const invalidateScript: Script = scriptOf(`
for _, slot in ipairs(KEYS) do
  local done
  if redis.call('EXISTS', slot) == 1 then
    done = redis.pcall('HINCRBY', slot, 'v', 1)
    redis.call('HDEL', slot, 'd')
  elseif ARGV[2] ~= '' then
    done = redis.pcall('HSET', slot, 'v', ARGV[1])
  end
  if type(done) == 'table' and done.err then
    redis.call('UNLINK', slot)
  elseif ARGV[2] ~= '' then
    local floor = redis.call('HGET', slot, 'f')
    if not floor or floor < ARGV[2] then redis.call('HSET', slot, 'f', ARGV[2]) end
    if redis.call('PTTL', slot) < ARGV[3] + 0 then redis.call('PEXPIRE', slot, ARGV[3]) end
  end
end
return 1
`);

/** KEYS: the key. ARGV: the owner, for how long. Answers 1, or 0 when it is not his. */
export const renewScript: Script = scriptOf(`${now}
if redis.call('HGET', KEYS[1], 'o') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'e', string.format('%.0f', now + ARGV[2]))
return 1
`);

/** KEYS: the key. ARGV: the owner, for how long nobody is to have it. */
export const releaseScript: Script = scriptOf(`${now}
if redis.call('HGET', KEYS[1], 'o') ~= ARGV[1] then return 0 end
if ARGV[2] + 0 > 0 then redis.call('HSET', KEYS[1], 'o', '', 'e', string.format('%.0f', now + ARGV[2]))
else redis.call('HDEL', KEYS[1], 'o', 'e', 'x') end
return 1
`);

/**
 * KEYS: everything. ARGV: a random version. After a failover to a replica some invalidations may be lost, so all that
 * was filled through another server ends. `r` is the server that it was last asked through.
 */
export const serverScript: Script = scriptOf(`
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if redis.call('HGET', KEYS[1], 'r') == server then return 0 end
if redis.call('HEXISTS', KEYS[1], 'v') == 1 then redis.call('HINCRBY', KEYS[1], 'v', 1)
else redis.call('HSET', KEYS[1], 'v', ARGV[1]) end
redis.call('HSET', KEYS[1], 'r', server)
return 1
`);
