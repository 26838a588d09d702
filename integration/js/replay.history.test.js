// Reading back, and joining with a past.
'use strict';

const { describe, mock, test } = require('node:test');
const { masterKey, unique, until } = require('./clients');
const {
  assert, back, backend, builds, fence, heard, next, numbered, steps, subscribed, withReplays,
} = require('./replays');

// seen are a page's items as what is heard.
function seen(items) {
  return items.map(({ event, data }) => [event, data]);
}

for (const [name, build] of Object.entries(builds)) describe(name, { concurrency: 4 }, () => {
  const replays = (body) => () => withReplays(build, body);

  test('history and what comes live are one view without a seam', replays(async (client, road) => {
    for (const channelName of ['news', 'private-orders', 'presence-room', 'cache-state'].map(unique)) {
      await steps(channelName, 1, 25);
      const channel = client({ user: { user_id: 'ada' } }).subscribe(channelName);
      const list = heard(channel);
      // What is published meanwhile must be on exactly one side.
      const meanwhile = steps(channelName, 26, 40);
      const pages = [];
      let page = await channel.history({ limit: 7 }); // waits for the subscription
      pages.push(page);
      while (page.has_more) {
        page = await channel.history({ limit: 7, before: page.next });
        pages.push(page);
      }
      await meanwhile;
      await fence(channel);
      const past = pages.flatMap(({ items }) => items).reverse();
      assert.deepEqual([...seen(past), ...list], numbered(1, 40));
      assert.ok(pages.length >= 4 && pages.every(({ items }) => items.length <= 7));
      for (const item of past) {
        assert.ok(item.id && item.position);
        assert.ok(Math.abs(Date.now() - item.time_ms) < 3_600_000);
      }
      // Later, and after a cut, it is still the past of what has been heard.
      await back(road, [channel], () => steps(channelName, 41, 43));
      const again = await channel.history({ limit: past.length });
      assert.deepEqual(seen(again.items).reverse(), seen(past));
    }
  }));

  test('the event at the seam belongs to the past, also after a return', replays(async (client, road) => {
    const channelName = unique('news');
    await steps(channelName, 1, 3);
    const channel = await subscribed(client(), channelName);
    const list = heard(channel);
    await fence(channel); // heard, but not recorded
    assert.deepEqual(seen((await channel.history()).items), numbered(1, 3).reverse());
    const quiet = await subscribed(client(), channelName);
    await back(road, [channel, quiet]);
    const page = await quiet.history({ limit: 2 });
    assert.deepEqual(seen(page.items), [['fence', {}], ['step', { n: 3 }]]);
    assert.deepEqual(list, [['replayed', 0]]);
  }));

  test('paging forward from a position', replays(async (client) => {
    const channelName = unique('news');
    await steps(channelName, 1, 9);
    const channel = await subscribed(client(), channelName);
    const { items } = await channel.history({ limit: 9 });
    let page = await channel.history({ after: items.at(-1).position, limit: 5 });
    assert.deepEqual(seen(page.items), numbered(2, 6));
    assert.equal(page.has_more, true);
    page = await channel.history({ after: page.next, limit: 5 });
    assert.deepEqual(seen(page.items), numbered(7, 9));
    assert.equal(page.has_more, false);
  }));

  test('items are as handlers get them', replays(async (client) => {
    const published = [{ text: 'å "quoted" \\' }, 'not JSON at all', 7, null, [1, 'two']];
    const encrypting = backend({ encryptionMasterKeyBase64: masterKey });
    for (const channelName of ['news', 'private-encrypted-notes'].map(unique)) {
      for (const data of published) await encrypting.trigger(channelName, 'note', data);
      const channel = await subscribed(client(), channelName);
      const { items } = await channel.history();
      assert.deepEqual(items.map(({ data }) => data).reverse(), published);
      assert.deepEqual(Object.keys(items[0]).sort(), ['data', 'event', 'id', 'position', 'time_ms']);
      if (channel.key) {
        channel.key = new Uint8Array(32); // another one
        const [unreadable] = (await channel.history({ limit: 1 })).items;
        assert.deepEqual(Object.keys(unreadable.data).sort(), ['ciphertext', 'nonce']);
      }
    }
  }));

  test('an empty past', replays(async (client) => {
    const channel = await subscribed(client(), unique('empty'));
    const { items, has_more } = await channel.history();
    assert.deepEqual([items, has_more], [[], false]);
  }));

  test('what cannot be read is an error with a reason', replays(async (client) => {
    const a = client();
    const channelName = unique('news');
    await steps(channelName, 1, 1);
    const channel = await subscribed(a, channelName);
    const errors = [];
    a.connection.bind('error', (err) => errors.push(err));
    const { items: [{ position }] } = await channel.history();
    for (const [query, reason] of [
      [{ before: 'nonsense' }, 'invalid'],
      [{ after: 'nonsense' }, 'invalid'],
      [{ before: position, after: position }, 'invalid'],
      [{ limit: 0 }, 'invalid'],
      [{ limit: 1_001 }, 'invalid'],
      [{ before: '1-anotherlife-1-0' }, 'reset'],
    ]) {
      await assert.rejects(channel.history(query), (err) => {
        assert.ok(err instanceof Error);
        assert.match(err.message, /^history of news-/);
        assert.equal(err.reason, reason, `${JSON.stringify(query)}: ${err.message}`);
        return true;
      });
    }
    await fence(channel);
    assert.deepEqual(errors, []);
  }));

  test('a question is an error when the connection ends, and waits when there is none', replays(async (client, road) => {
    const a = client();
    const channelName = unique('news');
    await steps(channelName, 1, 1);
    const channel = await subscribed(a, channelName);
    road.stall();
    const asked = assert.rejects(channel.history(), (err) => err.reason === 'disconnected');
    road.cut();
    await asked;
    const waiting = channel.history();
    road.mend();
    assert.deepEqual(seen((await waiting).items), numbered(1, 1));
    road.stall();
    const left = assert.rejects(channel.history(), (err) => err.reason === 'disconnected');
    a.disconnect();
    await left;
  }));

  test('joining with the last events', replays(async (client, road) => {
    for (const by of ['name', 'function']) {
      const [one, two, none] = ['private-one', 'two', 'none'].map(unique);
      await steps(one, 1, 9);
      await steps(two, 1, 9);
      const pasts = { [one]: { count: 3 }, [two]: by === 'name' ? { seconds: 3600 } : { since_ms: Date.now() - 3_600_000 } };
      const rewind = by === 'name' ? pasts : (channel) => pasts[channel];
      const a = client({ replay: { rewind } });
      const channels = [one, two, none].map((channel) => a.subscribe(channel));
      const lists = channels.map(heard);
      await Promise.all(channels.slice(0, 2).map((channel) => next(channel, 'playhead:replayed')));
      await fence(...channels);
      assert.deepEqual(lists, [
        [...numbered(7, 9), ['replayed', 3]],
        [...numbered(1, 9), ['replayed', 9]],
        [],
      ]);
      assert.deepEqual(seen((await channels[0].history({ limit: 2 })).items), [['step', { n: 6 }], ['step', { n: 5 }]]);
      // It joins once; then it returns.
      await back(road, channels);
      assert.deepEqual(lists[0].slice(4), [['replayed', 0]]);
      a.disconnect();
    }
  }));

  test('a join that is cut goes on where it was', replays(async (client, road) => {
    const channelName = unique('news');
    await steps(channelName, 1, 40);
    const a = client({ replay: { rewind: { [channelName]: { count: 40 } } } });
    await until(a.connection, 'connected', () => a.connection.state === 'connected');
    road.cutAfter(2_000);
    const channel = a.subscribe(channelName);
    const list = heard(channel);
    await until(channel, 'playhead:replayed', () => list.some(([event]) => event === 'replayed'));
    assert.deepEqual(list.filter(([event]) => event === 'step'), numbered(1, 40));
    const [[, count]] = list.filter(([event]) => event === 'replayed');
    assert.ok(count > 0 && count < 40, `${count} were replayed after the cut`);
  }));
});

test('no answer is an error', () => withReplays(builds['pusher-js 8'], async (client, road) => {
  const channel = await subscribed(client(), unique('news'));
  road.stall();
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const rejected = assert.rejects(channel.history(), (err) => err.reason === 'timeout');
    mock.timers.tick(30_000);
    await rejected;
  } finally {
    mock.timers.reset();
  }
}));
