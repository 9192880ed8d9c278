// The operators' page in Chromium, as a person uses it.
//
//   node page.mjs CHROMIUM URL TOKEN use PATH                    logs in, looks, purges PATH, logs out; prints what was seen as JSON
//   node page.mjs CHROMIUM URL TOKEN everything                  logs in and purges everything
//   node page.mjs CHROMIUM URL TOKEN watched                     logs in and prints what rules that only watch have seen
//   node page.mjs CHROMIUM URL TOKEN admission PATH              logs in and prints what pools and limits do, and what is explained of PATH
//   node page.mjs CHROMIUM URL TOKEN picture FILE [WIDTH HEIGHT [dark]]   logs in and writes a PNG
//
// PAUSE_MS is how long the page is left alone before its picture is taken: the plot of the latency grows meanwhile.

import { writeFile } from 'node:fs/promises'

import { look } from './browser.mjs'

const [program, url, token, action, ...rest] = process.argv.slice(2)
const text = id => `document.getElementById('${id}').innerText`
const shown = id => `!document.getElementById('${id}').hidden`

const enter = async browser => {
  await browser.type('token', token, true)
  await browser.until(shown('figures'))
}

/** Presses a form's button, and returns what the form then says. */
const submit = async (browser, id) => {
  await browser.evaluate(`document.querySelector('#${id} button.act').click()`)
  await browser.until(`!document.querySelector('#${id} button.act').disabled`)
  return browser.evaluate(`document.querySelector('#${id} output').innerText`)
}

const actions = {
  async watched(browser) {
    await browser.open(url)
    await enter(browser)
    await browser.until(shown('d-shadow'))
    return { watched: await browser.evaluate(text('shadow')) }
  },

  async admission(browser, path) {
    await browser.open(url)
    await enter(browser)
    await browser.until(shown('d-pools'))
    await browser.until(shown('d-limits'))
    await browser.type('e-url', path)
    const explained = await submit(browser, 'explain')
    await browser.evaluate("document.getElementById('d-resources').open = true")
    await browser.until(`${text('resources')}.includes('in_flight')`)
    return { pools: await browser.evaluate(text('pools')), limits: await browser.evaluate(text('limits')), resources: await browser.evaluate(text('resources')), explained }
  },

  async use(browser, path) {
    const seen = {}
    await browser.open(url.replace(/\/$/, '')) // Leads to the page.
    await browser.until(shown('login'))
    seen.at_login = { requests: [...browser.requests], figures: await browser.evaluate(shown('figures')), address: await browser.evaluate('location.href') }

    await browser.type('token', 'not-the-token', true)
    await browser.until(text('refused'))
    seen.refused = { said: await browser.evaluate(text('refused')), figures: await browser.evaluate(shown('figures')), kept: await browser.evaluate('sessionStorage.length') }

    await enter(browser)
    await browser.until(`${text('said')}.startsWith('as of')`)
    seen.login_hidden = await browser.evaluate("document.getElementById('login').hidden")
    seen.panels = await browser.evaluate("Object.fromEntries(['rate', 'history', 'outcomes', 'tiers', 'breakers', 'top', 'latency', 'advice'].map(id => [id, document.getElementById(id).innerText]))")
    seen.health = await browser.evaluate(text('health'))
    seen.plots = await browser.evaluate("document.querySelectorAll('main section svg').length")
    seen.unlabelled = await browser.evaluate("[...document.querySelectorAll('input:not([hidden]), select, textarea')].filter(one => !one.labels.length).map(one => one.id)")
    const first = browser.requests.length
    await browser.until(`${text('said')} !== ${JSON.stringify(await browser.evaluate(text('said')))}`)
    seen.polled = browser.requests.slice(first)

    await browser.type('p-what', path)
    seen.purged = await submit(browser, 'purge')
    await browser.type('p-what', 'https://')
    seen.not_purged = await submit(browser, 'purge')
    await browser.type('e-url', path)
    seen.explained = await submit(browser, 'explain')

    // At the width of a phone nothing is cut off to the right.
    await browser.call('Emulation.setDeviceMetricsOverride', { width: 360, height: 740, deviceScaleFactor: 1, mobile: true })
    seen.too_wide = await browser.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')

    await browser.call('Page.reload')
    await browser.until(`document.readyState === 'complete' && ${shown('figures')}`)
    await browser.evaluate("document.getElementById('leave').click()")
    await new Promise(resolve => setTimeout(resolve, 500)) // What was asked before comes, and is not shown.
    seen.left = await browser.evaluate(`({ login: ${shown('login')}, figures: ${shown('figures')}, kept: sessionStorage.length, drawn: document.getElementById('top').innerText })`)
    return seen
  },

  async everything(browser) {
    await browser.open(url)
    await browser.until(shown('login'))
    await enter(browser)
    await browser.evaluate("{ const kind = document.getElementById('p-kind'); kind.value = 'all'; kind.dispatchEvent(new Event('change')) }")
    return { purged: await submit(browser, 'purge') }
  },

  async picture(browser, file, width = '1280', height = '900', theme = 'light') {
    await browser.open(url)
    await browser.until(shown('login'))
    await enter(browser)
    await writeFile(file, await browser.picture(Number(width), Number(height), theme === 'dark'))
    return { file }
  }
}

await look(program, browser => actions[action](browser, ...rest))
