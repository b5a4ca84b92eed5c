import { Buffer } from 'node:buffer';
import { createHmac, timingSafeEqual } from 'node:crypto';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { PlimsollError, throwIfProblems, type Problem } from '../kernel/errors.ts';

/** A message as it came. */
export interface SignedMessage {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** The body as it was sent, byte for byte: what a parser makes of it has another signature. */
  readonly body: string | Uint8Array;
}

/** Answers the id under which the provider sends this message, each time that it does; throws PL_WEBHOOK_REFUSED. */
export type VerifyMessage = (message: SignedMessage) => string;

export interface SignatureOptions {
  /** What the provider calls the signing secret. Several while one replaces another. */
  readonly secrets: readonly string[];
  /** How far the provider's clock may be from ours, and how old a message may be. Default 5 minutes. */
  readonly toleranceMs?: number;
  readonly clock?: Clock;
}

export const signatureDefaults = { toleranceMs: 300_000 } as const;

/** `webhook-id`, `webhook-timestamp` and `webhook-signature`, as standardwebhooks.com has it; secrets begin with `whsec_`. */
export function standardSignature(options: SignatureOptions): VerifyMessage {
  const check = checkerOf(options, (secret) => Buffer.from(secret.replace(/^whsec_/, ''), 'base64'));
  return ({ headers, body }) => {
    const [id, timestamp, given] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) =>
      fieldOf(headers, name),
    ) as [string, string, string];
    const signatures = given.split(' ').flatMap((each) => (each.startsWith('v1,') ? [each.slice(3)] : []));
    check({ timestamp, signed: [`${id}.${timestamp}.`, body], signatures, encoding: 'base64' });
    return id;
  };
}

/** `Stripe-Signature`; the id is that of the event. */
export function stripeSignature(options: SignatureOptions): VerifyMessage {
  const check = checkerOf(options, (secret) => Buffer.from(secret));
  return ({ headers, body }) => {
    const parts = fieldOf(headers, 'stripe-signature')
      .split(',')
      .map((part) => part.split('=', 2) as [string, string | undefined]);
    const timestamp = parts.find(([name]) => name === 't')?.[1] ?? '';
    const signatures = parts.flatMap(([name, value = '']) => (name === 'v1' ? [value] : []));
    check({ timestamp, signed: [`${timestamp}.`, body], signatures, encoding: 'hex' });
    return idIn(body);
  };
}

interface Signed {
  /** Seconds since 1970. */
  readonly timestamp: string;
  readonly signed: readonly (string | Uint8Array)[];
  readonly signatures: readonly string[];
  readonly encoding: 'base64' | 'hex';
}

function checkerOf(
  { secrets, toleranceMs = signatureDefaults.toleranceMs, clock = systemClock }: SignatureOptions,
  read: (secret: string) => Buffer,
): (signed: Signed) => void {
  const keys = secrets.map(read);
  throwIfProblems('the signature of webhooks', problemsOf(keys, toleranceMs));
  return ({ timestamp, signed, signatures, encoding }) => {
    // First whether it is theirs: what is wrong with a message is told to its sender only.
    const isTheirs = keys.some((key) => {
      const hmac = createHmac('sha256', key);
      for (const part of signed) hmac.update(part);
      const expected = hmac.digest();
      return signatures.some((signature) => isSame(expected, Buffer.from(signature, encoding)));
    });
    if (!isTheirs) throw refused('no signature is one of the secret');
    const ageMs = clock.now() - Number(timestamp) * 1_000;
    if (!(Math.abs(ageMs) <= toleranceMs))
      throw refused(
        `it was signed ${Math.round(ageMs / 1_000)} s ago, and ${toleranceMs / 1_000} s are allowed`,
      );
  };
}

function isSame(expected: Buffer, given: Buffer): boolean {
  return expected.length === given.length && timingSafeEqual(expected, given);
}

function problemsOf(keys: readonly Buffer[], toleranceMs: number): Problem[] {
  const problems = keys.flatMap((key, index) =>
    key.length < 16
      ? [{ path: `secrets[${index}]`, message: 'has fewer than 16 bytes; give the whole signing secret' }]
      : [],
  );
  if (keys.length === 0) problems.push({ path: 'secrets', message: 'is empty; give the signing secret' });
  if (!(toleranceMs > 0))
    problems.push({ path: 'toleranceMs', message: `is ${toleranceMs}; want a number above 0` });
  return problems;
}

function fieldOf(headers: SignedMessage['headers'], name: string): string {
  const value = headers[name];
  if (typeof value !== 'string' || value === '') throw refused(`it has no field ${name}`);
  return value;
}

function idIn(body: string | Uint8Array): string {
  const text = typeof body === 'string' ? body : Buffer.from(body).toString('utf8');
  const { id } = JSON.parse(text) as { readonly id?: unknown };
  if (typeof id !== 'string' || id === '') throw refused('its body has no id');
  return id;
}

function refused(why: string): PlimsollError {
  return new PlimsollError('PL_WEBHOOK_REFUSED', `a webhook message was refused: ${why}`);
}
