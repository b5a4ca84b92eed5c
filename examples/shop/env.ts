import { PlimsollError } from 'plimsoll';
import { z } from 'zod';

export type Variables = Readonly<Record<string, string | undefined>>;

/** 0 asks the system for a free port. */
const port = z.coerce.number().int().min(0).max(65_535);
const url = (protocol: RegExp): z.ZodURL => z.url({ protocol });

const shop = z.object({
  /** Where the shop listens. */
  PORT: port.default(3000),
  BANK_URL: url(/^https?$/).default('http://127.0.0.1:4100'),
  SMTP_URL: url(/^smtps?$/).default('smtp://127.0.0.1:4125'),
  /** `on` caches product pages: on one machine, with the shared tier in the same database, that costs more than it saves. */
  SHOP_CACHE: z.enum(['on', 'off']).default('off'),
});
const bank = z.object({ BANK_PORT: port.default(4100) });
const mail = z.object({ MAIL_SMTP_PORT: port.default(4125), MAIL_HTTP_PORT: port.default(4126) });

export const readShopEnvironment = (variables: Variables): z.output<typeof shop> => read(shop, variables);
export const readBankEnvironment = (variables: Variables): z.output<typeof bank> => read(bank, variables);
export const readMailEnvironment = (variables: Variables): z.output<typeof mail> => read(mail, variables);

/** PL_CONFIG with every problem at once. An empty variable counts as not set. */
function read<S extends z.ZodObject>(schema: S, variables: Variables): z.output<S> {
  const given = Object.fromEntries(
    Object.entries(variables).filter(([name, value]) => name in schema.shape && value !== ''),
  );
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => {
    const name = String(issue.path[0]);
    return { path: name, message: `${issue.message}, but it is ${shown(variables[name])}` };
  });
  throw new PlimsollError(
    'PL_CONFIG',
    `the environment: ${problems.map((problem) => `${problem.path}: ${problem.message}`).join('; ')}`,
    { data: { problems } },
  );
}

/** Without the credentials of a URL. */
function shown(value: string | undefined): string {
  return value === undefined ? 'not set' : JSON.stringify(value.replaceAll(/\/\/[^@,]*@/g, '//…@'));
}
