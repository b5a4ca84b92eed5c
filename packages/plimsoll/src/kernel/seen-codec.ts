import { Seen, type Lsn, type TouchedTag } from './seen.ts';

/** Most bytes of what is written, so that sealed and as base64url it stays below 2 KiB. */
export const maxSeenBytes = 1_500;

const version = 1;
const isUnknown = 1;
const hasDropped = 2;
const hasMark = 4;
const hasTime = 8;
/** Milliseconds of the wall clock. */
const timeBytes = 6;
const anEpoch = /^\d{1,10}\.[\w-]{0,64}$/;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * What a client has seen, as bytes: the same for the same. Undefined when it is nothing. What does not fit loses its
 * tags first, which makes all of them touched, and then its positions, which leaves those databases to their
 * primaries; when something was written is kept. The names of some twenty databases always fit; what is beyond that is left out.
 */
export function encodeSeen(seen: Seen): Buffer | undefined {
  const names = [...seen.databases].filter((name) => flagsOf(seen, name) !== 0);
  if (names.length === 0) return undefined;
  const head = Buffer.of(version);
  for (const withTags of [true, false]) {
    const bytes = Buffer.concat([head, ...names.map((name) => entry(seen, name, withTags))]);
    if (bytes.length <= maxSeenBytes) return bytes;
  }
  const parts = [head];
  let left = maxSeenBytes - head.length;
  // Whoever is sure of nothing must not become sure of anything.
  for (const name of names.toSorted(
    (a, b) => Number(seen.mayHaveWritten(b)) - Number(seen.mayHaveWritten(a)),
  )) {
    const bare = Buffer.concat([
      Buffer.of(isUnknown | (flagsOf(seen, name) & hasTime)),
      text(name),
      time(seen, name),
    ]);
    if (bare.length > left) continue;
    left -= bare.length;
    parts.push(bare);
  }
  return parts.length === 1 ? undefined : Buffer.concat(parts);
}

/** Where only the outcome of a commit is unknown, there is no position. */
function isMarked(seen: Seen, name: string): boolean {
  const mark = seen.mark(name);
  return mark !== undefined && (mark.written > 0n || mark.read > 0n);
}

/** All but {@link hasDropped}. */
function flagsOf(seen: Seen, name: string): number {
  return (
    (seen.mayHaveWritten(name) ? isUnknown : 0) |
    (isMarked(seen, name) ? hasMark : 0) |
    (seen.wroteAtMs(name) === undefined ? 0 : hasTime)
  );
}

function entry(seen: Seen, name: string, withTags: boolean): Buffer {
  const mark = seen.mark(name);
  const marked = mark !== undefined && isMarked(seen, name);
  const touched = marked ? seen.touchedTags(name) : [];
  const dropped = marked && (seen.hasDroppedTags(name) || (!withTags && touched.length > 0));
  const tags = withTags ? touched : [];
  const flags = flagsOf(seen, name) | (dropped ? hasDropped : 0);
  const parts = [Buffer.of(flags), text(name), time(seen, name)];
  if (marked) {
    parts.push(text(mark.epoch), position(mark.written), position(mark.read), Buffer.of(tags.length));
    for (const { tag, written } of tags) parts.push(text(tag), position(written));
  }
  return Buffer.concat(parts);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(2);
  // One that is longer does not fit in any case.
  length.writeUInt16BE(Math.min(bytes.length, 0xff_ff));
  return Buffer.concat([length, bytes]);
}

function position(lsn: Lsn): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(lsn);
  return bytes;
}

/** Empty where nothing was written. */
function time(seen: Seen, name: string): Buffer {
  const atMs = seen.wroteAtMs(name);
  if (atMs === undefined) return Buffer.alloc(0);
  const bytes = Buffer.alloc(timeBytes);
  bytes.writeUIntBE(Math.round(atMs), 0, timeBytes);
  return bytes;
}

/** Undefined for anything that {@link encodeSeen} does not write. */
export function decodeSeen(bytes: Buffer): Seen | undefined {
  if (bytes.length > maxSeenBytes || bytes[0] !== version) return undefined;
  const reader = new Reader(bytes.subarray(1));
  const seen = new Seen();
  const names = new Set<string>();
  try {
    do {
      const name = readEntry(reader, seen);
      if (names.has(name)) return undefined;
      names.add(name);
    } while (!reader.done);
  } catch (error) {
    if (error instanceof RangeError || error instanceof TypeError) return undefined;
    throw error;
  }
  return encodeSeen(seen)?.equals(bytes) === true ? seen : undefined;
}

/** Throws RangeError or TypeError for what is none. */
function readEntry(reader: Reader, seen: Seen): string {
  const flags = reader.byte();
  const name = reader.text();
  if ((flags & hasTime) !== 0) seen.noteWroteAt(name, reader.time());
  if ((flags & hasMark) !== 0) {
    const epoch = reader.text();
    if (!anEpoch.test(epoch)) throw new RangeError('no epoch');
    const mark = { epoch, written: reader.position(), read: reader.position() };
    const tags: TouchedTag[] = [];
    for (let left = reader.byte(); left > 0; left -= 1)
      tags.push({ tag: reader.text(), written: reader.position() });
    seen.merge(name, mark, tags, (flags & hasDropped) !== 0);
  }
  if ((flags & isUnknown) !== 0) seen.noteUnknown(name);
  return name;
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  byte(): number {
    this.#at += 1;
    return this.#bytes.readUInt8(this.#at - 1);
  }

  position(): Lsn {
    this.#at += 8;
    return this.#bytes.readBigUInt64BE(this.#at - 8);
  }

  time(): number {
    this.#at += timeBytes;
    return this.#bytes.readUIntBE(this.#at - timeBytes, timeBytes);
  }

  text(): string {
    const begin = this.#at + 2;
    this.#at = begin + this.#bytes.readUInt16BE(this.#at);
    if (this.#at > this.#bytes.length) throw new RangeError('cut off');
    return utf8.decode(this.#bytes.subarray(begin, this.#at));
  }
}
