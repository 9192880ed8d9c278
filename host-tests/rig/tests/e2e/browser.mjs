// Chromium without a window, driven by its DevTools protocol over a pipe: no package is wanted, and no port is opened.

import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'

const LONGEST_MS = 20000
const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

/** A browser with one tab, and what the tab asked for and complained of. */
export class Browser {
  requests = []
  complaints = []
  #asked = new Map()
  #next = 1

  /** Starts `program` with a profile of its own. */
  static async start(program) {
    const browser = new Browser()
    browser.folder = await mkdtemp(path.join(os.tmpdir(), 'selvage-browser-'))
    const flags = ['--headless', '--remote-debugging-pipe', `--user-data-dir=${browser.folder}`, '--disable-gpu', '--no-first-run',
      '--disable-dev-shm-usage', '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--password-store=basic', '--hide-scrollbars', 'about:blank']
    // The sandbox of Chromium does not work for root, and not in most containers.
    flags.unshift('--no-sandbox')
    browser.process = spawn(program, flags, { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] })
    let said = ''
    browser.process.stderr.on('data', data => { said = (said + data).slice(-4000) })
    browser.ended = new Promise(resolve => {
      browser.process.once('error', error => resolve(`${program} does not start: ${error.message}`))
      browser.process.once('exit', code => resolve(`${program} has ended with ${code}: ${said}`))
    })
    browser.ended.then(why => { for (const { reject } of browser.#asked.values()) reject(new Error(why)) })
    browser.process.stdio[3].on('error', () => {})
    let rest = Buffer.alloc(0)
    browser.process.stdio[4].on('data', data => {
      rest = Buffer.concat([rest, data])
      for (let end; (end = rest.indexOf(0)) >= 0; rest = rest.subarray(end + 1)) browser.#take(JSON.parse(rest.subarray(0, end).toString()))
    })
    try {
      const { targetInfos } = await browser.call('Target.getTargets')
      const { targetId } = targetInfos.find(target => target.type === 'page')
      browser.session = (await browser.call('Target.attachToTarget', { targetId, flatten: true })).sessionId
      for (const domain of ['Page', 'Network', 'Log', 'Runtime', 'Audits']) await browser.call(`${domain}.enable`)
    } catch (fault) {
      await browser.close()
      throw fault
    }
    return browser
  }

  #take({ id, result, error, method, params }) {
    const asked = this.#asked.get(id)
    if (asked) {
      this.#asked.delete(id)
      return error ? asked.reject(new Error(`${asked.method}: ${error.message}`)) : asked.resolve(result)
    }
    switch (method) {
      case 'Network.requestWillBeSent':
        if (!params.request.url.startsWith('data:')) this.requests.push(`${params.request.method} ${params.request.url}`)
        break
      case 'Log.entryAdded': // What the server refuses is seen in the page; the console repeats it.
        if (params.entry.source !== 'network') this.complaints.push(params.entry.text)
        break
      case 'Runtime.exceptionThrown':
        this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text)
        break
      case 'Runtime.consoleAPICalled':
        this.complaints.push(params.args.map(one => one.value ?? one.description).join(' '))
        break
      case 'Audits.issueAdded':
        if (params.issue.code === 'ContentSecurityPolicyIssue') this.complaints.push(JSON.stringify(params.issue.details.contentSecurityPolicyIssueDetails))
        break
      case 'Page.javascriptDialogOpening':
        this.call('Page.handleJavaScriptDialog', { accept: true }).catch(() => {})
    }
  }

  /** Calls a method of the protocol. */
  call(method, params = {}) {
    const id = this.#next++
    this.process.stdio[3].write(JSON.stringify({ id, method, params, sessionId: this.session }) + '\0')
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => { this.#asked.delete(id); reject(new Error(`${method}: no answer`)) }, LONGEST_MS)
      const end = how => value => { clearTimeout(late); how(value) }
      this.#asked.set(id, { method, resolve: end(resolve), reject: end(reject) })
      this.ended.then(why => end(reject)(new Error(why)))
    })
  }

  /** The value of an expression in the page. */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true })
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`)
    return result.value
  }

  /** Waits until the expression is true in the page. */
  async until(expression) {
    const deadline = Date.now() + LONGEST_MS
    for (;;) {
      if (await this.evaluate(`Boolean(${expression})`)) return
      if (Date.now() > deadline) throw new Error(`it never became so: ${expression}\nthe page: ${await this.evaluate('document.body.innerText')}`)
      await pause(50)
    }
  }

  /** Opens an address. */
  async open(url) {
    await this.call('Page.navigate', { url })
    await this.until('document.readyState === "complete" && location.href !== "about:blank"')
  }

  /** Types into the field of this id, in the place of what it holds, and presses Enter if told. */
  async type(id, text, enter = false) {
    await this.evaluate(`document.getElementById(${JSON.stringify(id)}).select()`)
    await this.evaluate(`document.getElementById(${JSON.stringify(id)}).focus()`)
    await this.call('Input.insertText', { text })
    if (enter) for (const type of ['keyDown', 'keyUp']) await this.call('Input.dispatchKeyEvent', { type, key: 'Enter', code: 'Enter', windowsVirtualKeyCode: 13, text: type === 'keyDown' ? '\r' : undefined })
  }

  /** Presses a key, as often as told. `modifiers`: 2 is Ctrl, 8 is Shift. */
  async press(key, times = 1, modifiers = 0) {
    const codes = { Tab: 9, Enter: 13, Escape: 27, ' ': 32, End: 35, Home: 36, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40 }
    const text = key === 'Enter' ? '\r' : key === ' ' && !modifiers ? ' ' : undefined
    for (; times > 0; times--) {
      for (const type of [text ? 'keyDown' : 'rawKeyDown', 'keyUp']) {
        await this.call('Input.dispatchKeyEvent', { type, key, code: key === ' ' ? 'Space' : key, windowsVirtualKeyCode: codes[key], modifiers, text: type === 'keyDown' ? text : undefined })
      }
    }
  }

  /** Goes on to the next tab whose address begins so. */
  async follow(address) {
    const deadline = Date.now() + LONGEST_MS
    for (;;) {
      const { targetInfos } = await this.call('Target.getTargets')
      const found = targetInfos.find(target => target.type === 'page' && target.url.startsWith(address))
      if (found) {
        this.session = (await this.call('Target.attachToTarget', { targetId: found.targetId, flatten: true })).sessionId
        for (const domain of ['Page', 'Network', 'Log', 'Runtime', 'Audits']) await this.call(`${domain}.enable`)
        return
      }
      if (Date.now() > deadline) throw new Error(`no tab has ${address}: ${targetInfos.map(target => target.url)}`)
      await pause(50)
    }
  }

  /** The page as it looks, a PNG, `width` pixels wide. */
  async picture(width, height, dark = false) {
    await this.call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 600 })
    await this.call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }] })
    await pause(Number(process.env.PAUSE_MS ?? 2500)) // The plots are as wide as the page was when they were drawn.
    const { data } = await this.call('Page.captureScreenshot', { format: 'png' })
    return Buffer.from(data, 'base64')
  }

  /** Ends the browser. */
  async close() {
    this.process.kill('SIGKILL')
    await this.ended
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Does something in a browser of its own, and prints as JSON what was seen, asked for and complained of. */
export async function look(program, does) {
  const browser = await Browser.start(program)
  try {
    const seen = await does(browser)
    console.log(JSON.stringify({ ...seen, requests: browser.requests, complaints: browser.complaints }))
  } finally {
    await browser.close()
  }
}
