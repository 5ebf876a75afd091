// Has the agent of the fixture answer again and again, with the exporter as npm has it, and tells what it did: while the
// project has brought enough, and once it may bring more.
//
// Timers of a minute and more run a hundred times as fast; requests are noted and made as they are.

import { mastra } from './mastra.mjs';

const timers = [];
const { setTimeout: wait, fetch: ask } = globalThis;
globalThis.setTimeout = (then, ms, ...rest) => {
  if (ms < 60_000) return wait(then, ms, ...rest);
  timers.push(ms);
  return wait(then, ms / 100, ...rest);
};

const requests = [];
globalThis.fetch = async (url, options) => {
  const [signal, rows] = Object.entries(JSON.parse(options.body))[0];
  const response = await ask(url, options);
  requests.push({
    signal,
    rows: rows.length,
    status: response.status,
    retryAfter: response.headers.get('x-mastra-observability-retry-after'),
    capabilities: options.headers['x-mastra-observability-capabilities'],
  });
  return response;
};

const agent = mastra.getAgent('weatherAgent');
const answer = async () => {
  await agent.generate('weather in Paris');
  await mastra.observability.getDefaultInstance().flush();
};
const until = async (met) => {
  while (!met()) {
    await answer();
    await new Promise((done) => wait(done, 100));
  }
};

await until(() => requests.some((it) => it.rows === 0));
console.log('READY paused');
await until(() => requests.some((it) => it.signal === 'spans' && it.rows > 0 && it.status === 200));
await mastra.shutdown();
console.log(`READY ${JSON.stringify({ timers, requests })}`);
