// Real Pusher clients for the tests: pusher-js over WebSocket and the official HTTP library,
// pointed at the node that the Go harness has started. The harness sets the environment.
'use strict';

const assert = require('node:assert/strict');
const { after } = require('node:test');
const PusherJS = require('pusher-js');
const Pusher = require('pusher');
const nacl = require('tweetnacl');

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these tests are started by go test ./integration`);
  return value;
}

const host = required('PLAYHEAD_HOST');
const port = Number(required('PLAYHEAD_PORT'));
// Where there are several nodes, each client and each backend takes the next one.
const ports = (process.env.PLAYHEAD_PORTS || String(port)).split(',').map(Number);
let taken = 0;
function nextPort() {
  taken += 1;
  return ports[taken % ports.length];
}
const appId = required('PLAYHEAD_APP_ID');
const key = required('PLAYHEAD_APP_KEY');
const secret = required('PLAYHEAD_APP_SECRET');

// patience bounds every wait, in milliseconds: generous, because a wait ends when its condition
// holds, and the machine may be busy.
const patience = 20_000;

// masterKey is the 32-byte key of the application that encrypts (base64).
const masterKey = Buffer.from(Array.from({ length: 32 }, (_, i) => i)).toString('base64');

// Where there are several nodes, the one that a test goes on with may be milliseconds behind the one that
// answered it. witnesses are clients of all nodes, and everywhere resolves when each of them has heard what
// was published last: then every node has read everything from before.
let witnesses;
function everywhere() {
  if (ports.length < 2) return undefined;
  const channel = `witnesses-${process.pid}`;
  witnesses ??= Promise.all(ports.map(async (wsPort) => {
    const witness = clientWith({ options: { wsPort } });
    return { witness, channel: await subscribed(witness, channel) };
  }));
  return witnesses.then(async (all) => {
    const id = Math.random();
    const heard = all.map((w) => next(w.channel, 'all', (data) => data.id === id));
    await new Pusher({ appId, key, secret, host, port: String(port), useTLS: false }).trigger(channel, 'all', { id });
    await Promise.all(heard);
  });
}
if (ports.length > 1) {
  after(async () => {
    for (const { witness } of await (witnesses ?? [])) witness.disconnect();
  });
}

// settles runs a check of who is where until it passes: other nodes hear of it in milliseconds. With one
// node it has to pass at once.
async function settles(check) {
  const end = Date.now() + patience;
  for (;;) {
    try {
      return await check();
    } catch (err) {
      if (ports.length < 2 || Date.now() > end) throw err;
    }
  }
}

// Patient returns from publishing when every node has read what was published.
class Patient extends Pusher {
  async trigger(...args) {
    const answer = await super.trigger(...args);
    await everywhere();
    return answer;
  }

  async triggerBatch(...args) {
    const answer = await super.triggerBatch(...args);
    await everywhere();
    return answer;
  }
}

// backend returns the official HTTP library as an application's server would use it.
function backend(options = {}) {
  return new Patient({ appId, key, secret, host, port: String(nextPort()), useTLS: false, ...options });
}

// clientWith returns a pusher-js client of the node. Its private, presence and encrypted channels
// are authorised by the official HTTP library, as user; account is who it signs in as.
function clientWith({
  user, account, authorise, options, appKey = key, build: Client = PusherJS,
} = {}) {
  const server = backend({ encryptionMasterKeyBase64: masterKey });
  return new Client(appKey, {
    cluster: '',
    wsHost: host,
    wsPort: nextPort(),
    forceTLS: false,
    enabledTransports: ['ws'],
    // The node build of pusher-js has no cipher of its own; the with-encryption builds set this
    // option themselves (builds.test.js).
    nacl,
    channelAuthorization: {
      customHandler({ socketId, channelName }, callback) {
        try {
          const answer = server.authorizeChannel(socketId, channelName, user);
          callback(null, authorise ? authorise(answer, channelName) : answer);
        } catch (err) {
          callback(err, null);
        }
      },
    },
    userAuthentication: {
      customHandler({ socketId }, callback) {
        try {
          callback(null, server.authenticateUser(socketId, account));
        } catch (err) {
          callback(err, null);
        }
      },
    },
    ...options,
  });
}

// next resolves with what an emitter's event is next called with: a channel, a client or a
// connection of pusher-js.
function next(emitter, event, accept = () => true) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      emitter.unbind(event, handler);
      reject(new Error(`no ${event} within ${patience} ms`));
    }, patience);
    function handler(...args) {
      if (!accept(...args)) return;
      clearTimeout(timer);
      emitter.unbind(event, handler);
      resolve(args[0]);
    }
    emitter.bind(event, handler);
  });
}

// connected resolves when the client is connected.
async function connected(client) {
  if (client.connection.state !== 'connected') await next(client.connection, 'connected');
  return client;
}

// subscribed subscribes and resolves with the channel once the server has confirmed it.
async function subscribed(client, name) {
  const channel = client.subscribe(name);
  if (channel.subscribed) return channel;
  await new Promise((resolve, reject) => {
    next(channel, 'pusher:subscription_succeeded').then(resolve, reject);
    channel.bind('pusher:subscription_error', (err) => {
      reject(new Error(`subscription to ${name}: ${JSON.stringify(err)}`));
    });
  });
  return channel;
}

// recorded keeps all events of a channel, in order, as [name, data]; protocol events are left out.
function recorded(channel) {
  const events = [];
  channel.bind_global((name, data) => {
    if (!name.startsWith('pusher')) events.push([name, data]);
  });
  return events;
}

// fence proves that everything published so far has been delivered to the channels: it publishes
// a last event to each and waits for it. What hasn't arrived by then isn't coming.
async function fence(...channels) {
  const names = [...new Set(channels.map((c) => c.name))];
  const arrived = channels.map((c) => next(c, 'fence'));
  await backend().trigger(names, 'fence', {});
  await Promise.all(arrived);
}

// fenced returns what was recorded without the fences.
function fenced(events) {
  return events.filter(([name]) => name !== 'fence');
}

// once resolves as a body does that is handed resolve and reject, unless that takes too long.
function once(what, body) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${what} within ${patience} ms`)), patience);
    const ending = (end) => (value) => {
      clearTimeout(timer);
      end(value);
    };
    body(ending(resolve), ending(reject));
  });
}

// until resolves when the condition holds; it is asked again after each event of the emitter.
function until(emitter, event, condition) {
  if (condition()) return Promise.resolve();
  return next(emitter, event, condition);
}

// withClients hands the test as many clients as it asks for and disconnects them when it ends.
async function withClients(body) {
  const clients = [];
  try {
    await body((settings) => {
      const client = clientWith(settings);
      clients.push(client);
      return client;
    });
  } finally {
    for (const client of clients) client.disconnect();
  }
}

// unique returns a channel name that no other test uses.
let names = 0;
function unique(prefix) {
  names += 1;
  return `${prefix}-${process.pid}-${names}`;
}

module.exports = {
  address: { host, key, port },
  assert,
  backend,
  connected,
  fence,
  fenced,
  masterKey,
  next,
  nodes: ports.length,
  once,
  patience,
  recorded,
  required,
  settles,
  subscribed,
  unique,
  until,
  withClients,
};
