// Every build of pusher-js that is shipped: pages', workers', and those with encryption.
'use strict';

const { describe, test } = require('node:test');
const {
  assert, backend, fence, fenced, masterKey, next, recorded, subscribed, unique, withClients,
} = require('./clients');
const builds = require('./builds');

// plain copies a value out of the context that a build runs in, where even Object is another.
function plain(value) {
  return JSON.parse(JSON.stringify(value));
}

for (const [name, build] of Object.entries(builds)) describe(name, () => {
  const encrypts = name.endsWith('with encryption');

  test('public, private, presence and cache channels', () => withClients(async (client) => {
    const a = client({ build, user: { user_id: 'ada', user_info: { name: 'Ada' } } });
    const b = client({ build, user: { user_id: 'bob' } });
    const names = ['news', 'private-news', 'presence-news', 'cache-news', 'private-cache-news'].map(unique);
    const channels = [];
    for (const channel of names) {
      channels.push(await subscribed(a, channel));
      await subscribed(b, channel);
    }
    const got = channels.map(recorded);
    await backend().trigger(names, 'hi', { n: 1 });
    await fence(...channels);
    for (const events of got) assert.deepEqual(plain(fenced(events)), [['hi', { n: 1 }]]);
    assert.deepEqual(Object.keys(plain(channels[2].members.members)).sort(), ['ada', 'bob']);
  }));

  test('client events', () => withClients(async (client) => {
    const [a, b] = [client({ build }), client({ build })];
    const channel = unique('private-chat');
    const sender = await subscribed(a, channel);
    const got = next(await subscribed(b, channel), 'client-typing');
    assert.ok(sender.trigger('client-typing', { on: true }));
    assert.deepEqual(plain(await got), { on: true });
  }));

  test('an encrypted channel, where there is a cipher', () => withClients(async (client) => {
    const channel = unique('private-encrypted-notes');
    const a = client({ build, options: { nacl: undefined } });
    if (!encrypts) {
      // Such a build has no cipher, and says so rather than show what it can't read.
      assert.throws(() => a.subscribe(channel), /nacl/);
      return;
    }
    const got = next(await subscribed(a, channel), 'note');
    await backend({ encryptionMasterKeyBase64: masterKey }).trigger(channel, 'note', { text: 'do not tell' });
    assert.deepEqual(plain(await got), { text: 'do not tell' });
  }));
});
