import { maxTouchedTags, type Seen } from '../kernel/seen.ts';
import { rowsOf, seenOf, type SeenRow, type SeenStore } from '../gateway/seen-store.ts';
import { commandsOf, type RedisClient } from './client.ts';
import { runScript, scriptOf } from './script.ts';

export interface RedisSeenStoreOptions {
  /** Before every key. Default `plimsoll:seen`. */
  readonly prefix?: string;
}

export const redisSeenStoreDefaults: Required<RedisSeenStoreOptions> = { prefix: 'plimsoll:seen' };

/** Milliseconds since 1970, by Redis. */
const clock = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

const readScript = scriptOf(`${clock}
local rows = {}
for _, text in ipairs(redis.call('HVALS', KEYS[1])) do
  local row = cjson.decode(text)
  row.unknown = row.unknownUntil > now
  rows[#rows + 1] = cjson.encode(row)
end
return rows
`);

/**
 * The same as `Seen.mergeAll`, for a list of rows as JSON. Positions and epochs are compared byte by byte: a double
 * does not hold a position, and the order of strings depends on the server's locale.
 */
const mergeScript = scriptOf(`${clock}
local function before(one, other)
  for at = 1, math.min(#one, #other) do
    local a, b = string.byte(one, at), string.byte(other, at)
    if a ~= b then return a < b end
  end
  return #one < #other
end
local function later(one, other)
  if before(one, other) then return other end
  return one
end
local function join(held, row)
  if held.timeline < row.timeline or held.timeline == row.timeline and before(held.epoch, row.epoch) then return row end
  if held.epoch ~= row.epoch then return held end
  held.written, held.read = later(held.written, row.written), later(held.read, row.read)
  if held.tags == cjson.null or row.tags == cjson.null then
    held.tags = cjson.null
    return held
  end
  local count = 0
  for tag, at in pairs(row.tags) do held.tags[tag] = later(held.tags[tag] or '', at) end
  for _ in pairs(held.tags) do count = count + 1 end
  if count > ${maxTouchedTags} then held.tags = cjson.null end
  return held
end
local ttl = tonumber(ARGV[1])
for _, row in ipairs(cjson.decode(ARGV[2])) do
  row.unknownUntil = row.unknown and now + ttl or 0
  local text = redis.call('HGET', KEYS[1], row.database)
  if text then
    local held = cjson.decode(text)
    local until_ms = math.max(held.unknownUntil, row.unknownUntil)
    local wrote_at = math.max(held.wroteAtMs or 0, row.wroteAtMs)
    row = join(held, row)
    row.unknownUntil, row.wroteAtMs = until_ms, wrote_at
  end
  redis.call('HSET', KEYS[1], row.database, cjson.encode(row))
end
if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1
`);

/**
 * What clients have seen, in Redis or Valkey: one hash for each id, one script for each call, the server's clock. The
 * client stays yours: connect it, listen to its `error` event, close it.
 */
export function redisSeenStore(client: RedisClient, options: RedisSeenStoreOptions = {}): SeenStore {
  const { prefix } = { ...redisSeenStoreDefaults, ...options };
  const commands = commandsOf(client);
  return {
    async read(id): Promise<Seen> {
      const rows = (await runScript(commands, readScript, [`${prefix}:${id}`], [])) as readonly string[];
      return seenOf(rows.map((row) => JSON.parse(row) as SeenRow));
    },
    async merge(id, seen, ttlMs): Promise<void> {
      const rows = rowsOf(seen);
      if (rows.length === 0) return;
      await runScript(
        commands,
        mergeScript,
        [`${prefix}:${id}`],
        [String(Math.ceil(ttlMs)), JSON.stringify(rows)],
      );
    },
  };
}
