// What the page publishes, and what the other tabs of this browser do: to tell how long an event was
// under way one must know when it set out, and what has been published while one was away.
import { post } from './ask.js';
import { now, random } from './dom.js';

const most = 2000;

// Outbox calls told(what, publish): "sent" before it leaves, here or in another tab; then "stored",
// or "failed".
export class Outbox {
  constructor(app, told) {
    this.told = told;
    this.sent = new Map(); // by id, oldest first
    this.tabs = new BroadcastChannel(`playhead ${app}`);
    this.tabs.onmessage = ({ data: { what, publish } }) => this.note(what, { ...publish, foreign: true });
  }

  // publish publishes and returns the server's answer. The id is made here, as an idempotency key: so
  // it is known before the event comes back, which may be sooner than the answer.
  async publish({ channel, event, text, exclude }) {
    const publish = { id: random(), channel, event, text, exclude, at: now() };
    this.tell('sent', publish);
    try {
      const answer = await post('publish', {
        channel, event, data: text, socket_id: exclude, idempotency_key: publish.id,
      });
      this.tell('stored', { ...publish, storedAt: now() });
      return answer;
    } catch (err) {
      this.tell('failed', publish);
      throw err;
    }
  }

  tell(what, publish) {
    this.tabs.postMessage({ what, publish });
    this.note(what, publish);
  }

  note(what, publish) {
    if (what === 'failed') {
      this.sent.delete(publish.id);
    } else {
      this.sent.set(publish.id, publish);
      if (this.sent.size > most) this.sent.delete(this.sent.keys().next().value);
    }
    this.told(what, publish);
  }

  // at returns when an event was published, if it was from this browser.
  at(id) {
    return this.sent.get(id)?.at;
  }
}
