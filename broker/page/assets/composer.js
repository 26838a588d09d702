// The form to publish with: as a backend over HTTP, or as a client over the connection.
import { byId, short, span } from './dom.js';
import { kindOf } from './kinds.js';

export class Composer {
  // act has publish({channel, event, text, exclude}) and trigger(channel, event, data).
  constructor(act, clientEvents) {
    this.act = act;
    this.clientEvents = clientEvents;
    this.channel = byId('to');
    this.event = byId('event');
    this.text = byId('data');
    this.output = byId('outcome');
    this.asClient = byId('as-client');
    byId('publish').addEventListener('submit', (submit) => {
      submit.preventDefault();
      this.publish();
    });
    this.asClient.addEventListener('click', () => this.trigger());
    this.channel.addEventListener('input', () => this.allow());
    this.allow();
  }

  to(channel) {
    this.channel.value = channel;
    this.allow();
  }

  allow() {
    const may = this.clientEvents && kindOf(this.channel.value).clientEvents === true;
    this.asClient.disabled = !may;
    this.asClient.title = may ? 'Send it over the connection; its name gets the prefix client-'
      : 'Only on private and presence channels, where the app allows it';
  }

  async publish() {
    const started = performance.now();
    try {
      const answer = await this.act.publish({
        channel: this.channel.value.trim(),
        event: this.event.value,
        text: this.text.value,
        others: byId('others').checked,
      });
      this.say(true, `Stored in ${span(performance.now() - started)} at ${short(answer.position)}`, `position ${answer.position}`);
    } catch (err) {
      this.say(false, err.message);
    }
  }

  trigger() {
    const channel = this.channel.value.trim();
    const event = this.event.value.startsWith('client-') ? this.event.value : `client-${this.event.value}`;
    let data = this.text.value;
    try {
      data = JSON.parse(data);
    } catch {
      // Text is fine, too.
    }
    try {
      if (!this.act.trigger(channel, event, data)) throw new Error('Not sent: the connection is cut');
      this.say(true, `Sent ${event} to the others`);
    } catch (err) {
      this.say(false, err.message);
    }
  }

  say(well, text, title = '') {
    this.output.textContent = text;
    this.output.title = title;
    this.output.dataset.tone = well ? 'ok' : 'bad';
  }
}
