// The road between clients and the node: bytes pass, until a test cuts it.
'use strict';

const net = require('node:net');
const { address } = require('./clients');

class Road {
  constructor() {
    this.open = true;
    this.stalled = false;
    this.pairs = new Set(); // of sockets: the client's and the node's
    this.waiting = new Set(); // clients that came while the road was cut
    this.left = Infinity; // bytes that still pass to clients
    this.server = net.createServer((client) => {
      client.on('error', () => {});
      if (this.open) this.join(client);
      else this.waiting.add(client);
    });
  }

  async listen() {
    await new Promise((resolve) => { this.server.listen(0, '127.0.0.1', resolve); });
    this.port = this.server.address().port;
    return this;
  }

  join(client) {
    const node = net.connect(address.port, address.host);
    const pair = [client, node];
    this.pairs.add(pair);
    const end = () => {
      this.pairs.delete(pair);
      for (const socket of pair) socket.destroy();
    };
    for (const socket of pair) socket.on('error', end).on('close', end).setNoDelay();
    client.on('data', (bytes) => { if (!this.stalled) node.write(bytes); });
    node.on('data', (bytes) => {
      if (!this.pairs.has(pair)) return;
      if (bytes.length < this.left) {
        this.left -= bytes.length;
        client.write(bytes);
        return;
      }
      // The client gets these and then the end.
      client.end(bytes.subarray(0, this.left));
      this.left = Infinity;
      this.pairs.delete(pair);
      node.destroy();
    });
  }

  // cut ends all connections at once. Who comes back has to wait for mend.
  cut() {
    this.open = false;
    for (const pair of this.pairs) for (const socket of pair) socket.destroy();
    this.pairs.clear();
  }

  // mend lets everything pass again.
  mend() {
    this.open = true;
    this.stalled = false;
    for (const client of this.waiting) if (!client.destroyed) this.join(client);
    this.waiting.clear();
  }

  // cutAfter lets so many bytes pass to clients and then ends the connection, in the middle of a
  // frame if it comes so.
  cutAfter(bytes) { this.left = bytes; }

  // stall keeps from the node what clients send from now on.
  stall() { this.stalled = true; }

  close() {
    this.cut();
    for (const client of this.waiting) client.destroy();
    this.server.close();
  }
}

// withRoad hands the test a road and ends it.
async function withRoad(body) {
  const road = await new Road().listen();
  try {
    await body(road);
  } finally {
    road.close();
  }
}

module.exports = { withRoad };
