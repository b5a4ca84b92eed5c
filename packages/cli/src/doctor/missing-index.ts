import { sql } from 'plimsoll';
import { createDatabase, type Session } from 'plimsoll/database';
import type { Gain, OperationCost, StatementFinding } from './finding.ts';
import { createIndexSql, indexCandidates, type IndexCandidate } from './index-candidates.ts';
import {
  explain,
  nodeName,
  tablesOf,
  usesIndex,
  wholeScans,
  type PlanNode,
  type WholeScan,
} from './plan-tree.ts';
import { rawSql } from './raw-sql.ts';
import type { ServerStatement } from './server-statements.ts';
import { oneLine } from './statement-text.ts';
import { readSize, readStatistics, type ColumnStatistics } from './table-definition.ts';
import { thresholds } from './thresholds.ts';
import { openTwin, twinNeedsVersion, type Twin } from './twin.ts';

const limits = thresholds.missingIndex;

export interface MissingIndexInput {
  readonly databaseUrl: string;
  /** What ran in the window, on all servers. */
  readonly statements: readonly ServerStatement[];
  readonly windowMs: number;
  /** Operations of the app that run a statement. */
  readonly operationsOf: (text: string) => readonly string[];
  readonly operationCostOf: (text: string, operations: readonly string[]) => OperationCost | undefined;
  readonly verify: string;
  readonly signal: AbortSignal;
}

export interface MissingIndexResult {
  readonly findings: readonly StatementFinding[];
  readonly blindSpots: readonly string[];
}

/** The statements that are dear enough to be looked at, dearest first. Pure, so that its limits can be tested. */
export function dearStatements(statements: readonly ServerStatement[]): readonly ServerStatement[] {
  const allMs = statements.reduce((total, { totalMs }) => total + totalMs, 0);
  return statements
    .filter(
      ({ text, calls, totalMs }) =>
        /^\s*(?:select|with|insert|update|delete|merge)\b/i.test(text) &&
        calls >= limits.minCalls &&
        totalMs / calls >= limits.minMeanMs &&
        totalMs >= limits.minShareOfDatabaseTime * allMs,
    )
    .toSorted((a, b) => b.totalMs - a.totalMs)
    .slice(0, limits.maxStatements);
}

/** What is known of a scan that an index could replace. */
interface Suspect {
  readonly statement: ServerStatement;
  readonly plan: PlanNode;
  readonly scan: WholeScan;
  readonly candidates: readonly IndexCandidate[];
  readonly sqlName: string;
  readonly rows: number;
  readonly pages: number;
  readonly keyWidths: ReadonlyMap<string, number>;
}

export async function findMissingIndexes(input: MissingIndexInput): Promise<MissingIndexResult> {
  const dear = dearStatements(input.statements);
  if (dear.length === 0) return { findings: [], blindSpots: [] };
  await using database = createDatabase({
    url: input.databaseUrl,
    applicationName: 'plimsoll doctor',
    pool: { max: 1 },
  });
  // One for the texts of others, which cannot write; one that makes and drops the twin.
  const reading = await database.session();
  const making = await database.session();
  try {
    const { version } = await reading.one<{ version: number }>(
      sql`select current_setting('server_version_num')::int / 10000 as version`,
    );
    if (version < 16)
      return {
        findings: [],
        blindSpots: [
          `missing indexes: PostgreSQL ${version} cannot explain a statement with placeholders; that needs 16, and their proof 18`,
        ],
      };
    await reading.execute(rawSql("set default_transaction_read_only = on; set statement_timeout = '10s'"));
    const blindSpots: string[] = [];
    const suspects: Suspect[] = [];
    for (const statement of dear) {
      input.signal.throwIfAborted();
      suspects.push(...(await suspectsIn(reading, statement, blindSpots)));
    }
    const findings: StatementFinding[] = [];
    for (const suspect of suspects) {
      input.signal.throwIfAborted();
      const finding = await examine(making, version, suspect, input);
      if (finding !== undefined) findings.push(finding);
    }
    return { findings: onePerIndex(findings), blindSpots };
  } finally {
    await reading.close();
    await making.close();
  }
}

async function suspectsIn(
  session: Session,
  statement: ServerStatement,
  blindSpots: string[],
): Promise<readonly Suspect[]> {
  let plan: PlanNode;
  try {
    plan = await explain(session, statement.text);
  } catch (error) {
    blindSpots.push(`could not be explained (${messageOf(error)}): ${oneLine(statement.text).slice(0, 80)}`);
    return [];
  }
  const suspects: Suspect[] = [];
  for (const scan of wholeScans(plan)) {
    // Nobody can change the tables of the server or of the runtime.
    if (['pg_catalog', 'information_schema', 'plimsoll'].includes(scan.schema)) continue;
    const size = await readSize(session, scan);
    if (size === undefined || size.pages < limits.minTablePages) continue;
    if (size.rows < 0) {
      blindSpots.push(`${size.sqlName} was never analysed; run \`analyze ${size.sqlName}\``);
      continue;
    }
    if (size.rows < limits.minTableRows || scan.keptRows > limits.maxKeptShare * size.rows) continue;
    const statistics = await readStatistics(session, scan);
    const candidates = indexCandidates(scan, distinctShares(statistics, size.rows));
    const keyWidths = new Map(statistics.map(({ name, width }) => [name, width]));
    if (candidates.length > 0) suspects.push({ statement, plan, scan, candidates, keyWidths, ...size });
  }
  return suspects;
}

const distinctShares = (statistics: readonly ColumnStatistics[], rows: number): ReadonlyMap<string, number> =>
  new Map(statistics.map(({ name, distinct }) => [name, distinct < 0 ? -distinct : distinct / rows]));

interface Proof {
  readonly index: IndexCandidate;
  readonly before: number;
  readonly after: number;
  readonly plan: PlanNode;
}

/** Undefined when the planner says that no index helps. */
async function examine(
  making: Session,
  version: number,
  suspect: Suspect,
  input: MissingIndexInput,
): Promise<StatementFinding | undefined> {
  if (version < twinNeedsVersion)
    return describe(
      suspect,
      `PostgreSQL ${version} cannot import statistics into a twin; that needs ${twinNeedsVersion}`,
      input,
    );
  try {
    await using twin = await openTwin(making, input.databaseUrl, tablesOf(suspect.plan));
    const proof = await prove(twin, suspect);
    return proof === undefined ? undefined : describe(suspect, proof, input);
  } catch (error) {
    return describe(suspect, `the twin could not be made: ${messageOf(error)}`, input);
  }
}

/** The narrowest index that is worth it; a text when the twin does not plan as the original does. */
async function prove(twin: Twin, suspect: Suspect): Promise<Proof | string | undefined> {
  const { text } = suspect.statement;
  const before = (await twin.plan(text))['Total Cost'];
  const original = suspect.plan['Total Cost'];
  if (twin.shrunk.length === 0 && Math.abs(before / original - 1) > limits.maxTwinError)
    return `the twin plans with cost ${before}, the original with ${original}`;
  let best: Proof | undefined;
  for (const index of suspect.candidates) {
    const plan = await twin.planWith(text, suspect.scan, index);
    const after = plan['Total Cost'];
    if (!usesIndex(plan, index.name) || after > limits.maxCostRatio * before) continue;
    if (best === undefined || after <= limits.widerIndexRatio * best.after)
      best = { index, before, after, plan };
  }
  return best;
}

function describe(suspect: Suspect, proof: Proof | string, input: MissingIndexInput): StatementFinding {
  const { statement, scan, rows, pages, candidates } = suspect;
  const proved = typeof proof !== 'string';
  const index = proved ? proof.index : candidates[0];
  const seconds = input.windowMs / 1_000;
  const allMs = input.statements.reduce((total, { totalMs }) => total + totalMs, 0);
  const meanMs = statement.totalMs / statement.calls;
  const table = `${scan.schema}.${scan.table}`;
  const gain: Gain = proved
    ? { unit: 'planner cost', before: proof.before, after: proof.after }
    : { unit: 'planner cost', before: suspect.plan['Total Cost'], after: null };
  const operations = input.operationsOf(statement.text);
  const operation = input.operationCostOf(statement.text, operations);
  const saved = gain.after === null ? 0 : (1 - gain.after / gain.before) * statement.totalMs;
  return {
    rule: 'missing-index',
    title: `${table} is read whole for a few rows: an index is missing`,
    operations,
    table,
    statement: oneLine(statement.text),
    evidence: [
      `${statement.calls.toLocaleString('en-US')} calls, each reading ${Math.round(statement.blocks / statement.calls).toLocaleString('en-US')} blocks of 8 kB and answering ${(statement.rows / statement.calls).toFixed(1)} rows`,
      `plan: ${scan.node} on ${table}, ${Math.round(rows).toLocaleString('en-US')} rows in ${pages.toLocaleString('en-US')} pages, of which the filter ${scan.filter} keeps about ${scan.keptRows.toLocaleString('en-US')}`,
      ...(proved ? [`plan with the index, on a twin with the same statistics: ${nodesOf(proof.plan)}`] : []),
    ],
    cost: {
      msPerCall: meanMs,
      callsPerSecond: statement.calls / seconds,
      share: allMs === 0 ? 0 : statement.totalMs / allMs,
      savedMsPerSecond: saved / seconds,
      ...(operation === undefined ? {} : { operation }),
    },
    fix: {
      text: `about ${megabytes(index, suspect)} on disk, and every write to ${table} keeps it up to date`,
      ...(index === undefined
        ? {}
        : { sql: `${createIndexSql(suspect.sqlName, index, { concurrently: true })};` }),
    },
    gain,
    proved,
    ...(proved ? {} : { unprovedBecause: proof }),
    verify: input.verify,
  };
}

function nodesOf(plan: PlanNode): string {
  const own = nodeName(plan);
  const [first] = plan.Plans ?? [];
  return first === undefined ? own : `${own} → ${nodesOf(first)}`;
}

/** 16 bytes a row beside the key, pages nine tenths full; equal keys are stored once, so it may be less. */
function megabytes(index: IndexCandidate | undefined, { keyWidths, rows }: Suspect): string {
  const width = (index?.columns ?? []).reduce(
    (total, column) => total + (keyWidths.get((column.split(' ')[0] ?? '').replaceAll('"', '')) ?? 8),
    16,
  );
  return `${Math.max(1, Math.ceil((rows * width) / 0.9 / 1e6))} MB`;
}

/** Two statements may ask for the same index: it is one finding, with the dearer statement. */
function onePerIndex(findings: readonly StatementFinding[]): readonly StatementFinding[] {
  const seen = new Set<string>();
  return findings.filter(({ fix }) => fix.sql === undefined || (!seen.has(fix.sql) && seen.add(fix.sql)));
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
