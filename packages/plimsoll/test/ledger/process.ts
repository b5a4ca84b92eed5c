import { createContext, runInContext } from '../../src/kernel/context.ts';
import { ledger, ledgerApp, now } from './app.ts';

/** A process that adds one note under the key that it is given, tells where it is, and waits to be killed there. */
const [url = '', key = '', where = ''] = process.argv.slice(2);
const app = ledgerApp(url, {}, { listen: false });
await app.start();
process.on('disconnect', () => process.exit(0));

if (where === 'before COMMIT') {
  now.fate = 'hold';
  now.held = new Promise(() => undefined);
}
const adding = runInContext(createContext({ key }), () => app.call(ledger.add, { text: key }));
const reached =
  where === 'before COMMIT'
    ? (async (): Promise<void> => {
        while (now.effects === 0) await new Promise(setImmediate);
      })()
    : adding;
await reached;
process.send?.('there');
