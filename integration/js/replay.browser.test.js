// The module and the classic script in pages, as their authors load them: from the node, which is
// another origin than the page's.
'use strict';

const { readFileSync } = require('node:fs');
const http = require('node:http');
const { test } = require('node:test');
const { see, withBrowser } = require('./browser');
const { address, assert, unique } = require('./clients');
const { numbered, steps } = require('./replays');
const { withRoad } = require('./road');

const node = `http://${address.host}:${address.port}`;

const loaders = {
  module: `<script type="module">import { withReplay } from '${node}/replay.js'; start(withReplay);</script>`,
  'classic script': `<script src="${node}/replay.classic.js"></script><script>start(PlayheadReplay.withReplay);</script>`,
};

// html is a page that hears a channel and keeps its place in the session.
function html(port, channel, loader) {
  return `<!doctype html><title>replay</title><link rel="icon" href="data:,"><script src="/pusher.js"></script>
<script>
  const heard = [];
  function start(withReplay) {
    const pusher = withReplay(new Pusher('${address.key}', {
      cluster: '', wsHost: '${address.host}', wsPort: ${port}, forceTLS: false, enabledTransports: ['ws'],
    }), { store: sessionStorage });
    const channel = pusher.subscribe('${channel}');
    channel.bind('step', (data) => { heard.push(['step', data]); if (data.n === 3) throw new Error('a handler broke'); });
    channel.bind('playhead:replayed', ({ count }) => heard.push(['replayed', count]));
    channel.bind('playhead:gap', ({ reason }) => heard.push(['gap', reason]));
    channel.bind('pusher:subscription_succeeded', () => { document.title = 'subscribed'; });
    window.past = async () => (await channel.history({ limit: 2 })).items.map(({ data }) => data.n);
  }
</script>${loader}`;
}

// withPages serves the pages of a site.
async function withPages(pusher, page, body) {
  const server = http.createServer((req, res) => {
    const script = req.url === '/pusher.js';
    res.setHeader('Content-Type', script ? 'text/javascript' : 'text/html');
    res.end(script ? readFileSync(pusher) : page);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  try {
    await body(`http://127.0.0.1:${server.address().port}/`);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

for (const pusher of ['pusher-js-7', 'pusher-js']) for (const [name, loader] of Object.entries(loaders)) {
  test(`${pusher} with the ${name}`, () => withRoad((road) => withBrowser(async (open) => {
    const channel = unique('news');
    await withPages(require.resolve(`${pusher}/dist/web/pusher.js`), html(road.port, channel, loader), async (url) => {
      const page = await open(url);
      page.expected.push(/a handler broke/);
      const heard = (count) => see(page, `${count} things heard`, (n) => heard.length >= n && heard, count);
      await see(page, 'subscription', () => document.title === 'subscribed');
      await steps(channel, 1, 1);
      await heard(1);
      road.cut();
      await steps(channel, 2, 4);
      road.mend();
      assert.deepEqual(await heard(5), [...numbered(1, 4), ['replayed', 3]]);
      // Leaving the page keeps its place, though it has only just moved.
      await steps(channel, 5, 5);
      await heard(6);
      await page.goto('about:blank');
      await steps(channel, 6, 7);
      await page.goto(url);
      assert.deepEqual(await heard(3), [...numbered(6, 7), ['replayed', 2]]);
      assert.deepEqual(await page.evaluate(() => past()), [5, 4]);
      await page.reload();
      assert.deepEqual(await heard(1), [['replayed', 0]]);
    });
  })));
}
