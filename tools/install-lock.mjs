import fs from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const heartbeatMs = 2_000;
const silentMs = 60_000;
const settleMs = 200;

/** A lock is stale when its owner is dead, or on another host and has not given a sign of life for a while. */
function isStale(file) {
  try {
    if (Date.now() - fs.statSync(file).mtimeMs > silentMs) return true;
    const [host, pid] = fs.readFileSync(file, 'utf8').split(' ');
    if (host === hostname() && pid) process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}

function tryToOwn(file, owner) {
  if (isStale(file)) fs.rmSync(file, { force: true });
  try {
    fs.writeFileSync(file, owner, { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    return false;
  }
}

/** Runs `work` while no other process, on this machine or another one sharing the folder, holds `file`. */
export async function withLock(file, work) {
  const owner = `${hostname()} ${process.pid}`;
  fs.mkdirSync(path.dirname(file), { recursive: true });
  for (let said = false; ; said = true) {
    const created = tryToOwn(file, owner);
    if (!created && !said) console.log(`Waiting for another install to finish (${file}).`);
    // Two that find the same stale lock may both remove it, the later one taking the new lock of the first: look again.
    await sleep(settleMs);
    if (created && fs.existsSync(file) && fs.readFileSync(file, 'utf8') === owner) break;
  }
  const heartbeat = setInterval(() => fs.utimes(file, new Date(), new Date(), () => {}), heartbeatMs);
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    fs.rmSync(file, { force: true });
  }
}
