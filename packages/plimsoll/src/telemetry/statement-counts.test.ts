import { afterEach, expect, test } from 'vitest';
import { operations, queries } from '../kernel/channels.ts';
import { createContext, enterOperation, runInContext } from '../kernel/context.ts';
import { countStatements, executionBuckets, type StatementCounter } from './statement-counts.ts';

const scope = {};
const counter: { current?: StatementCounter } = {};
afterEach(() => counter.current?.stop());

function counting(): StatementCounter {
  counter.current = countStatements(scope);
  return counter.current;
}

function ask(operation: string, text: string, rows = 1): void {
  queries.publish({ scope, server: 'primary', text, durationMs: 2, rows, operation });
}

/** One execution, as the runtime does it: a context of its own, and the message after the handler. */
function execute(operation: string, handler: () => void): void {
  const context = enterOperation(createContext({ correlationId: 'one request' }), operation, undefined);
  runInContext(context, handler);
  operations.publish({ scope, operation, kind: 'query', outcome: 'ok', durationMs: 1, span: context.span });
}

const times = (count: number, run: () => void): void => {
  for (let index = 0; index < count; index += 1) run();
};

test('each execution is counted by itself, also when they share a correlation id', () => {
  const counts = counting();
  for (const lines of [1, 3, 12]) {
    execute('orders.list', () => {
      times(lines, () => ask('orders.list', 'select lines'));
    });
  }
  const [listed] = counts.snapshot().filter(({ operation }) => operation === 'orders.list');
  expect(listed).toMatchObject({
    executions: 3,
    statements: [{ text: 'select lines', total: 16, rows: 16, totalMs: 32, maxPerExecution: 12 }],
  });
  // 1; 3 to 4; 9 to 16: each execution stands only where it ended.
  expect(listed?.statements[0]?.perExecution).toEqual([1, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
});

test('executions that run at the same time do not mix', () => {
  const counts = counting();
  const contexts = [1, 2].map(() => enterOperation(createContext(), 'orders.list', undefined));
  times(4, () => contexts.forEach((context) => runInContext(context, () => ask('orders.list', 'select 1'))));
  expect(counts.snapshot()[0]?.statements[0]).toMatchObject({ total: 8, maxPerExecution: 4 });
});

test('other apps and work that belongs to no operation are not counted', () => {
  const counts = counting();
  queries.publish({ scope: {}, server: 'p', text: 'a', durationMs: 1, rows: 0, operation: 'orders.list' });
  queries.publish({ scope, server: 'p', text: 'a', durationMs: 1, rows: 0, operation: undefined });
  expect(counts.snapshot()).toEqual([]);
});

test('memory is bounded however many texts and operations there are, and long texts are cut', () => {
  const counts = counting();
  execute('a.0', () => times(1_000, () => ask('a.0', `select ${'x'.repeat(5_000)}`)));
  for (let index = 0; index < 2_000; index += 1) execute(`a.${index}`, () => ask(`a.${index}`, 'select 1'));
  execute('a.0', () => {
    for (let index = 0; index < 500; index += 1) ask('a.0', `select ${index}`);
  });
  const snapshot = counts.snapshot();
  expect(snapshot.length).toBe(500);
  const [first] = snapshot;
  expect(first?.statements.length).toBe(100);
  expect(first?.statements[0]?.text.length).toBe(2_001);
  expect(first?.statements[0]?.perExecution).toEqual([...executionBuckets.map(() => 0), 1]);
});

test('after stop nothing is counted any more', () => {
  const counts = counting();
  counts.stop();
  execute('orders.list', () => ask('orders.list', 'select 1'));
  expect(counts.snapshot()).toEqual([]);
});
