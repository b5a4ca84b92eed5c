import { expect, test } from 'vitest';
import { renderConfiguration, settingProblems } from './settings.ts';

const lines = (text: string): string[] => text.split('\n');

test('values are quoted as postgresql.conf wants them', () => {
  const text = renderConfiguration({ name: 'primary', port: 5, settings: { search_path: `it's "a" \\ b` } });
  expect(lines(text)).toContain(`search_path = 'it''s "a" \\\\ b'`);
});

test('a given setting replaces the default whatever its case, and pg_stat_statements stays loaded', () => {
  const settings = { Max_Connections: '50', shared_preload_libraries: 'auto_explain, pg_prewarm' };
  const text = renderConfiguration({ name: 'primary', port: 5, settings });
  expect(lines(text).filter((line) => /max_connections/i.test(line))).toEqual(["max_connections = '50'"]);
  expect(lines(text)).toContain("shared_preload_libraries = 'auto_explain,pg_prewarm,pg_stat_statements'");
});

test('only a replica follows somebody', () => {
  const following = { port: 7, password: 'secret', slot: 'replica_1', applyDelayMs: 250 };
  const replica = renderConfiguration({ name: 'replica-1', port: 5, settings: {}, following });
  expect(replica).toMatch(/primary_conninfo = 'host=127.0.0.1 port=7 user=postgres password=secret /);
  expect(lines(replica)).toContain("recovery_min_apply_delay = '250ms'");
  expect(renderConfiguration({ name: 'primary', port: 5, settings: {} })).not.toContain('primary_conninfo');
});

test('what would break the cluster or the file is refused', () => {
  expect(settingProblems({ work_mem: '4MB', 'auto_explain.log_min_duration': '0' })).toEqual([]);
  expect(
    settingProblems({ PORT: '1', listen_addresses: '*', 'a;b': '1', work_mem: '1\nport=2' }),
  ).toHaveLength(4);
});
