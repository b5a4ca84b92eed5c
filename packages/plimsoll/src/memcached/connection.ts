import type { Socket } from 'node:net';

/** A line of the meta text protocol without its end, and the data that follows it. */
export interface Command {
  readonly line: string;
  readonly data?: Buffer;
}

/** `HD` done, `VA` a value, `EN` none; `NS`, `EX` and `NF` refuse what a condition forbids; else an error. */
export interface Answer {
  readonly code: string;
  /** What was asked for, by its flag: `c` the compare-and-set id, `t` the seconds that are left. */
  readonly flags: Readonly<Record<string, string>>;
  readonly data: string;
}

/** Commands that were sent together, and their answers so far. */
interface Batch {
  readonly size: number;
  readonly answers: Answer[];
  readonly sentMs: number;
  readonly resolve: (answers: readonly Answer[]) => void;
  readonly reject: (error: Error) => void;
}

const lineEnd = Buffer.from('\r\n');
const codes = new Set(['HD', 'VA', 'EN', 'NS', 'EX', 'NF', 'ERROR', 'CLIENT_ERROR', 'SERVER_ERROR']);

/**
 * One connection. Answers come in the order of the commands, so any number of commands may be under way. It ends for
 * good when the server gives no answer for `timeoutMs` or what it says cannot be read: what was asked is then rejected.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  readonly #batches: Batch[] = [];
  // What has arrived and is not a whole answer yet.
  #rest: Buffer = Buffer.alloc(0);
  #ended: Error | undefined = undefined;

  /** Of a socket that is connected. */
  constructor(socket: Socket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.end(error));
    socket.on('close', () => this.end(new Error('the connection to Memcached was closed')));
    socket.setTimeout(timeoutMs, () => this.#endIfSilent());
  }

  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  /** In one write; resolves with an answer for each. */
  send(commands: readonly Command[]): Promise<readonly Answer[]> {
    if (commands.length === 0) return Promise.resolve([]);
    // Each write begins the socket's own time limit anew, which is why it is not enough.
    this.#endIfSilent();
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const { promise, resolve, reject } = Promise.withResolvers<readonly Answer[]>();
    this.#batches.push({ size: commands.length, answers: [], sentMs: performance.now(), resolve, reject });
    this.#socket.write(
      Buffer.concat(
        commands.flatMap(({ line, data }) => {
          const head = Buffer.from(`${line}\r\n`);
          return data === undefined ? [head] : [head, data, lineEnd];
        }),
      ),
    );
    return promise;
  }

  end(error: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#socket.destroy();
    for (const { reject } of this.#batches.splice(0)) reject(error);
  }

  #endIfSilent(): void {
    const [oldest] = this.#batches;
    // The timer of a socket may be a moment early.
    if (oldest !== undefined && performance.now() - oldest.sentMs > this.#timeoutMs - 10)
      this.end(new Error(`Memcached gave no answer for ${this.#timeoutMs} ms`));
  }

  #read(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let from = 0;
    while (this.#ended === undefined) {
      const end = this.#rest.indexOf(lineEnd, from);
      if (end === -1) break;
      const line = this.#rest.toString('latin1', from, end);
      const [code = '', ...words] = line.split(' ');
      const start = end + lineEnd.length;
      const size = code === 'VA' ? Number(words.shift()) : 0;
      const next = code === 'VA' ? start + size + lineEnd.length : start;
      if (this.#rest.length < next) break;
      if (!codes.has(code) || Number.isNaN(size)) {
        const said = JSON.stringify(line.slice(0, 100));
        return this.end(new Error(`Memcached answered ${said}, which is no answer of the meta protocol`));
      }
      const isError = code.endsWith('ERROR');
      this.#answered({
        code,
        flags: isError ? {} : Object.fromEntries(words.map((word) => [word.slice(0, 1), word.slice(1)])),
        data: isError ? words.join(' ') : this.#rest.toString('utf8', start, start + size),
      });
      from = next;
    }
    this.#rest = this.#rest.subarray(from);
    return undefined;
  }

  #answered(answer: Answer): void {
    const [batch] = this.#batches;
    if (batch === undefined) return this.end(new Error('Memcached answered what was not asked'));
    batch.answers.push(answer);
    if (batch.answers.length < batch.size) return undefined;
    this.#batches.shift();
    return batch.resolve(batch.answers);
  }
}
