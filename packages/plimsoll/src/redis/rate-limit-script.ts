import { createHash } from 'node:crypto';

/** A Lua function: when the month of a time in milliseconds since 2025 ends. */
export const monthEnd = `
local function month_end(now)
  local days, year, month = 0, 2025, 1
  repeat
    local leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
    days = days + ({31, leap and 29 or 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31})[month]
    month = month + 1
    if month > 12 then month = 1 year = year + 1 end
  until days * 86400000 > now
  return days * 86400000
end
`;

/**
 * Decides calls one after the other. Of each call ARGV has how many keys it has and what it costs, then for each key
 * `rate` or `quota`; milliseconds of a point or of a window, where 0 is a month; the capacity. A call takes its cost
 * for all its keys, or for none; a cost of 0 looks and takes none. Answers of each call 1 or 0, and for each key the
 * points used of a quota in thousandths (of a rate -1: the time says it) and the nanoseconds until none are.
 *
 * The clock is that of Redis. Times are milliseconds since 2025: since 1970, a double would not hold microseconds
 * that are added up. A bucket is the time at which it is full again; of a window both its end and what was used in
 * it are kept, as the expiry of a key is not exact. Every key expires when it holds nothing any more.
 */
export const takeScript = `
local call, floor, min = redis.call, math.floor, math.min
local time = call('TIME')
local now = (time[1] - 1735689600) * 1000 + time[2] / 1000

${monthEnd}
local untils, used, answer = {}, {}, {}
local first, at, said = 1, 1, 0
while ARGV[at] do
  local last, cost = first + ARGV[at] - 1, ARGV[at + 1] + 0
  local granted, rule = 1, at + 2
  for i = first, last do
    local step, capacity = ARGV[rule + 1] + 0, ARGV[rule + 2] + 0
    local held = call('GET', KEYS[i])
    if ARGV[rule] == 'rate' then
      local latest = now + capacity * step
      local full = held and held + 0 or now
      if full < now then full = now end
      -- Only when the clock was set back, or the rule was other: then it is empty, and fills from now.
      if full > latest then
        full = latest
        call('SET', KEYS[i], full, 'PX', math.ceil(full - now))
      end
      if full + cost * step > latest + min(1, step) / 1000 then granted = 0 end
      untils[i], used[i] = full, -1
    else
      local ends, points = step > 0 and (floor(now / step) + 1) * step or month_end(now), 0
      if held then
        local colon = string.find(held, ':', 1, true)
        if string.sub(held, 1, colon - 1) + 0 > now then points = string.sub(held, colon + 1) + 0 end
      end
      if points + cost > capacity then granted = 0 end
      untils[i], used[i] = ends, points
    end
    rule = rule + 3
  end
  rule = at + 2
  said = said + 1
  answer[said] = granted
  for i = first, last do
    local ends, points = untils[i], used[i]
    if granted == 1 and cost > 0 then
      local value
      if points < 0 then
        ends = ends + cost * ARGV[rule + 1]
        value = ends
      else
        points = points + cost
        value = string.format('%.17g:%.17g', ends, points)
      end
      call('SET', KEYS[i], value, 'PX', math.ceil(ends - now))
    end
    answer[said + 1] = points < 0 and -1 or points * 1000
    answer[said + 2] = points == 0 and 0 or (ends - now) * 1000000
    said = said + 2
    rule = rule + 3
  end
  first, at = last + 1, rule
end
return answer
`;

export const takeSha: string = createHash('sha1').update(takeScript).digest('hex');
