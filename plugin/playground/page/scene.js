
// The scene: all that is played, and what is chosen in it. The address holds it, after the #, which no browser sends.

const MOST_STEPS = 32, LONGEST_LINK = 200000, FIRST_LINK = 8000
const scene = { config: '', steps: [], lesson: '', chosen: 0, ahead: 0, horizon: 0 }

const FRESH = 'HTTP/1.1 200 OK\nCache-Control: max-age=60, stale-while-revalidate=30\nETag: "v1"\n\nhello'
const BEGINNING = {
  config: '', lesson: '', chosen: 0, ahead: 0, horizon: 0,
  steps: [
    { at: 0, request: 'GET https://example.com/a', response: FRESH },
    { at: 20, request: 'GET https://example.com/a', origin: 'same' }
  ]
}

const texts = of => Object.fromEntries(['request', 'response', 'origin'].filter(name => typeof of[name] === 'string').map(name => [name, of[name]]))
const number = (of, least = 0) => Number.isFinite(of) && of >= least ? of : least

/** Takes a scene over, of which nothing is believed. */
function take(told) {
  const of = told && typeof told === 'object' ? told : {}
  const steps = Array.isArray(of.steps) ? of.steps.filter(step => step && typeof step === 'object').slice(0, MOST_STEPS) : []
  scene.config = typeof of.config === 'string' ? of.config : ''
  // A program that makes a link knows only the whole of a configuration.
  if (of.short === true && scene.config) scene.config = shortened(scene.config)
  scene.steps = steps.map(step => step.purge && typeof step.purge === 'object' ? { at: number(step.at), purge: step.purge } : { at: number(step.at), ...texts(step) })
  if (!scene.steps.length) scene.steps = structuredClone(BEGINNING.steps)
  scene.lesson = typeof of.lesson === 'string' ? of.lesson : ''
  scene.chosen = Math.min(Math.floor(number(of.chosen)), scene.steps.length - 1)
  scene.ahead = number(of.ahead)
  scene.horizon = number(of.horizon)
}

const through = async (bytes, by, most = Infinity) => {
  const parts = []
  let size = 0
  for (const reader = new Blob([bytes]).stream().pipeThrough(by).getReader(); ;) {
    const { done, value } = await reader.read()
    if (done) return new Blob(parts).arrayBuffer()
    size += value.length
    if (size > most) throw new Error('it is too long')
    parts.push(value)
  }
}

/** The scene as a fragment: JSON, deflated, in base64 for addresses. */
async function packed() {
  const bytes = new Uint8Array(await through(new TextEncoder().encode(JSON.stringify(scene)), new CompressionStream('deflate-raw')))
  let text = ''
  for (let from = 0; from < bytes.length; from += 8192) text += String.fromCharCode(...bytes.subarray(from, from + 8192))
  return '#z=' + btoa(text).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
}

/** The scene of a fragment: `#z=` as above, or `#s=` with plain JSON, escaped, for programs that make links. */
async function unpacked(fragment) {
  // Mail programs and chats put escapes and line ends into what they pass on.
  const text = fragment.replace(/^#/, '').replace(/\s+/g, '')
  if (text.length > LONGEST_LINK) throw new Error('it is too long')
  if (text.startsWith('s=')) return JSON.parse(decodeURIComponent(text.slice(2)))
  if (!text.startsWith('z=')) throw new Error('it begins with neither z= nor s=')
  const coded = decodeURIComponent(text.slice(2)).replaceAll('-', '+').replaceAll('_', '/').replace(/[^A-Za-z0-9+/]+$/, '')
  const bytes = Uint8Array.from(atob(coded), letter => letter.charCodeAt(0))
  return JSON.parse(new TextDecoder().decode(await through(bytes, new DecompressionStream('deflate-raw'), 1 << 20)))
}

let kept = '', keeping = 0
/** Puts the scene into the address. */
async function keep() {
  const mine = ++keeping, fragment = await packed()
  // A later one is under way.
  if (mine !== keeping) return
  kept = fragment
  history.replaceState(null, '', fragment)
}

/** Takes the scene of the address over, or begins. */
async function open() {
  keeping++
  if (location.hash.length < 2) {
    take(BEGINNING)
    return
  }
  try {
    take(await unpacked(location.hash))
    say('')
  } catch {
    take(BEGINNING)
    say('The link cannot be read. It may have been cut: ask for the whole of it.')
  }
}
