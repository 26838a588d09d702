// The channels that the page is subscribed to: to choose one, leave it, or join another.
import { byId, el } from './dom.js';
import { kindOf, kinds } from './kinds.js';

export class Channels {
  // act has choose(channel), subscribe(channel) and unsubscribe(channel).
  constructor(act) {
    this.act = act;
    this.list = byId('channels');
    this.rows = new Map();
    this.chosen = '';
    const kind = byId('kind');
    const name = byId('channel-name');
    const prefix = byId('prefix');
    kind.append(...kinds.filter((k) => !k.own).reverse().map((k) => el('option', { value: k.prefix }, k.name)));
    kind.addEventListener('change', () => {
      prefix.textContent = kind.value;
    });
    byId('subscribe').addEventListener('submit', (submit) => {
      submit.preventDefault();
      const channel = kind.value + name.value.trim();
      if (!this.rows.has(channel)) act.subscribe(channel);
      this.choose(channel);
      name.value = '';
    });
    this.all = el('button', { type: 'button', class: 'channel-choose', onclick: () => this.choose('') }, 'All channels');
    this.list.append(el('li', { class: 'channel', 'data-channel': '' }, this.all));
  }

  add(channel) {
    const row = {
      status: el('span', { class: 'status' }, '…'),
      number: el('span', { class: 'number', title: 'events seen' }),
      events: 0,
    };
    row.choose = el('button', { type: 'button', class: 'channel-choose', onclick: () => this.choose(channel) },
      el('span', { class: 'channel-title' }, channel),
      el('span', { class: 'kind' }, kindOf(channel).name.toLowerCase()), row.status, row.number);
    row.element = el('li', { class: 'channel', 'data-channel': channel }, row.choose);
    if (!kindOf(channel).own) {
      row.element.append(el('button', {
        type: 'button', class: 'leave', 'aria-label': `Unsubscribe from ${channel}`, title: 'Unsubscribe', onclick: () => this.remove(channel),
      }, '×'));
    }
    this.rows.set(channel, row);
    this.list.append(row.element);
    byId('known').append(el('option', { value: channel }));
  }

  has(channel) {
    return this.rows.has(channel);
  }

  remove(channel) {
    this.rows.get(channel)?.element.remove();
    this.rows.delete(channel);
    for (const option of byId('known').children) {
      if (option.value === channel) option.remove();
    }
    this.act.unsubscribe(channel);
    if (this.chosen === channel) this.choose('');
  }

  choose(channel) {
    this.chosen = channel;
    for (const { choose } of [{ choose: this.all }, ...this.rows.values()]) choose.removeAttribute('aria-current');
    (this.rows.get(channel)?.choose ?? this.all).setAttribute('aria-current', 'true');
    this.act.choose(channel);
  }

  // say shows how a subscription stands; tone is ok, wait or bad.
  say(channel, tone, text) {
    const row = this.rows.get(channel);
    if (!row) return;
    row.element.dataset.tone = tone;
    row.status.textContent = text;
    row.status.title = text;
  }

  seen(channel) {
    const row = this.rows.get(channel);
    if (!row) return;
    row.events += 1;
    row.number.textContent = row.events;
  }
}
