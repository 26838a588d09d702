// WebSockets that can be listened in on. Applications have no use for this; the page shows what
// pusher-js keeps to itself: frames as they came, with the ids and positions of their events.

const Native = window.WebSocket;

// listeners are called with each frame before pusher-js has it.
const listeners = new Set();

class TappedSocket extends Native {
  constructor(...args) {
    super(...args);
    this.addEventListener('message', (message) => this.tell('in', message.data));
  }

  send(text) {
    this.tell('out', text);
    super.send(text);
  }

  tell(direction, text) {
    let frame = null;
    try {
      frame = JSON.parse(text);
    } catch {
      // No server sends one; it is shown as it is.
    }
    for (const listener of listeners) listener(this, direction, frame, text);
  }
}

window.WebSocket = TappedSocket;

// tap calls a listener with (socket, direction, frame, text) until the returned function is called.
export function tap(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
