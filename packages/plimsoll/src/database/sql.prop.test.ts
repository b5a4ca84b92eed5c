import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { sql, type Sql } from './sql.ts';

/** A tree of fragments, and what its text must be made of: literal text and values, in order. */
interface Tree {
  readonly fragment: Sql;
  readonly pieces: readonly (string | { readonly value: unknown })[];
}

function fragmentOf(strings: readonly string[], values: readonly unknown[]): Sql {
  const template = Object.assign([...strings], { raw: strings }) as unknown as TemplateStringsArray;
  return sql(template, ...values);
}

// Text without `$` and digits, so that every `$n` found is a placeholder and ends where its number ends.
const text = fc.string({ maxLength: 8 }).map((value) => value.replaceAll(/[$\d]/g, ''));
const value: fc.Arbitrary<unknown> = fc.oneof(
  fc.string(),
  fc.integer(),
  fc.bigInt(),
  fc.constant(null),
  fc.array(fc.integer()),
  // Objects that look like fragments or like placeholders are values too.
  fc.constant({ strings: ['x'], values: [] }),
  fc.constant('$1'),
);
const identifier = fc.string({ minLength: 1, maxLength: 6 }).filter((name) => !/[\0$\d]/.test(name));

const { tree } = fc.letrec<{ tree: Tree; node: Tree }>((tie) => ({
  tree: fc.oneof({ maxDepth: 4, depthSize: 'small' }, leaf(), tie('node'), joined(tie('tree'))),
  node: fc
    .tuple(
      text,
      fc.array(
        fc.tuple(
          fc.oneof(
            value.map((v) => ({ value: v })),
            tie('tree'),
          ),
          text,
        ),
        { maxLength: 4 },
      ),
    )
    .map(([first, rest]) => ({
      fragment: fragmentOf(
        [first, ...rest.map(([, after]) => after)],
        rest.map(([part]) => ('fragment' in part ? part.fragment : part.value)),
      ),
      pieces: [
        first,
        ...rest.flatMap(([part, after]) => [...('fragment' in part ? part.pieces : [part]), after]),
      ],
    })),
}));

function leaf(): fc.Arbitrary<Tree> {
  return fc.oneof(
    text.map((only) => ({ fragment: fragmentOf([only], []), pieces: [only] })),
    identifier.map((name) => ({ fragment: sql.id(name), pieces: [`"${name.replaceAll('"', '""')}"`] })),
    fc.constant({ fragment: sql.empty, pieces: [] }),
  );
}

function joined(part: fc.Arbitrary<Tree>): fc.Arbitrary<Tree> {
  return fc.array(part, { maxLength: 4 }).map((parts) => ({
    fragment: sql.join(parts.map(({ fragment }) => fragment)),
    pieces: parts.flatMap(({ pieces }, index) => (index === 0 ? pieces : [', ', ...pieces])),
  }));
}

test('however fragments are nested, placeholders count 1..n in order and the values match', () => {
  fc.assert(
    fc.property(tree, ({ fragment, pieces }) => {
      const values: unknown[] = [];
      const wanted = pieces
        .map((piece) => (typeof piece === 'string' ? piece : `$${values.push(piece.value)}`))
        .join('');
      const compiled = fragment.compile();
      expect(compiled.text).toBe(wanted);
      expect(compiled.values).toEqual(values);
      expect(compiled.text.match(/\$\d+/g) ?? []).toEqual(values.map((_value, index) => `$${index + 1}`));
    }),
    { numRuns: 500 },
  );
});

test('compiling is stable: again, and after being part of something else', () => {
  fc.assert(
    fc.property(tree, tree, (one, two) => {
      const before = structuredClone({ ...one.fragment.compile() });
      sql`${one.fragment} ${two.fragment} ${one.fragment}`.compile();
      expect(one.fragment.compile()).toEqual(before);
    }),
  );
});

test('no identifier can end its own quotes', () => {
  fc.assert(
    fc.property(
      fc.string({ minLength: 1 }).filter((name) => !name.includes('\0')),
      (name) => {
        const quoted = sql.id(name).compile().text;
        expect(quoted.slice(1, -1).replaceAll('""', '')).not.toContain('"');
        expect(quoted.slice(1, -1).replaceAll('""', '"')).toBe(name);
      },
    ),
  );
});
