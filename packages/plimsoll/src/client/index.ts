/**
 * `plimsoll/client`: calls operations over HTTP, with the types of their contracts.
 *
 * Guarantee: a call has the result that `app.call` has. A declared error is a value; whatever else the server
 * answers is thrown as a `PlimsollError` with the server's code and correlation id; what never came back is
 * thrown as PL_NETWORK, PL_DEADLINE or PL_ABORTED. Nothing is sent twice by itself.
 *
 * What one call has written or read, the next one sees, whichever process answers it.
 *
 * Authoritative: the server. The client validates nothing but what cannot be put into a URL.
 *
 * Not promised: that a call that was thrown had no effect. Send the same `idempotencyKey` when trying again.
 */
export { clientDefaults, createClient, type CallOptions, type Client, type ClientOptions } from './client.ts';
export { type ClientRoute } from './request.ts';
