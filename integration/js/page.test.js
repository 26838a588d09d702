// The test page in a browser: what it shows must be what has happened.
'use strict';

const { readFileSync } = require('node:fs');
const http = require('node:http');
const { join } = require('node:path');
const { test } = require('node:test');
const { see, withBrowser } = require('./browser');
const {
  address, assert, backend, fence, fenced, recorded, subscribed, unique, withClients,
} = require('./clients');

// openPage opens the test page and waits until it is live.
async function openPage(open, options) {
  const page = await open('/client/', options);
  await see(page, 'connection', () => document.querySelector('#state').dataset.state === 'connected');
  await see(page, 'subscription to demo', () => document.querySelector('.channel[data-channel="demo"]')?.dataset.tone === 'ok');
  return page;
}

// press clicks where the head of the page covers nothing.
async function press(page, what) {
  await page.$eval(what, (element) => element.scrollIntoView({ block: 'center' }));
  await page.click(what);
}

// rows returns what the page lists, newest first.
function rows(page) {
  return page.evaluate(() => [...document.querySelectorAll('#events .event')].map((row) => ({
    id: row.dataset.id,
    how: row.dataset.how,
    name: row.querySelector('.name').textContent,
    data: row.querySelector('.data').textContent,
    position: row.querySelector('.pos')?.title ?? '',
    late: row.querySelector('.late').textContent,
  })));
}

// seeRow waits for an event of a name in the list.
function seeRow(page, name, data) {
  return see(page, `event ${name} ${data ?? ''}`, (wanted, text) => [...document.querySelectorAll('#events .event')].some((row) => (
    row.querySelector('.name').textContent === wanted && (text === undefined || row.querySelector('.data').textContent === text)
  )), name, data);
}

// dots returns how many events of each state a strip shows.
function dots(page, lane) {
  return page.evaluate((key) => {
    const states = {};
    for (const dot of document.querySelectorAll(`[data-lane="${key}"] .dot`)) {
      const state = dot.classList[1];
      states[state] = (states[state] ?? 0) + 1;
    }
    return states;
  }, lane);
}

// subscribe subscribes by the form, and returns the channel's full name.
async function subscribe(page, prefix, name) {
  await page.select('#kind', prefix);
  await page.type('#channel-name', name);
  await press(page, '#subscribe button');
  const channel = prefix + name;
  await see(page, `subscription to ${channel}`, (wanted) => document.querySelector(`.channel[data-channel="${wanted}"]`)?.dataset.tone === 'ok', channel);
  return channel;
}

async function fill(page, field, text) {
  await page.$eval(field, (input, value) => {
    input.value = value;
    input.dispatchEvent(new Event('input', { bubbles: true }));
  }, text);
}

// publish publishes by the form to the channel that is chosen, and waits for the answer.
async function publish(page, event, text) {
  await fill(page, '#event', event);
  await fill(page, '#data', text);
  await page.$eval('#outcome', (output) => { output.textContent = ''; });
  await press(page, '#publish button[type=submit]');
  return see(page, 'answer to a publish', () => document.querySelector('#outcome').textContent);
}

// cutFor cuts the connection for some seconds and waits for what the page says afterwards.
async function cutFor(page, seconds) {
  await fill(page, '#seconds', String(seconds));
  await page.focus('#cut');
  await page.keyboard.press('Enter');
  await see(page, 'cut', () => document.querySelector('#story-head').textContent === 'Cut.');
  return see(page, 'return', () => document.querySelector('#story-head').textContent.startsWith('Back') && document.querySelector('#story-text').textContent);
}

test('connects and shows events with their position and how long they took', () => withBrowser(async (open) => {
  const page = await openPage(open);
  assert.equal(await page.$eval('#story-head', (e) => e.textContent), 'Live.');
  await seeRow(page, 'tick');
  const [tick] = await rows(page);
  assert.equal(tick.how, 'live');
  assert.match(tick.position, /^position 1-[0-9A-Za-z]+-[0-9a-z]+-[0-9a-z]+$/);
  assert.match(tick.late, /^[0-9.]+ m?s$/);
  // Both clients have a strip, and the event is on it.
  for (const lane of ['demo', 'plain demo']) {
    await see(page, `live event on ${lane}`, (key) => document.querySelector(`[data-lane="${key}"] .dot.live`), lane);
  }
  const label = await page.$eval('[data-lane="demo"] .strip', (strip) => strip.getAttribute('aria-label'));
  assert.match(label, /^demo, with replay: \d+ live/);
}));

test('subscribes to channels of all kinds, and publishes to them', () => withBrowser(async (open) => {
  const page = await openPage(open);
  const prefixes = await page.$$eval('#kind option', (options) => options.map((o) => o.value));
  assert.deepEqual([...prefixes].sort(), [
    '', 'cache-', 'presence-', 'presence-cache-', 'private-', 'private-cache-', 'private-encrypted-', 'private-encrypted-cache-',
  ]);
  for (const prefix of prefixes) {
    const channel = await subscribe(page, prefix, unique('kind'));
    const text = `{"to": "${channel}"}`;
    assert.match(await publish(page, 'hello', text), /^Stored in .* at /, channel);
    // An encrypted one arrives decrypted, as its application reads it.
    await seeRow(page, 'hello', prefix.includes('encrypted') ? JSON.stringify(JSON.parse(text)) : text);
    const [row] = await rows(page);
    assert.match(row.position, /^position 1-/, channel);
    if (!prefix.includes('encrypted')) continue;
    // Over the wire it went sealed.
    await page.$eval('#frames', (details) => { details.open = true; });
    const frames = await page.$$eval('#frame-list .in code', (codes) => codes.map((code) => code.textContent));
    const frame = frames.find((f) => f.includes('"hello"') && f.includes(channel));
    assert.match(frame, /ciphertext/);
    assert.ok(!frame.includes('"to'), frame);
    await page.$eval('#frames', (details) => { details.open = false; });
  }
}));

test('an event to others only, and one that is refused', () => withBrowser(async (open) => {
  const [page, other] = [await openPage(open), await openPage(open, { visitor: 'second' })];
  const channel = await subscribe(page, '', unique('others'));
  await subscribe(other, '', channel);
  await press(page, '#others');
  await publish(page, 'quiet', '1');
  await press(page, '#others');
  await publish(page, 'loud', '2');
  await seeRow(other, 'loud');
  await seeRow(page, 'loud');
  assert.deepEqual((await rows(other)).map((row) => row.name), ['loud', 'quiet']);
  assert.deepEqual((await rows(page)).map((row) => row.name), ['loud']);
  page.expected.push(/400/);
  assert.match(await publish(page, 'playhead:gap', '{}'), /reserved/);
}));

test('a client event reaches the other page, and not its sender', () => withBrowser(async (open) => {
  const [page, other] = [await openPage(open), await openPage(open, { visitor: 'second' })];
  assert.equal(await page.$eval('#as-client', (button) => button.disabled), true); // demo is public
  const channel = await subscribe(page, 'private-', unique('chat'));
  await subscribe(other, 'private-', channel.slice('private-'.length));
  await fill(page, '#event', 'typing');
  await fill(page, '#data', '{"on":true}');
  await press(page, '#as-client');
  await seeRow(other, 'client-typing', '{"on":true}');
  const [sent] = await rows(page);
  assert.deepEqual([sent.name, sent.how], ['client-typing', 'own']);
}));

test('two tabs see each other as members', () => withBrowser(async (open) => {
  const first = await openPage(open, { visitor: 'first' });
  const me = (page) => page.$eval('#me [data-member]', (e) => e.dataset.member);
  const second = await openPage(open, { visitor: 'second' });
  const ids = [await me(first), await me(second)];
  assert.notEqual(ids[0], ids[1]);
  for (const page of [first, second]) {
    await see(page, 'both members', (wanted) => {
      const here = [...document.querySelectorAll('[data-members="presence-demo"] [data-member]')].map((e) => e.dataset.member);
      return wanted.every((id) => here.includes(id));
    }, ids);
  }
  await second.close();
  await see(first, 'departure', (gone) => !document.querySelector(`[data-members="presence-demo"] [data-member="${gone}"]`), ids[1]);
}));

test('two tabs of one browser know when the other published', () => withBrowser(async (open) => {
  const [first, second] = [await openPage(open), await openPage(open)];
  const channel = await subscribe(second, '', unique('tabs'));
  // A tab in the background is not drawn, and can't be clicked.
  await first.bringToFront();
  await subscribe(first, '', channel);
  await publish(first, 'hello', '1');
  await seeRow(second, 'hello');
  const [row] = await rows(second);
  assert.match(row.late, /^[0-9.]+ m?s$/);
}));

test('after a cut, what was missed is replayed where it belongs', () => withBrowser(async (open) => {
  const page = await openPage(open);
  await seeRow(page, 'tick');
  const text = await cutFor(page, 3);
  const [, said] = text.match(/^(\d+) missed events? (?:was|were) replayed, oldest first, none twice\./) ?? [];
  const replayed = Number(said);
  assert.ok(replayed >= 2, text);
  assert.equal((await dots(page, 'demo')).replayed, replayed);
  assert.equal((await dots(page, 'demo')).lost, undefined);
  const [, lost] = text.match(/without replay lost (\d+)\./) ?? [];
  assert.equal((await dots(page, 'plain demo')).lost, Number(lost), text);
  assert.ok(Number(lost) >= 2, text);

  // Inside the band, each with an arc to the edge where it arrived; drawn, and not beside the drawing.
  const drawn = await page.evaluate(() => {
    const lane = document.querySelector('[data-lane="demo"]');
    const strip = lane.querySelector('.strip').getBoundingClientRect();
    const band = lane.querySelector('.band.back rect').getBoundingClientRect();
    const middles = [...lane.querySelectorAll('.dot.replayed .core')].map((core) => {
      const box = core.getBoundingClientRect();
      return box.left + box.width / 2;
    });
    return {
      strip: strip.width > 300 && strip.height > 50,
      inside: middles.every((x) => x >= band.left - 40 && x <= band.right && x >= strip.left && x <= strip.right),
      ascending: middles.every((x, i) => i === 0 || x > middles[i - 1]),
      arcs: lane.querySelectorAll('.arc').length,
      sign: lane.querySelector('.band.back .sign').textContent,
    };
  });
  assert.deepEqual(drawn, { strip: true, inside: true, ascending: true, arcs: replayed, sign: `${replayed} event${replayed === 1 ? '' : 's'} replayed` });

  // The list tells the same: no tick missing, none twice, in order.
  const ticks = (await rows(page)).filter((row) => row.name === 'tick').reverse();
  assert.equal(ticks.filter((row) => row.how === 'replayed').length, replayed);
  assert.equal(new Set(ticks.map((row) => row.id)).size, ticks.length);
  const numbers = ticks.map((row) => JSON.parse(row.data).n);
  assert.deepEqual(numbers, numbers.map((_, i) => numbers[0] + i));
  assert.match(ticks.find((row) => row.how === 'replayed').late, /^replayed .* later$/);
}));

test('what others published during a cut is dated from the history', () => withBrowser(async (open) => {
  const page = await openPage(open);
  const channel = await subscribe(page, '', unique('dated'));
  await press(page, '#connect');
  await see(page, 'cut', () => document.querySelector('#state').dataset.state === 'disconnected');
  for (let n = 0; n < 3; n += 1) await backend().trigger(channel, 'order', { n });
  await press(page, '#connect');
  await see(page, 'replay', (lane) => document.querySelectorAll(`[data-lane="${lane}"] .arc`).length === 3, channel);
  const replayed = (await rows(page)).filter((row) => row.how === 'replayed');
  assert.deepEqual(replayed.map((row) => row.data), ['{"n":2}', '{"n":1}', '{"n":0}']);
  for (const row of replayed) assert.match(row.late, /^replayed .* later$/);
}));

test('a page that is loaded again gets what it missed', () => withBrowser(async (open) => {
  const page = await openPage(open);
  await press(page, '#ticking');
  const me = await page.$eval('#me [data-member]', (e) => e.dataset.member);
  await page.goto('about:blank');
  const data = [1, 2, 3].map((n) => ({ n, for: me }));
  for (const d of data) await backend().trigger('demo', 'order', d);
  await page.goto(`http://${address.host}:${address.port}/client/`);
  await seeRow(page, 'order', JSON.stringify(data.at(-1)));
  await see(page, 'band', () => document.querySelector('[data-lane="demo"] .band.back'));
  const orders = (await rows(page)).filter((row) => row.data.includes(me)).reverse();
  assert.deepEqual(orders.map((row) => JSON.parse(row.data)), data);
  for (const row of orders) assert.equal(row.how, 'replayed');
  assert.equal(await page.$eval('#me [data-member]', (e) => e.dataset.member), me);
}));

test('a gap is shown, with its reason', () => withBrowser(async (open) => {
  const page = await openPage(open);
  const channel = await subscribe(page, '', unique('gap'));
  await press(page, '#connect');
  await see(page, 'cut', () => document.querySelector('#state').dataset.state === 'disconnected');
  // More than a replay may bring.
  const batch = Array.from({ length: 10 }, (_, n) => ({ channel, name: 'many', data: { n } }));
  for (let n = 0; n < 101; n += 1) await backend().triggerBatch(batch);
  await press(page, '#connect');
  const sign = await see(page, 'gap', (lane) => document.querySelector(`[data-lane="${lane}"] .band.gap .sign`)?.textContent, channel);
  assert.equal(sign, 'gap: too_far');
  await see(page, 'gap in the list', () => [...document.querySelectorAll('#events .note.bad')].some((note) => note.textContent.includes('too_far')));
}));

test('reads back, page by page, to the beginning', () => withBrowser(async (open) => {
  const page = await openPage(open);
  const channel = unique('past');
  for (let n = 0; n < 45; n += 1) await backend().trigger(channel, 'order', { n });
  await subscribe(page, '', channel);
  await publish(page, 'live', '{}');
  await seeRow(page, 'live');
  for (let pages = 0; ; pages += 1) {
    assert.ok(pages < 6, 'it does not end');
    await page.$eval('#past', (said) => { said.textContent = ''; });
    await press(page, '#earlier');
    await see(page, 'page of the past', () => !document.querySelector('#earlier').disabled && document.querySelector('#past').textContent);
    if (await page.$eval('#past', (e) => e.textContent) === 'That is all the log has') break;
  }
  const all = await rows(page);
  assert.deepEqual(all.map((row) => row.name === 'live' ? 'live' : JSON.parse(row.data).n), ['live', ...Array.from({ length: 45 }, (_, i) => 44 - i)]);
  assert.equal(new Set(all.map((row) => row.id)).size, 46);
  assert.equal((await dots(page, channel)).history, 45);
}));

test('signs in, and hears what is sent to the user', () => withBrowser(async (open) => {
  const page = await openPage(open);
  await press(page, '#sign-in');
  await see(page, 'sign-in', () => document.querySelector('#sign-in').textContent === 'Signed in');
  const id = await page.$eval('#me [data-member]', (e) => e.dataset.member);
  await press(page, `.channel[data-channel="#server-to-user-${id}"] .channel-choose`);
  await backend().sendToUser(id, 'mail', { n: 1 });
  await seeRow(page, 'mail', '{"n":1}');
}));

test('unsubscribes', () => withBrowser(async (open) => {
  const page = await openPage(open);
  const channel = await subscribe(page, 'presence-', unique('leave'));
  await press(page, `.channel[data-channel="${channel}"] .leave`);
  await see(page, 'leave', (gone) => !document.querySelector(`[data-channel="${gone}"]`) && !document.querySelector(`[data-members="${gone}"]`), channel);
}));

test('fits a phone, in light and dark', () => withBrowser(async (open) => {
  const grounds = new Set();
  for (const scheme of ['light', 'dark']) {
    const page = await openPage(open, { scheme, width: 360, height: 740 });
    await subscribe(page, 'private-encrypted-cache-', 'a-name-that-is-rather-long-for-so-narrow-a-screen');
    await publish(page, 'an-event-with-a-long-name-too', '{"text": "and data that has to be cut off somewhere"}');
    await seeRow(page, 'an-event-with-a-long-name-too');
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
    grounds.add(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
    await page.close();
  }
  assert.equal(grounds.size, 2);
}));

test('a page of another site can do nothing here', () => withBrowser(async (open) => {
  const channel = unique('foreign');
  await withClients(async (client) => {
    const heard = await subscribed(client(), channel);
    const got = recorded(heard);
    const here = `http://${address.host}:${address.port}/client/`;
    const site = http.createServer((_, response) => response.setHeader('Content-Type', 'text/html').end('<title>another site</title>'));
    await new Promise((resolve) => { site.listen(0, '127.0.0.1', resolve); });
    try {
      const page = await open('/client/icon.svg');
      page.expected.push(/CORS|ERR_FAILED|40[35]|415|favicon|Content Security Policy|ERR_BLOCKED/);
      await page.goto(`http://127.0.0.1:${site.address().port}/`);
      const outcomes = await page.evaluate(async (base, to) => {
        const body = JSON.stringify({ channel: to, event: 'evil', data: '{}' });
        const seen = [];
        for (const [mode, type] of [['cors', 'application/json'], ['cors', 'text/plain'], ['no-cors', 'text/plain'], ['no-cors', 'application/json']]) {
          const answer = await fetch(`${base}publish`, { method: 'POST', mode, headers: { 'Content-Type': type }, body }).then((r) => r.type, () => 'refused');
          seen.push(answer);
        }
        const auth = await fetch(`${base}auth`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' }).then((r) => r.text(), () => 'refused');
        const settings = await fetch(`${base}config.json`).then((r) => r.text(), () => 'refused');
        const frame = document.createElement('iframe');
        frame.src = base;
        const loaded = new Promise((resolve) => { frame.onload = resolve; });
        document.body.append(frame);
        await loaded;
        // What may not be framed is replaced by an error of the browser's, of no origin.
        let shown = 'another origin';
        try { shown = frame.contentDocument?.title ?? shown; } catch { /* as it should be */ }
        return { seen, auth, settings, shown };
      }, here, channel);
      assert.deepEqual(outcomes.seen.slice(0, 2), ['refused', 'refused']);
      assert.equal(outcomes.auth, 'refused');
      assert.equal(outcomes.settings, 'refused');
      const frame = page.frames().find((f) => f !== page.mainFrame());
      assert.ok(!frame || !frame.url().startsWith(here), `framed: ${frame?.url()}`);
    } finally {
      site.closeAllConnections();
      site.close();
    }
    await fence(heard);
    assert.deepEqual(fenced(got), []);
  });
}));

test('it notices what is missing, comes twice or comes late', async () => {
  const text = readFileSync(join(__dirname, '../../broker/page/assets/proof.js'), 'utf8');
  const { Proof } = await import(`data:text/javascript,${encodeURIComponent(text)}`);
  const publish = (id, at, more) => [id, { id, channel: 'demo', at, storedAt: at + 5, ...more }];
  const wrong = (came, sent, seen = new Set()) => {
    const proof = new Proof(new Map(sent));
    for (const id of came) {
      proof.came(id, seen.has(id));
      seen.add(id);
    }
    return proof.wrong('demo', '1.2', 0, 10_000, (id) => seen.has(id));
  };
  const three = [publish('a', 1000), publish('b', 2000), publish('c', 3000)];
  assert.deepEqual(wrong(['a', 'b', 'c'], three), []);
  assert.deepEqual(wrong(['a', 'c'], three), ['1 never came']);
  assert.deepEqual(wrong(['a', 'b', 'b', 'c'], three), ['1 came twice']);
  assert.deepEqual(wrong(['a', 'c', 'b'], three), ['1 came too late']);
  // Neither of these had to come.
  assert.deepEqual(wrong([], [publish('own', 1, { exclude: '1.2' }), publish('other', 1, { channel: 'other' })]), []);
  assert.deepEqual(wrong([], [publish('later', 9_999), publish('unknown', 1, { storedAt: undefined })]), []);
});

test('its pusher-js is the one that is shipped', () => {
  const served = readFileSync(join(__dirname, '../../broker/page/assets/pusher.js'), 'utf8');
  const shipped = readFileSync(require.resolve('pusher-js/dist/web/pusher-with-encryption.min.js'), 'utf8');
  const body = shipped.replace(/\n\/\/# sourceMappingURL=.*\n?$/, '\n');
  assert.ok(served.endsWith(body), 'it differs');
});
