// A strip of time for each channel, moving past the playhead: events as dots where they were
// published, cuts as bands, and what was replayed drawn back to where it belongs.
import { count, el, now, span, svg } from './dom.js';

const height = 96;
const middle = 62; // where the dots are
const right = 30; // from the playhead to the edge
const kept = 10 * 60_000; // ms, the longest view
const most = 900; // dots of a lane

// States of a dot, and what they are called.
const words = {
  ghost: 'published, not seen here yet', live: 'live', replayed: 'replayed', history: 'read back', lost: 'lost',
};

export class Timeline {
  constructor(root, pick) {
    this.root = root;
    this.lanes = new Map();
    this.base = now(); // where x is 0
    this.view = 15_000; // ms
    this.width = 600;
    this.still = matchMedia('(prefers-reduced-motion: reduce)');
    this.axis = svg('svg', { class: 'axis', height: 20, 'aria-hidden': 'true' });
    this.tail = el('div', { class: 'lane axis-lane' }, el('div', { class: 'lane-name' }), this.axis);
    root.append(this.tail);
    root.addEventListener('click', (click) => {
      const dot = click.target.closest?.('[data-id]');
      if (dot) pick(dot.closest('[data-lane]').dataset.channel, dot.dataset.id);
    });
    new ResizeObserver(() => this.measure()).observe(this.axis);
    this.drawn = 0;
    const draw = (time) => {
      // Who wants less motion sees the strips move once a second.
      if (!this.still.matches || time - this.drawn > 1000) {
        this.drawn = time;
        this.draw();
      }
      requestAnimationFrame(draw);
    };
    requestAnimationFrame(draw);
  }

  lane(key, channel, note) {
    let lane = this.lanes.get(key);
    if (!lane) {
      lane = new Lane(this, key, channel, note);
      this.lanes.set(key, lane);
      this.tail.before(lane.element);
    }
    return lane;
  }

  remove(key) {
    this.lanes.get(key)?.element.remove();
    this.lanes.delete(key);
  }

  show(view) {
    this.view = view;
    this.place();
  }

  measure() {
    const width = this.axis.clientWidth;
    if (width > 0 && width !== this.width) {
      this.width = width;
      this.place();
    }
  }

  get scale() {
    return (this.width - right) / this.view;
  }

  x(at) {
    return (at - this.base) * this.scale;
  }

  // place puts everything where it belongs after the scale has changed.
  place() {
    const parts = this.width >= 500 ? 5 : this.view > 60_000 ? 2 : 3;
    const labels = [];
    for (let i = 0; i <= parts; i += 1) {
      const x = (this.width - right) * (1 - i / parts);
      const text = i === 0 ? 'now' : `−${span((this.view * i) / parts).replace('.0', '')}`;
      labels.push(svg('text', { x, y: 14, 'text-anchor': i === parts ? 'start' : 'middle' }, text));
    }
    this.axis.replaceChildren(...labels);
    for (const lane of this.lanes.values()) lane.place();
    this.draw();
  }

  draw() {
    const time = now();
    const shift = this.width - right - this.x(time);
    for (const lane of this.lanes.values()) lane.draw(shift, time);
  }
}

class Lane {
  constructor(timeline, key, channel, note) {
    this.timeline = timeline;
    this.dots = new Map(); // by id
    this.bands = [];
    this.beneath = svg('g');
    this.arcs = svg('g');
    this.above = svg('g');
    this.moving = svg('g', {}, this.beneath, this.arcs, this.above);
    this.track = svg('line', { class: 'track', x1: 0, y1: middle, y2: middle });
    this.head = svg('g', { class: 'head' },
      svg('line', { y1: 0, y2: height }), svg('path', { d: 'M-6 0h12l-6 9z' }));
    this.drawing = svg('svg', { class: 'strip', height, role: 'img' }, this.track, this.moving, this.head);
    this.element = el('div', { class: 'lane', 'data-lane': key, 'data-channel': channel },
      el('div', { class: 'lane-name' }, el('b', {}, channel), el('span', {}, note)), this.drawing);
    this.channel = channel;
    this.note = note;
    this.place();
    this.describe();
  }

  get open() {
    const last = this.bands.at(-1);
    return last && last.to === null ? last : null;
  }

  // mark puts a dot where an event was published, or changes what is known of it.
  mark(id, at, state, title = '') {
    let dot = this.dots.get(id);
    if (!dot) {
      dot = { group: svg('g', { 'data-id': id }), title: svg('title') };
      dot.group.append(svg('circle', { class: 'halo', r: 11 }), svg('circle', { class: 'core' }), dot.title);
      this.dots.set(id, dot);
      this.above.append(dot.group);
      if (this.dots.size > most) this.drop(this.dots.keys().next().value);
    }
    dot.at = at;
    dot.state = state;
    dot.group.setAttribute('class', `dot ${state}`);
    dot.title.textContent = [title, words[state]].filter(Boolean).join('\n');
    this.put(dot);
    this.describe();
    return dot;
  }

  has(id) {
    return this.dots.get(id)?.state;
  }

  drop(id) {
    const dot = this.dots.get(id);
    dot?.group.remove();
    dot?.arc?.remove();
    this.dots.delete(id);
  }

  // cut begins a band; it grows until back or gap ends it.
  cut(at) {
    if (this.open) return;
    const band = {
      from: at,
      to: null,
      group: svg('g', { class: 'band' }),
      shade: svg('rect', { y: 4, height: height - 8, rx: 5 }),
      label: svg('text', { y: height - 11, 'text-anchor': 'middle' }),
      sign: svg('text', { class: 'sign', y: 15, 'text-anchor': 'end' }),
      edge: svg('line', { class: 'edge', y1: 4, y2: height - 4 }),
    };
    band.group.append(band.shade, band.label, band.edge, band.sign);
    this.bands.push(band);
    this.beneath.append(band.group);
    this.stretch(band, at);
  }

  // begin takes the open band away: there is nothing to come back to.
  begin() {
    if (!this.open) return;
    this.bands.pop().group.remove();
    this.describe();
  }

  // back ends the band: what was missed has arrived.
  back(at, replayed) {
    this.end(at, 'back', replayed === 0 ? 'nothing missed' : count(replayed, 'event replayed', 'events replayed'));
    let n = 0;
    for (const dot of this.dots.values()) {
      if (dot.state !== 'replayed' || dot.back) continue;
      dot.back = at;
      // They arrive together; shown one after the other, the eye can follow.
      dot.arc = svg('path', { class: 'arc', pathLength: 1 });
      for (const e of [dot.group, dot.arc]) e.style.setProperty('--delay', `${Math.min(n * 70, 1400)}ms`);
      this.arcs.append(dot.arc);
      this.put(dot);
      n += 1;
    }
  }

  // gap ends the band: what was missed can't be had.
  gap(at, reason) {
    this.lose(at);
    this.end(at, 'gap', `gap: ${reason}`);
  }

  // plain ends the band of a client that doesn't ask for what it missed.
  plain(at) {
    const band = this.open;
    const lost = this.lose(at);
    this.end(at, 'back', '');
    if (band) this.sign(band, lost);
  }

  // sign says at the edge of a band how many events have been lost in it.
  sign(band, lost) {
    band.group.setAttribute('class', `band ${lost > 0 ? 'gap' : 'back'}`);
    band.sign.textContent = lost > 0 ? `${lost} lost` : 'nothing missed';
  }

  // lose marks what was published up to a time and hasn't been seen here; it returns how many.
  lose(at) {
    let n = 0;
    for (const dot of this.dots.values()) {
      if (dot.state !== 'ghost' || dot.at > at) continue;
      dot.state = 'lost';
      dot.group.setAttribute('class', 'dot lost');
      dot.title.textContent = dot.title.textContent.replace(words.ghost, words.lost);
      n += 1;
    }
    this.describe();
    return n;
  }

  end(at, how, sign) {
    const band = this.open;
    if (!band) return;
    band.to = at;
    band.group.setAttribute('class', `band ${how}`);
    band.sign.textContent = sign;
    this.stretch(band, at);
    this.describe();
  }

  stretch(band, time) {
    const from = this.timeline.x(band.from);
    const to = this.timeline.x(band.to ?? time);
    band.shade.setAttribute('x', from);
    band.shade.setAttribute('width', Math.max(to - from, 1));
    const wide = to - from > 70;
    band.label.textContent = wide ? `cut ${span((band.to ?? time) - band.from)}` : '';
    band.label.setAttribute('x', (from + to) / 2);
    band.edge.setAttribute('x1', to);
    band.edge.setAttribute('x2', to);
    band.sign.setAttribute('x', to - 7);
  }

  put(dot) {
    const x = this.timeline.x(dot.at);
    dot.group.setAttribute('transform', `translate(${x} ${middle})`);
    const r = this.timeline.view <= 15_000 ? 6 : this.timeline.view <= 60_000 ? 4 : 2.5;
    dot.group.children[1].setAttribute('r', r);
    if (!dot.arc) return;
    const end = this.timeline.x(dot.back);
    // Between the dots and the words above, the wider the higher.
    const top = Math.max(8, middle - 24 - (end - x) * 0.2);
    dot.arc.setAttribute('d', `M${end} ${middle - 26}Q${(x + end) / 2} ${top} ${x} ${middle - r - 2}`);
  }

  place() {
    const { width } = this.timeline;
    this.track.setAttribute('x2', width - right);
    this.head.setAttribute('transform', `translate(${width - right} 0)`);
    for (const dot of this.dots.values()) this.put(dot);
    for (const band of this.bands) this.stretch(band, now());
  }

  draw(shift, time) {
    this.moving.setAttribute('transform', `translate(${shift} 0)`);
    if (this.open) this.stretch(this.open, time);
    while (this.bands.length > 0 && this.bands[0].to !== null && this.bands[0].to < time - kept) {
      this.bands.shift().group.remove();
    }
    for (const [id, dot] of this.dots) {
      if (dot.at > time - kept) break; // the others are younger, or were read back
      this.drop(id);
    }
  }

  // describe says for those who don't see it what the strip shows.
  describe() {
    if (this.describing) return;
    this.describing = true;
    queueMicrotask(() => {
      this.describing = false;
      const n = { ghost: 0, live: 0, replayed: 0, history: 0, lost: 0 };
      for (const dot of this.dots.values()) n[dot.state] += 1;
      const parts = Object.entries(n).filter(([, number]) => number > 0).map(([state, number]) => `${number} ${words[state]}`);
      this.drawing.setAttribute('aria-label', `${this.channel}, ${this.note}: ${parts.join(', ') || 'no events'}${this.open ? ', cut' : ''}`);
    });
  }
}
