
// Nodes. All that is shown is put in as text: what is pasted may be of anybody.

const at = id => document.getElementById(id)
const node = (made, set, inside) => {
  for (const [name, value] of Object.entries(set || {})) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value)
    else made.setAttribute(name, value === true ? '' : value)
  }
  made.append(...inside.flat(Infinity).filter(one => one !== null && one !== undefined && one !== false).map(one => one instanceof Node ? one : String(one)))
  return made
}
const h = (tag, set, ...inside) => node(document.createElement(tag), set, inside)
const s = (tag, set, ...inside) => node(document.createElementNS('http://www.w3.org/2000/svg', tag), set, inside)
const put = (id, ...inside) => at(id).replaceChildren(...inside.flat(Infinity).filter(one => one))

/** Puts a text where a screen reader says it, and only if it is another one. */
const say = text => {
  if (at('said').textContent === text) return
  at('said').textContent = text
  at('said').hidden = !text
}

/** A span of time: the unit that is read most easily. */
function span(seconds) {
  const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 1 })
  for (const [unit, name] of [[86400, 'd'], [3600, 'h'], [60, 'min']]) {
    if (seconds >= 2 * unit) return whole.format(seconds / unit) + '\u00a0' + name
  }
  return whole.format(seconds) + '\u00a0s'
}

/** A section of an RFC as a link: nothing is asked for until somebody follows it. */
function cited(reference) {
  const found = /^RFC (\d+) §([\d.]+)$/.exec(reference)
  return found ? h('a', { href: `https://www.rfc-editor.org/rfc/rfc${found[1]}#section-${found[2]}`, rel: 'noreferrer' }, reference) : reference
}

const KINDS = {
  fresh: ['from the store', 'The client is answered from the store: it is fresh.'],
  stale: ['stale', 'The client is answered from the store, although it is stale.'],
  validated: ['confirmed', 'The origin has confirmed what is stored, and the client gets that.'],
  origin: ['origin', 'The client gets the origin’s response.'],
  refused: ['refused', 'The cache answers by itself: it does not ask the origin.'],
  failed: ['failed', 'The origin cannot be reached, and nothing stands in for it.'],
  purged: ['purged', 'What it hits is purged.'],
  unread: ['not read', 'This step cannot be read.']
}
const badge = (kind, stored) => h('span', { class: 'badge kind-' + kind }, (KINDS[kind] || [kind])[0], kind === 'origin' && stored && ', stored')
/** Whether the origin's response was stored, as RFC 9211 says it. */
const isStored = ({ cache_status }) => / stored(;|$)/.test(cache_status || '')
