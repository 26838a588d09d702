// The official HTTP library: triggers, batches, questions, refusals.
'use strict';

const { test } = require('node:test');
const { assert, backend, fence, fenced, recorded, settles, subscribed, unique, withClients } = require('./clients');

test('a trigger to several channels reaches each', () => withClients(async (client) => {
  const names = [unique('news'), unique('news'), unique('news')];
  const a = client();
  const channels = [];
  for (const name of names) channels.push(await subscribed(a, name));
  const got = channels.map(recorded);
  const answer = await backend().trigger(names, 'hi', { n: 1 });
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get('content-type'), /^application\/json/);
  assert.deepEqual(await answer.json(), {});
  await fence(...channels);
  for (const events of got) assert.deepEqual(fenced(events), [['hi', { n: 1 }]]);
}));

test('a batch keeps its order', () => withClients(async (client) => {
  const [x, y] = [unique('news'), unique('news')];
  const a = client();
  const channels = [await subscribed(a, x), await subscribed(a, y)];
  const got = channels.map(recorded);
  const batch = Array.from({ length: 10 }, (_, i) => ({
    channel: i % 2 ? y : x, name: 'step', data: { i },
  }));
  const answer = await backend().triggerBatch(batch);
  assert.equal(answer.status, 200);
  await fence(...channels);
  assert.deepEqual(fenced(got[0]), [0, 2, 4, 6, 8].map((i) => ['step', { i }]));
  assert.deepEqual(fenced(got[1]), [1, 3, 5, 7, 9].map((i) => ['step', { i }]));
}));

test('one bad event of a batch publishes nothing', () => withClients(async (client) => {
  const name = unique('news');
  const channel = await subscribed(client(), name);
  const got = recorded(channel);
  await assert.rejects(backend().triggerBatch([
    { channel: name, name: 'good', data: {} },
    { channel: name, name: 'pusher:bad', data: {} },
  ]), (err) => err.status === 400);
  await fence(channel);
  assert.deepEqual(fenced(got), []);
}));

test('channels are counted', () => withClients(async (client) => {
  const prefix = unique('presence-club');
  const [one, two] = [`${prefix}-1`, `${prefix}-2`];
  const open = unique('news');
  const ada = client({ user: { user_id: 'ada' } });
  const bob = client({ user: { user_id: 'bob' } });
  await subscribed(ada, one);
  await subscribed(bob, one);
  await subscribed(bob, two);
  await subscribed(bob, open);

  const get = async (path, params) => (await backend().get({ path, params })).json();
  await settles(async () => assert.deepEqual(await get('/channels', { filter_by_prefix: prefix, info: 'user_count' }), {
    channels: { [one]: { user_count: 2 }, [two]: { user_count: 1 } },
  }));
  await settles(async () => assert.ok(open in (await get('/channels', {})).channels));
  await settles(async () => assert.deepEqual(await get(`/channels/${one}`, { info: 'user_count,subscription_count' }), {
    occupied: true, user_count: 2, subscription_count: 2,
  }));
  await settles(async () => assert.deepEqual(await get(`/channels/${open}`, { info: 'subscription_count' }), {
    occupied: true, subscription_count: 1,
  }));
  assert.deepEqual(await get(`/channels/${unique('empty')}`, {}), { occupied: false });

  await settles(async () => {
    const answer = await backend().trigger([one, open], 'hi', {}, { info: 'user_count,subscription_count' });
    assert.deepEqual(await answer.json(), {
      channels: { [one]: { user_count: 2, subscription_count: 2 }, [open]: { subscription_count: 1 } },
    });
  });
}));

test('a wrong secret is refused', async () => {
  await assert.rejects(backend({ secret: 'wrong' }).trigger('news', 'hi', {}), (err) => err.status === 401);
  await assert.rejects(backend({ secret: 'wrong' }).get({ path: '/channels' }), (err) => err.status === 401);
});

test('an unknown app is not found', async () => {
  await assert.rejects(backend({ appId: 'no-such-app' }).trigger('news', 'hi', {}), (err) => err.status === 404);
});

test('data over the limit is refused', async () => {
  await backend().trigger('news', 'fits', 'x'.repeat(10_240));
  await assert.rejects(backend().trigger('news', 'over', 'x'.repeat(10_241)), (err) => err.status === 413);
});
