// The module with what isn't pusher-js alone and a node: Laravel Echo, the builds for pages and workers,
// and servers that know nothing of replay.
'use strict';

const { describe, test } = require('node:test');
const http = require('node:http');
const vm = require('node:vm');
const { WebSocketServer } = require('ws');
const Pusher = require('pusher-js');
const webBuilds = require('./builds');
const { address, masterKey, unique, until } = require('./clients');
const {
  assert, back, backend, builds, fence, heard, module: replay, next, numbered, once, steps, subscribed, withReplays,
} = require('./replays');
const { withRoad } = require('./road');

test('Laravel Echo', () => withRoad(async (road) => {
  const { default: Echo } = await import('laravel-echo');
  const { withReplay } = await replay;
  const server = http.createServer((req, res) => {
    const chunks = [];
    req.on('data', (chunk) => chunks.push(chunk));
    req.on('end', () => {
      const form = new URLSearchParams(Buffer.concat(chunks).toString());
      res.setHeader('Content-Type', 'application/json');
      res.end(JSON.stringify(backend().authorizeChannel(form.get('socket_id'), form.get('channel_name'), { user_id: 'ada' })));
    });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const echo = new Echo({
    broadcaster: 'pusher',
    Pusher,
    key: address.key,
    cluster: '',
    wsHost: address.host,
    wsPort: road.port,
    forceTLS: false,
    enabledTransports: ['ws'],
    authEndpoint: `http://127.0.0.1:${server.address().port}/broadcasting/auth`,
  });
  try {
    withReplay(echo.connector.pusher);
    for (const join of ['channel', 'private', 'join']) {
      const name = unique('orders');
      const channel = echo[join](name);
      await once('subscription', (resolve) => channel.subscribed(resolve));
      const list = [];
      channel.listen('OrderShipped', ({ n }) => list.push(n));
      channel.listen('.playhead:replayed', ({ count }) => list.push(`replayed ${count}`));
      const ship = (n) => backend().trigger(channel.subscription.name, 'App\\Events\\OrderShipped', { n });
      await ship(1);
      await until(channel.subscription, 'App\\Events\\OrderShipped', () => list.length === 1);
      await back(road, [channel.subscription], async () => {
        await ship(2);
        await ship(3);
      });
      assert.deepEqual(list, [1, 2, 3, 'replayed 2']);
      const { items } = await channel.subscription.history();
      assert.deepEqual(items, []);
      echo.leave(name);
    }
  } finally {
    echo.disconnect();
    server.close();
    server.closeAllConnections();
  }
}));

// The builds run in contexts of their own, and so does the classic script that the node serves.
for (const [name, build] of Object.entries(webBuilds)) test(`the build ${name} and the classic script`, () => withReplays(build, async (client, road) => {
  const channelName = unique(name.endsWith('encryption') ? 'private-encrypted-notes' : 'private-notes');
  const script = await (await fetch(`http://${address.host}:${address.port}/replay.classic.js`)).text();
  const page = { setTimeout, clearTimeout };
  vm.runInNewContext(script, page);
  const a = client({ replay: false, options: { nacl: undefined } });
  assert.equal(page.PlayheadReplay.withReplay(a), a);
  const channel = await subscribed(a, channelName);
  const list = heard(channel);
  const encrypting = backend({ encryptionMasterKeyBase64: masterKey });
  await back(road, [channel], () => encrypting.trigger(channelName, 'step', { n: 1 }));
  assert.deepEqual(JSON.parse(JSON.stringify(list)), [...numbered(1, 1), ['replayed', 1]]);
}));

// stock is a server that speaks as much of the Pusher protocol as is needed here, and nothing of replay.
async function stock(body) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await new Promise((resolve) => { server.on('listening', resolve); });
  const frames = [];
  const sockets = new Set();
  const send = (socket, event, channel, data) => socket.send(JSON.stringify({ event, channel, data: JSON.stringify(data) }));
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    send(socket, 'pusher:connection_established', undefined, { socket_id: `1.${frames.length + 1}`, activity_timeout: 120 });
    socket.on('message', (text) => {
      const frame = JSON.parse(text);
      frames.push(frame);
      if (frame.event === 'pusher:subscribe') send(socket, 'pusher_internal:subscription_succeeded', frame.data.channel, {});
    });
  });
  try {
    await body({
      port: server.address().port,
      frames,
      publish(channel, event, data) { for (const socket of sockets) send(socket, event, channel, data); },
      cut() { for (const socket of sockets) socket.close(4200); },
    });
  } finally {
    for (const socket of sockets) socket.terminate();
    server.close();
  }
}

for (const [name, build] of Object.entries(builds)) test(`a server without replay, ${name}`, () => stock((server) => withReplays(build, async (client) => {
  const a = client({ options: { wsPort: server.port } });
  const channel = await subscribed(a, 'news');
  const list = [];
  channel.bind_global((event, data) => { if (!event.startsWith('pusher')) list.push([event, data]); });
  server.publish('news', 'step', { n: 1 });
  server.publish('news', 'step', { n: 1 }); // no duplicate: it has no id
  await until(channel, 'step', () => list.length === 2);
  const again = next(channel, 'pusher:subscription_succeeded');
  server.cut();
  await again;
  // Names that mean something elsewhere are an application's own here.
  server.publish('news', 'playhead:gap', null);
  server.publish('news', 'step', { n: 2 });
  await until(channel, 'step', () => list.length === 4);
  assert.deepEqual(list, [...numbered(1, 1), ...numbered(1, 1), ['playhead:gap', null], ...numbered(2, 2)]);
  const subscribes = server.frames.filter(({ event }) => event === 'pusher:subscribe');
  assert.deepEqual(subscribes.map(({ data }) => data.resume.position), ['', '']);
  assert.ok(subscribes.every(({ data }) => data.channel === 'news' && data.auth === ''));
})));
