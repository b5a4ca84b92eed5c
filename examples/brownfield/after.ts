// The same site with an outbox, a job, reads off the primary, and one module mounted.
import { randomUUID } from 'node:crypto';
import express, { type Express } from 'express';
import type pg from 'pg';
import { createContext, currentContext, sql, type App } from 'plimsoll';
import { mountRoutes, plimsollContext } from 'plimsoll/express';
import { completeTask, createWorker, insertTasks, newJob } from 'plimsoll/jobs';
import { insertEvents } from 'plimsoll/outbox';
import { fromClient, fromPool } from 'plimsoll/pg';
import { pointsPlan, shop } from './points.ts';

export type SendMail = (to: string, text: string) => Promise<void>;
type Line = { productId: number; quantity: number };

/** Sends the mail of an order; start it with the site, stop it before the pool ends. */
export function createMailWorker(pool: pg.Pool, sendMail: SendMail): ReturnType<typeof createWorker> {
  const database = fromPool(pool);
  const send = (task: Parameters<typeof completeTask>[0]): Promise<void> =>
    database.transaction(async (tx) => {
      const { to, text } = task.payload as { to: string; text: string };
      await sendMail(to, text);
      if ((await tx.execute(completeTask(task))) !== 1) throw new Error('another worker has this task');
    });
  return createWorker({ database, handlers: new Map([['mail.order', send]]) });
}

export function createSite(pool: pg.Pool, replica: pg.Pool, app: App): Express {
  const database = fromPool(pool, { replicas: [replica] });
  const site = express();
  site.use(plimsollContext({ app }));
  site.use(express.json());

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

  site.put('/products/:id/stock', async (request, response) => {
    const { stock } = request.body as { stock: number };
    const { rows } = await pool.query('update products set stock = $2 where id = $1 returning *', [
      request.params.id,
      stock,
    ]);
    if (rows.length === 0) response.status(404).json({ error: 'no such product' });
    else response.json(rows[0]);
  });

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
      const context = currentContext() ?? createContext();
      const { correlationId, caller } = context;
      const event = { type: shop.ordered.id, version: shop.ordered.version, key: String(orderId) };
      const payload = { customerId, total };
      const tx = fromClient(client);
      await tx.execute(insertEvents([{ ...event, correlationId, causationId: undefined, caller, payload }]));
      const mail = { to: customer.rows[0]?.email ?? '', text: `Order ${orderId}: ${total}` };
      await tx.execute(insertTasks([newJob(context, { id: randomUUID(), name: 'mail.order', input: mail })]));
      await client.query('COMMIT');
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

  mountRoutes(app, site, { routes: pointsPlan.http.routes });

  site.use(
    (error: Error, _request: express.Request, response: express.Response, next: express.NextFunction) => {
      if (response.headersSent) next(error);
      else response.status(500).json({ error: 'internal error' });
    },
  );
  return site;
}
