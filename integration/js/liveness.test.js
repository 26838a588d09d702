// An idle client stays: the harness starts the node with an activity timeout of a second or two,
// so that minutes of protocol pass in seconds.
'use strict';

const { test } = require('node:test');
const { assert, fence, next, subscribed, unique, withClients } = require('./clients');

test('an idle client pings, is answered and stays', () => withClients(async (client) => {
  const a = client();
  const channel = await subscribed(a, unique('quiet'));
  const socket = a.connection.socket_id;
  for (let i = 0; i < 3; i += 1) {
    await next(a.connection, 'message', (frame) => frame.event === 'pusher:pong');
  }
  assert.equal(a.connection.state, 'connected');
  assert.equal(a.connection.socket_id, socket);
  await fence(channel);
}));
