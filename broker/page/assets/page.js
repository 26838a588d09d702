// The test page: what it shows is what an application with two lines of set-up gets.
import { settings } from './ask.js';
import { Channels } from './channels.js';
import { Client } from './client.js';
import { Comparison } from './comparison.js';
import { Composer } from './composer.js';
import { byId, clock, count, el, now, random } from './dom.js';
import { Feed } from './feed.js';
import { avatar, identity } from './identity.js';
import { kindOf } from './kinds.js';
import { Outbox } from './outbox.js';
import { Proof } from './proof.js';
import { Story } from './story.js';
import { Timeline } from './timeline.js';
import { lastVisit } from './visit.js';

const demo = 'demo'; // the channel of the ticks
const me = identity();
const story = new Story();

class Page {
  constructor({ app, key, client_events: clientEvents }) {
    this.feed = new Feed(byId('events'), byId('no-events'));
    this.timeline = new Timeline(byId('timeline'), (channel, id) => this.pick(channel, id));
    this.outbox = new Outbox(app, (what, publish) => this.published(what, publish));
    this.client = new Client({ key, me, replay: true, tell: (what, detail) => this.hear(what, detail) });
    this.proof = new Proof(this.outbox.sent);
    this.comparison = null;
    this.key = key;
    this.known = new Set(); // channels that have been subscribed to before
    this.next = new Map(); // where to read on in each channel's past
    this.leftAt = lastVisit();
    this.missed = null; // ids published during the cut, while there is one
    this.channels = new Channels({
      choose: (channel) => this.choose(channel),
      subscribe: (channel) => this.subscribe(channel),
      unsubscribe: (channel) => this.unsubscribe(channel),
    });
    this.composer = new Composer({
      publish: (ask) => this.publish(ask),
      trigger: (channel, event, data) => this.trigger(channel, event, data),
    }, clientEvents);
    this.frames = [];
    this.ticks = 0;
    this.foreignTick = 0;
    this.controls();
    this.subscribe(demo);
    this.compare(true);
    this.subscribe('presence-demo');
    this.channels.choose(demo);
    setInterval(() => this.tick(), 1000);
  }

  controls() {
    const seconds = byId('seconds');
    const sayCut = () => {
      byId('cut').textContent = `Cut for ${seconds.value} s`;
    };
    seconds.addEventListener('input', sayCut);
    sayCut();
    byId('cut').addEventListener('click', () => this.cut(Number(seconds.value) * 1000));
    byId('connect').addEventListener('click', () => (this.away ? this.connect() : this.disconnect()));
    byId('compare').addEventListener('change', (change) => this.compare(change.target.checked));
    byId('earlier').addEventListener('click', () => this.loadEarlier());
    byId('sign-in').addEventListener('click', () => this.client.signIn());
    for (const choice of document.querySelectorAll('input[name=view]')) {
      choice.addEventListener('change', () => this.timeline.show(Number(choice.value) * 1000));
    }
    byId('frames').addEventListener('toggle', () => this.showFrames());
    byId('me').append(avatar(me.id, me, true));
  }

  // hear has what the client tells.
  hear(what, detail) {
    switch (what) {
      case 'state': return this.state(detail);
      case 'event': return this.event(detail);
      case 'subscribed': return this.subscribed(detail);
      case 'returned': return this.returned(detail);
      case 'gap': return this.gap(detail);
      case 'refused':
        this.channels.say(detail.channel, 'bad', detail.why);
        return this.feed.add({ channel: detail.channel, note: `refused: ${detail.why}`, tone: 'bad', at: now() });
      case 'note':
        if (detail.subscribers) return this.channels.say(detail.channel, 'ok', `${detail.subscribers} here`);
        return this.feed.add({ channel: detail.channel, note: detail.text, at: detail.at });
      case 'members': return this.members(detail);
      case 'user': return this.signedIn();
      case 'error':
        byId('error').textContent = detail;
        return undefined;
      case 'frame': return this.heardFrame(detail);
      default: return undefined;
    }
  }

  state(state) {
    byId('state').textContent = state;
    byId('state').title = state === 'connected' ? `socket ${this.client.socketId}` : '';
    byId('state').dataset.state = state;
    if (state === 'connected') {
      this.away = false;
      this.backAt = now();
      byId('error').textContent = '';
      if (!this.channels.has(demo)) this.missed = null;
    } else if (this.started) {
      if (!this.missed) {
        this.missed = new Set();
        this.cutAt = now();
        this.proof.begin();
      }
      this.replayed = undefined;
      for (const channel of this.channels.rows.keys()) {
        this.timeline.lanes.get(channel)?.cut(now());
        this.channels.say(channel, 'wait', '…');
      }
      story.cut(this.missed.size);
    } else {
      story.connecting();
    }
    byId('connect').textContent = this.away ? 'Connect' : 'Disconnect';
    byId('cut').disabled = state !== 'connected';
  }

  cut(ms) {
    // The whole of it should be seen afterwards.
    const views = [...document.querySelectorAll('input[name=view]')];
    const wide = views.find((view) => view.value * 1000 >= this.timeline.view && view.value * 600 >= ms);
    if (wide && !wide.checked) wide.click();
    this.disconnect();
    const until = now() + ms;
    this.countdown = setInterval(() => {
      const left = until - now();
      const text = `cut · back in ${Math.ceil(left / 1000)} s`;
      if (left <= 0) this.connect();
      else if (byId('state').textContent !== text) byId('state').textContent = text; // it is read out
    }, 50);
  }

  disconnect() {
    this.away = true;
    this.client.disconnect();
    this.comparison?.client.disconnect();
  }

  connect() {
    clearInterval(this.countdown);
    this.away = false;
    this.comparison?.client.connect();
    this.client.connect();
  }

  subscribe(channel) {
    this.channels.add(channel);
    const lane = this.timeline.lane(channel, channel, channel === demo ? 'with replay' : kindOf(channel).name.toLowerCase());
    if (this.leftAt && !this.started) lane.cut(this.leftAt);
    try {
      this.client.subscribe(channel);
    } catch (err) {
      this.channels.say(channel, 'bad', err.message);
    }
  }

  unsubscribe(channel) {
    this.client.unsubscribe(channel);
    this.timeline.remove(channel);
    this.feed.remove(channel);
    this.known.delete(channel);
    this.next.delete(channel);
    if (channel === demo) {
      byId('compare').checked = false;
      this.compare(false);
    }
    document.querySelector(`[data-members="${CSS.escape(channel)}"]`)?.remove();
  }

  // compare adds a client that only has pusher-js, or takes it away.
  compare(wanted) {
    this.comparison?.end();
    this.comparison = null;
    if (!wanted || !this.channels.has(demo)) return;
    this.comparison = new Comparison({
      key: this.key, me, channel: demo, timeline: this.timeline, outbox: this.outbox, back: () => this.tellBack(),
    });
    if (this.away) this.comparison.client.disconnect();
  }

  published(what, publish) {
    for (const lane of this.timeline.lanes.values()) {
      if (lane.channel !== publish.channel) continue;
      if (what === 'failed') lane.drop(publish.id);
      else if (what === 'sent' && !lane.has(publish.id) && publish.exclude !== this.client.socketId) lane.mark(publish.id, publish.at, 'ghost', publish.event);
    }
    if (what === 'sent' && publish.foreign && publish.channel === demo && publish.event === 'tick') this.foreignTick = now();
    if (this.missed && publish.channel === demo && this.started) {
      if (what === 'sent') this.missed.add(publish.id);
      if (what === 'failed') this.missed.delete(publish.id);
      if (!this.client.connected) story.cut(this.missed.size);
    }
  }

  event(e) {
    const sentAt = this.outbox.at(e.id);
    this.feed.add({ ...e, sentAt });
    this.channels.seen(e.channel);
    if (e.channel === demo && e.event === 'tick' && e.how === 'live' && !sentAt) this.foreignTick = now(); // in another browser
    const lane = this.timeline.lanes.get(e.channel);
    if (!lane) return;
    if (e.channel === demo && e.id) this.proof.came(e.id, ['live', 'replayed'].includes(lane.has(e.id)));
    lane.mark(e.id ?? random(), sentAt ?? e.at, e.how, `${e.event} ${e.text.slice(0, 80)}`);
  }

  subscribed({ channel, position, resume, at }) {
    if (channel === demo && !this.started) {
      this.started = true;
      story.live();
    }
    this.channels.say(channel, 'ok', '');
    this.feed.add({ channel, note: 'subscribed', position, at });
    // One that had no position to come back with, or that nothing comes back to: it begins here.
    if (!resume || (!this.known.has(channel) && ['invalid', 'unsupported'].includes(resume.reason))) {
      this.timeline.lanes.get(channel)?.begin();
      if (channel === demo) this.missed = null;
    }
    this.known.add(channel);
  }

  async returned({ channel, count: number, at }) {
    this.feed.add({ channel, note: `back: ${count(number, 'event')} replayed`, tone: 'back', at });
    await this.date(channel, number);
    const lane = this.timeline.lanes.get(channel);
    if (channel === demo && lane) this.comparison?.compare(lane);
    lane?.back(at, number);
    if (kindOf(channel).own) this.channels.say(channel, 'ok', 'yours');
    if (channel === demo) {
      this.missed = null;
      if (number === 0 && !this.cutAt) return; // the page was loaded again, and that was all
      this.replayed = number;
      this.tellBack();
    }
  }

  // date finds out when what was replayed had been published, where this browser doesn't know.
  async date(channel, number) {
    const lane = this.timeline.lanes.get(channel);
    const unknown = [...lane?.dots ?? []].filter(([id, dot]) => dot.state === 'replayed' && !dot.back && !this.outbox.at(id));
    if (unknown.length === 0) return;
    try {
      // Some of these were none of this client's, and weren't replayed.
      const { items } = await this.client.history(channel, { after: this.client.left.get(channel), limit: Math.min(number + 20, 1000) });
      for (const item of items) {
        const dot = lane.dots.get(item.id);
        if (dot?.state !== 'replayed' || dot.back || this.outbox.at(item.id)) continue;
        lane.mark(item.id, item.time_ms, 'replayed', `${item.event} ${item.text.slice(0, 80)}`);
        this.feed.know(channel, item.id, { sentAt: item.time_ms });
      }
    } catch {
      // Then they stand where they arrived.
    }
  }

  tellBack() {
    if (this.replayed === undefined || !this.client.connected) return;
    const lost = this.comparison?.lost(this.cutAt) ?? 0;
    const own = this.timeline.lanes.get(demo);
    const wrong = this.proof.wrong(demo, this.client.socketId, this.cutAt, this.backAt, (id) => ['live', 'replayed'].includes(own?.has(id)));
    story.back(this.replayed, lost, wrong);
  }

  gap({ channel, reason, at }) {
    this.feed.add({ channel, note: `gap: ${reason}`, tone: 'bad', at });
    this.timeline.lanes.get(channel)?.gap(at, reason);
    if (kindOf(channel).own) this.channels.say(channel, 'ok', 'yours');
    if (channel === demo) {
      this.missed = null;
      story.gap(reason);
    }
  }

  // tick publishes an event a second, for all tabs together.
  tick() {
    if (!byId('ticking').checked || now() - this.foreignTick < 1500 || !this.started) return;
    // While both clients are on their way back, what is published would be missed by the one and not
    // by the other, as chance has it.
    if (!this.away && this.missed) return;
    this.ticks += 1;
    const text = JSON.stringify({ n: this.ticks, at: clock(now()).slice(0, 8) });
    this.outbox.publish({ channel: demo, event: 'tick', text }).then(() => {
      byId('error').textContent = '';
    }, (err) => {
      byId('error').textContent = `Not published: ${err.message}`;
    });
  }

  publish({ channel, event, text, others }) {
    const sealed = kindOf(channel).encrypted ? this.client.seal(channel, text) : text;
    return this.outbox.publish({ channel, event, text: sealed, exclude: others ? this.client.socketId : undefined });
  }

  trigger(channel, event, data) {
    if (!this.client.connected) return false;
    const sent = this.client.trigger(channel, event, data);
    if (sent) this.feed.add({ channel, event, text: typeof data === 'string' ? data : JSON.stringify(data), position: '', how: 'own', at: now() });
    return sent;
  }

  async loadEarlier() {
    const channel = this.channels.chosen;
    const button = byId('earlier');
    button.disabled = true;
    try {
      const before = this.next.get(channel) ?? this.feed.oldest(channel);
      const page = await this.client.history(channel, { limit: 20, before });
      if (page.next) this.next.set(channel, page.next);
      let added = 0;
      for (const item of page.items) {
        const record = { channel, event: item.event, text: item.text, id: item.id, position: item.position, user: item.user_id, how: 'history', at: item.time_ms, sentAt: item.time_ms };
        if (!this.feed.addEarlier(record)) continue;
        added += 1;
        if (item.time_ms > now() - 600_000) this.timeline.lanes.get(channel)?.mark(item.id, item.time_ms, 'history', item.event);
      }
      byId('past').textContent = page.has_more ? `${count(added, 'event')} read back` : 'That is all the log has';
    } catch (err) {
      byId('past').textContent = err.message;
    } finally {
      button.disabled = false;
    }
  }

  choose(channel) {
    this.feed.show(channel);
    byId('chosen').textContent = channel === '' ? 'all channels' : channel;
    byId('past').textContent = '';
    byId('earlier').hidden = channel === '' || Boolean(kindOf(channel).own);
    if (channel !== '') this.composer?.to(channel);
  }

  pick(channel, id) {
    if (this.channels.chosen !== channel && this.channels.chosen !== '') this.channels.choose(channel);
    this.feed.point(channel, id);
  }

  members({ channel, list }) {
    let group = document.querySelector(`[data-members="${CSS.escape(channel)}"]`);
    if (!group) {
      group = el('section', { 'data-members': channel }, el('h3', {}), el('ul', { class: 'members' }));
      byId('presence').append(group);
    }
    group.querySelector('h3').textContent = `${channel} · ${list.length}`;
    group.querySelector('ul').replaceChildren(...list.map(({ id, info, me: mine }) => avatar(id, info, mine)));
    this.channels.say(channel, 'ok', `${list.length} here`);
  }

  signedIn() {
    const own = `#server-to-user-${me.id}`;
    byId('sign-in').disabled = true;
    byId('sign-in').textContent = 'Signed in';
    if (this.channels.has(own)) return;
    this.channels.add(own);
    this.channels.say(own, 'ok', 'yours');
    this.timeline.lane(own, own, 'you alone');
  }

  heardFrame(frame) {
    this.frames.push(frame);
    if (this.frames.length > 150) this.frames.shift();
    if (byId('frames').open) this.showFrames();
  }

  showFrames() {
    byId('frame-list').replaceChildren(...this.frames.map(({ direction, text, at }) => el('li', { class: direction },
      el('time', {}, clock(at)), el('span', { class: 'arrow', title: direction }, direction === 'in' ? '←' : '→'), el('code', {}, text))).reverse());
  }
}

story.connecting();
settings().then((found) => new Page(found), (err) => story.broken(err.message));
