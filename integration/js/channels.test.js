// Connecting, public and private channels, signatures, client events, exclusion.
'use strict';

const { test } = require('node:test');
const {
  assert, backend, connected, fence, fenced, next, recorded, subscribed, unique, until, withClients,
} = require('./clients');

test('a client connects and is given a socket id', () => withClients(async (client) => {
  const a = await connected(client());
  const b = await connected(client());
  assert.match(a.connection.socket_id, /^\d+\.\d+$/);
  assert.match(b.connection.socket_id, /^\d+\.\d+$/);
  assert.notEqual(a.connection.socket_id, b.connection.socket_id);
}));

test('an unknown key ends in disconnected, with 4001', () => withClients(async (client) => {
  const a = client({ appKey: 'no-such-key' });
  // pusher-js wraps the PusherError of a refused handshake.
  const { error } = await next(a.connection, 'error');
  assert.equal(error.type, 'PusherError');
  assert.equal(error.data.code, 4001);
  await until(a.connection, 'state_change', () => ['disconnected', 'failed'].includes(a.connection.state));
}));

test('a public event reaches every subscriber as it was published', () => withClients(async (client) => {
  const name = unique('news');
  const a = await subscribed(client(), name);
  const b = await subscribed(client(), name);
  const got = [recorded(a), recorded(b)];
  const published = [
    ['object', { text: 'å∂ß "quoted" \\ /', n: [1, 2.5, null, true] }],
    ['App\\Events\\OrderShipped', { id: 7 }],
    ['plain', 'not JSON at all'],
    ['empty', ''],
  ];
  for (const [event, data] of published) await backend().trigger(name, event, data);
  await fence(a, b);
  for (const events of got) assert.deepEqual(fenced(events), published);
}));

test('every legal character may be in a channel name', () => withClients(async (client) => {
  const name = unique('Foo-bar_1234@=,.;');
  const channel = await subscribed(client(), name);
  const got = recorded(channel);
  await backend().trigger(name, 'hi', { n: 1 });
  await fence(channel);
  assert.deepEqual(fenced(got), [['hi', { n: 1 }]]);
}));

test('nothing arrives after unsubscribe, and subscribing again works', () => withClients(async (client) => {
  const name = unique('news');
  const leaver = client();
  const stayer = client();
  const left = await subscribed(leaver, name);
  const stays = await subscribed(stayer, name);
  const got = recorded(left);
  await backend().trigger(name, 'one', {});
  await fence(left, stays);
  leaver.unsubscribe(name);
  // A later frame of the same connection is answered after the unsubscribe was processed.
  await subscribed(leaver, unique('other'));
  const frames = [];
  leaver.connection.bind('message', (frame) => { if (frame.channel === name) frames.push(frame); });
  await backend().trigger(name, 'two', {});
  await fence(stays);
  const again = await subscribed(leaver, name);
  const gotAgain = recorded(again);
  await backend().trigger(name, 'three', {});
  await fence(again, stays);
  assert.deepEqual(fenced(got), [['one', {}]]);
  assert.deepEqual(fenced(gotAgain), [['three', {}]]);
  assert.deepEqual(frames.map((f) => f.event).filter((e) => !e.startsWith('pusher')), ['three', 'fence']);
}));

test('a private channel takes a good signature', () => withClients(async (client) => {
  const name = unique('private-orders');
  const channel = await subscribed(client(), name);
  const got = recorded(channel);
  await backend().trigger(name, 'hi', { n: 1 });
  await fence(channel);
  assert.deepEqual(fenced(got), [['hi', { n: 1 }]]);
}));

test('a bad signature is a subscription error, and the connection stays', () => withClients(async (client) => {
  const name = unique('private-orders');
  const forger = client({ authorise: (answer) => ({ ...answer, auth: answer.auth.slice(0, -4) + '0000' }) });
  const channel = forger.subscribe(name);
  const got = recorded(channel);
  const error = await next(channel, 'pusher:subscription_error');
  assert.equal(error.type, 'AuthError');
  assert.equal(error.status, 401);
  const open = await subscribed(forger, unique('news'));
  await backend().trigger(name, 'secret', {});
  await fence(open);
  assert.deepEqual(got, []);
}));

test('the connection named by socket_id is left out', () => withClients(async (client) => {
  const name = unique('news');
  const sender = client();
  const a = await subscribed(sender, name);
  const b = await subscribed(client(), name);
  const got = [recorded(a), recorded(b)];
  await backend().trigger(name, 'echo', {}, { socket_id: sender.connection.socket_id });
  await fence(a, b);
  assert.deepEqual(got.map(fenced), [[], [['echo', {}]]]);
}));

test('client events go to everybody but their sender', () => withClients(async (client) => {
  const name = unique('private-chat');
  const a = await subscribed(client(), name);
  const b = await subscribed(client(), name);
  const c = await subscribed(client(), name);
  const got = [a, b, c].map(recorded);
  const arrived = [b, c].map((channel) => next(channel, 'client-last'));
  assert.ok(a.trigger('client-typing', { on: true }));
  assert.ok(a.trigger('client-last', { on: false }));
  await Promise.all(arrived);
  await fence(a, b, c);
  const want = [['client-typing', { on: true }], ['client-last', { on: false }]];
  assert.deepEqual(got.map(fenced), [[], want, want]);
}));

test('more client events than allowed in a second are refused with 4301', () => withClients(async (client) => {
  const name = unique('private-chat');
  const sender = client();
  const a = await subscribed(sender, name);
  const refused = next(sender.connection, 'error', (err) => err.data && err.data.code === 4301);
  for (let i = 0; i < 30; i += 1) a.trigger('client-burst', { i });
  await refused;
  await fence(a);
  assert.equal(sender.connection.state, 'connected');
}));
