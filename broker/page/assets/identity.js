// Who this tab is. It stays the same when the page is loaded again; another tab is somebody else.
import { el, random } from './dom.js';

const moods = ['Amber', 'Brave', 'Calm', 'Clever', 'Gentle', 'Happy', 'Keen', 'Lucky', 'Mellow', 'Nimble', 'Quiet', 'Sunny', 'Swift', 'Witty'];
const animals = ['Badger', 'Crane', 'Dolphin', 'Falcon', 'Fox', 'Heron', 'Lynx', 'Marten', 'Otter', 'Owl', 'Panda', 'Raven', 'Seal', 'Wren'];

export function identity() {
  const key = 'playhead.identity';
  try {
    const kept = JSON.parse(sessionStorage.getItem(key));
    // A tab that was duplicated has a copy of what the first one keeps, and isn't a new person
    // until it navigates; two tabs of one person are one member, as they should be.
    if (kept?.id && kept.name) return kept;
  } catch {
    // Storage is off, or has something else there.
  }
  const pick = (list) => list[Math.floor(Math.random() * list.length)];
  const name = `${pick(moods)} ${pick(animals)}`;
  const me = { id: `${name.toLowerCase().replace(' ', '-')}-${random().slice(0, 4)}`, name };
  try {
    sessionStorage.setItem(key, JSON.stringify(me));
  } catch {
    // Then somebody else will be here after a reload.
  }
  return me;
}

// hue gives everybody a colour, the same one in every tab.
function hue(text) {
  let h = 0;
  for (const c of text) h = (h * 31 + c.codePointAt(0)) % 360;
  return h;
}

// avatar shows a member of a presence channel, whoever's application it comes from.
export function avatar(id, info, me) {
  const name = typeof info?.name === 'string' && info.name ? info.name : String(id);
  const initials = name.split(/[\s_-]+/).filter(Boolean).slice(0, 2).map((word) => [...word][0].toUpperCase()).join('');
  const face = el('span', { class: 'face', 'aria-hidden': 'true' }, initials);
  face.style.setProperty('--hue', hue(String(id)));
  return el('li', { class: me ? 'member me' : 'member', title: String(id), 'data-member': String(id) },
    face, el('span', { class: 'member-name' }, me ? `${name} (you)` : name));
}
