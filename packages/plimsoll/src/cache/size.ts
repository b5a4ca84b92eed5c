/** Looked at in one value at most; what is beyond is taken to be like the rest. */
const mostParts = 2_000;

/** About how many bytes a value holds. For the bound of the process tier; no exact figure can be had. */
export function estimateBytes(value: unknown): number {
  const open: unknown[] = [value];
  let bytes = 0;
  let parts = 0;
  while (open.length > 0 && parts < mostParts) {
    parts += 1;
    const part = open.pop();
    if (typeof part === 'string') bytes += 16 + part.length * 2;
    else if (typeof part !== 'object' || part === null) bytes += 8;
    else if (ArrayBuffer.isView(part)) bytes += 64 + part.byteLength;
    else if (Array.isArray(part)) {
      bytes += 16 + part.length * 8;
      for (let at = 0; at < part.length && at < mostParts; at += 1) open.push(part[at]);
    } else if (part instanceof Map || part instanceof Set) {
      bytes += 64 + part.size * 32;
      for (const each of part) if (open.push(each) > mostParts) break;
    } else {
      const names = Object.keys(part);
      bytes += 24 + names.length * 8;
      for (const name of names) open.push((part as Record<string, unknown>)[name]);
    }
  }
  return open.length === 0 ? bytes : Math.ceil((bytes * (parts + open.length)) / parts);
}

/** Freezes plain objects and lists all the way down, so that whoever changes a shared value finds out. */
export function deepFreeze(value: unknown): void {
  const open: unknown[] = [value];
  while (open.length > 0) {
    const part = open.pop();
    if (typeof part !== 'object' || part === null || Object.isFrozen(part)) continue;
    const isPlain = Array.isArray(part) || Object.getPrototypeOf(part) === Object.prototype;
    if (!isPlain) continue;
    Object.freeze(part);
    for (const each of Object.values(part)) open.push(each);
  }
}
