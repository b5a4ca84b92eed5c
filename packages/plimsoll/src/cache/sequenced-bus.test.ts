import fc from 'fast-check';
import { expect, test } from 'vitest';
import { systemClock } from '../kernel/clock.ts';
import type { BusMessage } from './bus.ts';
import { SequencedBus, type MessageStream, type StreamBatch, type StreamPart } from './sequenced-bus.ts';

const message = (tag: string): BusMessage => ({
  from: 'other',
  keys: [],
  tags: [tag],
  everything: false,
  floor: '',
  sharedPending: false,
});

type Wake = (told?: StreamBatch & { readonly life: string }) => void;

/** A stream in memory that can lose what it holds, or not answer. */
class Stream implements MessageStream {
  life = 'one';
  batches: { place: number; messages: readonly BusMessage[] }[] = [];
  head = 0;
  floor = '';
  fails = false;
  reads = 0;
  /** Whether listeners are told what it is, and not only that there is something. */
  tells = false;
  wake: Wake = () => undefined;

  async append(messages: readonly BusMessage[]): Promise<void> {
    if (this.fails) throw new Error('away');
    this.head += 1;
    this.batches.push({ place: this.head, messages });
    this.wake(this.tells ? { life: this.life, place: this.head, messages } : undefined);
  }
  async readAfter(place: number | undefined): Promise<StreamPart> {
    if (this.fails) throw new Error('away');
    this.reads += 1;
    const batches =
      place === undefined ? [] : this.batches.filter((batch) => batch.place > place).slice(0, 3);
    return { life: this.life, head: this.head, floor: this.floor, batches };
  }
  async listen(wake: Wake): Promise<() => Promise<void>> {
    this.wake = wake;
    return async () => undefined;
  }
}

function setUp(silentMs = 60_000) {
  const stream = new Stream();
  // What was heard since it was last trusted.
  let heard: string[] = [];
  let trusted = false;
  let losses = 0;
  const bus = new SequencedBus(
    stream,
    {
      name: 'test',
      clock: systemClock,
      scope: {},
      onMessage: ({ tags }) => heard.push(...tags),
      onTrust: (now) => {
        if (trusted && !now) losses += 1;
        trusted = now;
        heard = [];
      },
    },
    { pollMs: 20, silentMs, gatherMs: 0 },
  );
  return { stream, bus, heard: () => heard, trusted: () => trusted, losses: () => losses };
}

test('hears everything that comes after it is trusted, in order', async () => {
  const { stream, bus, heard, trusted } = setUp();
  await stream.append([message('before')]);
  await bus.start();
  expect(trusted()).toBe(true);
  const tags = Array.from({ length: 20 }, (_, n) => `t${n}`);
  await Promise.all(tags.map((tag) => bus.publish(message(tag))));
  await expect.poll(heard, { timeout: 10_000 }).toEqual(tags);
  // Those of one moment went together.
  expect(stream.head).toBeLessThan(tags.length);
  await bus.stop();
  expect(trusted()).toBe(false);
});

test('what it is told need not be read, and is heard once', async () => {
  const { stream, bus, heard } = setUp();
  stream.tells = true;
  await bus.start();
  await bus.catchUp();
  const { reads } = stream;
  await stream.append([message('a')]);
  await stream.append([message('b')]);
  expect([heard(), stream.reads]).toEqual([['a', 'b'], reads]);
  // Again, and one of another life, are read instead; nothing is heard twice.
  stream.wake({ life: 'one', place: 2, messages: [message('b')] });
  stream.wake({ life: 'two', place: 3, messages: [message('of another')] });
  expect(await bus.catchUp()).toBe(true);
  expect(heard()).toEqual(['a', 'b']);
  await bus.stop();
});

test('what is told while a read is under way is heard once, in order, and the read counts', async () => {
  const { stream, bus, heard, trusted } = setUp();
  await bus.start();
  const gate = Promise.withResolvers<void>();
  const began = Promise.withResolvers<void>();
  const readAfter = stream.readAfter.bind(stream);
  stream.readAfter = async (place) => {
    const part = await readAfter(place);
    began.resolve();
    await gate.promise;
    return part;
  };
  // Not told, so it is read; and while the answer is on its way others are told.
  await stream.append([message('a')]);
  await began.promise;
  stream.wake({ life: 'one', place: 1, messages: [message('a')] });
  stream.tells = true;
  await stream.append([message('b')]);
  expect(heard()).toEqual(['a', 'b']);
  gate.resolve();
  expect(await bus.catchUp()).toBe(true);
  expect([heard(), trusted()]).toEqual([['a', 'b'], true]);
  await bus.stop();
});

const lossesOf: readonly (readonly [string, (stream: Stream) => void])[] = [
  ['a gap', (stream) => void (stream.batches = stream.batches.filter(({ place }) => place > 2))],
  ['places that are no longer kept', (stream) => void (stream.batches = [])],
  ['another life', (stream) => void (stream.life = 'two')],
  ['a head that went back', (stream) => void ((stream.head = 0), (stream.batches = []))],
];
test.for(lossesOf)('%s is noticed: everything is forgotten, and it begins anew', async ([, lose]) => {
  const { stream, bus, heard, trusted, losses } = setUp();
  await stream.append([message('a')]);
  await bus.start();
  stream.head += 2;
  stream.batches.push({ place: 2, messages: [message('b')] }, { place: 3, messages: [message('c')] });
  lose(stream);
  stream.wake();
  await expect.poll(losses, { timeout: 10_000 }).toBe(1);
  await expect.poll(trusted, { timeout: 10_000 }).toBe(true);
  await bus.publish(message('after'));
  await expect.poll(heard, { timeout: 10_000 }).toEqual(['after']);
  expect(losses()).toBe(1);
  await bus.stop();
});

test('silence is not trusted, and what could not be sent is sent when it can', async () => {
  const { stream, bus, heard, trusted } = setUp(100);
  await bus.start();
  stream.fails = true;
  const published = bus.publish(message('late'));
  await expect.poll(trusted, { timeout: 10_000 }).toBe(false);
  stream.fails = false;
  await published;
  await expect.poll(trusted, { timeout: 10_000 }).toBe(true);
  await bus.publish(message('next'));
  await expect.poll(heard, { timeout: 10_000 }).toContain('next');
  await bus.stop();
});

test('too many that wait become one of everything', async () => {
  const { stream, bus } = setUp();
  await bus.start();
  stream.fails = true;
  const all = Array.from({ length: 5_002 }, (_, n) => bus.publish(message(`t${n}`)));
  stream.fails = false;
  await Promise.all(all);
  const [first] = stream.batches[0]?.messages ?? [];
  expect([first?.everything, stream.batches.flatMap(({ messages }) => messages).length]).toEqual([true, 3]);
  await bus.stop();
});

test('starts when the stream is away, and is trusted when it is there', async () => {
  const { stream, bus, trusted } = setUp(50);
  stream.fails = true;
  await bus.start();
  expect(trusted()).toBe(false);
  stream.fails = false;
  await expect.poll(trusted, { timeout: 10_000 }).toBe(true);
  await bus.stop();
});

test('whatever is lost, it is never trusted with a place missing', async () => {
  const aStep = fc.constantFrom(
    'append',
    'append',
    'append',
    'trim',
    'skip',
    'reborn',
    'wake',
    'tell',
    'hush',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(aStep, { maxLength: 30, size: 'max' }), async (steps) => {
      const { stream, bus, heard, trusted } = setUp();
      await bus.start();
      let n = 0;
      // What there was to hear, and where something was lost.
      const all: string[] = [];
      for (const step of steps) {
        if (step === 'append') {
          all.push(`${(n += 1)}`);
          await stream.append([message(`${n}`)]);
        } else if (step === 'trim') stream.batches = stream.batches.slice(1);
        else if (step === 'skip') {
          all.push('lost');
          stream.head += 1;
        } else if (step === 'reborn') {
          all.push('lost');
          stream.life = `life ${(n += 1)}`;
          stream.head = 0;
          stream.batches = [];
        } else if (step === 'wake') await new Promise((resolve) => void setImmediate(resolve));
        else stream.tells = step === 'tell';
      }
      await stream.append([message('last')]);
      const reads = stream.reads;
      stream.wake();
      await expect
        .poll(() => stream.reads > reads + 1 && trusted(), { timeout: 10_000, interval: 1 })
        .toBe(true);
      const since = heard();
      const from = all.indexOf(since[0] ?? 'none');
      expect(since).toEqual(
        from === -1 ? since.filter((tag) => tag === 'last') : [...all.slice(from), 'last'],
      );
      await bus.stop();
    }),
    { numRuns: 40 },
  );
});

test('a poll that is rarer than silence is long is refused', () => {
  const options = {
    name: 'x',
    clock: systemClock,
    scope: {},
    onMessage: () => undefined,
    onTrust: () => undefined,
  };
  expect(() => new SequencedBus(new Stream(), options, { pollMs: 1_500, gatherMs: -1 })).toThrow(
    /2 problems[^]*gatherMs[^]*pollMs/,
  );
});

test('has caught up when a read that began later has come to the head, whatever was sent before', async () => {
  const { stream, bus, heard, trusted } = setUp();
  expect(await bus.catchUp()).toBe(false);
  await bus.start();
  // Nobody wakes it, and one read brings three of them.
  const tags = Array.from({ length: 10 }, (_, n) => `t${n}`);
  stream.batches = tags.map((tag, n) => ({ place: n + 1, messages: [message(tag)] }));
  stream.head = tags.length;
  expect(await bus.catchUp()).toBe(true);
  expect(heard()).toEqual(tags);
  const before = stream.reads;
  expect(await bus.catchUp()).toBe(true);
  expect(stream.reads).toBeGreaterThan(before);
  // What it waits for is lost.
  stream.life = 'two';
  expect(await bus.catchUp()).toBe(false);
  await expect.poll(trusted, { timeout: 10_000 }).toBe(true);
  const stopped = bus.stop();
  expect(await bus.catchUp()).toBe(true);
  await stopped;
});
