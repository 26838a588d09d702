// End-to-end encrypted channels: the official library encrypts, pusher-js decrypts, the node is
// blind.
'use strict';

const { test } = require('node:test');
const { assert, backend, masterKey, next, subscribed, unique, withClients } = require('./clients');

test('an encrypted event is readable at the client and nowhere between', () => withClients(async (client) => {
  const name = unique('private-encrypted-notes');
  const reader = client();
  const frames = [];
  reader.connection.bind('message', (frame) => { if (frame.event === 'note') frames.push(frame); });
  const channel = await subscribed(reader, name);
  const got = next(channel, 'note');
  await backend({ encryptionMasterKeyBase64: masterKey }).trigger(name, 'note', { text: 'do not tell' });
  assert.deepEqual(await got, { text: 'do not tell' });
  assert.equal(frames.length, 1);
  assert.deepEqual(Object.keys(frames[0].data).sort(), ['ciphertext', 'nonce']);
  assert.ok(!JSON.stringify(frames[0]).includes('do not tell'));
}));

test('an encrypted channel needs a signature', () => withClients(async (client) => {
  const forger = client({ authorise: (answer) => ({ ...answer, auth: answer.auth.slice(0, -4) + '0000' }) });
  const error = await next(forger.subscribe(unique('private-encrypted-notes')), 'pusher:subscription_error');
  assert.equal(error.type, 'AuthError');
}));
