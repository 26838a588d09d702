// Positions outlive the page: another client with the same store goes on where the former one was.
'use strict';

const { describe, test } = require('node:test');
const { address, masterKey, unique, until } = require('./clients');
const {
  assert, backend, builds, direct, fence, heard, kept, next, numbered, steps, subscribed, withReplays,
} = require('./replays');

const storeKey = `playhead:${address.key}`;

for (const [name, build] of Object.entries(builds)) describe(name, { concurrency: 4 }, () => {
  const replays = (body) => () => withReplays(build, body);

  // page is a page's client that hears a channel; it waits until what it has heard is kept.
  async function page(client, store, channelName, count) {
    const pusher = client({ replay: { store } });
    const channel = pusher.subscribe(channelName);
    const list = heard(channel);
    await until(channel, 'playhead:replayed', () => list.some(([event]) => event === 'replayed'));
    assert.equal(list.length, count);
    return { pusher, channel, list };
  }

  test('a page that is loaded again gets what came meanwhile', replays(async (client) => {
    const channels = ['news', 'private-orders', 'private-encrypted-notes'].map(unique);
    const encrypting = backend({ encryptionMasterKeyBase64: masterKey });
    for (const channel of channels) {
      const store = kept();
      const publish = (n, options) => encrypting.trigger(channel, 'step', { n }, options);
      const a = client({ replay: { store } });
      const list = heard(await subscribed(a, channel));
      await publish(1);
      await publish(2);
      await until(a.channel(channel), 'step', () => list.length === 2);
      await store.written();
      const socket = a.connection.socket_id;
      a.disconnect();
      await publish(3);
      await publish(0, { socket_id: socket }); // its own, and no echo
      await publish(4);
      const second = await page(client, store, channel, 3);
      assert.deepEqual(second.list, [...numbered(3, 4), ['replayed', 2]]);
      await publish(5);
      await until(second.channel, 'step', () => second.list.length === 4);
      await store.written();
      second.pusher.disconnect();
      const third = await page(client, store, channel, 1);
      assert.deepEqual(third.list, [['replayed', 0]]);
    }
  }));

  test('one who has heard nothing keeps where it began', replays(async (client) => {
    const store = kept();
    const channel = unique('quiet');
    const a = client({ replay: { store } });
    await subscribed(a, channel);
    await store.written();
    a.disconnect();
    await steps(channel, 1, 1);
    assert.deepEqual((await page(client, store, channel, 2)).list, [...numbered(1, 1), ['replayed', 1]]);
  }));

  test('what is kept is written now and then, and small', replays(async (client) => {
    const store = kept();
    const channel = await subscribed(client({ replay: { store } }), unique('busy'));
    const list = heard(channel);
    const started = Date.now();
    await steps(channel.name, 1, 60);
    await until(channel, 'step', () => list.length === 60);
    const text = await store.written();
    const most = Math.floor((Date.now() - started) / 1_000) + 1;
    assert.ok(store.writes <= most, `${store.writes} writes, at most one a second is ${most}`);
    assert.deepEqual([...store.values.keys()], [storeKey]);
    const [[kept_, position, socket], ...others] = JSON.parse(text);
    assert.deepEqual([kept_, others], [channel.name, []]);
    assert.match(position, /^[\x21-\x7e]{1,128}$/);
    assert.match(socket, /^\d+\.\d+$/);
  }));

  test('unsubscribing forgets what is kept', replays(async (client) => {
    const store = kept();
    const a = client({ replay: { store } });
    const [left, stays] = [unique('left'), unique('stays')];
    await subscribed(a, left);
    await subscribed(a, stays);
    assert.equal(JSON.parse(await store.written()).length, 2);
    a.unsubscribe(left);
    assert.deepEqual(JSON.parse(await store.written()).map(([channel]) => channel), [stays]);
  }));

  test('channels that a page does not subscribe to stay kept, the newest thousand', replays(async (client) => {
    const old = Array.from({ length: 1_500 }, (_, i) => [`old-${i}`, '1-life-1-0', '1.1']);
    const store = kept(JSON.stringify(old));
    const channel = unique('news');
    await subscribed(client({ replay: { store } }), channel);
    const names = JSON.parse(await store.written()).map(([one]) => one);
    assert.equal(names.length, 1_000);
    assert.equal(names.at(-1), channel);
    assert.equal(names.at(-2), 'old-1499');
  }));

  test('a store that is full, forbidden or not ours hinders nothing', replays(async (client) => {
    const text = ['', 'not JSON', 'null', '5', '{}', '"x"', '[1,2]', '[null]', '[["x"]]', '[["x",5,6]]'];
    const stores = text.map(kept);
    stores.push({
      getItem() { throw new Error('forbidden'); },
      setItem() { throw new Error('full'); },
    });
    for (const store of stores) {
      const a = client({ replay: { store } });
      const channel = await subscribed(a, 'x');
      const list = heard(channel);
      await fence(channel);
      assert.deepEqual(list, []);
      a.disconnect();
    }
    // A socket id that is none would have the subscription refused.
    const b = client({ replay: { store: kept('[["x","nonsense","1"]]') } });
    assert.equal((await next(b.subscribe('x'), 'playhead:gap')).reason, 'invalid');
  }));

  test('positions are kept when the page is left', replays(async (client) => {
    // What a browser has and Node.js hasn't; the browsers' own is tested in a browser.
    const listeners = {};
    globalThis.addEventListener = (event, listener) => { listeners[event] = listener; };
    const store = kept();
    let a;
    try {
      a = client({ replay: { store } });
    } finally {
      delete globalThis.addEventListener;
    }
    const channel = await subscribed(a, unique('news'));
    await steps(channel.name, 1, 1);
    await fence(channel);
    listeners.pagehide();
    const { position } = await lastOf(client, channel.name);
    assert.equal(JSON.parse(store.values.get(storeKey))[0][1], position);
  }));

  // lastOf returns the channel's last event.
  async function lastOf(client, channelName) {
    const channel = await subscribed(client({ options: direct }), channelName);
    return (await channel.history({ limit: 1 })).items[0];
  }
});
