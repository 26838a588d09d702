// Users: signing in, messages to a user, watchlists, termination.
'use strict';

const { test } = require('node:test');
const {
  assert, backend, connected, fence, next, once, subscribed, unique, until, withClients,
} = require('./clients');
const builds = require('./builds');

// signedIn signs in and resolves with the client once its own channel is subscribed.
async function signedIn(client) {
  await connected(client);
  client.signin();
  await client.user.signinDonePromise;
  const { serverToUserChannel } = client.user;
  assert.ok(serverToUserChannel, 'not signed in');
  if (!serverToUserChannel.subscribed) await next(serverToUserChannel, 'pusher:subscription_succeeded');
  return client;
}

test('a user signs in, and hears what is sent to the user on every connection', () => withClients(async (client) => {
  const [id, other] = [unique('ada'), unique('bob')];
  const account = { id, user_info: { name: 'Ada å' } };
  const [a, tab] = [await signedIn(client({ account })), await signedIn(client({ account }))];
  const b = await signedIn(client({ account: { id: other } }));
  assert.deepEqual(a.user.user_data, account);
  const strange = [];
  b.user.bind('hi', (data) => strange.push(data));
  const got = [a, tab].map((c) => next(c.user, 'hi'));
  const answer = await backend().sendToUser(id, 'hi', { n: 1 });
  assert.equal(answer.status, 200);
  assert.deepEqual(await Promise.all(got), [{ n: 1 }, { n: 1 }]);
  const bye = next(b.user, 'bye');
  await backend().sendToUser(other, 'bye', {});
  await bye;
  assert.deepEqual(strange, []);
  const { channels } = await (await backend().get({ path: '/channels' })).json();
  assert.deepEqual(Object.keys(channels).filter((name) => name.startsWith('#')), []);
}));

test('a forged sign-in is an error, and the connection stays', () => withClients(async (client) => {
  const forger = client({
    account: { id: unique('ada') },
    options: {
      userAuthentication: {
        customHandler({ socketId }, callback) {
          const answer = backend({ secret: 'wrong' }).authenticateUser(socketId, { id: 'eve' });
          callback(null, answer);
        },
      },
    },
  });
  await connected(forger);
  const error = next(forger.connection, 'error');
  forger.signin();
  assert.equal((await error).type, 'PusherError');
  assert.equal(forger.user.user_data, null);
  await fence(await subscribed(forger, unique('news')));
}));

test('a signed-in user is a member without channel_data', () => withClients(async (client) => {
  const account = { id: unique('ada'), user_info: { name: 'Ada' } };
  const name = unique('presence-room');
  const a = await signedIn(client({ account })); // authorised without a user of its own
  const channel = await subscribed(a, name);
  assert.deepEqual(channel.members.me, { id: account.id, info: account.user_info });
  const { users } = await (await backend().get({ path: `/channels/${name}/users` })).json();
  assert.deepEqual(users, [{ id: account.id }]);
}));

test('a watchlist tells who is online, who comes and who goes', () => withClients(async (client) => {
  const [id, bob, eve] = [unique('ada'), unique('bob'), unique('eve')];
  const first = await signedIn(client({ account: { id: bob } }));
  const a = await connected(client({ account: { id, watchlist: [bob, eve] } }));
  const told = [];
  const at = (n, what) => once(what, (resolve) => {
    const check = () => { if (told.length >= n) resolve(); };
    for (const state of ['online', 'offline']) {
      a.user.watchlist.bind(state, ({ user_ids: ids }) => { told.push([state, ...ids]); check(); });
    }
  });
  const began = at(2, 'state of the watchlist');
  a.signin();
  await began;
  assert.deepEqual(told.splice(0).sort(), [['offline', eve], ['online', bob]]);
  a.user.watchlist.unbind();

  const came = next(a.user.watchlist, 'online');
  const [tab, second] = [client({ account: { id: eve } }), client({ account: { id: eve } })];
  await signedIn(tab);
  assert.deepEqual((await came).user_ids, [eve]);
  const more = [];
  a.user.watchlist.bind('online', (e) => more.push(e));
  await signedIn(second); // another connection of hers is no news
  tab.disconnect();
  const gone = next(a.user.watchlist, 'offline');
  second.disconnect();
  assert.deepEqual((await gone).user_ids, [eve]);
  const left = next(a.user.watchlist, 'offline');
  first.disconnect();
  assert.deepEqual((await left).user_ids, [bob]);
  assert.deepEqual(more, []);
}));

test('terminated connections stay away, others stay', () => withClients(async (client) => {
  const id = unique('ada');
  // The node build's WebSocket would keep the process for 30 s when the server closes it.
  const settings = { account: { id }, build: builds.web };
  const [a, tab] = [await signedIn(client(settings)), await signedIn(client(settings))];
  const namesake = await connected(client({ user: { user_id: id } }));
  const room = await subscribed(namesake, unique('presence-room'));
  const ends = [a, tab].map((c) => next(c.connection, 'error'));
  const answer = await backend().terminateUserConnections(id);
  assert.equal(answer.status, 200);
  assert.deepEqual(await answer.json(), {});
  for (const end of ends) assert.equal((await end).data.code, 4009);
  for (const c of [a, tab]) await until(c.connection, 'state_change', () => c.connection.state === 'disconnected');
  await fence(room);
  assert.equal((await backend().terminateUserConnections(unique('nobody'))).status, 200);
  // pusher-js comes back within a second, or at once, where it comes back at all.
  await new Promise((resolve) => { setTimeout(resolve, 1500); });
  assert.deepEqual([a, tab].map((c) => c.connection.state), ['disconnected', 'disconnected']);
  assert.equal(namesake.connection.state, 'connected');
}));
