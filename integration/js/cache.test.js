// Cache channels, of every kind: who comes late is given the last event, or told that there is none.
'use strict';

const { test } = require('node:test');
const {
  assert, backend, fence, fenced, masterKey, next, recorded, unique, withClients,
} = require('./clients');

const kinds = ['cache-rate', 'private-cache-rate', 'private-encrypted-cache-rate', 'presence-cache-rate'];

// opened subscribes, and records from the first frame on. What the channel begins with has come when
// its fence has, or its cache_miss.
function opened(client, name) {
  const channel = client.subscribe(name);
  const misses = [];
  channel.bind('pusher:cache_miss', () => misses.push(name));
  return { channel, misses, events: recorded(channel) };
}

for (const kind of kinds) {
  test(kind, () => withClients(async (client) => {
    const name = unique(kind);
    const server = backend({ encryptionMasterKeyBase64: masterKey });
    const info = async () => (await server.get({ path: `/channels/${name}`, params: { info: 'cache' } })).json();
    assert.deepEqual(await info(), { occupied: false, cache: null });

    const early = opened(client({ user: { user_id: 'ada' } }), name);
    await next(early.channel, 'pusher:cache_miss');
    await server.trigger(name, 'rate', { n: 1 });
    await server.trigger(name, 'rate', { n: 2 });

    const second = client({ user: { user_id: 'bob' } });
    const late = opened(second, name);
    await next(late.channel, 'rate');
    const over = [early, late].map(({ channel }) => next(channel, 'over'));
    await server.trigger(name, 'over', {});
    await Promise.all(over);
    assert.deepEqual(early.events, [['rate', { n: 1 }], ['rate', { n: 2 }], ['over', {}]]);
    assert.deepEqual(late.events, [['rate', { n: 2 }], ['over', {}]]);
    assert.deepEqual([early.misses, late.misses], [[name], []]);

    const { occupied, cache } = await info();
    assert.equal(occupied, true);
    assert.ok(cache.ttl > 1700 && cache.ttl <= 1800, `ttl ${cache.ttl}`);
    assert.equal(typeof cache.data, 'string');
    if (!name.includes('encrypted')) assert.equal(cache.data, '{}');
  }));
}

test('client events are not remembered, and other channels remember nothing', () => withClients(async (client) => {
  const name = unique('private-cache-chat');
  const sender = opened(client(), name);
  await next(sender.channel, 'pusher:cache_miss');
  const listener = opened(client(), name);
  await next(listener.channel, 'pusher:cache_miss');
  const heard = next(listener.channel, 'client-hi');
  sender.channel.trigger('client-hi', { n: 1 });
  await heard;
  const late = opened(client(), name);
  await next(late.channel, 'pusher:cache_miss');

  const plain = unique('private-chat');
  await backend().trigger(plain, 'hi', {});
  const other = opened(client(), plain);
  await next(other.channel, 'pusher:subscription_succeeded');
  await fence(other.channel);
  assert.deepEqual(fenced(other.events), []);
  assert.deepEqual(other.misses, []);
}));
