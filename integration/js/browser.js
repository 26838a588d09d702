// A browser for the tests: pages in headless Chromium. What a page complains about fails its test.
'use strict';

const { accessSync, constants } = require('node:fs');
const { delimiter, join } = require('node:path');
const { after } = require('node:test');
const puppeteer = require('puppeteer-core');
const { address, assert, patience } = require('./clients');

// chromium returns the path of the browser, under whichever name it is installed.
function chromium() {
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
  for (const name of names) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // It may be elsewhere.
      }
    }
  }
  throw new Error(`no ${names.join(', ')} is installed, and the tests of pages need one: run \`task deps\``);
}

// browser is the one browser of a file of tests, started by the first that needs it.
let browser = null;

function launch() {
  browser ??= puppeteer.launch({
    executablePath: chromium(),
    // Chromium refuses to sandbox what root runs; and /dev/shm is small in containers.
    args: [...(process.getuid?.() === 0 ? ['--no-sandbox'] : []), '--disable-dev-shm-usage', '--force-color-profile=srgb'],
    protocolTimeout: 3 * patience,
  });
  return browser;
}

after(async () => {
  const running = await browser?.catch(() => null);
  if (!running) return;
  // A browser that hangs is ended by force: the tests must not.
  const forced = setTimeout(() => running.process()?.kill('SIGKILL'), 5_000);
  await running.close().catch(() => {});
  clearTimeout(forced);
});

// withBrowser hands the test a function that opens a page of the node's, and closes all its pages when
// it ends; a whole URL opens another site's. open(path, {scheme, width, height, visitor}) makes pages of one visitor share what a
// browser shares; another visitor is another browser. An error in a page, an error that a page or the
// browser writes to the console, and a request that comes to nothing fail the test, unless the text
// matches an expression in page.expected.
async function withBrowser(body) {
  const running = await launch();
  const complaints = [];
  const visitors = new Map();
  const open = async (path, { scheme = 'light', width = 1280, height = 900, visitor = 'first' } = {}) => {
    if (!visitors.has(visitor)) visitors.set(visitor, await running.createBrowserContext());
    const page = await visitors.get(visitor).newPage();
    page.expected = [];
    const complain = (text) => {
      if (!page.expected.some((expression) => expression.test(text))) complaints.push(`${path}: ${text}`);
    };
    page.on('pageerror', (err) => complain(err.stack ?? String(err)));
    page.on('console', (message) => {
      if (message.type() === 'error') complain(`${message.text()} ${message.location().url ?? ''}`);
    });
    page.on('requestfailed', (request) => {
      // A page that is closed gives up what it has asked for.
      if (!page.isClosed()) complain(`${request.url()}: ${request.failure()?.errorText}`);
    });
    page.setDefaultTimeout(patience);
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await page.goto(new URL(path, `http://${address.host}:${address.port}`).href);
    return page;
  };
  try {
    await body(open);
    assert.deepEqual(complaints, []);
  } catch (err) {
    // What a page complained about is often why the test failed.
    if (complaints.length > 0) err.message += `\nthe pages complained: ${complaints.join('\n')}`;
    throw err;
  } finally {
    await Promise.all([...visitors.values()].map((visitor) => visitor.close()));
  }
}

// see resolves with what a function finds in the page, as soon as it finds something.
async function see(page, what, look, ...args) {
  const deadline = Date.now() + patience;
  for (;;) {
    const found = await page.evaluate(look, ...args);
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`no ${what} within ${patience} ms`);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
}

module.exports = { see, withBrowser };
