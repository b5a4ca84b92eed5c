export type Values = Readonly<Record<string, string | boolean | undefined>>;

export interface Command {
  readonly summary: string;
  readonly options: Readonly<Record<string, CommandOption>>;
  /** Shown at the end of its help. */
  readonly notes?: string;
  /** The one argument it takes besides options, if any. */
  readonly argument?: CommandOption & { readonly value: string };
  /** Resolves to the exit code. */
  readonly run: (values: Values, argument: string | undefined) => Promise<number>;
}

export interface CommandOption {
  /** What the option takes, such as `<file>`; absent for a flag. */
  readonly value?: string;
  readonly about: string;
}

/** Commands about one thing: `plimsoll views list`. */
export interface CommandGroup {
  readonly summary: string;
  readonly commands: Readonly<Record<string, Command>>;
}
