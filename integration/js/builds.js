// The builds of pusher-js that browsers and workers load, run as they are in contexts that have what
// those have and no more: the network is the WebSocket of package ws.
'use strict';

const { webcrypto } = require('node:crypto');
const { readFileSync } = require('node:fs');
const vm = require('node:vm');
const WebSocket = require('ws');

const nothing = () => {};

function load(file, page) {
  const module = { exports: {} };
  const scope = {
    WebSocket,
    atob,
    btoa,
    clearInterval,
    clearTimeout,
    console,
    crypto: webcrypto,
    setInterval,
    setTimeout,
    TextDecoder,
    TextEncoder,
    URL,
    addEventListener: nothing,
    removeEventListener: nothing,
    location: { protocol: 'http:' },
    navigator: { onLine: true, userAgent: 'test' },
    // The builds look for these before they think of a global.
    module,
    exports: module.exports,
  };
  scope.self = scope;
  if (page) {
    scope.window = scope;
    scope.document = {
      body: {},
      location: scope.location,
      createElement: () => ({}),
      getElementsByTagName: () => [],
    };
  }
  const path = require.resolve(`pusher-js/dist/${file}`);
  vm.runInNewContext(readFileSync(path, 'utf8'), scope, { filename: path });
  return module.exports;
}

// builds maps a build's name to its class.
module.exports = {
  web: load('web/pusher.min.js', true),
  'web with encryption': load('web/pusher-with-encryption.min.js', true),
  worker: load('worker/pusher.worker.min.js', false),
  'worker with encryption': load('worker/pusher-with-encryption.worker.min.js', false),
};
