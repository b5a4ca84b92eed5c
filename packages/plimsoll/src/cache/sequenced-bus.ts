import { createLoop, type Loop } from '../durable/loop.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import type { BusConnection, BusMessage, BusOptions } from './bus.ts';
import { laterMark, noMark, type Mark } from './position.ts';

/** Messages of one place in a stream. */
export interface StreamBatch {
  readonly place: number;
  readonly messages: readonly BusMessage[];
}

/** Messages of a stream, and what is known of it. */
export interface StreamPart {
  /** Of this stream: another one after it was lost or made anew. */
  readonly life: string;
  /** The last place that is taken. */
  readonly head: number;
  /** The latest of all messages up to the head, {@link latestFloor}; those that are no longer kept included. */
  readonly floor: Mark;
  /** After the place asked for, in order. Dense, unless some are no longer kept. */
  readonly batches: readonly StreamBatch[];
}

/** A stream of one cache whose places are numbered without gaps, in the order in which they can be seen. */
export interface MessageStream {
  append(messages: readonly BusMessage[]): Promise<void>;
  /** What comes after a place; with `undefined` only where the stream is. */
  readAfter(place: number | undefined): Promise<StreamPart>;
  /**
   * Calls `wake` when there may be more, with it where it is at hand: then it need not be read. Never rejects. Optional
   * help: without, the stream is read every `pollMs`.
   */
  listen?(wake: (told?: StreamBatch & { readonly life: string }) => void): Promise<() => Promise<void>>;
}

export interface SequencedBusOptions {
  /** How often the stream is read when nothing wakes it. Default 200. */
  readonly pollMs?: number;
  /** After so long without an answer something may have been missed. Default 2_000. */
  readonly silentMs?: number;
  /** Between two sends, so that what comes meanwhile goes together; one after a rest goes at once. Default 2. */
  readonly gatherMs?: number;
}

export const sequencedBusDefaults: Required<SequencedBusOptions> = {
  pollMs: 200,
  silentMs: 2_000,
  gatherMs: 2,
};

/** What a stream keeps the latest of. */
export function latestFloor(messages: readonly BusMessage[]): Mark {
  return messages.reduce((latest, { floor }) => laterMark(latest, floor), noMark);
}

/** Messages that wait to be sent, at most; with more, everything is invalidated instead. */
const mostWaiting = 5_000;

interface Waiting {
  readonly message: BusMessage;
  readonly sent: () => void;
}

/**
 * A bus on a stream without gaps. What it has not heard of it does not trust: a place that is missing, another life of
 * the stream, or no answer for `silentMs`. It begins anew at the head then, with everything forgotten.
 */
export class SequencedBus implements BusConnection {
  readonly #stream: MessageStream;
  readonly #bus: BusOptions;
  readonly #settings: Required<SequencedBusOptions>;
  readonly #reading: Loop;
  readonly #sending: Loop;
  #waiting: Waiting[] = [];
  // The life and place up to which all was heard; undefined when that is not so.
  #heard: { readonly life: string; place: number } | undefined;
  #heardAtMs = 0;
  // Numbers the reads that were begun.
  #reads = 0;
  // Who wait until a read that began after the one they name has come to the head.
  #catchingUp: { readonly after: number; readonly end: (caughtUp: boolean) => void }[] = [];
  #sentAtMs = -Infinity;
  #watching: NodeJS.Timeout | undefined;
  #listening: Promise<() => Promise<void>> | undefined;
  #trusted: () => void = () => undefined;

  constructor(stream: MessageStream, bus: BusOptions, options: SequencedBusOptions) {
    this.#stream = stream;
    this.#bus = bus;
    this.#settings = { ...sequencedBusDefaults, ...options };
    const { scope, name } = bus;
    throwIfProblems(`the bus of the cache ${JSON.stringify(name)}`, problemsOf(this.#settings));
    this.#reading = createLoop({
      name: `bus of the cache ${name}, reading`,
      scope,
      pollMs: this.#settings.pollMs,
      round: () => this.#read(),
    });
    this.#sending = createLoop({
      name: `bus of the cache ${name}, sending`,
      scope,
      // Woken by each message; a round without any does nothing.
      pollMs: this.#settings.pollMs,
      round: () => this.#send(),
    });
  }

  get silentMs(): number {
    return this.#settings.silentMs;
  }

  async start(): Promise<void> {
    const everyMs = Math.max(10, this.#settings.silentMs / 8);
    this.#watching = setInterval(() => this.#distrustSilence(), everyMs).unref();
    const { promise: trusted, resolve } = Promise.withResolvers<void>();
    this.#trusted = resolve;
    this.#listening = this.#stream.listen?.((told) => {
      if (told === undefined || !this.#isNext(told)) this.#reading.wake();
      else this.#hear(told);
    });
    await Promise.all([this.#reading.start(), this.#sending.start()]);
    const waited = new AbortController();
    await Promise.race([trusted, this.#bus.clock.sleep(this.#settings.silentMs, waited.signal)]);
    waited.abort();
  }

  async stop(): Promise<void> {
    clearInterval(this.#watching);
    await this.#sending.stop();
    // Once more, for what was published a moment ago.
    await this.#send().catch(() => false);
    await this.#reading.stop();
    this.#distrust();
    const unlisten = await this.#listening;
    await unlisten?.();
    this.#listening = undefined;
  }

  catchUp(): Promise<boolean> {
    if (this.#heard === undefined) return Promise.resolve(false);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#catchingUp.push({ after: this.#reads, end: resolve });
    this.#reading.wake();
    return promise;
  }

  publish(message: BusMessage): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#waiting.length >= mostWaiting) this.#gatherAll(message);
    this.#waiting.push({ message, sent: resolve });
    if (this.#waiting.length === 1) this.#sending.wake();
    return promise;
  }

  /** Those that wait become one, of everything. */
  #gatherAll({ from, sharedPending, floor }: BusMessage): void {
    const waiting = this.#waiting;
    const latest = laterMark(floor, latestFloor(waiting.map((each) => each.message)));
    const message = { from, sharedPending, keys: [], tags: [], everything: true, floor: latest };
    this.#waiting = [{ message, sent: () => waiting.forEach((each) => each.sent()) }];
  }

  /** What comes while a batch is under way goes with the next: one writer to the stream for each process. */
  async #send(): Promise<boolean> {
    if (this.#waiting.length === 0) return false;
    const { clock } = this.#bus;
    const restMs = this.#sentAtMs + this.#settings.gatherMs - clock.monotonicMs();
    if (restMs > 0) await clock.sleep(restMs);
    const batch = [...this.#waiting];
    await this.#inTime(this.#stream.append(batch.map(({ message }) => message)));
    this.#sentAtMs = clock.monotonicMs();
    // Unless they were put together meanwhile: then what is left says it again.
    if (this.#waiting[0] === batch[0]) this.#waiting = this.#waiting.slice(batch.length);
    for (const { sent } of batch) sent();
    return this.#waiting.length > 0;
  }

  #isNext({ life, place }: StreamBatch & { readonly life: string }): boolean {
    return this.#heard?.life === life && this.#heard.place + 1 === place;
  }

  /** Unless it was heard already. */
  #hear({ place, messages }: StreamBatch): void {
    if (this.#heard === undefined || place <= this.#heard.place) return;
    for (const message of messages) this.#bus.onMessage(message);
    this.#heard.place = place;
  }

  async #read(): Promise<boolean> {
    const before = this.#heard;
    const asked = before?.place;
    this.#reads += 1;
    const read = this.#reads;
    const askedAtMs = this.#bus.clock.monotonicMs();
    const { life, head, floor, batches } = await this.#inTime(this.#stream.readAfter(asked));
    // It broke off while this was under way.
    if (before !== this.#heard) return true;
    if (before === undefined || asked === undefined) {
      this.#heard = { life, place: head };
      this.#heardAtMs = askedAtMs;
      this.#bus.onTrust(true, floor);
      this.#trusted();
      return false;
    }
    let place = asked;
    const isWhole =
      life === before.life && head >= asked && batches.every((batch) => batch.place === (place += 1));
    if (!isWhole || (place < head && batches.length === 0)) {
      this.#distrust();
      return true;
    }
    // More may have been told meanwhile.
    for (const batch of batches) this.#hear(batch);
    // As of when it was asked: what came later may not be in the answer.
    this.#heardAtMs = askedAtMs;
    if (place < head) return true;
    this.#endCatchingUp(true, read);
    return false;
  }

  /** On a connection that is half gone an answer may never come, and the next one has to be tried. */
  async #inTime<T>(operation: Promise<T>): Promise<T> {
    const { silentMs } = this.#settings;
    const waited = new AbortController();
    const late = this.#bus.clock.sleep(silentMs, waited.signal).then(() => {
      if (waited.signal.aborted) return new Promise<never>(() => undefined);
      throw new Error(`the bus of the cache ${this.#bus.name} gave no answer within ${silentMs} ms`);
    });
    try {
      return await Promise.race([operation, late]);
    } finally {
      waited.abort();
    }
  }

  #distrustSilence(): void {
    if (this.#heard === undefined) return;
    if (this.#bus.clock.monotonicMs() - this.#heardAtMs >= this.#settings.silentMs) this.#distrust();
  }

  #distrust(): void {
    if (this.#heard === undefined) return;
    this.#heard = undefined;
    this.#bus.onTrust(false);
    this.#endCatchingUp(false, Infinity);
  }

  /** Of those who came before the read began. */
  #endCatchingUp(caughtUp: boolean, read: number): void {
    const [ended, left] = [this.#catchingUp.filter(({ after }) => after < read), this.#catchingUp];
    if (ended.length === 0) return;
    this.#catchingUp = left.filter(({ after }) => after >= read);
    for (const { end } of ended) end(caughtUp);
  }
}

function problemsOf({ pollMs, silentMs, gatherMs }: Required<SequencedBusOptions>): readonly Problem[] {
  const problems: Problem[] = [];
  for (const [path, value] of Object.entries({ pollMs, silentMs }))
    if (!(value > 0)) problems.push({ path, message: `is ${value}; give milliseconds above 0` });
  if (!(gatherMs >= 0))
    problems.push({ path: 'gatherMs', message: `is ${gatherMs}; give milliseconds from 0` });
  if (pollMs * 2 > silentMs) {
    const message = `is ${pollMs}, more than half of silentMs, ${silentMs}: when nothing is sent, that would count as silence`;
    problems.push({ path: 'pollMs', message });
  }
  return problems;
}
