// A client that comes back gets what it missed, once and in order, or is told that it can't.
'use strict';

const { describe, test } = require('node:test');
const { masterKey, unique, until } = require('./clients');
const {
  assert, back, backend, builds, direct, fence, heard, module: replay, next, numbered, returning, steps, subscribed, withReplays,
} = require('./replays');

for (const [name, build] of Object.entries(builds)) describe(name, { concurrency: 4 }, () => {
  const replays = (body) => () => withReplays(build, body);

  test('what happened while the connection was cut comes once and in order', replays(async (client, road) => {
    const a = client();
    const names = ['news', 'private-orders', 'private-encrypted-notes', 'cache-state'].map(unique);
    const encrypting = backend({ encryptionMasterKeyBase64: masterKey });
    const publish = (n) => Promise.all(names.map((channel) => encrypting.trigger(channel, 'step', { n })));
    const channels = [];
    for (const channel of names) channels.push(await subscribed(a, channel));
    const lists = channels.map(heard);
    for (let n = 1; n <= 3; n += 1) await publish(n);
    const socket = a.connection.socket_id;
    const told = await back(road, channels, async () => { for (let n = 4; n <= 9; n += 1) await publish(n); });
    assert.notEqual(a.connection.socket_id, socket);
    await publish(10);
    await Promise.all(channels.map((channel, i) => until(channel, 'step', () => lists[i].length >= 11)));
    for (const [i, list] of lists.entries()) {
      // What had been published before the cut may have come before or after it.
      const { replayed } = told[i];
      assert.ok(replayed >= 6, `${names[i]}: ${JSON.stringify(told[i])}`);
      assert.deepEqual(list.filter(([event]) => event === 'step'), numbered(1, 10));
      assert.deepEqual(list.filter(([event]) => event !== 'step'), [['replayed', replayed]]);
      assert.deepEqual(list[9], ['replayed', replayed]);
    }
  }));

  test('a client that has heard nothing yet misses nothing', replays(async (client, road) => {
    const name = unique('quiet');
    const channel = await subscribed(client(), name);
    const list = heard(channel);
    assert.deepEqual(await back(road, [channel], () => steps(name, 1, 2)), [{ replayed: 2 }]);
    assert.deepEqual(await back(road, [channel]), [{ replayed: 0 }]);
    assert.deepEqual(await back(road, [channel], () => steps(name, 3, 3)), [{ replayed: 1 }]);
    assert.deepEqual(list, [...numbered(1, 2), ['replayed', 2], ['replayed', 0], ...numbered(3, 3), ['replayed', 1]]);
  }));

  test('a first subscription is told of no gap, and neither is who listens to everything', replays(async (client) => {
    const a = client();
    const everything = [];
    a.bind_global((event) => everything.push(event));
    a.connection.bind('message', ({ event }) => everything.push(event));
    const channel = await subscribed(a, unique('news'));
    const list = heard(channel);
    await fence(channel);
    assert.deepEqual(list, []);
    assert.ok(!everything.some((event) => event.startsWith('playhead:')), everything.join());
  }));

  test('members are those of now, and what they said is replayed', replays(async (client, road) => {
    const name = unique('presence-room');
    const a = client({ user: { user_id: 'ada' } });
    const channel = await subscribed(a, name);
    const list = heard(channel);
    await back(road, [channel], async () => {
      const b = client({ user: { user_id: 'bob' }, replay: false, options: direct });
      await subscribed(b, name);
      await steps(name, 1, 2);
    });
    assert.deepEqual(list, [...numbered(1, 2), ['replayed', 2]]);
    assert.deepEqual(Object.keys(channel.members.members).sort(), ['ada', 'bob']);
    assert.equal(channel.members.me.id, 'ada');
  }));

  test('what a client published itself before the cut is no echo after it', replays(async (client, road) => {
    const name = unique('private-chat');
    const a = client();
    const channel = await subscribed(a, name);
    const list = heard(channel);
    await steps(name, 1, 1);
    await fence(channel);
    const socket = a.connection.socket_id;
    await back(road, [channel], async () => {
      await backend().trigger(name, 'mine', {}, { socket_id: socket });
      await steps(name, 2, 2);
    });
    // Nor after a second cut, with the socket id of the second connection.
    const second = a.connection.socket_id;
    await back(road, [channel], async () => {
      await backend().trigger(name, 'mine', {}, { socket_id: second });
      await backend().trigger(name, 'former', {}, { socket_id: socket });
      await steps(name, 3, 3);
    });
    assert.deepEqual(list, [
      ...numbered(1, 2), ['replayed', 1], ['former', {}], ...numbered(3, 3), ['replayed', 2],
    ]);
  }));

  test('a client cut again and again, also in the middle of a frame, hears everything once', replays(async (client, road) => {
    const a = client();
    const names = [unique('load'), unique('private-load')];
    const channels = [];
    for (const channel of names) channels.push(await subscribed(a, channel));
    const lists = channels.map(heard);
    const batch = (from) => backend().triggerBatch(
      Array.from({ length: 10 }, (_, i) => ({ channel: names[i % 2], name: 'step', data: { n: from + Math.floor(i / 2) } })),
    );
    let n = 1;
    let cuts = 0;
    const disconnects = () => { cuts += 1; };
    a.connection.bind('connecting', disconnects);
    while (cuts < 4) {
      // Somewhere in the next frames, or in those of the replay.
      road.cutAfter(200 + Math.floor(Math.random() * 6_000));
      const before = cuts;
      // A replay that is cut brings little, so what is missed adds up; in all it is to be less than one
      // replay may have.
      for (let away = 0; cuts === before;) {
        away = a.connection.connection ? 0 : away + 1; // its state says 'connected' for a second more
        if (away > 10) await next(a.connection, 'connected');
        await batch(n);
        n += 5;
      }
    }
    road.cutAfter(Infinity);
    await batch(n);
    n += 5;
    await Promise.all(channels.map((channel, i) => until(channel, 'step', () => lists[i].some(([event, data]) => event === 'step' && data.n === n - 1))));
    for (const list of lists) {
      assert.deepEqual(list.filter(([event]) => event === 'gap'), []);
      assert.deepEqual(list.filter(([event]) => event === 'step'), numbered(1, n - 1));
    }
  }));

  test('a cache channel gives its last event once', replays(async (client, road) => {
    const name = unique('cache-state');
    await steps(name, 1, 1);
    const channel = client().subscribe(name);
    const list = heard(channel);
    await next(channel, 'step');
    await back(road, [channel]);
    await back(road, [channel], () => steps(name, 2, 3));
    await fence(channel);
    assert.deepEqual(list, [['step', { n: 1 }], ['replayed', 0], ...numbered(2, 3), ['replayed', 2]]);
  }));

  test('messages to a user are replayed', replays(async (client, road) => {
    const id = unique('user');
    const a = client({ account: { id } });
    const list = heard(a.user);
    a.signin();
    await next(a.connection, 'message', ({ event, channel }) => event === 'pusher_internal:subscription_succeeded' && channel.startsWith('#'));
    road.cut();
    await backend().sendToUser(id, 'step', { n: 1 });
    await backend().sendToUser(id, 'step', { n: 2 });
    road.mend();
    await until(a.user, 'step', () => list.length >= 2);
    await backend().sendToUser(id, 'step', { n: 3 });
    await until(a.user, 'step', () => list.length >= 4);
    assert.deepEqual(list, [...numbered(1, 2), ['replayed', 2], ...numbered(3, 3)]);
  }));

  test('unsubscribing forgets the channel', replays(async (client, road) => {
    const name = unique('news');
    const a = client();
    const channel = await subscribed(a, name);
    await steps(name, 1, 1);
    await fence(channel);
    a.unsubscribe(name);
    await steps(name, 2, 2);
    const again = await subscribed(a, name);
    const list = heard(again);
    await steps(name, 3, 3);
    await fence(again);
    assert.deepEqual(list, numbered(3, 3));
    // While it is away too.
    road.cut();
    a.unsubscribe(name);
    const last = a.subscribe(name);
    const lists = heard(last);
    await steps(name, 4, 4);
    const joined = next(last, 'pusher:subscription_succeeded');
    road.mend();
    await joined;
    await fence(last);
    assert.deepEqual(lists, []);
  }));

  test('a position that cannot be resumed is a gap, and the next return is none', replays(async (client, road) => {
    const name = unique('news');
    const a = client();
    let other;
    returning(a, (position) => other ?? position);
    const channel = await subscribed(a, name);
    const list = heard(channel);
    for (const [position, reason] of [['nonsense', 'invalid'], ['1-anotherlife-1-0', 'reset']]) {
      other = position;
      assert.deepEqual(await back(road, [channel], () => steps(name, 1, 1)), [{ gap: reason }]);
      other = undefined;
      assert.deepEqual(await back(road, [channel], () => steps(name, 2, 2)), [{ replayed: 1 }]);
    }
    assert.deepEqual(list, [
      ['gap', 'invalid'], ...numbered(2, 2), ['replayed', 1],
      ['gap', 'reset'], ...numbered(2, 2), ['replayed', 1],
    ]);
  }));

  test('what comes twice is heard once', replays(async (client, road) => {
    const name = unique('news');
    const a = client();
    let oldest;
    const sent = [];
    returning(a, (position) => {
      sent.push(position);
      return oldest ?? position;
    });
    const everything = [];
    a.bind_global((event) => everything.push(event));
    const channel = await subscribed(a, name);
    const list = heard(channel);
    await back(road, [channel]); // tells where it began
    oldest = sent.at(-1);
    await steps(name, 1, 5);
    await until(channel, 'step', () => list.length >= 6);
    // All five are replayed, and two that are new.
    assert.deepEqual(await back(road, [channel], () => steps(name, 6, 7)), [{ replayed: 7 }]);
    assert.deepEqual(list, [['replayed', 0], ...numbered(1, 7), ['replayed', 7]]);
    assert.equal(everything.filter((event) => event === 'step').length, 7);
  }));

  test('a handler that throws has had its event', replays(async (client, road) => {
    const name = unique('news');
    const a = client();
    const channel = await subscribed(a, name);
    const list = heard(channel);
    await steps(name, 1, 1);
    await fence(channel);
    let frame;
    const { transport } = a.connection.connection;
    transport.bind('message', (message) => { if (message.data.includes('fence')) frame = JSON.parse(message.data); });
    await fence(channel);
    channel.bind('broken', () => { throw new Error('broken'); });
    // As the transport gives a frame; what is thrown would otherwise end the process.
    const text = JSON.stringify({ ...frame, event: 'broken', id: 'broken' });
    assert.throws(() => transport.emit('message', { data: text }), /broken/);
    transport.emit('message', { data: text }); // known by now
    assert.deepEqual(await back(road, [channel], () => steps(name, 2, 2)), [{ replayed: 1 }]);
    assert.deepEqual(list, [...numbered(1, 1), ['broken', {}], ...numbered(2, 2), ['replayed', 1]]);
  }));

  test('client events come, and are not replayed unless the app says so', replays(async (client, road) => {
    const name = unique('private-chat');
    const channel = await subscribed(client(), name);
    const list = heard(channel);
    const b = await subscribed(client({ replay: false, options: direct }), name);
    b.trigger('client-typing', { on: 1 });
    await until(channel, 'client-typing', () => list.length === 1);
    await back(road, [channel], async () => {
      b.trigger('client-typing', { on: 2 });
      await fence(b);
      await steps(name, 1, 1);
    });
    assert.deepEqual(list.filter(([event]) => event !== 'replayed'), [['client-typing', { on: 1 }], ...numbered(1, 1)]);
  }));

  test('subscriptions that were there before the module are told that they may have missed something', replays(async (client, road) => {
    const { withReplay } = await replay;
    const a = client({ replay: false });
    const [early, late] = [unique('early'), unique('late')];
    const channel = await subscribed(a, early);
    const list = heard(channel);
    withReplay(a);
    assert.equal(withReplay(a), a); // twice is once
    assert.deepEqual(await back(road, [channel], () => steps(early, 1, 1)), [{ gap: 'invalid' }]);
    assert.deepEqual(await back(road, [channel], () => steps(early, 2, 2)), [{ replayed: 1 }]);
    const other = await subscribed(a, late);
    assert.deepEqual(await back(road, [other, channel], () => steps(late, 1, 1)), [{ replayed: 1 }, { replayed: 0 }]);
    assert.deepEqual(list, [['gap', 'invalid'], ...numbered(2, 2), ['replayed', 1], ['replayed', 0]]);
  }));
});
