// One sentence on what is going on.
import { byId, count } from './dom.js';

const reasons = {
  expired: 'the log has forgotten what comes after this client’s position',
  reset: 'the stream was made anew, and positions of its former life mean nothing',
  ahead: 'this client’s position lies beyond the end of the stream',
  too_far: 'more was missed than one replay may bring',
  unavailable: 'the log can’t be read right now',
  unsupported: 'this medium has no memory',
  invalid: 'this server didn’t give out that position',
};

export class Story {
  constructor() {
    this.head = byId('story-head');
    this.text = byId('story-text');
    this.box = byId('story');
  }

  tell(tone, head, text) {
    this.box.dataset.tone = tone;
    // Set only when it changes: it is read out.
    if (this.head.textContent !== head) this.head.textContent = head;
    if (this.text.textContent !== text) this.text.textContent = text;
  }

  connecting() {
    this.tell('wait', 'Connecting…', 'The page signs, publishes and subscribes by itself. There is nothing to set up.');
  }

  live() {
    this.tell('live', 'Live.', 'Every event is stored before anybody hears of it. Now cut the connection, and see what becomes of what you miss.');
  }

  cut(missed) {
    this.tell('cut', 'Cut.', missed === 0 ? 'Publishing goes on without you.' : `${count(missed, 'event has', 'events have')} been published without you.`);
  }

  // back says what came of a cut: how many events were replayed, how many the other client lost, and
  // what is wrong with it, which is nothing.
  back(replayed, lost, wrong) {
    const all = replayed === 0 ? 'Nothing was missed.'
      : `${count(replayed, 'missed event was', 'missed events were')} replayed`;
    if (wrong.length > 0) {
      this.tell('gap', 'Back, but not whole.', `${all}, but ${wrong.join(' and ')}. This must not happen.`);
      return;
    }
    const whole = replayed === 0 ? all : `${all}, oldest first, none twice.`;
    this.tell('back', 'Back.', lost > 0 ? `${whole} The client without replay lost ${lost}.` : whole);
  }

  gap(reason) {
    this.tell('gap', 'Back, with a gap.', `The server says so, instead of keeping silent: ${reasons[reason] ?? reason}. An application fetches its state anew.`);
  }

  broken(text) {
    this.tell('gap', 'Not connected.', text);
  }
}
