// A client with nothing but pusher-js, cut off together with the other: what it shows is what most
// applications have.
import { Client } from './client.js';
import { now, random } from './dom.js';

export class Comparison {
  // back is called when the client is back from a cut.
  constructor({ key, me, channel, timeline, outbox, back }) {
    this.timeline = timeline;
    this.outbox = outbox;
    this.key = `plain ${channel}`;
    this.lane = timeline.lane(this.key, channel, 'without replay');
    this.back = back;
    this.known = false; // it has been subscribed before
    this.ended = false;
    this.client = new Client({ key, me, replay: false, tell: (what, detail) => this.hear(what, detail) });
    this.client.subscribe(channel);
  }

  end() {
    this.ended = true;
    this.client.disconnect();
    this.timeline.remove(this.key);
  }

  hear(what, detail) {
    if (this.ended) return;
    if (what === 'state' && detail !== 'connected' && this.known) this.lane.cut(now());
    if (what === 'event') this.lane.mark(...this.match(detail), 'live', detail.event);
    if (what === 'subscribed') {
      this.known = true;
      this.lane.plain(detail.at);
      this.back();
    }
  }

  // match finds which event it was that came without an id, and when it was published.
  match({ channel, event, text, at }) {
    for (const publish of this.outbox.sent.values()) {
      const state = this.lane.has(publish.id);
      if ((state === 'ghost' || state === 'lost') && publish.channel === channel && publish.event === event && publish.text === text) {
        return [publish.id, publish.at];
      }
    }
    return [random(), at];
  }

  // compare marks what was replayed to the other client and has been lost here. What this browser
  // published is marked already.
  compare(other) {
    const cut = this.lane.bands.at(-1);
    if (!cut) return;
    for (const [id, dot] of other.dots) {
      if (dot.state !== 'replayed' || dot.back || this.lane.has(id)) continue;
      if (dot.at >= cut.from && dot.at < (cut.to ?? now())) this.lane.mark(id, dot.at, cut.to ? 'lost' : 'ghost');
    }
    if (cut.to) this.lane.sign(cut, this.lost(cut.from));
  }

  // lost returns how many events since a cut will never come.
  lost(cutAt) {
    return [...this.lane.dots.values()].filter((dot) => dot.state === 'lost' && dot.at >= cutAt - 1000).length;
  }
}
