// Has the agent of the fixture answer once and fail once, and ends as its server would.

import { mastra } from './mastra.mjs';

const agent = mastra.getAgent('weatherAgent');
const { text } = await agent.generate('weather in Paris');
const failed = await agent.generate('fail please').then(
  () => 'no failure',
  (error) => error.message,
);
await mastra.shutdown();
console.log(`READY ${text} | ${failed}`);
