// Stays connected while the harness restarts the node, and says on standard output, a JSON
// object a line, what it sees. It ends when it has seen the event named "goodbye".
'use strict';

const { withClients } = require('./clients');

const [channelName] = process.argv.slice(2);

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

withClients(async (client) => {
  const a = client({ user: { user_id: 'ada' } });
  const channel = a.subscribe(channelName);
  channel.bind('pusher:subscription_succeeded', () => say({ subscribed: a.connection.socket_id }));
  channel.bind('pusher:subscription_error', (err) => say({ refused: err }));
  a.connection.bind('error', (err) => say({ error: err.data && err.data.code }));
  a.connection.bind('state_change', ({ current }) => say({ state: current }));
  channel.bind_global((event, data) => {
    if (!event.startsWith('pusher')) say({ event, data });
  });
  await new Promise((resolve) => channel.bind('goodbye', resolve));
}).then(() => process.exit(0), (err) => {
  console.error(err);
  process.exit(1);
});
