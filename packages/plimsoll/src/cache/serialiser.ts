import { deserialize, serialize } from 'node:v8';

/** How a value becomes text for the shared tier. */
export interface Serialiser {
  /** In the names of what is kept, so that two of them never read each other's. */
  readonly name: string;
  encode(value: unknown): string;
  decode(text: string): unknown;
}

/** The default. What JSON cannot say (dates, maps, `undefined` in a list) comes back as JSON has it. */
export const jsonSerialiser: Serialiser = {
  name: 'json',
  encode: (value) => JSON.stringify(value),
  decode: (text) => JSON.parse(text) as unknown,
};

/** Everything that `structuredClone` takes. For processes on one version of Node only. */
export const v8Serialiser: Serialiser = {
  name: 'v8',
  encode: (value) => serialize(value).toString('base64'),
  decode: (text) => deserialize(Buffer.from(text, 'base64')) as unknown,
};
