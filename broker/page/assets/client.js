// A connection as an application has one: pusher-js, and replay if it wants it, which is one line.
// What an application doesn't do is listen in on the frames.
import { withReplay } from '../replay.js';
import { post } from './ask.js';
import { now } from './dom.js';
import { kindOf } from './kinds.js';
import { tap } from './socket.js';

// Behind a proxy the server may be below a path; its WebSockets are then, too.
const prefix = location.pathname.replace(/\/client\/[^/]*$/, '');

function newPusher(key, options) {
  const secure = location.protocol === 'https:';
  const port = Number(location.port) || (secure ? 443 : 80);
  return new window.Pusher(key, {
    cluster: '',
    wsHost: location.hostname,
    wsPort: port,
    wssPort: port,
    wsPath: prefix,
    forceTLS: secure,
    enabledTransports: ['ws', 'wss'],
    ...options,
  });
}

// Client tells its owner of what happens, by tell(what, detail):
//
//   state       the connection's state
//   event       an event as the application gets it, with its id, position, and whether it was replayed
//   subscribed  a channel's subscription stands, from a position
//   refused     a channel's subscription was refused
//   returned    a channel has had what was missed, so many events
//   gap         a channel can't have it, for a reason
//   note        anything else a channel has to say
//   members     who is in a presence channel
//   user        who is signed in
//   error       an error of the connection
//   frame       a frame, either way
export class Client {
  constructor({ key, me, replay, tell }) {
    this.me = me;
    this.tell = tell;
    this.secrets = new Map(); // of encrypted channels
    this.replaying = new Set(); // channels
    this.latest = new Map(); // the position of each channel's last event, or where its subscription began
    this.left = new Map(); // what that was when the present subscription began
    this.frame = null; // being handled
    this.early = new WeakMap(); // the first frames of sockets that may turn out to be ours
    tap((...heard) => this.hear(...heard));
    this.pusher = newPusher(key, {
      channelAuthorization: {
        customHandler: ({ socketId, channelName }, done) => this.authorize(socketId, channelName, done),
      },
      userAuthentication: {
        customHandler: ({ socketId }, done) => this.authenticate(socketId, done),
      },
    });
    // With a store, a page that is loaded again comes back like one that was cut off.
    if (replay) withReplay(this.pusher, { store: storage() });
    const { connection } = this.pusher;
    connection.bind('state_change', ({ current }) => tell('state', current));
    connection.bind('error', (err) => tell('error', explain(err)));
    this.pusher.user.bind_global((event, data) => this.arrive(`#server-to-user-${this.me.id}`, event, data));
  }

  get socketId() {
    return this.pusher.connection.socket_id;
  }

  get connected() {
    return this.pusher.connection.state === 'connected';
  }

  connect() {
    this.pusher.connect();
  }

  disconnect() {
    this.pusher.disconnect();
  }

  subscribe(name) {
    const channel = this.pusher.subscribe(name);
    channel.bind_global((event, data) => this.arrive(name, event, data));
  }

  unsubscribe(name) {
    this.latest.delete(name);
    this.pusher.unsubscribe(name);
  }

  // trigger sends a client event and says whether it was sent.
  trigger(name, event, data) {
    return this.pusher.channel(name).trigger(event, data);
  }

  signIn() {
    this.pusher.signin();
  }

  // history returns a page of a channel's past.
  async history(name, query) {
    const page = await this.pusher.channel(name).history(query);
    const text = (data) => (typeof data === 'string' ? data : JSON.stringify(data));
    return { ...page, items: page.items.map((item) => ({ ...item, text: text(item.data) })) };
  }

  // seal encrypts data for an encrypted channel, as an application's server does.
  seal(name, text) {
    const { secretbox } = this.pusher.config.nacl;
    const nonce = crypto.getRandomValues(new Uint8Array(secretbox.nonceLength));
    const sealed = secretbox(new TextEncoder().encode(text), nonce, fromBase64(this.secret(name)));
    return JSON.stringify({ nonce: toBase64(nonce), ciphertext: toBase64(sealed) });
  }

  secret(name) {
    const secret = this.secrets.get(name);
    if (!secret) throw new Error(`Subscribe to ${name} first: its key comes with the signature`);
    return secret;
  }

  authorize(socketId, name, done) {
    const user = kindOf(name).presence ? { user_id: this.me.id, user_info: { name: this.me.name } } : undefined;
    post('auth', { socket_id: socketId, channel_name: name, user }).then((answer) => {
      if (answer.shared_secret) this.secrets.set(name, answer.shared_secret);
      done(null, answer);
    }, (err) => {
      this.tell('refused', { channel: name, why: err.message });
      done(err, null);
    });
  }

  authenticate(socketId, done) {
    const user = { id: this.me.id, user_info: { name: this.me.name } };
    post('user-auth', { socket_id: socketId, user }).then((answer) => done(null, answer), (err) => {
      this.tell('error', err.message);
      done(err, null);
    });
  }

  // hear has every frame of every socket before pusher-js has it.
  hear(socket, direction, frame, text) {
    const heard = { direction, text, at: now() };
    if (socket !== this.pusher?.connection.connection?.transport?.socket) {
      // pusher-js claims a socket after its first frame.
      const waiting = this.early.get(socket) ?? [];
      if (waiting.length < 4) this.early.set(socket, [...waiting, heard]);
      return;
    }
    for (const first of this.early.get(socket) ?? []) this.tell('frame', first);
    this.early.delete(socket);
    this.tell('frame', heard);
    if (direction !== 'in' || frame === null) return;
    this.frame = frame;
    switch (frame.event) {
      case 'pusher_internal:subscription_succeeded':
        if (frame.resume?.count > 0) this.replaying.add(frame.channel);
        else this.replaying.delete(frame.channel);
        this.left.set(frame.channel, this.latest.get(frame.channel));
        if (!this.latest.has(frame.channel)) this.latest.set(frame.channel, frame.position);
        break;
      case 'playhead:replayed':
      case 'playhead:gap':
        this.replaying.delete(frame.channel);
        break;
      case 'pusher:signin_success':
        this.tell('user', this.me.id);
        break;
      default:
    }
  }

  // arrive has what reaches the application.
  arrive(name, event, data) {
    const at = now();
    switch (event) {
      case 'pusher:subscription_succeeded':
        this.tell('subscribed', { channel: name, position: this.frame?.position ?? '', resume: this.frame?.resume, at });
        this.tellMembers(name);
        return;
      case 'pusher:subscription_error':
        this.tell('refused', { channel: name, why: data?.error ?? data?.type ?? 'refused' });
        return;
      case 'pusher:subscription_count':
        this.tell('note', { channel: name, subscribers: data.subscription_count, at });
        return;
      case 'pusher:cache_miss':
        this.tell('note', { channel: name, text: 'nothing cached', at });
        return;
      case 'pusher:member_added':
      case 'pusher:member_removed':
        this.tellMembers(name);
        this.tell('note', {
          channel: name,
          text: `${data.info?.name ?? data.id} ${event === 'pusher:member_added' ? 'joined' : 'left'}`,
          at,
        });
        return;
      case 'playhead:replayed':
        this.tell('returned', { channel: name, count: data.count, at });
        return;
      case 'playhead:gap':
        this.tell('gap', { channel: name, reason: data.reason, at });
        return;
      default:
    }
    if (/^(pusher|pusher_internal|playhead):/.test(event)) return;
    const frame = this.frame?.channel === name && this.frame.event === event ? this.frame : {};
    if (frame.position) this.latest.set(name, frame.position);
    this.tell('event', {
      channel: name,
      event,
      text: kindOf(name).encrypted || typeof frame.data !== 'string' ? JSON.stringify(data) : frame.data,
      id: frame.id,
      position: frame.position ?? '',
      user: frame.user_id,
      how: this.replaying.has(name) ? 'replayed' : 'live',
      at,
    });
  }

  tellMembers(name) {
    const { members } = this.pusher.channel(name) ?? {};
    if (!members) return;
    const list = [];
    members.each(({ id, info }) => list.push({ id, info, me: id === this.me.id }));
    this.tell('members', { channel: name, list });
  }
}

// explain finds the words in an error of pusher-js, which wraps them differently each time.
function explain(err) {
  const data = err?.data ?? err?.error?.data;
  if (data?.message) return data.code ? `${data.message} (${data.code})` : data.message;
  return err?.error?.message ?? 'The connection broke';
}

function storage() {
  try {
    return window.sessionStorage;
  } catch {
    return undefined; // it is forbidden
  }
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}
