// Presence: who is here, who comes, who goes.
'use strict';

const { test } = require('node:test');
const { assert, backend, fence, next, settles, subscribed, unique, until, withClients } = require('./clients');

const ada = { user_id: 'ada', user_info: { name: 'Ada', tags: ['å', null, true] } };
const bob = { user_id: 'bob', user_info: { name: 'Bob' } };

function ids(channel) {
  const seen = [];
  channel.members.each((member) => seen.push(member.id));
  return seen.sort();
}

// moves records who is announced as coming and going.
function moves(channel) {
  const seen = [];
  channel.bind('pusher:member_added', (m) => seen.push(['added', m.id, m.info]));
  channel.bind('pusher:member_removed', (m) => seen.push(['removed', m.id]));
  return seen;
}

test('members are seen coming, being here and leaving', () => withClients(async (client) => {
  const name = unique('presence-room');
  const a = await subscribed(client({ user: ada }), name);
  const seen = moves(a);
  assert.equal(a.members.count, 1);
  assert.deepEqual(a.members.me, { id: 'ada', info: ada.user_info });

  const added = next(a, 'pusher:member_added');
  const second = client({ user: bob });
  const b = await subscribed(second, name);
  await added;
  assert.deepEqual(ids(a), ['ada', 'bob']);
  assert.deepEqual(ids(b), ['ada', 'bob']);
  assert.equal(b.members.count, 2);
  assert.deepEqual(b.members.get('ada').info, ada.user_info);

  const removed = next(a, 'pusher:member_removed');
  second.disconnect();
  await removed;
  assert.deepEqual(ids(a), ['ada']);
  assert.deepEqual(seen, [['added', 'bob', bob.user_info], ['removed', 'bob']]);
}));

test('a second connection of a user is one member', () => withClients(async (client) => {
  const name = unique('presence-room');
  const a = await subscribed(client({ user: ada }), name);
  const seen = moves(a);
  const first = client({ user: bob });
  const second = client({ user: bob });
  await subscribed(first, name);
  const b = await subscribed(second, name);
  assert.equal(b.members.count, 2);
  first.unsubscribe(name);
  // Answered after the unsubscribe was processed; a departure would have been announced by then.
  await subscribed(first, unique('other'));
  await fence(a, b);
  assert.deepEqual(ids(a), ['ada', 'bob']);
  second.unsubscribe(name);
  await until(a, 'pusher:member_removed', () => ids(a).length === 1);
  assert.deepEqual(seen.map(([what, id]) => [what, id]), [['added', 'bob'], ['removed', 'bob']]);
}));

test('client events carry the sender of a presence channel', () => withClients(async (client) => {
  const name = unique('presence-room');
  const a = await subscribed(client({ user: ada }), name);
  const b = await subscribed(client({ user: bob }), name);
  const got = new Promise((resolve) => b.bind('client-typing', (data, meta) => resolve([data, meta.user_id])));
  a.trigger('client-typing', { on: true });
  assert.deepEqual(await got, [{ on: true }, 'ada']);
}));

test('presence needs a signature over the user', () => withClients(async (client) => {
  const name = unique('presence-room');
  const forger = client({
    user: bob,
    authorise: (answer) => ({ ...answer, channel_data: answer.channel_data.replace('bob', 'eve') }),
  });
  const error = await next(forger.subscribe(name), 'pusher:subscription_error');
  assert.equal(error.type, 'AuthError');
}));

test('the HTTP library sees the members', () => withClients(async (client) => {
  const name = unique('presence-room');
  await subscribed(client({ user: ada }), name);
  await subscribed(client({ user: bob }), name);
  await settles(async () => {
    const answer = await backend().get({ path: `/channels/${name}/users` });
    assert.equal(answer.status, 200);
    const { users } = await answer.json();
    assert.deepEqual(users.map((u) => u.id).sort(), ['ada', 'bob']);
  });
}));
