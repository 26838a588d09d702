// The number of subscriptions of a channel, as its subscribers are told it.
'use strict';

const { test } = require('node:test');
const { assert, fence, once, subscribed, unique, withClients } = require('./clients');

// counts records the counts that a channel is told; at(n) resolves when n was the last of them.
function counts(channel) {
  const seen = [];
  return {
    seen,
    at: (n) => once(`count of ${n}`, (resolve) => {
      const check = () => { if (seen.at(-1) === n) resolve(); };
      channel.bind('pusher:subscription_count', check);
      check();
    }),
    heard: channel.bind('pusher:subscription_count', ({ subscription_count: n }) => seen.push(n)),
  };
}

test('every subscriber is told of every change', () => withClients(async (client) => {
  const name = unique('private-news');
  const first = client();
  const told = counts(first.subscribe(name));
  await told.at(1);
  const second = client();
  const later = counts(second.subscribe(name));
  await Promise.all([told.at(2), later.at(2)]);
  second.disconnect();
  await told.at(1);
  assert.deepEqual(told.seen, [1, 2, 1]);
  assert.deepEqual(later.seen, [2]);
  assert.equal(first.channel(name).subscriptionCount, 1);
}));

test('presence channels have members instead', () => withClients(async (client) => {
  const name = unique('presence-news');
  const told = counts(client({ user: { user_id: 'ada' } }).subscribe(name));
  const channel = await subscribed(client({ user: { user_id: 'bob' } }), name);
  await fence(channel);
  assert.deepEqual(told.seen, []);
}));
