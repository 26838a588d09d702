// Laravel Echo, made as an application makes it: it is given pusher-js and asks the application over
// HTTP for its signatures. The application's side publishes what Laravel's broadcaster does.
'use strict';

const http = require('node:http');
const { test } = require('node:test');
const PusherJS = require('pusher-js');
const {
  address, assert, backend, masterKey, once, settles, unique,
} = require('./clients');

// application is what answers /broadcasting/auth and /broadcasting/user-auth: a Laravel application
// whose user is named by the bearer token. Nobody may hear channels whose names have "secret".
function application() {
  const pusher = backend({ encryptionMasterKeyBase64: masterKey });
  const server = http.createServer((req, res) => {
    const chunks = [];
    req.on('data', (chunk) => chunks.push(chunk));
    req.on('end', () => {
      const form = new URLSearchParams(Buffer.concat(chunks).toString());
      const id = (req.headers.authorization || '').replace('Bearer ', '');
      const channel = form.get('channel_name');
      let answer = { message: 'Forbidden' };
      let status = 403;
      if (req.url === '/broadcasting/user-auth') {
        answer = pusher.authenticateUser(form.get('socket_id'), { id });
        status = 200;
      } else if (req.url === '/broadcasting/auth' && !channel.includes('secret')) {
        const user = channel.startsWith('presence-') ? { user_id: id, user_info: { name: id.toUpperCase() } } : undefined;
        answer = pusher.authorizeChannel(form.get('socket_id'), channel, user);
        if (channel.includes('forged')) answer.auth = `${answer.auth.slice(0, -4)}0000`;
        status = 200;
      }
      res.writeHead(status, { 'Content-Type': 'application/json' });
      res.end(JSON.stringify(answer));
    });
  });
  return new Promise((resolve) => { server.listen(0, '127.0.0.1', () => resolve(server)); });
}

// withEchos hands the test as many Echos as it asks for, each of a user.
async function withEchos(body) {
  const { default: Echo } = await import('laravel-echo'); // its CommonJS build can't be loaded
  const server = await application();
  const endpoint = `http://127.0.0.1:${server.address().port}/broadcasting`;
  const echos = [];
  try {
    await body((user) => {
      const echo = new Echo({
        broadcaster: 'pusher',
        Pusher: PusherJS,
        key: address.key,
        cluster: '',
        wsHost: address.host,
        wsPort: address.port,
        forceTLS: false,
        enabledTransports: ['ws'],
        nacl: require('tweetnacl'),
        authEndpoint: `${endpoint}/auth`,
        userAuthentication: { endpoint: `${endpoint}/user-auth`, headers: { Authorization: `Bearer ${user}` } },
        auth: { headers: {} }, // the default's is one object for all Echos, and the token goes in there
        bearerToken: user,
      });
      echos.push(echo);
      return echo;
    });
  } finally {
    for (const echo of echos) echo.disconnect();
    server.close();
    server.closeAllConnections();
  }
}

// broadcast publishes as Laravel's PusherBroadcaster does: one channel as "channel", more as
// "channels", at most 100 at a time, leaving out the socket of whoever caused the event.
async function broadcast(channels, event, data, socket) {
  for (let i = 0; i < channels.length; i += 100) {
    const some = channels.slice(i, i + 100);
    const body = { name: event, data: JSON.stringify(data) };
    if (some.length === 1) [body.channel] = some;
    else body.channels = some;
    if (socket) body.socket_id = socket;
    const answer = await backend().post({ path: '/events', body });
    assert.equal(answer.status, 200);
    assert.deepEqual(await answer.json(), {});
  }
}

// ready resolves when Echo's channel is subscribed, and fails with what .error() is told.
function ready(channel) {
  return once('subscription', (resolve, reject) => {
    if (channel.subscription.subscribed) resolve(channel);
    channel.subscribed(() => resolve(channel));
    channel.error((err) => reject(new Error(JSON.stringify(err))));
  });
}

test('public, private and encrypted channels hear broadcast events', () => withEchos(async (echo) => {
  const a = echo('ada');
  const name = unique('orders');
  for (const [channel, wire] of [
    [a.channel(name), name],
    [a.private(name), `private-${name}`],
  ]) {
    const got = once('event', (resolve) => channel.listen('OrderShipped', resolve));
    const raw = once('event', (resolve) => channel.listen('.plain', resolve));
    await ready(channel);
    await broadcast([wire], 'App\\Events\\OrderShipped', { id: 7, url: 'https://example.com/é' });
    await broadcast([wire], 'plain', { id: 8 });
    assert.deepEqual(await got, { id: 7, url: 'https://example.com/é' });
    assert.deepEqual(await raw, { id: 8 });
  }
  const encrypted = a.encryptedPrivate(name);
  const got = once('event', (resolve) => encrypted.listen('OrderShipped', resolve));
  await ready(encrypted);
  await backend({ encryptionMasterKeyBase64: masterKey })
    .trigger(`private-encrypted-${name}`, 'App\\Events\\OrderShipped', { id: 9 });
  assert.deepEqual(await got, { id: 9 });
}));

test('toOthers leaves out the socket that Echo names', () => withEchos(async (echo) => {
  const [a, b] = [echo('ada'), echo('bob')];
  const name = unique('orders');
  const got = { a: [], b: [] };
  const over = [[a, got.a], [b, got.b]].map(([e, events]) => {
    const channel = e.private(name);
    channel.listen('.step', (data) => events.push(data.n));
    return [channel, once('the last event', (resolve) => channel.listen('.last', resolve))];
  });
  for (const [channel] of over) await ready(channel);
  await broadcast([`private-${name}`], 'step', { n: 1 }, a.socketId());
  await broadcast([`private-${name}`], 'step', { n: 2 });
  await broadcast([`private-${name}`], 'last', {});
  for (const [, last] of over) await last;
  assert.deepEqual(got, { a: [2], b: [1, 2] });
}));

test('an event for more than a hundred channels comes in chunks', () => withEchos(async (echo) => {
  const a = echo('ada');
  const names = Array.from({ length: 120 }, () => unique('many'));
  const [first, last] = [a.channel(names[0]), a.channel(names[119])];
  const got = [first, last].map((channel) => once('event', (resolve) => channel.listen('.hi', resolve)));
  await ready(first);
  await ready(last);
  await broadcast(names, 'hi', { n: 1 });
  assert.deepEqual(await Promise.all(got), [{ n: 1 }, { n: 1 }]);
}));

test('here, joining and leaving', () => withEchos(async (echo) => {
  const [a, b] = [echo('ada'), echo('bob')];
  const name = unique('room');
  const room = a.join(name);
  const joined = once('joining', (resolve) => room.joining(resolve));
  const left = once('leaving', (resolve) => room.leaving(resolve));
  assert.deepEqual(await once('here', (resolve) => room.here(resolve)), [{ name: 'ADA' }]);
  const same = b.join(name);
  const members = await once('here', (resolve) => same.here(resolve));
  assert.deepEqual(members.map((m) => m.name).sort(), ['ADA', 'BOB']);
  assert.deepEqual(await joined, { name: 'BOB' });
  b.leave(name);
  assert.deepEqual(await left, { name: 'BOB' });
}));

test('whispers', () => withEchos(async (echo) => {
  const [a, b] = [echo('ada'), echo('bob')];
  const name = unique('chat');
  for (const [from, to] of [[a.private(name), b.private(name)], [a.join(name), b.join(name)]]) {
    const heard = once('whisper', (resolve) => to.listenForWhisper('typing', resolve));
    await ready(to);
    await ready(from);
    from.whisper('typing', { name: 'Ada' });
    assert.deepEqual(await heard, { name: 'Ada' });
  }
}));

test('listenToAll', () => withEchos(async (echo) => {
  const channel = echo('ada').channel(unique('news'));
  const got = [];
  const two = once('two events', (resolve) => {
    channel.listenToAll((event, data) => { if (got.push([event, data]) === 2) resolve(); });
  });
  await ready(channel);
  await broadcast([channel.name], 'App\\Events\\One', { n: 1 });
  await broadcast([channel.name], 'two', { n: 2 });
  await two;
  // Echo takes the application's own namespace off, and marks other names with a dot.
  assert.deepEqual(got, [['One', { n: 1 }], ['.two', { n: 2 }]]);
}));

test('error() is told what the application and what the server refuse', () => withEchos(async (echo) => {
  const a = echo('ada');
  // The application's answer, of which the node doesn't hear.
  const secret = a.private(unique('secret'));
  const refused = await once('error', (resolve) => secret.error(resolve));
  assert.equal(refused.status, 403);
  // The node's, in the same shape.
  const forged = a.private(unique('forged'));
  const error = await once('error', (resolve) => forged.error(resolve));
  assert.equal(error.type, 'AuthError');
  assert.equal(error.status, 401);
  assert.equal(typeof error.error, 'string');
  await ready(a.channel(unique('news')));
}));

test('signing in, and leaving all channels of a name', () => withEchos(async (echo) => {
  const a = echo('ada');
  const { pusher } = a.connector;
  const hi = once('a message to the user', (resolve) => pusher.user.bind('hi', resolve));
  pusher.signin();
  await pusher.user.signinDonePromise;
  await once('the user\'s channel', (resolve) => {
    const { serverToUserChannel } = pusher.user;
    if (serverToUserChannel.subscribed) resolve();
    else serverToUserChannel.bind('pusher:subscription_succeeded', resolve);
  });
  await backend().sendToUser('ada', 'hi', { n: 1 });
  assert.deepEqual(await hi, { n: 1 });

  const name = unique('room');
  for (const channel of [a.channel(name), a.private(name), a.join(name)]) await ready(channel);
  a.leave(name);
  await ready(a.channel(unique('news'))); // answered after the others have been left
  await settles(async () => {
    const answer = await backend().get({ path: '/channels' });
    const { channels } = await answer.json();
    assert.deepEqual(Object.keys(channels).filter((c) => c.endsWith(name)), []);
  });
}));
