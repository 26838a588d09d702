// Replay for pusher-js 7 and 8: a client that comes back gets what it missed, once and in order, or
// is told that it can't. README.md says how to use it.

const installed = Symbol.for("playhead.replay");
const mostIds = 1000; // remembered per channel, as many as the server replays at most
const mostStored = 1000; // channels
const writeAfter = 1000; // ms
const patience = 30000; // ms, for an answer to history()

export function withReplay(pusher, { store, rewind } = {}) {
  if (pusher[installed]) return pusher;
  pusher[installed] = true;
  const { connection, channels } = pusher;

  // What is known of a channel:
  //   position  of the last event that the application has handled; undefined before anything is
  //             known, "" where the server gave none
  //   socket    the socket id that the position was reached with
  //   ids       of events that were handed out, oldest first
  //   begin     where the present subscription began
  //   first     the first event that was handed out; history goes back from there
  //   quiet     there was no position to come back to, so a gap is none to the application
  const known = new Map();
  const learn = (name, position, socket) => known.set(name, { position, socket, ids: new Set() });

  const storeKey = `playhead:${pusher.key}`;
  let timer;
  const write = () => {
    clearTimeout(timer);
    timer = undefined;
    const kept = [...known].filter(([, k]) => k.position).slice(-mostStored);
    try {
      store.setItem(storeKey, JSON.stringify(kept.map(([name, k]) => [name, k.position, k.socket])));
    } catch {} // full or forbidden: the next page begins anew
  };
  const save = () => {
    if (store) timer ??= setTimeout(write, writeAfter);
  };
  if (store) {
    try {
      for (const [name, position, socket] of JSON.parse(store.getItem(storeKey))) {
        if (typeof position === "string") learn(name, position, /^\d+\.\d+$/.test(socket) ? socket : undefined);
      }
    } catch {} // nothing there, or not ours
    globalThis.addEventListener?.("pagehide", write);
  }

  // What goes along with a subscribe.
  const ask = (name) => {
    if (!known.has(name)) learn(name);
    const k = known.get(name);
    known.delete(name); // and back as the last one: the store keeps the newest
    known.set(name, k);
    const joins = k.position === undefined;
    const past = joins && (typeof rewind === "function" ? rewind(name) : rewind?.[name]);
    k.quiet = joins && !past;
    return past ? { rewind: past } : { resume: { position: k.position || "", socket_id: k.socket } };
  };
  const send = pusher.send_event;
  pusher.send_event = function (name, data, channel) {
    if (name === "pusher:subscribe") data = { ...data, ...ask(data.channel) };
    return send.call(this, name, data, channel);
  };

  // pusher-js drops what it doesn't know of a frame, so the text is taken where it comes in; global
  // handlers are called before the one that decodes it.
  let text;
  const tap = () => {
    connection.connection.transport.bind_global((name, message) => {
      if (name === "message") text = message.data;
    });
  };
  connection.bind("connected", tap);
  if (connection.connection) tap();

  const asked = new Map(); // questions for history that were sent, by ref
  connection.bind("state_change", ({ current }) => {
    if (current !== "connected") for (const end of asked.values()) end({ error: { reason: "disconnected", message: "connection lost" } });
  });

  // Every message passes here on its way to channels, to pusher.bind and to connection.bind.
  const emit = connection.emit;
  connection.emit = function (name, message) {
    if (name !== "message") return emit.apply(this, arguments);
    const end = message.event === "playhead:history" && asked.get(message.data?.ref);
    if (end) return end(message.data);
    const k = known.get(message.channel);
    if (!k) return emit.apply(this, arguments);
    const { id, position, resume } = JSON.parse(text);
    const own = !id && message.event; // of the server; what is published has an id
    if (own === "pusher_internal:subscription_succeeded") {
      k.begin = position;
      if (k.quiet) [k.position, k.socket] = [position || "", this.socket_id];
      if (resume && !resume.recovered) {
        k.first = undefined; // the application begins anew
        k.ids.clear();
      }
    }
    if (own === "playhead:gap" && k.quiet) return;
    if (id && k.ids.has(id)) return;
    if (id) k.first ??= position;
    try {
      return emit.apply(this, arguments);
    } finally {
      // Only now: who is cut off or closed while handling it gets it again. A handler that throws has
      // had its event.
      if (id) {
        k.ids.add(id);
        if (k.ids.size > mostIds) k.ids.delete(k.ids.values().next().value);
        k.position = position || k.position;
      }
      // The former socket counts until everything of its time has come.
      if (own === "playhead:replayed" || own === "playhead:gap") [k.position, k.socket] = [message.data?.position || "", this.socket_id];
      save();
    }
  };

  const equip = (channel) => {
    channel.history = (query) => history(channel, query);
    if (!channel.nacl) return channel;
    // An encrypted channel takes everything for encrypted.
    const handle = channel.handleEvent;
    channel.handleEvent = function (message) {
      if (message.event.startsWith("playhead:") && !message.data?.ciphertext) this.emit(message.event, message.data);
      else handle.call(this, message);
    };
    return channel;
  };
  const history = (channel, { limit, before, after } = {}) =>
    new Promise((resolve, reject) => {
      const ref = `${Math.random()}`;
      const end = ({ error, items, has_more, next }) => {
        clearTimeout(timeout);
        asked.delete(ref);
        channel.unbind("pusher:subscription_succeeded", query);
        if (error) return reject(Object.assign(new Error(`history of ${channel.name}: ${error.message}`), { reason: error.reason }));
        // A cache channel's last event may have come live since.
        if (!before && !after) items = items.filter(({ id }) => !known.get(channel.name)?.ids.has(id));
        resolve({ items: items.map((item) => ({ ...item, data: readable(channel, item.data) })), has_more, next });
      };
      const query = () => {
        const k = known.get(channel.name);
        const question = { ref, channel: channel.name, limit, after, before: before || (after ? undefined : k?.first || k?.begin) };
        if (channel.subscribed && !asked.has(ref) && pusher.send_event("playhead:history", question)) asked.set(ref, end);
      };
      const timeout = setTimeout(end, patience, { error: { reason: "timeout", message: `no answer within ${patience} ms` } });
      channel.bind("pusher:subscription_succeeded", query);
      query();
    });

  const { add, remove } = channels;
  channels.add = function () {
    const channel = add.apply(this, arguments);
    return channel.history ? channel : equip(channel);
  };
  channels.remove = function (name) {
    known.delete(name);
    save();
    return remove.apply(this, arguments);
  };
  for (const channel of channels.all()) {
    equip(channel);
    // It was subscribed to without a position, so what it misses is missed.
    if (channel.subscribed || channel.subscriptionPending) learn(channel.name, "");
  }
  return pusher;
}

// readable returns data as handlers get it: JSON read, and decrypted.
function readable(channel, data) {
  try {
    data = JSON.parse(data);
  } catch {
    return data;
  }
  try {
    const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const plain = channel.nacl.secretbox.open(bytes(data.ciphertext), bytes(data.nonce), channel.key);
    return readable({}, new TextDecoder().decode(plain));
  } catch {
    return data; // not encrypted, or with another key
  }
}
