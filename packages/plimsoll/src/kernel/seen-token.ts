import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import type { Problem } from './errors.ts';
import { decodeSeen, encodeSeen } from './seen-codec.ts';
import type { Seen } from './seen.ts';

/** One, or several: the first seals, and all of them open. */
export type SeenSecret = string | readonly string[];

/** Longest token. */
export const maxTokenLength = 2_048;

/** Writes what a client has seen as text that may leave the process, and reads it again. */
export interface SeenTokens {
  /** Undefined when it is nothing. */
  write(seen: Seen): string | undefined;
  /** Undefined for what is no token, or one that was not sealed with a secret of ours. */
  read(token: string): Seen | undefined;
}

interface Key {
  /** Tells which secret it is from. */
  readonly id: Buffer;
  /** Made once: from bytes each sealing would make it anew, and take 31 µs instead of 10 to 15. */
  readonly key: KeyObject;
}

const sealed = 2;
const algorithm = 'aes-256-gcm';
const [idLength, ivLength, tagLength] = [4, 12, 16];
const headLength = 1 + idLength;
const base64url = /^[\w-]+$/;
const least = 32;

export function seenSecretProblems(secret: SeenSecret | undefined, path: string): readonly Problem[] {
  const secrets: readonly unknown[] = secret === undefined ? [] : [secret].flat();
  const sound = secrets.every((one) => typeof one === 'string' && one.length >= least);
  const message = `is too short; give at least ${least} random characters`;
  if (secret !== undefined && secrets.length === 0)
    return [{ path, message: 'is empty; give a secret, or none' }];
  return sound ? [] : [{ path, message }];
}

/** Without a secret tokens are only encoded: anybody can read them, and make some. */
export function seenTokens(secret?: SeenSecret): SeenTokens {
  const keys = [secret ?? []].flat().map(keyOf);
  const [own] = keys;
  return {
    write(seen) {
      const bytes = encodeSeen(seen);
      if (bytes === undefined) return undefined;
      return (own === undefined ? bytes : seal(own, bytes)).toString('base64url');
    },
    read(token) {
      if (token.length > maxTokenLength || !base64url.test(token)) return undefined;
      const bytes = Buffer.from(token, 'base64url');
      if (bytes.toString('base64url') !== token) return undefined;
      const plain = own === undefined ? bytes : open(keys, bytes);
      return plain === undefined ? undefined : decodeSeen(plain);
    },
  };
}

function keyOf(secret: string): Key {
  const derived = Buffer.from(hkdfSync('sha256', secret, '', 'plimsoll seen 1', 32 + idLength));
  return { key: createSecretKey(derived.subarray(0, 32)), id: derived.subarray(32) };
}

/** Kind, key and initialisation vector, what is sealed, and the proof of all. */
function seal({ id, key }: Key, plain: Buffer): Buffer {
  const head = Buffer.concat([Buffer.of(sealed), id]);
  const iv = randomBytes(ivLength);
  const cipher = createCipheriv(algorithm, key, iv).setAAD(head);
  return Buffer.concat([head, iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function open(keys: readonly Key[], bytes: Buffer): Buffer | undefined {
  if (bytes[0] !== sealed || bytes.length <= headLength + ivLength + tagLength) return undefined;
  const head = bytes.subarray(0, headLength);
  const key = keys.find(({ id }) => id.equals(head.subarray(1)));
  if (key === undefined) return undefined;
  const iv = bytes.subarray(headLength, headLength + ivLength);
  const decipher = createDecipheriv(algorithm, key.key, iv, { authTagLength: tagLength });
  decipher.setAAD(head).setAuthTag(bytes.subarray(-tagLength));
  try {
    return Buffer.concat([
      decipher.update(bytes.subarray(headLength + ivLength, -tagLength)),
      decipher.final(),
    ]);
  } catch {
    return undefined;
  }
}
