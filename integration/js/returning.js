// Stays connected while the harness restarts the node, with replay, and says on standard output, a
// JSON object a line, what its application is told. It takes "disconnect" and "connect" on standard
// input, and ends when it has seen the event named "goodbye".
'use strict';

const readline = require('node:readline');
const { withClients } = require('./clients');
const { builds } = require('./replays');

const [channelName, build] = process.argv.slice(2);

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

withClients(async (client) => {
  const { withReplay } = await import('../../replay/js/replay.js');
  const a = withReplay(client({ build: builds[build], user: { user_id: 'ada' } }));
  readline.createInterface({ input: process.stdin }).on('line', (command) => {
    if (command === 'disconnect') a.disconnect();
    if (command === 'connect') a.connect();
  });
  const channel = a.subscribe(channelName);
  channel.bind('pusher:subscription_succeeded', () => say({ subscribed: a.connection.socket_id }));
  channel.bind('pusher:subscription_error', (err) => say({ refused: err }));
  a.connection.bind('state_change', ({ current }) => say({ state: current }));
  channel.bind_global((event, data) => {
    if (event === 'playhead:replayed') say({ event, count: data.count });
    else if (event === 'playhead:gap') say({ event, reason: data.reason });
    else if (!event.startsWith('pusher')) say({ event });
  });
  await new Promise((resolve) => { channel.bind('goodbye', resolve); });
}).then(() => process.exit(0), (err) => {
  console.error(err);
  process.exit(1);
});
