// The same site with an outbox, a job, reads off the primary, one route moved into a module, and one new module.
import { randomUUID } from 'node:crypto';
import express, { type Express } from 'express';
import type pg from 'pg';
import { createContext, currentContext, sql, type App } from 'plimsoll';
import { mountRoutes, plimsollContext, plimsollRoutes } from 'plimsoll/express';
import { createWorker, insertTasks, jobHandler, newJob } from 'plimsoll/jobs';
import { insertEvents, newEvent } from 'plimsoll/outbox';
import { fromClient, fromPool } from 'plimsoll/pg';
import sitePlan from './plimsoll.plan.ts';
import { shop } from './points.ts';
import { stock } from './stock.ts';

export type SendMail = (to: string, text: string) => Promise<void>;
type Line = { productId: number; quantity: number };

// #region worker
/** Sends the mail of an order; start it with the site, stop it before the pool ends. */
export function createMailWorker(
  pool: pg.Pool,
  app: App,
  sendMail: SendMail,
): ReturnType<typeof createWorker> {
  // With its scope, the log and the telemetry of the app tell of this worker too.
  const database = fromPool(pool, { scope: app.database.scope });
  const send = jobHandler<{ to: string; text: string }>(database, ({ to, text }) => sendMail(to, text));
  return createWorker({ database, handlers: new Map([['mail.order', send]]) });
}
// #endregion

export function createSite(pool: pg.Pool, replica: pg.Pool, app: App): Express {
  const database = fromPool(pool, { replicas: [replica] });
  const site = express();
  // #region middleware
  site.use(plimsollContext({ app }));
  site.use('/-', plimsollRoutes(app));
  site.use(express.json());
  // #endregion

  site.get('/products', async (_request, response) => {
    const { rows } = await pool.query('select * from products order by id');
    response.json(rows);
  });

  site.get('/products/:id', async (request, response) => {
    const { rows } = await pool.query('select * from products where id = $1', [request.params.id]);
    if (rows.length === 0) response.status(404).json({ error: 'no such product' });
    else response.json(rows[0]);
  });

  site.post('/products', async (request, response) => {
    const { name, price, stock } = request.body as { name?: string; price?: number; stock?: number };
    if (!name || !price) {
      response.status(400).json({ error: 'name and price are needed' });
      return;
    }
    const { rows } = await pool.query(
      'insert into products (name, price, stock) values ($1, $2, $3) returning *',
      [name, price, stock ?? 0],
    );
    response.status(201).json(rows[0]);
  });

  // #region thin
  site.put('/products/:id/stock', async (request, response) => {
    const { stock: left } = request.body as { stock: number };
    const result = await app.call(stock.set, { id: request.params.id, stock: left });
    if (!result.ok) response.status(404).json({ error: 'no such product' });
    else response.json(result.value);
  });
  // #endregion

  // The callback style, as older code has it.
  site.delete('/products/:id', (request, response, next) => {
    pool.query('delete from products where id = $1', [request.params.id], (error, result) => {
      if (error) next(error);
      else response.status(result.rowCount === 0 ? 404 : 204).end();
    });
  });

  site.post('/customers', async (request, response) => {
    const { email, name } = request.body as { email: string; name: string };
    try {
      const { rows } = await pool.query('insert into customers (email, name) values ($1, $2) returning *', [
        email,
        name,
      ]);
      response.status(201).json(rows[0]);
    } catch (error) {
      if ((error as { code?: string }).code !== '23505') throw error;
      response.status(409).json({ error: 'this address is taken' });
    }
  });

  site.get('/customers/:id', async (request, response) => {
    const { rows } = await pool.query('select * from customers where id = $1', [request.params.id]);
    if (rows.length === 0) response.status(404).json({ error: 'no such customer' });
    else response.json(rows[0]);
  });

  site.post('/orders', async (request, response) => {
    const { customerId, lines } = request.body as { customerId: number; lines: Line[] };
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      const customer = await client.query<{ email: string }>('select email from customers where id = $1', [
        customerId,
      ]);
      const order = await client.query<{ id: number }>(
        'insert into orders (customer_id, total) values ($1, 0) returning id',
        [customerId],
      );
      const orderId = order.rows[0]?.id;
      let total = 0;
      for (const { productId, quantity } of lines) {
        const taken = await client.query<{ price: number }>(
          'update products set stock = stock - $2 where id = $1 and stock >= $2 returning price',
          [productId, quantity],
        );
        if (taken.rows[0] === undefined) {
          await client.query('ROLLBACK');
          response.status(409).json({ error: 'out of stock', productId });
          return;
        }
        total += taken.rows[0].price * quantity;
        await client.query('insert into order_lines values ($1, $2, $3)', [orderId, productId, quantity]);
      }
      await client.query('update orders set total = $2 where id = $1', [orderId, total]);
      // #region commit
      const context = currentContext() ?? createContext();
      const tx = fromClient(client);
      await tx.execute(insertEvents([newEvent(context, shop.ordered, { customerId, total })]));
      const mail = { to: customer.rows[0]?.email ?? '', text: `Order ${orderId}: ${total}` };
      await tx.execute(insertTasks([newJob(context, { id: randomUUID(), name: 'mail.order', input: mail })]));
      await client.query('COMMIT');
      // #endregion
      response.status(201).json({ orderId, total });
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  });

  site.get('/orders/:id', async (request, response) => {
    const order = await pool.query('select * from orders where id = $1', [request.params.id]);
    const lines = await pool.query('select * from order_lines where order_id = $1', [request.params.id]);
    if (order.rows.length === 0) response.status(404).json({ error: 'no such order' });
    else response.json({ ...order.rows[0], lines: lines.rows });
  });

  site.get('/reports/sales', async (_request, response) => {
    const sales = sql`
      select product_id, sum(quantity) as sold from order_lines group by product_id order by product_id`;
    response.json(await database.readOnly((db) => db.query(sales)));
  });

  // #region mount
  mountRoutes(app, site, { routes: sitePlan.http.routes });
  // #endregion

  site.use(
    (error: Error, _request: express.Request, response: express.Response, next: express.NextFunction) => {
      if (response.headersSent) next(error);
      else response.status(500).json({ error: 'internal error' });
    },
  );
  return site;
}
