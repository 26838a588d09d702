// Clients with replay: pusher-js 7 and 8 with the module, over a road that can be cut.
'use strict';

const Pusher7 = require('pusher-js-7');
const Pusher8 = require('pusher-js');
const {
  address, assert, backend, fence, next, once, subscribed, withClients,
} = require('./clients');
const { withRoad } = require('./road');

// pusher-js 7 gives WebSocket up for good when two connections that were open for less than twice the
// activity timeout have ended without a close frame, as they do here all the time.
class Tireless extends Pusher7 {
  constructor(key, options) { super(key, { ...options, activityTimeout: 0.001 }); }
}

const builds = { 'pusher-js 7': Tireless, 'pusher-js 8': Pusher8 };

const replay = import('../../replay/js/replay.js');

// withReplays hands the test clients with replay and the road they are on. A client takes what
// withClients' do, and replay: the module's options, or false for a client without the module.
function withReplays(build, body) {
  return withRoad((road) => withClients(async (client) => {
    const { withReplay } = await replay;
    await body(({ replay, ...settings } = {}) => {
      const pusher = client({ build, ...settings, options: { wsPort: road.port, ...settings.options } });
      return replay === false ? pusher : withReplay(pusher, replay);
    }, road);
  }));
}

// direct are the options of a client that doesn't take the road.
const direct = { wsPort: address.port };

// returning changes the positions that a client sends.
function returning(pusher, change) {
  const { connection } = pusher;
  connection.send_event = function (event, data, ...rest) {
    if (event === 'pusher:subscribe') data = { ...data, resume: { ...data.resume, position: change(data.resume.position) } };
    return Object.getPrototypeOf(connection).send_event.call(this, event, data, ...rest);
  };
}

// back cuts the road, does what is to happen meanwhile, mends it, and resolves when the channels have
// been told how they came back.
async function back(road, channels, meanwhile) {
  const told = channels.map((channel) => outcome(channel));
  road.cut();
  if (meanwhile) await meanwhile();
  road.mend();
  return Promise.all(told);
}

// outcome resolves with what a channel is told next of its return: replayed, or why there is a gap.
function outcome(channel) {
  return once(`outcome for ${channel.name}`, (resolve) => {
    const told = (how) => (data) => {
      channel.unbind('playhead:replayed', replayed).unbind('playhead:gap', gap);
      resolve(how(data));
    };
    const replayed = told(({ count }) => ({ replayed: count }));
    const gap = told(({ reason }) => ({ gap: reason }));
    channel.bind('playhead:replayed', replayed).bind('playhead:gap', gap);
  });
}

// heard records what an application hears on a channel: events as [name, data], and how it came back.
function heard(channel) {
  const list = [];
  channel.bind_global((name, data) => {
    if (name === 'playhead:replayed') list.push(['replayed', data.count]);
    else if (name === 'playhead:gap') list.push(['gap', data.reason]);
    else if (!name.startsWith('pusher') && name !== 'fence') list.push([name, data]);
  });
  return list;
}

// steps publishes "step" events numbered from first to last, in order.
async function steps(name, first, last, options) {
  for (let n = first; n <= last; n += 1) await backend().trigger(name, 'step', { n }, options);
}

// numbered is what is heard of steps.
function numbered(first, last) {
  return Array.from({ length: last - first + 1 }, (_, i) => ['step', { n: first + i }]);
}

// kept is a store of positions; it counts what is written, and tells when.
function kept(text) {
  const values = new Map();
  const waiting = new Set();
  return {
    text,
    writes: 0,
    getItem(key) { return values.get(key) ?? (this.text === undefined ? null : this.text); },
    setItem(key, value) {
      values.set(key, value);
      this.writes += 1;
      for (const resolve of waiting) resolve(value);
      waiting.clear();
    },
    // written resolves with what is written next.
    written() { return new Promise((resolve) => { waiting.add(resolve); }); },
    values,
  };
}

module.exports = {
  assert, back, backend, builds, direct, fence, heard, kept, module: replay, next, numbered, once, outcome, returning, steps, subscribed, withReplays,
};
