import { sql } from '../../src/database/sql.ts';
import { createContext } from '../../src/kernel/context.ts';
import type { Schedule } from './play.ts';

const task = (name: string) => sql`select 1 from plimsoll.task where name = ${name}`;

export const schedules: readonly Schedule[] = [
  {
    name: 'a COMMIT that fails when all was written',
    hurts: 'Goods are sent for an order that was never taken.',
    async run(play) {
      await play.pay(1);
      if ((await play.tryToPay(13)) === 'accepted')
        play.found('a payment that was refused at COMMIT was accepted');
      await play.rest();
    },
  },
  {
    name: 'who began to write first commits last',
    hurts: 'An order is paid, and nobody ever hears of it.',
    async run(play) {
      await play.pay(1);
      await play.rest();
      const { database } = (await play.app()).app;
      const { insertEvents, moveCommitted } = play.library;
      const { correlationId, caller } = createContext();
      const said = { type: 'ledger.said', version: 1, key: 'k', correlationId, caller, payload: {} };
      await play.admin.transaction(async (early) => {
        await early.execute(insertEvents([said]));
        await play.admin.execute(insertEvents([said]));
        await moveCommitted(database, 100);
      });
      await moveCommitted(database, 100);
      const { n } = await play.admin.one<{ n: number }>(
        sql`select count(*)::int as n from plimsoll.event where type = 'ledger.said'`,
      );
      if (n !== 2) play.found(`2 events were committed, and the log has ${n}`);
      // The app waits for what is left, which nobody would take.
      await play.admin.execute(sql`delete from plimsoll.outbox`);
    },
  },
  {
    name: 'a job is taken over while its owner is still at it',
    hurts: 'Goods are sent twice, because a process was believed dead that was only slow.',
    async run(play) {
      play.meanwhile.set('ship 1', async () => {
        await play.admin.execute(
          sql`update plimsoll.task set state = 'ready', worker = null where name = 'ledger.ship'`,
        );
        // The other one has the job, has its effect, and is done.
        await play.until('the other owner to be done', sql`select 1 from ledger.shipped where id = 1`);
      });
      await play.pay(1);
      await play.rest();
    },
  },
  {
    name: 'an event is delivered twice',
    hurts: 'A customer is credited twice.',
    async run(play) {
      play.meanwhile.set('note 1', async () => {
        await play.admin.execute(sql`
          insert into plimsoll.task (id, kind, name, max_attempts, correlation_id, causation_id, caller, payload)
          select gen_random_uuid(), kind, name, max_attempts, correlation_id, causation_id, caller, payload
          from plimsoll.task where name = 'ledger.note'`);
      });
      await play.pay(1);
      await play.until('the second delivery to be there', task('ledger.note')).catch(() => undefined);
      await play.rest();
    },
  },
  {
    name: 'the same key comes again at the moment of the first COMMIT',
    hurts: 'A card is charged twice, because a customer clicked twice.',
    async run(play) {
      const insist = async (): Promise<void> => {
        for (let tries = 0; tries < 200; tries += 1) {
          const answer = await play.tryToPay(1);
          if (answer === 'accepted') return;
          if (answer !== 'PL_IDEMPOTENCY_BUSY') throw new Error(`a call failed with ${answer}`);
        }
      };
      // Either may be the first.
      await Promise.all([insist(), insist()]);
      await play.rest();
    },
  },
  {
    name: 'a compensation that fails at first',
    hurts: 'Goods stay reserved for ever for an order that was given up.',
    async run(play) {
      play.meanwhile.set('release 1', () => Promise.reject(new Error('the warehouse does not answer')));
      await play.pay(1);
      const { app, ledger } = await play.app();
      await app.call(ledger.contract.trip, { id: 1 });
      await play.until(
        'the saga to have ended',
        sql`select 1 from plimsoll.saga where state in ('compensated', 'stuck')`,
      );
      const { left } = await play.admin.one<{ left: number }>(
        sql`select sum(change)::int as left from ledger.reserved`,
      );
      if (left !== 0) play.found(`the saga is compensated, and ${left} is still reserved`);
      await play.rest();
    },
  },
  {
    name: 'a batch of a view that fails at COMMIT',
    hurts: 'A total is wrong for ever, and nobody knows.',
    async run(play) {
      await play.app();
      await play.admin.execute(sql`
        create constraint trigger refuse after insert on ledger.totals_v1 deferrable initially deferred
        for each row execute function ledger.refuse()`);
      await play.pay(1);
      await play.until(
        'the view to have failed',
        sql`select 1 from plimsoll.view_table where failure is not null or position > 0`,
      );
      await play.admin.execute(sql`drop trigger refuse on ledger.totals_v1`);
      await play.rest().catch(() => undefined);
      await play.until('the view to go on', sql`select 1 from plimsoll.view_table where failure is null`);
      await play.rest();
    },
  },
];
