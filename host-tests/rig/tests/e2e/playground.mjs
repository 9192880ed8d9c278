// The playground in Chromium, as a visitor uses it.
//
//   node playground.mjs CHROMIUM URL ACTION [ARGUMENT ...]     prints what was seen as JSON

import { readFile, writeFile } from 'node:fs/promises'

import { look } from './browser.mjs'

const [program, url, action, ...rest] = process.argv.slice(2)
const text = id => `document.getElementById('${id}').innerText`
const focused = 'document.activeElement.id || document.activeElement.textContent'

/** Opens the page and waits until it has played. */
const enter = async (browser, fragment = '') => {
  await browser.open(url + fragment)
  await browser.until(`!document.getElementById('all').hidden && ${text('verdict')}`)
}

/** Does something and waits until the page has played anew. */
const then = async (browser, what) => {
  await what()
  await browser.until('soon === 0')
}

/** Types into a field and waits until the page has played anew. */
const write = (browser, id, value) => then(browser, () => browser.type(id, value))

const select = (browser, id, value) =>
  browser.evaluate(`{ const of = document.getElementById('${id}'); of.value = ${JSON.stringify(value)}; for (const type of ['input', 'change']) of.dispatchEvent(new Event(type, { bubbles: true })) }`)

const step = (browser, n) => browser.evaluate(`document.querySelectorAll('#steps button')[${n}].click()`)

/** Presses Tab until the field with this id has the focus. */
const tabTo = async (browser, id, backwards = false) => {
  for (let n = 0; n < 80; n++) {
    await browser.press('Tab', 1, backwards ? 8 : 0)
    if (await browser.evaluate('document.activeElement.id') === id) return
  }
  throw new Error(`Tab does not come to ${id}`)
}

const scene = browser => browser.evaluate('JSON.stringify(scene)')
const line = browser => browser.evaluate("document.getElementById('cache-status')?.innerText ?? document.getElementById('verdict').innerText")

const actions = {
  /** Every lesson by the menu, and of every step the line that is shown. */
  async lessons(browser) {
    await enter(browser)
    const names = await browser.evaluate("[...document.getElementById('lesson').options].map(one => one.value).filter(name => name)")
    const shown = {}
    for (const name of names) {
      await select(browser, 'lesson', name)
      shown[name] = { title: await browser.evaluate(text('t-lesson')), lines: [] }
      const many = await browser.evaluate("document.querySelectorAll('#steps li').length")
      for (let n = 0; n < many; n++) {
        await then(browser, () => step(browser, n))
        shown[name].lines.push(await line(browser))
      }
    }
    return { shown }
  },

  async faults(browser) {
    await enter(browser)
    await write(browser, 'config', '{ "rulez": [], "defaults": { "cookies": "none", "ttl": { "default": "soon" } } }')
    const told = await browser.evaluate(text('faults')), verdict = await browser.evaluate(text('verdict'))
    await browser.evaluate("[...document.querySelectorAll('#faults button')].find(one => one.textContent === 'defaults.ttl.default').click()")
    const marked = await browser.evaluate("(() => { const of = document.getElementById('config'); return of.value.slice(of.selectionStart, of.selectionEnd) })()")
    await write(browser, 'config', '{')
    const broken = await browser.evaluate(text('faults'))
    await write(browser, 'config', '{}')
    return { told, verdict, marked, broken, mended: await browser.evaluate(text('faults')), line: await line(browser) }
  },

  async line(browser) {
    await enter(browser)
    await write(browser, 'response', 'HTTP/1.1 200 OK\ncache-control: max-age=300, stale-while-revalidate=150\n\nhello')
    const seen = { lines: await browser.evaluate(text('lines')), later: {} }
    const { x, y, width, height } = await browser.evaluate("(({ x, y, width, height }) => ({ x, y, width, height }))((document.getElementById('ahead').scrollIntoView(), document.getElementById('ahead').getBoundingClientRect()))")
    // The hand is at 0; it is drawn to a third of the line, which is 1,125 s long.
    const mouse = (type, at) => browser.call('Input.dispatchMouseEvent', { type, x: at, y: y + height / 2, button: 'left', buttons: 1, clickCount: 1 })
    await mouse('mousePressed', x + 6)
    for (const part of [.1, .2, .33]) await mouse('mouseMoved', x + width * part)
    await mouse('mouseReleased', x + width * .33)
    await browser.until(`${text('ahead-said')}.startsWith('in ')`)
    seen.dragged = { said: await browser.evaluate(text('ahead-said')), later: await browser.evaluate(text('later')) }
    // And on the coloured line itself.
    const bar = await browser.evaluate("(({ x, y, width, height }) => ({ x, y, width, height }))((document.querySelector('.track').scrollIntoView({ block: 'center' }), document.querySelector('.track').getBoundingClientRect()))")
    for (const [type, part] of [['mousePressed', .1], ['mouseMoved', .5], ['mouseMoved', .9], ['mouseReleased', .9]]) {
      await browser.call('Input.dispatchMouseEvent', { type, x: bar.x + bar.width * part, y: bar.y + bar.height / 2, button: 'left', buttons: 1, clickCount: 1 })
    }
    await browser.until(`${text('ahead-said')}.startsWith('in 16.')`)
    await select(browser, 'horizon', '600')
    await browser.until(`${text('lines')}.includes('10\\u00a0min')`)
    await browser.evaluate("document.getElementById('ahead').focus()")
    await browser.press('End')
    await browser.until(`${text('ahead-said')} === 'in 10\\u00a0min'`)
    seen.end = await browser.evaluate(text('later'))
    return seen
  },

  async link(browser) {
    await enter(browser)
    await select(browser, 'lesson', 'while-revalidate')
    await then(browser, () => step(browser, 1))
    await write(browser, 'request', 'GET https://shop.example/ü?a=b#c\naccept: */*')
    await browser.until("location.hash === kept && kept")
    // What is kept may still be what was before.
    await browser.evaluate('keep()')
    const before = await scene(browser), link = await browser.evaluate('location.href')
    await browser.open('about:blank#')
    await enter(browser, new URL(link).hash)
    const after = await scene(browser), shown = await browser.evaluate("document.getElementById('request').value")
    const others = {}
    for (const [name, fragment] of Object.entries({
      cut: new URL(link).hash.slice(0, 60), wrapped: new URL(link).hash.replace(/(.{40})/g, '$1%0A'), nonsense: '#z=%%%', other: '#section',
      plain: '#s=' + encodeURIComponent('{"steps":[{"at":5,"request":"GET https://a.test/<b>","response":"HTTP/1.1 200"}]}'), hostile: '#s=' + encodeURIComponent('{"steps":[7,{"at":-1e999,"purge":[]},{"__proto__":{"at":1}}],"config":[],"chosen":1e9}')
    })) {
      await browser.open('about:blank#')
      await enter(browser, fragment)
      others[name] = { said: await browser.evaluate(text('said')), scene: await scene(browser) }
    }
    // Another link in the same tab is followed, and one that is copied twice is the same.
    await browser.evaluate(`location.hash = ${JSON.stringify(new URL(link).hash)}`)
    await browser.until(`JSON.stringify(scene) === ${JSON.stringify(after)}`)
    await browser.evaluate("document.getElementById('link').click()")
    await browser.until(`${text('said')}.length > 0`)
    await browser.evaluate("document.getElementById('link').click()")
    await browser.evaluate('keep()')
    others.again = await browser.evaluate('location.href')
    return { same: link === others.again, link: link.length, before, after, shown, others }
  },

  /** A whole visit without a mouse. */
  async keyboard(browser) {
    await enter(browser)
    await tabTo(browser, 'lesson')
    await browser.press('ArrowDown')
    await browser.until(`${text('t-lesson')}.includes('1 of')`)
    await tabTo(browser, 'next')
    await browser.press('Enter')
    await browser.until(`${text('t-lesson')}.includes('2 of')`)
    // Through the steps: the first button of the list, then the next ones.
    await browser.press('Tab')
    await browser.press('Tab')
    await browser.press('Enter')
    await browser.until(`${text('t-step')} === 'Step 2'`)
    // The list was made anew, and the focus is where it was.
    await browser.until("document.activeElement.getAttribute('aria-current') === 'step'")
    await tabTo(browser, 'config')
    await browser.call('Input.insertText', { text: '{ "defaults": { "coo' })
    await browser.until("!document.getElementById('proposals').hidden")
    const proposed = await browser.evaluate(text('proposals'))
    await browser.press('Enter')
    await browser.press(' ', 1, 2)
    await browser.until("document.querySelectorAll('#proposals li').length === 3")
    await browser.press('ArrowDown')
    await browser.press('Enter')
    await browser.call('Input.insertText', { text: ' } }' })
    await browser.until(`${text('request-said')}.includes('default')`)
    const config = await browser.evaluate("document.getElementById('config').value")
    await tabTo(browser, 'ahead')
    await browser.press('ArrowRight', 20)
    await browser.until(`${text('ahead-said')}.startsWith('in ')`)
    const later = await browser.evaluate("document.getElementById('ahead').getAttribute('aria-valuetext')")
    await tabTo(browser, 'paste', true)
    await browser.press('Enter')
    await browser.until("document.getElementById('pasting').open")
    await browser.evaluate("document.getElementById('pasted').focus()")
    await browser.call('Input.insertText', { text: 'GET https://a.test/x\n\nHTTP/1.1 200 OK\ncache-control: max-age=60\nvary: *\n' })
    await tabTo(browser, 'replace')
    await browser.press('Enter')
    await browser.until(`${text('verdict')}.includes('vary-star')`)
    await tabTo(browser, 'paste', true)
    await browser.press('Enter')
    await browser.press('Escape')
    return { proposed, config, later, closed: !await browser.evaluate("document.getElementById('pasting').open"), focused: await browser.evaluate(focused) }
  },

  /** The engine traps, which it must not, and the page goes on. */
  async trapped(browser) {
    await enter(browser)
    await browser.evaluate("selvage = { play() { throw new WebAssembly.RuntimeError('unreachable') } }; drawPlayed()")
    const said = await browser.evaluate(text('said'))
    // Its memory is as it was at first, whatever was left in it.
    await browser.evaluate('engine()')
    await write(browser, 'request', 'GET https://a.test/after')
    return { said, line: await line(browser), key: await browser.evaluate(text('key')), then: await browser.evaluate(text('said')) }
  },

  async narrow(browser) {
    const wide = {}
    for (const width of [320, 360, 412, 768]) {
      await browser.call('Emulation.setDeviceMetricsOverride', { width, height: 740, deviceScaleFactor: 1, mobile: true })
      await enter(browser)
      for (const name of ['lifetime', 'query', 'purge', 'poisoning']) {
        await select(browser, 'lesson', name)
        await browser.until(`${text('verdict')}`)
        wide[`${width} ${name}`] = await browser.evaluate("Math.max(document.body.scrollWidth, document.documentElement.scrollWidth) - innerWidth")
        const beyond = await browser.evaluate("[...document.querySelectorAll('main *, header *')].filter(one => !one.closest('svg') && one.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(one).display !== 'none').map(one => one.tagName + '#' + one.id)")
        if (beyond.length) wide[`${width} ${name} beyond`] = beyond
      }
    }
    return { wide }
  },

  async axe(browser, file) {
    const source = await readFile(file, 'utf8'), found = {}
    const look = async name => {
      if (!await browser.evaluate("'axe' in window")) await browser.evaluate(source + '\n0')
      found[name] = await browser.evaluate("axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(one => one.id + ': ' + one.nodes.map(node => node.target.join(' ') + ' ' + node.failureSummary).join(' | ')))")
    }
    for (const theme of ['light', 'dark']) {
      await browser.call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: theme }] })
      for (const width of [1280, 360]) {
        await browser.call('Emulation.setDeviceMetricsOverride', { width, height: 900, deviceScaleFactor: 1, mobile: width < 600 })
        await enter(browser)
        await look(`${theme} ${width}`)
        for (const name of ['while-revalidate', 'purge', 'clients', 'disconnected']) {
          await select(browser, 'lesson', name)
          const many = await browser.evaluate("document.querySelectorAll('#steps li').length")
          for (let n = 0; n < many; n++) {
            await then(browser, () => step(browser, n))
            await look(`${theme} ${width} ${name} ${n}`)
          }
        }
        await write(browser, 'config', '{ "rulez": 1 }')
        await look(`${theme} ${width} faults`)
        await browser.type('config', '{ "defaults": { "c')
        await browser.until("!document.getElementById('proposals').hidden")
        await look(`${theme} ${width} proposals`)
        await browser.evaluate("document.getElementById('paste').click()")
        await look(`${theme} ${width} pasting`)
      }
    }
    return { looked: Object.keys(found).length, found: Object.fromEntries(Object.entries(found).filter(([, all]) => all.length)) }
  },

  /** Explains the archives of a folder under the configurations beside them. */
  async verdicts(browser, folder, many) {
    await enter(browser)
    let milliseconds = 0
    for (let n = 0; n < Number(many); n++) {
      const [config, har] = await Promise.all(['json', 'har'].map(kind => readFile(`${folder}/${n}.${kind}`, 'utf8')))
      const began = Date.now()
      await writeFile(`${folder}/${n}.browser`, await browser.evaluate(`selvage.explain(${JSON.stringify(config)}, ${JSON.stringify(har)})`))
      milliseconds += Date.now() - began
    }
    return { milliseconds }
  },

  /** From the operators' page, whose address this is. */
  async operators(browser, token, playground) {
    await browser.open(url)
    await browser.until("!document.getElementById('login').hidden")
    await browser.type('token', token, true)
    await browser.until("!document.getElementById('e-play').hidden")
    await browser.type('e-url', '/fresh?a=<b>&c="d"#e')
    await browser.evaluate("document.getElementById('e-headers').value = 'accept-language: de\\ncookie: a=b'; document.getElementById('e-response').value = 'set-cookie: c=d'")
    const { x, y } = await browser.evaluate("(document.getElementById('e-play').scrollIntoView({ block: 'center' }), (({ x, y }) => ({ x, y }))(document.getElementById('e-play').getBoundingClientRect()))")
    for (const type of ['mousePressed', 'mouseReleased']) await browser.call('Input.dispatchMouseEvent', { type, x: x + 9, y: y + 9, button: 'left', clickCount: 1 })
    await browser.follow(playground)
    await browser.until(`!document.getElementById('all').hidden && ${text('verdict')}`)
    return { scene: JSON.parse(await scene(browser)), verdict: await browser.evaluate(text('verdict')), opener: await browser.evaluate('String(window.opener)'), referrer: await browser.evaluate('document.referrer'), kept: await browser.evaluate('sessionStorage.length') }
  },

  async look(browser) {
    await enter(browser)
    return { line: await line(browser), policy: await browser.evaluate("document.querySelector('[http-equiv]').content"), evaluated: await browser.evaluate("(async () => { try { return await new Promise((resolve, reject) => { addEventListener('securitypolicyviolation', event => resolve(event.effectiveDirective)); fetch('/').then(() => resolve('asked'), () => {}) }) } catch (fault) { return fault.message } })()") }
  },

  async picture(browser, file, width = '1280', height = '1500', theme = 'light', lesson = '', place = '0', ahead = '0') {
    await enter(browser)
    if (lesson) {
      await select(browser, 'lesson', lesson)
      await then(browser, () => step(browser, Number(place)))
      await browser.evaluate(`scene.ahead = ${Number(ahead)}; drawLine()`)
    }
    await writeFile(file, await browser.picture(Number(width), Number(height), theme === 'dark'))
    return { file }
  }
}

await look(program, browser => actions[action](browser, ...rest))
