// Webhooks, received over HTTP by what an application would write with the official library: every
// kind of event, its signature, its fields.
'use strict';

const http = require('node:http');
const { after, before, test } = require('node:test');
const {
  assert, backend, connected, next, nodes, once, required, subscribed, unique, withClients,
} = require('./clients');

// told holds the events that came, whoever waits for more is in waiting.
const told = [];
const waiting = new Set();
const invalid = [];
let refusals = 0; // how many requests are answered 500 before they are accepted

const server = http.createServer((req, res) => {
  const chunks = [];
  req.on('data', (chunk) => chunks.push(chunk));
  req.on('end', () => {
    const rawBody = Buffer.concat(chunks).toString();
    const webhook = backend().webhook({ headers: req.headers, rawBody });
    const forged = backend({ secret: 'wrong' }).webhook({ headers: req.headers, rawBody });
    if (req.method !== 'POST' || !webhook.isValid() || forged.isValid()) invalid.push([req.headers, rawBody]);
    if (refusals > 0) {
      refusals -= 1;
      res.writeHead(500).end();
      return;
    }
    assert.ok(Math.abs(webhook.getTime() - Date.now()) < 5 * 60_000);
    told.push(...webhook.getEvents());
    for (const look of waiting) look();
    res.writeHead(200).end();
  });
});

before(() => new Promise((resolve) => { server.listen(Number(required('PLAYHEAD_WEBHOOKS_PORT')), '127.0.0.1', resolve); }));
after(() => {
  server.close();
  server.closeAllConnections();
  assert.deepEqual(invalid, []);
});

function hooked(prefix) {
  return `${unique(prefix)}-hooked`;
}

// of returns what was told of a channel, in order.
function of(channel) {
  return told.filter((event) => event.channel === channel);
}

// heard resolves with the first event of a name that was told of a channel.
function heard(name, channel, accept = () => true) {
  const found = () => of(channel).find((event) => event.name === name && accept(event));
  return once(`${name} of ${channel}; told ${JSON.stringify(of(channel))}`, (resolve) => {
    const look = () => {
      if (!found()) return;
      waiting.delete(look);
      resolve(found());
    };
    waiting.add(look);
    look();
  });
}

test('channel_occupied and channel_vacated, once each', () => withClients(async (client) => {
  const channel = hooked('news');
  const [a, b] = [client(), client()];
  await subscribed(a, channel);
  await subscribed(b, channel);
  assert.deepEqual(await heard('channel_occupied', channel), { name: 'channel_occupied', channel });
  a.disconnect();
  b.disconnect();
  assert.deepEqual(await heard('channel_vacated', channel), { name: 'channel_vacated', channel });
  assert.deepEqual(
    of(channel).map((e) => e.name).filter((name) => name.startsWith('channel_')),
    ['channel_occupied', 'channel_vacated'],
  );
}));

test('a channel that is occupied again at once was never vacated', () => withClients(async (client) => {
  const channel = hooked('news');
  const a = client();
  await subscribed(a, channel);
  a.unsubscribe(channel);
  await subscribed(a, unique('other'));
  await subscribed(a, channel);
  // What is told of the channel later waits for what was held back before.
  await heard('subscription_count', channel, () => of(channel).filter((e) => e.name === 'subscription_count').length === 3);
  assert.deepEqual(
    of(channel).map((e) => e.name).filter((name) => name !== 'subscription_count'),
    ['channel_occupied'],
  );
}));

test('member_added and member_removed, by user', () => withClients(async (client) => {
  const channel = hooked('presence-room');
  const stays = client({ user: { user_id: 'bob', user_info: { name: 'Bob' } } });
  const tabs = [client({ user: { user_id: 'ada' } }), client({ user: { user_id: 'ada' } })];
  for (const c of [stays, ...tabs]) await subscribed(c, channel);
  for (const c of tabs) c.disconnect();
  await heard('member_removed', channel);
  const members = of(channel).filter((e) => e.name.startsWith('member_'));
  assert.deepEqual(members, [
    { name: 'member_added', channel, user_id: 'bob' },
    { name: 'member_added', channel, user_id: 'ada' },
    { name: 'member_removed', channel, user_id: 'ada' },
  ]);
}));

test('client_event, with the sender where there are members', () => withClients(async (client) => {
  for (const [channel, user] of [[hooked('private-chat'), undefined], [hooked('presence-chat'), { user_id: 'ada' }]]) {
    const a = await connected(client({ user }));
    const sent = await subscribed(a, channel);
    sent.trigger('client-typing', { on: true });
    const event = await heard('client_event', channel);
    const want = {
      name: 'client_event', channel, event: 'client-typing', data: '{"on":true}', socket_id: a.connection.socket_id,
    };
    if (user) want.user_id = 'ada';
    assert.deepEqual(event, want);
  }
}));

test('cache_miss, once for several', () => withClients(async (client) => {
  const channel = hooked('cache-rate');
  for (let i = 0; i < 3; i += 1) {
    const missed = client();
    const empty = missed.subscribe(channel);
    await next(empty, 'pusher:cache_miss');
  }
  assert.deepEqual(await heard('cache_miss', channel), { name: 'cache_miss', channel });
  await heard('subscription_count', channel, (e) => e.subscription_count === 3);
  // Each node tells of what it has seen, once.
  assert.ok(of(channel).filter((e) => e.name === 'cache_miss').length <= nodes);
}));

test('subscription_count, a number', () => withClients(async (client) => {
  const channel = hooked('private-news');
  await subscribed(client(), channel);
  await subscribed(client(), channel);
  await heard('subscription_count', channel, (e) => e.subscription_count === 2);
  assert.deepEqual(of(channel).filter((e) => e.name === 'subscription_count'), [
    { name: 'subscription_count', channel, subscription_count: 1 },
    { name: 'subscription_count', channel, subscription_count: 2 },
  ]);
}));

test('what is refused comes again', () => withClients(async (client) => {
  const channel = hooked('news');
  refusals = 2;
  await subscribed(client(), channel);
  await heard('channel_occupied', channel);
  assert.equal(refusals, 0);
  assert.equal(of(channel).filter((e) => e.name === 'channel_occupied').length, 1);
}));

test('other channels are not told of', () => withClients(async (client) => {
  const [silent, channel] = [unique('news'), hooked('news')];
  const a = client();
  await subscribed(a, silent);
  await subscribed(a, channel);
  await heard('channel_occupied', channel);
  assert.deepEqual(of(silent), []);
}));
