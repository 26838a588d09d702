// The list of what happened, newest first, of one channel or of all.
import { clock, el, short, span } from './dom.js';

const most = 400; // records of a channel that come by themselves; what is read back comes on top

export class Feed {
  constructor(list, empty) {
    this.list = list;
    this.empty = empty;
    this.records = new Map(); // by channel, in the order of the log
    this.byId = new Map(); // by channel and id
    this.loaded = new Map(); // by channel, how many were read back
    this.shown = ''; // a channel; all of them when empty
    this.counts = { newest: 0, oldest: 0 };
    list.addEventListener('click', (click) => {
      const button = click.target.closest('button.data');
      if (!button) return;
      button.setAttribute('aria-expanded', String(button.getAttribute('aria-expanded') !== 'true'));
    });
  }

  // add puts a record at the newer end. A record has a channel and either the text of a note, or an
  // event with what is known of it.
  add(record) {
    this.counts.newest += 1;
    const all = this.of(record.channel);
    all.push(record);
    this.keep(record, this.counts.newest);
    if (all.length > most + this.loaded.get(record.channel)) this.forget(all.shift());
  }

  // addEarlier puts a record at the older end, unless it is there already.
  addEarlier(record) {
    if (record.id && this.byId.has(`${record.channel}\n${record.id}`)) return false;
    this.counts.oldest -= 1;
    this.of(record.channel).unshift(record);
    this.keep(record, this.counts.oldest);
    this.loaded.set(record.channel, this.loaded.get(record.channel) + 1);
    return true;
  }

  of(channel) {
    if (!this.records.has(channel)) {
      this.records.set(channel, []);
      this.loaded.set(channel, 0);
    }
    return this.records.get(channel);
  }

  keep(record, order) {
    record.order = order;
    if (record.id) this.byId.set(`${record.channel}\n${record.id}`, record);
    if (this.shown !== '' && this.shown !== record.channel) return;
    record.row = this.row(record);
    if (order > 0) this.list.prepend(record.row);
    else this.list.append(record.row);
    this.empty.hidden = true;
  }

  forget(record) {
    record.row?.remove();
    if (record.id) this.byId.delete(`${record.channel}\n${record.id}`);
  }

  // know adds to what is known of an event.
  know(channel, id, more) {
    const record = this.byId.get(`${channel}\n${id}`);
    if (!record) return;
    Object.assign(record, more);
    if (!record.row?.isConnected) return;
    const row = this.row(record);
    record.row.replaceWith(row);
    record.row = row;
  }

  // oldest returns the position before which a channel's past is to be read.
  oldest(channel) {
    return this.records.get(channel)?.find((record) => record.id && record.position)?.position;
  }

  show(channel) {
    this.shown = channel;
    const all = channel === '' ? [...this.records.values()].flat() : this.records.get(channel) ?? [];
    const sorted = [...all].sort((a, b) => b.order - a.order);
    for (const record of sorted) record.row = this.row(record);
    this.list.replaceChildren(...sorted.map((record) => record.row));
    this.empty.hidden = sorted.length > 0;
  }

  // remove forgets a channel.
  remove(channel) {
    for (const record of this.records.get(channel) ?? []) this.forget(record);
    this.records.delete(channel);
    this.empty.hidden = this.list.childElementCount > 0;
  }

  // point shows where an event is in the list.
  point(channel, id) {
    const row = this.byId.get(`${channel}\n${id}`)?.row;
    if (!row?.isConnected) return;
    row.scrollIntoView({ block: 'center', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
    row.classList.add('pointed');
    setTimeout(() => row.classList.remove('pointed'), 1600);
  }

  row(record) {
    const name = this.shown === '' ? el('span', { class: 'chan' }, record.channel) : null;
    const time = record.sentAt ?? record.at;
    if (record.note) {
      return el('li', { class: `note ${record.tone ?? ''}` },
        el('time', {}, clock(time)), el('span', { class: 'said' }, record.note), name,
        record.position ? position(record.position) : null);
    }
    return el('li', { class: `event ${record.how}`, 'data-id': record.id, 'data-how': record.how },
      el('time', { title: record.sentAt ? 'published' : 'arrived' }, clock(time)),
      el('span', { class: 'what' }, el('span', { class: 'name' }, record.event), name),
      el('button', { class: 'data', type: 'button', 'aria-expanded': 'false', title: 'Show all' }, record.text),
      record.position ? position(record.position) : el('span', { class: 'pos' }),
      el('span', { class: 'late' }, ...lateness(record)));
  }
}

function position(text) {
  return el('code', { class: 'pos', title: `position ${text}` }, short(text));
}

// lateness says how an event came, and how long after it was published.
function lateness({ how, at, sentAt, user }) {
  const from = user ? [el('span', { class: 'tag' }, user)] : [];
  switch (how) {
    case 'replayed':
      return [...from, el('span', { class: 'tag replayed' }, sentAt ? `replayed ${span(at - sentAt)} later` : 'replayed')];
    case 'history':
      return [...from, el('span', { class: 'tag' }, 'read back')];
    case 'own':
      return [...from, el('span', { class: 'tag' }, 'sent from here')];
    default:
      return [...from, sentAt ? el('span', { class: 'ms', title: 'from publishing to arriving here' }, span(at - sentAt)) : ''];
  }
}
