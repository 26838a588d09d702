// When this tab had the page open before.
import { now } from './dom.js';

// lastVisit returns when this tab had the page open last, if that isn't long ago, and has the next one
// know of this one.
export function lastVisit() {
  const key = 'playhead.left';
  addEventListener('pagehide', () => {
    try {
      sessionStorage.setItem(key, String(now()));
    } catch {
      // Then the strips begin anew.
    }
  });
  try {
    const at = Number(sessionStorage.getItem(key));
    return at > now() - 600_000 ? at : 0;
  } catch {
    return 0;
  }
}
