// A user's program with node-redis, run by operator/cli/tests/clients; e2e/clients/README.md says what it does.
'use strict';
const assert = require('node:assert/strict');
const readline = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');
const { createClient, ErrorReply, SocketTimeoutError, WatchError } = require('@redis/client');

const PATIENCE = 30_000;
const MANY = 3000;

const [protocol, addresses] = [Number(process.argv[2]), process.argv.slice(3)];

async function connect(address, options = {}) {
  const { socket, ...rest } = options;
  const client = createClient({ url: `redis://${address}`, RESP: protocol, socket: { reconnectStrategy: 20, ...socket }, ...rest });
  // Without a listener an error of the socket would end the program; it connects again by itself.
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function until(holds, otherwise) {
  const end = Date.now() + PATIENCE;
  while (!(await holds())) {
    assert(Date.now() < end, otherwise());
    await sleep(10);
  }
}

async function hello(here, there) {
  const named = await connect(addresses[0], { name: 'node' });
  assert.equal(await named.ping(), 'PONG');
  assert.equal(await named.clientGetName(), 'node');
  const about = await named.clientInfo();
  assert.equal(about.resp, protocol);
  assert.match(await named.sendCommand(['CLIENT', 'INFO']), /lib-name=node-redis/);
  await named.clientSetName('another');
  assert.equal(await named.clientGetName(), 'another');
  assert.match(await named.info('server'), /redis_version:7\.2\./);
  await named.close();
  await here.hSet('hash', { a: '1', b: '2' });
  await here.zAdd('scores', [{ value: 'x', score: 1.5 }, { value: 'y', score: Infinity }]);
  await here.sAdd('set', 'm');
  assert.deepEqual({ ...(await there.hGetAll('hash')) }, { a: '1', b: '2' });
  assert.equal(await there.zScore('scores', 'x'), 1.5);
  assert.deepEqual((await there.zRangeWithScores('scores', 0, -1)).map((one) => one.score), [1.5, Infinity]);
  assert.deepEqual([...(await there.sMembers('set'))], ['m']);
  assert.equal(await there.get('nothing'), null);
  // A lot of text that is not all ASCII.
  const text = 'æøå€😀'.repeat(100_000);
  await here.set('text', text);
  assert((await there.get('text')) === text, 'another text');
}

async function pipelines(here, there) {
  // All that is asked in one turn goes out as one.
  const asked = [];
  for (let number = 0; number < MANY; number++) asked.push(here.set(`piped:${number}`, String(number)), here.incr('piped'));
  const replies = await Promise.all(asked);
  assert.deepEqual(replies, Array.from({ length: 2 * MANY }, (_, at) => (at % 2 ? (at + 1) / 2 : 'OK')));
  const batch = there.multi();
  for (let number = 0; number < MANY; number++) batch.get(`piped:${number}`);
  assert.deepEqual(await batch.execAsPipeline(), Array.from({ length: MANY }, (_, number) => String(number)));
  await assert.rejects(there.lPush('piped', 'x'), /WRONGTYPE/);
}

async function transactions(here, there) {
  await here.set('balance', '10');
  await here.watch('balance');
  let seen = Number(await here.get('balance'));
  assert.deepEqual(await here.multi().set('balance', String(seen + 1)).get('balance').exec(), ['OK', '11']);
  // Somebody else is faster, at another replica.
  await here.watch('balance');
  seen = Number(await here.get('balance'));
  await there.set('balance', '100');
  await assert.rejects(here.multi().set('balance', String(seen + 1)).exec(), WatchError);
  assert.equal(await here.get('balance'), '100');
}

async function subscribers(here, there) {
  const sub = await connect(addresses[0]);
  const heard = [];
  const hear = (message, channel) => heard.push(`${channel}: ${message}`);
  await sub.subscribe('news', hear);
  await sub.pSubscribe('weather.*', hear);
  const sent = [];
  for (let number = 0; number < 10; number++) {
    await there.publish('news', `item ${number}`);
    await here.publish('weather.rome', `${number} degrees`);
    sent.push(`news: item ${number}`, `weather.rome: ${number} degrees`);
    await until(() => heard.length === sent.length, () => `heard ${heard}, sent ${sent}`);
  }
  assert.deepEqual(heard, sent);
  assert.deepEqual(await here.pubSubChannels(), ['news']);
  await sub.unsubscribe('news');
  await sub.close();
}

async function blocking(here, there) {
  const waiter = await connect(addresses[0], { name: 'waiter' });
  assert.equal(await waiter.blPop('queue', 0.1), null);
  const found = waiter.blPop(['other', 'queue'], PATIENCE / 1000);
  await until(async () => (await here.clientList()).some((one) => one.name === 'waiter' && one.cmd === 'blpop'), () => 'nobody waits');
  await there.rPush('queue', 'job');
  assert.deepEqual({ ...(await found) }, { key: 'queue', element: 'job' });
  assert.equal(await there.lLen('queue'), 0);
  await waiter.close();
}

async function scans(here, there) {
  const names = Array.from({ length: MANY }, (_, number) => `scan:${number}`);
  await here.mSet(names.map((name) => [name, 'v']));
  await here.hSet('fields', Object.fromEntries(names.map((name) => [name, 'v'])));
  await here.sAdd('members', names);
  await here.zAdd('ranked', names.map((value) => ({ value, score: 1 })));
  const all = async (iterator, of) => {
    const found = new Set();
    for await (const part of iterator) part.forEach((one) => found.add(of(one)));
    return [...found].sort();
  };
  const itself = (one) => one;
  const wanted = [...names].sort();
  assert.deepEqual(await all(there.scanIterator({ MATCH: 'scan:*', COUNT: 100 }), itself), wanted);
  assert.deepEqual(await all(there.scanIterator({ MATCH: 'scan:1*', COUNT: 1000, TYPE: 'string' }), itself), wanted.filter((name) => name.startsWith('scan:1')));
  assert.deepEqual(await all(there.hScanIterator('fields', { COUNT: 100 }), (one) => one.field), wanted);
  assert.deepEqual(await all(there.sScanIterator('members', { COUNT: 100 }), itself), wanted);
  assert.deepEqual(await all(there.zScanIterator('ranked', { COUNT: 100 }), (one) => one.value), wanted);
}

async function timeouts(here) {
  // Nothing is heard for so long: it gives up, connects again, and goes on.
  const hasty = await connect(addresses[0], { socket: { socketTimeout: 200 } });
  await hasty.set('there', 'yes');
  await assert.rejects(hasty.blPop('never', 5), SocketTimeoutError);
  assert.equal(await hasty.get('there'), 'yes');
  hasty.destroy();
}

async function scripts(here) {
  await assert.rejects(here.eval('return 1'), (error) => error instanceof ErrorReply && /unknown command|script/.test(error.message));
  await assert.rejects(here.scriptLoad('return 1'), (error) => error instanceof ErrorReply && /script/.test(error.message));
  assert.equal(await here.ping(), 'PONG');
}

// Writes numbered keys, each with itself as its value, one after the other, and knows which it was told OK.
async function write(writer) {
  for (let number = 0; writer.told.length < writer.least; number++) {
    const key = `${writer.name}:${number}`;
    try {
      if ((await writer.store.set(key, key)) === 'OK') writer.told.push(key);
    } catch (error) {
      writer.errors.push(String(error));
    }
  }
}

async function failover() {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const start = async (name, address) => ({ name, store: await connect(address), told: [], errors: [], least: Infinity });
  const [first, second] = [await start(`node${protocol}:leader`, addresses[0]), await start(`node${protocol}:follower`, addresses[1])];
  const done = Promise.all([write(first), write(second)]);
  await until(() => first.told.length >= 200 && second.told.length >= 200, () => `${first.errors} ${second.errors}`);
  console.log('writing');
  assert.equal((await lines.next()).value, 'killed');
  for (const writer of [first, second]) writer.least = writer.told.length + 200;
  await done;
  const told = [...first.told, ...second.told];
  let lost = 0;
  for (const address of addresses) {
    const store = await connect(address);
    const values = await Promise.all(told.map((key) => store.get(key)));
    lost += told.filter((key, at) => values[at] !== key).length;
    await store.close();
  }
  assert.deepEqual(second.errors, []);
  console.log(`acknowledged ${told.length}, lost ${lost}, errors ${first.errors.length}`);
  first.store.destroy();
  second.store.destroy();
  process.stdin.destroy();
}

async function main() {
  const [here, there] = [await connect(addresses[0]), await connect(addresses[1])];
  for (const step of [hello, pipelines, transactions, subscribers, blocking, scans, timeouts, scripts]) {
    await step(here, there);
    console.log(step.name);
  }
  await Promise.all([here.close(), there.close()]);
  await failover();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
